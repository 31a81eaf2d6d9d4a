"""A PostgreSQL of its own with many events in it, and what its processes cost, by /proc."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg

from bench.store import START
from common.dateutil import format_utc
from common.db import apply_schema
from respool.postgres import embedded_postgres

_CLOCK_HZ = 100  # USER_HZ, the unit of proc(5) on every Linux
_NANOSECONDS = 1e-9

# As an operator's row is: some words of title and description, one range.
_FILL = f"""
    INSERT INTO events (
        id, state, channel, quality, ranges, transitions, title, video_description, tags, upload_location, cut_type,
        priority, edit_time, uploader_allowlist, uploader, video_link, upload_time)
    SELECT gen_random_uuid(), $1, 'chan', 'source',
        ARRAY[ROW(began, began + interval '2 minutes')::video_range], '{{}}',
        'What happened in the hour number ' || number, repeat('Some words of what was said and done. ', 10),
        ARRAY['talk', 'day 2'], 'videos', 'rough', number % 3, now() - number * interval '1 second', $3::text[],
        CASE $1 WHEN 'DONE' THEN 'another' END, CASE $1 WHEN 'DONE' THEN 'https://videos.test/' || number END,
        CASE $1 WHEN 'DONE' THEN now() END
    FROM generate_series(1, $2) AS number, LATERAL (
        SELECT '{format_utc(START)}'::timestamptz + number * interval '10 seconds' AS began)
"""  # noqa: S608 - our own text


@dataclass(frozen=True, slots=True)
class Database:
    """A running server: the address of its database with the schema, and its first process."""

    dsn: str
    pid: int

    def cpu(self) -> float:
        """Give the seconds of processor's time that its processes have taken, those that have ended included."""
        # behind the name: parent, and cutime and cstime, which are fields 4, 16 and 17 of all (proc(5))
        ended = sum(int(each) for each in _fields(self.pid)[13:15]) / _CLOCK_HZ
        return ended + sum(_on_cpu(pid) for pid in (self.pid, *self._children()))

    def _children(self) -> list[int]:
        found = []
        for folder in Path("/proc").iterdir():
            try:
                if folder.name.isdecimal() and int(_fields(int(folder.name))[1]) == self.pid:
                    found.append(int(folder.name))
            except (FileNotFoundError, ProcessLookupError):
                continue
        return found

    async def fill(self, state: str, count: int, allowlist: list[str] | None = None) -> None:
        """Put events into the table that nobody hears of, and let the planner know of them, as autovacuum does."""
        connection = await asyncpg.connect(self.dsn)
        try:
            async with connection.transaction():
                await connection.execute("ALTER TABLE events DISABLE TRIGGER USER")
                await connection.execute(_FILL, state, count, allowlist)
                await connection.execute("ALTER TABLE events ENABLE TRIGGER USER")
            await connection.execute("VACUUM ANALYZE events")
        finally:
            await connection.close()

    async def clear(self) -> None:
        """Take all events out."""
        connection = await asyncpg.connect(self.dsn)
        try:
            await connection.execute("TRUNCATE events, event_history, cutters")
        finally:
            await connection.close()


@asynccontextmanager
async def database(connections: int) -> AsyncIterator[Database]:
    """Run a server that takes so many connections, as it comes but for that."""
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder:
        async with embedded_postgres(Path(folder)) as dsn:
            admin = await asyncpg.connect(dsn.replace("respool@/respool", "postgres@/postgres"))
            try:
                await admin.execute(f"ALTER SYSTEM SET max_connections = {connections}")
            finally:
                await admin.close()
        async with embedded_postgres(Path(folder)) as dsn:
            await apply_schema(dsn)
            yield Database(dsn, _postmaster(Path(folder)))


def _postmaster(data: Path) -> int:
    return int((data / "postgres" / "postmaster.pid").read_text().split("\n", 1)[0])


def _fields(pid: int) -> list[str]:
    """Give the fields of a process from its state on."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()


def _on_cpu(pid: int) -> float:
    try:
        return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) * _NANOSECONDS
    except (FileNotFoundError, ProcessLookupError):
        return 0.0
