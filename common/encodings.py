"""The few pictures of a cut that are encoded again: ffmpeg runs side by side, a little ahead of who needs them."""

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass

from common.encode_slots import encode_slot
from common.ffmpeg import stream
from common.pes import read_pes
from common.transport import PACKET_BYTES, as_packets, read_headers
from common.waits import in_thread

# A decoder and an encoder that say nothing for so long are stuck.
PATIENCE_SECONDS = 60.0

# What is needed after no more than so many copied segments is needed at once: the copying takes less than the encoding.
_SOON = 30

# The PID that ffmpeg gives to its first stream.
_PID = 0x100


@dataclass(frozen=True, slots=True)
class Encoding:
    """A run of ffmpeg that encodes pictures again into MPEG-TS: its command, and what is fed into it."""

    command: list[str]
    contents: list[bytes]


@dataclass(frozen=True, slots=True)
class Upcoming:
    """An encoding that will be needed, after so many `copied` segments. To `prepare` it may block."""

    copied: int
    prepare: Callable[[], Encoding]


@dataclass(slots=True)
class _Run:
    made: asyncio.Queue[bytes | None]
    task: asyncio.Task[None]


class Encodings:
    """Runs of ffmpeg, in the order in which their pictures are needed.

    At most two run at once. What they make is few, and kept until it is asked for: who reads slowly keeps nobody from
    encoding.
    """

    def __init__(self, upcoming: Iterable[Upcoming]) -> None:
        """Start nothing yet."""
        self._upcoming = deque(upcoming)
        self._runs: deque[_Run] = deque()

    async def following(self) -> AsyncGenerator[bytes, None]:
        """Give the pictures of the next encoding, coded, as they come, in the order in which they are shown.

        Raises what preparing it does, FfmpegError and OSError.
        """
        if not self._runs:
            self._start()
        if self._upcoming and len(self._runs) == 1 and self._upcoming[0].copied <= _SOON:
            self._start()
        run = self._runs[0]
        while (picture := await run.made.get()) is not None:
            yield picture
        await run.task
        self._runs.popleft()
        if self._upcoming and not self._runs:
            self._start()  # while what lies before it is copied

    def _start(self) -> None:
        made: asyncio.Queue[bytes | None] = asyncio.Queue()
        task = asyncio.create_task(_encode(self._upcoming.popleft().prepare, made))
        self._runs.append(_Run(made, task))

    async def stop(self) -> None:
        """End those that run."""
        tasks = [run.task for run in self._runs]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def running(upcoming: Iterable[Upcoming]) -> AsyncIterator[Encodings]:
    """Give encodings none of which outlives the block."""
    encodings = Encodings(upcoming)
    try:
        yield encodings
    finally:
        await encodings.stop()


async def _encode(prepare: Callable[[], Encoding], made: asyncio.Queue[bytes | None]) -> None:
    """Put coded pictures into a queue, and None when there are no more, whatever the reason."""
    try:
        wanted = await in_thread(prepare)
        inputs = [once(content) for content in wanted.contents]
        chunks = stream(wanted.command, inputs=inputs, timeout=PATIENCE_SECONDS, purpose="splice")
        pending = b""
        async with encode_slot("splice"), aclosing(chunks):
            async for chunk in chunks:
                pictures, pending = _whole_pictures(pending + chunk, ended=False)
                for picture in pictures:
                    made.put_nowait(picture)
        for picture in _whole_pictures(pending, ended=True)[0]:
            made.put_nowait(picture)
    finally:
        made.put_nowait(None)


async def once(content: bytes) -> AsyncIterator[bytes]:
    """Give a content as the one chunk of an input."""
    yield content


def _whole_pictures(data: bytes, *, ended: bool) -> tuple[list[bytes], bytes]:
    """Take the pictures that are whole out of what an encoder has written, and give what is left."""
    whole = len(data) // PACKET_BYTES * PACKET_BYTES
    if not whole:
        return [], data
    packets = as_packets(data[:whole])
    found = read_pes(packets, read_headers(packets), _PID)
    if ended or not found:
        return [pes.payload for pes in found], data[whole:] if found else data
    return [pes.payload for pes in found[:-1]], data[found[-1].row * PACKET_BYTES :]
