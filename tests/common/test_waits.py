"""Waiting: for a while, for a thread, after a failure."""

import asyncio
import gc
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.waits import backoff, begun, in_thread, pause


async def test_work_in_a_thread_gives_its_result() -> None:
    """What the work gives, the caller gets."""
    assert await in_thread(divmod, 7, 2) == (3, 1)


async def test_a_cancelled_caller_waits_for_its_thread() -> None:
    """Cancelled, the caller ends only when its thread has, so that two threads never work on the same thing."""
    begun, go_on, ended = threading.Event(), threading.Event(), threading.Event()

    def work() -> None:
        begun.set()
        go_on.wait(10)
        ended.set()

    caller = asyncio.create_task(in_thread(work))
    await asyncio.to_thread(begun.wait, 10)
    caller.cancel()
    assert (await asyncio.wait([caller], timeout=0.05))[0] == set()
    go_on.set()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert ended.is_set()


async def test_an_error_of_work_that_was_given_up_troubles_nobody() -> None:
    """What nobody asks about any more ends silently; who asks still gets its error."""
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, about: complaints.append(about))

    async def fail() -> None:
        raise ValueError("too late")

    given_up, asked = begun(fail()), begun(fail())
    await asyncio.wait([given_up, asked])
    with pytest.raises(ValueError, match="too late"):
        await asked
    del given_up
    gc.collect()
    assert complaints == []


async def test_a_pause_lasts_as_long_as_asked() -> None:
    """A pause that nothing ends lasts, and says that there was no stop."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    assert await pause(asyncio.Event(), 0.05) is False
    assert loop.time() - began >= 0.045
    assert await pause(asyncio.Event(), 0) is False
    assert await pause(asyncio.Event(), -1) is False


async def test_a_stop_ends_a_pause() -> None:
    """A stop ends a pause at once, or does not let it begin."""
    stop = asyncio.Event()
    waiting = asyncio.create_task(pause(stop, 3600))
    await asyncio.sleep(0)
    stop.set()
    async with asyncio.timeout(5):
        assert await waiting is True
        assert await pause(stop, 3600) is True
    assert await pause(stop, 0) is True


async def test_a_cancelled_pause_is_cancelled() -> None:
    """A cancellation goes through a pause."""
    waiting = asyncio.create_task(pause(asyncio.Event(), 3600))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting


@given(st.integers(1, 10_000), st.floats(0.01, 10), st.floats(10, 1000), st.floats(0, 1, exclude_max=True))
def test_the_bounds_of_backoff(attempt: int, first: float, most: float, dice: float) -> None:
    """A pause after a failure is never longer than `most`, and at least half of what it doubles to."""
    longest = min(most, first * 2.0 ** min(attempt - 1, 40))
    assert longest / 2 <= backoff(attempt, first=first, most=most, rand=lambda: dice) <= longest


def test_backoff_doubles_and_jitters() -> None:
    """The pauses double up to the longest, and the dice choose within their upper half."""
    assert [backoff(n, rand=lambda: 1.0) for n in (1, 2, 3, 6, 7, 8)] == [1, 2, 4, 32, 60, 60]
    assert [backoff(n, rand=lambda: 0.0) for n in (1, 2, 3, 6, 7, 8)] == [0.5, 1, 2, 16, 30, 30]
