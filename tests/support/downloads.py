"""A downloader's parts at work on a store, in a time that passes when the test says so."""

import asyncio
import hashlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

from common.dateutil import parse_hour
from common.segments import Segment, SegmentType, content_hash, parse_names
from common.store import Store
from common.web import client_session
from downloader.fetch import Target
from downloader.manager import record
from downloader.providers import UrlProvider
from downloader.recorder import Recorder
from downloader.source import Channel, Source
from log_events import PATIENCE_SECONDS


class Ticks:
    """Pauses that end when the test says so; `seconds` are those that were asked for."""

    def __init__(self) -> None:
        self.seconds: list[float] = []
        self._gate = asyncio.Event()
        self._begun = asyncio.Event()

    async def pause(self, stop: asyncio.Event, seconds: float) -> bool:
        self.seconds.append(seconds)
        self._begun.set()
        ends = [asyncio.ensure_future(event.wait()) for event in (self._gate, stop)]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        return stop.is_set()

    async def reached(self, pauses: int) -> None:
        """Wait until so many pauses have begun since the start."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.seconds) < pauses:
                self._begun.clear()
                await self._begun.wait()

    async def step(self, times: int = 1) -> None:
        """End all pauses that are under way, and wait for the next to begin."""
        for _ in range(times):
            before = len(self.seconds)
            self.end()
            await self.reached(before + 1)

    def end(self) -> None:
        """End all pauses that are under way; those that begin now are the next."""
        self._gate.set()
        self._gate = asyncio.Event()

    async def until(self, done: Callable[[], bool]) -> None:
        """End pauses until something is so."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not done():
                await self.step()


@asynccontextmanager
async def recording(
    store: Store, url: str, name: str = "chan", quality: str = "source", playlist_debug: int = 0
) -> AsyncIterator[Recorder]:
    """Record one quality while inside."""
    stop = asyncio.Event()
    async with client_session() as session, asyncio.TaskGroup() as group:
        recorder = Recorder(Target(store, name, quality), session, playlist_debug=playlist_debug)
        source = Source(Channel(name, UrlProvider(url)), session, [quality])
        group.create_task(record(source, lambda _: recorder, stop))
        try:
            yield recorder
        finally:
            stop.set()


async def on_disk(store: Store, kind: SegmentType) -> tuple[Segment, bytes]:
    """Wait until there is something of this type in the store, and give it; a disk tells no events, so it is asked."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            found = [(segment, data) for segment, data in stored(store).items() if segment.type is kind and data]
            if found:
                return found[0]
            await asyncio.sleep(0)


def stored(store: Store, name: str = "chan", quality: str = "source") -> dict[Segment, bytes]:
    """Read all that is in the store, by start, and check that each final name tells its content.

    It may be written to meanwhile: a temp that is gone is left out.
    """
    found = {}
    for hour in store.hours(name, quality):
        segments, strangers = parse_names(parse_hour(hour), store.names(name, quality, hour))
        assert not strangers
        for segment in sorted(segments):
            path = store.segment_path(name, quality, segment)
            if segment.type is SegmentType.TEMP:
                with suppress(FileNotFoundError):
                    found[segment] = path.read_bytes()
            else:
                found[segment] = path.read_bytes()
                assert segment.hash == content_hash(hashlib.sha256(found[segment]).digest())
    return found


def bodies(store: Store, name: str = "chan", quality: str = "source") -> list[bytes]:
    """Read what is stored as `full`, by start."""
    return [data for segment, data in stored(store, name, quality).items() if segment.type is SegmentType.FULL]
