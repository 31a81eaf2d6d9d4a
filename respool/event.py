"""`respool event`: what operators say of events, and how they see what becomes of them."""

import json
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import TypeVar

import click

from common.db import Connection, Pool
from respool import event_locations as locations
from respool import event_rows as rows
from respool.arguments import Recording, RecordingType
from respool.database import act_as, actor_name, actor_option, database_options, json_option, look, with_database
from respool.event_fields import (
    CUT,
    NOTE,
    PUBLISHED,
    RECORDING,
    TextType,
    clear_option,
    columns,
    location_field,
    with_options,
)

T = TypeVar("T")

_MOST_LISTED = 50

# A table for a program or a file is as wide as its texts, within reason.
_WIDE = 240

ready_option = click.option("--ready", is_flag=True, help="Have it cut: it becomes EDITED, for the next free cutter.")

one_event = click.argument("event", type=TextType())
some_events = click.argument("events", metavar="EVENT...", nargs=-1, required=True, type=TextType())


@click.group("event")
def cli() -> None:
    """Say which pieces of the recording become videos, and see what becomes of them.

    An EVENT is named by its id, or by as much of its beginning as no other has.
    """


@cli.command("add")
@click.argument("recording", metavar="[C/Q]", type=RecordingType(), required=False)
@with_options(NOTE, *CUT, location_field("Without it, local, or the only one that there is."), *PUBLISHED)
@click.option("--id", "event", type=TextType(), help="Its id, for scripts; without it, a random one.")
@ready_option
@actor_option
@database_options
@click.pass_context
def add(
    ctx: click.Context,
    *,
    recording: Recording | None,
    event: str | None,
    ready: bool,
    actor: str | None,
    database: str | None,
    data: Path,
) -> None:
    """Make an event, and print its id.

    C/Q is a channel and a quality, such as demo/source; times are ISO 8601, in UTC unless they name a zone. What is not
    known yet can be said later, with `respool event edit`.
    """
    name = actor_name(actor)
    values = columns(ctx) | {"editor": name} | ({} if event is None else {"id": event})
    if recording is not None:
        values |= {"channel": recording.channel, "quality": recording.quality}

    async def make(connection: Connection) -> tuple[str, str | None]:
        if "upload_location" in values:
            await locations.check_location(connection, values["upload_location"])
        elif (usual := await locations.usual_location(connection)) is not None:
            values["upload_location"] = usual
        made = await rows.add(connection, values, ready=ready)
        return made, await locations.doubts(connection, made)

    _say(*_act(database, data, name, make))


@cli.command("edit")
@one_event
@with_options(NOTE, RECORDING, *CUT, location_field(), *PUBLISHED)
@clear_option()
@ready_option
@click.option("--replace", is_flag=True, help="Make another video of an event that is DONE; the old one stays out.")
@click.option("--link", metavar="URL", type=TextType(), help="You have published the video by hand, there: it is DONE.")
@actor_option
@database_options
@click.pass_context
def edit(
    ctx: click.Context,
    *,
    event: str,
    clear: tuple[str, ...],
    ready: bool,
    replace: bool,
    link: str | None,
    actor: str | None,
    database: str | None,
    data: Path,
) -> None:
    """Change an event that is not out yet.

    Only what is said changes. Several --range, --tag and --node replace all that there were.
    """
    values = columns(ctx, clear)
    if not (values or ready or replace or link):
        raise click.UsageError("Say what is to change, such as --title TEXT or --ready.")
    if link is not None and (ready or not link.startswith(("http://", "https://"))):
        raise click.UsageError("A --link is an http or https URL, of a video that no cutter is to make.")
    name = actor_name(actor)

    async def change(connection: Connection) -> tuple[str, str | None]:
        found = await rows.resolve(connection, event)
        if isinstance(values.get("upload_location"), str):
            await locations.check_location(connection, values["upload_location"])
        state = await rows.replace(connection, found) if replace else ""
        if link is not None:
            state = await rows.publish(connection, found, values | {"editor": name, "video_link": link})
        elif values or ready:
            state = await rows.edit(connection, found, values | {"editor": name}, ready=ready)
        return f"{found} is {state}.", None if link is not None else await locations.doubts(connection, found)

    _say(*_act(database, data, name, change))


@cli.command("cancel")
@some_events
@actor_option
@database_options
def cancel(*, events: tuple[str, ...], actor: str | None, database: str | None, data: Path) -> None:
    """Take events back from the cutters.

    They become UNEDITED, also while they are being cut. What is being published cannot be cancelled.
    """
    click.echo(_act(database, data, actor_name(actor), partial(_each, rows.cancel, events)))


@cli.command("retry")
@some_events
@actor_option
@database_options
def retry(*, events: tuple[str, ...], actor: str | None, database: str | None, data: Path) -> None:
    """Have events tried again, at once.

    That is, those that came back with an error, and those that wait for their next try.
    """
    click.echo(_act(database, data, actor_name(actor), partial(_each, rows.retry, events)))


@cli.command("modify")
@one_event
@with_options(*PUBLISHED)
@clear_option("video-description", "tags", "thumbnail-crop", "thumbnail-position")
@actor_option
@database_options
@click.pass_context
def modify(
    ctx: click.Context, *, event: str, clear: tuple[str, ...], actor: str | None, database: str | None, data: Path
) -> None:
    """Change what is said of a video that is out.

    It becomes MODIFIED, and DONE when its location has been told.
    """
    values = columns(ctx, clear)
    if not values:
        raise click.UsageError("Say what is to change, such as --title TEXT.")
    name = actor_name(actor)

    async def change(connection: Connection) -> tuple[str, str | None]:
        found = await rows.resolve(connection, event)
        state = await rows.modify(connection, found, values | {"editor": name})
        return f"{found} is {state}.", await locations.doubts(connection, found)

    _say(*_act(database, data, name, change))


@cli.command("show")
@one_event
@json_option
@database_options
def show(*, event: str, as_json: bool, database: str | None, data: Path) -> None:
    """Show all of an event, and its history.

    The history says who changed what, and when.
    """
    from respool import event_table as tables

    async def read(connection: Connection) -> tuple[rows.Row, list[rows.Row]]:
        found = await rows.resolve(connection, event)
        return await rows.read(connection, found), await rows.history(connection, found)

    row, changes = with_database(database, data, lambda pool: look(pool, read))
    if as_json:
        told = [{**change, "at": tables.moment(change["at"])} for change in changes]
        click.echo(json.dumps({**tables.as_json(row), "history": told}, indent=2))
        return
    for line in (*tables.describe(row), "", "History", *tables.describe_history(changes)):
        click.echo(line)


@cli.command("list")
@click.option(
    "--state",
    "states",
    type=click.Choice(rows.STATES, case_sensitive=False),
    multiple=True,
    help="Only events in this state; as often as you like.",
)
@click.option("--channel", type=TextType(), help="Only events of this channel.")
@click.option("--failed", is_flag=True, help="Only events with an error.")
@click.option("--find", "text", type=TextType(), help="Only events with this in their id, title or description.")
@click.option(
    "--limit", type=click.IntRange(0), default=_MOST_LISTED, show_default=True, help="At most so many; 0 for all."
)
@click.option("--ids", is_flag=True, help="Print nothing but the ids.")
@json_option
@database_options
def list_events(
    *,
    states: tuple[str, ...],
    channel: str | None,
    failed: bool,
    text: str | None,
    limit: int,
    ids: bool,
    as_json: bool,
    database: str | None,
    data: Path,
) -> None:
    """List events, those of the latest recording first."""
    from rich.console import Console

    from respool import event_table as tables

    async def read(connection: Connection) -> list[rows.Row]:
        most = limit + 1 if limit else None  # one more tells whether there are more
        return await rows.listed(connection, states=states, channel=channel, text=text, failed=failed, limit=most)

    found = with_database(database, data, lambda pool: look(pool, read))
    shown = found[:limit] if limit else found
    if as_json:
        click.echo(json.dumps([tables.as_json(row) for row in shown], indent=2))
    elif ids:
        click.echo("".join(f"{row['id']}\n" for row in shown), nl=False)
    elif not shown:
        click.echo("There are no such events." if states or channel or failed or text else "There are no events.")
    else:
        console = Console(width=None if sys.stdout.isatty() else _WIDE)
        console.print(tables.table(shown, progress=False))
    if len(found) > len(shown):
        click.echo(f"There are more: --limit 0 shows all, here are {len(shown)}.", err=True)


@cli.command("watch")
@click.argument("events", metavar="[EVENT...]", nargs=-1, type=TextType())
@click.option(
    "--until-done", is_flag=True, help="End when all are out, or back with an operator, which is exit code 1."
)
@database_options
def watch(*, events: tuple[str, ...], until_done: bool, database: str | None, data: Path) -> None:
    """Follow events, or all that are under way.

    On a terminal that is a live table, else a line for each change.
    """
    from respool import event_watch

    async def follow(pool: Pool) -> list[str]:
        with event_watch.showing() as shown:
            return await event_watch.watch(pool, events, shown, until_done=until_done)

    try:
        unfinished = with_database(database, data, follow)
    except KeyboardInterrupt:
        sys.exit(130 if until_done else 0)
    if unfinished:
        raise click.ClickException(f"{len(unfinished)} of the videos will not be out: {', '.join(unfinished)}.")


async def _each(
    verb: Callable[[Connection, str], Awaitable[str]], events: tuple[str, ...], connection: Connection
) -> str:
    """Do the same to each of the events, all of it or nothing, and say what they are then."""
    found = [await rows.resolve(connection, event) for event in events]
    return "\n".join([f"{event} is {await verb(connection, event)}." for event in found])


def _say(done: str, doubt: str | None) -> None:
    click.echo(done)
    if doubt is not None:
        click.echo(f"Warning: {doubt}", err=True)


def _act(database: str | None, data: Path, actor: str, work: Callable[[Connection], Awaitable[T]]) -> T:
    return with_database(database, data, lambda pool: act_as(pool, actor, work))
