"""`respool cut`: a piece of the recording as a file, without server or database."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TimeRemainingColumn

from common.coverage import ContainsHolesError
from common.cuts import CutType, NothingRecordedError, VideoRange
from common.cutting import DEFAULT_SETTINGS, Order, gather, make_archive, make_full, make_rough, make_smart
from common.dateutil import format_utc
from common.encoding import Container, EncodingError
from common.errors import UserError
from common.ffmpeg import FfmpegError
from common.options import base_dir_option, option
from common.pieces import CannotSpliceError
from common.ranges import UnreadableSegmentError
from common.rough import plan_rough
from common.sidecar import FactsStore
from common.store import Store
from common.transitions import Transition, TransitionError, parse_transition
from common.verify import VerificationError
from respool.arguments import Recording, RecordingType, TimeType, recorded_span, said_plainly

# By the ending of the file's name; of any other, it is MPEG-TS.
CONTAINERS = {
    ".mp4": Container.MP4,
    ".mkv": Container.MATROSKA,
    ".webm": Container.WEBM,
    ".ts": Container.MPEGTS,
}


@click.command("cut")
@click.argument("recording", metavar="C/Q", type=RecordingType())
@click.argument("start", type=TimeType(), required=False)
@click.argument("end", type=TimeType(), required=False)
@option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@option(
    "--type",
    "kind",
    type=click.Choice([CutType.SMART.value, CutType.FULL.value, CutType.ROUGH.value, CutType.ARCHIVE.value]),
    default=CutType.SMART.value,
    help="smart: exact to the frame, and all copied but for a few frames at the ends. full: the same, all encoded "
    "anew. rough: whole segments, as they were recorded; it begins up to a segment early and ends as much late. "
    "archive: the same in Matroska, holes allowed, one file for each stretch without a hole.",
)
@option(
    "--range",
    "ranges",
    type=(TimeType(), TimeType()),
    metavar="START END",
    multiple=True,
    help="In place of START and END, and as often as you like: the ranges that follow each other in the video.",
)
@option(
    "--transition",
    "transitions",
    metavar="TYPE,SECONDS",
    multiple=True,
    help="What leads from each range into the next, such as fade,1: one less than ranges, '' for a hard join. "
    "Without any, all joins are hard.",
)
@option("--allow-holes", is_flag=True, help="Leave out what is missing, where it is otherwise refused.")
@option("--overwrite", is_flag=True, help="Replace the file if it is there already.")
@base_dir_option
def cli(
    *,
    recording: Recording,
    start: datetime | None,
    end: datetime | None,
    output: Path,
    kind: str,
    ranges: tuple[tuple[datetime, datetime], ...],
    transitions: tuple[str, ...],
    allow_holes: bool,
    overwrite: bool,
    base_dir: Path,
) -> None:
    """Cut a range, or several, out of a recording into a video file.

    C/Q is a channel and a quality, such as demo/source; times are ISO 8601, in UTC unless they name a zone.
    """
    wanted = _ranges(start, end, ranges)
    joins = _transitions(transitions, len(wanted), CutType(kind))
    if kind == CutType.ARCHIVE and output.suffix.lower() != ".mkv":
        raise click.ClickException("An archive is Matroska: give the file the ending .mkv.")
    order = Order(*recording, wanted, allow_holes, joins)
    with said_plainly():
        span = recorded_span(store := Store(base_dir), recording)
        _check(output, overwrite=overwrite)
        with _explained(order, span, base_dir, output), _progress() as done:
            said = asyncio.run(_cut(store, order, CutType(kind), output.resolve(), done))
    click.echo(f"{output}: {output.stat().st_size:,} bytes {said}.")


def _ranges(
    start: datetime | None, end: datetime | None, several: tuple[tuple[datetime, datetime], ...]
) -> tuple[VideoRange, ...]:
    """Read which ranges are meant. Raises ClickException."""
    if several and start is not None:
        raise click.ClickException("A cut has either START and END, or one --range START END or several.")
    found = several or (() if start is None or end is None else ((start, end),))
    if not found:
        raise click.ClickException("Say what to cut: START and END, or --range START END once or several times.")
    ranges = tuple(VideoRange(*each) for each in found)
    if any(each.start >= each.end for each in ranges):
        raise click.ClickException("The range is empty: START must be before END.")
    return ranges


def _transitions(said: tuple[str, ...], ranges: int, kind: CutType) -> tuple[Transition | None, ...]:
    """Read what joins the ranges. Raises ClickException."""
    if said and len(said) != ranges - 1:
        raise click.ClickException("Give one --transition less than ranges, '' for a hard join; or none at all.")
    try:
        transitions = tuple(map(parse_transition, said))
    except TransitionError as error:
        raise click.ClickException(str(error).replace("transition=", "--transition ")) from error
    if any(transitions) and kind in {CutType.ROUGH, CutType.ARCHIVE}:
        raise click.ClickException(f"A cut of type {kind.value} encodes nothing, and so has no transitions.")
    return transitions


async def _cut(store: Store, order: Order, kind: CutType, output: Path, done: Callable[[float], None]) -> str:
    """Make the video, and say what it holds."""
    facts, container = FactsStore(store), CONTAINERS.get(output.suffix.lower(), Container.MPEGTS)
    if kind is CutType.ROUGH:
        gathered = gather(store, facts, order, context=timedelta(0))
        _check_ending(plan_rough(gathered.reading, gathered.ranges).container, output)
        await make_rough(gathered, output, done)
        return f"from {sum(len(wanted.segments) for wanted in gathered.ranges)} segments"
    if kind is CutType.ARCHIVE:
        gathered = gather(store, facts, replace(order, allow_holes=True), context=timedelta(0))
        made_files = await make_archive(gathered, output, done)
        return f"in the first of {len(made_files)} files" if len(made_files) > 1 else "in one file"
    gathered = gather(store, facts, order)
    if kind is CutType.FULL:
        made = await make_full(gathered, order, DEFAULT_SETTINGS[container], output, done)
    else:
        made = await make_smart(gathered, order, container, output, done)
    frames = "" if made.frames is None else f"{made.frames:,} frames, "
    encoded = "" if made.reason is None else f", all encoded anew ({made.reason.rstrip('.')})"
    return f"in {frames}{made.duration.total_seconds():.3f} seconds{encoded}"


def _check_ending(container: Container, output: Path) -> None:
    """See that a file is named as what goes into it. Raises UserError."""
    named = CONTAINERS.get(output.suffix.lower(), Container.MPEGTS)
    if named is not container:
        right, what = (".mp4", "MP4") if container is Container.MP4 else (".ts", "MPEG-TS")
        raise UserError(f"As they are, the segments are {what}: give the file the ending {right}.")


def _check(output: Path, *, overwrite: bool) -> None:
    """See that the file may be written. Raises UserError."""
    if output.exists() and not output.is_file():
        raise UserError(f"{output} is no ordinary file; choose another name.")
    if output.exists() and not overwrite:
        raise UserError(f"{output} is there already; choose another name or add --overwrite.")


@contextmanager
def _explained(order: Order, span: tuple[datetime, datetime], base_dir: Path, output: Path) -> Iterator[None]:
    """Turn what may go wrong with a cut into a UserError that says what to do."""
    nothing = f"Nothing is recorded in that range; there is {format_utc(span[0])} to {format_utc(span[1])}."
    try:
        yield
    except ContainsHolesError as error:
        if (error.hole.start, error.hole.end) in order.ranges:
            raise UserError(nothing) from error
        raise UserError(f"{error} Add --allow-holes to leave out what is missing.") from error
    except NothingRecordedError as error:
        raise UserError(nothing) from error
    except UnreadableSegmentError as error:
        raise UserError(f"{error} Add --allow-holes to leave it out.") from error
    except TransitionError as error:
        raise UserError(str(error)) from error
    except (CannotSpliceError, EncodingError) as error:
        raise UserError(f"{error} Choose another type, or another ending of the file's name.") from error
    except (FfmpegError, VerificationError) as error:
        raise UserError(f"The video could not be made. {error}") from error
    except OSError as error:
        if error.filename and Path(error.filename).is_relative_to(base_dir):
            raise UserError(f"The segment {error.filename} cannot be read ({error.strerror}).") from error
        raise UserError(f"The video cannot be written to {output} ({error.strerror}).") from error


@contextmanager
def _progress() -> Iterator[Callable[[float], None]]:
    """Show how far it is, to whom watches; standard output and logs stay free of it."""
    console = Console(stderr=True)
    columns = (BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=1.0)
        yield lambda done: bar.update(task, completed=done)
