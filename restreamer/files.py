"""How files are sent: looked up and opened in one hop to a thread, then handed from disk to socket by the kernel."""

import asyncio
import io
import os
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import format_datetime
from http import HTTPStatus
from pathlib import Path
from stat import S_ISREG

from aiohttp import web

from common.web import error_response
from restreamer.conditions import Part, choose
from restreamer.disk import off_loop_quickly
from restreamer.limits import PIECE_BYTES, taking

# More than a socket takes at once.
_READ_AHEAD_BYTES = 4 << 20


async def send_file(
    request: web.Request, path: Path, headers: Mapping[str, str], *, tag: str | None = None
) -> web.StreamResponse:
    """Answer with a file, whole or by byte range (RFC 9110 §14); 404 if it is none, 416 for bytes that it has not.

    `tag` names its content for good; without one its size and its time of modification stand for that. A client that
    does not take what it asked for is dropped.
    """
    file = await off_loop_quickly(lambda: _open(path, request, tag))
    if file is None:
        raise web.HTTPNotFound
    with file:
        return await _send(request, file, headers)


def is_file(path: Path) -> bool:
    """Tell whether there is a file; what cannot be looked at is an OSError."""
    try:
        return S_ISREG(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


class _OpenFile(io.FileIO):
    """An open file, what its stat said, and which part of it is asked for."""

    size: int
    tag: str
    modified: datetime
    part: Part


def _open(path: Path, request: web.Request, tag: str | None) -> _OpenFile | None:
    try:
        # what is no file (a pipe, say) must not make us wait
        file = _OpenFile(path, opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK))
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    found = os.fstat(file.fileno())
    if not S_ISREG(found.st_mode):
        file.close()
        return None
    file.size, file.modified = found.st_size, datetime.fromtimestamp(int(found.st_mtime), UTC)
    file.tag = tag or f"{found.st_mtime_ns:x}-{file.size:x}"
    file.part = choose(request.method, request.headers, size=file.size, tag=file.tag, modified=file.modified)
    if file.part.length and request.method != "HEAD":
        _await_disk(file.fileno(), file.part.first, min(file.part.length, _READ_AHEAD_BYTES))
    return file


def _await_disk(file: int, first: int, length: int) -> None:
    """Wait, here in a thread, until a slow disk has read what the loop will be sending at once."""
    os.posix_fadvise(file, first, length, os.POSIX_FADV_WILLNEED)
    os.pread(file, 1, first + length - 1)


async def _send(request: web.Request, file: _OpenFile, headers: Mapping[str, str]) -> web.StreamResponse:
    status, first, length = file.part
    if status is HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        sentence = f"The file has {file.size} bytes; ask for one range of these, such as bytes=0-99."
        answer = error_response(status, sentence)
        answer.headers["Content-Range"] = f"bytes */{file.size}"
        return answer
    if status is HTTPStatus.PRECONDITION_FAILED:
        return error_response(status, "The file is not the one that the request is meant for.")
    response = web.StreamResponse(status=status, headers=headers)
    response.headers["ETag"] = f'"{file.tag}"'
    response.headers["Last-Modified"] = format_datetime(file.modified, usegmt=True)
    response.headers["Accept-Ranges"] = "bytes"
    if status is HTTPStatus.PARTIAL_CONTENT:
        response.headers["Content-Range"] = f"bytes {first}-{first + length - 1}/{file.size}"
    if status is not HTTPStatus.NOT_MODIFIED:
        response.content_length = length
    await response.prepare(request)
    if request.method != "HEAD":
        await _hand_over(request, file, first, length)
    await response.write_eof()
    return response


async def _hand_over(request: web.Request, file: _OpenFile, first: int, count: int) -> None:
    """Have the kernel send the bytes. Raises ConnectionResetError if the client leaves or is dropped."""
    loop = asyncio.get_running_loop()
    end = first + count
    first += _send_at_once(request, file, first, count)
    while first < end:
        piece = min(PIECE_BYTES, end - first)
        async with taking(request) as transport:
            await loop.sendfile(transport, file, first, piece)
        first += piece


def _send_at_once(request: web.Request, file: _OpenFile, first: int, count: int) -> int:
    """Send what the socket takes now, mostly all, and give its bytes.

    asyncio's own way takes one more turn of the loop to notice that all has gone.
    """
    transport = request.transport
    if transport is None or transport.get_write_buffer_size() or transport.is_closing():
        return 0
    try:
        return os.sendfile(transport.get_extra_info("socket").fileno(), file.fileno(), first, count)
    except BlockingIOError:
        return 0
    except ConnectionError:
        transport.abort()  # it has left, which the transport does not know yet
        raise
