"""Broadcasts are recorded by a downloader on a virtual clock."""

import asyncio
import random
import sys
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

import pytest

from broadcast import Script
from common.dateutil import HOUR
from common.missing import read
from common.store import Store
from downloader.main import Config, run
from downloader.providers import Playlists
from downloader.source import Channel
from downloads import stored
from log_events import LogEvents, log_events
from origin import Fault, Origin, serving_broadcasts
from reckoning import Reckoning
from virtual_time import START, VirtualTimeLoop, run_virtually, virtual_loop

# After the last segment what is tried again goes on, until all is there, and for so long at most and at least.
CALM_SECONDS = 800.0
_LEAST_CALM_SECONDS = 30.0

QUALITY = "source"


@dataclass(slots=True)
class Recorded:
    """What became of broadcasts: the origin with its ledger, the store, the log."""

    origin: Origin
    store: Store
    events: LogEvents

    def faults(self, name: str = "chan") -> list[str]:
        """Say all that is wrong with one channel."""
        return self.reckoning(name).faults()

    def reckoning(self, name: str = "chan") -> Reckoning:
        """Give what one channel should be like, and is."""
        show = self.origin.shows[name]
        noted = read(self.store, name, QUALITY, START - HOUR, START + 3 * HOUR)
        # where no times are told, nobody knows at which start something is missing
        missing = {each.start: each.reason for each in noted} if show.script.dated else None
        return Reckoning(show, stored(self.store, name, QUALITY), missing)


@asynccontextmanager
async def recording_broadcasts(
    store: Store,
    shows: Mapping[str, tuple[Script, Iterable[Fault]]],
    expires_in: float | None = None,
) -> AsyncIterator[Recorded]:
    """Record broadcasts while inside; `expires_in`: what their provider says of how long addresses are good."""
    loop = virtual_loop()
    with log_events() as events:
        async with serving_broadcasts(loop.time, START) as origin:
            for name, (script, faults) in shows.items():
                origin.show(name, script, faults)
            lasts = None if expires_in is None else timedelta(seconds=expires_in)
            channels = tuple(Channel(name, TellingProvider(origin.url(name), lasts)) for name in shows)
            stop = asyncio.Event()
            running = asyncio.create_task(run(Config(store.base, channels, (QUALITY,), "127.0.0.1", None), stop))
            try:
                yield Recorded(origin, store, events)
            finally:
                stop.set()
                await running


@dataclass(frozen=True, slots=True)
class TellingProvider:
    """Any address, and how long it is good."""

    address: str
    expires_in: timedelta | None

    def find(self) -> Playlists:
        """Give it as it is."""
        return Playlists(self.address, expires_in=self.expires_in)


async def until(seconds: float) -> None:
    """Wait until the virtual clock shows so much."""
    await asyncio.sleep(max(0.0, seconds - virtual_loop().time()))


def record(
    store: Store,
    shows: Mapping[str, tuple[Script, Iterable[Fault]]],
    *,
    expires_in: float | None = None,
    seed: int = 0,
    threads: bool = False,
    meanwhile: Callable[[], None] = lambda: None,
    patient_with: Collection[str] = ("chan",),
) -> Recorded:
    """Record whole broadcasts on a virtual clock, and give what became of them.

    `meanwhile` is called at a third of them, and at their end; then what is not yet there of some is waited for.
    """
    random.seed(seed)

    async def main() -> Recorded:
        async with recording_broadcasts(store, shows, expires_in) as recorded:
            over = max(show.over for show in recorded.origin.shows.values())
            for moment in (over / 3, over):
                await until(moment)
                meanwhile()
            await until(over + _LEAST_CALM_SECONDS)
            for name in patient_with:
                while recorded.faults(name) and virtual_loop().time() < over + CALM_SECONDS:
                    await until(virtual_loop().time() + _LEAST_CALM_SECONDS)
        return recorded

    return run_virtually(main(), threads=threads)


def use_virtual_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the downloader read the time from the virtual clock; and spare the disk, which has nothing to prove here."""

    class VirtualDatetime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]  # a plain datetime is better
            return loops[-1].utc()

    loops: list[VirtualTimeLoop] = []
    make = VirtualTimeLoop.__init__

    def remember(loop: VirtualTimeLoop, *, threads: bool = True) -> None:
        make(loop, threads=threads)
        loops.append(loop)

    monkeypatch.setattr(VirtualTimeLoop, "__init__", remember)
    for name, module in list(sys.modules.items()):
        if name.startswith("downloader.") and getattr(module, "datetime", None) is datetime:
            monkeypatch.setattr(module, "datetime", VirtualDatetime)
    monkeypatch.setattr("common.recording.os.fsync", lambda _: None)
