"""The embedded PostgreSQL: its life, its deaths, and the folders that it must refuse."""

import asyncio
import os
import pwd
import shutil
import signal
import socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from subprocess import PIPE

import asyncpg
import pytest

from common.errors import UserError
from respool import postgres
from respool.postgres import dsn, embedded_postgres

PATIENCE = 20.0  # seconds: far more than any of this takes, so that only a fault meets it

OWNER = """
import asyncio, sys
from pathlib import Path
from respool.postgres import embedded_postgres

async def main():
    async with embedded_postgres(Path(sys.argv[1])) as dsn:
        print(dsn, flush=True)
        await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.fixture
def data(tmp_path: Path, postgres_folder: Path) -> Path:
    """A data folder with a database that has never run; copied, which is quicker than to make it."""
    shutil.copytree(postgres_folder, tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture(scope="session")
def postgres_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder as a server that was stopped leaves it."""
    folder = tmp_path_factory.mktemp("folder")

    async def make() -> None:
        async with embedded_postgres(folder):
            pass

    asyncio.run(make())
    return folder


@asynccontextmanager
async def another_up(data: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Another process that runs the server of `data`, for sure by the time this returns."""
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", OWNER, str(data), stdout=PIPE)
    try:
        assert process.stdout is not None
        assert await process.stdout.readline()
        yield process
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.communicate()


def running_in(data: Path) -> list[int]:
    """The processes that have the database of `data` as their working folder, as every process of PostgreSQL has."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            if (process / "cwd").readlink().is_relative_to(data / "postgres"):
                found.append(int(process.name))
    return found


def server_pid(data: Path) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().split()[0])


async def until_none_runs_in(data: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        while running_in(data):  # noqa: ASYNC110 - they are not our children, and cannot tell us
            await asyncio.sleep(0.01)


async def remember(address: str, text: str) -> None:
    connection = await asyncpg.connect(address)
    await connection.execute("CREATE TABLE IF NOT EXISTS memory (text text)")
    await connection.execute("INSERT INTO memory VALUES ($1)", text)
    await connection.close()


async def remembered(address: str) -> list[str]:
    connection = await asyncpg.connect(address)
    rows = await connection.fetch("SELECT text FROM memory ORDER BY text")
    await connection.close()
    return [row["text"] for row in rows]


async def test_server_is_made_and_stopped(tmp_path: Path) -> None:
    """A new folder gets a PostgreSQL 18 that answers, and nothing of it runs when the context ends."""
    async with embedded_postgres(tmp_path / "new" / "data") as address:
        connection = await asyncpg.connect(address)
        assert connection.get_server_version().major == 18
        assert await connection.fetchval("SELECT current_user || '/' || current_database()") == "respool/respool"
        assert not await connection.fetchval("SELECT usesuper FROM pg_user WHERE usename = current_user")
        assert await connection.fetchval("SHOW listen_addresses") == ""
        await connection.close()
        assert dsn(tmp_path / "new" / "data") == address
        assert running_in(tmp_path / "new" / "data")
    assert running_in(tmp_path) == []


async def test_data_outlives_the_server(data: Path) -> None:
    """What was written is there when the server runs again."""
    async with embedded_postgres(data) as address:
        await remember(address, "first")
    async with embedded_postgres(data) as address:
        assert await remembered(address) == ["first"]


async def test_stopping_does_not_wait_for_clients(data: Path) -> None:
    """A client in the middle of a statement does not hold up the stop."""
    async with embedded_postgres(data) as address:
        connection = await asyncpg.connect(address)
        asleep = asyncio.create_task(connection.execute("SELECT pg_sleep(1000)"))
        watcher = await asyncpg.connect(address)
        while not await watcher.fetchval("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
            pass
        began = time.monotonic()
    assert time.monotonic() - began < 3
    with pytest.raises(asyncpg.PostgresError):
        await asleep
    watcher.terminate()
    assert running_in(data) == []


async def test_failing_owner_stops_the_server(data: Path) -> None:
    """An error within the context, at its very first moment, stops the server and comes out as it is."""
    with pytest.raises(LookupError):
        async with embedded_postgres(data):
            raise LookupError
    assert running_in(data) == []


async def test_cancelled_start_leaves_nothing(tmp_path: Path) -> None:
    """A start that is cancelled while the database is being made leaves no process, and the next one succeeds."""

    async def start() -> None:
        async with embedded_postgres(tmp_path):
            pytest.fail("not cancelled")

    starting = asyncio.create_task(start())
    while not (tmp_path / "postgres.new" / "PG_VERSION").exists():  # noqa: ASYNC110 - initdb tells nobody
        await asyncio.sleep(0)
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not (tmp_path / "postgres").exists()
    async with embedded_postgres(tmp_path) as address:
        await remember(address, "whole")


async def test_killed_server_is_started_again(data: Path) -> None:
    """A server that is killed comes back at the same address with what was committed."""
    async with embedded_postgres(data) as address:
        await remember(address, "before")
        os.kill(server_pid(data), signal.SIGKILL)
        async with asyncio.timeout(PATIENCE):
            while True:
                with suppress(OSError, asyncpg.PostgresError):
                    if await remembered(address) == ["before"]:
                        break
                await asyncio.sleep(0.01)
    assert running_in(data) == []


async def test_server_ends_with_its_killed_owner(data: Path) -> None:
    """When the owner is killed, its server stops by itself."""
    async with another_up(data) as owner:
        await remember(dsn(data), "kept")
        owner.kill()
        await until_none_runs_in(data)
    async with embedded_postgres(data) as address:
        assert await remembered(address) == ["kept"]


async def test_leftover_server_is_replaced(data: Path) -> None:
    """A server that outlived its owner is ended at the next start, and the new one has its data."""
    leftover = await asyncio.to_thread(postgres._prepare, data)
    process = await postgres._start(leftover)
    await remember(leftover.dsn(), "kept")
    async with embedded_postgres(data) as address:
        assert process.pid != server_pid(data)
        assert await remembered(address) == ["kept"]
    assert running_in(data) == []


async def test_stale_lock_files_do_not_hinder(data: Path) -> None:
    """Lock files that name a process which has nothing to do with us are no reason not to start."""
    async with another_up(data) as owner:
        for pid in (owner.pid, *running_in(data)):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await until_none_runs_in(data)
    place = postgres._place(data)
    stranger = await asyncio.create_subprocess_exec("sleep", "1000", user=place.uid)
    for path in (data / "postgres" / "postmaster.pid", place.sockets / ".s.PGSQL.5432.lock"):
        lines = path.read_text().splitlines()
        path.write_text("\n".join([str(stranger.pid), *lines[1:], ""]))
    async with embedded_postgres(data) as address:
        await remember(address, "alive")
    assert stranger.returncode is None
    stranger.kill()
    await stranger.wait()


async def test_empty_lock_file_does_not_hinder(data: Path) -> None:
    """A lock file that a crash left empty is no reason not to start."""
    (data / "postgres" / "postmaster.pid").touch()
    async with embedded_postgres(data) as address:
        await remember(address, "alive")


async def test_second_owner_is_refused(data: Path) -> None:
    """While one process runs the server of a folder, another is told so, and the first is not disturbed."""
    async with another_up(data):
        with pytest.raises(UserError, match="Another `respool up` uses"):
            await embedded_postgres(data).__aenter__()
        await remember(dsn(data), "undisturbed")


@pytest.mark.parametrize("name", ["x" * 150, 'with space, "quotes" and %41', "ünïcödé" * 10])
async def test_any_folder_name_will_do(postgres_folder: Path, tmp_path: Path, name: str) -> None:
    """Folders whose names no socket could have work, and leave no socket behind."""
    data = tmp_path / name
    shutil.copytree(postgres_folder, data)
    async with embedded_postgres(data) as address:
        await remember(address, "long")
        assert dsn(data) == address
        await remember(dsn(data), "short")
    sockets = postgres._place(data).sockets
    assert sockets == data / "postgres" or not sockets.exists()


async def test_foreign_socket_folder_is_refused(data: Path, tmp_path: Path) -> None:
    """A socket folder that others may enter is not used."""
    long = tmp_path / ("x" * 150)
    data.rename(long)
    sockets = postgres._place(long).sockets
    sockets.mkdir(mode=0o700)
    sockets.chmod(0o777)
    try:
        with pytest.raises(UserError, match="not ours alone"):
            await embedded_postgres(long).__aenter__()
    finally:
        sockets.rmdir()


async def test_other_version_is_refused(data: Path) -> None:
    """A folder of another PostgreSQL is left as it is, and the sentence says what to do."""
    (data / "postgres" / "PG_VERSION").write_text("16\n")
    with pytest.raises(UserError, match=r"PostgreSQL 16, .* 18: .*pg_dump"):
        await embedded_postgres(data).__aenter__()
    assert (data / "postgres" / "PG_VERSION").read_text() == "16\n"


async def test_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    """A folder that holds other files is not made a database."""
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "diary.txt").touch()
    with pytest.raises(UserError, match="no database folder"):
        await embedded_postgres(tmp_path).__aenter__()


async def test_damaged_database_is_told(data: Path) -> None:
    """A server that refuses to start is quoted in one sentence."""
    with (data / "postgres" / "postgresql.conf").open("a") as conf:
        conf.write("max_connections = none\n")
    with pytest.raises(UserError, match=r"cannot start .*contains errors"):
        await embedded_postgres(data).__aenter__()


async def test_unwritable_folder_is_told(tmp_path: Path) -> None:
    """A data folder that cannot be written is named, with what to do."""
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="give --data a folder that you may write"):
        await embedded_postgres(tmp_path / "file" / "data").__aenter__()


async def test_full_disk_is_told(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No space for the first file is told in a sentence."""

    def full(_path: Path, _content: bytes) -> int:
        raise OSError(28, "No space left on device", "postgres.log")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(UserError, match="No space left on device"):
        await embedded_postgres(data).__aenter__()


def test_address_of_a_stopped_server_is_refused(data: Path) -> None:
    """Without a running server there is no address, but the command that starts one."""
    with pytest.raises(UserError, match="respool up --data"):
        dsn(data)


def test_dead_socket_is_no_server(data: Path) -> None:
    """The socket file of a killed server is not taken for a server."""
    sockets = postgres._place(data).sockets
    sockets.mkdir(exist_ok=True)
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(sockets / ".s.PGSQL.5432"))
    with pytest.raises(UserError, match="No database runs"):
        dsn(data)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
async def test_root_gives_itself_up_and_opens_nothing(data: Path, tmp_path: Path) -> None:
    """Started by root below a closed folder, the server is nobody's, and the folder stays closed."""
    tmp_path.chmod(0o700)
    async with embedded_postgres(data):
        status = Path(f"/proc/{server_pid(data)}/status").read_text()
        assert f"Uid:\t{pwd.getpwnam('nobody').pw_uid}\t" in status
    assert tmp_path.stat().st_mode & 0o777 == 0o700
