"""Which entries are new, and when they start."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.playlist_values import MediaPlaylist, PlaylistSegment
from downloader.polling import reload_after
from downloader.timeline import NewSegment, Timeline

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TWO = timedelta(seconds=2)


def secs(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def entry(number: int, *, at: datetime | None = None, lasts: timedelta = TWO, uri: str = "") -> PlaylistSegment:
    return PlaylistSegment(uri or f"https://host/{number}.ts", lasts, number, program_date_time=at)


def listing(*entries: PlaylistSegment, target: timedelta = TWO) -> MediaPlaylist:
    return MediaPlaylist(target, entries)


def window(first: int, last: int, *, dated: bool = False) -> MediaPlaylist:
    """The entries `first` to `last`, of two seconds each from noon on."""
    return listing(*(entry(n, at=NOON + n * TWO if dated else None) for n in range(first, last + 1)))


def starts(new: Sequence[NewSegment]) -> list[float]:
    """Their starts, in seconds after noon."""
    return [(segment.start - NOON).total_seconds() for segment in new]


def numbers(new: Sequence[NewSegment]) -> list[int]:
    return [segment.entry.sequence for segment in new]


# Properties -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Stream:
    """What an encoder makes of a stream: its entries, and the windows in which they are seen."""

    entries: tuple[PlaylistSegment, ...]
    windows: tuple[tuple[int, int], ...]

    def shown(self, reload: int) -> tuple[PlaylistSegment, ...]:
        first, end = self.windows[reload]
        return self.entries[first:end]


durations = st.integers(1, 10_000_000).map(lambda n: timedelta(microseconds=n))


@st.composite
def streams(draw: st.DrawFn, names: int = 1000) -> Stream:
    """A stream without times that is reloaded while its window slides and grows, sometimes by nothing or by much."""
    lasts = draw(st.lists(durations, min_size=1, max_size=30))
    entries = tuple(entry(n, lasts=d, uri=f"https://host/{n % names}.ts") for n, d in enumerate(lasts))
    cuts = st.integers(0, len(entries))
    ends = sorted(draw(st.lists(cuts, min_size=1, max_size=12)))
    firsts = sorted(draw(st.lists(cuts, min_size=len(ends), max_size=len(ends))))
    return Stream(entries, tuple((min(pair), pair[1]) for pair in zip(firsts, ends, strict=True)))


def dated(stream: Stream) -> Stream:
    ends = accumulate(item.duration for item in stream.entries)
    pairs = zip(stream.entries, ends, strict=True)
    return replace(stream, entries=tuple(replace(e, program_date_time=NOON + end - e.duration) for e, end in pairs))


def seen(stream: Stream) -> list[NewSegment]:
    timeline = Timeline()
    return [
        new
        for reload in range(len(stream.windows))
        for new in timeline.advance(listing(*stream.shown(reload)), NOON + reload * TWO).new
    ]


def union(stream: Stream) -> list[int]:
    return sorted({item.sequence for reload in range(len(stream.windows)) for item in stream.shown(reload)})


@given(streams())
def test_every_entry_is_new_once(stream: Stream) -> None:
    """However the window slides, each entry that it ever shows is new exactly once, in order."""
    assert numbers(seen(stream)) == union(stream)
    assert numbers(seen(dated(stream))) == union(stream)


@given(streams())
def test_told_times_are_the_stream_s(stream: Stream) -> None:
    """Where the stream tells times, they are taken as they are, and nothing is called guessed."""
    assert all(new.start == new.entry.program_date_time and not new.guessed for new in seen(dated(stream)))


@given(streams(), st.integers(0, 29))
def test_one_time_at_the_head_dates_all(stream: Stream, told: int) -> None:
    """It makes no difference to the starts which of the entries in sight carries the time."""
    full = dated(stream)
    at = [item.program_date_time for item in full.entries]

    def one(reload: int) -> MediaPlaylist:
        first, end = stream.windows[reload]
        shown = [replace(item, program_date_time=None) for item in stream.shown(reload)]
        if shown:
            which = told % len(shown)
            shown[which] = replace(shown[which], program_date_time=at[first + which])
        assert len(shown) == end - first
        return listing(*shown)

    timeline = Timeline()
    new = [new for reload in range(len(stream.windows)) for new in timeline.advance(one(reload), NOON).new]
    assert [segment.start for segment in new] == [at[number] for number in numbers(new)]


@given(streams())
def test_guessed_times_never_overlap_and_join_what_follows(stream: Stream) -> None:
    """Without times, what follows something begins at its end, and nothing begins before an earlier end."""
    new = seen(stream)
    assert all(segment.guessed for segment in new)
    for earlier, later in pairwise(new):
        end = earlier.start + earlier.entry.duration
        follows = later.entry.sequence == earlier.entry.sequence + 1
        seen_together = any({earlier.entry, later.entry} <= {*stream.shown(n)} for n in range(len(stream.windows)))
        assert later.start == end if follows and seen_together else later.start >= end


@given(streams(names=3))
@settings(max_examples=50)
def test_names_may_be_used_in_turn(stream: Stream) -> None:
    """An encoder that writes a few files in turn is followed by its numbers."""
    assert numbers(seen(stream)) == union(stream)


@given(streams())
def test_hosts_and_tokens_may_change_between_reloads(stream: Stream) -> None:
    """The same segment at another host, or with another token, is not new, also where no times are told."""
    timeline = Timeline()
    new: list[NewSegment] = []
    for reload in range(len(stream.windows)):
        shown = [replace(e, uri=f"https://h{reload}/x/{e.sequence}.ts?token=/{reload}") for e in stream.shown(reload)]
        new += timeline.advance(listing(*shown), NOON + reload * TWO).new
    assert numbers(new) == union(stream)


# Cases ----------------------------------------------------------------------------------------------------------------


def test_the_newest_entry_ends_now_at_first_sight() -> None:
    """A stream without times is dated so that its newest segment ends at the moment of the request."""
    assert starts(Timeline().advance(window(5, 7), NOON).new) == [-6.0, -4.0, -2.0]


def test_later_entries_follow_from_those_before() -> None:
    """The local clock is looked at once: what comes later begins where the segment before it ends."""
    timeline = Timeline()
    timeline.advance(window(5, 7), NOON)
    assert starts(timeline.advance(window(6, 9), NOON + secs(3.3)).new) == [0.0, 2.0]


def test_times_that_leave_the_window_are_carried_on() -> None:
    """A time told only once, when the stream began, dates all that follows after it has left the playlist."""
    timeline = Timeline()
    timeline.advance(listing(entry(0, at=NOON), entry(1), entry(2)), NOON + secs(100))
    new = timeline.advance(window(1, 4), NOON + secs(105)).new
    assert starts(new) == [6.0, 8.0]
    assert all(segment.guessed for segment in new)


def test_a_jump_of_the_told_time_is_carried_on_from_its_latest_side() -> None:
    """After a break in the told times, what is carried on follows the entry before it and not an older one."""
    timeline = Timeline()
    timeline.advance(listing(entry(0, at=NOON), entry(1, at=NOON + secs(60)), entry(2)), NOON)
    assert starts(timeline.advance(window(0, 3), NOON).new) == [64.0]


def test_an_outage_longer_than_the_window_is_dated_from_the_clock() -> None:
    """When all that was known has left the playlist, the newest entry again ends now."""
    timeline = Timeline()
    timeline.advance(window(5, 7), NOON)
    assert starts(timeline.advance(window(50, 51), NOON + secs(90)).new) == [86.0, 88.0]


def test_a_new_guess_never_reaches_back_into_what_was_recorded() -> None:
    """A window that comes anew too early for the clock begins where the recording ends."""
    timeline = Timeline()
    timeline.advance(window(5, 7), NOON)
    assert starts(timeline.advance(window(50, 52), NOON + secs(1)).new) == [0.0, 2.0, 4.0]


def test_a_playlist_that_is_empty_for_a_moment_makes_nothing_new() -> None:
    """What was there before the playlist was empty is not new after it."""
    timeline = Timeline()
    timeline.advance(window(5, 7), NOON)
    assert not timeline.advance(listing(), NOON + TWO).changed
    assert starts(timeline.advance(window(6, 8), NOON + 2 * TWO).new) == [0.0]


def test_an_encoder_that_restarts_with_other_names_is_new() -> None:
    """Numbers that begin anew do not hide entries with other names."""
    timeline = Timeline()
    timeline.advance(window(0, 3), NOON)
    again = listing(*(entry(n, uri=f"https://host/again-{n}.ts") for n in range(3)))
    assert numbers(timeline.advance(again, NOON + secs(30)).new) == [0, 1, 2]


def test_an_encoder_that_restarts_with_the_same_names_is_new() -> None:
    """Numbers and names that begin anew do not hide entries of another time."""
    timeline = Timeline()
    timeline.advance(window(0, 3, dated=True), NOON)
    again = listing(*(entry(n, at=NOON + secs(40) + n * TWO) for n in range(3)))
    assert starts(timeline.advance(again, NOON + secs(46)).new) == [40.0, 42.0, 44.0]


def test_an_origin_that_corrects_its_clock_shows_nothing_new() -> None:
    """The same entry is not new again because its time has moved a little; what comes later has the new time."""
    timeline = Timeline()
    timeline.advance(window(0, 3, dated=True), NOON)
    moved = listing(*(entry(n, at=NOON + secs(0.7) + n * TWO) for n in range(1, 6)))
    assert starts(timeline.advance(moved, NOON).new) == [8.7, 10.7]


def test_an_origin_that_dates_anew_at_each_request_shows_nothing_new() -> None:
    """A playlist whose times always end now makes each entry new once."""
    timeline = Timeline()
    found = []
    for reload in range(20):
        now = NOON + reload * secs(5)
        entries = [entry(n, at=now + (n - reload) * TWO) for n in range(reload, reload + 10)]
        found += numbers(timeline.advance(listing(*entries), now).new)
    assert found == list(range(29))


def test_gaps_are_left_out_and_count_as_time() -> None:
    """What the origin says it does not have is not new, and what follows it starts after it."""
    gap = replace(entry(1), gap=True)
    assert starts(Timeline().advance(listing(entry(0, at=NOON), gap, entry(2)), NOON).new) == [0.0, 4.0]


# When to ask again ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("target", "last", "changed", "seconds"),
    [
        (6, 2, True, 2.0),
        (6, 6, True, 6.0),
        (6, 9, True, 6.0),
        (6, 6, False, 3.0),
        (6, None, True, 3.0),
        (6, None, False, 3.0),
        (6, 0, True, 0.5),
        (6, 0.04, True, 0.5),
        (1, 1, False, 0.5),
        (3600, 2, False, 10.0),
        (3600, 3600, True, 10.0),
    ],
)
def test_a_playlist_says_when_to_ask_again(target: float, last: float | None, changed: bool, seconds: float) -> None:  # noqa: FBT001
    """After its last segment's time, or half its target duration if nothing came; never in a rush, never late."""
    entries = () if last is None else (entry(0), entry(1, lasts=secs(last)))
    assert reload_after(listing(*entries, target=secs(target)), changed=changed) == secs(seconds)
