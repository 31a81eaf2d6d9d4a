"""Two stores: ours, and that of another node, which a real restreamer serves."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from backfiller.main import Backfiller, Config, opened
from backfiller.worker import Pass, Worker
from hls_origin import Origin, serving_origin
from log_events import LogEvents, log_events
from other_nodes import Fill, Hire, Node, node

# Properties are tried on the same examples on each run: what fails on one machine fails on all.
settings.register_profile("respool", derandomize=True, deadline=None)
settings.load_profile("respool")


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Node]:
    """Another node."""
    async with node(tmp_path / "other") as found:
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Node:
    """Our store, which nobody serves."""
    return Node.at(tmp_path / "here")


@pytest.fixture
async def events() -> AsyncIterator[LogEvents]:
    with log_events() as events:
        yield events


@pytest.fixture
async def backfiller(here: Node) -> AsyncIterator[Backfiller]:
    """What workers share, over our store."""
    stop = asyncio.Event()
    async with opened(Config(here.store.base), stop) as found:
        yield found
    stop.set()


@pytest.fixture
def hire(backfiller: Backfiller) -> Iterator[Hire]:
    """Give a function that gives the worker for a node: the same one each time."""
    workers: dict[str, Worker] = {}

    def worker(node: Node) -> Worker:
        if node.url not in workers:
            workers[node.url] = backfiller.worker(node.url)
        return workers[node.url]

    yield worker
    for each in workers.values():
        each.source.peer.close()


@pytest.fixture
def fill(hire: Hire) -> Fill:
    """Give a function that makes one pass over a node."""

    async def once(node: Node) -> Pass:
        return await hire(node).go_through()

    return once


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    """A node whose every answer the test chooses."""
    async with serving_origin() as origin:
        yield origin
