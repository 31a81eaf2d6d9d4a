"""One worker for each node, started and stopped as the list of nodes changes."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

import structlog

from backfiller import numbers
from backfiller.node_list import NodeList
from backfiller.worker import Worker
from common.waits import pause

log = structlog.get_logger()

# How soon a change of the list is seen.
_LOOK_SECONDS = 5.0


@dataclass(slots=True)
class Manager:
    """Keeps a worker running for each node. `hire` makes the worker for an address."""

    nodes: NodeList
    hire: Callable[[str], Worker]
    _running: dict[str, tuple[asyncio.Task[None], asyncio.Event, Worker]] = field(default_factory=dict)

    async def run(self, stop: asyncio.Event) -> None:
        """Follow the list until the stop; a worker that fails with what is no node's fault ends all."""
        async with asyncio.TaskGroup() as group:
            try:
                while True:
                    await self._follow(await self.nodes.look(), group)
                    if await pause(stop, _LOOK_SECONDS):
                        break
            finally:
                for _, ended, _ in self._running.values():
                    ended.set()

    async def _follow(self, urls: tuple[str, ...], group: asyncio.TaskGroup) -> None:
        for url in urls:
            if url not in self._running:
                worker, ended = self.hire(url), asyncio.Event()
                log.info("node_added", node=worker.name)
                self._running[url] = (group.create_task(worker.run(ended)), ended, worker)
        for url in self._running.keys() - set(urls):
            task, ended, worker = self._running.pop(url)
            ended.set()
            task.cancel()  # what it has under way may take long; nothing of it is left half-done
            with suppress(asyncio.CancelledError):
                await task
            numbers.forget(worker.name)
            log.info("node_removed", node=worker.name)
