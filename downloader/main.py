"""The downloader's composition: its configuration, its command, one manager per channel."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import click
import structlog
from aiohttp import ClientSession

from common import service
from common.disks import Disk, watch_disks
from common.monitoring import serving_metrics
from common.options import base_dir_option, host_option, log_level_option, metrics_port_option, option
from common.recording import sweep_temps
from common.store import Store
from common.tokens import TokenFile
from common.waits import in_thread
from downloader.addresses import AddressError, provider_of
from downloader.anchor import sweep_anchors
from downloader.connections import Reach, open_session
from downloader.fetch import Target
from downloader.manager import record
from downloader.nodes import Nodes
from downloader.origin import SOURCE
from downloader.providers import is_http
from downloader.queue import recorded_bytes
from downloader.recorder import Recorder
from downloader.source import Channel, Source

log = structlog.get_logger()

# It becomes a folder, a part of URLs and a label: what needs no quoting in any of them.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")


@dataclass(frozen=True, slots=True)
class Config:
    """What to record, in which qualities, and where to; `metrics_port` None: no metrics are served.

    `allow_private`: public channels may lead to private addresses. `nodes`: addresses of others that record the same.
    `token_file` has the token for these. `playlist_debug`: so many playlists are kept beside each segment.
    """

    base_dir: Path
    channels: tuple[Channel, ...]
    qualities: tuple[str, ...]
    host: str
    metrics_port: int | None
    allow_private: bool = False
    nodes: tuple[str, ...] = ()
    token_file: Path | None = None
    playlist_debug: int = 0


async def run(config: Config, stop: asyncio.Event) -> None:
    """Record until told to stop. Raises UserError if the store, the port or the file of tokens cannot be used."""
    store = Store(config.base_dir)
    await in_thread(store.check_writable)
    tokens = await in_thread(TokenFile, config.token_file) if config.token_file is not None else None
    async with AsyncExitStack() as stack:
        checks = {"store": store.check_readable}
        await stack.enter_async_context(serving_metrics(config.host, config.metrics_port, checks))
        async with asyncio.TaskGroup() as group:
            group.create_task(in_thread(_sweep, store, stop))
            group.create_task(watch_disks([Disk("store", store.base, recorded_bytes)], stop))
            for channel in config.channels:
                reach = Reach(channel.provider.address, allowed=config.allow_private)
                session = await stack.enter_async_context(open_session(reach))
                group.create_task(_record(channel, config, store, session, stop))
            if config.nodes:
                recorded = [(channel.name, quality) for channel in config.channels for quality in config.qualities]
                group.create_task(Nodes(config.nodes, store, recorded, tokens).watch(stop))


async def _record(channel: Channel, config: Config, store: Store, session: ClientSession, stop: asyncio.Event) -> None:
    def recorder_of(quality: str) -> Recorder:
        return Recorder(Target(store, channel.name, quality), session, playlist_debug=config.playlist_debug)

    await record(Source(channel, session, config.qualities), recorder_of, stop)


def _sweep(store: Store, stop: asyncio.Event) -> None:
    """Keep what a downloader that died has left half-written."""
    try:
        for channel in store.channels():
            for quality in store.qualities(channel):
                sweep_temps(store, channel, quality, enough=stop.is_set)
        sweep_anchors(store, datetime.now(UTC))
    except OSError as error:  # such as a folder of somebody else's: no reason not to record
        log.warning("sweep_failed", reason=f"{error.filename}: {error.strerror}")


def parse_channels(texts: tuple[str, ...]) -> tuple[Channel, ...]:
    """Read NAME=URL, each name once. Raises click.BadParameter with one sentence."""
    channels = tuple(_channels(texts))
    names = [channel.name for channel in channels]
    for name in names:
        if names.count(name) > 1:
            raise click.BadParameter(f"the channel {name} is named twice.")
    return channels


def _channels(texts: tuple[str, ...]) -> Iterator[Channel]:
    for text in texts:
        name, equals, url = text.partition("=")
        if not equals or not _NAME.fullmatch(name):
            shown = text.partition("?")[0]  # behind it stand secrets, and this goes to logs
            raise click.BadParameter(
                f"{shown!r} is not NAME=URL, where NAME is up to 64 letters, digits, dots, dashes and underscores."
            )
        try:
            provider = provider_of(url)
        except AddressError as error:
            raise click.BadParameter(f"the address of {name} {error}") from error
        yield Channel(name, provider)


def parse_qualities(text: str) -> tuple[str, ...]:
    """Read the names of qualities, separated by commas. Raises click.BadParameter with one sentence."""
    qualities = tuple(dict.fromkeys(part.strip() for part in text.split(",")))
    for quality in qualities:
        if not _NAME.fullmatch(quality):
            raise click.BadParameter(f"{quality!r} is not a quality such as {SOURCE} or 720p60.")
    return qualities


def parse_nodes(urls: tuple[str, ...]) -> tuple[str, ...]:
    """Read the addresses of other nodes. Raises click.BadParameter with one sentence."""
    for url in urls:
        if not is_http(url):
            raise click.BadParameter("the address of a node must be an http or https URL, such as http://host:8000.")
    return urls


@click.command("downloader")
@base_dir_option
@option(
    "--qualities",
    default=SOURCE,
    callback=lambda _context, _parameter, text: parse_qualities(text),
    help=f"What to record of each channel, separated by commas: {SOURCE} (the best), or names such as 720p60.",
)
@host_option
@metrics_port_option
@option(
    "--allow-private",
    is_flag=True,
    help="Let channels at public addresses lead to private ones; a channel whose own address is private always may.",
)
@option(
    "--node",
    "nodes",
    multiple=True,
    metavar="URL",
    callback=lambda _context, _parameter, urls: parse_nodes(urls),
    help="The restreamer of another node that records the same; its times are compared with ours. May be repeated.",
)
@option(
    "--token-file",
    type=click.Path(path_type=Path),
    help="The file whose first token is shown to these nodes; read again when it changes.",
)
@option(
    "--playlist-debug",
    type=click.IntRange(0, 100),
    default=0,
    metavar="N",
    help="Keep the last N playlists beside each segment for a day, for questions later.",
)
@log_level_option
@click.argument(
    "channels",
    nargs=-1,
    required=True,
    metavar="NAME=URL ...",
    callback=lambda _context, _parameter, texts: parse_channels(texts),
)
def cli(
    *,
    base_dir: Path,
    qualities: tuple[str, ...],
    host: str,
    metrics_port: int | None,
    allow_private: bool,
    nodes: tuple[str, ...],
    token_file: Path | None,
    playlist_debug: int,
    log_level: str,
    channels: tuple[Channel, ...],
) -> None:
    """Record live HLS streams into the store, each under the NAME given to it.

    URL is that of a playlist; streamlink:URL is a page that streamlink knows, such as a Twitch channel, yt-dlp:URL one
    that yt-dlp knows.
    """
    config = Config(base_dir, channels, qualities, host, metrics_port, allow_private, nodes, token_file, playlist_debug)
    raise SystemExit(service.main(lambda stop: run(config, stop), name="downloader", level=log_level))
