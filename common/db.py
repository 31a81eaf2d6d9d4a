"""The database: connecting with patience, the schema, and the one row that a node writes about itself."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import resources
from typing import TypeAlias, TypeVar, cast
from urllib.parse import parse_qs, unquote, urlsplit

import asyncpg
import structlog

from common import metrics
from common.errors import UserError
from common.waits import backoff

log = structlog.get_logger()

# The classes take their type of record only in the stubs.
Pool: TypeAlias = "asyncpg.Pool[asyncpg.Record]"
Connection: TypeAlias = "asyncpg.Connection[asyncpg.Record]"
T = TypeVar("T")

_COMMAND_SECONDS = 60.0  # no statement of ours takes a second; one that takes this long waits for something dead
_CONNECT_SECONDS = 10.0  # for one attempt, a distant database included
_SCHEMA_LOCK = 0x72_65_73_70_6F_6F_6C  # "respool": the advisory lock under which the schema is applied

# What a server says or does that is about to answer: it starts, stops, restarts, or its clients are just too many.
_PASSING = (
    OSError,  # TimeoutError too
    asyncpg.CannotConnectNowError,
    asyncpg.ConnectionDoesNotExistError,
    asyncpg.TooManyConnectionsError,
)

# Two transactions that cannot both have happened: the one that is told so does its work again.
_CONFLICTS = (asyncpg.SerializationError, asyncpg.DeadlockDetectedError)

# What a statement meets while the database is away, stops, restarts or is too busy, or where the way to it is broken.
AWAY = (
    *_PASSING,
    *_CONFLICTS,
    asyncpg.PostgresConnectionError,
    asyncpg.OperatorInterventionError,
    asyncpg.InsufficientResourcesError,  # its disk is full, say
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)

_SERIALIZABLE = {"default_transaction_isolation": "serializable"}
_LIGHT = {
    "default_transaction_isolation": "read committed",
    "synchronous_commit": "off",
    "plan_cache_mode": "force_generic_plan",  # to plan one of these statements takes longer than to run it
}

# The first word of a statement, as metrics have it.
_KINDS = frozenset({"select", "insert", "update", "delete", "with"})

_SECONDS = metrics.seconds(
    "database_statement", "Time until the database has answered, with that for a connection.", "kind"
)
_FAILURES = metrics.counter(
    "database_failures",
    "Statements and transactions that failed; a conflict is then retried.",
    "reason",
    known=("conflict", "away", "refused"),
)
_RETRIES = metrics.counter("database_retries", "Transactions that were done again for a conflict.", "reason")


async def pool(dsn: str, *, name: str = "respool", light: bool = False, patience: float = 30.0) -> Pool:
    """Connections that run every statement in a serializable transaction of its own, unless told otherwise.

    A `light` pool is of one connection, for what is only looked at, and for what may be lost if the server itself
    crashes within the next second: it reads what is committed, as of each statement, and does not wait for the server's
    disk (`synchronous_commit`).

    `name` is what the database shows of us (`application_name`). Settings of a session that are changed stay so: only
    those of a transaction may be. A database that does not answer yet is tried again for `patience` seconds. Raises
    UserError if it stays so, or refuses us. To be closed by the caller.
    """
    settings = _LIGHT if light else _SERIALIZABLE

    async def connect() -> Pool:
        connections = await asyncpg.create_pool(
            dsn,
            max_size=1 if light else 10,  # processes of the server that wake often are what idle clients cost it
            min_size=0,  # with a floor asyncpg logs a trace for every try to restore it while the database restarts
            timeout=_CONNECT_SECONDS,
            command_timeout=_COMMAND_SECONDS,
            server_settings={"application_name": name, **settings},
            reset=_as_it_is,
        )
        try:
            async with connections.acquire():
                return connections
        except BaseException:
            connections.terminate()
            raise

    return await _patiently(connect, dsn, patience)


async def _as_it_is(connection: Connection) -> None:
    """Nothing is undone on a connection that goes back to the pool: that costs more than most of our statements do."""


async def apply_schema(dsn: str, *, patience: float = 30.0) -> None:
    """Bring the database to the schema of this version, all of it or nothing; one that has it already stays as it is.

    Any number of services may do this at once. Waits for and refuses a database as `pool` does.
    """

    async def connect() -> Connection:
        return await asyncpg.connect(
            dsn, timeout=_CONNECT_SECONDS, server_settings={"application_name": "respool schema"}
        )

    sql = await asyncio.to_thread(resources.files("common").joinpath("schema.sql").read_text, encoding="utf-8")
    connection = await _patiently(connect, dsn, patience)
    try:
        # Read committed, so that what follows the wait for the lock sees what the holder before us has made.
        async with connection.transaction(isolation="read_committed"):
            await connection.execute("SELECT pg_advisory_xact_lock($1)", _SCHEMA_LOCK)
            await connection.execute(sql)
    finally:
        await connection.close()


async def transaction(pool: Pool, work: Callable[[Connection], Awaitable[T]], *, attempts: int = 10) -> T:
    """Do some work in one serializable transaction, and do all of it again if another one came between.

    Gives what `work` gives. It may run several times, so it changes nothing but the database. Raises what it raises,
    and after so many `attempts` asyncpg.SerializationError or DeadlockDetectedError.
    """
    for attempt in range(1, attempts + 1):
        try:
            with measured("transaction"):
                async with pool.acquire() as connection, connection.transaction():
                    return await work(cast("Connection", connection))  # a proxy with all its methods
        except _CONFLICTS as error:
            if attempt == attempts:
                raise
            _RETRIES.labels(type(error).__name__).inc()
            await asyncio.sleep(backoff(attempt, first=0.01, most=0.5))
    raise AssertionError("the last attempt gives or raises")


async def fetch(pool: Pool, sql: str, *args: object, attempts: int = 10) -> list[asyncpg.Record]:
    """Run one statement, which is a serializable transaction of its own, and give its rows; conflicts are retried.

    Raises as `transaction` does. Where one of AWAY is raised, it may have been done or not.
    """
    for attempt in range(1, attempts + 1):
        try:
            with measured(kind_of(sql)):
                return await pool.fetch(sql, *args)
        except _CONFLICTS as error:
            if attempt == attempts:
                raise
            _RETRIES.labels(type(error).__name__).inc()
            await asyncio.sleep(backoff(attempt, first=0.01, most=0.5))
    raise AssertionError("the last attempt gives or raises")


def kind_of(sql: str) -> str:
    """Tell by its first word of which kind a statement is, as metrics have it."""
    words = sql.lstrip(" \n(").split(maxsplit=1)
    return word if words and (word := words[0].lower()) in _KINDS else "other"


@contextmanager
def cancellable() -> Iterator[None]:
    """Have a cancelled task end: asyncpg, cancelled over a broken connection, raises what is wrong with that instead.

    Who goes on after one of AWAY would go on for ever then.
    """
    try:
        yield
    except AWAY as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise asyncio.CancelledError from error
        raise


@contextmanager
def measured(kind: str) -> Iterator[None]:
    """Measure a statement or a transaction, and count why it failed; it is `cancellable`."""
    began = time.monotonic()
    try:
        with cancellable():
            yield
    except _CONFLICTS:
        _FAILURES.labels("conflict").inc()
        raise
    except AWAY:
        _FAILURES.labels("away").inc()
        raise
    except asyncpg.PostgresError:
        _FAILURES.labels("refused").inc()
        raise
    finally:
        _SECONDS.labels(kind).observe(time.monotonic() - began)


async def announce_node(pool: Pool, name: str, url: str) -> None:
    """Say in `nodes` that the node `name` lives now and answers at `url` (http or https)."""

    async def announce(connection: Connection) -> None:
        await connection.execute(
            """
            INSERT INTO nodes (name, url, last_seen) VALUES ($1, $2, now())
            ON CONFLICT (name) DO UPDATE SET url = excluded.url, last_seen = excluded.last_seen
            """,
            name,
            url,
        )

    await transaction(pool, announce)


def describe(dsn: str) -> str:
    """The database of `dsn` as a user may read it: its name and host, never a user name or a password."""
    try:
        parts = urlsplit(dsn)
    except ValueError:
        return "the database"
    if parts.scheme not in {"postgres", "postgresql"} or dsn.count("@") > ("@" in parts.netloc):
        return "the database"  # a password with unescaped characters may have spilled into any part of it
    host = parts.netloc.rpartition("@")[2] or parse_qs(parts.query).get("host", ["localhost"])[0]
    return f"the database {unquote(parts.path.strip('/')) or 'of your name'} at {host}"


async def _patiently(connect: Callable[[], Awaitable[T]], dsn: str, patience: float) -> T:
    """What `connect` gives, tried for `patience` seconds with growing pauses; UserError if it gives nothing."""
    where = describe(dsn)
    deadline = time.monotonic() + patience
    attempt = 0
    while True:
        try:
            with cancellable():
                return await connect()
        except _PASSING as error:
            left = deadline - time.monotonic()
            if left <= 0:
                raise UserError(
                    f"No answer from {where} ({_reason(error)}): start it or correct its address."
                ) from error
            log.warning("database_not_ready", database=where, reason=_reason(error), seconds_left=round(left, 1))
            await asyncio.sleep(min(left, backoff(attempt, first=0.2, most=5.0)))
            attempt += 1
        except asyncpg.PostgresError as error:
            raise UserError(f"Refused by {where} ({error}): correct its address or its rights.") from error
        except (asyncpg.InterfaceError, ValueError):
            # Without the cause: its text may quote the address, and with it the password.
            raise UserError(
                "The database address cannot be understood: it must look like "
                "postgresql://USER:PASSWORD@HOST:5432/NAME, with %XX for special characters."
            ) from None


def _reason(error: BaseException) -> str:
    """Why, in a few words; some of these errors carry no text."""
    return str(error) or type(error).__name__
