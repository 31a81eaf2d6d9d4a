"""The schema, the pool and what they say when the database is not as it should be."""

import asyncio
import re
import socket
from collections import Counter
from contextlib import suppress
from pathlib import Path

import asyncpg
import pytest

from common import db, metrics
from common.errors import UserError
from db_proxy import proxied


async def described(dsn: str) -> list[asyncpg.Record]:
    """Every table and column of the database, with its comment."""
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetch(
            """
            SELECT relname, coalesce(attname, '') AS column, col_description(class.oid, coalesce(attnum, 0)) AS comment
            FROM pg_class AS class LEFT JOIN pg_attribute ON attrelid = class.oid AND attnum > 0 AND NOT attisdropped
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            UNION ALL
            SELECT relname, '', obj_description(oid) FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
            ORDER BY 1, 2
            """
        )
    finally:
        await connection.close()


async def test_schema_says_what_everything_means(postgres_dsn: str) -> None:
    """Every table and every column carries a comment."""
    rows = await described(postgres_dsn)
    assert {row["relname"] for row in rows} >= {"nodes", "events", "event_history"}
    assert [(row["relname"], row["column"]) for row in rows if not row["comment"]] == []


async def test_schema_may_be_applied_by_many_at_once(empty_postgres_dsn: str, postgres_dsn: str) -> None:
    """Four services that start together on an empty database, and one later, all succeed and make the schema once."""
    await asyncio.gather(*(db.apply_schema(empty_postgres_dsn) for _ in range(4)))
    await db.apply_schema(empty_postgres_dsn)
    assert await described(empty_postgres_dsn) == await described(postgres_dsn)


async def test_schema_leaves_live_data_alone(postgres_dsn: str) -> None:
    """Applying the schema again keeps every row, while others read."""
    async with await db.pool(postgres_dsn) as pool:
        await db.announce_node(pool, "here", "http://localhost:8000")
        before = await pool.fetch("TABLE nodes")
        await db.apply_schema(postgres_dsn)
        assert await pool.fetch("TABLE nodes") == before


async def test_broken_schema_changes_nothing(
    empty_postgres_dsn: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A schema that fails at its end leaves nothing of its beginning behind."""
    (tmp_path / "schema.sql").write_text("CREATE TABLE half (); SELECT 1 / 0;")
    monkeypatch.setattr("common.db.resources.files", lambda _package: tmp_path)
    with pytest.raises(asyncpg.DivisionByZeroError):
        await db.apply_schema(empty_postgres_dsn)
    assert await described(empty_postgres_dsn) == []


async def test_pool_is_serializable_and_names_itself(postgres_dsn: str) -> None:
    """Every connection of a pool works serializably and shows whose it is."""
    async with await db.pool(postgres_dsn, name="cutter") as pool:
        assert await pool.fetchval("SHOW transaction_isolation") == "serializable"
        assert await pool.fetchval("SHOW application_name") == "cutter"


async def test_conflicting_transactions_both_happen(postgres_dsn: str) -> None:
    """Of two transactions that read and then write the same row, the loser is done again, so that nothing is lost."""
    both_have_read = asyncio.Barrier(2)
    tries = 0

    async def add_one(connection: db.Connection) -> None:
        nonlocal tries
        tries += 1
        before = await connection.fetchval("SELECT priority FROM events")
        if tries <= 2:
            await asyncio.wait_for(both_have_read.wait(), 30)
        await connection.execute("UPDATE events SET priority = $1", before + 1)

    async with await db.pool(postgres_dsn) as pool:
        await pool.execute("INSERT INTO events (id) VALUES ('one')")
        await asyncio.gather(db.transaction(pool, add_one), db.transaction(pool, add_one))
        assert await pool.fetchval("SELECT priority FROM events") == 2
    assert tries == 3


async def test_transaction_that_always_conflicts_says_so(postgres_dsn: str) -> None:
    """After so many attempts the conflict is the caller's to handle, and what is no conflict is so at once."""
    attempts = 0

    async def conflict(_: db.Connection) -> None:
        nonlocal attempts
        attempts += 1
        raise asyncpg.SerializationError

    async with await db.pool(postgres_dsn) as pool:
        with pytest.raises(asyncpg.SerializationError):
            await db.transaction(pool, conflict, attempts=3)
        assert attempts == 3
        with pytest.raises(asyncpg.CheckViolationError):
            await db.transaction(pool, lambda connection: connection.execute("INSERT INTO events VALUES ('')"))


@pytest.mark.parametrize("first", ["break", "cancel"])
async def test_cancelled_task_ends_though_its_connection_breaks(postgres_dsn: str, first: str) -> None:
    """Who waits for a database that is away, again and again, still ends when cancelled, whatever asyncpg raises."""
    asked, over = asyncio.Event(), asyncio.Event()

    async def ask(connection: db.Connection) -> None:
        asked.set()
        await connection.execute("SELECT pg_sleep(600)")

    async def insist(connections: db.Pool) -> None:
        while not over.is_set():
            with suppress(*db.AWAY):
                await db.transaction(connections, ask)

    async with proxied(postgres_dsn) as way:
        connections = await db.pool(way.dsn)
        task = asyncio.create_task(insist(connections))
        await asked.wait()
        if first == "break":
            way.cut()
            await asyncio.sleep(0)
        task.cancel()
        way.cut()
        ended, _ = await asyncio.wait({task}, timeout=5)
        over.set()
        connections.terminate()
        assert ended == {task}


async def test_node_announces_itself_again(postgres_dsn: str) -> None:
    """A node that starts again has one row, with its latest address and time."""
    async with await db.pool(postgres_dsn) as pool:
        await db.announce_node(pool, "here", "http://localhost:8000")
        first = await pool.fetchval("SELECT last_seen FROM nodes")
        await db.announce_node(pool, "here", "https://here.example")
        [row] = await pool.fetch("TABLE nodes")
    assert (row["name"], row["url"]) == ("here", "https://here.example")
    assert row["last_seen"] > first


@pytest.mark.parametrize("url", ["", "localhost:8000", "file:///etc/passwd", "http://", "javascript:http://x"])
async def test_node_needs_an_http_url(postgres_dsn: str, url: str) -> None:
    """The database refuses a node whose address is not http or https."""
    async with await db.pool(postgres_dsn) as pool:
        with pytest.raises(asyncpg.CheckViolationError):
            await db.announce_node(pool, "here", url)


async def test_pool_waits_for_a_database_that_comes_later(postgres_dsn: str, tmp_path: Path) -> None:
    """A database that does not answer at first is tried again until it does."""
    behind = postgres_dsn.partition("host=")[2].partition("&")[0]
    early = postgres_dsn.replace(behind, str(tmp_path / "link"))
    coming = asyncio.create_task(db.pool(early))
    with pytest.raises(FileNotFoundError):
        await asyncpg.connect(early)
    (tmp_path / "link").symlink_to(behind)
    async with await coming as pool:
        assert await pool.fetchval("SELECT 1") == 1


async def test_dead_database_is_told_without_the_password() -> None:
    """A database that never answers ends in one sentence that names it, and not its password."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
        with pytest.raises(UserError) as raised:
            await db.pool(f"postgresql://me:hush@127.0.0.1:{port}/events", patience=0)
    assert f"No answer from the database events at 127.0.0.1:{port} (" in str(raised.value)
    assert "hush" not in repr([raised.value, raised.value.__cause__])


async def test_refusal_is_told_at_once(postgres_dsn: str) -> None:
    """A database that is not there is told without waiting for it, in one sentence."""
    with pytest.raises(UserError, match=r"Refused by .*nowhere"):
        await db.pool(postgres_dsn.replace("@/", ":hush@/").replace("/test_", "/nowhere_"), patience=1e9)


@pytest.mark.parametrize(
    "dsn", ["me:hush@db", "mysql://me:hush@db/x", "postgresql://me:hush/x@db/x", "postgresql://me:hu[sh@db"]
)
async def test_malformed_address_is_told_without_the_password(dsn: str) -> None:
    """An address that cannot be understood says what it must look like, and does not quote it."""
    with pytest.raises(UserError, match="must look like") as raised:
        await db.pool(dsn)
    assert "hush" not in str(raised.value)
    assert raised.value.__suppress_context__


@pytest.mark.parametrize(
    ("dsn", "text"),
    [
        ("postgresql://me:hush@db.example:5432/events?sslmode=require", "the database events at db.example:5432"),
        ("postgresql://me@/events?host=/run/db&password=hush", "the database events at /run/db"),
        ("postgresql://localhost", "the database of your name at localhost"),
        ("postgresql://me:hu@sh@db/x", "the database"),
        ("postgresql://me:hu/sh@db/x", "the database"),
        ("postgresql://me:hu#sh@db/x", "the database"),
        ("host=db password=hush", "the database"),
    ],
)
def test_description_never_holds_the_password(dsn: str, text: str) -> None:
    """What a user may read of an address is the name and the host; in doubt, neither."""
    assert db.describe(dsn) == text


@pytest.mark.parametrize(
    ("sql", "kind"),
    [
        ("SELECT 1", "select"),
        ("\n    (SELECT 1) UNION ALL (SELECT 2)", "select"),
        ("update events SET x = 1", "update"),
        ("WITH gone AS (DELETE FROM events) SELECT", "with"),
        ("INSERT\nINTO events", "insert"),
        ("VACUUM", "other"),
        ("", "other"),
    ],
)
def test_statements_are_of_few_kinds(sql: str, kind: str) -> None:
    """Whatever a statement says, the metrics know it by its first word, or as another one."""
    assert db.kind_of(sql) == kind


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (asyncpg.SerializationError("conflict"), "conflict"),
        (ConnectionResetError(), "away"),
        (asyncpg.CheckViolationError("no"), "refused"),
        (LookupError("of our own"), None),
    ],
)
async def test_failures_of_the_database_are_counted(error: Exception, reason: str | None) -> None:
    """A failure is counted by who can cure it, and raised; one that is not the database's is not counted."""
    before = failures()
    with pytest.raises(type(error)), db.measured("select"):
        raise error
    assert failures() - before == Counter([reason] if reason else [])


def failures() -> Counter[str]:
    found = re.findall(
        r'^respool_database_failures_total{reason="(\w+)"} (.+)', metrics.render().decode(), re.MULTILINE
    )
    return Counter({reason: int(float(count)) for reason, count in found})
