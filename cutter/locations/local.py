"""A folder as an upload location: videos under names that tell their events, whole or not there.

A video is copied under a hidden name, which its writer holds a lock on (flock), synced, and renamed. What has such a
name and no lock is left by a writer that died, and is removed by whoever delivers next. A file is never written over.
"""

import errno
import fcntl
import hashlib
import os
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self, TypeVar
from urllib.parse import quote

import structlog

from common.durable import sync_folder
from common.waits import in_thread
from cutter.locations import (
    Delivered,
    Keep,
    LocationAwayError,
    LocationRefusedError,
    Progress,
    Session,
    Settings,
    Video,
)
from cutter.locations.keys import a_path, flag, key, name_template, web_address
from cutter.locations.names import DEFAULT_TEMPLATE, candidates, companions, settled
from cutter.locations.sending import Forwards, damaged, sha256_of

log = structlog.get_logger()

T = TypeVar("T")

_TEMP: Final = ".respool-"
_COPY_BYTES: Final = 8 << 20

# What another try, or another disk space, does not cure.
_OF_THE_FILE: Final = {errno.EFBIG, errno.ENAMETOOLONG, errno.EILSEQ}


@dataclass(frozen=True, slots=True)
class Keys:
    """The keys of a location of this type."""

    folder: Path = key(a_path)
    create: bool = key(flag, default=False)
    template: str = key(name_template, DEFAULT_TEMPLATE)
    information: bool = key(flag, default=False)
    url: str | None = key(web_address, None)


class Local:
    """A folder to which videos are delivered."""

    def __init__(self, name: str, settings: Settings, keys: Keys) -> None:
        """Touch nothing yet."""
        self.name = name
        self.settings = settings
        self._keys = keys

    async def __aenter__(self) -> Self:
        """Open nothing: a folder may come and go."""
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None, /
    ) -> None:
        """Close nothing."""

    async def begin(self, video: Video) -> Session | None:
        """Settle the name: the title may change before the delivery is over."""
        return settled(self._keys.template, video)

    async def deliver(self, video: Video, session: Session | None, *, keep: Keep, progress: Progress) -> Delivered:
        """Copy it; see Location."""
        if session is None:
            session = settled(self._keys.template, video)
            await keep(session)
        report = Forwards(video.size, progress)
        await in_thread(self._prepare)
        found = await self.find(video, session)
        if found is None:
            found = await self._copy(video, str(session["name"]), report)
        report(video.size)
        return found

    async def find(self, video: Video, session: Session | None) -> Delivered | None:
        """Look for a file of the name and with the content; see Location."""
        name = str(settled(self._keys.template, video, session)["name"])
        with self._said():
            await in_thread(self._check_there)
            for candidate in candidates(name, video.sha256):
                path = self._path(candidate)
                if await in_thread(_size, path) == video.size and await sha256_of(path) == video.sha256:
                    return self._delivered(candidate)
        return None

    async def finished(self, delivered: Delivered) -> bool:
        """There is nothing to be done to a file."""
        del delivered
        return True

    async def modify(self, delivered: Delivered, video: Video) -> None:
        """Write what is said of it anew; the video keeps its name, and so its link."""
        with self._said():
            await in_thread(self._check_there)
            if await in_thread(_size, self._path(delivered.video_id)) is None:
                raise LocationRefusedError(f"The video {delivered.video_id} is no more at {self.name}.")
            if self._keys.information:
                await in_thread(self._write_companions, delivered.video_id, video)

    def _delivered(self, name: str) -> Delivered:
        url = self._keys.url
        return Delivered(name, f"{url}/{quote(name)}" if url else self._path(name).as_uri())

    def _path(self, name: str) -> Path:
        """Give the place of a file. The name is ours, but comes by way of a row that others can write."""
        path = self._keys.folder / name
        if ".." in path.parts or not path.is_relative_to(self._keys.folder):
            raise LocationRefusedError(f"The name {name!r} leads out of the folder of {self.name}.")
        return path

    def _check_there(self) -> None:
        """Return if the folder is there, or was made because that is wanted."""
        if self._keys.create:
            self._keys.folder.mkdir(parents=True, exist_ok=True)
        if not self._keys.folder.is_dir():
            raise LocationAwayError(
                f"The folder {self._keys.folder} of {self.name} is not there: make it, mount it, or set `create`."
            )

    def _prepare(self) -> None:
        """Clear away what died here."""
        with self._said():
            self._check_there()
            for temp in self._keys.folder.glob(f"{_TEMP}*"):
                _remove_abandoned(temp)

    async def _copy(self, video: Video, name: str, report: Forwards) -> Delivered:
        temp = self._keys.folder / f"{_TEMP}{secrets.token_hex(8)}"
        with await in_thread(_open_spool, video.path) as source:
            try:
                target = await self._here(_open_locked, temp)
                try:
                    await self._fill(source, target, video, report)
                    return await self._here(self._settle, temp, name, video)
                finally:
                    with suppress(OSError):  # what counts is synced
                        await in_thread(target.close)
            finally:
                with suppress(OSError):  # it has its name, or never came to be
                    await in_thread(temp.unlink)

    async def _fill(self, source: BinaryIO, target: BinaryIO, video: Video, report: Forwards) -> None:
        digest = hashlib.sha256()
        done = 0
        while data := await in_thread(source.read, _COPY_BYTES):
            await in_thread(digest.update, data)
            await self._here(target.write, data)
            done += len(data)
            report(min(done, video.size - 1))
        if digest.hexdigest() != video.sha256:
            raise damaged(video)
        await self._here(_sync, target)

    async def _here(self, work: Callable[..., T], *args: object) -> T:
        """Do blocking work in the folder; what its disk refuses is raised as locations do."""
        with self._said():
            return await in_thread(work, *args)

    def _settle(self, temp: Path, name: str, video: Video) -> Delivered:
        """Give a finished copy its name; who sees the video sees what is said of it, too."""
        for candidate in candidates(name, video.sha256):
            path = self._path(candidate)
            if not path.exists():
                return self._place(temp, candidate, video)
            with path.open("rb") as there:  # another cutter may have been faster
                if hashlib.file_digest(there, "sha256").hexdigest() == video.sha256:
                    return self._delivered(candidate)
        raise LocationRefusedError(f"Both names of {video.title!r} are taken by other files at {self.name}.")

    def _place(self, temp: Path, name: str, video: Video) -> Delivered:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        if self._keys.information:
            self._write_companions(name, video)
        temp.replace(path)
        for folder in (path.parent, *path.parent.parents):
            sync_folder(folder)
            if folder == self._keys.folder:
                break
        return self._delivered(name)

    def _write_companions(self, name: str, video: Video) -> None:
        for beside, content in companions(name, video).items():
            temp = self._keys.folder / f"{_TEMP}{secrets.token_hex(8)}"
            try:
                with _open_locked(temp) as file:
                    file.write(content)
                    _sync(file)
                    temp.replace(self._path(beside))
            finally:
                temp.unlink(missing_ok=True)
        sync_folder(self._path(name).parent)

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Turn what the folder's disk refuses into what a location raises."""
        try:
            yield
        except OSError as error:
            sentence = f"The folder {self._keys.folder} of {self.name} cannot be used ({error.strerror})"
            if error.errno in _OF_THE_FILE:
                raise LocationRefusedError(f"{sentence}: its disk does not take this file.") from error
            raise LocationAwayError(f"{sentence}.") from error


def _open_spool(path: Path) -> BinaryIO:
    return path.open("rb")


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except (FileNotFoundError, NotADirectoryError):
        return None


def _open_locked(path: Path) -> BinaryIO:
    while True:
        file = path.open("xb")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file.fileno()).st_nlink:
                return file
        except OSError:
            file.close()
            raise
        file.close()  # another cutter has found it before it was locked, and removed it


def _remove_abandoned(temp: Path) -> None:
    """Remove a copy whose writer is gone: nobody holds its lock."""
    with suppress(OSError), temp.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        temp.unlink()
        log.info("abandoned_copy_removed", file=temp.name)


def _sync(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def make(name: str, settings: Settings, keys: Keys) -> Local:
    """Make a location."""
    return Local(name, settings, keys)
