"""One try to fetch a segment, and several at once of which the first to end wins."""

import asyncio
import errno
from collections.abc import Callable
from typing import Any, TypeVar

from common.store import Store
from common.waits import in_thread
from downloader.arrival import Arrival, Circumstances, Committed, Order, Target
from downloader.outcomes import FetchError, Reason
from downloader.transfer import Transfer

T = TypeVar("T")

# What is handed to the disk's thread at once.
_WRITE_BYTES = 512 << 10

# No segment is longer, whatever its bit rate: 200 Mbit/s, and some seconds of it at least.
_MOST_BYTES_A_SECOND, _LEAST_SECONDS = 25 << 20, 4.0
_MOST_BYTES = 1 << 30


class Attempt:
    """A transfer and where it goes: `run` it, then `commit`, `keep` or `discard` what has come."""

    def __init__(self, transfer: Transfer, order: Order, target: Target) -> None:
        self.transfer = transfer
        self._arrival = Arrival(target, order)
        self._store = target.store
        self._buffer = bytearray()
        self.began = asyncio.get_running_loop().time()
        self._duration = order.duration

    async def run(self, *, fresh: bool) -> None:
        """Take in all of the answer. Raises FetchError if it does not come whole, or is no media."""
        try:
            async with asyncio.timeout(self.transfer.client.patience.body_hard(self._duration)):
                await self._receive(fresh=fresh)
        except TimeoutError:
            raise FetchError("The segment did not arrive in time.", Reason.TIMED_OUT) from None
        finally:
            await self.transfer.close()

    async def _receive(self, *, fresh: bool) -> None:
        transfer, buffer = self.transfer, self._buffer
        most = min(_MOST_BYTES_A_SECOND * max(_LEAST_SECONDS, self._duration.total_seconds()), _MOST_BYTES)
        if transfer.answered_at is None:
            await transfer.open(fresh=fresh)
        self._arrival.content_type = transfer.content_type
        while data := await transfer.read():
            buffer += data
            if transfer.received > most:
                raise FetchError(f"The segment is longer than {most / (1 << 20):.0f} MiB.", Reason.REFUSED, gone=True)
            if len(buffer) >= _WRITE_BYTES:
                await self._on_disk(self._arrival.write, self._taken())
        # here and not at the commit: an attempt that brought nothing must not win over one that still runs
        self._arrival.refuse_nothing(buffer)

    def overdue_at(self) -> float:
        """Give the time of the loop at which another attempt should begin beside this one, as far as it is known."""
        transfer, patience = self.transfer, self.transfer.client.patience
        if transfer.answered_at is None:
            return self.began + patience.answer_soft
        whole = max(self.began, transfer.answered_at) + patience.body_soft(self._duration)
        return min(whole, max(self.began, transfer.moved_at) + patience.silence_soft)

    async def commit(self, circumstances: Circumstances) -> Committed:
        """Give what has come its final name. Raises FetchError if it is empty or no media, or the disk refuses it."""
        return await self._on_disk(self._arrival.commit, self._taken(), circumstances)

    async def settle(self, *, keep: bool) -> None:
        """Keep what was not committed as `partial`, or leave nothing of it."""
        await self.transfer.close()  # of one that was never run
        rest = self._taken()
        if keep:
            await in_thread(self._arrival.keep, rest)
        else:
            await in_thread(self._arrival.discard)

    def _taken(self) -> bytes:
        data = bytes(self._buffer)
        self._buffer.clear()
        return data

    async def _on_disk(self, work: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - whatever `work` takes
        try:
            return await in_thread(work, *args)
        except OSError as error:
            raise FetchError(_disk_sentence(self._store, error), Reason.DISK) from error


def _disk_sentence(store: Store, error: OSError) -> str:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full; make room in {store.base}."
    return f"The store at {store.base} refuses it: {error.strerror}."


async def is_slow(task: asyncio.Task[None], attempt: Attempt) -> bool:
    """Wait for the end of an attempt that runs in `task`, or until it is overdue; tell whether it is."""
    loop = asyncio.get_running_loop()
    while (wait := attempt.overdue_at() - loop.time()) > 0:
        done, _ = await asyncio.wait({task}, timeout=wait)
        if done:
            return False
    return True


async def first_whole(attempts: dict[asyncio.Task[None], Attempt]) -> Attempt:
    """Wait until one of the attempts is whole. Raises the error of the one that came furthest if none ever is."""
    pending = set(attempts)
    while pending:
        done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            if task.exception() is None:
                return attempts[task]
    furthest = max(attempts, key=lambda task: attempts[task].transfer.received)
    await furthest
    raise AssertionError("An attempt that failed has an error.")


async def clear(attempts: dict[asyncio.Task[None], Attempt], winner: Attempt | None) -> None:
    """End all attempts but the winner; if there is none, keep what the one that came furthest has brought."""
    for task in attempts:
        task.cancel()
    await asyncio.wait(attempts)
    furthest = max(attempts.values(), key=lambda attempt: attempt.transfer.received)
    for attempt in attempts.values():
        if attempt is not winner:
            await attempt.settle(keep=attempt is furthest and winner is None)
