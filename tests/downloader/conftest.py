"""What the downloader's tests share: an origin, a store, the log, and pauses that end when the test says so."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import ClientSession

from common.store import Store
from common.web import client_session
from downloader import manager, queue, worker
from downloads import Ticks
from hls_origin import Origin, serving_origin
from log_events import LogEvents, log_events


@pytest.fixture
async def origin() -> AsyncIterator[Origin]:
    async with serving_origin() as origin:
        yield origin


@pytest.fixture
async def session() -> AsyncIterator[ClientSession]:
    async with client_session() as session:
        yield session


@pytest.fixture
async def events() -> AsyncIterator[LogEvents]:
    with log_events() as events:
        yield events


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


@pytest.fixture
async def ticks(monkeypatch: pytest.MonkeyPatch) -> Ticks:
    """Polls and retries of channels wait for the test; retries of segments follow at once."""
    ticks = Ticks()
    monkeypatch.setattr(worker, "pause", ticks.pause)
    monkeypatch.setattr(manager, "pause", ticks.pause)
    monkeypatch.setattr(queue, "backoff", lambda *_, **__: 0.0)
    return ticks
