"""The best sequence: examples of every rule, and properties, one of them a slow reference that is obviously right."""

from collections.abc import Callable, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import count, pairwise
from random import Random

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from common import coverage
from common.coverage import BestSequence, ContainsHolesError, Hole, HourCandidates, MediaJoins, names_only
from common.dateutil import HOUR, floor_hour, hours_touching
from common.segments import Segment, SegmentType, make_segment

FULL, SUSPECT, PARTIAL, TEMP = SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL, SegmentType.TEMP
TOLERANCE = timedelta(milliseconds=10)
FEW_SECONDS = timedelta(seconds=5)

Size = Callable[[Segment], int]


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-01T{clock}+00:00")


def seg(clock: str, seconds: float, kind: SegmentType = FULL, content: str | None = None) -> Segment:
    return make_segment(at(clock), timedelta(seconds=seconds), kind, content or clock.replace(":", ""))


def hole(start: str, end: str) -> Hole:
    return Hole(at(start), at(end))


def even(_: Segment) -> int:
    return 1


def cover(
    candidates: Iterable[Segment],
    start: datetime,
    end: datetime,
    *,
    size: Size = even,
    allow_holes: bool = True,
    joins: MediaJoins = names_only,
) -> BestSequence:
    """The best sequence of candidates of any hours."""
    hours = covered_hours(candidates, start, end, size, joins)
    return coverage.best_sequence(hours, start, end, allow_holes=allow_holes, joins=joins)


def covered_hours(
    candidates: Iterable[Segment],
    start: datetime,
    end: datetime,
    size: Size = even,
    joins: MediaJoins = names_only,
) -> Iterator[HourCandidates]:
    given_ones = list(candidates)
    for hour in [floor_hour(start) - HOUR, *hours_touching(start, end + FEW_SECONDS)]:
        yield coverage.cover_hour([segment for segment in given_ones if floor_hour(segment.start) == hour], size, joins)


def items(
    candidates: Iterable[Segment], start: str, end: str, size: Size = even, joins: MediaJoins = names_only
) -> list[Segment | Hole]:
    return list(cover(candidates, at(start), at(end), size=size, joins=joins))


def media(*chains: Iterable[Segment]) -> MediaJoins:
    """Media that is known of all segments in these chains, within each of which it runs on."""
    known = {segment for chain in chains for segment in chain}
    pairs = {pair for chain in chains for pair in pairwise(chain)}
    return lambda earlier, later: (earlier, later) in pairs if {earlier, later} <= known else None


# The rule, one example each -----------------------------------------------------------------------------------------

A, B, C, D = (seg(f"12:00:0{second}", 2.0) for second in (0, 2, 4, 6))


def test_what_joins_has_no_hole() -> None:
    """Segments without a gap between them cover their range."""
    assert items([A, B, C, D], "12:00:00", "12:00:08") == [A, B, C, D]


def test_both_ends_are_included() -> None:
    """What reaches into the range or starts at its end belongs to it, what ends at its start does not."""
    assert items([A, B, C, D], "12:00:02", "12:00:06") == [B, C, D]
    assert items([A, B, C, D], "12:00:03", "12:00:05.999999") == [B, C]
    assert items([A, B, C, D], "12:00:02", "12:00:02") == [B]


def test_holes_are_reported_where_they_are() -> None:
    """A hole stands at the start, between two segments, and at the end."""
    assert items([B, D], "12:00:00", "12:00:10") == [
        hole("12:00:00", "12:00:02"),
        B,
        hole("12:00:04", "12:00:06"),
        D,
        hole("12:00:08", "12:00:10"),
    ]


def test_nothing_at_all_is_one_hole() -> None:
    """A range in which nothing is recorded is one hole, the empty range at one instant too."""
    assert items([], "12:00:00", "14:00:00") == [hole("12:00:00", "14:00:00")]
    assert items([A], "13:00:00", "13:00:00") == [hole("13:00:00", "13:00:00")]
    assert items([A, D], "12:00:03", "12:00:05") == [hole("12:00:03", "12:00:05")]


@pytest.mark.parametrize(("gap", "joins"), [("12:00:02.010", True), ("12:00:02.010001", False), ("12:00:02", True)])
def test_a_gap_of_ten_milliseconds_is_none(gap: str, *, joins: bool) -> None:
    """A gap of at most 10 ms joins, between two segments and at both ends of the range."""
    later = seg(gap, 2.0)
    assert items([A, later], "12:00:00", "12:00:03") == ([A, later] if joins else [A, hole("12:00:02", gap), later])
    assert items([A], "12:00:00", gap) == ([A] if joins else [A, hole("12:00:02", gap)])
    assert items([later], "12:00:02", "12:00:04") == ([later] if joins else [hole("12:00:02", gap), later])


@pytest.mark.parametrize(("start", "kept"), [("12:00:01.990", True), ("12:00:01.989999", False)])
def test_an_overlap_of_more_than_ten_milliseconds_drops_the_later(start: str, *, kept: bool) -> None:
    """An overlap of more than 10 ms drops the later segment and is counted, a smaller one is none."""
    later = seg(start, 4.0)
    [alone] = [hour.alone for hour in covered_hours([A, later], at("12:00:00"), at("12:00:01")) if hour.segments]
    assert alone.segments == ((A, later) if kept else (A,))
    assert alone.overlapped == (0 if kept else 1)
    following = seg("12:00:04", 2.0)
    assert (later in items([A, later, following], "12:00:00", "12:00:06")) is kept
    assert (following in items([A, later, following], "12:00:00", "12:00:06")) is not kept


@pytest.mark.parametrize("kind", [SUSPECT, PARTIAL])
def test_after_what_is_not_full_there_is_a_hole(kind: SegmentType) -> None:
    """Nothing promises that what is not full joins: there is a hole after it, and be it empty; none before it."""
    weak = seg("12:00:02", 2.0, kind)
    assert items([A, weak, C], "12:00:00", "12:00:06") == [A, weak, hole("12:00:04", "12:00:04"), C]
    assert items([weak], "12:00:02", "12:00:03") == [weak, hole("12:00:03", "12:00:03")]
    assert items([weak], "12:00:02", "12:00:05") == [weak, hole("12:00:04", "12:00:05")]
    assert items([weak, C], "12:00:04", "12:00:05") == [C]


def test_the_hour_before_reaches_in() -> None:
    """A segment that began in the hour before the range covers its beginning, however long ago that was."""
    before, first = seg("11:59:59", 2.0), seg("12:00:01", 2.0)
    assert items([before, first], "12:00:00", "12:00:03") == [before, first]
    long = seg("11:00:01", 3600.0)
    assert items([long, first], "12:00:00.5", "12:00:03") == [long, first]


def test_a_range_begins_with_the_segment_that_holds_its_start() -> None:
    """What overlaps the first segment by no more than the tolerance is not taken along, within an hour and over it."""
    for clock, end, start in (("12:00:58", "12:01:00.010", "12:01:00"), ("11:59:58", "12:00:00.010", "12:00:00")):
        before = seg(clock, (at(end) - at(clock)).total_seconds())
        assert items([before, seg(start, 2.0)], start, start) == [seg(start, 2.0)]


def test_an_overlap_reaches_over_the_hour() -> None:
    """A chain of overlaps goes on over the full hour: what is dropped does not drop what comes after."""
    one, two, three = seg("11:59:59", 2.0), seg("12:00:00", 2.0), seg("12:00:01", 2.0)
    assert items([one, two, three], "11:59:59", "12:00:03") == [one, three]
    assert items([two, three], "11:59:59", "12:00:03") == [
        hole("11:59:59", "12:00:00"),
        two,
        hole("12:00:02", "12:00:03"),
    ]


def test_hours_without_anything_are_bridged() -> None:
    """A hole over whole hours is one hole."""
    late = seg("15:30:00", 2.0)
    assert items([A, late], "12:00:00", "15:30:02") == [A, hole("12:00:02", "15:30:00"), late]


@pytest.mark.parametrize(
    ("better", "worse"),
    [
        (seg("12:00:00", 1.0, FULL, "a"), seg("12:00:00", 9.0, SUSPECT, "z")),
        (seg("12:00:00", 1.0, SUSPECT, "a"), seg("12:00:00", 9.0, PARTIAL, "z")),
        (seg("12:00:00", 2.0, PARTIAL, "a"), seg("12:00:00", 1.9, PARTIAL, "z")),
        (seg("12:00:00", 2.0, FULL, "big-a"), seg("12:00:00", 2.0, FULL, "z")),
        (seg("12:00:00", 2.0, FULL, "b"), seg("12:00:00", 2.0, FULL, "a")),
        (seg("12:00:00", 2.0, FULL, "a"), seg("12:00:00", 2.0, FULL, "Z")),
        (seg("12:00:00", 0.0, PARTIAL, "a"), seg("12:00:00", 9.0, TEMP, "big-z")),
    ],
)
def test_the_better_of_two_candidates(better: Segment, worse: Segment) -> None:
    """Full before suspect before partial, then the longer, then the larger, then the greater hash; temp never."""
    for rivals in ([better, worse], [worse, better]):
        hour = coverage.cover_hour(rivals, lambda segment: len(segment.hash))
        assert hour.segments == hour.alone.segments == (better,)


def test_only_the_equal_are_weighed() -> None:
    """The size of a file is asked for only where type and duration leave two candidates equal."""
    asked: list[str] = []

    def size(segment: Segment) -> int:
        asked.append(segment.hash)
        return 1

    unequal = [seg("12:00:02", 2.0, FULL, "a"), seg("12:00:02", 1.9, FULL, "b"), seg("12:00:02", 2.0, SUSPECT, "c")]
    coverage.cover_hour([A, *unequal, C], size)
    assert asked == []
    coverage.cover_hour([A, *unequal, seg("12:00:02", 2.0, FULL, "d")], size)
    assert sorted(asked) == ["a", "d"]


def test_what_is_still_written_is_never_chosen() -> None:
    """A temp covers nothing, even where there is nothing else."""
    assert items([seg("12:00:00", 2.0, TEMP)], "12:00:00", "12:00:02") == [hole("12:00:00", "12:00:02")]


def test_a_range_that_ends_before_it_starts_is_refused() -> None:
    """A range that ends before it starts raises ValueError."""
    with pytest.raises(ValueError, match="ends before it starts"):
        cover([A], at("12:00:02"), at("12:00:01"))


def test_segments_and_holes_of_a_sequence() -> None:
    """A sequence gives its segments and its holes apart, each in order."""
    found = cover([B, D, seg("13:00:00", 2.0)], at("12:00:00"), at("13:00:02"))
    together: list[Segment | Hole] = [*found.segments, *found.holes]
    assert list(found) == sorted(together, key=lambda item: item.start)
    assert [segment.start for segment in found.segments] == [B.start, D.start, at("13:00:00")]
    assert found.holes == [
        hole("12:00:00", "12:00:02"),
        hole("12:00:04", "12:00:06"),
        hole("12:00:08", "13:00:00"),
    ]


def test_an_hour_that_is_held_whole_is_shared() -> None:
    """Two ranges that hold the same hour whole get the same object for it."""
    hours = list(covered_hours([A, B, C], at("12:00:00"), at("12:00:09")))
    one, two = (coverage.best_sequence(hours, at("12:00:00"), at(end)) for end in ("12:00:05", "12:00:09"))
    assert one.hours[0] is two.hours[0]


# One content under two start times ----------------------------------------------------------------------------------


def test_a_skewed_copy_is_chosen_once() -> None:
    """What two nodes have dated some hundred milliseconds apart is chosen once, as one seamless chain."""
    ours = [seg(f"12:00:{n:02}", 2.0, FULL, f"h{n}") for n in range(0, 20, 2)]
    theirs = [seg(f"12:00:{n:02}.300", 2.0, FULL, f"h{n}") for n in range(0, 20, 2)]
    assert items(ours + theirs, "12:00:00", "12:00:20") == ours
    [alone] = [hour.alone for hour in covered_hours(ours + theirs, at("12:00:00"), at("12:00:20")) if hour.segments]
    assert (alone.overlapped, alone.skewed) == (0, 10)


def test_a_skewed_copy_is_chosen_where_it_joins() -> None:
    """Of two start times of one content that one is taken which joins the neighbours, be it the later."""
    early, late = seg("12:00:02.300", 2.0, FULL, "x"), seg("12:00:02.700", 2.0, FULL, "x")
    before, after = seg("12:00:00.700", 2.0), seg("12:00:04.700", 2.0)
    assert items([before, early, late, after], "12:00:00.700", "12:00:06") == [before, late, after]
    assert items([early, late, after], "12:00:02.700", "12:00:06") == [late, after]
    assert items([early, late, seg("12:00:04.300", 2.0)], "12:00:02.300", "12:00:06") == [
        early,
        seg("12:00:04.300", 2.0),
    ]


def test_a_skewed_copy_over_the_full_hour_is_chosen_once() -> None:
    """The two start times of one content may lie in two hours."""
    before, same = seg("11:59:58", 1.9, FULL, "x"), seg("12:00:00.200", 1.9, FULL, "x")
    after = seg("12:00:02.100", 2.0)
    assert cover([before, same, after], at("11:59:58"), at("12:00:04")).segments == [before, after]


def test_a_repeated_slate_is_kept() -> None:
    """One content back to back, as encoders repeat a slate, is one segment after the other, over the full hour too."""
    slates = [seg(f"11:59:{n}", 2.0, FULL, "slate") for n in range(50, 60, 2)]
    slates += [seg(f"12:00:{n:02}", 2.0, FULL, "slate") for n in range(0, 10, 2)]
    assert items(slates, "11:59:50", "12:00:10") == slates


def test_the_same_content_much_later_is_another_moment() -> None:
    """The same content more than a few seconds later is another moment, with holes before it."""
    later = seg("12:00:08", 2.0, FULL, A.hash)
    assert items([A, later], "12:00:00", "12:00:10") == [A, hole("12:00:02", "12:00:08"), later]


# What the media's timestamps say -------------------------------------------------------------------------------------

LATE = seg("12:00:02.300", 2.0)
EARLY = seg("12:00:01.700", 2.0)


def test_the_media_bridges_a_gap_of_the_names() -> None:
    """Where names leave a gap of at most five seconds and the media runs on, there is no hole; else there is."""
    broken = [A, hole("12:00:02", "12:00:02.300"), LATE]
    assert items([A, LATE], "12:00:00", "12:00:04", joins=media([A, LATE])) == [A, LATE]
    assert items([A, LATE], "12:00:00", "12:00:04", joins=media([A], [LATE])) == broken
    assert items([A, LATE], "12:00:00", "12:00:04", joins=media([A])) == broken
    for clock, bridged in (("12:00:07", True), ("12:00:07.000001", False)):
        far = seg(clock, 2.0)
        found = cover([A, far], A.start, far.end, joins=media([A, far]))
        assert found.segments == [A, far]
        assert bool(found.holes) is not bridged


def test_the_media_bridges_an_overlap_of_the_names() -> None:
    """What overlaps by its name is kept where the media runs on, and what follows it by name, too; else it is not."""
    after = seg("12:00:03.700", 2.0)
    dropped = [A, hole("12:00:02", "12:00:03.700"), after]
    assert items([A, EARLY, after], "12:00:00", "12:00:05", joins=media([A, EARLY])) == [A, EARLY, after]
    assert items([A, EARLY, after], "12:00:00", "12:00:05", joins=media([A], [EARLY])) == dropped
    assert items([A, EARLY, after], "12:00:00", "12:00:05", joins=media([EARLY])) == dropped
    within = seg("12:00:00.500", 1.5)
    assert items([A, within], "12:00:00", "12:00:02", joins=media([A, within])) == [A]


def test_after_what_is_not_full_there_is_a_hole_whatever_the_media_says() -> None:
    """The media makes nothing whole of what did not arrive so; but what it continues is not dropped."""
    weak = seg("12:00:00", 2.0, SUSPECT)
    assert items([weak, LATE], "12:00:00", "12:00:04", joins=media([weak, LATE])) == [
        weak,
        hole("12:00:02", "12:00:02.300"),
        LATE,
    ]
    assert items([weak, EARLY], "12:00:00", "12:00:03", joins=media([weak, EARLY])) == [
        weak,
        hole("12:00:01.700", "12:00:01.700"),
        EARLY,
    ]


@pytest.mark.parametrize(("earlier", "later"), [("12:00:00", "12:00:02.300"), ("11:59:58.100", "12:00:00.400")])
def test_a_bridged_gap_is_no_hole_at_the_ends_of_a_range(earlier: str, later: str) -> None:
    """A range that begins or ends within a gap that the media bridges has no hole there, over the full hour too."""
    before, after = seg(earlier, 2.0), seg(later, 2.0)
    between = before.end + TOLERANCE * 2
    for moment in (between, after.start - TOLERANCE * 2):
        assert list(cover([before, after], moment, after.end, joins=media([before, after]))) == [after]
        assert list(cover([before, after], before.start, moment, joins=media([before, after]))) == [before]
        assert cover([before, after], moment, after.end).holes == [Hole(moment, after.start)]
        assert cover([before, after], before.start, moment).holes == [Hole(before.end, moment)]
    assert list(cover([before, after], between, between, joins=media([before, after]))) == [Hole(between, between)]


def test_the_media_bridges_the_seam_of_two_hours() -> None:
    """Over the full hour a gap is bridged, and what overlaps is kept, as within an hour; the hour stays the same."""
    last, gap, overlap = seg("11:59:58", 2.0), seg("12:00:00.300", 2.0), seg("11:59:57.500", 3.0)
    first = seg("12:00:00", 2.0)
    start, end = at("11:59:58"), at("12:00:02")
    assert list(cover([last, gap], start, end, joins=media([last, gap]))) == [last, gap]
    assert cover([last, gap], start, end).holes == [hole("12:00:00", "12:00:00.300")]
    assert list(cover([overlap, first], start, end, joins=media([overlap, first]))) == [overlap, first]
    assert list(cover([overlap, first], start, end)) == [overlap, hole("12:00:00.500", "12:00:02")]
    joins = media([overlap, first])
    hours = list(covered_hours([overlap, first], start, end, joins=joins))
    assert coverage.best_sequence(hours, start, end, joins=joins).hours[1] is hours[2].alone


def test_a_clean_hour_asks_nothing() -> None:
    """The media is asked only where names leave a gap or an overlap that it could explain."""
    asked: list[tuple[Segment, Segment]] = []

    def joins(earlier: Segment, later: Segment) -> None:
        asked.append((earlier, later))

    clean = [A, B, C, D, seg("12:00:08.010", 2.0), seg("12:01:00", 2.0, PARTIAL), seg("12:01:03", 2.0)]
    found = cover(clean, at("12:00:00"), at("12:01:05"), joins=joins)
    assert (asked, found.doubts) == ([], [])
    cover([*clean, seg("12:01:05.300", 2.0)], at("12:00:00"), at("12:02:00"), joins=joins)
    assert asked == [(clean[-1], seg("12:01:05.300", 2.0))]


def test_what_the_media_could_decide_is_named() -> None:
    """The doubts of a range are the segments in it or close to it of which the media told nothing, chosen or not."""
    after = seg("12:00:03.700", 2.0)
    assert cover([A, EARLY, after], A.start, after.end).doubts == [A, EARLY, after]
    assert cover([A, EARLY], A.start, A.end, joins=media([A])).doubts == [A, EARLY]
    assert cover([A, EARLY], at("12:00:02"), at("12:00:03")).doubts == [A, EARLY]
    assert cover([A, EARLY], at("12:00:10"), at("12:00:11")).doubts == []
    assert cover([A, EARLY], A.start, A.end, joins=media([A], [EARLY])).doubts == []
    last, first = seg("11:59:58", 1.9), seg("12:00:00.200", 2.0)
    assert cover([last, first], last.start, first.end).doubts == [last, first]


def test_of_two_that_overlap_the_one_is_chosen_that_the_media_continues() -> None:
    """What begins earlier, and does not follow, gives way to what follows, unless that is of a worse type."""
    stranger, after = seg("12:00:02", 2.0, FULL, "other"), seg("12:00:04.300", 2.0)
    given_ones = [A, stranger, LATE, after]
    followed = media([A, LATE, after], [stranger])
    assert items(given_ones, "12:00:00", "12:00:06", joins=followed) == [A, LATE, after]
    [hour] = [hour for hour in covered_hours(given_ones, A.start, after.end, joins=followed) if hour.segments]
    assert (hour.alone.overlapped, hour.alone.doubts) == (1, ())
    assert items(given_ones, "12:00:00", "12:00:04", joins=media([A, LATE, after])) == [A, stranger]
    weak = LATE._replace(type=SUSPECT)
    assert stranger in items([A, stranger, weak], "12:00:00", "12:00:04", joins=media([A, weak], [stranger]))


def test_what_gives_way_leaves_nothing_behind() -> None:
    """A hole before what gave way is there once; a content that may be elsewhere, too, does not give way."""
    first, stranger = A._replace(type=SUSPECT), seg("12:00:02.100", 2.0, FULL, "other")
    followed = media([first, LATE], [stranger])
    assert items([first, stranger, LATE], "12:00:00", "12:00:04", joins=followed) == [
        first,
        hole("12:00:02", "12:00:02.300"),
        LATE,
    ]
    again, after = seg("12:00:06.350", 2.0, FULL, "other"), seg("12:00:04.300", 2.0)
    given_ones = [A, stranger, LATE, after, again]
    chosen = cover(given_ones, A.start, again.end, joins=media([A, LATE, after], [stranger, again])).segments
    assert [segment.hash for segment in chosen].count("other") == 1


def test_the_better_of_two_that_follow_is_chosen() -> None:
    """Of a segment and its broken copy, dated a little earlier by another node, the whole one is chosen."""
    broken = seg("12:00:02", 2.0, PARTIAL)
    both = media([A, LATE], [A, broken])
    assert items([A, broken, LATE], "12:00:00", "12:00:04.300", joins=both) == [A, LATE]


def test_a_content_is_chosen_where_the_media_goes_on() -> None:
    """Of two places some seconds apart the one is taken up to which the media runs, though the other joins by name."""
    here, there = seg("12:00:02.300", 1.0, FULL, "x"), seg("12:00:05", 1.0, FULL, "x")
    after, end = seg("12:00:06", 1.0), "12:00:07"
    assert items([A, here, there, after], "12:00:00", end, joins=media([A, here], [there, after])) == [
        A,
        here,
        hole("12:00:03.300", "12:00:06"),
        after,
    ]
    assert items([A, here, there, after], "12:00:00", end)[2:] == [there, after]


# Holes refused ------------------------------------------------------------------------------------------------------


def test_the_first_hole_ends_the_work() -> None:
    """With holes refused, no hour is looked at after the one in which the first hole shows."""
    looked: list[datetime] = []

    def hours() -> Iterator[HourCandidates]:
        for number in count():
            hour = at("11:00:00") + number * HOUR
            looked.append(hour)
            yield coverage.cover_hour([A, B, D] if hour == at("12:00:00") else [], even)

    with pytest.raises(ContainsHolesError, match=r"from 2026-03-01T12:00:04\.000000Z to 2026-03-01T12:00:06") as caught:
        coverage.best_sequence(hours(), at("12:00:00"), at("20:00:00"), allow_holes=False)
    assert caught.value.hole == hole("12:00:04", "12:00:06")
    assert looked == [at("11:00:00"), at("12:00:00")]


# Properties ---------------------------------------------------------------------------------------------------------

# The middle of every drawn recording is a full hour, so that chains cross it.
MIDDLE = at("12:00:00")
gaps = st.sampled_from([0, 0, 0, 0, 1, 10, 11, -1, -10, -11, -300, -1999, 300, 2000])
lengths = st.sampled_from([2000, 2000, 2000, 1000, 10, 1, 0, 4000])
kinds = st.sampled_from([FULL, FULL, FULL, SUSPECT, PARTIAL, TEMP])
instants = st.integers(-14_000, 14_000).map(lambda n: MIDDLE + timedelta(milliseconds=n))
ranges = st.tuples(instants, instants).map(sorted).map(tuple)


@st.composite
def recordings(draw: st.DrawFn, contents: st.SearchStrategy[str] | None = None) -> list[Segment]:
    """Segments that mostly follow each other, with rivals for some; each its own content, or one of `contents`."""
    fresh = (f"{number:03}" for number in count())
    begin = MIDDLE - timedelta(seconds=draw(st.integers(0, 12)))
    drawn: list[Segment] = []
    for _ in range(draw(st.integers(0, 10))):
        begin += timedelta(milliseconds=draw(gaps))
        for _ in range(draw(st.sampled_from([1, 1, 1, 2, 3]))):
            length = timedelta(milliseconds=draw(lengths))
            content = draw(contents) if contents is not None else next(fresh)
            drawn.append(make_segment(begin, length, draw(kinds), content))
        begin += timedelta(milliseconds=draw(lengths))
    return drawn


few_contents = recordings(st.sampled_from(["a", "b", "c"]))
any_recordings = recordings() | few_contents


def odd(earlier: Segment, later: Segment) -> bool | None:
    """Media of which some pairs join, some do not, and some are not known."""
    return (None, True, False, True)[sum((earlier.hash + later.hash).encode()) % 4]


knowledge = st.sampled_from([names_only, odd, lambda earlier, later: True, lambda earlier, later: False])


def bridged(earlier: Segment, later: Segment, joins: MediaJoins) -> bool:
    return abs(later.start - earlier.end) <= FEW_SECONDS and joins(earlier, later) is True


def by_number(segment: Segment) -> int:
    """Sizes of which some are equal."""
    return sum(segment.hash.encode()) % 3


def reference(candidates: list[Segment], start: datetime, end: datetime, size: Size) -> list[Segment | Hole]:
    """Section 3 of the design, word by word, for contents of which each has one start time."""
    strength = {FULL: 3, SUSPECT: 2, PARTIAL: 1}
    earliest, latest = floor_hour(start) - HOUR, floor_hour(end) + HOUR
    chain: list[Segment] = []
    for moment in sorted({segment.start for segment in candidates}):
        rivals = [segment for segment in candidates if segment.start == moment and segment.type is not TEMP]
        rivals.sort(key=lambda segment: (strength[segment.type], segment.duration, size(segment), segment.hash))
        if rivals and earliest <= moment < latest and (not chain or chain[-1].end - moment <= TOLERANCE):
            chain.append(rivals[-1])

    begun = [segment for segment in chain if segment.start <= start][-1:]
    inside = [segment for segment in begun if segment.end > start]
    inside += [segment for segment in chain if start < segment.start <= end]

    result: list[Segment | Hole] = []
    covered, joins = start, True
    for segment in inside:
        if segment.start - covered > TOLERANCE or not joins:
            result.append(Hole(min(covered, segment.start), segment.start))
        result.append(segment)
        covered, joins = segment.end, segment.type is FULL
    if end - covered > TOLERANCE or not joins or not inside:
        result.append(Hole(min(covered, end), end))
    return result


@given(recordings(), ranges)
def test_as_the_reference_chooses(candidates: list[Segment], span: tuple[datetime, datetime]) -> None:
    """What is chosen and which holes are reported is what the design says, word by word."""
    assert list(cover(candidates, *span, size=by_number)) == reference(candidates, *span, by_number)


@given(any_recordings, ranges, knowledge)
def test_a_sequence_never_overlaps(
    candidates: list[Segment], span: tuple[datetime, datetime], joins: MediaJoins
) -> None:
    """No two chosen segments overlap unless the media runs on, and all hold some instant of the range."""
    chosen = cover(candidates, *span, joins=joins).segments
    for earlier, later in pairwise(chosen):
        assert later.start > earlier.start
        overlaps = earlier.end - later.start > TOLERANCE
        assert not overlaps or (bridged(earlier, later, joins) and later.end > earlier.end)
    assert all(segment.start <= span[1] and segment.end >= span[0] for segment in chosen)
    assert all(segment in candidates and segment.type is not TEMP for segment in chosen)


@given(any_recordings, ranges, knowledge)
def test_sequence_and_holes_together_are_the_range(
    candidates: list[Segment], span: tuple[datetime, datetime], joins: MediaJoins
) -> None:
    """Segments and holes follow each other from the range's start to its end; a gap is where the media runs on."""
    reached = span[0]
    before: list[Segment] = candidates
    for item in cover(candidates, *span, joins=joins):
        if isinstance(item, Hole):
            assert span[0] <= item.start <= item.end <= span[1]
            assert abs(item.start - reached) <= TOLERANCE or item.start in {span[1], item.end}
        else:
            assert item.start - reached <= TOLERANCE or any(bridged(earlier, item, joins) for earlier in before)
            before = [item]
        reached = item.end
    assert span[1] - reached <= TOLERANCE or any(bridged(before[-1], later, joins) for later in candidates)


@given(st.lists(st.tuples(st.integers(-300, 300), st.booleans()), min_size=2, max_size=10))
def test_the_media_decides_whatever_the_clock_says(segments: list[tuple[int, bool]]) -> None:
    """Of a recording that was dated badly all is chosen, and there is a hole exactly where something is missing."""
    whole = [
        make_segment(MIDDLE + timedelta(seconds=2 * n - 8, milliseconds=late), timedelta(seconds=2), FULL, f"h{n}")
        for n, (late, _) in enumerate(segments)
    ]
    there = [segment for segment, (_, missing) in zip(whole, segments, strict=True) if not missing]
    assume(there)
    pairs = set(pairwise(whole))
    found = cover(there, there[0].start, there[-1].end, joins=lambda *pair: pair in pairs)
    assert found.segments == there
    assert [hole.end for hole in found.holes] == [later.start for _, later in sorted(set(pairwise(there)) - pairs)]


@given(any_recordings, ranges, knowledge, st.randoms(use_true_random=False))
def test_the_order_of_input_is_irrelevant(
    candidates: list[Segment], span: tuple[datetime, datetime], joins: MediaJoins, dice: Random
) -> None:
    """However the candidates are ordered, the same are chosen."""
    shuffled = cover(dice.sample(candidates, len(candidates)), *span, size=by_number, joins=joins)
    assert list(shuffled) == list(cover(candidates, *span, size=by_number, joins=joins))


def test_names_decide_when_all_else_is_equal() -> None:
    """Two names of the same content, length and type are ordered too: all nodes choose alike."""
    twin = Segment(*A[:4], name=A.name.replace("-2.0-", "-2.00-"))
    assert items([A, twin], "12:00:00", "12:00:02") == items([twin, A], "12:00:00", "12:00:02")


@given(any_recordings, ranges, knowledge, st.data())
def test_a_worse_candidate_changes_nothing(
    candidates: list[Segment], span: tuple[datetime, datetime], joins: MediaJoins, data: st.DataObject
) -> None:
    """One more candidate that is worse than another of the same start time is as if it were not there."""
    assume(any(candidate.type is not TEMP for candidate in candidates))
    better = data.draw(st.sampled_from([candidate for candidate in candidates if candidate.type is not TEMP]))
    worse = {FULL: [SUSPECT, PARTIAL, TEMP], SUSPECT: [PARTIAL, TEMP], PARTIAL: [TEMP]}[better.type]
    added = make_segment(better.start, timedelta(seconds=9), data.draw(st.sampled_from(worse)), "zzz")
    assert list(cover([*candidates, added], *span, joins=joins)) == list(cover(candidates, *span, joins=joins))


@given(any_recordings, st.lists(instants, min_size=4, max_size=4).map(sorted), knowledge)
def test_a_part_of_a_range_is_covered_likewise(
    candidates: list[Segment], moments: list[datetime], joins: MediaJoins
) -> None:
    """A range within another gets of the same segments those that it touches."""
    whole = cover(candidates, moments[0], moments[3], joins=joins).segments
    part = cover(candidates, moments[1], moments[2], joins=joins).segments
    begun = [segment for segment in whole if segment.start <= moments[1]][-1:]
    inside = [segment for segment in begun if segment.end > moments[1]]
    assert part == inside + [segment for segment in whole if moments[1] < segment.start <= moments[2]]


@given(any_recordings, ranges, knowledge)
def test_refused_holes_raise_the_first(
    candidates: list[Segment], span: tuple[datetime, datetime], joins: MediaJoins
) -> None:
    """With holes refused there is an error exactly if there is a hole, and it is the first."""
    allowed = cover(candidates, *span, joins=joins)
    if not allowed.holes:
        assert list(cover(candidates, *span, allow_holes=False, joins=joins)) == list(allowed)
        return
    with pytest.raises(ContainsHolesError) as caught:
        cover(candidates, *span, allow_holes=False, joins=joins)
    assert caught.value.hole == allowed.holes[0]


@given(few_contents, ranges, knowledge)
def test_one_content_one_place(candidates: list[Segment], span: tuple[datetime, datetime], joins: MediaJoins) -> None:
    """The same content is chosen again within a few seconds only where it joins the segment before it."""
    chosen = cover(candidates, *span, joins=joins).segments
    for index, segment in enumerate(chosen[1:], 1):
        again = [s for s in chosen[:index] if s.hash == segment.hash and segment.start - s.start <= FEW_SECONDS]
        if again:
            assert abs(segment.start - chosen[index - 1].end) <= TOLERANCE


@given(any_recordings, knowledge)
def test_what_is_passed_over_is_counted(candidates: list[Segment], joins: MediaJoins) -> None:
    """Of the best candidates of an hour each is chosen, or counted as overlapping or as skewed."""
    hour = coverage.cover_hour([c for c in candidates if c.start < MIDDLE], even, joins)
    starts = {candidate.start for candidate in candidates if candidate.start < MIDDLE and candidate.type is not TEMP}
    assert len(hour.alone.segments) + hour.alone.overlapped + hour.alone.skewed == len(hour.segments) == len(starts)
