"""`respool event watch`: what becomes of events, as it happens, for people and for scripts."""

import asyncio
import os
import pty
import re
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Sequence
from contextlib import suppress

import asyncpg
import pytest

from common import db
from common.errors import UserError
from respool.event_rows import Row
from respool.event_watch import watch

CLAIM = "UPDATE events SET state = 'CLAIMED', uploader = 'node1' WHERE id = $1"
FINALIZE = "UPDATE events SET state = 'FINALIZING', progress = 0.5 WHERE id = $1"
FINISH = "UPDATE events SET state = 'DONE', video_link = 'https://host/v', upload_time = now() WHERE id = $1"
REFUSE = "UPDATE events SET state = 'UNEDITED', error = 'Refused for good.' WHERE id = $1"

PATIENCE_SECONDS = 30


class Seen:
    """What was shown, which may be waited for."""

    def __init__(self) -> None:
        self.rows: Sequence[Row] = ()
        self.away: str | None = None
        self._changed = asyncio.Condition()
        self._telling: set[asyncio.Task[None]] = set()

    def __call__(self, rows: Sequence[Row], away: str | None) -> None:
        self.rows, self.away = rows, away
        task = asyncio.ensure_future(self._tell())
        self._telling.add(task)
        task.add_done_callback(self._telling.discard)

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def states(self, **wanted: str) -> None:
        """Wait until these events, and no other, are shown in these states, by a database that answers."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(
                lambda: self.away is None and {row["id"]: row["state"] for row in self.rows} == wanted
            )

    async def trouble(self) -> None:
        """Wait until it is shown that the database is away."""
        async with asyncio.timeout(PATIENCE_SECONDS), self._changed:
            await self._changed.wait_for(lambda: self.away is not None)


@pytest.fixture
async def pool(postgres_dsn: str) -> AsyncIterator[db.Pool]:
    """A database with three events that wait for a cutter."""
    pool = await db.pool(postgres_dsn)
    await pool.executemany(
        """
        INSERT INTO events (id, state, channel, quality, ranges, title, upload_location) VALUES
        ($1, 'EDITED', 'c', 'q', '{"(2026-03-01T10:00:00Z,2026-03-01T10:00:30Z)"}', 'Title', 'local')
        """,
        [("one",), ("two",), ("three",)],
    )
    yield pool
    pool.terminate()


async def test_watch_ends_when_all_are_out(pool: db.Pool) -> None:
    """Named events are shown from state to state, and when the last one is out it ends well."""
    seen = Seen()
    watching = asyncio.create_task(watch(pool, ["one", "tw"], seen, until_done=True))
    await seen.states(one="EDITED", two="EDITED")
    for event in ("one", "two"):
        for step in (CLAIM, FINALIZE, FINISH):
            await pool.execute(step, event)
        if event == "one":
            await seen.states(one="DONE", two="EDITED")
    assert await asyncio.wait_for(watching, PATIENCE_SECONDS) == []


async def test_watch_tells_what_will_not_be_out(pool: db.Pool) -> None:
    """What came back with an error, was cancelled or deleted is what the end tells of."""
    seen = Seen()
    watching = asyncio.create_task(watch(pool, [], seen, until_done=True))
    await seen.states(one="EDITED", two="EDITED", three="EDITED")
    await pool.execute(CLAIM, "one")
    await pool.execute(REFUSE, "one")
    await pool.execute("DELETE FROM events WHERE id = 'two'")
    await seen.states(one="UNEDITED", three="EDITED")
    for step in (CLAIM, FINALIZE, FINISH):
        await pool.execute(step, "three")
    assert await asyncio.wait_for(watching, PATIENCE_SECONDS) == ["one", "two"]


async def test_watch_shows_what_ends_meanwhile(pool: db.Pool) -> None:
    """Without names all that is under way is shown, new ones too, and what came to an end stays in sight."""
    await pool.execute("INSERT INTO events (id) VALUES ('note')")
    seen = Seen()
    watching = asyncio.create_task(watch(pool, [], seen, until_done=False))
    await seen.states(one="EDITED", two="EDITED", three="EDITED")
    await pool.execute("UPDATE events SET state = 'UNEDITED' WHERE id = 'one'")
    await pool.execute("INSERT INTO events (id) VALUES ('another note')")
    for step in (CLAIM, FINALIZE, FINISH):
        await pool.execute(step, "two")
    await pool.execute("INSERT INTO events (id, state, video_link, upload_time) VALUES ('hand', 'DONE', 'x', now())")
    await seen.states(one="UNEDITED", two="DONE", three="EDITED", hand="DONE")
    watching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await watching


async def test_watch_outlives_broken_connections(pool: db.Pool, postgres_dsn: str) -> None:
    """When the database goes away this is shown, and what it says when it is back."""
    seen = Seen()
    watching = asyncio.create_task(watch(pool, ["one"], seen, until_done=True))
    await seen.states(one="EDITED")
    name = await pool.fetchval("SELECT current_database()")
    admin = await asyncpg.connect(postgres_dsn.replace(f"respool@/{name}", "postgres@/postgres"))
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)
    await seen.trouble()
    await admin.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
    await admin.close()
    for step in (CLAIM, FINALIZE, FINISH):
        await pool.execute(step, "one")
    assert await asyncio.wait_for(watching, PATIENCE_SECONDS) == []


async def test_watch_of_nothing(pool: db.Pool) -> None:
    """An event that is not there is told at once, and with nothing under way there is nothing to wait for."""
    with pytest.raises(UserError, match="There is no event 'x'"):
        await watch(pool, ["x"], Seen(), until_done=False)
    await pool.execute("DELETE FROM events")
    assert await watch(pool, [], Seen(), until_done=True) == []


async def test_scripts_get_a_line_for_each_change(pool: db.Pool, postgres_dsn: str) -> None:
    """Away from a terminal each change is one line at once, and the exit code tells whether all are out."""
    command = ["-m", "respool", "event", "watch", "one", "two", "--until-done", "--database", postgres_dsn]
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *command),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    assert process.stdout is not None
    lines = [await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS) for _ in range(2)]
    for step in (CLAIM, REFUSE):
        await pool.execute(step, "one")
    lines.append(await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS))
    while b"UNEDITED" not in lines[-1]:  # the state between is seen or not
        lines.append(await asyncio.wait_for(process.stdout.readline(), PATIENCE_SECONDS))
    for step in (CLAIM, FINALIZE, FINISH):
        await pool.execute(step, "two")
    rest, errors = await asyncio.wait_for(process.communicate(), PATIENCE_SECONDS)
    told = [line.split(b" ", 1)[1].decode() for line in (*lines, *rest.splitlines(keepends=True))]
    assert {"one EDITED\n", "two EDITED\n", "one UNEDITED Refused for good\n"} <= {*told}
    assert told[-1] == "two DONE https://host/v\n"
    assert process.returncode == 1
    assert errors.decode() == "Error: 1 of the videos will not be out: one.\n"


def seen_on_terminal(pattern: str, *command: str) -> tuple[str, int]:
    """Run a command on a terminal until it shows this, and end it with Ctrl-C: what it showed, and its exit code."""
    ours, theirs = pty.openpty()
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
        "TERM": "xterm",
        "COLUMNS": "100",
    }
    process = subprocess.Popen([sys.executable, *command], stdout=theirs, stderr=theirs, env=environment)
    late = threading.Timer(PATIENCE_SECONDS, process.kill)
    late.start()
    os.close(theirs)
    shown, told = "", False
    with os.fdopen(ours, "rb", buffering=0) as terminal, suppress(OSError):  # the end of a terminal is an error
        while part := terminal.read(10_000):
            shown += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", part.decode(errors="replace"))
            if not told and re.search(pattern, shown):
                process.send_signal(signal.SIGINT)
                told = True
    code = process.wait()
    late.cancel()
    return shown, code


async def test_people_get_a_live_table(pool: db.Pool, postgres_dsn: str) -> None:
    """On a terminal there is one table, with progress, which Ctrl-C ends."""
    await pool.execute(CLAIM, "one")
    await pool.execute("UPDATE events SET progress = 0.42 WHERE id = 'one'")
    line = r"one\s+CLAIMED\s+━━━━╌╌╌╌╌╌  42%\s+Title\s+by node1"
    command = ("-m", "respool", "event", "watch", "one", "--database", postgres_dsn)
    shown, code = await asyncio.to_thread(seen_on_terminal, line, *command)
    assert re.search(line, shown), shown
    assert code == 0
