"""A store is held against the ledger of the origin that it was recorded from."""

import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from math import inf

from broadcast import Item, Kind
from common.segments import Segment, SegmentType, content_hash
from origin import Asked, Fault, Show

# A playlist in order is looked at so often.
LOOK_SECONDS = 5.0

# What a downloader may take to find a playlist that works again, and to come back to a segment that failed.
FIND_SECONDS = 20.0
RETRY_SECONDS = 30.0

# For so long a segment that fails is asked for again.
REACH_SECONDS = 100.0

_TOLERANCE = timedelta(milliseconds=10)

# What was served in the last seconds of a process need not have come to disk.
_LAST_SECONDS = 5.0

# Why a segment of the programme may be missing.
_REASONS = {"expired", "refused", "timed_out", "partial", "unusable", "disk", "stopped"}

# From one moment of the origin's clock to another.
Span = tuple[float, float]

ALWAYS: tuple[Span, ...] = ((0.0, inf),)


@dataclass(slots=True)
class Reckoning:
    """What one quality of a channel should be like, and what it is.

    `missing` is what the report says of starts at which nothing is; None if nobody asks. `lives`: when a downloader was
    at work.
    """

    show: Show
    stored: Mapping[Segment, bytes]
    missing: Mapping[datetime, str] | None = None
    lives: tuple[Span, ...] = ALWAYS
    contents: dict[str, tuple[str, Item]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for variant in self.show.script.variants:
            for item in self.show.items:
                if item.kind in {Kind.PROGRAMME, Kind.SLATE}:
                    data = self.show.content(variant, item)
                    self.contents[content_hash(hashlib.sha256(data).digest())] = (variant, item)

    def faults(self) -> list[str]:
        """Say all that is wrong."""
        return [*self._wrong_names(), *self._lost(), *self._twice(), *self._without_reason(), *self._not_reported()]

    def whole(self) -> dict[int, list[Segment]]:
        """Give what is stored whole, by the numbers of segments."""
        found: dict[int, list[Segment]] = defaultdict(list)
        for segment in self.stored:
            if segment.type in {SegmentType.FULL, SegmentType.SUSPECT} and segment.hash in self.contents:
                found[self.contents[segment.hash][1].number].append(segment)
        return found

    def _wrong_names(self) -> Iterator[str]:
        for segment, data in self.stored.items():
            known = self.contents.get(segment.hash)
            if segment.type is SegmentType.TEMP:
                yield f"a temp is left: {segment.name}"
            elif known is None and segment.type is SegmentType.FULL:
                yield f"{segment.name} is no programme, or not all of it, and is called full"
            elif known is None and not self._begins_one(data):
                yield f"{segment.name} is neither programme nor the beginning of it"
            elif known and self.show.script.dated and abs(known[1].start - segment.start) > _TOLERANCE:
                yield f"{segment.name} is number {known[1].number} and should start at {known[1].start}"

    def _begins_one(self, data: bytes) -> bool:
        return bool(data) and any(
            self.show.content(variant, item).startswith(data) for variant, item in self.contents.values()
        )

    def _lost(self) -> Iterator[str]:
        have = self.whole()
        for number in sorted(required(self.show, self.lives) - have.keys()):
            yield f"number {number} is lost; {self._story(number)}"
        for line in self.show.ledger:
            missing = line.asked is Asked.SEGMENT and line.whole and line.number >= 0 and line.number not in have
            if missing and not any(abs(line.ended - end) < _LAST_SECONDS for _, end in self.lives):
                yield f"number {line.number} was served whole at {line.ended:.1f} and is not there"

    def _story(self, number: int) -> str:
        item = self.show.items[number]
        lines = [line for line in self.show.ledger if line.number == number]
        told = [f"{line.fault or 'sound'} at {line.began:.1f}" for line in lines]
        seen = [at for (_, listed), at in self.show.listed.items() if listed == number]
        kept = [segment.name for segment in self.stored if abs(segment.start - item.start) < _TOLERANCE]
        return f"published {item.published:.1f}, listed {seen}, served {told}, stored {kept}"

    def _twice(self) -> Iterator[str]:
        for number, segments in self.whole().items():
            # the same again without a doubt that there was about it is no harm
            if len({segment.start for segment in segments}) > 1:
                yield f"number {number} is there as {[segment.name for segment in segments]}"

    def _without_reason(self) -> Iterator[str]:
        """Say what is not full although nothing was odd about it."""
        script = self.show.script
        odd = {line.number for line in self.show.ledger if line.fault} | script.jumps.keys() | script.said.keys()
        for number, segments in self.whole().items():
            sound = self.show.items[number].kind is Kind.PROGRAMME and number not in odd
            if sound and not any(segment.type is SegmentType.FULL for segment in segments):
                yield f"number {number} came soundly and is {segments[0].type}"

    def _not_reported(self) -> Iterator[str]:
        """Say what was listed and is neither there nor in the report, or there for a wrong reason."""
        if self.missing is None:
            return
        there = self.whole().keys() | {self._number_at(s.start) for s in self.stored if s.type is SegmentType.SUSPECT}
        for number in sorted({number for _, number in self.show.listed} - there):
            reason, kind = self.reason(number), self.show.items[number].kind
            # that the stream was away from then on is no less true
            right = {kind.value, "away"} if kind in {Kind.ADVERTISEMENT, Kind.GAP} else _REASONS
            if reason not in right:
                yield f"number {number}, {kind}, is not there, and the report says: {reason}"

    def reason(self, number: int) -> str | None:
        """Give what the report says of a segment that is missing."""
        said = self.missing or {}
        return next((said[start] for start in said if self._number_at(start) == number), None)

    def _number_at(self, start: datetime) -> int | None:
        near = (item.number for item in self.show.items if abs(item.start - start) <= _TOLERANCE)
        return next(near, None)


# What must be there --------------------------------------------------------------------------------------------------


def required(show: Show, lives: tuple[Span, ...] = ALWAYS) -> set[int]:
    """Give the numbers that could be recorded: listed soundly for long enough, and then there for long enough."""
    wanted = [item for item in show.items if item.kind in {Kind.PROGRAMME, Kind.SLATE}]
    return {item.number for item in wanted if any(_reachable(show, item, life) for life in lives)}


def _reachable(show: Show, item: Item, life: Span) -> bool:
    seen = [at for (_, number), at in show.listed.items() if number == item.number and life[0] <= at < life[1]]
    if not show.script.preroll:  # of a session that shows something else, nothing but its ledger tells what it showed
        listed = max(life[0], item.published), min(life[1], _leaves(show, item))
        lists = [fault for fault in show.faults if fault.asked & {Asked.MASTER, Asked.PLAYLIST} and not fault.old_only]
        first = _first_seen(listed, lists)
        seen += [] if first is None else [first]
    return any(_comes(show, item, at, life) for at in seen)


def _comes(show: Show, item: Item, seen: float, life: Span) -> bool:
    """Tell whether a segment that is seen then can be had."""
    mine = [fault for fault in show.faults if _hits_for_good(fault, show, item)]
    until = min(seen + REACH_SECONDS, life[1], item.published + show.script.kept)
    return _long_enough((seen, until), mine, RETRY_SECONDS) is not None


def _first_seen(span: Span, faults: list[Fault]) -> float | None:
    """Tell when it can be seen at the latest; nobody needs to be looked for where nothing was wrong just before."""
    if all(fault.end + FIND_SECONDS <= span[0] or fault.begin >= span[1] for fault in faults):
        return span[0] if span[1] - span[0] >= LOOK_SECONDS else None
    return _long_enough(span, faults, FIND_SECONDS)


def _leaves(show: Show, item: Item) -> float:
    """Tell when it is listed no more."""
    script = show.script
    after = show.items[item.number + 1 :]
    resets = [later.published for later in after if (p := script.pauses.get(later.number)) and p.reset]
    pushed = after[script.window - 1].published if len(after) >= script.window else inf
    return min([pushed, *resets])


def _hits_for_good(fault: Fault, show: Show, item: Item) -> bool:
    media = fault.asked & {Asked.SEGMENT, Asked.KEY, Asked.INIT}
    mine = fault.numbers is None or item.number in fault.numbers
    # where a new session begins with advertisements, it has not what is refused to the old one
    spares_new = fault.old_only and not show.script.preroll
    return bool(media) and mine and fault.attempts is None and not fault.lets_through and not spares_new


def _long_enough(span: Span, faults: Iterable[Fault], seconds: float) -> float | None:
    """Find the first stretch of `span` of so many seconds without a fault, and give its beginning."""
    begin = span[0]
    for fault in sorted(faults, key=lambda fault: fault.begin):
        if fault.begin - begin >= seconds:
            break
        begin = max(begin, fault.end)
    return begin if span[1] - begin >= seconds else None
