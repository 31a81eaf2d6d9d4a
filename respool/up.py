"""`respool up`: everything on one machine, in one process group."""

import asyncio
import fcntl
import json
import socket
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import asyncpg
import click
import structlog
from aiohttp import ClientError, ClientSession, ClientTimeout

from common import service
from common.children import supervise
from common.db import announce_node, apply_schema, pool
from common.errors import UserError
from common.lifetimes import AgeLimit, Limits
from common.logs import LEVELS
from common.options import host_option, limit_options, option, port_option
from common.waits import pause
from respool.arguments import data_option
from respool.demo import DemoConfig
from respool.demo import run as run_demo
from respool.postgres import embedded_postgres

log = structlog.get_logger()

# Where videos go unless somebody changes it; written once, and never over what is there.
_LOCATIONS_FILE = "locations.toml"
_LOCATIONS = """\
# Where finished videos go: the upload locations, by the names that events use. Restart `respool up` after a change.
# docs/locations.md has all types and keys.

[locations.local]
type = "local"
folder = "videos"  # beside this file
create = true
"""

# What this version makes of a data folder: segments/ and postgres/ in it.
_FORMAT = 1
_FORMAT_FILE = "respool.json"

# A service gets this long to stop before it is killed; all of them stop side by side, the database after them.
_STOP_SECONDS = 3.2

# Then the database, which takes a tenth of a second. What is still there after this is killed: all is over within five.
_ALL_STOP_SECONDS = 4.0

# What Prometheus is told (file_sd_configs): where each service of this machine shows its metrics.
_TARGETS_FILE = "prometheus-targets.json"

# Those that have a port for nothing else, in the order of their ports, which only this machine reaches.
_WATCHED = ("downloader", "cutter", "librarian")
_LOOPBACK = "127.0.0.1"
_PORTS_TRIED = 20
_LAST_PORT = 65_535

_ANNOUNCE_SECONDS = 30.0
_DEMO = "demo"


@dataclass(frozen=True, slots=True)
class Config:
    """What runs: `channels` as NAME=URL; with none, the demo stream is recorded. Port 0 is any free one.

    `nodes` are addresses of other nodes, to be backfilled from.
    """

    data: Path
    channels: tuple[str, ...]
    qualities: str
    host: str
    port: int
    log_level: str
    limits: Limits = field(default_factory=Limits)
    nodes: tuple[str, ...] = ()

    @property
    def page(self) -> str:
        """The address of the page, as a browser on this machine reaches it."""
        host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(self.host, self.host)  # noqa: S104 - compared, not listened on
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"


async def run(config: Config, stop: asyncio.Event) -> None:
    """Run everything until told to stop. Raises UserError for what the user must cure before it can start."""
    with data_folder(config.data):
        config = replace(config, port=_free_port(config.host, config.port))
        say("Starting the database.")
        async with embedded_postgres(config.data) as dsn:
            await apply_schema(dsn)
            await _run_services(config, dsn, stop)


async def _run_services(config: Config, dsn: str, stop: asyncio.Event) -> None:
    async with asyncio.TaskGroup() as group:
        channels = config.channels
        if not channels:
            say("No channel is named: making a demo stream to record.")
            channels = (f"{_DEMO}={await _start_demo(config, group, stop)}",)
        common = ["--base-dir", str(config.data / "segments"), "--log-level", config.log_level]
        address = ["--host", config.host, "--port", str(config.port)]
        shown = ["--templates", str(config.data / "templates")]
        ports = metrics_ports(config.port, (*_WATCHED, "backfiller") if config.nodes else _WATCHED)
        write_targets(config, ports)
        watched = {name: ["--metrics-port", str(port)] for name, port in ports.items()}
        record = [*common, *watched["downloader"], "--qualities", config.qualities, *channels]
        group.create_task(supervise("restreamer", [*common, *address, *shown], stop, stop_seconds=_STOP_SECONDS))
        group.create_task(supervise("downloader", record, stop, stop_seconds=_STOP_SECONDS))
        needing_database = {"cutter": _cutter_arguments(config), "librarian": librarian_arguments(config.limits)}
        if config.nodes:
            needing_database["backfiller"] = _backfiller_arguments(config)
        for name, arguments in needing_database.items():
            group.create_task(
                supervise(
                    name,
                    [*common, *watched[name], *arguments],
                    stop,
                    stop_seconds=_STOP_SECONDS,
                    environment={"RESPOOL_DATABASE": dsn},
                )
            )
        group.create_task(_announce(dsn, config.page, stop))
        group.create_task(_tell(config, [channel.partition("=")[0] for channel in channels], stop))


def metrics_ports(page: int, names: Iterable[str] = _WATCHED) -> dict[str, int]:
    """Choose the ports for metrics: the first free ones after that of the page, so that they stay what they were."""
    ports: dict[str, int] = {}
    for name in names:
        after = max(page, *ports.values()) if ports else page
        free = (port for port in range(after + 1, min(after + _PORTS_TRIED, _LAST_PORT) + 1) if _is_free(port))
        ports[name] = next(free, 0) or _free_port(_LOOPBACK, 0)
    return ports


def _is_free(port: int) -> bool:
    try:
        _free_port(_LOOPBACK, port)
    except UserError:
        return False
    return True


def write_targets(config: Config, ports: Mapping[str, int]) -> None:
    """Say where the metrics are, in the form of Prometheus' file_sd_configs; the file is whole at any time.

    A full disk is no reason not to start: what is served from it can be seen all the same.
    """
    served = {"restreamer": urlsplit(config.page).netloc}
    served |= {name: f"{_LOOPBACK}:{port}" for name, port in ports.items()}
    node = socket.gethostname()
    targets = [{"targets": [where], "labels": {"service": name, "node": node}} for name, where in served.items()]
    file = config.data / _TARGETS_FILE
    new = file.with_name(f".{file.name}.new")
    try:
        new.write_text(json.dumps(targets, indent=2) + "\n", encoding="utf-8")
        new.replace(file)
    except OSError as error:
        log.warning("targets_not_written", file=str(file), reason=error.strerror)


def _backfiller_arguments(config: Config) -> list[str]:
    """What the backfiller is told; of the nodes in the database (`respool node add`) it leaves out this machine."""
    return [*(part for url in config.nodes for part in ("--node", url)), "--name", socket.gethostname()]


def _cutter_arguments(config: Config) -> list[str]:
    """What the cutter is told of the data folder."""
    spool, locations = config.data / "spool", config.data / _LOCATIONS_FILE
    return ["--spool", str(spool), "--locations", str(locations), "--name", socket.gethostname()]


def librarian_arguments(limits: Limits) -> list[str]:
    """Give what the librarian is told of limits; sizes in bytes."""
    arguments = [each for age in limits.ages for each in ("--max-age", str(age))]
    arguments += ["--max-size", str(limits.size)] if limits.size is not None else []
    return [*arguments, "--min-free", str(limits.free)] if limits.free is not None else arguments


async def _start_demo(config: Config, group: asyncio.TaskGroup, stop: asyncio.Event) -> str:
    """Start the demo stream in this process and give its address."""
    import imageio_ffmpeg

    listening: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    demo = DemoConfig(imageio_ffmpeg.get_ffmpeg_exe(), config.data)
    task = group.create_task(run_demo(demo, stop, listening=listening.set_result))
    task.add_done_callback(lambda _: listening.cancel())
    return await listening  # cancelled with the group if the demo stream cannot start, which is then the group's error


async def _announce(dsn: str, url: str, stop: asyncio.Event) -> None:
    """Keep this machine's row in `nodes` fresh; a database that is away for a while is tried again."""
    async with await pool(dsn, name="respool up") as connections:
        while not stop.is_set():
            try:
                await announce_node(connections, socket.gethostname(), url)
            except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
                log.warning("node_not_announced", reason=str(error))
            await pause(stop, _ANNOUNCE_SECONDS)


async def _tell(config: Config, channels: list[str], stop: asyncio.Event) -> None:
    """Say which page to open as soon as it can be opened, and say when all of it is being stopped."""
    async with ClientSession() as session:
        while not stop.is_set() and not await _answers(session, config.page):
            await pause(stop, 0.1)
    if not stop.is_set():
        say(f"Recording {', '.join(channels)} into {config.data / 'segments'}.")
        say(f"Open {config.page} to watch; Ctrl-C stops everything.")
    await stop.wait()
    say("Stopping.")


async def _answers(session: ClientSession, page: str) -> bool:
    try:
        async with session.get(page + "health", timeout=ClientTimeout(total=2.0)) as response:
            return response.ok
    except (ClientError, TimeoutError):
        return False


def say(sentence: str) -> None:
    """Tell the person at the terminal what is going on."""
    click.echo(f"respool: {sentence}")


def _free_port(host: str, port: int) -> int:
    """Give the port for the page, any free one for 0.

    Raises UserError if nothing can listen there: the restreamer would only fail again and again.
    """
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind((host, port))
            listener.listen()  # two may bind the same port; only one may listen
            free: int = listener.getsockname()[1]
    except OSError as error:
        raise UserError(
            f"Cannot listen on {host} port {port} ({error.strerror}): stop what uses it or choose another with --port."
        ) from error
    return free


@contextmanager
def data_folder(data: Path) -> Iterator[None]:
    """Take a data folder for us alone, made if need be.

    Raises UserError if it is in use, of another version or not writable.
    """
    with ExitStack() as stack:
        try:
            data.mkdir(parents=True, exist_ok=True)
            lock = stack.enter_context((data / "respool.lock").open("wb"))
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _check_format(data / _FORMAT_FILE)
            (data / "segments").mkdir(exist_ok=True)
            _write_locations(data / _LOCATIONS_FILE)
        except BlockingIOError:
            raise UserError(f"Another `respool up` uses {data}; stop that one, or name another with --data.") from None
        except OSError as error:
            raise UserError(
                f"The folder {data} cannot be used ({error.strerror}: {error.filename}); "
                "change its rights or name another with --data."
            ) from error
        yield


def _write_locations(file: Path) -> None:
    """Make the file of the upload locations, if there is none; whole, or not at all."""
    if not file.exists():
        new = file.with_name(f".{file.name}.new")
        new.write_text(_LOCATIONS, encoding="utf-8")
        new.replace(file)


def _check_format(path: Path) -> None:
    """Raise UserError if the folder is of another version; a new one gets ours."""
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    if not text:  # an empty one is what a start leaves that was killed while it made it
        path.write_text(json.dumps({"format": _FORMAT}) + "\n", encoding="utf-8")
        return
    try:
        found = json.loads(text)["format"]
    except (ValueError, KeyError, TypeError):
        raise UserError(
            f"{path} cannot be read; put back {json.dumps({'format': _FORMAT})} if it was changed."
        ) from None
    if found != _FORMAT:
        raise UserError(
            f"{path.parent} was made by another version of Respool (format {found}, here {_FORMAT}); "
            "use that version, or name another folder with --data."
        )


def _channels(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    """Have the downloader look at what it will be told, so that a mistake is met before anything runs."""
    from downloader.main import parse_channels

    parse_channels(texts)
    return texts


def _qualities(_context: click.Context, _parameter: click.Parameter, text: str) -> str:
    from downloader.main import parse_qualities

    parse_qualities(text)
    return text


def _nodes(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    from backfiller.node_list import parse_nodes

    return parse_nodes(texts)


@click.command("up")
@data_option
@option(
    "--channel",
    "channels",
    multiple=True,
    metavar="NAME=URL",
    callback=_channels,
    help="A live HLS stream to record, by the name that you give it; of Twitch and other sites the page, as "
    "NAME=streamlink:URL. May be repeated. None: a demo stream.",
)
@option(
    "--qualities",
    default="source",
    callback=_qualities,
    help="What to record of each channel, separated by commas: source (the best), or names such as 720p60.",
)
@option(
    "--node",
    "nodes",
    multiple=True,
    metavar="URL",
    callback=_nodes,
    help="The page of another machine: what it has recorded and this one has not is fetched. May be repeated.",
)
@host_option
@port_option(8000)
@limit_options
@option(
    "--log-level",
    type=click.Choice(LEVELS),
    # in a terminal, a line for each segment would carry the address of the page away
    default=lambda: "warning" if sys.stderr.isatty() else "info",
    show_default="info; warning in a terminal",
    help="The least level to log.",
)
def cli(
    max_age: tuple[AgeLimit, ...],
    max_size: int | None,
    min_free: int | None,
    **options: Any,  # noqa: ANN401 - as click gives them: the fields of Config
) -> None:
    """Run everything on this machine; with no channel, a demo stream.

    The recordings lie in DATA/segments, the database in DATA/postgres. Without limits of age or space nothing of them
    is ever deleted.
    """
    config = Config(**options, limits=Limits(max_age, max_size, min_free))
    run_up = partial(run, config)
    raise SystemExit(service.main(run_up, name="up", level=config.log_level, stop_seconds=_ALL_STOP_SECONDS))
