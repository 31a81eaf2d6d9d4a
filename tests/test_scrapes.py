"""Metrics are asked for ten times a second, of real services at work: these go on, and every answer is true."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

import aiohttp
from aiohttp import ClientSession
from prometheus_client.parser import text_string_to_metric_families

from common.web import serving
from hls_origin import Live, serving_origin
from log_events import PATIENCE_SECONDS
from services import service

SCRAPES = 15
EVERY_SECONDS = 0.1
SEGMENTS = 100

# All that only grows, for which no answer may say less than one before.
GROWS = ("_total", "_count", "_bucket")


@dataclass
class Scraper:
    """One that asks far too often, and what it was told the last time."""

    session: ClientSession
    address: str
    values: dict[tuple[str, ...], float] = field(default_factory=dict)

    async def scrape(self) -> None:
        async with self.session.get(f"{self.address}/metrics") as answer:
            assert answer.status == 200
            families = list(text_string_to_metric_families(await answer.text()))
        now = {(sample.name, *sample.labels.values()): sample.value for each in families for sample in each.samples}
        for name, before in self.values.items():
            assert not name[0].endswith(GROWS) or now[name] >= before, name
        self.values = now

    async def run(self) -> None:
        for _ in range(SCRAPES):
            await asyncio.gather(self.scrape(), asyncio.sleep(EVERY_SECONDS))

    def of(self, name: str) -> Iterator[tuple[tuple[str, ...], float]]:
        return ((key[1:], value) for key, value in self.values.items() if key[0] == name)


@asynccontextmanager
async def at_work(origin: str, base: Path) -> AsyncIterator[tuple[str, str]]:
    """Run a downloader and a restreamer with two processes; give their addresses."""
    async with serving(aiohttp.web.Application(), "127.0.0.1", 0) as port:
        pass  # a port that was free a moment ago
    base.mkdir()
    where, folder = ["--base-dir", str(base), "--log-level", "info"], base.parent
    async with (
        service("restreamer", *where, "--port", "0", "--workers", "2", folder=folder) as restreamer,
        service("downloader", *where, "--metrics-port", str(port), f"chan={origin}", folder=folder) as downloader,
    ):
        urls = [(await restreamer.next("serving"))["url"] for _ in range(2)]
        await downloader.next("segment_committed")
        yield f"http://127.0.0.1:{port}", urls[0].rstrip("/")
        for each in (downloader, restreamer):
            each.process.terminate()
            assert await each.end() == 0
            assert [event for event in each.events if event["level"] == "error"] == []


async def view(session: ClientSession, address: str, numbers: Iterator[int]) -> None:
    """Ask for a recording, and for channels that there are not, until cancelled."""
    for number in numbers:
        for path in ("/files/chan/source", f"/files/nobody{number}/source", f"/playlist/nobody{number}/source.m3u8"):
            async with session.get(address + path) as answer:
                await answer.read()


async def test_scraping_all_the_time_hinders_nobody(tmp_path: Path) -> None:
    """Asked ten times a second, services go on with their work; no counter steps back, no request makes a label."""
    async with serving_origin() as origin, ClientSession() as session, asyncio.timeout(PATIENCE_SECONDS * 3):
        live = Live(origin, window=SEGMENTS)
        live.reveal_some(SEGMENTS)
        async with at_work(origin.url(live.path), tmp_path / "segments") as (downloader, restreamer):
            numbers = count()
            viewers = [asyncio.create_task(view(session, restreamer, numbers)) for _ in range(2)]
            scrapers = [Scraper(session, address) for address in (downloader, restreamer, restreamer)]
            await asyncio.gather(*(scraper.run() for scraper in scrapers))
            for viewer in viewers:
                viewer.cancel()
            await asyncio.wait(viewers)
            recorder, server, _ = scrapers
            while dict(recorder.of("respool_segments_recorded_total")) != {("chan", "source", "full"): SEGMENTS}:
                await recorder.run()
    assert dict(recorder.of("respool_event_loop_lag_seconds_count"))[()] > 0
    served = dict(server.of("respool_http_request_seconds_count"))
    assert served["GET", "/files/{channel}/{quality}", "200"] > 0
    assert not [labels for labels in (*server.values, *recorder.values) if "nobody" in str(labels)]
