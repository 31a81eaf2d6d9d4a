"""How many encodes run on this machine at once: all services and commands of one user share as many slots.

A slot is a file with a lock on it (flock), which the kernel releases however its holder ends.
"""

import asyncio
import fcntl
import os
import random
import stat
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import structlog

from common.errors import UserError
from common.metrics import gauge, seconds
from common.waits import in_thread

log = structlog.get_logger()

# Locks of other processes cannot be waited for without a thread each; a look at all slots takes some microseconds.
_LOOK_SECONDS: Final = 0.1

_running = gauge("encodes_running", "Encodes that run now.")
_wait_seconds = seconds("encode_wait", "How long encodes waited for a slot.")


def encode_limit() -> int:
    """How many encodes may run at once: RESPOOL_ENCODES, else as many as there are processors for us.

    Raises UserError if the variable is no whole number from 1.
    """
    wanted = os.environ.get("RESPOOL_ENCODES")
    if wanted is None:
        return len(os.sched_getaffinity(0))
    if not (wanted.isascii() and wanted.isdigit() and int(wanted) > 0):
        raise UserError(f"RESPOOL_ENCODES is {wanted!r}: it must be a whole number from 1, of encodes at once.")
    return int(wanted)


@asynccontextmanager
async def encode_slot(purpose: str, *, limit: int | None = None, folder: Path | None = None) -> AsyncIterator[None]:
    """Wait until fewer than `limit` encodes run on this machine, then be one of them for as long as the block lasts.

    Who holds a slot must not wait for another. `folder` is where the slots lie: by default one of the user's own in the
    system's folder for temporary files. Raises UserError if that cannot be used.
    """
    began = asyncio.get_running_loop().time()
    count = encode_limit() if limit is None else limit
    where = await in_thread(_own_folder, folder or Path(tempfile.gettempdir()) / f"respool-{os.getuid()}")
    held = _take(where, count)
    if held is None:
        log.info("encode_waits", purpose=purpose, limit=count)
    while held is None:
        await asyncio.sleep(_LOOK_SECONDS * random.uniform(0.5, 1.0))
        held = _take(where, count)
    _wait_seconds.observe(asyncio.get_running_loop().time() - began)
    _running.inc()
    try:
        yield
    finally:
        _running.dec()
        os.close(held)


def _take(folder: Path, count: int) -> int | None:
    """The descriptor of a slot that is now ours, or None if all are taken."""
    for number in range(count):
        slot = os.open(folder / f"encode-{number}", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(slot, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(slot)
        else:
            return slot
    return None


def _own_folder(folder: Path) -> Path:
    """The folder, made if need be; what another user has put there in its place is refused."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.lstat()
    except OSError as error:
        raise UserError(f"The folder {folder} for the encodes' slots cannot be made: {error.strerror}.") from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o022:
        raise UserError(f"{folder} must be a folder that only its owner, who runs Respool, can write to.")
    return folder
