"""One entry of a playlist into the store, whatever the origin does."""

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, replace

from aiohttp import ClientSession

from common.metrics import SECONDS
from common.segments import Segment
from common.timed import timed
from common.waits import in_thread
from downloader.arrival import Circumstances, Committed, Order, Target, WrongKeyError
from downloader.attempt import Attempt, clear, first_whole, is_slow
from downloader.encryption import Decryption, Secret, key_bytes, vector, whole_blocks
from downloader.held import latest_sizes
from downloader.neighbours import REMEMBERED, Neighbours
from downloader.outcomes import FetchError, Reason
from downloader.playlist_values import Key, Map
from downloader.prefetches import Prefetches
from downloader.resources import Resources
from downloader.structure import Form, form_of
from downloader.timeline import NewSegment
from downloader.transfer import Client, Patience, Transfer

__all__ = ["FetchError", "Fetched", "Fetcher", "Target"]

# Some hundred bytes for each track.
_MOST_INIT_BYTES = 1 << 20

# A transfer that takes so long has stalled in between, and may have ended early.
_ODD_SECONDS = 60.0

# Second attempts of one quality at a time: where the line itself is slow, they would only make it slower.
_MOST_SECOND_ATTEMPTS = 2

# The addresses that failed last.
_MOST_FAILED = 256


@dataclass(frozen=True, slots=True)
class Fetched:
    """A segment in the store, its bytes, the seconds that it took, and in words what is odd about it."""

    segment: Segment
    bytes: int
    seconds: float
    remarks: tuple[str, ...] = ()


class Fetcher:
    """Fetches the segments of one quality into the store, and keeps what they need: keys, init sections."""

    def __init__(self, session: ClientSession, target: Target, *, patience: Patience | None = None) -> None:
        """Take a session that is `downloader.connections`', and where the segments belong."""
        self._target = target
        self._client = Client(session, patience or Patience())
        self._resources = Resources(self._client)
        self._prefetches = Prefetches(self._client)
        self._neighbours = Neighbours()
        self._failed: OrderedDict[str, None] = OrderedDict()
        self._second_attempts = 0

    def send(self, headers: Mapping[str, str]) -> None:
        """Send these headers with every request from now on."""
        self._client.headers = dict(headers)

    async def learn(self) -> None:
        """Look at the last segments in the store: what comes next is held against them. Raises OSError."""
        for size, duration in await in_thread(latest_sizes, self._target, REMEMBERED):
            self._neighbours.add(size, duration)

    @timed(
        "segment_fetch",
        "Fetching a segment and bringing it to disk.",
        labels={"channel": "self._target.channel", "quality": "self._target.quality"},
        per=("media_second", lambda fetched, *_: fetched.segment.duration.total_seconds()),
        buckets=SECONDS,
    )
    async def fetch(self, new: NewSegment) -> Fetched:
        """Fetch one segment and commit it as `full`, or as `suspect` if something about it is odd.

        Raises FetchError if it did not come whole, having kept what came as `partial`; if it is no media, or cannot be
        read; or if the disk refuses it. After that the next attempt has a connection of its own.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        uri = new.entry.uri
        try:
            order = await self._order(new)
            committed, attempt = await self._race(order)
        except FetchError as error:
            if isinstance(error, WrongKeyError) and new.entry.key is not None:
                self._resources.forget(new.entry.key.uri)
            self._failed[uri] = None
            if len(self._failed) > _MOST_FAILED:
                self._failed.popitem(last=False)
            raise
        self._failed.pop(uri, None)
        if attempt.transfer.framed:  # suspect ones too: if half of them are alike, so is the stream
            self._neighbours.add(committed.size, order.duration)
        remarks = committed.remarks
        if coding := attempt.transfer.coding:
            remarks += (f"it came in another coding ({coding})",)
        return Fetched(committed.segment, committed.size, loop.time() - began, remarks)

    def prefetch(self, uri: str) -> None:
        """Begin to fetch what the playlist promises; `fetch` takes that over when it is listed."""
        self._prefetches.begin(uri)

    async def close(self) -> None:
        """Drop what was begun and never listed."""
        await self._prefetches.close()

    async def _order(self, new: NewSegment) -> Order:
        """Get what is needed to read the segment."""
        key, init = new.entry.key, new.entry.map
        order = Order(new)
        if key is not None:
            order = replace(order, secret=await self._secret(key, vector(key, new.entry.sequence)))
        return replace(order, init=await self._init(init)) if init is not None else order

    async def _secret(self, key: Key, iv: bytes) -> Secret:
        length = key_bytes(key)
        content = await self._resources.get(key.uri, None, length, "key")
        if len(content) != length:
            self._resources.forget(key.uri)
            raise FetchError(f"The key has {len(content)} bytes in place of {length}.", Reason.UNUSABLE, gone=False)
        return Secret(key.method, content, iv)

    async def _init(self, init: Map) -> bytes:
        content = await self._resources.get(init.uri, init.byterange, _MOST_INIT_BYTES, "init section")
        # RFC 8216 §4.3.2.5: it is encrypted if a key applies to it; many an encoder encrypts the media only
        if not _is_init(content) and init.key is not None and init.key.iv is not None:
            decryption = Decryption(await self._secret(init.key, init.key.iv))
            content = decryption.feed(content) + decryption.finish()[0]
        if not _is_init(content):
            self._resources.forget(init.uri)
            raise FetchError("The init section is neither MP4 nor MPEG-TS.", Reason.UNUSABLE, gone=False)
        return content

    async def _race(self, order: Order) -> tuple[Committed, Attempt]:
        """Fetch it, with a second attempt if the first one is slow; the first to end wins."""
        uri = order.new.entry.uri
        attempts: dict[asyncio.Task[None], Attempt] = {}
        winner = None
        ahead = await self._prefetches.take(uri) if order.new.entry.byterange is None else None
        first = self._begin(order, attempts, ahead, fresh=uri in self._failed)
        try:
            if await is_slow(first, attempts[first]) and self._second_attempts < _MOST_SECOND_ATTEMPTS:
                whole = await self._beside(order, attempts)
            else:
                whole = await first_whole(attempts)
            committed = await whole.commit(self._circumstances(order, whole))
            winner = whole
            return committed, whole
        finally:
            await clear(attempts, winner)

    async def _beside(self, order: Order, attempts: dict[asyncio.Task[None], Attempt]) -> Attempt:
        self._second_attempts += 1
        try:
            self._begin(order, attempts, None, fresh=True)
            return await first_whole(attempts)
        finally:
            self._second_attempts -= 1

    def _begin(
        self, order: Order, attempts: dict[asyncio.Task[None], Attempt], ahead: Transfer | None, *, fresh: bool
    ) -> asyncio.Task[None]:
        byterange = order.new.entry.byterange
        if byterange and order.secret and order.secret.padded:
            byterange = whole_blocks(byterange)
        transfer = ahead or Transfer(self._client, order.new.entry.uri, byterange)
        attempt = Attempt(transfer, order, self._target)
        task = asyncio.create_task(attempt.run(fresh=fresh))
        attempts[task] = attempt
        return task

    def _circumstances(self, order: Order, attempt: Attempt) -> Circumstances:
        remarks = []
        if order.new.after_jump:
            remarks.append("the stream's times jumped before it")
        if (seconds := asyncio.get_running_loop().time() - attempt.began) > _ODD_SECONDS:
            remarks.append(f"it took {seconds:.0f} s to come")
        received = attempt.transfer.received
        low = self._neighbours.is_low(received, order.duration)
        return Circumstances(attempt.transfer.framed, low, tuple(remarks))


def _is_init(content: bytes) -> bool:
    return form_of(content) in (Form.MP4, Form.TRANSPORT)
