"""One segment from the origin into the store."""

import time
from contextlib import suppress
from dataclasses import dataclass
from http import HTTPStatus

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from common.recording import SegmentWriter
from common.segments import Segment, SegmentType
from common.store import Store
from common.waits import in_thread
from downloader.origin import status_line, why
from downloader.timeline import NewSegment

# A segment may arrive as slowly as it likes, as long as it keeps arriving.
_SEGMENT_TIMEOUT = ClientTimeout(total=120.0, sock_connect=5.0, sock_read=10.0)

# What is handed to the disk's thread at once.
_WRITE_BYTES = 512 << 10

# No segment of a few seconds is longer, whatever its bit rate.
_MOST_BYTES = 1 << 30

# ISO 13818-1 §2.4.3.2: packets of 188 bytes, each beginning with the sync byte.
_TS_PACKET_BYTES = 188
_TS_SYNC_BYTE = 0x47


class FetchError(Exception):
    """A segment did not come whole; the text is one plain sentence. `gone`: no further attempt can help."""

    def __init__(self, sentence: str, *, gone: bool = False) -> None:
        super().__init__(sentence)
        self.gone = gone


@dataclass(frozen=True, slots=True)
class Target:
    """Where a segment belongs."""

    store: Store
    channel: str
    quality: str


@dataclass(frozen=True, slots=True)
class Fetched:
    """A segment in the store, its bytes, and the seconds that it took."""

    segment: Segment
    bytes: int
    seconds: float


async def fetch(session: ClientSession, new: NewSegment, target: Target) -> Fetched:
    """Fetch one segment and commit it as `full`, or as `suspect` if it is complete but no transport stream.

    Raises FetchError if it did not come whole, having kept what came as `partial`, and OSError if the disk refuses it.
    """
    began = time.monotonic()
    try:
        async with session.get(new.entry.uri, timeout=_SEGMENT_TIMEOUT) as response:
            _check(response)
            arrival = _Arrival(new, target)
            segment = await _record(response, arrival)
    except TimeoutError:
        raise FetchError("The segment did not arrive in time.") from None
    except (ClientError, UnicodeError) as error:
        raise FetchError(f"The segment cannot be fetched: {why(error)}.") from error
    return Fetched(segment, arrival.size, time.monotonic() - began)


def _check(response: ClientResponse) -> None:
    if response.status in (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
        raise FetchError(f"The origin no longer has it ({response.status}).", gone=True)
    if response.status != HTTPStatus.OK:
        raise FetchError(f"The origin answers {status_line(response.status)}.")


async def _record(response: ClientResponse, arrival: "_Arrival") -> Segment:
    buffer = bytearray()
    try:
        async for chunk in response.content.iter_any():
            buffer += chunk
            if len(buffer) >= _WRITE_BYTES:
                await in_thread(arrival.write, _taken(buffer))
            if arrival.size > _MOST_BYTES:
                raise FetchError(f"The segment is longer than {_MOST_BYTES >> 20} MiB.", gone=True)
        if not arrival.size and not buffer:
            raise FetchError("The segment is empty.")
        return await in_thread(arrival.commit, _taken(buffer))
    finally:
        # whatever ended the transfer, a stop of the service too: what came is kept
        await in_thread(arrival.keep, _taken(buffer))


def _taken(buffer: bytearray) -> bytes:
    data = bytes(buffer)
    buffer.clear()
    return data


class _Arrival:
    """A segment on its way to disk, from its first bytes on; what it does blocks and is for a thread."""

    def __init__(self, new: NewSegment, target: Target) -> None:
        self._new, self._target = new, target
        self._writer: SegmentWriter | None = None
        self._first = b""

    @property
    def size(self) -> int:
        """The bytes written so far."""
        return self._writer.size if self._writer else 0

    def write(self, data: bytes) -> SegmentWriter:
        if self._writer is None:
            store, channel, quality = self._target.store, self._target.channel, self._target.quality
            self._writer = SegmentWriter(store, channel, quality, self._new.start, self._new.entry.duration)
            self._first = data[:1]
        self._writer.write(data)
        return self._writer

    def commit(self, rest: bytes) -> Segment:
        writer = self.write(rest)
        looks_whole = self._first == bytes([_TS_SYNC_BYTE]) and writer.size % _TS_PACKET_BYTES == 0
        return writer.commit(SegmentType.FULL if looks_whole else SegmentType.SUSPECT)

    def keep(self, rest: bytes) -> None:
        """Keep as `partial` what was not committed."""
        if self._writer is not None and self._writer.closed:
            return
        with suppress(OSError):
            if rest:
                self.write(rest)
        if self._writer is not None:
            self._writer.abandon()
