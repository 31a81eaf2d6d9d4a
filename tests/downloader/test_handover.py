"""Who leads, who may go, when another one is started."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.handover import MOST_WORKERS, Cause, Decision, Standing, Starts, decide, is_stale, renew_after

NEW = Standing()
SHOWS = Standing(programme=True)  # programme, but older than what others have shown
YOUNG = Standing(programme=True, keeps_up=True)  # what comes after its first programme may be an advertisement
GOOD = Standing(programme=True, keeps_up=True, goes_on=True)
HANGS = Standing(trouble=Cause.SLOW)
FAILS = Standing(programme=True, keeps_up=True, goes_on=True, trouble=Cause.FAILED)
ENDS_SOON = Standing(programme=True, keeps_up=True, goes_on=True, trouble=Cause.EXPIRES)


@pytest.mark.parametrize(
    ("workers", "decision"),
    [
        ([], Decision(start=Cause.START)),
        ([NEW], Decision()),
        ([GOOD], Decision(leader=0)),
        ([HANGS], Decision(start=Cause.SLOW)),
        ([FAILS], Decision(leader=0, start=Cause.FAILED)),
        # the next one may yet prove itself: the old one goes on, and no third is started
        ([FAILS, NEW], Decision(leader=0)),
        ([FAILS, HANGS], Decision(leader=0, start=Cause.SLOW)),
        # what is older than what is known proves nothing, unless nobody has anything better
        ([FAILS, SHOWS], Decision(leader=0)),
        ([NEW, SHOWS], Decision(leader=1)),
        # what goes on is kept until the next one does, what stands still is not
        ([ENDS_SOON, YOUNG], Decision(leader=1)),
        ([FAILS, ENDS_SOON, YOUNG], Decision(leader=2, retire=(0,))),
        # proved: all before it may go, whatever their state
        ([ENDS_SOON, GOOD], Decision(leader=1, retire=(0,))),
        ([GOOD, HANGS, GOOD], Decision(leader=2, retire=(0, 1))),
        ([HANGS, NEW, FAILS], Decision(leader=2, retire=(0, 1), start=Cause.FAILED)),
        # there are never more than three
        ([FAILS, HANGS, HANGS], Decision(leader=0)),
    ],
)
def test_what_is_decided(workers: list[Standing], decision: Decision) -> None:
    """The last that has proved itself leads and those before it go; the last one's trouble starts another."""
    assert decide(workers) == decision


standings = st.builds(Standing, st.booleans(), st.booleans(), st.booleans(), st.sampled_from([None, *Cause]))


@given(st.lists(standings, max_size=MOST_WORKERS))
def test_whoever_works_is_kept(workers: list[Standing]) -> None:
    """The leader never goes, somebody is there or is started, and those that are left and start are three at most."""
    decision = decide(workers)
    left = len(workers) - len(decision.retire)
    assert decision.leader not in decision.retire
    assert left or decision.start
    assert left + (decision.start is not None) <= MOST_WORKERS
    assert any(worker.programme or worker.keeps_up for worker in workers) == (decision.leader is not None)


def test_starts_are_limited() -> None:
    """However often it is asked for, ten workers a minute are the most, and what may not help waits longer."""
    starts, now, times = Starts(), 0.0, []
    for _ in range(40):
        now = max(now, starts.earliest(Cause.STALE))
        starts.note(Cause.STALE, now)
        times.append(now)
    assert all(later - earlier >= 60 for earlier, later in zip(times, times[10:], strict=False))
    assert starts.attempts == 40
    starts = Starts()
    starts.note(Cause.JUMPED, 5.0)
    assert starts.earliest(Cause.JUMPED) == 65.0
    assert starts.earliest(Cause.FAILED) <= 5.0


@pytest.mark.parametrize(("lasts", "after"), [(100, 90), (3600, 3240), (86400, 85800), (0, 0)])
def test_an_address_is_replaced_before_it_ends(lasts: float, after: float) -> None:
    """When a tenth of its life is left, or ten minutes of a long one."""
    assert renew_after(timedelta(seconds=lasts)) == timedelta(seconds=after)


@pytest.mark.parametrize(
    ("target", "quiet", "behind", "least", "stale"),
    [
        (2, 5.9, None, None, False),
        (2, 6.1, None, None, True),
        (1, 4.9, None, None, False),
        (1, 5.1, None, None, True),
        (6, 17, 100.0, 80.0, False),
        (6, 19, 100.0, 80.0, True),
        # it moves, but ever further behind the clock; a stream that always was so late is fine
        (2, 0, 40.0, 5.0, True),
        (2, 0, 34.0, 5.0, False),
        (2, 0, 3600.0, 3599.0, False),
        (10, 0, 64.0, 5.0, False),
        (10, 0, 66.0, 5.0, True),
    ],
)
def test_when_a_playlist_is_stale(
    target: float,
    quiet: float,
    behind: float | None,
    least: float | None,
    stale: bool,  # noqa: FBT001
) -> None:
    """After three target durations without news, or when it has fallen behind by six more than at its best."""
    assert is_stale(timedelta(seconds=target), quiet, behind, least) is stale
