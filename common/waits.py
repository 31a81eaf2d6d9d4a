"""Waiting: for a while, for a thread, after a failure."""

import asyncio
import random
from collections.abc import Callable, Coroutine
from contextlib import suppress
from functools import partial
from typing import Any, TypeVar

from common.timed import here

T = TypeVar("T")


async def in_thread(work: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - whatever `work` takes
    """Run blocking work in a thread, as `timed.here` has it. If cancelled, its end is waited for all the same."""
    running = asyncio.get_running_loop().run_in_executor(None, here(partial(work, *args)))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait({running})
        raise


def begun(work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
    """Begin work that may be given up: if nobody comes to hear how it ended, its error is no concern of anybody's."""
    task = asyncio.create_task(work)
    task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())
    return task


async def pause(stop: asyncio.Event, seconds: float) -> bool:
    """Wait for so many seconds, or until `stop` is set; tell whether it is."""
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, seconds)):
            await stop.wait()
    return stop.is_set()


def backoff(
    attempt: int, *, first: float = 1.0, most: float = 60.0, rand: Callable[[], float] = random.random
) -> float:
    """Give the seconds to wait after failure number `attempt` (from 1): doubling up to `most`, the upper half random.

    The jitter keeps those who failed together from coming back together.
    """
    longest = min(most, first * 2.0 ** min(attempt - 1, 32))
    return longest * (0.5 + 0.5 * rand())
