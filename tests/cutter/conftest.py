"""What the tests of the cutter share."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest

from cutters import House
from log_events import LogEvents, log_events
from marked import SourceKind
from source import Source, make_source


@pytest.fixture(scope="session")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Source:
    """Six seconds in three segments; who damages it does so to a copy."""
    return make_source(tmp_path_factory.mktemp("recording"), SourceKind(seconds=6))


@pytest.fixture(scope="session")
def moto() -> Iterator[int]:
    """The port of a server that speaks S3."""
    from moto.server import ThreadedMotoServer  # noqa: PLC0415 - takes a second that only these tests need

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    yield server.get_host_and_port()[1]
    server.stop()


@pytest.fixture
async def house(postgres_dsn: str, recording: Source, tmp_path: Path) -> AsyncIterator[House]:
    async with asyncpg.create_pool(postgres_dsn, min_size=0, max_size=3) as connections:
        yield House(postgres_dsn, connections, recording, tmp_path)


@pytest.fixture
async def logged() -> AsyncIterator[LogEvents]:
    with log_events() as events:
        yield events
