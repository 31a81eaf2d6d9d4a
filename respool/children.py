"""Processes that we have started."""

import asyncio
import os
from contextlib import suppress


def send_signal(process: asyncio.subprocess.Process, number: int) -> None:
    """Send a signal to a child of ours, unless it has ended.

    asyncio's own way asks whether the child has ended, and if it has just done so takes the exit code away from the
    one who waits for it, who then logs a warning and is told 255 (CPython issue 87744, before 3.13).
    """
    if process.returncode is None:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)
