"""`respool webhook`: who is told when an event changes its state."""

import json
import secrets
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import click

from common.db import Connection, transaction
from common.errors import UserError
from respool.database import database_options, json_option, look, with_database
from respool.event_fields import TextType
from respool.event_rows import STATES
from respool.refusals import SENTENCES

# 256 bits, as long as the signature.
_SECRET_BYTES: Final = 32

_LISTED: Final = """
    SELECT name, url, states, turn.attempts, turn.error, CASE WHEN next_try > now() THEN next_try END AS next_try,
        (SELECT count(*) FROM notifications AS note WHERE note.webhook = name) AS waiting,
        (SELECT note.error FROM notifications AS note WHERE note.webhook = name AND note.error IS NOT NULL
            ORDER BY note.number LIMIT 1) AS refused
    FROM webhooks LEFT JOIN webhook_turns AS turn ON webhook = name ORDER BY name
"""


@click.group("webhook")
def cli() -> None:
    """Say who is told when an event changes its state.

    The cutters send each change as a signed POST request, until its receiver has got it.
    """


@cli.command("add")
@click.argument("name", type=TextType())
@click.argument("url", type=TextType())
@click.option(
    "--state",
    "states",
    type=click.Choice(STATES, case_sensitive=False),
    multiple=True,
    help="Tell only when an event gets into this state; as often as you like. Without it, tell of all.",
)
@database_options
def add(*, name: str, url: str, states: tuple[str, ...], database: str | None, data: Path) -> None:
    """Have a URL told of changes from now on.

    Prints the secret that signs them, which is not shown again.
    """
    _check(url)
    secret = secrets.token_urlsafe(_SECRET_BYTES)

    async def insert(connection: Connection) -> None:
        await connection.execute(
            "INSERT INTO webhooks (name, url, secret, states) VALUES ($1, $2, $3, $4)",
            name,
            url,
            secret,
            list(states) or None,
        )

    with_database(database, data, lambda pool: transaction(pool, insert))
    click.echo(secret)


def _check(url: str) -> None:
    """Return if something may answer at the URL. Raises click.ClickException; what the database sees is left to it."""
    try:
        parts = urlsplit(url)
        sound = parts.port != 0 and len((parts.hostname or "").encode("idna")) > 0
    except ValueError:  # UnicodeError, of a host name that cannot be one, too
        sound = False
    if not sound or any(each.isspace() or not each.isprintable() for each in url):
        raise click.ClickException(SENTENCES["webhooks_url_is_http"])


@cli.command("list")
@json_option
@database_options
def list_webhooks(*, as_json: bool, database: str | None, data: Path) -> None:
    """List who is told, what waits, and what is wrong."""
    from common.addresses import without_secrets
    from respool.event_table import moment, plain

    async def read(connection: Connection) -> list[dict[str, Any]]:
        return [dict(row) for row in await connection.fetch(_LISTED)]

    found = with_database(database, data, lambda pool: look(pool, read))
    for row in found:
        row["url"] = without_secrets(row["url"])
        row["next_try"] = row["next_try"] and moment(row["next_try"])
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    for row in found:
        wanted = "all changes" if row["states"] is None else ", ".join(row["states"])
        wrong = row["error"] or row["refused"]
        again = f", next try at {row['next_try']}" if row["next_try"] else ""
        trouble = f": {wrong.rstrip('.')}{again}" if wrong else ""
        click.echo(plain(f"{row['name']}  {row['url']}  {wanted}; {row['waiting']} waiting{trouble}"))
    if not found:
        click.echo("There are no webhooks.")


@cli.command("remove")
@click.argument("name", type=TextType())
@database_options
def remove(*, name: str, database: str | None, data: Path) -> None:
    """Tell a webhook nothing any more.

    What it has not been told yet is dropped.
    """

    async def delete(connection: Connection) -> int:
        dropped = await connection.fetchval("SELECT count(*) FROM notifications WHERE webhook = $1", name)
        if await connection.fetchval("DELETE FROM webhooks WHERE name = $1 RETURNING name", name) is None:
            raise UserError(f"There is no webhook {name!r}: `respool webhook list` shows what there is.")
        return int(dropped)

    dropped = with_database(database, data, lambda pool: transaction(pool, delete))
    click.echo(f"{name} is told nothing any more; {dropped} notifications were dropped.")
