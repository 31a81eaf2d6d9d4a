"""What one client, or many, may take of us: each limit with the reason for its size."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps
from typing import Any, TypeVar

from aiohttp import web

from common.levels import Size
from common.web import Handler, RequestError

T = TypeVar("T")

# No playlist or cut is longer, by whatever name it is asked for: a month of segments of two seconds is 1.3 million.
LONGEST_RANGE = timedelta(days=31)

# Playlists being made and cuts being sent, at once and by one process. Playlists wait for each other's turn at the
# processor; a cut is read from the disk as fast as its client takes it.
MOST_PLAYLISTS = 64
MOST_CUTS = 16

# Frames, thumbnails and waveforms being made: so many are patient with each other where ffmpeg runs a few at a time.
MOST_PICTURES = 16

# Some seconds of work for each hour.
LONGEST_WAVEFORM = timedelta(hours=6)
# Of pictures whose size can be asked for: a screen of 4K and more.
LARGEST_PICTURE = Size(4096, 2160)

# How soon it is noticed that a client has left, for whom a picture is being made.
_LOOK_SECONDS = 0.2

# A client takes at least so much ...
PIECE_BYTES = 1 << 20
# ... in so many seconds (140 kbit/s, less than any video), or is dropped: what it keeps open is missing to others.
TAKE_SECONDS = 60.0

# Closing without lingering resets the connection.
_RESET = struct.pack("ii", 1, 0)


@asynccontextmanager
async def taking(request: web.Request, size: int = PIECE_BYTES) -> AsyncIterator[asyncio.WriteTransport]:
    """Give the client the time that there is for so many bytes, for at least PIECE_BYTES.

    One that needs longer is dropped; for it, and for one that has left, ConnectionResetError is raised.
    """
    async with _within(request, TAKE_SECONDS * max(1.0, size / PIECE_BYTES)) as transport:
        yield transport


class Taker:
    """A client that is sent what is being made, in small parts: the time for PIECE_BYTES is for all parts of so many.

    It may hold an encode slot, so that one that takes a little now and then must not go on for ever.
    """

    def __init__(self, request: web.Request) -> None:
        """Nothing is sent yet."""
        self._request = request
        self._seconds = TAKE_SECONDS
        self._bytes = 0

    @asynccontextmanager
    async def taking(self, size: int) -> AsyncIterator[None]:
        """Give the client the time that it has left to take a part. Raises as the function `taking` does."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        async with _within(self._request, self._seconds):
            yield
        self._seconds -= loop.time() - began
        self._bytes += size
        if self._bytes >= PIECE_BYTES:
            self._seconds, self._bytes = TAKE_SECONDS, 0


@asynccontextmanager
async def _within(request: web.Request, seconds: float) -> AsyncIterator[asyncio.WriteTransport]:
    """Drop a client that needs longer. Raises ConnectionResetError for it, and for one that has left."""
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("The client has left.")
    try:
        async with asyncio.timeout(seconds):
            yield transport
    except TimeoutError:
        # else the kernel would keep what is not taken, and try for minutes
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
        raise ConnectionResetError("The client does not take what it asked for.") from None
    except ConnectionError:
        transport.abort()
        raise


async def while_there(request: web.Request, work: Coroutine[Any, Any, T]) -> T:
    """Do the work as long as the client waits for it: what nobody waits for must not keep others waiting.

    Raises ConnectionResetError, the work cancelled, once the client has left.
    """
    task = asyncio.create_task(work)
    try:
        while not task.done():
            if request.transport is None or request.transport.is_closing():
                raise ConnectionResetError("The client has left.")
            await asyncio.wait({task}, timeout=_LOOK_SECONDS)
        return task.result()
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


@dataclass(slots=True)
class Slots:
    """So many at once, of something that has a name."""

    free: int
    name: str

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Hold one. Raises RequestError (503) if none is free: who waits here for long would rather know."""
        if not self.free:
            raise RequestError(f"Too many {self.name} are being made; come back in a few seconds.", status=503)
        self.free -= 1
        try:
            yield
        finally:
            self.free += 1

    def limited(self, handler: Handler) -> Handler:
        """Make a handler hold a slot from its beginning to the end of its answer."""

        @wraps(handler)
        async def answer(request: web.Request) -> web.StreamResponse:
            with self.taken():
                return await handler(request)

        return answer
