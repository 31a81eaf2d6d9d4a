"""`respool status`: what is recorded now, what of the last hours is missing, and why; read from the store alone."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import click
from click.core import ParameterSource

from common.coverage import BestSequence, Hole
from common.dateutil import HOUR, format_utc, hour_name, hours_touching
from common.missing import AWAY, Missing, lacking, read
from common.options import base_dir_option, option
from common.recorder_state import RecorderState, known_recorders, read_state
from common.segments import SegmentType
from common.sidecar import FactsStore
from common.store import Store
from respool.arguments import DATA_HELP, Recording, said_plainly
from respool.coverage import HourPicture, draw_hours, legend, percent, picture_hour

# A stream that is recorded is this far behind its own time at the most; what is further behind has stopped.
_LIVE = timedelta(minutes=1)

_DAY = timedelta(hours=24)
_PICTURED = timedelta(hours=3)

# Of more qualities than these, each gets one line, unless they are named.
_DETAILED = 3
_MOST_TIMES = 3

# A hole that nothing is noted of: no recorder was looking, or the origin offered nothing.
_UNKNOWN = "unknown"

Recorder = Literal["recording", "waiting", "stopped", "unknown"]
_COLOURS = {"recording": "green", "waiting": "yellow", "stopped": "red", "unknown": None}


@dataclass(frozen=True, slots=True)
class Window:
    """A stretch of the past: what is recorded of it by type, and what is not, by start, with the reason.

    Durations of `recorded` and `missing` together are that from `start` to `end`.
    """

    start: datetime
    end: datetime
    recorded: dict[SegmentType, timedelta]
    missing: tuple[Missing, ...]

    @property
    def share(self) -> float:
        """The share of it that is recorded, 0 to 1."""
        length = self.end - self.start
        return sum(self.recorded.values(), timedelta()) / length if length else 0.0

    @property
    def by_reason(self) -> dict[str, list[Missing]]:
        """What is missing, sorted by its reason; the one that took most first."""
        found: dict[str, list[Missing]] = {}
        for each in self.missing:
            found.setdefault(each.reason, []).append(each)
        return dict(sorted(found.items(), key=lambda item: -total(item[1])))

    @property
    def offered(self) -> timedelta:
        """What the origin is known to have offered of it."""
        known = (each.duration for each in self.missing if each.reason not in (AWAY, _UNKNOWN))
        return sum((*self.recorded.values(), *known), timedelta())


@dataclass(frozen=True, slots=True)
class Status:
    """One quality of a channel now; times are aware UTC. `under_way` are segments that are being written."""

    recording: Recording
    recorder: Recorder
    state: RecorderState | None
    now: datetime
    newest: datetime | None
    under_way: int
    hour: Window
    day: Window

    @property
    def lag(self) -> timedelta | None:
        """By how much the end of the newest segment lies behind now."""
        return None if self.newest is None else max(timedelta(), self.now - self.newest)


def total(missing: list[Missing]) -> timedelta:
    """Add up durations."""
    return sum((each.duration for each in missing), timedelta())


def status_of(store: Store, recording: Recording, now: datetime) -> Status:
    """Look at one quality as it is `now` (aware UTC)."""
    found = read_state(store, *recording)
    state, lives = found or (None, False)
    recorder: Recorder = "unknown" if state is None else "stopped"
    if state is not None and lives:
        recorder = "recording" if state.recording else "waiting"
    span = store.span(*recording)
    newest = span and span[1]
    live = newest is not None and timedelta(0) <= now - newest < _LIVE and recorder in ("recording", "unknown")
    end = newest if live and newest is not None else now
    first = min(span[0], end) if span else end
    hour, day = (window(store, recording, max(first, end - length), end) for length in (HOUR, _DAY))
    return Status(recording, recorder, state, now, newest, _under_way(store, recording, now), hour, day)


def window(store: Store, recording: Recording, start: datetime, end: datetime) -> Window:
    """Look at a stretch of the past."""
    sequence = store.sequence(*recording, start, end)
    missing = _explained(lacking(read(store, *recording, start, end), sequence.holes), sequence.holes)
    return Window(start, end, _recorded(sequence), tuple(missing))


def _recorded(sequence: BestSequence) -> dict[SegmentType, timedelta]:
    """Add up what is recorded within the range, by type; what two segments hold is counted once."""
    found: dict[SegmentType, timedelta] = {}
    reached = sequence.start
    for segment in sequence.segments:
        start, end = max(segment.start, reached), min(segment.end, sequence.end)
        if end > start:
            found[segment.type] = found.get(segment.type, timedelta()) + (end - start)
            reached = end
    return found


def _explained(missing: list[Missing], holes: list[Hole]) -> Iterator[Missing]:
    """Give what is missing and why, and what is left of the holes."""
    noted = iter([*missing, None])
    each = next(noted)
    for hole in holes:
        reached = hole.start
        while each is not None and each.start < hole.end:
            if each.start > reached:
                yield Missing(reached, each.start - reached, _UNKNOWN)
            yield each
            reached, each = each.end, next(noted)
        if reached < hole.end:
            yield Missing(reached, hole.end - reached, _UNKNOWN)


def _under_way(store: Store, recording: Recording, now: datetime) -> int:
    names = (name for hour in (now - HOUR, now) for name in store.names(*recording, hour_name(hour)))
    return sum("-temp-" in name for name in names)


# The command -------------------------------------------------------------------------------------------------------


@click.command("status")
@click.argument("names", nargs=-1, metavar="[C[/Q]] ...")
@option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")
@base_dir_option
@option("--data", type=click.Path(path_type=Path, file_okay=False), help=f"{DATA_HELP} In place of --base-dir.")
@click.pass_context
def cli(context: click.Context, *, names: tuple[str, ...], as_json: bool, base_dir: Path, data: Path | None) -> None:
    """Show what is being recorded, and what is missing of the last hours and why.

    C or C/Q is a channel or one of its qualities; without any, all are shown. It reads the store and needs no service.
    Times are in UTC.
    """
    named = context.get_parameter_source("base_dir") is ParameterSource.COMMANDLINE
    store = Store(base_dir if data is None or named else data / "segments")
    FactsStore(store)  # so that what is known of the media has its say in where the holes are
    now = datetime.now(UTC)
    with said_plainly():
        store.check_readable()
        statuses = [status_of(store, recording, now) for recording in _chosen(store, names)]
        if as_json:
            click.echo(json.dumps([_as_json(status) for status in statuses], indent=2))
        elif not statuses:
            click.echo(f"Nothing is recorded in {store.base}.")
        elif len(statuses) > _DETAILED and not names:
            _list(statuses)
        else:
            _describe(store, statuses)


def _chosen(store: Store, names: tuple[str, ...]) -> list[Recording]:
    recorded = {(channel, quality) for channel in store.channels() for quality in store.qualities(channel)}
    known = [Recording(*each) for each in sorted(recorded.union(known_recorders(store)))]
    for name in names:
        if not any(name in (each.channel, "/".join(each)) for each in known):
            there = ", ".join("/".join(each) for each in known) or "nothing at all"
            raise click.ClickException(f"Nothing is recorded of {name}; there is {there} in {store.base}.")
    return [each for each in known if not names or each.channel in names or "/".join(each) in names]


def _as_json(status: Status) -> dict[str, Any]:
    state, lag = status.state, status.lag
    return {
        "channel": status.recording.channel,
        "quality": status.recording.quality,
        "recorder": status.recorder,
        "since": state and format_utc(state.since),
        "reason": (state and state.reason) or None,
        "clock_offset_seconds": state and state.clock_offset,
        "newest": status.newest and format_utc(status.newest),
        "lag_seconds": None if lag is None else lag.total_seconds(),
        "under_way": status.under_way,
        "last_hour": _window_as_json(status.hour),
        "last_day": _window_as_json(status.day),
    }


def _window_as_json(window: Window) -> dict[str, Any]:
    return {
        "start": format_utc(window.start),
        "end": format_utc(window.end),
        "covered": round(window.share, 6),
        "offered_seconds": window.offered.total_seconds(),
        "recorded_seconds": {kind.value: length.total_seconds() for kind, length in window.recorded.items()},
        "missing_seconds": {reason: total(each).total_seconds() for reason, each in window.by_reason.items()},
        "missing": [
            {"start": format_utc(each.start), "end": format_utc(each.end), "reason": each.reason}
            for each in window.missing
        ],
    }


# For people --------------------------------------------------------------------------------------------------------


def _list(statuses: list[Status]) -> None:
    """Write a line for each."""
    names = ["/".join(status.recording) for status in statuses]
    width = max(map(len, names))
    click.echo(f"{'':<{width}}  {'recorder':<9}  {'newest':>9}  {'hour':>6}  {'day':>6}  missing of the day")
    for name, status in zip(names, statuses, strict=True):
        recorder = click.style(f"{status.recorder:<9}", fg=_COLOURS[status.recorder])
        shares = f"{percent(status.hour.share):>6}  {percent(status.day.share):>6}"
        reasons = ", ".join(f"{reason} {_length(total(each))}" for reason, each in status.day.by_reason.items())
        click.echo(f"{name:<{width}}  {recorder}  {_length(status.lag):>9}  {shares}  {reasons}".rstrip())


def _describe(store: Store, statuses: list[Status]) -> None:
    """Write a paragraph and a picture for each."""
    for status in statuses:
        click.echo(f"{'/'.join(status.recording)}  {_said_of_recorder(status)}")
        if status.newest is not None:
            click.echo(f"  newest segment  ended {_length(status.lag)} ago, at {status.newest:%Y-%m-%d %H:%M:%S}")
        if status.under_way:
            click.echo(f"  under way       {status.under_way}")
        if status.state is not None and status.state.clock_offset is not None:
            click.echo(f"  clock           the stream is seen {status.state.clock_offset:.1f} s after its own time")
        _describe_window("last hour", status.hour)
        _describe_window("last 24 hours", status.day)
        click.echo()
        draw_hours(_pictures(store, status))
        click.echo()
    click.echo(legend())


def _said_of_recorder(status: Status) -> str:
    said = click.style(status.recorder, fg=_COLOURS[status.recorder])
    if status.state is None:
        return "no recorder has left word here; the names of the segments tell what follows"
    since = f"{status.state.since:%Y-%m-%d %H:%M:%S} ({_length(status.now - status.state.since)})"
    if status.recorder == "stopped" and status.state.recording:
        return f"{said}: the recorder ended without a word; it had been recording since {since}"
    reason = f": {status.state.reason}" if status.state.reason else ""
    return f"{said} since {since}{reason}"


def _describe_window(title: str, window: Window) -> None:
    if window.start == window.end:
        click.echo(f"  {title:<14}  nothing")
        return
    types = ", ".join(f"{_length(length)} {kind.value}" for kind, length in window.recorded.items()) or "nothing"
    click.echo(f"  {title:<14}  {percent(window.share)} recorded ({types}), {_length(window.offered)} offered")
    for reason, each in window.by_reason.items():
        many = f"{len(each)} times, the last " if len(each) > _MOST_TIMES else ""
        shown = each[-1:] if many else each
        times = ", ".join(f"{one.start:%H:%M:%S} to {one.end:%H:%M:%S}" for one in shown)
        click.echo(f"    {reason:<13} {_length(total(each)):>12}  {many}{times}")


def _pictures(store: Store, status: Status) -> list[HourPicture]:
    start, end = max(status.day.start, status.day.end - _PICTURED), status.day.end
    hours = ((hour, max(hour, start), min(hour + HOUR, end)) for hour in hours_touching(start, end))
    return [
        picture_hour(hour, store.sequence(*status.recording, first, last))
        for hour, first, last in hours
        if first < last
    ]


def _length(length: timedelta | None) -> str:
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
