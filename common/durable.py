"""Small files and folders brought to disk for good: what has returned is there after a power cut."""

import errno
import os
import uuid
from contextlib import suppress
from pathlib import Path

# What a disk says that has no room left.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to disk for good."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def make_folder(folder: Path, below: Path) -> None:
    """Make a folder and what is missing between it and `below`, all of it for good."""
    if folder == below or folder.is_dir():
        return
    make_folder(folder.parent, below)
    folder.mkdir(exist_ok=True)
    sync_folder(folder.parent)


def replace_file(path: Path, text: str) -> None:
    """Write a file whole, in place of what was there: after a crash it is the old one or the new one."""
    temp = path.parent / f".{uuid.uuid4()}"
    try:
        with temp.open("x", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        temp.rename(path)
    except BaseException:
        with suppress(OSError):
            temp.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)
