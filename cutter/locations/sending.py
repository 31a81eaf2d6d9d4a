"""The spooled file on its way: read without keeping anybody waiting, and known to be what it was when it was made."""

import asyncio
import hashlib
from pathlib import Path
from typing import BinaryIO

from common.waits import in_thread
from cutter.locations import DamagedSpoolError, Progress, Video

# What is read in one go: some milliseconds of a disk, so that a cancelled delivery ends soon.
_READ_BYTES = 8 << 20


async def sha256_of(path: Path) -> str:
    """Give the SHA-256 of a file as hexadecimal digits. Raises OSError."""
    digest = hashlib.sha256()

    def step(file: BinaryIO) -> bool:
        data = file.read(_READ_BYTES)
        digest.update(data)
        return bool(data)

    with await asyncio.to_thread(path.open, "rb") as file:
        while await in_thread(step, file):
            pass
    return digest.hexdigest()


async def check_spool(video: Video) -> None:
    """Return if the spooled file is the video. Raises DamagedSpoolError, OSError."""
    if await sha256_of(video.path) != video.sha256:
        raise damaged(video)


def damaged(video: Video) -> DamagedSpoolError:
    """Make the error that says so."""
    return DamagedSpoolError(f"The spooled file {video.path.name} is not what it was when it was made.")


class Forwards:
    """Progress that never goes back, whatever is sent again."""

    def __init__(self, total: int, report: Progress) -> None:
        """Have nothing of `total` bytes."""
        self._total = max(total, 1)
        self._report = report
        self._most = 0

    def __call__(self, done: int) -> None:
        """Say that so many bytes are there."""
        if done > self._most:
            self._most = done
            self._report(min(1.0, done / self._total))


async def read_at(file: BinaryIO, offset: int, size: int) -> bytes:
    """Read a piece of a file; it is all there, or OSError."""

    def read() -> bytes:
        file.seek(offset)
        return file.read(size)

    data = await in_thread(read)
    if len(data) != size:
        raise DamagedSpoolError(f"The spooled file {Path(file.name).name} has become shorter.")
    return data
