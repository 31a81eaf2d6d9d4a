"""`respool coverage`: what is recorded, as a picture in the terminal or as JSON."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import click

from common.coverage import BestSequence, Hole
from common.dateutil import HOUR, format_utc, hour_name, hours_touching
from common.errors import UserError
from common.options import base_dir_option
from common.segments import Segment, SegmentType
from common.store import Store
from respool.arguments import Recording, RecordingType, TimeType, said_plainly

_CELL = timedelta(minutes=1)
_CELLS = HOUR // _CELL

# What is shown unless a range is named: the last day of the recording.
_SHOWN = timedelta(hours=24)

# What the rounding of durations may leave uncovered in a minute without a hole.
_WHOLE = 0.995

_NOTHING, _SOME, _DOUBTFUL, _FULL, _OUTSIDE = "·", "▒", "▓", "█", " "
_COLOURS = {_NOTHING: "red", _SOME: "yellow", _DOUBTFUL: "cyan", _FULL: "green"}
_LEGEND = {_FULL: "complete", _DOUBTFUL: "suspect or partial", _SOME: "with holes", _NOTHING: "nothing"}


@dataclass(frozen=True, slots=True)
class HourPicture:
    """One hour: a character for each minute, the share covered (0 to 1) of what was asked, and the facts for JSON."""

    hour: str
    cells: str
    share: float
    segments: dict[str, int]
    holes: tuple[Hole, ...]


def picture_hour(start: datetime, sequence: BestSequence) -> HourPicture:
    """Draw the hour that begins at `start`, of which `sequence` may cover a part only."""
    cells = []
    for number in range(_CELLS):
        begin = max(start + number * _CELL, sequence.start)
        end = min(start + (number + 1) * _CELL, sequence.end)
        cells.append(_cell(sequence, begin, end) if begin < end else _OUTSIDE)
    # the segments that reach in from the hour before are counted there
    begun_here = [segment for segment in sequence.segments if segment.start >= start]
    length = sequence.end - sequence.start
    return HourPicture(
        hour_name(start),
        "".join(cells),
        _covered(sequence.segments, sequence.start, sequence.end) / length if length else 0.0,
        dict(Counter(segment.type.value for segment in begun_here)),
        tuple(sequence.holes),
    )


def _cell(sequence: BestSequence, begin: datetime, end: datetime) -> str:
    inside = [segment for segment in sequence.segments if segment.start < end and segment.end > begin]
    share = _covered(inside, begin, end) / (end - begin)
    if not inside or share == 0:
        return _NOTHING
    if share < _WHOLE:
        return _SOME
    return _FULL if all(segment.type is SegmentType.FULL for segment in inside) else _DOUBTFUL


def _covered(segments: Iterable[Segment], begin: datetime, end: datetime) -> timedelta:
    return sum(
        (max(timedelta(), min(segment.end, end) - max(segment.start, begin)) for segment in segments), timedelta()
    )


@click.command("coverage")
@click.argument("recording", metavar="C/Q", type=RecordingType())
@click.option("--start", type=TimeType(), help="The first moment to show; without it, a day before the end.")
@click.option("--end", type=TimeType(), help="The last moment to show; without it, the end of the recording.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@base_dir_option
def cli(*, recording: Recording, start: datetime | None, end: datetime | None, as_json: bool, base_dir: Path) -> None:
    """Show what is recorded of a channel: hours, holes and types, as a picture.

    C/Q is a channel and a quality, such as demo/source. Each line is an hour in UTC, each character a minute.
    """
    with said_plainly():
        store = Store(base_dir)
        store.check_readable()
        start, end = _range(store, recording, start, end)
    hours = list(_pictures(store, recording, start, end))
    if as_json:
        click.echo(json.dumps(_as_json(recording, start, end, hours), indent=2))
    else:
        _draw(recording, start, end, hours)


def _range(
    store: Store, recording: Recording, start: datetime | None, end: datetime | None
) -> tuple[datetime, datetime]:
    recorded = store.span(*recording)
    if recorded is None:
        known = ", ".join(f"{c}/{q}" for c in store.channels() for q in store.qualities(c)) or "nothing at all"
        raise UserError(f"Nothing is recorded of {'/'.join(recording)}; there is {known} in {store.base}.")
    last = end if end is not None else recorded[1]
    first = start if start is not None else max(recorded[0], last - _SHOWN)
    if first >= last:
        raise UserError("The range is empty: it must start before it ends.")
    return first, last


def _pictures(store: Store, recording: Recording, start: datetime, end: datetime) -> Iterator[HourPicture]:
    for hour in hours_touching(start, end):
        first, last = max(hour, start), min(hour + HOUR, end)
        if first < last:
            yield picture_hour(hour, store.sequence(*recording, first, last))


def _as_json(recording: Recording, start: datetime, end: datetime, hours: list[HourPicture]) -> dict[str, Any]:
    return {
        "channel": recording.channel,
        "quality": recording.quality,
        "start": format_utc(start),
        "end": format_utc(end),
        "hours": [
            {
                "hour": hour.hour,
                "covered": round(hour.share, 6),
                "segments": hour.segments,
                "holes": [{"start": format_utc(hole.start), "end": format_utc(hole.end)} for hole in hour.holes],
            }
            for hour in hours
        ],
    }


def _draw(recording: Recording, start: datetime, end: datetime, hours: list[HourPicture]) -> None:
    click.echo(f"{'/'.join(recording)} from {start:%Y-%m-%d %H:%M:%S} to {end:%Y-%m-%d %H:%M:%S} UTC")
    click.echo(" " * 15 + "".join(f"{minute:<10}" for minute in range(0, _CELLS, 10)))
    for hour in hours:
        cells = "".join(click.style(cell, fg=_COLOURS.get(cell)) for cell in hour.cells)
        count = len(hour.holes)
        click.echo(f"{hour.hour}  {cells} {_percent(hour.share):>6}  {count} hole{'' if count == 1 else 's'}")
    click.echo("  ".join(f"{click.style(cell, fg=_COLOURS[cell])} {text}" for cell, text in _LEGEND.items()))


def _percent(share: float) -> str:
    # only what is whole is called 100 %
    return "100 %" if share >= 1 else f"{min(99.9, 100 * share):.1f} %"
