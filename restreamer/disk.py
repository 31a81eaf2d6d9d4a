"""How handlers reach the disk: in a thread, and with answers for what can go wrong there."""

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from stat import S_ISREG
from typing import TypeVar

import structlog
from aiohttp import web

from common.store import BadPathError
from common.web import RequestError, error_response

log = structlog.get_logger()

T = TypeVar("T")


async def off_loop(work: Callable[[], T]) -> T:
    """Do a request's disk work in a thread.

    Raises RequestError: 400 for a name that leads nowhere, 503 for what was deleted amid the work or cannot be read.
    """
    try:
        return await asyncio.to_thread(work)
    except BadPathError as error:
        raise RequestError(str(error)) from error
    except FileNotFoundError as error:
        raise RequestError("A part of this was just deleted; ask again.", status=503) from error
    except OSError as error:
        log.warning("store_not_read", reason=str(error))
        raise RequestError(f"The store cannot be read ({error.strerror}).", status=503) from error


async def send_file(request: web.Request, path: Path, headers: Mapping[str, str]) -> web.StreamResponse:
    """Answer with a file, whole or by byte range (RFC 9110 §14); 404 if it is none, 416 for bytes that it has not.

    aiohttp would answer these two without a sentence, and with the headers that are meant for the file: caches would
    keep the error as long as they may keep the file.
    """
    size = await off_loop(lambda: _size(path))
    if size is None:
        raise web.HTTPNotFound
    if not _has_range(request, size):
        answer = error_response(416, f"The file has {size} bytes; ask for one range of these, such as bytes=0-99.")
        answer.headers["Content-Range"] = f"bytes */{size}"
        return answer
    return web.FileResponse(path, headers=headers)


def _size(path: Path) -> int | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_size if S_ISREG(found.st_mode) else None


def _has_range(request: web.Request, size: int) -> bool:
    try:
        first = request.http_range.start
    except ValueError:
        return False
    return first is None or max(0, first) < size
