"""How a service starts, waits and stops."""

import asyncio
import gc
import os
import random
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from common import logs
from common.errors import UserError

log = structlog.get_logger()

# Set for the services that `respool up` starts: their standard input is then a pipe that nobody writes to and that
# ends when their parent dies, however it dies, so that none outlives it.
SUPERVISED = "RESPOOL_SUPERVISED"

# New objects between two runs of the garbage collector, instead of 700: a store keeps hundred thousands of segments,
# none in a cycle, and a first look at a week spent a fifth of its time on finding that out again and again.
GARBAGE_THRESHOLD = 50_000

# What a stop may take before it is forced; `respool up` promises that everything is gone within five seconds.
STOP_SECONDS = 3.0

# Then it is cancelled. What does not even end by that (a thread that hangs in a read, say) is left without more ado:
# starting again is prepared for a kill at any time.
LEAVE_SECONDS = 4.0


def main(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, name: str, level: str = "info") -> int:
    """Run a service until it ends or is told to: `run` gets the event that SIGTERM and SIGINT set.

    Gives the exit code: 0 after a stop, 1 after a failure, having logged once why. Called in the main thread. Where a
    stop hangs even when forced, the process ends at once with 1.
    """
    logs.configure(level, name)
    gc.set_threshold(GARBAGE_THRESHOLD)
    leave = threading.Timer(LEAVE_SECONDS, _leave)
    leave.daemon = True
    try:
        asyncio.run(_run(run, leave))
    except Exception as error:  # noqa: BLE001 - the outermost edge: whatever ends a service is logged here, once
        return _report(error)
    finally:
        leave.cancel()
    return 0


def _leave() -> None:
    log.error("stop_hangs", after_seconds=LEAVE_SECONDS)
    os._exit(1)


def _report(error: Exception) -> int:
    causes = list(_leaves(error))
    if all(isinstance(cause, UserError) for cause in causes):
        for cause in causes:
            log.error("cannot_run", reason=str(cause))
    else:
        log.error("failed", exc_info=error)
    return 1


def _leaves(error: Exception) -> list[Exception]:
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for inner in error.exceptions for leaf in _leaves(inner)]


async def _run(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]], leave: threading.Timer) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get(SUPERVISED):
        loop.add_reader(sys.stdin.fileno(), _lose_parent, loop, stop)
    service = asyncio.ensure_future(run(stop))
    told = asyncio.ensure_future(stop.wait())
    await asyncio.wait({service, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not service.done():
        leave.start()
        await asyncio.wait({service}, timeout=STOP_SECONDS)
    if not service.done():
        log.warning("stop_forced", after_seconds=STOP_SECONDS)
        service.cancel()
        with suppress(asyncio.CancelledError):
            await service
        return
    await service


def _lose_parent(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    # a pipe that has ended can be read for ever
    loop.remove_reader(sys.stdin.fileno())
    stop.set()


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
