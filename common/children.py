"""Processes that we have started: services that are kept running, and how a child is sent a signal."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress

import structlog

from common.service import SUPERVISED
from common.waits import backoff, pause

log = structlog.get_logger()

_LONGEST_RESTART_PAUSE = 10.0

# A service that has run for so long before it ended is started again at once.
_STEADY_SECONDS = 60.0


async def supervise(
    name: str,
    arguments: list[str],
    stop: asyncio.Event,
    *,
    stop_seconds: float,
    environment: Mapping[str, str] | None = None,
    ended: Callable[[int], None] | None = None,
) -> None:
    """Keep a service (a package of ours, by name) running until `stop`; one that ends on its own is started again.

    Told to stop, it has `stop_seconds` before it is killed. `environment` is added to our own; `ended` is told the
    number of each process that has ended on its own.
    """
    failures = 0
    loop = asyncio.get_running_loop()
    while not stop.is_set():
        began = loop.time()
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            name,
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            env={**os.environ, **(environment or {}), SUPERVISED: "1"},
            start_new_session=True,  # Ctrl-C in the terminal is for us, who then end it
        )
        log.info("service_started", name=name, pid=process.pid)
        code = await _until_ended(process, stop, stop_seconds)
        if not stop.is_set():
            if ended is not None:
                ended(process.pid)
            failures = 1 if loop.time() - began > _STEADY_SECONDS else failures + 1
            log.error("service_ended", name=name, exit_code=code, failures=failures)
            await pause(stop, backoff(failures, first=0.5, most=_LONGEST_RESTART_PAUSE))


async def _until_ended(process: asyncio.subprocess.Process, stop: asyncio.Event, stop_seconds: float) -> int:
    """Wait until the process ends, making it end when `stop` is set or this is cancelled; give its exit code."""
    ended = asyncio.ensure_future(process.wait())
    told = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({ended, told}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        told.cancel()
        if not ended.done() and process.stdin is not None:
            # the end of its input stops it, as our death would
            process.stdin.close()
            await asyncio.wait({ended}, timeout=stop_seconds)
        if not ended.done():
            send_signal(process, signal.SIGKILL)
        code = await ended
    return code


def send_signal(process: asyncio.subprocess.Process, number: int) -> None:
    """Send a signal to a child of ours, unless it has ended.

    asyncio's own way asks whether the child has ended, and if it has just done so takes the exit code away from the
    one who waits for it, who then logs a warning and is told 255 (CPython issue 87744, before 3.13).
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
