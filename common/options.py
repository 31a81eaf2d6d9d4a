"""The options that several commands share, so that a flag means the same everywhere.

Every flag has its RESPOOL_* variable: `--base-dir` is RESPOOL_BASE_DIR.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

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

host_option = option("--host", default="127.0.0.1", help="The address to listen on; 0.0.0.0 for all of the machine's.")

metrics_port_option = option(
    "--metrics-port", type=click.IntRange(0, 65535), help="The port for /metrics and /health; none without it."
)

log_level_option = option("--log-level", type=click.Choice(LEVELS), default="info", help="The least level to log.")


def port_option(default: int) -> Callable[[Command], Command]:
    """Make `--port`; 0 takes a free one."""
    return option("--port", type=click.IntRange(0, 65535), default=default, help="The port to listen on.")
