"""Looks into segments whose facts nobody has asked for in time: in the background, one after the other."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import suppress

import structlog
from aiohttp import web

from common.facts import Facts
from common.segments import Segment
from common.sidecar import FactsStore

log = structlog.get_logger()

# So many segments at once, then as long a pause as they took: requests come first.
_BATCH = 16

# Hours that wait; those of a playlist of two weeks.
_MOST_HOURS = 400


class Prober:
    """A queue of hours, and one task that works on it."""

    def __init__(self, facts: FactsStore) -> None:
        """Have nothing to do yet."""
        self._facts = facts
        self._queue: asyncio.Queue[tuple[str, str, tuple[Segment, ...]]] = asyncio.Queue(_MOST_HOURS)
        self._wanted: set[tuple[str, str, str]] = set()

    def wish(self, channel: str, quality: str, segments: tuple[Segment, ...], known: Mapping[str, Facts]) -> None:
        """Have those segments of one hour probed that are not known. To be called in the event loop."""
        missing = tuple(segment for segment in segments if segment.hash not in known)
        if not missing or (channel, quality, missing[0].hour) in self._wanted:
            return
        with suppress(asyncio.QueueFull):  # who asks again later finds room
            self._queue.put_nowait((channel, quality, missing))
            self._wanted.add((channel, quality, missing[0].hour))

    async def work(self) -> None:
        """Probe what is wished for, until cancelled."""
        while True:
            channel, quality, segments = await self._queue.get()
            for first in range(0, len(segments), _BATCH):
                began = time.monotonic()
                await asyncio.to_thread(self._facts.probe_missing, channel, quality, segments[first : first + _BATCH])
                await asyncio.sleep(time.monotonic() - began)
            self._wanted.discard((channel, quality, segments[0].hour))

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        """Work as long as the application runs."""
        task = asyncio.create_task(self.work())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
