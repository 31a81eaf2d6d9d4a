"""`respool node`: which other nodes there are, and what either side lacks."""

import asyncio
import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import click

from common.db import Connection, Pool, transaction
from common.errors import UserError
from common.options import ca_file_option, option, token_file_option
from respool.arguments import said_plainly
from respool.database import database_options, json_option, look, with_database
from respool.event_fields import TextType

_LISTED: Final = "SELECT name, url, last_seen FROM nodes ORDER BY name"

_ADDED: Final = """
    INSERT INTO nodes (name, url) VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET url = excluded.url
"""


@click.group("node")
def cli() -> None:
    """Say which other nodes there are, and see what either side lacks.

    A backfiller that is given the database fetches from all of them but its own.
    """


@cli.command("add")
@click.argument("name", type=TextType())
@click.argument("url", type=TextType())
@database_options
def add(*, name: str, url: str, database: str | None, data: Path) -> None:
    """Add a node, or change the address of one.

    URL is where its restreamer answers, as the other nodes reach it.
    """
    from backfiller.node_list import BadNodeError, node_url

    try:
        address = node_url(url)
    except BadNodeError as error:
        raise click.UsageError(f"The address of a node {error}") from error

    async def insert(connection: Connection) -> None:
        await connection.execute(_ADDED, name, address)

    with_database(database, data, lambda pool: transaction(pool, insert))
    click.echo(f"{name} is a node at {address}.")


@cli.command("remove")
@click.argument("name", type=TextType())
@database_options
def remove(*, name: str, database: str | None, data: Path) -> None:
    """Take a node off the list.

    What was fetched from it stays. One that announces itself, as `respool up` does, is there again soon.
    """

    async def delete(connection: Connection) -> None:
        if await connection.fetchval("DELETE FROM nodes WHERE name = $1 RETURNING name", name) is None:
            raise UserError(f"There is no node {name!r}: `respool node list` shows what there is.")

    with_database(database, data, lambda pool: transaction(pool, delete))
    click.echo(f"{name} is no node any more.")


@cli.command("list")
@json_option
@database_options
def list_nodes(*, as_json: bool, database: str | None, data: Path) -> None:
    """List the nodes, and when each was last there."""
    from respool.event_table import moment, plain

    found = with_database(database, data, _read)
    if as_json:
        rows = [{**row, "last_seen": row["last_seen"] and moment(row["last_seen"])} for row in found]
        click.echo(json.dumps(rows, indent=2))
        return
    for row in found:
        click.echo(plain(f"{row['name']}  {row['url']}  {_seen(row['last_seen'])}"))
    if not found:
        click.echo("There are no nodes.")


async def _read(pool: Pool) -> list[dict[str, Any]]:
    async def read(connection: Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in await connection.fetch(_LISTED)]

    return await look(pool, read)


def _seen(when: datetime | None) -> str:
    return "never announced" if when is None else f"announced {when:%Y-%m-%d %H:%M:%S}"


# What either side lacks ----------------------------------------------------------------------------------------------


@cli.command("status")
@click.argument("names", nargs=-1, metavar="[NAME|URL] ...")
@option(
    "--base-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="The folder of the store; without it DATA/segments.",
    show_default=False,
)
@token_file_option
@ca_file_option
@json_option
@database_options
def status(
    *,
    names: tuple[str, ...],
    base_dir: Path | None,
    token_file: Path | None,
    ca_file: Path | None,
    as_json: bool,
    database: str | None,
    data: Path,
) -> None:
    """Show which nodes answer, and what is missing.

    Missing here is what they have and this node has not, missing there what they have not. A NAME is that of a node
    in the database; a URL needs none. Without any, all nodes of the database are asked.
    """
    from backfiller.standings import ask
    from respool.event_table import plain

    addresses = _addresses(names, database, data)
    with said_plainly():
        standings = asyncio.run(ask(addresses, base_dir or data / "segments", token_file, ca_file))
    if as_json:
        click.echo(json.dumps([standing.as_json() for standing in standings], indent=2))
        return
    for line in (line for standing in standings for line in standing.lines()):
        click.echo(plain(line))
    if not standings:
        click.echo("There are no nodes.")


def _addresses(names: Sequence[str], database: str | None, data: Path) -> dict[str, str]:
    """Give the addresses by name; those that were named as such have no other."""
    named = {name: name for name in names if "://" in name}
    if names and len(named) == len(set(names)):
        return named
    known = {row["name"]: row["url"] for row in with_database(database, data, _read)}
    for name in names:
        if name not in named and name not in known:
            raise click.ClickException(f"There is no node {name!r}: `respool node list` shows what there is.")
    return {name: named.get(name) or known[name] for name in names or known}
