"""Playlists over HTTP on loopback, against the same bytes as a static file from the same server.

The server is a process of its own and shares the cores with the client. The segments are empty files, so nothing is
probed: that happens in the background and once, and is measured with the media.
"""

import asyncio
import os
import random
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median
from urllib.parse import urlencode

import aiohttp

from bench.served import served
from bench.store import LASTS, PER_HOUR, START, generated
from common import logs
from common.dateutil import HOUR, format_utc, hour_name
from common.segments import SegmentType, content_hash, make_segment
from common.service import tune
from common.store import Store
from common.web import serving
from restreamer.main import make_app
from restreamer.prober import Prober

RUNS = 7
LOAD_SECONDS = 3.0
CLIENTS = 8
PLAIN = {"Accept-Encoding": "identity"}


def main() -> None:
    """Print the table."""
    print("| what | measured | target |\n| --- | ---: | ---: |", flush=True)
    with generated(7 * 24) as base, tempfile.TemporaryDirectory() as static:
        for text, hours, first in (("12 hours", 12, 0.15), ("7 days", 168, 2.0)):
            with server(base, Path(static)) as address:
                asyncio.run(_first_and_warm(address, Path(static), text, hours, first))
        with server(base, Path(static)) as address:
            asyncio.run(_load(address))
    with live_store() as base, tempfile.TemporaryDirectory() as static, server(base, Path(static)) as address:
        asyncio.run(_live(address, base))


def row(what: str, measured: str, target: str) -> None:
    print(f"| {what} | {measured} | {target} |", flush=True)


@contextmanager
def server(base: Path, static: Path) -> Iterator[str]:
    """A restreamer that has just started, in a process of its own; it serves `static` too."""
    with served(_serve, base, static) as address:
        yield address


def _serve(port: int, base: Path, static: Path) -> None:
    async def run() -> None:
        app = make_app(Store(base))
        app.router.add_static("/static", static)
        async with serving(app, "127.0.0.1", port):
            await asyncio.Event().wait()

    logs.configure("error")
    tune()
    Prober.wish = lambda *_: None  # type: ignore[method-assign]  # empty files are no media
    asyncio.run(run())


def media(address: str, start: datetime, end: datetime | None = None, **more: str) -> str:
    query = {"start": format_utc(start), **({"end": format_utc(end)} if end else {}), **more}
    return f"{address}/playlist/chan/source.m3u8?{urlencode(query)}"


async def get(session: aiohttp.ClientSession, url: str) -> int:
    """Give the bytes of the answer's body as it was sent."""
    async with session.get(url) as response:
        assert response.status == 200, await response.text()
        size = 0
        async for chunk in response.content.iter_any():
            size += len(chunk)
        return size


async def timed(work: Callable[[], Awaitable[object]]) -> float:
    began = time.perf_counter()
    await work()
    return time.perf_counter() - began


async def _first_and_warm(address: str, static: Path, text: str, hours: int, first_target: float) -> None:
    url = media(address, START, START + hours * HOUR - LASTS)
    async with aiohttp.ClientSession(headers=PLAIN, auto_decompress=False) as session:
        slowest: list[float] = []
        done = asyncio.Event()
        watching = asyncio.create_task(_watch(address, slowest, done))
        first = await timed(lambda: get(session, url))
        done.set()
        await watching
        async with session.get(url) as response:
            await asyncio.to_thread((static / text.replace(" ", "-")).write_bytes, await response.read())
        warm = median([await timed(lambda: get(session, url)) for _ in range(RUNS)])
        copy = f"{address}/static/{text.replace(' ', '-')}"
        floor = median([await timed(lambda: get(session, copy)) for _ in range(RUNS)])
    row(f"{text}: first request", f"{first:.2f} s", f"≤ {first_target} s")
    row(f"{text}: warm, times the static file ({floor * 1000:.1f} ms)", f"{warm / floor:.1f}", "≤ 4")
    if hours > 24:
        row("slowest `/files` while it is made for the first time", f"{max(slowest) * 1000:.0f} ms", "≤ 30 ms")


async def _watch(address: str, slowest: list[float], done: asyncio.Event) -> None:
    async with aiohttp.ClientSession() as session:
        while not done.is_set():
            slowest.append(await timed(lambda: get(session, f"{address}/files")))
            await asyncio.sleep(0.002)


async def _load(address: str) -> None:
    day = START + 12 * HOUR
    dice = random.Random(1)
    kinds: dict[str, tuple[Callable[[], str], int]] = {
        "same URL": (lambda: media(address, START, day - LASTS), 300),
        "each another `end`": (lambda: media(address, START, day - LASTS * dice.randrange(1, 1800)), 100),
    }
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        await get(session, media(address, START, day - LASTS))
        for text, (url, target) in kinds.items():
            began, count = time.perf_counter(), 0

            async def ask(url: Callable[[], str] = url, began: float = began) -> int:
                asked = 0
                while time.perf_counter() - began < LOAD_SECONDS:
                    await get(session, url())
                    asked += 1
                return asked

            count = sum(await asyncio.gather(*(ask() for _ in range(CLIENTS))))
            row(f"12 hours, {CLIENTS} clients, {text}", f"{count / LOAD_SECONDS:.0f} req/s", f"≥ {target} req/s")
        idle = median([await timed(lambda: get(session, f"{address}/health")) for _ in range(100)])
    row("any keep-alive request (`/health`)", f"{idle * 1000:.1f} ms", "≤ 1.5 ms")


@contextmanager
def live_store() -> Iterator[Path]:
    """Nearly twelve hours up to now, their files as old as they should be."""
    dice = random.Random(3)
    now = datetime.now(UTC).replace(microsecond=0)
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as base:
        for index in range(int(11.9 * PER_HOUR), 0, -1):
            _put(Path(base), now - index * LASTS, dice)
        yield Path(base)


def _put(base: Path, start: datetime, dice: random.Random, *, now: bool = False) -> None:
    folder = base / "chan/source" / hour_name(start)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / make_segment(start, LASTS, SegmentType.FULL, content_hash(dice.randbytes(32))).name
    path.touch()
    if not now:
        came = (start + LASTS).timestamp()
        os.utime(path, (came, came))


async def _live(address: str, base: Path) -> None:
    dice = random.Random(4)
    now = datetime.now(UTC).replace(microsecond=0)
    seconds: dict[str, list[float]] = {"delta update": [], "whole list, compressed": []}
    sizes: dict[str, list[int]] = {kind: [] for kind in seconds}
    start = now - timedelta(hours=11.8)
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        first = await timed(lambda: get(session, media(address, start)))
        newest = max((base / "chan/source" / hour_name(now)).iterdir(), default=None)
        assert newest is not None
        edge = datetime.fromisoformat(f"{newest.parent.name}:{newest.name[:12]}+00:00")
        for number in range(1, 2 * RUNS + 1):
            _put(base, edge + number * LASTS, dice, now=True)
            kind = list(seconds)[number % 2]
            more = {"_HLS_skip": "YES"} if kind == "delta update" else {}
            url = media(address, start, None, **more)
            began = time.perf_counter()
            sizes[kind].append(await get(session, url))
            seconds[kind].append(time.perf_counter() - began)
    row("a live list of 12 hours: first request", f"{first:.2f} s", "≤ 0.15 s")
    for kind, target in (("delta update", "≤ 5 ms, ≤ 3 KB"), ("whole list, compressed", "")):
        text = f"{median(seconds[kind]) * 1000:.1f} ms, {median(sizes[kind]) / 1000:.1f} KB"
        row(f"the same when one segment is new, {kind}", text, target)


if __name__ == "__main__":
    main()
