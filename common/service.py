"""How a service starts, waits and stops."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any, TypeVar

import structlog

from common import logs
from common.errors import UserError

log = structlog.get_logger()

T = TypeVar("T")

# Set for the services that `respool up` starts: their standard input is then a pipe that nobody writes to and that
# ends when their parent dies, however it dies, so that none outlives it.
SUPERVISED = "RESPOOL_SUPERVISED"

# What a stop may take before it is forced; `respool up` promises that everything is gone within five seconds.
STOP_SECONDS = 3.0


def main(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]], *, name: str, level: str = "info") -> int:
    """Run a service until it ends or is told to: `run` gets the event that SIGTERM and SIGINT set.

    Gives the exit code: 0 after a stop, 1 after a failure, having logged once why.
    """
    logs.configure(level, name)
    try:
        asyncio.run(_run(run))
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


async def _run(run: Callable[[asyncio.Event], Coroutine[Any, Any, None]]) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get(SUPERVISED):
        loop.add_reader(sys.stdin.fileno(), stop.set)
    service = asyncio.ensure_future(run(stop))
    told = asyncio.ensure_future(stop.wait())
    await asyncio.wait({service, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    if not service.done():
        await asyncio.wait({service}, timeout=STOP_SECONDS)
    if not service.done():
        log.warning("stop_forced", after_seconds=STOP_SECONDS)
        service.cancel()
        with suppress(asyncio.CancelledError):
            await service
        return
    await service
