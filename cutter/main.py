"""The cutter's composition: its configuration, its command, its tasks."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import asyncpg
import click
import structlog

from common import db, service
from common.disks import Disk, watch_disks
from common.errors import UserError
from common.monitoring import serving_metrics
from common.options import base_dir_option, host_option, log_level_option, metrics_port_option, option
from common.sidecar import FactsStore
from common.store import Store
from common.waits import backoff, begun, in_thread, pause
from common.web import client_session
from cutter import census
from cutter.gates import Gate
from cutter.locations import Location
from cutter.locations.config import load
from cutter.make import Workshop
from cutter.rows import Rows
from cutter.spool import Spool, opened
from cutter.webhooks import deliver_forever
from cutter.work import Cutter, Terms

log = structlog.get_logger()

CHANNEL: Final = "respool_events"

# Twice as long at the most: see `_announce`. A cutter lives that was seen within `Terms.alive`.
_ANNOUNCE_SECONDS: Final = 12.0
# For what nobody has told us of; it is looked for whenever work is, too.
_WEBHOOKS_SECONDS: Final = 60.0
_LAST_SECONDS: Final = 1.0
_CLOSE_SECONDS: Final = 0.5
_GIB: Final = 1 << 30


@dataclass(frozen=True, slots=True)
class Config:
    """How a cutter is run; sizes in bytes, `metrics_port` None: no metrics are served."""

    base_dir: Path
    database: str
    locations: Path
    spool: Path
    name: str
    spool_limit: int | None = None
    spool_reserve: int = 2 * _GIB
    host: str = "127.0.0.1"
    metrics_port: int | None = None
    terms: Terms = field(default_factory=Terms)


async def run(config: Config, stop: asyncio.Event) -> None:
    """Cut and deliver until told to stop. Raises UserError for what only its user can cure."""
    store = Store(config.base_dir)
    await in_thread(store.check_readable)
    locations = await in_thread(load, config.locations)
    async with AsyncExitStack() as stack:
        opening = opened(config.spool, limit=config.spool_limit, reserve=config.spool_reserve)
        spool = stack.enter_context(opening)
        checks = {"store": store.check_readable}
        await stack.enter_async_context(serving_metrics(config.host, config.metrics_port, checks))
        if not await _unless(stop, db.apply_schema(config.database)):
            return
        opened_locations = {name: await stack.enter_async_context(each) for name, each in locations.items()}
        await serve(config, store, spool, opened_locations, stop)


async def serve(
    config: Config,
    store: Store,
    spool: Spool,
    locations: Mapping[str, Location],
    stop: asyncio.Event,
    *,
    make_rows: Callable[[db.Pool, db.Pool, str, str], Rows] = Rows,
) -> None:
    """Cut and deliver to locations that are open, out of a spool that is ours, until told to stop."""
    terms = config.terms
    first, most = terms.first.total_seconds(), terms.most.total_seconds()
    gates = {name: Gate(each, first=first, most=most) for name, each in locations.items()}
    async with _connections(config) as connections, _connections(config, light=True) as light:
        rows = make_rows(connections, light, config.name, spool.folder)
        cutter = Cutter(rows, Workshop(store, FactsStore(store), spool, config.name), gates, terms)
        if not await _unless(stop, _begin_patiently(rows, cutter, terms)):
            return
        async with asyncio.TaskGroup() as group:
            tasks = [
                group.create_task(_tell_webhooks(light, cutter, stop)),
                group.create_task(watch_disks([Disk("store", store.base), Disk("spool", spool.path)], stop)),
                group.create_task(_announce(cutter, stop)),
                group.create_task(_sweep(cutter, terms, stop)),
                group.create_task(_listen(config, cutter, stop)),
            ]
            if config.metrics_port is not None:  # it reads all events
                tasks.append(group.create_task(census.take_forever(connections, locations, stop)))
            await cutter.run(stop)
            await asyncio.wait(tasks[:1])  # it ends by itself, in a second at most
            for task in tasks:
                task.cancel()
        with suppress(OSError, *db.AWAY):
            async with asyncio.timeout(_LAST_SECONDS):
                await rows.leave()
                await cutter.sweep()


@asynccontextmanager
async def _connections(config: Config, *, light: bool = False) -> AsyncIterator[db.Pool]:
    """Open connections to the database; in the end they are closed, or broken off where nothing moves on them."""
    connections = await db.pool(config.database, name=f"respool cutter {config.name}", light=light)
    try:
        yield connections
    finally:
        with suppress(TimeoutError, *db.AWAY):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await connections.close()


async def _unless(stop: asyncio.Event, work: Coroutine[Any, Any, None]) -> bool:
    """Do something unless we are told to stop; tells whether it was done."""
    working, stopping = begun(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({working, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        done = working.done()
        working.cancel()
        await asyncio.wait({working})
    if done:
        await working
    return done


async def _begin_patiently(rows: Rows, cutter: Cutter, terms: Terms) -> None:
    attempt = 0
    while True:
        try:
            return await _begin(rows, cutter, terms)
        except db.AWAY as error:
            attempt += 1
            log.warning("database_away", reason=str(error) or type(error).__name__)
            await asyncio.sleep(backoff(attempt, first=0.2, most=5.0))


async def _begin(rows: Rows, cutter: Cutter, terms: Terms) -> None:
    """Settle what an earlier process of ours has left. Raises UserError if another one has our name and lives."""
    if await rows.has_namesake(terms.alive):
        raise UserError(
            f"Another cutter of the name {rows.node}, with another spool, was seen less than "
            f"{terms.alive.total_seconds():g} seconds ago: give one of them another --name, or wait if it is gone."
        )
    await cutter.announce()
    if recovered := await rows.recover():
        log.info("claims_recovered", events=recovered)
    await cutter.sweep()
    log.info("cutter_ready", node=rows.node)


async def _tell_webhooks(light: db.Pool, cutter: Cutter, stop: asyncio.Event) -> None:
    async with client_session() as session:
        await deliver_forever(light, session, stop, wake=cutter.something_new, poll_seconds=_WEBHOOKS_SECONDS)


async def _announce(cutter: Cutter, stop: asyncio.Event) -> None:
    """Say that we live, when the database is asked for work anyway: what costs it most is that its process wakes."""
    while not await pause(stop, _ANNOUNCE_SECONDS):
        cutter.looking.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(_ANNOUNCE_SECONDS):
                await cutter.looking.wait()
        with suppress(*db.AWAY):  # what else needs the database says that it is away
            await cutter.announce()


async def _sweep(cutter: Cutter, terms: Terms, stop: asyncio.Event) -> None:
    """Remove what is of no use after each event, and now and then: an operator's change may leave a file untold."""
    while not stop.is_set():
        with suppress(TimeoutError):
            async with asyncio.timeout(terms.sweep.total_seconds()):
                await cutter.sweep_needed.wait()
        cutter.sweep_needed.clear()
        try:
            await cutter.sweep()
        except (OSError, *db.AWAY) as error:
            log.warning("sweep_failed", reason=str(error) or type(error).__name__)
            await pause(stop, 1.0)


async def _listen(config: Config, cutter: Cutter, stop: asyncio.Event) -> None:
    """Hear of changes at once; while that fails they are found by looking."""
    attempt = 0
    while not stop.is_set():
        try:
            with db.cancellable():
                await _hear(config, cutter)
        except (asyncpg.PostgresError, *db.AWAY) as error:
            attempt += 1
            log.info("not_listening", reason=str(error) or type(error).__name__)
        await pause(stop, backoff(max(1, attempt), first=0.5, most=10.0))


async def _hear(config: Config, cutter: Cutter) -> None:
    """Listen until the connection breaks."""
    connection = await asyncpg.connect(
        config.database, timeout=10.0, server_settings={"application_name": f"respool cutter {config.name} listens"}
    )
    broken = asyncio.Event()
    try:
        connection.add_termination_listener(lambda _: broken.set())
        await connection.add_listener(CHANNEL, lambda *told: _hear_one(cutter, told[-1]))
        cutter.wake.set()  # what came before
        await broken.wait()
    finally:
        connection.terminate()


def _hear_one(cutter: Cutter, payload: object) -> None:
    try:
        told: dict[str, Any] = json.loads(str(payload))
        cutter.told(str(told["id"]), str(told["state"]))
    except (ValueError, KeyError, TypeError):  # anybody may notify
        cutter.wake.set()


@click.command("cutter")
@base_dir_option
@option("--database", metavar="DSN", required=True, help="The address of the database, postgresql://...")
@option(
    "--locations",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    help="The TOML file with the upload locations.",
)
@option(
    "--spool",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("data/spool"),
    help="The folder for finished cuts that wait for their delivery; of this cutter alone.",
)
@option(
    "--name", default=socket.gethostname, show_default="the machine's", help="The name of this node in the database."
)
@option("--cuts", type=click.IntRange(1, 64), default=1, help="How many events are cut at once.")
@option(
    "--spool-limit",
    type=click.FloatRange(0, min_open=True),
    help="How much the spool may hold, in GiB; all without it.",
)
@option(
    "--spool-reserve",
    type=click.FloatRange(0),
    default=2.0,
    help="How much of the disk is left free for recordings, in GiB: with less, nothing is cut.",
)
@host_option
@metrics_port_option
@log_level_option
def cli(
    *,
    cuts: int,
    spool_limit: float | None,
    spool_reserve: float,
    log_level: str,
    **options: Any,  # noqa: ANN401 - fields of Config
) -> None:
    """Cut the events that operators have edited, and deliver the videos."""
    config = Config(
        **options,
        spool_limit=None if spool_limit is None else int(spool_limit * _GIB),
        spool_reserve=int(spool_reserve * _GIB),
        terms=replace(Terms(), cuts=cuts),
    )
    raise SystemExit(service.main(lambda stop: run(config, stop), name="cutter", level=log_level))
