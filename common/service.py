"""How a service starts, waits and stops."""

import asyncio
import gc
import os
import platform
import signal
import sys
import threading
from collections.abc import Callable, Coroutine
from contextlib import suppress
from importlib.metadata import version
from typing import Any

import structlog

from common import logs, metrics
from common.errors import UserError

log = structlog.get_logger()

# Set for the services that `respool up` starts: their standard input is then a pipe that nobody writes to. It ends when
# they are to stop, and also when their parent dies, however it dies, so that none outlives it.
SUPERVISED = "RESPOOL_SUPERVISED"

Run = Callable[[asyncio.Event], Coroutine[Any, Any, None]]

# New objects between two runs of the garbage collector, instead of 700: a store keeps hundred thousands of segments,
# none in a cycle, and a first look at a week spent a fifth of its time on finding that out again and again.
GARBAGE_THRESHOLD = 50_000

# How long a thread that computes may keep the event loop waiting, instead of 5 ms: an answer takes several such waits.
SWITCH_SECONDS = 0.0005


# What does not end by being cancelled either (a thread that hangs in a read, say) is left after so much more, without
# ado: starting again is prepared for a kill at any time.
_LEAVE_SECONDS = 0.8

_BUILD = metrics.gauge(
    "build_info", "Always 1: which version runs.", "service", "version", "python", together="livemax"
)
_LAG = metrics.seconds("event_loop_lag", "How late the event loop comes to what is due, looked at ten times a second.")
_LOOK_SECONDS = 0.1


def main(run: Run, *, name: str, level: str = "info", stop_seconds: float = 3.0) -> int:
    """Run a service until it ends or is told to: `run` gets the event that SIGTERM and SIGINT set.

    Gives the exit code: 0 after a stop, 1 after a failure, having said once why: in the log, but for a UserError to a
    person at a terminal, who gets its sentence. Called in the main thread. A stop that takes longer than `stop_seconds`
    is forced; where even that hangs, the process ends at once with 1.
    """
    logs.configure(level, name)
    logs.catch_the_rest()
    tune()
    _BUILD.labels(name, version("respool"), platform.python_version()).set(1)
    leave = threading.Timer(stop_seconds + _LEAVE_SECONDS, _leave)
    leave.daemon = True
    try:
        asyncio.run(_run(run, stop_seconds, leave))
    except Exception as error:  # noqa: BLE001 - the outermost edge: whatever ends a service is logged here, once
        return _report(error)
    finally:
        leave.cancel()
    return 0


def tune() -> None:
    """Set up the interpreter as services have it."""
    gc.set_threshold(GARBAGE_THRESHOLD)
    sys.setswitchinterval(SWITCH_SECONDS)


def _leave() -> None:
    log.error("stop_hangs")
    os._exit(1)


def _report(error: Exception) -> int:
    causes = list(_leaves(error))
    if not all(isinstance(cause, UserError) for cause in causes):
        log.error("failed", exc_info=error)
        return 1
    watched = sys.stderr.isatty() and not os.environ.get(SUPERVISED)
    for cause in causes:
        if watched:
            sys.stderr.write(f"Error: {cause}\n")
        else:
            log.error("cannot_run", reason=str(cause))
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


async def _run(run: Run, stop_seconds: float, leave: threading.Timer) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if os.environ.get(SUPERVISED):
        _stop_at_end_of_input(loop, stop)
    watching = asyncio.ensure_future(_watch_loop())
    service = asyncio.ensure_future(run(stop))
    told = asyncio.ensure_future(stop.wait())
    await asyncio.wait({service, told}, return_when=asyncio.FIRST_COMPLETED)
    told.cancel()
    watching.cancel()
    if not service.done():
        leave.start()
        await asyncio.wait({service}, timeout=stop_seconds)
    if not service.done():
        log.warning("stop_forced", after_seconds=stop_seconds)
        service.cancel()
        with suppress(asyncio.CancelledError):
            await service
        return
    await service


async def _watch_loop() -> None:
    """Measure how late the loop comes to what is due, until cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        due = loop.time() + _LOOK_SECONDS
        await asyncio.sleep(_LOOK_SECONDS)
        _LAG.observe(max(0.0, loop.time() - due))
