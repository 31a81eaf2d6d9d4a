"""One file of another node's into the store: whole and as its name says, or not at all. All of it blocks."""

import os
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

from backfiller.outcomes import NodeError, Outcome
from backfiller.peer import Peer
from common import tombstones
from common.durable import sync_folder
from common.expired import Expired
from common.recording import SegmentWriter
from common.segments import Segment, Suffix
from common.store import Store

# A segment is refused that has more than this, and so much more for each second that it lasts: twice what the best
# pictures are sent with (8K at 100 Mbit/s).
_MOST_BYTES = 32 << 20
_MOST_BYTES_PER_SECOND = 25 << 20


class Place(NamedTuple):
    """An hour (by its name) of a quality of a channel."""

    channel: str
    quality: str
    hour: str


def most_bytes(segment: Segment) -> int:
    """Give the bytes that a segment can have at the most, by how long it lasts."""
    return _MOST_BYTES + int(segment.duration / timedelta(seconds=1) * _MOST_BYTES_PER_SECOND)


def copy(peer: Peer, place: Place, segment: Segment, store: Store, expired: Expired, *, reserve: int = 0) -> int:
    """Copy a segment and give its bytes. Raises NodeError; then nothing is left of it.

    Nothing is copied where less than `reserve` bytes of the disk are free, nor into an hour that has `expired`.
    """
    try:
        check_room(store, reserve)
        _check_wanted(place, expired)
        size = _copy(peer, place, segment, store)
        try:
            _check_wanted(place, expired)
        except NodeError:  # it was deleted meanwhile, and this would be all that is left of it
            _remove(store.hour_folder(*place), segment.name)
            raise
    except FileNotFoundError as error:
        _check_wanted(place, expired)  # then the folder went with the temp in it
        raise no_room(error) from error
    except OSError as error:
        raise no_room(error) from error
    return size


def _copy(peer: Peer, place: Place, segment: Segment, store: Store) -> int:
    suffix: Suffix = ".mp4" if segment.name.endswith(".mp4") else ".ts"
    writer = SegmentWriter(
        store, place.channel, place.quality, segment.start, segment.duration, suffix=suffix, is_copy=True
    )
    try:
        with peer.body("segments", *place, segment.name, most=most_bytes(segment)) as parts:
            for part in parts:
                writer.write(part)
        if not writer.commit_copy(segment):
            raise NodeError("Its content is not that of which its name speaks.", Outcome.WRONG_HASH)
    finally:
        with suppress(OSError):
            writer.discard()
    return writer.size


def _check_wanted(place: Place, expired: Expired) -> None:
    if expired.is_expired(*place):
        raise NodeError("The hour was deleted here in the meantime.", Outcome.UNWANTED)


def _remove(folder: Path, name: str) -> None:
    (folder / name).unlink(missing_ok=True)
    with suppress(OSError):  # there is more in it
        folder.rmdir()


def make_tombstones(place: Place, names: tuple[str, ...], store: Store, *, reserve: int = 0) -> None:
    """Make tombstones. Raises NodeError if the disk refuses them, or less than `reserve` bytes of it are free."""
    try:
        check_room(store, reserve)
        folder = store.hour_folder(*place)
        folder.mkdir(parents=True, exist_ok=True)
        tombstones.put(folder, list(names))
    except OSError as error:
        raise no_room(error) from error


def sync(place: Place, store: Store) -> None:
    """Bring to disk which names an hour holds, once for all copies that were made there; as well as the disk can."""
    with suppress(OSError):
        sync_folder(store.folder(place.channel, place.quality) / place.hour)


def check_room(store: Store, reserve: int) -> None:
    """Raise NodeError if less than `reserve` bytes of the store's disk are free, and OSError if that cannot be told."""
    if not reserve:
        return
    found = os.statvfs(store.base)
    if found.f_bavail * found.f_frsize < reserve:
        raise NodeError("Too little of the disk here is free.", Outcome.NO_ROOM)


def no_room(error: OSError) -> NodeError:
    """Say that our disk refused something."""
    return NodeError(f"The disk here refuses it ({error.strerror or error}).", Outcome.NO_ROOM)
