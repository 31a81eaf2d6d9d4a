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
from common.store import BadPathError, component

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
    """Show a UserError as its sentence, and exit with 1."""
    try:
        yield
    except UserError as error:
        raise click.ClickException(str(error)) from error
