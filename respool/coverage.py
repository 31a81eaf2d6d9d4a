"""`respool coverage`: what is recorded, as a picture in the terminal or as JSON."""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import click

from common.dateutil import HOUR, format_utc, hours_touching
from common.errors import UserError
from common.hour_picture import CELLS, DOUBTFUL, FULL, NOTHING, SOME, HourPicture, picture_hour
from common.options import base_dir_option, option
from common.sidecar import FactsStore
from common.store import Store
from respool.arguments import Recording, RecordingType, TimeType, recorded_span, said_plainly

# What is shown unless a range is named: the last day of the recording.
_SHOWN = timedelta(hours=24)

# A line for each hour: more than nine thousand of them are a mistyped year.
_LONGEST = timedelta(days=400)

_COLOURS = {NOTHING: "red", SOME: "yellow", DOUBTFUL: "cyan", FULL: "green"}
_LEGEND = {FULL: "complete", DOUBTFUL: "suspect or partial", SOME: "with holes", NOTHING: "nothing"}


@click.command("coverage")
@click.argument("recording", metavar="C/Q", type=RecordingType())
@option("--start", type=TimeType(), help="The first moment to show; without it, a day before the end.")
@option("--end", type=TimeType(), help="The last moment to show; without it, the end of the recording.")
@option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@base_dir_option
def cli(*, recording: Recording, start: datetime | None, end: datetime | None, as_json: bool, base_dir: Path) -> None:
    """Show what is recorded of a channel: hours, holes and types, as a picture.

    C/Q is a channel and a quality, such as demo/source; times are ISO 8601, in UTC unless they name a zone. Each line
    is an hour in UTC, each character a minute.
    """
    store = Store(base_dir)
    with said_plainly():
        start, end = _range(recorded_span(store, recording), start, end)
        hours = list(_pictures(store, recording, start, end))
    if as_json:
        click.echo(json.dumps(_as_json(recording, start, end, hours), indent=2))
    else:
        _draw(recording, start, end, hours)


def _range(
    recorded: tuple[datetime, datetime], start: datetime | None, end: datetime | None
) -> tuple[datetime, datetime]:
    last = end if end is not None else recorded[1]
    first = start if start is not None else max(recorded[0], last - _SHOWN)
    if first >= last:
        known = f"{format_utc(recorded[0])} to {format_utc(recorded[1])}"
        raise UserError(f"The range is empty: it must start before it ends, and what is recorded is {known}.")
    if last - first > _LONGEST:
        raise UserError(f"The range is longer than {_LONGEST.days} days: is a year mistyped?")
    return first, last


def _pictures(store: Store, recording: Recording, start: datetime, end: datetime) -> Iterator[HourPicture]:
    facts = FactsStore(store)
    for hour in hours_touching(start, end):
        first, last = max(hour, start), min(hour + HOUR, end)
        if first < last:
            sequence = facts.settle(*recording, partial(store.sequence, *recording, first, last))
            yield picture_hour(hour, sequence)


def _as_json(recording: Recording, start: datetime, end: datetime, hours: list[HourPicture]) -> dict[str, Any]:
    return {
        "channel": recording.channel,
        "quality": recording.quality,
        "start": format_utc(start),
        "end": format_utc(end),
        "hours": [
            {
                "hour": f"{hour.start:%Y-%m-%dT%H}",
                "covered": round(hour.share, 6),
                "segments": hour.segments,
                "holes": [{"start": format_utc(hole.start), "end": format_utc(hole.end)} for hole in hour.holes],
            }
            for hour in hours
        ],
    }


def _draw(recording: Recording, start: datetime, end: datetime, hours: list[HourPicture]) -> None:
    click.echo(f"{'/'.join(recording)} from {start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC\n")
    draw_hours(hours)
    click.echo(f"\n{legend()}")


def draw_hours(hours: list[HourPicture]) -> None:
    """Draw the hours, day by day, on lines of at most 80 characters."""
    day, scale = "", "".join(f":{minute:<9}" for minute in range(10, CELLS, 10))
    for hour in hours:
        if (today := f"{hour.start:%Y-%m-%d}") != day:
            day = today
            click.echo(f"{day:<16}{scale}  share  holes")
        click.echo(f"{hour.start:%H:%M} {coloured(hour.cells)} {percent(hour.share):>6} {len(hour.holes):>6}")


def coloured(cells: str) -> str:
    """Give the characters of a picture their colours."""
    return "".join(click.style(cell, fg=_COLOURS.get(cell)) for cell in cells)


def legend() -> str:
    """Say what the characters of a picture mean."""
    return "   ".join(f"{click.style(cell, fg=_COLOURS[cell])} {text}" for cell, text in _LEGEND.items())


def percent(share: float) -> str:
    """Write a share, 0 to 1."""
    # only what is whole is called 100 %, and only what is not there at all 0 %
    if share in (0, 1):
        return f"{share:.0%}"
    return f"{min(99.9, max(0.1, 100 * share)):.1f}%"
