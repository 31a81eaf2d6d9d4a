"""A way to the database that can be cut, or on which nothing moves any more."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from urllib.parse import parse_qs, urlsplit


class Proxy:
    """Passes bytes on from TCP to a unix socket; see `proxied`."""

    def __init__(self, upstream: Path) -> None:
        self.dsn = ""
        self.open = asyncio.Event()
        self.open.set()
        self.refuses = False
        self._upstream = upstream
        self._writers: set[asyncio.StreamWriter] = set()

    def cut(self) -> None:
        """Break all connections, and refuse new ones until `mend`."""
        self.refuses = True
        for writer in self._writers:
            writer.transport.abort()

    def break_off(self) -> None:
        """Break all connections; new ones are let through."""
        self.cut()
        self.refuses = False

    def stall(self) -> None:
        """Let nothing through any more, and tell nobody."""
        self.open.clear()

    def mend(self) -> None:
        """Let everything through again."""
        self.refuses = False
        self.open.set()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refuses:
            writer.transport.abort()
            return
        far_reader, far_writer = await asyncio.open_unix_connection(self._upstream)
        self._writers |= {writer, far_writer}
        try:
            await asyncio.gather(self._pass(reader, far_writer), self._pass(far_reader, writer))
        finally:
            self._writers -= {writer, far_writer}

    async def _pass(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError):
            while data := await reader.read(65_536):
                await self.open.wait()
                writer.write(data)
                await writer.drain()
        writer.close()


@asynccontextmanager
async def proxied(dsn: str, host: str = "127.0.0.1") -> AsyncIterator[Proxy]:
    """Give a proxy whose `dsn` leads, as that of a database elsewhere would, to one that listens on a unix socket."""
    asked = urlsplit(dsn)
    said = parse_qs(asked.query)
    proxy = Proxy(Path(said["host"][0]) / f".s.PGSQL.{said.get('port', ['5432'])[0]}")
    server = await asyncio.start_server(proxy.serve, host, 0)
    proxy.dsn = f"postgresql://{asked.username}@{host}:{server.sockets[0].getsockname()[1]}{asked.path}"
    try:
        yield proxy
    finally:
        proxy.mend()
        proxy.cut()
        server.close()
