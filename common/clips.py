"""Segments as the one stream that ffmpeg is fed, and the slots of what is made of them in a moment."""

import asyncio
import hashlib
import os
import tempfile
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from common.encode_slots import encode_slot
from common.facts import Facts
from common.picture_commands import Form
from common.segments import Segment
from common.store import Store

_PART_BYTES: Final = 1 << 20

# Part of every tag: one more whenever pictures of the same content come to look different.
_VERSION: Final = 1


class NoPictureError(Exception):
    """There is no such picture; the text is one sentence for who asked for it."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of a file, from an offset to its end."""

    path: Path
    offset: int = 0


def form_of(facts: Facts) -> Form:
    """Tell what a segment is."""
    return "mpegts" if facts.init_bytes is None else "mp4"


def pieces_of(
    store: Store, channel: str, quality: str, segments: Sequence[Segment], known: Mapping[str, Facts]
) -> tuple[Piece, ...]:
    """Give what together is one stream; of fragmented MP4 the init section, which must be that of all, comes once."""
    paths = [store.segment_path(channel, quality, each) for each in segments]
    offsets = [known[each.hash].init_bytes or 0 if index else 0 for index, each in enumerate(segments)]
    return tuple(map(Piece, paths, offsets))


async def read(pieces: Iterable[Piece]) -> AsyncIterator[bytes]:
    """Give the bytes of the pieces, one after the other. Raises OSError if one cannot be read."""
    for piece in pieces:
        position = piece.offset
        # opened for each part: whatever ends the run between two of them, nothing is left open
        while data := await asyncio.to_thread(_part, piece.path, position):
            yield data
            position += len(data)


def _part(path: Path, position: int) -> bytes:
    with path.open("rb") as file:
        file.seek(position)
        return file.read(_PART_BYTES)


def tag_of(*parts: object) -> str:
    """Name what is seen in a picture by what it is made from."""
    return hashlib.sha256("\n".join(map(str, (_VERSION, *parts))).encode()).hexdigest()[:32]


def picture_slot(purpose: str) -> AbstractAsyncContextManager[None]:
    """Wait for a turn among the pictures that are made on this machine.

    They have slots of their own, since they take a moment and must not wait until a long encode is done.
    """
    return encode_slot(purpose, folder=Path(tempfile.gettempdir()) / f"respool-{os.getuid()}-pictures")
