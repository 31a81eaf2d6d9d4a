"""How handlers reach the disk: in a thread, and with answers for what can go wrong there."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import structlog

from common.store import BadPathError
from common.timed import here
from common.web import RequestError

log = structlog.get_logger()

T = TypeVar("T")

# Playlists and cuts have other threads than all that is done in a moment: a file is sent however many of them are made.
# They compute under one lock of the interpreter, so that more threads would not make them faster.
_HEAVY = ThreadPoolExecutor(4, "heavy")
_LIGHT = ThreadPoolExecutor(8, "light")


async def off_loop(work: Callable[[], T]) -> T:
    """Do a request's disk work, which may take its time, in a thread.

    Raises RequestError: 400 for a name that leads nowhere, 503 for what was deleted amid the work or cannot be read.
    """
    return await _in(_HEAVY, work)


async def off_loop_quickly(work: Callable[[], T]) -> T:
    """Do disk work that takes a moment: looking up, listing a folder, opening. Raises as `off_loop` does."""
    return await _in(_LIGHT, work)


async def _in(threads: ThreadPoolExecutor, work: Callable[[], T]) -> T:
    try:
        return await asyncio.get_running_loop().run_in_executor(threads, here(work))
    except BadPathError as error:
        raise RequestError(str(error)) from error
    except FileNotFoundError as error:
        raise RequestError("A part of this was just deleted; ask again.", status=503) from error
    except OSError as error:
        log.warning("store_not_read", reason=str(error))
        raise RequestError(f"The store cannot be read ({error.strerror}).", status=503) from error
