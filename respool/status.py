"""`respool status`: what is recorded now, what of the last hours is missing, and why.

Of one store it is read from the store alone; of all nodes (`respool.status_of_nodes`) each is asked for it.
"""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import click
from click.core import ParameterSource

from common.errors import UserError
from common.options import base_dir_option, option
from common.sidecar import FactsStore
from common.status import Status, Window, as_json, last_hours, recordings, status_of, total_of
from common.store import Store
from respool.arguments import DATA_HELP, Recording, said_plainly
from respool.coverage import draw_hours, legend, percent

COLOURS = {"recording": "green", "waiting": "yellow", "stopped": "red", "unknown": None}

# Of more qualities than these, each gets one line, unless they are named.
_DETAILED = 3
_MOST_TIMES = 3


@click.command("status")
@click.argument("names", nargs=-1, metavar="[C[/Q]] ...")
@option("--json", "json_wanted", is_flag=True, help="Print JSON, for programs.")
@base_dir_option
@option(
    "--data",
    type=click.Path(path_type=Path, file_okay=False),
    help=f"{DATA_HELP} In place of --base-dir; while its database runs, all nodes that it names are asked.",
)
@option("--database", metavar="DSN", help="The address of the database: all nodes that it names are asked.")
@option("--node", "nodes", metavar="URL", multiple=True, help="The address of a node to ask; may be repeated.")
@option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Show nodes the first token in this file, where they want one.",
)
@click.pass_context
def cli(
    context: click.Context,
    *,
    names: tuple[str, ...],
    json_wanted: bool,
    base_dir: Path,
    data: Path | None,
    database: str | None,
    nodes: tuple[str, ...],
    token_file: Path | None,
) -> None:
    """Show what is being recorded, and what is missing of the last hours and why.

    C or C/Q is a channel or one of its qualities; without any, all are shown. Of one store it needs no service. With
    --node or a database it shows all nodes, each as its restreamer tells it, and of the database the events under
    way. Times are in UTC.
    """
    named = context.get_parameter_source("base_dir") is ParameterSource.COMMANDLINE
    store = Store(base_dir if data is None or named else data / "segments")
    with said_plainly():
        embedded = None if database or data is None or named else _running(data)
        shown = (nodes or database or embedded) and _show_nodes(
            names, nodes, database or embedded, token_file, json_wanted=json_wanted
        )
        if not shown and (nodes or database):
            raise UserError("The database names no node; name one with --node.")
        if not shown:
            _show_store(store, names, json_wanted=json_wanted)


def _running(data: Path) -> str | None:
    """Give the address of the database that runs in a folder; None if none does."""
    from respool.postgres import dsn

    try:
        return dsn(data)
    except UserError:
        return None


def _show_nodes(
    names: tuple[str, ...], nodes: tuple[str, ...], database: str | None, token_file: Path | None, *, json_wanted: bool
) -> bool:
    """Show all nodes; tell whether there is any."""
    from respool import status_of_nodes

    found = asyncio.run(status_of_nodes.look(nodes, database, token_file, names))
    if not found.nodes:
        return False
    for line in [json.dumps(found.as_json(), indent=2)] if json_wanted else found.lines():
        click.echo(line)
    if not found.told:
        raise click.ClickException("No node has answered.")
    return True


def _show_store(store: Store, names: tuple[str, ...], *, json_wanted: bool) -> None:
    FactsStore(store)  # so that what is known of the media has its say in where the holes are
    now = datetime.now(UTC)
    store.check_readable()
    statuses = [status_of(store, recording, now) for recording in _chosen(store, names)]
    if json_wanted:
        click.echo(json.dumps([as_json(status, last_hours(store, status)) for status in statuses], indent=2))
    elif not statuses:
        click.echo(f"Nothing is recorded in {store.base}.")
    elif len(statuses) > _DETAILED and not names:
        _list(statuses)
    else:
        _describe(store, statuses)


def _chosen(store: Store, names: tuple[str, ...]) -> list[Recording]:
    known = [Recording(*each) for each in recordings(store)]
    for name in names:
        if not any(name in (each.channel, "/".join(each)) for each in known):
            there = ", ".join("/".join(each) for each in known) or "nothing at all"
            raise UserError(f"Nothing is recorded of {name}; there is {there} in {store.base}.")
    return [each for each in known if not names or each.channel in names or "/".join(each) in names]


# For people --------------------------------------------------------------------------------------------------------


def _list(statuses: list[Status]) -> None:
    """Write a line for each."""
    names = ["/".join(status.recording) for status in statuses]
    width = max(map(len, names))
    click.echo(f"{'':<{width}}  {'recorder':<9}  {'newest':>9}  {'hour':>6}  {'day':>6}  missing of the day")
    for name, status in zip(names, statuses, strict=True):
        recorder = click.style(f"{status.recorder:<9}", fg=COLOURS[status.recorder])
        shares = f"{percent(status.hour.share):>6}  {percent(status.day.share):>6}"
        reasons = ", ".join(f"{reason} {written(total_of(each))}" for reason, each in status.day.by_reason.items())
        click.echo(f"{name:<{width}}  {recorder}  {written(status.lag):>9}  {shares}  {reasons}".rstrip())


def _describe(store: Store, statuses: list[Status]) -> None:
    """Write a paragraph and a picture for each."""
    for status in statuses:
        click.echo(f"{'/'.join(status.recording)}  {_said_of_recorder(status)}")
        if status.newest is not None:
            click.echo(f"  newest segment  ended {written(status.lag)} ago, at {status.newest:%Y-%m-%d %H:%M:%S}")
        if status.under_way:
            click.echo(f"  under way       {status.under_way}")
        if status.state is not None and status.state.clock_offset is not None:
            click.echo(f"  clock           the stream is seen {status.state.clock_offset:.1f} s after its own time")
        _describe_window("last hour", status.hour)
        _describe_window("last 24 hours", status.day)
        click.echo()
        draw_hours(last_hours(store, status))
        click.echo()
    click.echo(legend())


def _said_of_recorder(status: Status) -> str:
    said = click.style(status.recorder, fg=COLOURS[status.recorder])
    if status.state is None:
        return "no recorder has left word here; the names of the segments tell what follows"
    since = f"{status.state.since:%Y-%m-%d %H:%M:%S} ({written(status.now - status.state.since)})"
    if status.recorder == "stopped" and status.state.recording:
        return f"{said}: the recorder ended without a word; it had been recording since {since}"
    reason = f": {status.state.reason}" if status.state.reason else ""
    return f"{said} since {since}{reason}"


def _describe_window(title: str, window: Window) -> None:
    if window.start == window.end:
        click.echo(f"  {title:<14}  nothing")
        return
    types = ", ".join(f"{written(length)} {kind.value}" for kind, length in window.recorded.items()) or "nothing"
    click.echo(f"  {title:<14}  {percent(window.share)} recorded ({types}), {written(window.offered)} offered")
    for reason, each in window.by_reason.items():
        many = f"{len(each)} times, the last " if len(each) > _MOST_TIMES else ""
        shown = each[-1:] if many else each
        times = ", ".join(f"{one.start:%H:%M:%S} to {one.end:%H:%M:%S}" for one in shown)
        click.echo(f"    {reason:<13} {written(total_of(each)):>12}  {many}{times}")


def written(length: timedelta | None) -> str:
    """Write a duration in its two largest units."""
    if length is None:
        return "never"
    seconds = length.total_seconds()
    if seconds < 60:  # noqa: PLR2004 - of a minute
        return f"{seconds:.1f} s"
    minutes, hours, days = seconds // 60, seconds // 3600, seconds // 86400
    if not hours:
        return f"{minutes:.0f} min {seconds % 60:.0f} s"
    return f"{days:.0f} d {hours % 24:.0f} h" if days else f"{hours:.0f} h {minutes % 60:.0f} min"
