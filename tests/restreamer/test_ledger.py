"""The ledger of a live playlist: whatever arrives in whatever order, what players have seen stays true."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from hypothesis import example, given, settings
from hypothesis import strategies as st

from common.coverage import JOIN_TOLERANCE, MediaJoins, best_sequence, bridges, cover_hour, names_only
from common.segments import Arrival, Segment, SegmentType, make_segment
from restreamer.ledger import EDGE_HELD, Ledger, open_ledger

START = datetime(2026, 3, 1, 18, 30, tzinfo=UTC)
LENGTH = timedelta(seconds=2)
FULL, SUSPECT, PARTIAL = SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL


def seg(number: float, kind: SegmentType = FULL, content: str = "") -> Segment:
    """The segment `number`, of two seconds each from START on."""
    return make_segment(START + number * LENGTH, LENGTH, kind, content or f"h{number:g}{kind.value}".replace(".", "_"))


def came(
    number: float, after: float, kind: SegmentType = FULL, hidden: float | None = None, content: str = ""
) -> Arrival:
    """The segment `number`, there so many seconds after START."""
    hidden_at = None if hidden is None else START + timedelta(seconds=hidden)
    return Arrival(seg(number, kind, content), START + timedelta(seconds=after), hidden_at)


def never(earlier: Segment, later: Segment) -> bool:
    """A medium without breaks of its own."""
    return False


def second(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def runs_on(earlier: Segment, later: Segment) -> bool:
    """A medium in which all segments join their neighbours by number, however they are dated."""
    return round((later.start - START) / LENGTH) - round((earlier.start - START) / LENGTH) == 1


media = st.sampled_from([names_only, runs_on])


def opened(arrivals: Iterable[Arrival], at: datetime, joins: MediaJoins = names_only) -> Ledger:
    """A ledger that was opened at a moment, and what had come by then."""
    there = [a for a in arrivals if a.at <= at and not (a.hidden and a.hidden <= at)]
    times = {a.segment: a.at for a in there}
    candidates = cover_hour(times, lambda _: 0, joins)
    return open_ledger(best_sequence([candidates], START, at, joins=joins), times.__getitem__, at, never, joins)


def listed(ledger: Ledger) -> list[str]:
    """The numbers of the listed segments, a break marked by a bar before it."""
    return [("|" if entry.broken else "") + f"{(entry.segment.start - START) / LENGTH:g}" for entry in ledger.entries]


def test_what_follows_is_listed_as_soon_as_it_comes() -> None:
    """A segment that joins the last one is listed at once."""
    ledger = opened([came(0, 3)], second(3))
    ledger.advance([came(1, 5)], second(5))
    assert listed(ledger) == ["0", "1"]


def test_a_late_segment_is_waited_for() -> None:
    """A later segment is held back for one that may be late; when that comes both are listed, without a break."""
    ledger = opened([came(0, 3)], second(3))
    ledger.advance([came(2, 7)], second(10))
    assert listed(ledger) == ["0"]
    ledger.advance([came(1, 11)], second(11))
    assert listed(ledger) == ["0", "1", "2"]


def test_a_hole_stands_when_it_has_been_waited_for() -> None:
    """After some seconds the hole is shown; what comes later for it is not listed any more."""
    ledger = opened([came(0, 3)], second(3))
    due = second(7) + EDGE_HELD
    ledger.advance([came(2, 7), came(3, 9)], due - timedelta(microseconds=1))
    assert listed(ledger) == ["0"]
    ledger.advance([], due)
    assert listed(ledger) == ["0", "|2", "3"]
    ledger.advance([Arrival(seg(1), due)], due)
    assert listed(ledger) == ["0", "|2", "3"]


def test_what_came_broken_is_waited_for() -> None:
    """A partial segment is held back for its whole, and listed with a break after it if that does not come."""
    ledger = opened([came(0, 3)], second(3))
    ledger.advance([came(1, 5, PARTIAL), came(1, 6), came(2, 7)], second(7))
    assert listed(ledger) == ["0", "1", "2"]
    assert ledger.entries[1].segment.type is FULL
    ledger.advance([came(3, 9, PARTIAL), came(4, 11)], second(9) + EDGE_HELD)
    assert listed(ledger) == ["0", "1", "2", "3", "|4"]


def test_a_break_of_the_media_is_marked() -> None:
    """Segments whose times join, and whose media does not, are listed with a break between them."""
    at = second(60)
    arrivals = [came(n, 2 * n + 3) for n in range(4)]
    times = {a.segment: a.at for a in arrivals}

    def breaks(earlier: Segment, later: Segment) -> bool:
        return later in (seg(2), seg(5))

    base = best_sequence([cover_hour(times, lambda _: 0)], START, at)
    ledger = open_ledger(base, times.__getitem__, at, breaks)
    ledger.advance([came(4, 61), came(5, 63)], second(63))
    assert listed(ledger) == ["0", "1", "|2", "3", "4", "|5"]


def test_a_tombstone_in_time_hides() -> None:
    """What was hidden before it could be listed is not listed; what was listed stays."""
    arrivals = [came(0, 3), came(1, 5, hidden=6), came(3, 9, hidden=10)]
    ledger = opened(arrivals[:1], second(3))
    ledger.advance(arrivals[1:], second(60))
    assert listed(ledger) == ["0", "1"]


def test_a_ledger_opens_with_late_ones_in_their_place() -> None:
    """Who comes later gets what came late for those before."""
    arrivals = [came(0, 3), came(2, 7), came(3, 9), came(1, 40)]
    assert listed(opened(arrivals, second(41))) == ["0", "1", "2", "3"]


def test_a_ledger_opens_before_a_young_hole() -> None:
    """A hole that may still close is not shown at the opening either."""
    arrivals = [came(0, 3), came(2, 7)]
    ledger = opened(arrivals, second(8))
    assert listed(ledger) == ["0"]
    ledger.advance([came(1, 9)], second(9))
    assert listed(ledger) == ["0", "1", "2"]


def test_a_ledger_that_asks_for_more_than_there_is_opens_at_once() -> None:
    """A hole at the start, from what was asked for to the first segment, is not waited for."""
    arrivals = [came(2, 7), came(3, 9)]
    assert listed(opened(arrivals, second(9))) == ["2", "3"]


def test_deleted_hours_are_counted() -> None:
    """What goes at the head is counted in the sequence numbers, its breaks in theirs."""
    ledger = opened([came(0, 3), came(2, 7), came(3, 9), came(5, 12), came(6, 14)], second(60))
    assert listed(ledger) == ["0", "|2", "3", "|5", "6"]
    ledger.forget(seg(3).start)
    assert (listed(ledger), ledger.first, ledger.first_break) == (["3", "|5", "6"], 2, 1)
    ledger.forget(second(3600))
    assert (listed(ledger), ledger.first, ledger.first_break) == ([], 5, 2)


def test_the_same_content_twice_is_listed_once() -> None:
    """A content that another node has dated a little later is not listed again."""
    ledger = opened([came(0, 3, content="a"), came(1, 5, content="b")], second(5))
    ledger.advance([came(2, 7, content="c"), came(3.3, 9, content="c"), came(4, 11, content="d")], second(60))
    assert listed(ledger) == ["0", "1", "2", "|4"]


def test_what_the_media_joins_is_listed_at_once() -> None:
    """A step of the clock over which the media runs on is no break, holds nothing back, and drops nothing."""
    for step in (0.15, -0.15):
        arrivals = [came(0, 3), came(1 + step, 5), came(2 + step, 7)]
        ledger = opened(arrivals[:1], second(3), runs_on)
        ledger.advance(arrivals[1:], second(7))
        assert listed(ledger) == ["0", f"{1 + step:g}", f"{2 + step:g}"]


def test_what_the_media_does_not_join_is_held_back() -> None:
    """Over a gap in which the media misses something, a list waits and breaks, wherever the clock stands."""
    ledger = opened([came(0, 3)], second(3), runs_on)
    ledger.advance([came(2.15, 7), came(3.15, 9)], second(10))
    assert listed(ledger) == ["0"]
    ledger.advance([], second(7) + EDGE_HELD)
    assert listed(ledger) == ["0", "|2.15", "3.15"]


def test_what_starts_before_the_last_one_is_passed_over() -> None:
    """However the media joins, a list is in the order of its starts."""
    ledger = opened([came(0, 2), came(1, 4)], second(4), lambda _earlier, _later: True)
    longer = make_segment(second(1), 3 * LENGTH, FULL, "longer")
    ledger.advance([Arrival(longer, second(5)), came(2, 6)], second(20))
    assert listed(ledger) == ["0", "1", "2"]


@st.composite
def recordings(draw: st.DrawFn) -> list[Arrival]:
    """Some minutes of a stream: on time, late, missing, twice, broken and replaced, skewed, hidden."""
    arrivals = []
    for number in range(draw(st.integers(1, 20))):
        natural = 2.0 * number + 3
        fate = draw(
            st.sampled_from(["ok", "ok", "ok", "late", "missing", "twice", "replaced", "skewed", "broken", "hidden"])
        )
        late = draw(st.floats(0, 60)) if fate in ("late", "replaced", "skewed") else draw(st.floats(0, 1))
        if fate in ("ok", "late"):
            arrivals.append(came(number, natural + late))
        elif fate == "twice":
            arrivals += [came(number, natural), came(number, natural + late, content=f"again{number}")]
        elif fate == "replaced":
            arrivals += [came(number, natural, draw(st.sampled_from([SUSPECT, PARTIAL]))), came(number, natural + late)]
        elif fate == "skewed":
            content = f"h{number}"
            shift = draw(st.sampled_from([-0.4, -0.15, 0.15, 0.4, 1.5]))
            arrivals += [came(number, natural, content=content), came(number + shift, natural + late, content=content)]
        elif fate == "broken":
            arrivals.append(came(number, natural, PARTIAL))
        elif fate == "hidden":
            arrivals.append(came(number, natural, hidden=natural + draw(st.floats(0, 30))))
    return sorted(arrivals, key=lambda arrival: arrival.at)


def shown(ledger: Ledger) -> list[tuple[int, int, str]]:
    """The listed entries as a player sees them: sequence number, discontinuity sequence number, name."""
    breaks = ledger.first_break
    rows = []
    for number, entry in enumerate(ledger.entries, start=ledger.first):
        breaks += entry.broken
        rows.append((number, breaks, entry.segment.name))
    return rows


@settings(max_examples=300)
@given(
    recordings(),
    st.floats(0, 60),
    st.lists(st.floats(0, 130), max_size=12),
    st.lists(st.floats(0, 40), max_size=3),
    media,
)
def test_players_never_see_anything_but_appends_and_a_shorter_head(
    arrivals: list[Arrival], opening: float, polls: list[float], deletions: list[float], joins: MediaJoins
) -> None:
    """Of two successive versions of a playlist, what both list has the same numbers (RFC 8216 §6.2.1, §6.2.2)."""
    at = second(opening)
    ledger = opened(arrivals, at, joins)
    before = shown(ledger)
    last = at
    for moment in sorted({*polls, 200.0}):
        now = max(second(moment), at)
        ledger.advance([a for a in arrivals if last < a.at <= now], now)
        last = now
        if deletions:
            ledger.forget(second(min(deletions.pop(), moment)))
        after = shown(ledger)
        first = after[0][0] if after else ledger.first
        kept = [row for row in before if row[0] >= first]
        assert after[: len(kept)] == kept
        before = after


@settings(max_examples=300)
@given(recordings(), st.floats(0, 60), st.lists(st.floats(0, 130), max_size=12), media)
def test_it_is_the_same_however_often_it_is_asked(
    arrivals: list[Arrival], opening: float, polls: list[float], joins: MediaJoins
) -> None:
    """Polled often, or worked out at once by another process, a ledger lists the same."""
    at = second(opening)
    often, once = opened(arrivals, at, joins), opened(arrivals, at, joins)
    last = at
    for moment in sorted({*polls, 200.0}):
        now = max(second(moment), at)
        often.advance([a for a in arrivals if last < a.at <= now], now)
        last = now
    once.advance([a for a in arrivals if a.at > at], second(200))
    assert shown(often) == shown(once)


@settings(max_examples=300)
@given(recordings(), st.floats(0, 60), media)
@example([came(0, 3), came(1, 5)], 0.0, names_only)
def test_what_is_listed_is_in_order_and_does_not_overlap(
    arrivals: list[Arrival], opening: float, joins: MediaJoins
) -> None:
    """Listed segments follow each other; each that does not join the one before it is marked."""
    at = second(opening)
    ledger = opened(arrivals, at, joins)
    ledger.advance([a for a in arrivals if a.at > at], second(200))
    for earlier, later in zip(ledger.entries, ledger.entries[1:], strict=False):
        assert earlier.segment.start < later.segment.start
        gap = later.segment.start - earlier.segment.end
        follows = abs(gap) <= JOIN_TOLERANCE or bridges(earlier.segment, later.segment, joins) is True
        assert gap >= -JOIN_TOLERANCE or follows
        assert later.broken == (not follows or earlier.segment.type is not FULL)
    assert not ledger.entries or not ledger.entries[0].broken
