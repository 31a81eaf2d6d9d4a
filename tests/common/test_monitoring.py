"""The port beside a service's work: what it says, and what happens where it cannot be had."""

import asyncio
import socket
from collections.abc import Callable

import aiohttp
import pytest
from structlog.testing import capture_logs

from common.errors import UserError
from common.monitoring import serving_metrics
from common.service import SUPERVISED

HOST = "127.0.0.1"


def well() -> None:
    pass


def ill() -> None:
    raise UserError("The folder has gone.")


@pytest.mark.parametrize(
    ("store", "status", "said"),
    [
        (well, 200, {"status": "ok", "store": "ok", "spool": "ok"}),
        (ill, 503, {"status": "failing", "store": "The folder has gone.", "spool": "ok"}),
    ],
)
async def test_health_says_what_a_service_lacks(store: Callable[[], None], status: int, said: dict[str, str]) -> None:
    """The health is that of all that the service needs: 503, with a sentence, where something fails."""
    async with (
        serving_metrics(HOST, 0, {"store": store, "spool": well}) as port,
        aiohttp.ClientSession(f"http://{HOST}:{port}") as session,
    ):
        async with session.get("/health") as answer:
            assert (answer.status, await answer.json()) == (status, said)
        async with session.get("/metrics") as answer:
            assert "respool_http_request_seconds" in await answer.text()


async def test_without_a_port_nothing_is_served() -> None:
    """A service that is given no port for its metrics has none."""
    async with serving_metrics(HOST, None, {}) as port:
        assert port is None


async def test_a_port_in_use_does_not_stop_what_is_supervised(monkeypatch: pytest.MonkeyPatch) -> None:
    """A port in use ends a service whose user chose it; one whose supervisor chose it works on without metrics."""
    with socket.create_server((HOST, 0)) as taken, capture_logs() as logs:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match="--metrics-port"):
            async with serving_metrics(HOST, port, {}):
                pass
        monkeypatch.setenv(SUPERVISED, "1")
        async with serving_metrics(HOST, port, {}) as served:
            assert served is None
    assert [entry["event"] for entry in logs] == ["metrics_not_served"]


async def test_a_check_that_hangs_keeps_nobody_waiting() -> None:
    """While a check waits for a disk, the metrics are served all the same."""
    loop, asked, release = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

    def hangs() -> None:
        loop.call_soon_threadsafe(asked.set)
        asyncio.run_coroutine_threadsafe(release.wait(), loop).result()

    async with (
        serving_metrics(HOST, 0, {"store": hangs}) as port,
        aiohttp.ClientSession(f"http://{HOST}:{port}") as session,
    ):
        health = asyncio.ensure_future(session.get("/health"))
        await asked.wait()
        async with session.get("/metrics") as answer:
            assert answer.status == 200
        release.set()
        assert (await health).status == 200
