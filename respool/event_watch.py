"""Events as they go on: a live table for people, a line for each change for scripts."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from functools import partial

import click
from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from common.db import AWAY, Connection, Pool
from common.waits import backoff, pause
from respool.database import look
from respool.event_rows import Row, latest_change, resolve, watched
from respool.event_table import line, plain, table

# Progress is not told, only looked for; and a change of which we do not hear is seen as soon.
_EVERY_SECONDS = 1.0

Show = Callable[[Sequence[Row], str | None], None]
"""Shows events, and why they may be old."""


def is_settled(row: Row) -> bool:
    """Whether nothing more happens to an event by itself: it is out, or with an operator."""
    return row["state"] in {"DONE", "UNEDITED"}


async def watch(pool: Pool, names: Sequence[str], show: Show, *, until_done: bool) -> list[str]:
    """Show these events, or all that are under way, again and again; `until_done`, until each has come to an end.

    Gives the ids of those whose videos are not out then. A database that goes away is waited for. Raises UserError for
    an event that is not there.
    """
    since = await look(pool, latest_change)
    events: list[str] | None = None
    if names:
        events = await look(pool, lambda connection: _resolve(connection, names))
    rows: list[Row] = []
    failures = 0
    while True:
        try:
            async with _hearing(pool) as heard:
                while True:
                    rows = await look(pool, partial(watched, events=events, since=since))
                    failures = 0
                    show(rows, None)
                    if until_done:
                        # what is under way now is what is waited for, and not what comes
                        events = [row["id"] for row in rows] if events is None else events
                        if all(map(is_settled, rows)):
                            return sorted({*events} - {row["id"] for row in rows if row["state"] == "DONE"})
                    await pause(heard, _EVERY_SECONDS)
                    heard.clear()
        except AWAY as error:
            failures += 1
            show(rows, str(error) or type(error).__name__)
            await asyncio.sleep(backoff(failures, first=0.5, most=5.0))


async def _resolve(connection: Connection, names: Sequence[str]) -> list[str]:
    return [await resolve(connection, name) for name in names]


@asynccontextmanager
async def _hearing(pool: Pool) -> AsyncIterator[asyncio.Event]:
    """An event that is set whenever something has happened to one in the database."""
    heard = asyncio.Event()

    def hear(*_: object) -> None:
        heard.set()

    async with pool.acquire() as connection:
        await connection.add_listener("respool_events", hear)
        try:
            yield heard
        finally:
            await connection.remove_listener("respool_events", hear)


@contextmanager
def showing() -> Iterator[Show]:
    """Show events on standard output: a table that is kept up to date on a terminal, else a line for each change."""
    console = Console()
    if not console.is_terminal:
        yield _lines()
        return
    with Live(console=console, auto_refresh=False) as live:

        def show(rows: Sequence[Row], away: str | None) -> None:
            now = datetime.now(UTC)
            shown = [table(rows, progress=True, now=now)] if rows else [Text("Nothing is under way.", style="dim")]
            late = (
                [Text(f"The database does not answer ({plain(away)}); this is what it said last.", style="red")]
                if away
                else []
            )
            live.update(Group(*shown, *late), refresh=True)

        yield show


def _lines() -> Show:
    """A line for each change that is not just progress."""
    told: dict[str, tuple[object, ...]] = {}

    def show(rows: Sequence[Row], away: str | None) -> None:
        now = datetime.now(UTC)
        if away:
            click.echo(f"The database does not answer ({plain(away)}).", err=True)
            return
        for row in rows:
            said = (row["state"], row["uploader"], row["error"], row["video_link"], row["lacking"], bool(row["spool"]))
            if told.get(row["id"]) != said:
                click.echo(line(row, now))
                told[row["id"]] = said

    return show
