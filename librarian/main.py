"""The librarian's composition: its configuration, its command, its jobs."""

import asyncio
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path

import click
import structlog

from common import service
from common.disks import Disk, watch_disks
from common.lifetimes import AgeLimit, Limits
from common.monitoring import serving_metrics
from common.options import base_dir_option, host_option, limit_options, log_level_option, option
from common.store import Store
from common.waits import in_thread
from librarian.coverage import Coverage
from librarian.expiry import EVERY_SECONDS, Expiry
from librarian.needed import Needs
from librarian.quiet import be_quiet

log = structlog.get_logger()

# One looks while another one removes, and a third one keeps the coverage.
_THREADS = 3


@dataclass(frozen=True, slots=True)
class Config:
    """What a librarian looks after; `database` None: there are no events. `every`: seconds between two looks."""

    base_dir: Path
    database: str | None
    limits: Limits
    host: str = "127.0.0.1"
    metrics_port: int | None = None
    every: float = EVERY_SECONDS


async def run(config: Config, stop: asyncio.Event) -> None:
    """Look after the store until told to stop. Raises UserError if the store or the port cannot be used."""
    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_THREADS, "quiet", initializer=be_quiet))
    store = Store(config.base_dir)
    await in_thread(store.check_readable)
    async with AsyncExitStack() as stack:
        checks = {"store": store.check_readable}
        await stack.enter_async_context(serving_metrics(config.host, config.metrics_port, checks))
        expiry, needs = Expiry(store, elapsed=time.monotonic), Needs(config.database)
        log.info("librarian_ready", base_dir=str(store.base), limits=[*map(str, config.limits.ages)])
        async with asyncio.TaskGroup() as group:
            # a disk that is full to the last byte is no reason not to start: room is what this is for
            group.create_task(expiry.run(config.limits, needs, stop, config.every))
            group.create_task(expiry.empty_queue(stop))
            group.create_task(Coverage(store).run(stop))
            group.create_task(watch_disks([Disk("store", store.base)], stop))


@click.command("librarian")
@base_dir_option
@option("--database", metavar="DSN", help="The address of the database, which tells what is still needed.")
@option("--without-database", is_flag=True, help="There are no events and no keeps: nothing but the limits decides.")
@limit_options
@host_option
@option("--metrics-port", type=click.IntRange(0, 65535), help="The port for /metrics and /health; none without it.")
@log_level_option
def cli(
    *,
    base_dir: Path,
    database: str | None,
    without_database: bool,
    max_age: tuple[AgeLimit, ...],
    max_size: int | None,
    min_free: int | None,
    host: str,
    metrics_port: int | None,
    log_level: str,
) -> None:
    """Look after the store: delete hours beyond the limits that are given, and nothing without any."""
    if database is None and not without_database:
        raise click.UsageError("Name the database with --database, or say --without-database if there are no events.")
    limits = Limits(max_age, max_size, min_free)
    config = Config(base_dir, None if without_database else database, limits, host, metrics_port)
    raise SystemExit(service.main(lambda stop: run(config, stop), name="librarian", level=log_level))
