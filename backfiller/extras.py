"""What another node has beside its segments: the files of extra folders, and the playlists kept of its recordings.

No name tells their content: what is here is not fetched again, and nothing shows that what comes is what was meant.
All of it blocks.
"""

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from backfiller.answers import MOST_LISTING_BYTES, MOST_PARTS, digests_of, names_of, sense
from backfiller.outcomes import NodeError, Outcome
from backfiller.peer import Peer
from backfiller.transfer import check_room, no_room
from common import histories
from common.dateutil import is_hour
from common.durable import sync_folder
from common.store import BadPathError, Store, component

# A picture, a template, a playlist of hours; what is larger is none of them.
_MOST_BYTES = 64 << 20

# Hidden from all listings, in the folder where the file belongs.
_TEMP_PREFIX = ".fetched-"


def fetch_extras(peer: Peer, folder: str, store: Store, reserve: int = 0) -> int:
    """Fetch what a node has below one of its extra folders and we do not; give the number of files. Raises NodeError.

    Files under names that lead elsewhere are passed over. `reserve` bytes of the disk are left free.
    """
    with sense():
        names = names_of(peer.get("extras", folder, most=MOST_LISTING_BYTES) or b"[]", MOST_PARTS)
    fetched = 0
    for name in names:
        parts = name.split("/")
        if _are_parts(parts):
            check_room(store, reserve)
            fetched += _fetch(peer, ("segments", folder, *parts), store.base.joinpath(folder, *parts), store.base)
    return fetched


def fetch_histories(peer: Peer, channel: str, quality: str, store: Store, reserve: int = 0) -> int:
    """Fetch the playlists that a node has kept of hours that are recorded here, too, and give their number.

    Raises NodeError, also if the node gives them to nobody.
    """
    fetched = 0
    with sense():
        theirs = digests_of(peer.get("histories", channel, quality, most=MOST_LISTING_BYTES) or b"{}")
        ours = histories.digests(store, channel, quality)
        here = set(store.hours(channel, quality))
        for hour in sorted(theirs, reverse=True):
            if is_hour(hour) and hour in here and theirs[hour] != ours.get(hour):
                names = names_of(peer.get("histories", channel, quality, hour, most=MOST_LISTING_BYTES) or b"[]")
                for name, path in _histories(store, channel, quality, hour, names):
                    check_room(store, reserve)
                    fetched += _fetch(peer, ("histories", channel, quality, hour, name), path, path.parent.parent)
    return fetched


def _histories(store: Store, channel: str, quality: str, hour: str, names: list[str]) -> Iterator[tuple[str, Path]]:
    for name in names:
        with suppress(BadPathError):
            yield name, histories.path(store, channel, quality, hour, name)


def _fetch(peer: Peer, parts: tuple[str, ...], path: Path, within: Path) -> int:
    """Fetch a file unless there is something under its name; tell how many were fetched, one or none."""
    if os.path.lexists(path) or not _leads_below(path.parent, within):
        return 0
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        return int(_write(peer, parts, path))
    except OSError as error:
        raise no_room(error) from error
    except NodeError as error:
        if error.outcome is Outcome.GONE:
            return 0
        raise


def _write(peer: Peer, parts: tuple[str, ...], path: Path) -> bool:
    """Write a file by way of a temp, of which each file has one: what a death leaves of it the next try takes over.

    False: somebody else is at it, or was.
    """
    temp = path.parent / f"{_TEMP_PREFIX}{hashlib.sha256(path.name.encode()).hexdigest()[:16]}"
    with temp.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        if not temp.exists() or not os.path.samestat(temp.stat(), os.fstat(file.fileno())):
            return False  # it has become the file itself in the meantime
        try:
            file.truncate(0)
            with peer.body(*parts, most=_MOST_BYTES) as body:
                for part in body:
                    file.write(part)
            file.flush()
            os.fchmod(file.fileno(), 0o644)
            os.fsync(file.fileno())
            temp.rename(path)
        except BaseException:
            with suppress(OSError):
                temp.unlink()
            raise
    sync_folder(path.parent)
    return True


def _are_parts(parts: list[str]) -> bool:
    try:
        return all(map(component, parts))
    except BadPathError:
        return False


def _leads_below(folder: Path, within: Path) -> bool:
    """Tell whether no link on the way leads out of `within`."""
    return folder.resolve().is_relative_to(within.resolve())
