"""What one client, or many, may take of us: each limit with the reason for its size."""

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import wraps

from aiohttp import web

from common.web import Handler, RequestError

# No playlist or cut is longer, by whatever name it is asked for: a month of segments of two seconds is 1.3 million.
LONGEST_RANGE = timedelta(days=31)

# Playlists being made and cuts being sent, at once and by one process. Playlists wait for each other's turn at the
# processor; a cut is read from the disk as fast as its client takes it.
MOST_PLAYLISTS = 64
MOST_CUTS = 16

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
    transport = request.transport
    if transport is None:
        raise ConnectionResetError("The client has left.")
    try:
        async with asyncio.timeout(TAKE_SECONDS * max(1.0, size / PIECE_BYTES)):
            yield transport
    except TimeoutError:
        # else the kernel would keep what is not taken, and try for minutes
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        transport.abort()
        raise ConnectionResetError("The client does not take what it asked for.") from None
    except ConnectionError:
        transport.abort()
        raise


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
