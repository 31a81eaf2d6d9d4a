"""`respool keep`: what of the recordings is never deleted for age or space."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import click

from common.db import Connection, transaction
from common.errors import UserError
from common.store import BadPathError, component
from respool.arguments import TimeType
from respool.database import actor_name, actor_option, database_options, json_option, look, with_database
from respool.event_fields import TextType


class WhatType(click.ParamType[tuple[str, str | None]]):
    """A channel, or one of its qualities."""

    name = "C[/Q]"

    def convert(
        self,
        value: Any,  # noqa: ANN401 - click's signature
        param: click.Parameter | None,
        ctx: click.Context | None,
    ) -> tuple[str, str | None]:
        """Split it, or say what is wrong."""
        if isinstance(value, tuple):
            return value
        channel, slash, quality = str(value).partition("/")
        try:
            return component(channel), component(quality) if slash else None
        except BadPathError:
            self.fail(f"{value!r} is not CHANNEL or CHANNEL/QUALITY, for example demo/source.", param, ctx)


@click.group("keep")
def cli() -> None:
    """Say what of the recordings is never deleted, however old it is.

    It holds for all nodes of the database.
    """


@cli.command("add")
@click.argument("what", metavar="C[/Q]", type=WhatType())
@click.argument("start", type=TimeType())
@click.argument("end", type=TimeType())
@click.option("--why", type=TextType(), default="", help="Why, for other operators.")
@actor_option
@database_options
def add(
    *,
    what: tuple[str, str | None],
    start: datetime,
    end: datetime,
    why: str,
    actor: str | None,
    database: str | None,
    data: Path,
) -> None:
    """Keep a stretch of a recording from now on.

    C is a channel with all its qualities. Times are ISO 8601, in UTC unless they name a zone. The hours that it touches
    stay, with the hour before. Prints the number by which it can be removed.
    """
    channel, quality = what
    who = actor_name(actor)

    async def insert(connection: Connection) -> int:
        return int(
            await connection.fetchval(
                'INSERT INTO keeps (channel, quality, start, "end", who, why) VALUES ($1, $2, $3, $4, $5, $6) '
                "RETURNING number",
                *(channel, quality, start, end, who, why),
            )
        )

    click.echo(with_database(database, data, lambda pool: transaction(pool, insert)))


@cli.command("list")
@json_option
@database_options
def list_keeps(*, as_json: bool, database: str | None, data: Path) -> None:
    """List what is kept, by whom and why."""
    from respool.event_table import moment, plain

    async def read(connection: Connection) -> list[dict[str, Any]]:
        rows = await connection.fetch('SELECT * FROM keeps ORDER BY start, "end", number')
        return [dict(row) for row in rows]

    found = with_database(database, data, lambda pool: look(pool, read))
    for row in found:
        row |= {name: moment(row[name]) for name in ("start", "end", "added")}
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for row in found:
        what = "/".join(filter(None, (row["channel"] or "everything", row["quality"])))
        why = f": {row['why']}" if row["why"] else ""
        click.echo(plain(f"{row['number']}  {what}  {row['start']} to {row['end']}  {row['who']}{why}"))
    if not found:
        click.echo("Nothing is kept.")


@cli.command("remove")
@click.argument("numbers", metavar="NUMBER...", nargs=-1, required=True, type=int)
@database_options
def remove(*, numbers: tuple[int, ...], database: str | None, data: Path) -> None:
    """Keep something no longer.

    What was kept then goes like everything else, when the limits say so.
    """

    async def delete(connection: Connection) -> None:
        for number in numbers:
            if await connection.fetchval("DELETE FROM keeps WHERE number = $1 RETURNING number", number) is None:
                raise UserError(f"There is no keep {number}: `respool keep list` shows what there is.")

    with_database(database, data, lambda pool: transaction(pool, delete))
    click.echo(f"{', '.join(map(str, numbers))}: kept no longer.")
