"""Cuts made: from a store and what is wanted of it to a video, in a stream or in a file.

Whatever ends the work, a file has its name only when it is whole and on disk.
"""

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import BinaryIO

from common.cuts import NothingRecordedError, SplicePlan, VideoRange
from common.sidecar import FactsStore
from common.smart import CONTEXT, Done, Range, Reading, plan, splice
from common.store import Store
from common.waits import in_thread

_COPY_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Order:
    """What is wanted: ranges of one recording, joined hard. With holes allowed, what is missing is left out."""

    channel: str
    quality: str
    ranges: tuple[VideoRange, ...]
    allow_holes: bool = False


@dataclass(frozen=True, slots=True)
class Gathered:
    """The recording of an order's ranges, each with some context around it."""

    reading: Reading
    ranges: tuple[Range, ...]


def gather(store: Store, facts: FactsStore, order: Order, context: timedelta = CONTEXT) -> Gathered:
    """Find the segments of a cut, and those that lie around its ranges. Blocks.

    Raises ContainsHolesError if holes are refused and there is one, NothingRecordedError if a range holds nothing.
    """
    ranges = []
    for start, end in order.ranges:
        recording = (order.channel, order.quality)
        facts.settle(*recording, partial(store.sequence, *recording, start - context, end + context))
        if not store.sequence(*recording, start, end, allow_holes=order.allow_holes).segments:
            raise NothingRecordedError
        around = store.sequence(*recording, start - context, end + context)
        ranges.append(Range(start, end, tuple(around.segments)))
    path = partial(store.segment_path, order.channel, order.quality)
    return Gathered(Reading(path), tuple(ranges))


def prepare(store: Store, facts: FactsStore, order: Order) -> tuple[Reading, SplicePlan]:
    """Find the segments of a cut that is exact to the frame, look at them and plan it. Blocks.

    Raises as `gather` and `common.smart.plan` do.
    """
    gathered = gather(store, facts, order)
    return gathered.reading, plan(gathered.reading, gathered.ranges, allow_holes=order.allow_holes)


async def make(reading: Reading, planned: SplicePlan, output: Path, progress: Done | None = None) -> None:
    """Make a cut that is exact to the frame, as a file of MPEG-TS.

    Raises FfmpegError, UnreadableSegmentError or OSError.
    """
    async with replacing(output) as file, aclosing(splice(reading, planned, progress)) as parts:
        async for packets in parts:
            await in_thread(file.write, packets.data)


async def make_rough(gathered: Gathered, output: Path, progress: Done | None = None) -> None:
    """Put the segments of some ranges together, as they are. Raises OSError; of a segment, with its path."""
    paths = [gathered.reading.path(segment) for wanted in gathered.ranges for segment in wanted.segments]
    async with replacing(output) as file:
        for number, path in enumerate(paths, 1):
            await in_thread(_append, path, file)
            if progress is not None:
                progress(number / len(paths))


def _append(path: Path, file: BinaryIO) -> None:
    with path.open("rb") as source:
        while os.sendfile(file.fileno(), source.fileno(), None, _COPY_BYTES):
            pass


@asynccontextmanager
async def replacing(output: Path) -> AsyncIterator[BinaryIO]:
    """Write a file that has its name only when it is whole and on disk. Raises OSError."""
    temp = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        with await in_thread(_open_new, temp) as file:
            yield file
            await in_thread(_flush, file)
        await in_thread(temp.replace, output)
        await in_thread(_flush_folder, output.parent)
    finally:
        with suppress(OSError):  # it has its name, or never came to be
            await in_thread(temp.unlink)


def _open_new(path: Path) -> BinaryIO:
    return path.open("xb")


def _flush(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
