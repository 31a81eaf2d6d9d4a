"""Waiting: for a while, for a thread, after a failure."""

import asyncio
import gc
import threading
from collections.abc import Callable
from typing import Any

import pytest

from common.waits import backoff, in_thread, pause


async def test_a_pause_ends_with_the_stop() -> None:
    """A pause that is told to stop ends at once and says so; one that ends by itself says that it was not."""
    stop = asyncio.Event()
    assert await pause(stop, 0) is False
    pausing = asyncio.create_task(pause(stop, 3600))
    stop.set()
    assert await pausing is True
    assert await pause(stop, -1) is True


def test_pauses_double_up_to_a_limit() -> None:
    """Each failure doubles the pause until the longest, and the dice take away at most half of it."""
    assert [backoff(n, first=1, most=10, rand=lambda: 1.0) for n in (1, 2, 3, 4, 5, 9999)] == [1, 2, 4, 8, 10, 10]
    assert [backoff(n, first=1, most=10, rand=lambda: 0.0) for n in (1, 5)] == [0.5, 5]


async def test_work_in_a_thread_gives_its_result() -> None:
    """What the work gives or raises, the caller gets."""
    assert await in_thread(int, "7") == 7
    with pytest.raises(ValueError, match="invalid literal"):
        await in_thread(int, "x")


@pytest.mark.parametrize("end", [lambda: None, lambda: int("x")])
async def test_a_cancelled_wait_lasts_until_the_thread_is_done(end: Callable[[], Any]) -> None:
    """Who cancels finds the work done, not under way; that it failed meanwhile is nobody's loss."""
    begun, go, done = asyncio.Event(), threading.Event(), threading.Event()
    loop = asyncio.get_running_loop()
    complaints = list[dict[str, Any]]()
    loop.set_exception_handler(lambda _, context: complaints.append(context))

    def work() -> None:
        loop.call_soon_threadsafe(begun.set)
        go.wait(20)
        done.set()
        end()

    waiting = asyncio.create_task(in_thread(work))
    await begun.wait()
    waiting.cancel()
    await asyncio.sleep(0)
    assert not waiting.done()
    go.set()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert done.is_set()
    gc.collect()
    assert not complaints
