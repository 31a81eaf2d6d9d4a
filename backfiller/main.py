"""The backfiller's composition: its configuration, its command, a worker for each node."""

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from pathlib import Path
from typing import Any

import click
import structlog

from backfiller.fetches import MOST_TURNS, Fetches, Source
from backfiller.manager import Manager
from backfiller.node_list import NodeList, parse_nodes
from backfiller.outcomes import NodeError
from backfiller.peer import Peer
from backfiller.rate import Rate
from backfiller.standing import Standing
from backfiller.survey import Survey, Wanted
from backfiller.transfer import copy
from backfiller.wire import Line
from backfiller.worker import Worker
from common import service
from common.digest_cache import Digests
from common.errors import UserError
from common.expired import Expired
from common.options import (
    base_dir_option,
    ca_file_option,
    host_option,
    log_level_option,
    metrics_port_option,
    option,
    token_file_option,
)
from common.store import BadPathError, Store, component
from common.tokens import TokenFile
from common.waits import in_thread

log = structlog.get_logger()

# For comparing, which mostly waits for nodes; each node takes some of them, and one that hangs keeps those for a while.
_COMPARING_THREADS = 16

_GIB = 1 << 30

# Whatever else runs on the machine comes first. With ionice's default this is also the disk's order.
_NICENESS = 10

_UNITS = {"k": 10**3, "m": 10**6, "g": 10**9}


@dataclass(frozen=True, slots=True)
class Config:
    """What to fetch from where; `rate` is in bytes per second, `reserve` are bytes of the disk that stay free.

    `metrics_port` None: no metrics are served.
    """

    base_dir: Path
    nodes: tuple[str, ...] = ()
    nodes_file: Path | None = None
    database: str | None = None
    name: str = ""
    run_once: bool = False
    token_file: Path | None = None
    ca_file: Path | None = None
    rate: int | None = None
    concurrency: int = 4
    every: float = 30.0
    wanted: Wanted = field(default_factory=Wanted)
    extras: tuple[str, ...] = ()
    histories: bool = False
    reserve: int = 0
    host: str = "127.0.0.1"
    metrics_port: int | None = None


@dataclass(slots=True)
class Backfiller:
    """What the workers share."""

    config: Config
    store: Store
    digests: Digests
    fetches: Fetches
    line: Line
    comparing: ThreadPoolExecutor
    tokens: TokenFile | None

    def peer(self, url: str) -> Peer:
        """Give a way to ask the node at an address; to be closed by the caller."""
        return Peer(url, self.line, self._token)

    def worker(self, url: str) -> Worker:
        """Make the worker for the node at an address."""
        config = self.config
        peer = self.peer(url)
        standing = Standing()
        survey = Survey(peer, self.store, self.digests, standing, config.wanted, lambda: datetime.now(UTC))
        source = Source(peer, standing)
        return Worker(
            *(source, survey, self.fetches, self.comparing, config.every),
            extras=config.extras,
            histories=config.histories,
            reserve=config.reserve,
        )

    def _token(self) -> str | None:
        tokens = self.tokens.tokens() if self.tokens is not None else ()
        return tokens[0] if tokens else None


async def run(config: Config, stop: asyncio.Event) -> None:
    """Fetch what other nodes have until told to stop, or with `run_once` once.

    Raises UserError for what the user must cure: a store, a port or a file that cannot be used; with `run_once` also
    nodes that could not be gone through to the end.
    """
    async with AsyncExitStack() as stack:
        if config.metrics_port is not None:
            from common.monitoring import serving_metrics

            checks = {"store": Store(config.base_dir).check_readable}
            await stack.enter_async_context(serving_metrics(config.host, config.metrics_port, checks))
        backfiller = await stack.enter_async_context(opened(config, stop))
        nodes = NodeList(config.nodes, config.nodes_file, config.database, config.name)
        stack.push_async_callback(nodes.close)
        if config.run_once:
            await _run_once(backfiller, await nodes.look())
        else:
            await Manager(nodes, backfiller.worker).run(stop)


@asynccontextmanager
async def opened(config: Config, stop: asyncio.Event) -> AsyncIterator[Backfiller]:
    """Open what the workers share; its threads end soon after the stop. Raises UserError."""
    store = Store(config.base_dir)
    await in_thread(store.check_writable)
    tokens = await in_thread(TokenFile, config.token_file) if config.token_file is not None else None
    tls = cache(partial(_tls, config.ca_file))
    if config.ca_file is not None:
        await in_thread(tls)  # so that a mistake is met now
    line = Line(Rate(config.rate), tls=tls)
    fetching = ThreadPoolExecutor(config.concurrency + MOST_TURNS, "fetching")
    comparing = ThreadPoolExecutor(_COMPARING_THREADS, "comparing")
    digests = Digests(store)
    copying = partial(copy, store=store, expired=Expired(store.base), reserve=config.reserve)
    fetches = Fetches(copying, fetching, config.concurrency)
    halting = asyncio.ensure_future(_halt(line, stop))
    try:
        yield Backfiller(config, store, digests, fetches, line, comparing, tokens)
    finally:
        halting.cancel()
        line.halt.set()
        await in_thread(_end, (fetching, comparing), digests)


async def _halt(line: Line, stop: asyncio.Event) -> None:
    await stop.wait()
    line.halt.set()


def _end(executors: tuple[ThreadPoolExecutor, ...], digests: Digests) -> None:
    for executor in executors:
        executor.shutdown(cancel_futures=True)
    digests.flush()


async def _run_once(backfiller: Backfiller, urls: tuple[str, ...]) -> None:
    """Go through each node once, all side by side."""
    workers = [backfiller.worker(url) for url in urls]
    failed = [sentence for sentence in await asyncio.gather(*map(_once, workers)) if sentence]
    if failed:
        raise UserError(f"Not all was fetched: {' '.join(failed)}")


async def _once(worker: Worker) -> str:
    """Make one pass; give in words why it failed, or nothing."""
    try:
        done = await worker.go_through()
    except NodeError as error:
        return f"{worker.name}: {error}"
    finally:
        worker.source.peer.close()
    return f"{worker.name} failed to give {done.failed.total()} segments." if done.failed else ""


def _tls(ca_file: Path | None) -> ssl.SSLContext:
    """Whom to trust: the authorities that the system knows, or the one in a file."""
    try:
        return ssl.create_default_context(cafile=ca_file)
    except OSError as error:  # ssl.SSLError too
        raise UserError(f"{ca_file} cannot be used as the certificate of an authority ({error.strerror}).") from error


# The command ---------------------------------------------------------------------------------------------------------


def _nodes(_context: click.Context, _parameter: click.Parameter, texts: tuple[str, ...]) -> tuple[str, ...]:
    return parse_nodes(texts)


def _folders(_context: click.Context, _parameter: click.Parameter, names: tuple[str, ...]) -> tuple[str, ...]:
    try:
        return tuple(map(component, names))
    except BadPathError as error:
        raise click.BadParameter(str(error)) from error


def _rate(_context: click.Context, _parameter: click.Parameter, text: str | None) -> int | None:
    if text is None:
        return None
    number, unit = (text[:-1], _UNITS[text[-1].lower()]) if text[-1:].lower() in _UNITS else (text, 1)
    try:
        rate = int(float(number) * unit)
    except (ValueError, OverflowError):
        rate = 0
    if rate < 1:
        raise click.BadParameter("it is a number of bytes per second, such as 500k or 2.5M.")
    return rate


@click.command("backfiller")
@base_dir_option
@option(
    "--node",
    "nodes",
    multiple=True,
    metavar="URL",
    callback=_nodes,
    help="The restreamer of another node, such as http://host:8000. May be repeated.",
)
@option(
    "--nodes-file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="A file with more of them, one in each line; it is read again when it changes.",
)
@option("--database", metavar="DSN", help="The database whose table of nodes has more of them.")
@option(
    "--name",
    default=socket.gethostname,
    show_default="the machine's",
    help="The name of this node in the database, which is left out.",
)
@option("--run-once", is_flag=True, help="Go through the nodes once, and end.")
@token_file_option
@ca_file_option
@option(
    "--rate",
    metavar="BYTES",
    callback=_rate,
    help="At most so many bytes per second from all nodes together, such as 2.5M.",
)
@option(
    "--concurrency",
    type=click.IntRange(1, 64),
    default=4,
    help="How many segments are fetched at once; each node gets a turn.",
)
@option("--every", type=click.FloatRange(1.0), default=30.0, metavar="SECONDS", help="The pause between two looks.")
@option("--hours", type=click.FloatRange(0, min_open=True), help="Fetch only what is not older than so many hours.")
@option(
    "--recent",
    type=click.FloatRange(0),
    default=120.0,
    metavar="SECONDS",
    help="Leave what is newer to the downloader here, if there is one that records the same.",
)
@option(
    "--extras",
    multiple=True,
    metavar="DIR",
    callback=_folders,
    help="A folder of the nodes' stores that holds no recordings, to be fetched, too. May be repeated.",
)
@option("--histories", is_flag=True, help="Fetch the playlists that nodes have kept with --playlist-debug, too.")
@option("--reserve", type=click.FloatRange(0), default=2.0, help="Leave so much of the disk free, in GiB.")
@host_option
@metrics_port_option
@log_level_option
@click.argument("channels", nargs=-1, metavar="[CHANNEL ...]", callback=_folders)
def cli(
    *,
    channels: tuple[str, ...],
    hours: float | None,
    recent: float,
    reserve: float,
    log_level: str,
    **options: Any,  # noqa: ANN401 - fields of Config
) -> None:
    """Fetch what other nodes have recorded and this one has not, of these channels or of all.

    The newest hours come first. docs/nodes.md says what is fetched and what is not.
    """
    wanted = Wanted(frozenset(channels), None if hours is None else timedelta(hours=hours), timedelta(seconds=recent))
    config = Config(**options, wanted=wanted, reserve=int(reserve * _GIB))
    if not (config.nodes or config.nodes_file or config.database):
        raise click.UsageError("Say where nodes are: --node URL, --nodes-file FILE or --database DSN.")
    os.nice(_NICENESS)
    raise SystemExit(service.main(lambda stop: run(config, stop), name="backfiller", level=log_level))
