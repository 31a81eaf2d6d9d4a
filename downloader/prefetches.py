"""Segments that are on their way before their playlist lists them, so that most of them is here when it does."""

import asyncio
from collections import OrderedDict

from downloader.transfer import Client, Transfer

# Two are promised at a time, and two more may be about to be taken over.
_MOST = 4

# So much of each waits in memory; the rest waits in the network.
_MOST_AHEAD = 8 << 20

# What is not listed by then never will be.
_LONGEST_SECONDS = 60.0


class Prefetches:
    """Transfers by address, under way until they are taken over or dropped for newer ones."""

    def __init__(self, client: Client) -> None:
        """Take the client of the segments."""
        self._client = client
        self._running: OrderedDict[str, tuple[Transfer, asyncio.Task[None]]] = OrderedDict()

    def begin(self, uri: str) -> None:
        """Begin to fetch what will be listed soon, unless that is under way; the oldest makes room."""
        if uri in self._running:
            return
        while len(self._running) >= _MOST:
            _, (_, oldest) = self._running.popitem(last=False)
            oldest.cancel()
        transfer = Transfer(self._client, uri)
        task = asyncio.create_task(self._fetch(transfer))
        self._running[uri] = transfer, task
        task.add_done_callback(_retrieve)

    async def take(self, uri: str) -> Transfer | None:
        """Give the transfer of this address, with what has come, to go on with; None if there is none that is sound."""
        transfer, task = self._running.pop(uri, (None, None))
        if transfer is None or task is None:
            return None
        transfer.taken = True
        task.cancel()
        try:
            await asyncio.wait({task})
        except asyncio.CancelledError:
            await transfer.close()
            raise
        if transfer.answered_at is not None and task.cancelled():
            return transfer
        await transfer.close()
        return None

    async def close(self) -> None:
        """Drop them all."""
        tasks = [task for _, task in self._running.values()]
        self._running.clear()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _fetch(self, transfer: Transfer) -> None:
        try:
            async with asyncio.timeout(_LONGEST_SECONDS):
                await transfer.open()
                await transfer.read_ahead(_MOST_AHEAD)
                await asyncio.Event().wait()  # until it is cancelled
        finally:
            if not transfer.taken:
                await transfer.close()


def _retrieve(task: asyncio.Task[None]) -> None:
    """Look at how it ended: a failure is nobody's loss, since the segment is fetched again when it is listed."""
    if not task.cancelled():
        task.exception()
