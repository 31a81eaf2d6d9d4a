"""The embedded PostgreSQL, really stopped under a running cutter, and started again by who keeps it."""

import asyncio
import os
import secrets
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest

from cutters import House
from fate import Fate
from log_events import PATIENCE_SECONDS
from source import Source


@pytest.mark.asyncio(loop_scope="session")  # that of the server's keeper
@pytest.mark.parametrize(
    ("how", "moments"),
    [
        pytest.param(signal.SIGINT, ["CLAIM before", "FINALIZE after"], id="fast"),
        pytest.param(signal.SIGQUIT, ["DELIVERED before"], id="immediate"),
    ],
)
async def test_database_that_is_stopped_and_started(
    postgres_server: str, recording: Source, tmp_path: Path, how: signal.Signals, moments: list[str]
) -> None:
    """Whenever the database is restarted, politely or not, the cutter waits for it and goes on: one cut, one video."""
    restarted: list[str] = []
    done = asyncio.Event()

    async def at(name: str) -> None:
        if name == "DELIVERED after":
            done.set()
        if name in moments and name not in restarted:
            restarted.append(name)
            await stop_server(postgres_server, how)

    async with a_house(postgres_server, recording, tmp_path) as house, house.cutter(fate=Fate(at)):
        for event in moments:
            done.clear()
            await house.add(event)
            async with asyncio.timeout(PATIENCE_SECONDS):
                await done.wait()
            row = await house.until(event, state="DONE")
            assert (len(house.place.of(event)), row["attempts"], row["error"]) == (1, 1, None)
        await house.until_empty()
    assert restarted == moments


async def stop_server(server: str, how: signal.Signals) -> None:
    """Return when the server has gone; it is started again meanwhile."""
    admin = await asyncpg.connect(as_admin(server))
    try:
        folder = await admin.fetchval("SHOW data_directory")
    finally:
        await admin.close()
    number = int((Path(folder) / "postmaster.pid").read_text().split()[0])
    os.kill(number, how)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while Path(f"/proc/{number}").exists():  # noqa: ASYNC110 - it is the child of another
            await asyncio.sleep(0.01)


@asynccontextmanager
async def a_house(server: str, recording: Source, folder: Path) -> AsyncIterator[House]:
    """Give a house with a database of its own, by connections of this loop."""
    name = f"test_{secrets.token_hex(6)}"
    await ask_admin(server, f"CREATE DATABASE {name} TEMPLATE respool OWNER respool")
    try:
        dsn = server.replace("@/respool", f"@/{name}")
        async with asyncpg.create_pool(dsn, min_size=0, max_size=3) as connections:
            yield House(dsn, connections, recording, folder)
    finally:
        await ask_admin(server, f"DROP DATABASE {name} WITH (FORCE)")


async def ask_admin(server: str, sql: str) -> None:
    admin = await asyncpg.connect(as_admin(server))
    try:
        await admin.execute(sql)
    finally:
        await admin.close()


def as_admin(server: str) -> str:
    return server.replace("respool@/respool", "postgres@/postgres")
