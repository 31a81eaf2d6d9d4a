"""`respool cut`: a piece of the recording as a file, without server or database."""

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import BinaryIO

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TimeRemainingColumn, TransferSpeedColumn

from common.coverage import ContainsHolesError
from common.cuts import NothingRecordedError, plan_rough
from common.dateutil import format_utc
from common.errors import UserError
from common.options import base_dir_option, option
from common.sidecar import FactsStore
from common.store import Store
from respool.arguments import Recording, RecordingType, TimeType, recorded_span, said_plainly

_COPY_BYTES = 4 << 20


@click.command("cut")
@click.argument("recording", metavar="C/Q", type=RecordingType())
@click.argument("start", type=TimeType())
@click.argument("end", type=TimeType())
@option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The file to write.")
@option(
    "--type",
    "kind",
    type=click.Choice(["rough"]),
    required=True,
    help="rough: whole segments, as they were recorded; it begins up to a segment early and ends as much late.",
)
@option("--allow-holes", is_flag=True, help="Leave out what is missing, where it is otherwise refused.")
@option("--overwrite", is_flag=True, help="Replace the file if it is there already.")
@base_dir_option
def cli(
    *,
    recording: Recording,
    start: datetime,
    end: datetime,
    output: Path,
    kind: str,
    allow_holes: bool,
    overwrite: bool,
    base_dir: Path,
) -> None:
    """Cut the range from START to END out of a recording, into a video file.

    C/Q is a channel and a quality, such as demo/source; times are ISO 8601, in UTC unless they name a zone.
    """
    del kind  # there is one so far, and click has checked it
    with said_plainly():
        paths = _plan(Store(base_dir), recording, start, end, allow_holes=allow_holes)
        size = _copy(paths, output, overwrite=overwrite)
    click.echo(f"{output}: {size:,} bytes from {len(paths)} segments.")


def _plan(store: Store, recording: Recording, start: datetime, end: datetime, *, allow_holes: bool) -> list[Path]:
    if start >= end:
        raise UserError("The range is empty: START must be before END.")
    first, last = recorded_span(store, recording)
    FactsStore(store).settle(*recording, lambda: store.sequence(*recording, start, end))
    said = f"Nothing is recorded in that range; there is {format_utc(first)} to {format_utc(last)}."
    try:
        sequence = store.sequence(*recording, start, end, allow_holes=allow_holes)
        plan = plan_rough(*recording, sequence)
    except ContainsHolesError as error:
        if (error.hole.start, error.hole.end) == (start, end):
            raise UserError(said) from error
        raise UserError(f"{error} Add --allow-holes to leave out what is missing.") from error
    except NothingRecordedError as error:
        raise UserError(said) from error
    return [store.segment_path(*recording, segment) for segment in plan.segments]


def _copy(paths: list[Path], output: Path, *, overwrite: bool) -> int:
    """Put the files together and give the bytes. Raises UserError if they cannot be read, or the output not written."""
    try:
        if output.exists() and not output.is_file():
            raise UserError(f"{output} is no ordinary file; choose another name.")
        if output.exists() and not overwrite:
            raise UserError(f"{output} is there already; choose another name or add --overwrite.")
        size = sum(path.stat().st_size for path in paths)
        with _replacing(output.resolve()) as target, _progress() as bar:
            task = bar.add_task("", total=size)
            for path in paths:
                with path.open("rb") as source:
                    shutil.copyfileobj(source, target, _COPY_BYTES)
                    bar.advance(task, source.tell())
    except OSError as error:
        if error.filename in map(str, paths):
            raise UserError(f"The segment {error.filename} cannot be read ({error.strerror}).") from error
        raise UserError(f"The video cannot be written to {output} ({error.strerror}).") from error
    return size


def _progress() -> Progress:
    """Show how far it is, to whom watches; standard output and logs stay free of it."""
    console = Console(stderr=True)
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def _replacing(output: Path) -> Iterator[BinaryIO]:
    """Write a file that has its name only when it is whole and on disk."""
    temp = output.with_name(f".{output.name}.{secrets.token_hex(4)}.part")
    try:
        with temp.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temp.replace(output)
    finally:
        with suppress(OSError):  # it has its name, or never came to be
            temp.unlink()
