"""Folders in which videos are made before they are sent: they go with the request, and at the next start at the latest.

While one is used there is a lock on it (flock), which the kernel releases however the process ends.
"""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import structlog

log = structlog.get_logger()

_PREFIX = "respool-cut-"

# A folder is locked in the instant after it is made; one that is younger than this may be just there.
_YOUNG_SECONDS = 60.0


@contextmanager
def spool_folder() -> Iterator[Path]:
    """Make a folder of our own for temporary files, and remove it afterwards. Raises OSError. Blocks for a moment."""
    with TemporaryDirectory(prefix=_PREFIX, ignore_cleanup_errors=True) as name, _opened(Path(name)) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX)
        yield Path(name)


def sweep_spools(parent: Path | None = None) -> list[Path]:
    """Remove what processes that are gone have left, and give its folders. Others' are let be. Blocks."""
    where = parent or Path(tempfile.gettempdir())
    return [folder for folder in sorted(where.glob(f"{_PREFIX}*")) if _sweep(folder)]


def _sweep(path: Path) -> bool:
    with suppress(OSError), _opened(path) as folder:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
        found = os.fstat(folder)
        if found.st_uid != os.getuid() or time.time() - found.st_mtime < _YOUNG_SECONDS:
            return False
        shutil.rmtree(path)
        log.info("spool_swept", path=str(path))
        return True
    return False


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """Open a folder that is no link to another one."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        yield folder
    finally:
        os.close(folder)
