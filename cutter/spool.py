"""The spool: a folder in which finished cuts lie until their delivery is certain.

    SPOOL/.lock              held by the one cutter whose spool it is
    SPOOL/.folder            the folder's own name, made once: rows refer to it, so that no other folder is taken for it
    SPOOL/<event>-<revision>-<random>.<ending>

A name is used once. A file to which no row refers is of no use to anybody, and is removed.
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

import structlog

from common.errors import UserError
from common.events import Spooled
from common.metrics import gauge

log = structlog.get_logger()

_LOCK, _FOLDER = ".lock", ".folder"

# A name of ours; the event's id, which may be any text, is shortened to what any file system takes.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9_-]+")
_LONGEST_ID: Final = 80

# What a file is called until it is whole: see `common.cutting.spooled`.
_HALF_MADE: Final = re.compile(r"\.(.+)\.[0-9a-f]{8}\.part(?:\.remux)?")

_BYTES = gauge("spool_bytes", "Finished cuts that wait for their delivery, and those that are being made.")


class Spool:
    """A spool folder that is ours: see `opened`. Its methods block, and raise OSError."""

    def __init__(self, path: Path, folder: str, limit: int | None, reserve: int) -> None:
        """Take as many bytes as `limit`, and leave at least `reserve` bytes of the disk to others."""
        self.path = path
        self.folder = folder
        self._limit = limit
        self._reserve = reserve
        self._promised: dict[str, int] = {}

    def new_name(self, event: str, revision: int, ending: str) -> str:
        """Give a name that no file has or had; `ending` without a dot."""
        safe = _UNSAFE.sub("_", event)[:_LONGEST_ID]
        return f"{safe}-{revision}-{secrets.token_hex(4)}.{ending}"

    def file(self, name: str) -> Path:
        """Give the path of a file by its name."""
        return self.path / name

    def room(self) -> int:
        """Tell how many bytes may still be begun."""
        used = sum(size for _, size in self._files())
        _BYTES.set(used)
        left = shutil.disk_usage(self.path).free - self._reserve
        if self._limit is not None:
            left = min(left, self._limit - used)
        return left - sum(self._promised.values())

    def promise(self, event: str, size: int) -> None:
        """Keep room for an event's file."""
        self._promised[event] = size

    def forget(self, event: str) -> None:
        """Keep room for it no longer."""
        self._promised.pop(event, None)

    def finished(self, node: str, name: str, made_as: str) -> Spooled:
        """Describe a file that is finished; reads all of it."""
        path = self.file(name)
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            return Spooled(node, self.folder, name, os.fstat(file.fileno()).st_size, digest, made_as)

    def holds(self, spooled: Spooled) -> bool:
        """Tell whether a file is here and is what it was; reads all of it."""
        if spooled.folder != self.folder or not _is_name(spooled.name):
            return False
        try:
            found = self.finished(spooled.node, spooled.name, spooled.made_as)
        except FileNotFoundError:
            return False
        return (found.size, found.sha256) == (spooled.size, spooled.sha256)

    def remove(self, name: str) -> None:
        """Remove a file; that it has gone already is well."""
        if _is_name(name):
            self.file(name).unlink(missing_ok=True)

    def names(self) -> set[str]:
        """Give the names of all that lies here, what is half-made too, but for the folder's own."""
        return {name for name, _ in self._files()}

    def sweep(self, keep: Collection[str]) -> list[str]:
        """Remove all files but those, and what a cutter that died has left of half-made ones; give their names."""
        return self.remove_others(self.names(), keep)

    def remove_others(self, names: Collection[str], keep: Collection[str]) -> list[str]:
        """Remove those of some files that are neither to be kept nor on the way to become one that is; give them."""
        gone = [name for name in names if _final(name) not in keep]
        for name in gone:
            self.file(name).unlink(missing_ok=True)
        return gone

    def _files(self) -> Iterator[tuple[str, int]]:
        with os.scandir(self.path) as entries:
            for entry in entries:
                if entry.name not in {_LOCK, _FOLDER} and entry.is_file(follow_symlinks=False):
                    with suppress(FileNotFoundError):
                        yield entry.name, entry.stat(follow_symlinks=False).st_size


@contextmanager
def opened(path: Path, *, limit: int | None = None, reserve: int = 0) -> Iterator[Spool]:
    """Take a spool folder for us alone, made if need be. Blocks.

    Raises UserError if another cutter has it, or it cannot be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / _LOCK).open("wb")
    except OSError as error:
        raise UserError(
            f"The spool {path} cannot be used ({error.strerror}); change its rights or name another with --spool."
        ) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise UserError(
                f"Another cutter uses the spool {path}; stop that one, or give this one its own --spool and --name."
            ) from None
        yield Spool(path, _own_name(path), limit, reserve)


def _own_name(path: Path) -> str:
    """The name of the folder itself, made the first time."""
    file = path / _FOLDER
    try:
        known = file.read_text(encoding="ascii").strip() if file.exists() else ""
        if known:
            return known
        made = secrets.token_hex(16)
        temp = file.with_name(f"{_FOLDER}.new")
        with temp.open("w", encoding="ascii") as new:
            new.write(made + "\n")
            new.flush()
            os.fsync(new.fileno())
        temp.replace(file)
    except OSError as error:
        raise UserError(
            f"The spool {path} cannot be used ({error.strerror}); change its rights or name another with --spool."
        ) from error
    return made


def _final(name: str) -> str:
    """The name that a file has or will have."""
    half_made = _HALF_MADE.fullmatch(name)
    return half_made[1] if half_made else name


def _is_name(name: str) -> bool:
    """Tell whether a row names a file of a spool, and not some other file."""
    return name == Path(name).name and not name.startswith(".") and name != ""
