"""When a playlist is asked for again: within what the standard allows, and soon after there is something new."""

import random
from datetime import UTC, datetime, timedelta
from statistics import median

import pytest

from downloader.playlist_values import MediaPlaylist, PlaylistSegment
from downloader.polling import Phase, held_back, reload_after, with_number
from downloader.timeline import Timeline

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def secs(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def listing(*lasts: float, target: float = 2, first: int = 0, start: datetime | None = None) -> MediaPlaylist:
    entries = []
    for number, seconds in enumerate(lasts, first):
        entries.append(PlaylistSegment(f"http://host/{number}.ts", secs(seconds), number, program_date_time=start))
        start = start and start + secs(seconds)
    return MediaPlaylist(secs(target), tuple(entries))


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
    lasts = () if last is None else (2.0, last)
    assert reload_after(listing(*lasts, target=target), changed=changed) == secs(seconds)


class Origin:
    """Lists a segment some time after its end, and tells how late each was seen by who polls it."""

    def __init__(self, seed: int, lasts: float, spread: float, jitter: float) -> None:
        self.dice = random.Random(seed)
        self.lasts = [lasts + self.dice.uniform(-spread, spread) for _ in range(250)]
        self.ends = [sum(self.lasts[: number + 1]) for number in range(250)]
        self.listed = [end + 0.3 + self.dice.uniform(0, jitter) for end in self.ends]
        self.late: list[float] = []
        self.asked: list[float] = []

    def poll(self, *, until: int = 200) -> None:
        """Ask as a worker does until so many segments are listed; what a request finds is when it was made."""
        timeline, phase, before, least = Timeline(), Phase(), None, 0.0
        now = self.listed[10] + self.dice.uniform(0, self.lasts[0])
        while (count := sum(listed <= now for listed in self.listed)) < until:
            first = max(0, count - 6)
            start = NOON + secs(self.ends[first] - self.lasts[first])
            playlist = listing(*self.lasts[first:count], target=max(self.lasts), first=first, start=start)
            view = timeline.advance(playlist, NOON + secs(now))
            if before is not None:
                assert now - before >= least - 1e-6
                self.late += [now - self.listed[new.entry.sequence] for new in view.new]
            least = reload_after(playlist, changed=view.changed).total_seconds()
            phase.saw(view, now, before)
            self.asked.append(now)
            before, now = now, phase.due(playlist, view, now)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    ("lasts", "jitter", "late"), [(2.0, 0.0, 10), (2.0, 0.2, 30), (1.0, 0.05, 10), (4.0, 0.1, 15), (6.0, 0.1, 15)]
)
def test_a_steady_stream_is_seen_early(seed: int, lasts: float, jitter: float, late: int) -> None:
    """Soon the requests come right after the segments, with as few of them as before, and never too early."""
    origin = Origin(seed, lasts, 0.0, jitter)
    origin.poll()
    assert median(origin.late) <= 0.5
    assert sum(seconds > 1.0 for seconds in origin.late) <= late  # those by which the moment is learnt
    assert len(origin.asked) <= len(origin.late) + 5


@pytest.mark.parametrize("seed", range(3))
def test_an_unsteady_stream_is_asked_for_as_ever(seed: int) -> None:
    """Where the next segment's length cannot be foretold, nothing is risked: each is seen within the time of one."""
    origin = Origin(seed, 3.0, 1.0, 0.1)
    origin.poll()
    assert max(origin.late) < 4.5


def test_what_is_learnt_serves_the_next_session() -> None:
    """Another session, which begins at any moment, soon asks at the right one."""
    phase, late = Phase(), []
    for session, offset in enumerate((0.1, 1.5)):
        timeline, now, before = Timeline(), 100.0 + 100 * session + offset, None
        for _ in range(20):
            count = int(now // 2)
            playlist = listing(*[2.0] * 6, first=count - 6, start=NOON + secs(2 * count - 12))
            view = timeline.advance(playlist, NOON + secs(now))
            phase.saw(view, now, before)
            late.append(now - 2 * count)
            before, now = now, phase.due(playlist, view, now)
    assert max(late[22:]) <= 0.3


def test_a_moment_that_moves_is_learnt_anew() -> None:
    """When segments come to be listed later than before, the requests follow them."""
    phase, timeline, now, before = Phase(), Timeline(), 100.0, None
    asked = []
    for number in range(120):
        shift = 0.9 if number > 40 else 0.0
        count = int((now - shift) // 2)
        playlist = listing(*[2.0] * 6, first=count - 6, start=NOON + secs(2 * count - 12))
        view = timeline.advance(playlist, NOON + secs(now))
        phase.saw(view, now, before)
        asked.append(now - shift - 2 * count)
        before, now = now, phase.due(playlist, view, now)
    assert median(asked[60:]) <= 0.5


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://host/a.m3u8", "http://host/a.m3u8?_HLS_msn=7"),
        ("http://host/a.m3u8?token=x", "http://host/a.m3u8?token=x&_HLS_msn=7"),
        ("http://host/a.m3u8?token=x#y", "http://host/a.m3u8?token=x&_HLS_msn=7#y"),
    ],
)
def test_a_number_is_asked_for(url: str, expected: str) -> None:
    """The number that is waited for is one more part of the query."""
    assert with_number(url, 7) == expected


@pytest.mark.parametrize(("target", "seconds"), [(2, 6.0), (0.1, 1.5), (3600, 30.0)])
def test_an_answer_is_held_back_for_three_segments(target: float, seconds: float) -> None:
    """That is what the standard allows; whatever the playlist claims, not for ever."""
    assert held_back(listing(2.0, target=target)) == seconds
