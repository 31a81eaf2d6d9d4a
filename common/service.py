"""How a service starts, waits and stops."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

import structlog

from common import logs
from common.errors import UserError

log = structlog.get_logger()

# Set for the services that `respool up` starts: their standard input is then a pipe that nobody writes to. It ends when
# they are to stop, and also when their parent dies, however it dies, so that none outlives it.
SUPERVISED = "RESPOOL_SUPERVISED"

Run = Callable[[asyncio.Event], Coroutine[Any, Any, None]]


def main(run: Run, *, name: str, level: str = "info", stop_seconds: float = 3.0) -> int:
    """Run a service until it ends or is told to: `run` gets the event that SIGTERM and SIGINT set.

    A stop that takes longer than `stop_seconds` is forced by cancelling. Gives the exit code: 0 after a stop, 1 after a
    failure, having logged once why.
    """
    logs.configure(level, name)
    try:
        asyncio.run(_run(run, stop_seconds))
    except Exception as error:  # noqa: BLE001 - the outermost edge: whatever ends a service is logged here, once
        return _report(error)
    return 0


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


def _stop_at_end_of_input(loop: asyncio.AbstractEventLoop, stop: asyncio.Event) -> None:
    supervisor = sys.stdin.fileno()

    def ended() -> None:
        loop.remove_reader(supervisor)
        stop.set()

    loop.add_reader(supervisor, ended)


async def _run(run: Run, stop_seconds: float) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get(SUPERVISED):
        _stop_at_end_of_input(loop, stop)
    service = asyncio.ensure_future(run(stop))
    told = asyncio.ensure_future(stop.wait())
    await asyncio.wait({service, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not service.done():
        await asyncio.wait({service}, timeout=stop_seconds)
    if not service.done():
        log.warning("stop_forced", after_seconds=stop_seconds)
        service.cancel()
        with suppress(asyncio.CancelledError):
            await service
        return
    await service
