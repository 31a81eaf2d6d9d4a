"""The log of what is tested, as something that a test waits for in place of sleeping."""

import asyncio
from collections.abc import Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, NoReturn

import structlog

# Far beyond what anything here takes: what is waited for so long does not come.
PATIENCE_SECONDS = 60.0


class LogEvents:
    """What was logged, oldest first; may be written to from threads, and is read in the loop that made it."""

    def __init__(self) -> None:
        self.all: list[MutableMapping[str, Any]] = []
        self._loop = asyncio.get_running_loop()
        self._more = asyncio.Event()

    def __call__(self, _: object, __: str, event: MutableMapping[str, Any]) -> NoReturn:
        self._loop.call_soon_threadsafe(self._take, event)
        raise structlog.DropEvent

    def _take(self, event: MutableMapping[str, Any]) -> None:
        self.all.append(event)
        self._more.set()

    def of(self, event: str, **fields: object) -> list[MutableMapping[str, Any]]:
        wanted = {"event": event, **fields}.items()
        return [one for one in self.all if wanted <= one.items()]

    async def wait(self, event: str, count: int = 1, **fields: object) -> list[MutableMapping[str, Any]]:
        """Wait until `event` was logged `count` times with these fields; more often is a fault."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(found := self.of(event, **fields)) < count:
                self._more.clear()
                await self._more.wait()
        assert len(found) == count, found
        return found


@contextmanager
def log_events() -> Iterator[LogEvents]:
    """Catch all log events; the list of processors is changed in place, since loggers keep it."""
    processors = structlog.get_config()["processors"]
    before = processors.copy()
    events = LogEvents()
    processors[:] = [structlog.contextvars.merge_contextvars, structlog.processors.add_log_level, events]
    try:
        yield events
    finally:
        processors[:] = before
