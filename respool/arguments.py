"""What several commands are told, and how an error that the user can cure is shown."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import click

from common.dateutil import parse
from common.errors import UserError
from common.options import option
from common.store import BadPathError, Store, component

DATA_HELP = "The folder that holds everything: recordings, database, videos."

data_option = option("--data", type=click.Path(path_type=Path, file_okay=False), default=Path("data"), help=DATA_HELP)


class Recording(NamedTuple):
    """One quality of a channel, as the user names it: C/Q."""

    channel: str
    quality: str


class RecordingType(click.ParamType[Recording]):
    """C/Q on the command line."""

    name = "C/Q"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Recording:  # noqa: ANN401 - click's signature
        """Split it, or say what is wrong."""
        if isinstance(value, Recording):
            return value
        channel, _, quality = str(value).partition("/")
        try:
            return Recording(component(channel), component(quality))
        except BadPathError:
            self.fail(f"{value!r} is not CHANNEL/QUALITY, for example demo/source.", param, ctx)


class TimeType(click.ParamType[datetime]):
    """A time on the command line, in any zone."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:  # noqa: ANN401 - click's signature
        """Read it as aware UTC, or say what is wrong."""
        if isinstance(value, datetime):
            return value
        try:
            return parse(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


@contextmanager
def said_plainly() -> Iterator[None]:
    """Show a UserError, or what the disk refuses, as one sentence, and exit with 1."""
    try:
        yield
    except UserError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename} cannot be used ({error.strerror}).") from error


def recorded_span(store: Store, recording: Recording) -> tuple[datetime, datetime]:
    """Give the first and the last moment of a recording. Raises UserError, which names what there is, if it is none."""
    store.check_readable()
    span = store.span(*recording)
    if span is None:
        known = ", ".join(f"{c}/{q}" for c in store.channels() for q in store.qualities(c)) or "nothing at all"
        raise UserError(f"Nothing is recorded of {'/'.join(recording)}; there is {known} in {store.base}.")
    return span
