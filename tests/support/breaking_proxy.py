"""A TCP proxy on loopback that refuses, breaks and swallows on command."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager


class BreakingProxy:
    """Passes connections on to a port, until told otherwise."""

    def __init__(self, target: int) -> None:
        self.port = 0
        self.lose_answer_to: bytes | None = None  # once: a request that holds this gets through, its answer does not
        self.lost = 0
        self._target = target
        self._server: asyncio.Server | None = None
        self._open: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Refuse connections, and break those that are there."""
        if self._server is not None:
            self._server.close()
            self._server = None
        while self._open:
            for end in {*self._open}:
                end.transport.abort()
            await asyncio.wait({*self._open.values()})

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._open[writer] = task
        try:
            far_reader, far_writer = await asyncio.open_connection("127.0.0.1", self._target)
            try:
                await self._pass_on(reader, writer, far_reader, far_writer)
            finally:
                far_writer.transport.abort()
        except OSError:
            pass  # that is what it is for
        finally:
            del self._open[writer]
            writer.transport.abort()

    async def _pass_on(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        far_reader: asyncio.StreamReader,
        far_writer: asyncio.StreamWriter,
    ) -> None:
        swallow = asyncio.Event()

        async def up() -> None:
            while data := await reader.read(1 << 16):
                if self.lose_answer_to is not None and self.lose_answer_to in data:
                    self.lose_answer_to = None
                    swallow.set()
                far_writer.write(data)
                await far_writer.drain()

        async def down() -> None:
            while data := await far_reader.read(1 << 16):
                if swallow.is_set():
                    self.lost += 1
                    return
                writer.write(data)
                await writer.drain()

        ways = [asyncio.create_task(up()), asyncio.create_task(down())]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


@asynccontextmanager
async def breaking_proxy(target: int) -> AsyncIterator[BreakingProxy]:
    proxy = BreakingProxy(target)
    await proxy.start()
    try:
        yield proxy
    finally:
        await proxy.stop()
