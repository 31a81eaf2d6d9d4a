"""The loop with a clock of its own: time passes only when nothing else is left to do."""

import asyncio
import threading
import time
from datetime import timedelta

import aiohttp
import pytest
from aiohttp import web

from hls_origin import serving_origin, ts
from virtual_time import START, run_virtually, virtual_loop

DAY = 24 * 3600.0


def test_a_day_passes_in_no_time() -> None:
    """Timers fire in their order and at their times, however far away they are."""

    async def main() -> list[tuple[str, float]]:
        fired: list[tuple[str, float]] = []

        async def wait(name: str, seconds: float) -> None:
            await asyncio.sleep(seconds)
            fired.append((name, virtual_loop().time()))

        await asyncio.gather(wait("day", DAY), wait("week", 7 * DAY), wait("second", 1.0))
        assert virtual_loop().utc() == START + timedelta(days=7)
        return fired

    began = time.monotonic()
    assert run_virtually(main()) == [("second", 1.0), ("day", DAY), ("week", 7 * DAY)]
    assert time.monotonic() - began < 60


def test_the_clock_waits_for_threads() -> None:
    """A job in a thread takes no time of the clock, however long it really takes."""

    async def main() -> None:
        release = threading.Event()
        job = asyncio.ensure_future(asyncio.to_thread(release.wait, 30))
        timer = asyncio.ensure_future(asyncio.sleep(0.001))
        threading.Timer(0.05, release.set).start()
        assert await job
        assert virtual_loop().time() == 0
        assert not timer.done()
        await timer

    run_virtually(main())


def test_a_job_that_nobody_waits_for_any_more_is_waited_for() -> None:
    """A timeout gives up a job, whose thread goes on: the clock moves again when it has ended."""

    async def main() -> None:
        release = threading.Event()
        job = asyncio.ensure_future(asyncio.to_thread(release.wait, 30))
        await asyncio.sleep(0)
        job.cancel()
        threading.Timer(0.05, release.set).start()
        await asyncio.sleep(1)
        assert release.is_set()

    run_virtually(main())


def test_without_threads_all_is_done_in_its_order() -> None:
    """What is for a thread is done at once, and what it raises is for whoever waits."""

    async def main() -> None:
        assert await asyncio.to_thread(threading.current_thread) is threading.main_thread()
        with pytest.raises(ZeroDivisionError):
            await asyncio.to_thread(lambda: 1 / 0)

    run_virtually(main(), threads=False)


def test_answers_on_loopback_take_no_time() -> None:
    """Hundreds of requests, one after the other and side by side, with a timer always near: none sees it pass."""

    async def main() -> None:
        async with serving_origin() as origin, aiohttp.ClientSession() as session:
            origin.put("/x", ts(1, packets=500))

            async def ask() -> None:
                async with asyncio.timeout(0.0001), session.get(origin.url("/x")) as response:
                    assert len(await response.read()) == 188 * 500

            for _ in range(100):
                await ask()
            await asyncio.gather(*(ask() for _ in range(50)))
        assert virtual_loop().time() < 1  # the server takes some of it to end

    run_virtually(main())


def test_timeouts_of_http_come_at_their_time() -> None:
    """A peer that says nothing is given up when the clock says so, not when ours does."""

    async def main() -> None:
        async def hang(_: web.Request) -> web.Response:
            await asyncio.sleep(DAY)
            return web.Response()

        app = web.Application()
        app.add_routes([web.get("/", hang)])
        runner = web.AppRunner(app, shutdown_timeout=0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        timeout = aiohttp.ClientTimeout(sock_read=10)
        async with aiohttp.ClientSession(timeout=timeout) as session:
            with pytest.raises(TimeoutError):
                await session.get(f"http://127.0.0.1:{runner.addresses[0][1]}/")
        assert virtual_loop().time() == pytest.approx(10, abs=1)
        await runner.cleanup()

    run_virtually(main())


def test_what_can_never_happen_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """To wait for nothing is an error and hangs no test."""
    monkeypatch.setattr("virtual_time._PATIENCE_SECONDS", 0.05)

    async def main() -> None:
        await asyncio.Event().wait()

    with pytest.raises(RuntimeError, match="Nothing happens"):
        run_virtually(main())
