"""Which entries are new, and when they start."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import accumulate, pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader import timeline as subject
from downloader.outcomes import Reason
from downloader.playlist_values import MediaPlaylist, PlaylistSegment
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


def test_a_session_that_follows_another_changes_too() -> None:
    """A playlist has changed if it is another than its session's last one, though a faster session has shown it all."""
    timeline = Timeline()
    views = [timeline.advance(window(n, n + 3), NOON, session=session) for n in (0, 0, 1) for session in (1, 2)]
    assert [view.changed for view in views] == [True, True, False, False, True, True]
    assert [bool(view.new) for view in views] == [True, False, False, False, True, False]


def test_a_session_goes_on_when_it_shows_newer_programme_than_at_first() -> None:
    """Advertisements after the programme of its first playlist are no going on, nor is what was older."""
    timeline = Timeline()
    shown = [(0, 3, 0), (0, 3, 0), (2, 5, 2), (3, 6, 2)]
    marks = [[False] * (last + 1 - first - ads) + [True] * ads for first, last, ads in shown]
    views = [
        timeline.advance(window(first, last, dated=True), NOON, advertisements=mark)
        for (first, last, _), mark in zip(shown, marks, strict=True)
    ]
    assert [view.goes_on for view in views] == [False, False, False, True]


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


# Several sessions -----------------------------------------------------------------------------------------------------


def session(first: int, last: int, *, name: str = "b", shift: float = 0.0, count: int = 0) -> MediaPlaylist:
    """What another session shows of the stream: other names, perhaps other numbers, its times a little apart."""
    entries = [
        entry(n + count, at=NOON + n * TWO + secs(shift), uri=f"https://{name}/{name}{n}.ts")
        for n in range(first, last + 1)
    ]
    return listing(*entries)


@pytest.mark.parametrize(("shift", "count"), [(0.0, 0), (0.3, 0), (-0.4, 0), (0.0, 700), (0.008, 700)])
def test_a_session_that_names_all_otherwise_shows_nothing_new(shift: float, count: int) -> None:
    """The same moments are known by their numbers and about their times, or by their exact times."""
    timeline = Timeline()
    timeline.advance(window(0, 5, dated=True), NOON, session=1)
    view = timeline.advance(session(2, 6, shift=shift, count=count), NOON, session=2)
    assert starts(view.new) == [12.0 + shift]
    assert view.overlaps
    assert view.ahead
    assert not timeline.advance(window(1, 6, dated=True), NOON, session=1).new
    assert not timeline.advance(session(2, 6, shift=shift, count=count), NOON, session=2).new


def test_another_encoder_at_the_same_address_shows_nothing_new() -> None:
    """A playlist that comes from a spare encoder all at once, with its own names and numbers, goes on where it was."""
    timeline = Timeline()
    timeline.advance(window(0, 5, dated=True), NOON)
    assert starts(timeline.advance(session(2, 6, count=700), NOON).new) == [12.0]


def test_an_encoder_that_restarts_at_once_is_new() -> None:
    """Numbers that begin anew do not hide what comes some seconds later, whichever session shows it."""
    timeline = Timeline()
    timeline.advance(window(0, 2, dated=True), NOON, session=1)
    again = listing(*(entry(n, at=NOON + secs(6) + n * TWO, uri=f"https://host/x{n}.ts") for n in range(3)))
    assert starts(timeline.advance(again, NOON, session=1).new) == [6.0, 8.0, 10.0]
    assert not timeline.advance(again, NOON, session=2).new


def test_a_clock_that_is_set_back_hides_nothing() -> None:
    """What one session shows beside, or after, something at the same time is another moment."""
    timeline = Timeline()
    timeline.advance(window(0, 5, dated=True), NOON)
    back = [entry(n, at=NOON + (n - 3) * TWO) for n in range(6, 9)]
    shown = listing(*(entry(n, at=NOON + n * TWO) for n in range(3, 6)), *back)
    assert starts(timeline.advance(shown, NOON).new) == [6.0, 8.0, 10.0]


def test_a_session_that_lags_behind_is_known_as_such() -> None:
    """What is older than what others have shown, and beside nothing that was, proves nothing; it is recorded."""
    timeline = Timeline()
    timeline.advance(window(50, 55, dated=True), NOON, session=1)
    view = timeline.advance(session(2, 6), NOON, session=2)
    assert len(view.new) == 5
    assert (view.programme, view.ahead, view.overlaps) == (True, False, False)
    timeline.forget(1)
    assert timeline.advance(session(3, 7), NOON, session=2).ahead


def test_the_ways_to_a_moment_are_those_of_all_sessions() -> None:
    """A segment can be fetched by any of its names, the one that was shown last first; of each the last address."""
    timeline = Timeline()
    (first,) = timeline.advance(window(0, 0, dated=True), NOON, session=1).new
    timeline.advance(session(0, 1), NOON + TWO, session=2)
    renewed = replace(first.entry, uri=first.entry.uri + "?token=2")
    timeline.advance(listing(renewed), NOON + 2 * TWO, session=1)
    ways, shown_at = timeline.ways(first.entry)
    assert [way.uri for way in ways] == [renewed.uri, "https://b/b0.ts"]
    assert shown_at == NOON + 2 * TWO


def test_advertisements_of_one_session_hide_nothing_of_another() -> None:
    """Where one session shows an advertisement, what another one shows there is the programme, before or after it."""
    timeline = Timeline()
    timeline.advance(window(0, 2, dated=True), NOON, session=1)
    view = timeline.advance(session(1, 4), NOON, session=2, advertisements=[True] * 4)
    assert [(new.entry.sequence, reason) for new, reason in view.left_out] == [
        (3, Reason.ADVERTISEMENT),
        (4, Reason.ADVERTISEMENT),
    ]
    assert not view.programme
    assert numbers(timeline.advance(window(0, 5, dated=True), NOON, session=1).new) == [3, 4, 5]
    ways, _ = timeline.ways(entry(1))
    assert [way.uri for way in ways] == ["https://host/1.ts"]


def test_a_gap_that_is_filled_is_new() -> None:
    """What the origin did not have at first and lists later is recorded then."""
    timeline = Timeline()
    gap = replace(entry(1, at=NOON + TWO), gap=True)
    view = timeline.advance(listing(entry(0, at=NOON), gap), NOON)
    assert [reason for _, reason in view.left_out] == [Reason.GAP]
    assert starts(timeline.advance(window(0, 1, dated=True), NOON).new) == [2.0]


# Jumps ----------------------------------------------------------------------------------------------------------------


def jumped(first: int, last: int, by: float, *, after: int = 3, name: str = "a") -> MediaPlaylist:
    """A window in which the told times jump after a segment."""
    entries = [
        entry(n, at=NOON + n * TWO + secs(by if n > after else 0.0), uri=f"https://{name}/{name}{n}.ts")
        for n in range(first, last + 1)
    ]
    return listing(*entries)


def doubtful(new: Sequence[NewSegment]) -> list[int]:
    return [segment.entry.sequence for segment in new if segment.after_jump]


@pytest.mark.parametrize(("by", "found"), [(0.4, []), (0.6, [4, 5]), (-0.6, [4, 5]), (100.0, [4, 5])])
def test_a_jump_of_the_told_times_is_doubted(by: float, found: list[int]) -> None:
    """More than half a second without a discontinuity, within a playlist or from one to the next."""
    timeline = Timeline()
    assert doubtful(timeline.advance(jumped(0, 5, by), NOON).new) == found
    timeline = Timeline()
    timeline.advance(jumped(0, 3, by), NOON)
    view = timeline.advance(jumped(1, 5, by), NOON)
    assert doubtful(view.new) == found
    assert view.jumped == bool(found)


def test_a_discontinuity_may_jump() -> None:
    """A break that the playlist tells of is no reason to doubt."""
    shown = jumped(0, 5, 100.0)
    broken = tuple(replace(e, discontinuity=e.sequence == 4) for e in shown.segments)
    assert not doubtful(Timeline().advance(listing(*broken), NOON).new)


def test_a_jump_that_another_session_tells_too_is_true() -> None:
    """Then what was doubted is new once more, now without a doubt, and so is all that follows."""
    timeline = Timeline()
    timeline.advance(jumped(0, 5, 0.7), NOON, session=1)
    view = timeline.advance(jumped(2, 6, 0.7, name="b"), NOON, session=2)
    assert starts(view.new) == [8.7, 10.7, 12.7]
    assert not doubtful(view.new)
    again = timeline.advance(jumped(2, 7, 0.7), NOON, session=1)
    assert starts(again.new) == [14.7]
    assert not doubtful(again.new)
    assert not again.jumped


def test_a_jump_that_no_other_session_tells_is_corrected() -> None:
    """What another session tells without a jump is recorded where that has it; the first one stays in doubt."""
    timeline = Timeline()
    timeline.advance(jumped(0, 5, 0.7), NOON, session=1)
    view = timeline.advance(jumped(2, 6, 0.0, name="b"), NOON, session=2)
    assert starts(view.new) == [8.0, 10.0, 12.0]
    assert not doubtful(view.new)
    assert timeline.advance(jumped(2, 6, 0.7), NOON, session=1).jumped


def test_a_jump_that_lasts_is_believed() -> None:
    """After half a minute the times are what they are; and further jumps are no news for a while."""
    timeline = Timeline()
    timeline.advance(jumped(0, 5, 0.7), NOON)
    assert doubtful(timeline.advance(jumped(2, 6, 0.7), NOON + secs(29)).new) == [6]
    assert not doubtful(timeline.advance(jumped(3, 7, 0.7), NOON + secs(31)).new)
    shown = [*jumped(5, 7, 0.7).segments, *jumped(8, 9, 3.7).segments]
    view = timeline.advance(listing(*shown), NOON + secs(35))
    assert starts(view.new) == [19.7, 21.7]
    assert not doubtful(view.new)


# Anchors and bounds ---------------------------------------------------------------------------------------------------


def test_an_anchor_dates_a_stream_without_times() -> None:
    """Where a segment is known to have a start, all take theirs from it, and not from the clock."""
    timeline = Timeline()
    assert timeline.must_guess(window(5, 8))
    view = timeline.advance(window(5, 8), NOON + secs(100), anchor=(1, NOON))
    assert starts(view.new) == [-2.0, 0.0, 2.0, 4.0]
    assert not timeline.must_guess(window(6, 9))
    assert not Timeline().must_guess(window(5, 8, dated=True))
    assert not Timeline().must_guess(listing())


def test_names_that_come_again_without_times_are_new() -> None:
    """An encoder without times that begins anew after its first names have left the playlist hides nothing."""
    timeline = Timeline()
    for last in range(4, 30):
        timeline.advance(window(last - 4, last), NOON + last * TWO)
    assert numbers(timeline.advance(window(0, 2), NOON + secs(70)).new) == [0, 1, 2]


def test_what_was_shown_long_ago_is_forgotten() -> None:
    """However long a stream runs, some minutes of it are remembered."""
    timeline = Timeline()
    for last in range(5, 1000):
        now = NOON + last * TWO
        timeline.advance(window(last - 5, last, dated=True), now, session=last // 50)
        timeline.forget(last // 50 - 1)
    assert len(timeline._shown) < 200
    assert len(timeline._turns) + len(timeline._newest) < 20


def test_entries_that_change_at_each_look_do_not_pile_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """An origin that makes up new entries all the time is remembered up to a bound."""
    monkeypatch.setattr(subject, "_MOST_REMEMBERED", 100)
    timeline = Timeline()
    for turn in range(50):
        found = [entry(turn * 100 + n, lasts=timedelta(0), at=NOON) for n in range(60)]
        timeline.advance(listing(*found), NOON)
    assert len(timeline._shown) <= 160
