"""What of a stretch of time should have been recorded, and what of that was: pure.

A hole is not always a loss. What is noted as offered and lost is missing. While the stream was away, or nobody is to
record it, nothing is expected. A hole of which nothing is noted is missing if it is short, as when a recorder was
started again; in a longer one no recorder was there, and it is an interruption, which is counted apart.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple

# Nobody takes longer to start a recorder again. Where one was there and lost something, it has noted so.
INTERRUPTION: Final = timedelta(minutes=10)

# A recorder that ended without a word counts as one that should record, but not for ever.
GIVEN_UP: Final = timedelta(days=1)


class Kind(StrEnum):
    """What a stretch of time is; from harmless to what must be seen."""

    IDLE = "idle"
    FULL = "full"
    PARTIAL = "partial"
    INTERRUPTED = "interrupted"
    MISSING = "missing"


class Span(NamedTuple):
    """A stretch of time, aware UTC, and what it is."""

    start: datetime
    end: datetime
    kind: Kind


class Noted(NamedTuple):
    """What a recorder has noted of a stretch: it was `away`, or what was offered was lost; `stopped` if by its stop."""

    start: datetime
    end: datetime
    away: bool
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """What is known of a quality besides what is recorded of the range in question.

    `first` and `last` are where all that is recorded begins and ends; `since`: since when it is to be recorded; None if
    it is not now.
    """

    first: datetime | None
    last: datetime | None
    since: datetime | None


def since_when(recorder: tuple[bool, datetime, bool] | None, last: datetime | None, now: datetime) -> datetime | None:
    """Tell since when a quality is to be recorded, by its recorder: whether it records, since when, whether it lives.

    None if it is not now: there is no recorder, it waits for the stream or was stopped, or has been gone for too long.
    """
    if recorder is None or not recorder[0]:
        return None
    _, since, lives = recorder
    return since if lives or now - max(since, last or since) < GIVEN_UP else None


def account(
    recorded: Sequence[Span], noted: Iterable[Noted], start: datetime, end: datetime, expected: Expected
) -> list[Span]:
    """Give the range from `start` to `end` as spans that fill it, in order.

    `recorded` (by start, apart) and `noted` (by start) reach at least INTERRUPTION beyond the range on both sides, so
    that a hole's length is known.
    """
    notes = list(noted)
    low, high = start - INTERRUPTION, end + INTERRUPTION
    found: list[Span] = []
    reached = low
    for span in [*recorded, None]:
        until = high if span is None else min(max(span.start, low), high)
        if until > reached:
            found += _explained(reached, until, notes, expected)
        if span is not None and span.end > reached:
            if span.start < high:
                found.append(span)
            reached = span.end
    return _joined(Span(max(s, start), min(e, end), kind) for s, e, kind in found if s < end and e > start)


def _explained(start: datetime, end: datetime, notes: Sequence[Noted], expected: Expected) -> Iterator[Span]:
    """Give what a hole is, piece by piece; where two notes claim a moment, the first one has it."""
    pieces: list[tuple[datetime, datetime, Noted | None]] = []
    reached = start
    for note in notes:
        first, last = max(note.start, reached), min(note.end, end)
        if first >= last:
            continue
        if first > reached:
            pieces.append((reached, first, None))
        pieces.append((first, last, note))
        reached = last
    if reached < end:
        pieces.append((reached, end, None))
    for index, (first, last, found) in enumerate(pieces):
        if found is None:
            around = [pieces[place][2] for place in (index - 1, index + 1) if 0 <= place < len(pieces)]
            beside_away = any(other is not None and other.away for other in around)
            yield from _unexplained(first, last, expected, beside_away=beside_away)
        elif found.away or (found.stopped and _is_after(first, expected)):
            yield Span(first, last, Kind.IDLE)
        else:
            yield Span(first, last, Kind.MISSING)


def _is_after(moment: datetime, expected: Expected) -> bool:
    """Tell whether nothing is recorded after a moment, nor is to be."""
    return expected.since is None and expected.last is not None and moment >= expected.last


def _unexplained(start: datetime, end: datetime, expected: Expected, *, beside_away: bool) -> Iterator[Span]:
    """Say what a hole is of which nothing is noted."""
    first, last, since = expected.first, expected.last, expected.since
    if first is None or last is None or end <= first:
        # before there was anything; what a recorder has not brought to disk since it began is missing all the same
        begins = end if since is None or first is not None else min(max(since, start), end)
        yield from _pieces(start, Kind.IDLE, begins, Kind.MISSING, end)
    elif start < last:
        long = end - start > INTERRUPTION
        yield Span(start, end, Kind.IDLE if beside_away and not long else Kind.INTERRUPTED if long else Kind.MISSING)
    elif since is None:
        yield Span(start, end, Kind.IDLE)
    else:
        begins = min(max(since, start), end)
        away = beside_away and begins - start <= INTERRUPTION
        before = Kind.INTERRUPTED if begins - start > INTERRUPTION else Kind.IDLE if away else Kind.MISSING
        yield from _pieces(start, before, begins, Kind.MISSING, end)


def _pieces(start: datetime, before: Kind, moment: datetime, after: Kind, end: datetime) -> Iterator[Span]:
    if start < moment:
        yield Span(start, moment, before)
    if moment < end:
        yield Span(moment, end, after)


def _joined(spans: Iterable[Span]) -> list[Span]:
    """Make neighbours of one kind one."""
    found: list[Span] = []
    for span in spans:
        if found and found[-1].kind is span.kind and found[-1].end == span.start:
            found[-1] = Span(found[-1].start, span.end, span.kind)
        else:
            found.append(span)
    return found


def totals(spans: Iterable[Span], start: datetime, end: datetime) -> dict[Kind, timedelta]:
    """Add up, of each kind, what lies in the range."""
    found = dict.fromkeys(Kind, timedelta())
    for span in spans:
        found[span.kind] += max(timedelta(), min(span.end, end) - max(span.start, start))
    return found


def ratio(sums: dict[Kind, timedelta]) -> float | None:
    """Give the share of what was expected that is recorded, 0 to 1; None if nothing was."""
    recorded = sums[Kind.FULL] + sums[Kind.PARTIAL]
    asked = recorded + sums[Kind.MISSING]
    return recorded / asked if asked else None
