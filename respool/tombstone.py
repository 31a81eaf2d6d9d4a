"""`respool tombstone`: hide segments, here and on all nodes that fill their holes from here."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import click

from common import tombstones
from common.dateutil import HOUR, floor_hour, hour_name, parse, parse_hour
from common.errors import UserError
from common.options import base_dir_option, option
from common.segments import SUFFIXES, Segment, SegmentType, parse_names, stem
from common.store import Store
from respool.arguments import Recording, RecordingType, said_plainly

_IN_A_NAME, _IN_A_RANGE = 4, 3


class Found(NamedTuple):
    """A segment that is, or was, on this node, and whether a tombstone hides it."""

    recording: Recording
    segment: Segment
    hidden: bool

    def __str__(self) -> str:
        return f"{'hidden ' if self.hidden else 'visible'}  {self.path}"

    @property
    def path(self) -> str:
        """Give it as C/Q/H/NAME."""
        return "/".join((*self.recording, self.segment.hour, self.segment.name))


@click.command("tombstone")
@click.argument("targets", nargs=-1, required=True, metavar="C/Q START END | C/Q/H/NAME ...")
@option("--list", "only_list", is_flag=True, help="Only list what there is, hidden or not.")
@option("--remove", is_flag=True, help="Show again what is hidden; other nodes may still hide it, and bring that back.")
@option("--yes", is_flag=True, help="Do not ask.")
@base_dir_option
def cli(*, targets: tuple[str, ...], only_list: bool, remove: bool, yes: bool, base_dir: Path) -> None:
    """Hide segments from playlists and cuts, here and on other nodes.

    They are named as they lie in the store, or are all that have a part in a range (ISO 8601, in UTC unless the times
    name a zone). Nothing is deleted: a tombstone, which other nodes copy, hides it.
    """
    store = Store(base_dir)
    with said_plainly():
        store.check_readable()
        found = list(_found(store, targets))
        chosen = found if only_list else [each for each in found if each.hidden == remove]
        for each in chosen:
            click.echo(each)
        if only_list or not chosen:
            click.echo(_nothing(found) if not chosen else _counted(found))
            return
        if remove:
            click.echo("Nodes that have copied these tombstones keep them, and this node copies them back from there.")
        if not yes:
            click.confirm(f"{'Show' if remove else 'Hide'} these {len(chosen)} segments?", abort=True)
        done = _act(store, chosen, show=remove)
        click.echo(f"{done} segments are {'shown again' if remove else 'hidden'}.")


def _act(store: Store, chosen: Sequence[Found], *, show: bool) -> int:
    """Hide segments or show them, hour by hour; give how many were not so before."""
    act = tombstones.remove if show else tombstones.hide
    done = 0
    for (recording, hour), group in groupby(sorted(chosen), key=lambda each: (each.recording, each.segment.hour)):
        names = [each.segment.name for each in group]
        done += len(act(store, recording.channel, recording.quality, hour, names))
    return done


def _found(store: Store, targets: Sequence[str]) -> Iterator[Found]:
    """Look up what is named. Raises UserError if it cannot be, or is not there."""
    if all(target.count("/") == _IN_A_NAME - 1 for target in targets):
        for target in targets:
            yield _named(store, target)
        return
    recording = RecordingType().convert(targets[0], None, None)
    if len(targets) == 1:
        for hour in store.hours(*recording):
            yield from _in_hour(store, recording, hour)
        return
    if len(targets) != _IN_A_RANGE:
        raise UserError("Name segments as C/Q/H/NAME, or a range as C/Q START END.")
    start, end = map(_moment, targets[1:])
    first, last = hour_name(floor_hour(start) - HOUR), hour_name(end)
    for hour in store.hours(*recording):
        if first <= hour <= last:
            found = _in_hour(store, recording, hour)
            yield from (each for each in found if each.segment.start < end and each.segment.end > start)


def _moment(text: str) -> datetime:
    try:
        return parse(text)
    except ValueError as error:
        raise UserError(str(error)) from error


def _named(store: Store, target: str) -> Found:
    channel, quality, hour, name = target.split("/")
    try:
        recording = RecordingType().convert(f"{channel}/{quality}", None, None)
        found = [each for each in _in_hour(store, recording, hour) if each.segment.name == name]
    except ValueError as error:
        raise UserError(str(error)) from error
    if not found:
        raise UserError(f"There is no segment {target[:300]!r} in {store.base}.")
    return found[0]


def _in_hour(store: Store, recording: Recording, hour: str) -> list[Found]:
    """List an hour: its segments but those being written, and those of which only the tombstone is left."""
    names = store.names(*recording, hour, tombstones=True)
    segments, _ = parse_names(parse_hour(hour), [name for name in names if name.endswith(SUFFIXES)])
    graves = {stem(name) for name in names if not name.endswith(SUFFIXES)}
    empty = sorted(graves - {stem(segment.name) for segment in segments})
    gone, _ = parse_names(parse_hour(hour), [f"{each}{SUFFIXES[0]}" for each in empty])
    there = [segment for segment in segments if segment.type is not SegmentType.TEMP]
    return [Found(recording, segment, stem(segment.name) in graves) for segment in sorted([*there, *gone])]


def _counted(found: Sequence[Found]) -> str:
    hidden = sum(each.hidden for each in found)
    return f"{len(found)} segments, {hidden} of them hidden."


def _nothing(found: Sequence[Found]) -> str:
    if not found:
        return "There are no segments."
    return "These segments are hidden already." if found[0].hidden else "None of these segments is hidden."
