"""The options that several commands share, so that a flag means the same everywhere.

Every flag has its RESPOOL_* variable: `--base-dir` is RESPOOL_BASE_DIR.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from common.lifetimes import AgeLimit, parse_age_limit, parse_size
from common.logs import LEVELS

Command = Callable[..., Any]


def option(*names: str, **attributes: Any) -> Callable[[Command], Command]:  # noqa: ANN401 - click's own attributes
    """Make an option whose variable is named after its flag and whose help says the default."""
    flag = next(name for name in names if name.startswith("--"))
    variable = "RESPOOL_" + flag.removeprefix("--").upper().replace("-", "_")
    return click.option(*names, **{"envvar": variable, "show_envvar": True, "show_default": True, **attributes})


base_dir_option = option(
    "--base-dir",
    type=click.Path(path_type=Path),
    default=Path("data/segments"),
    help="The folder of the store: what is recorded lies there, by channel, quality and hour.",
)

token_file_option = option(
    "--token-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The file whose first token is shown to the nodes.",
)

ca_file_option = option(
    "--ca-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The certificate (PEM) of the authority that vouches for nodes with https, in place of the system's.",
)

host_option = option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0 for all of the machine's.")

metrics_port_option = option(
    "--metrics-port", type=click.IntRange(0, 65535), help="The port for /metrics and /health; none without it."
)

log_level_option = option("--log-level", type=click.Choice(LEVELS), default="info", help="The least level to log.")


def port_option(default: int) -> Callable[[Command], Command]:
    """Make `--port`; 0 takes a free one."""
    return option("--port", type=click.IntRange(0, 65535), default=default, help="The port to listen on.")


class AgeLimitType(click.ParamType[AgeLimit]):
    """An age after which recordings go."""

    name = "AGE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> AgeLimit:  # noqa: ANN401 - click's signature
        """Read it, or say what is wrong."""
        try:
            return value if isinstance(value, AgeLimit) else parse_age_limit(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class SizeType(click.ParamType[int]):
    """A number of bytes."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:  # noqa: ANN401 - click's signature
        """Read it, or say what is wrong."""
        try:
            return value if isinstance(value, int) else parse_size(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


_LIMIT_OPTIONS = (
    option(
        "--max-age",
        multiple=True,
        type=AgeLimitType(),
        metavar="[C/Q=]AGE",
        help="Delete hours that are older, such as 30d, or */720p=7d for some only: the last one that fits counts. "
        "May be repeated.",
    ),
    option("--max-size", type=SizeType(), help="Delete the oldest hours beyond this size of the store, such as 500GB."),
    option("--min-free", type=SizeType(), help="Delete the oldest hours while less of the disk is free, such as 20GB."),
)


def limit_options(command: Command) -> Command:
    """Give a command the options that say which hours go: `max_age`, `max_size`, `min_free`."""
    for each in reversed(_LIMIT_OPTIONS):  # the help shows them in their order
        command = each(command)
    return command
