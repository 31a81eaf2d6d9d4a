"""How commands reach the database, and who they act as."""

import asyncio
import getpass
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar, cast

import asyncpg
import click

from common import db
from common.options import Command, option
from respool.arguments import data_option, said_plainly
from respool.postgres import dsn
from respool.refusals import refusal

T = TypeVar("T")

# A person waits for the answer, and can type the command again.
_PATIENCE_SECONDS = 5.0

_OPTIONS = (
    option(
        "--database", metavar="DSN", help="The address of the database; without it, the embedded one of --data is used."
    ),
    data_option,
)

actor_option = option(
    "--as", "actor", metavar="NAME", help="Who you are, for the history; without it, the name that you logged in with."
)

json_option = option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")


def database_options(command: Command) -> Command:
    """Give a command the options that name the database: `database` and `data`, for `with_database`."""
    for each in reversed(_OPTIONS):  # the help shows them in their order
        command = each(command)
    return command


def with_database(database: str | None, data: Path, work: Callable[[db.Pool], Awaitable[T]]) -> T:
    """What `work` gives on the database that is named. What goes wrong is one sentence, and exit code 1."""
    with said_plainly():
        return asyncio.run(_work_on(database or dsn(data), work))


async def _work_on(address: str, work: Callable[[db.Pool], Awaitable[T]]) -> T:
    connections = await db.pool(address, name="respool event", patience=_PATIENCE_SECONDS)
    try:
        return await work(connections)
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise refusal(error) from error
    finally:
        connections.terminate()


async def act_as(pool: db.Pool, actor: str, work: Callable[[db.Connection], Awaitable[T]]) -> T:
    """Do some work in one transaction, whose changes the history tells of `actor`; see `common.db.transaction`."""

    async def act(connection: db.Connection) -> T:
        await connection.execute("SELECT set_config('respool.actor', $1, true)", actor)
        return await work(connection)

    return await db.transaction(pool, act)


async def look(pool: db.Pool, read: Callable[[db.Connection], Awaitable[T]]) -> T:
    """What is read in one transaction that changes nothing, and that no change of others can conflict with."""
    async with pool.acquire() as connection, connection.transaction(isolation="repeatable_read", readonly=True):
        return await read(cast("db.Connection", connection))  # a proxy with all its methods


def actor_name(said: str | None) -> str:
    """The name for the history: what was said, else that of the login. Raises click.ClickException without one."""
    try:
        name = (getpass.getuser() if said is None else said).strip()
    except (KeyError, OSError):  # a user without a name, as containers have them
        name = ""
    if not name:
        raise click.ClickException("Say who you are with --as NAME; it stands in the history of the event.")
    return name
