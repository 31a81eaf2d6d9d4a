"""A store with recordings, and the restreamer that serves it over a real socket."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from aiohttp import ClientSession, TraceConfig, TraceRequestEndParams
from hypothesis import settings
from yarl import URL

from common.recording import SegmentWriter
from common.segments import Segment, SegmentType, Suffix
from common.store import Store
from common.web import serving
from restreamer.main import make_app

# Properties are tried on the same examples on each run: what fails on one machine fails on all.
settings.register_profile("respool", derandomize=True, deadline=None)
settings.load_profile("respool")

Put = Callable[..., Segment]


class Answer(NamedTuple):
    """What came back over the wire."""

    status: int
    headers: dict[str, str]
    body: bytes


Raw = Callable[..., Awaitable[Answer]]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Give an empty store; beside its base there is room for what must never be served."""
    base = tmp_path / "base"
    base.mkdir()
    return Store(base)


@pytest.fixture
def put(store: Store) -> Put:
    """Give a function that records a segment as of its end; a start without a date is a time (UTC) of 2026-03-01."""

    def record(
        start: str | datetime,
        seconds: float = 2.0,
        data: bytes = b"",
        kind: SegmentType = SegmentType.FULL,
        *,
        channel: str = "chan",
        quality: str = "source",
        suffix: Suffix = ".ts",
    ) -> Segment:
        moment = start if isinstance(start, datetime) else datetime.fromisoformat(f"2026-03-01T{start}+00:00")
        writer = SegmentWriter(store, channel, quality, moment, timedelta(seconds=seconds), suffix=suffix)
        writer.write(data or moment.isoformat().encode())
        segment = writer.commit(kind)
        came = min(segment.end, datetime.now(UTC)).timestamp()
        os.utime(store.segment_path(channel, quality, segment), (came, came))
        return segment

    return record


@pytest.fixture
async def url(store: Store, tmp_path: Path) -> AsyncIterator[URL]:
    """Give the address under which the store is served, with a page of two files."""
    pages = tmp_path / "pages"
    (pages / "sub").mkdir(parents=True)
    (pages / "index.html").write_text("<!doctype html><title>page</title>")
    (pages / "sub/page.js").write_text("let it;")
    (pages / ".made-from").write_text("hidden")
    async with serving(make_app(store, pages), "127.0.0.1", 0) as port:
        yield URL(f"http://127.0.0.1:{port}")


@pytest.fixture
async def client(try_playlist: Callable[[str], object] | None) -> AsyncIterator[ClientSession]:
    """Give a client; each playlist that it gets is one to readers that are not ours, too."""
    playlists: list[str] = []

    async def note(session: ClientSession, context: object, params: TraceRequestEndParams) -> None:
        answer = params.response
        if (answer.method, answer.status, answer.content_type) == ("GET", 200, "application/vnd.apple.mpegurl"):
            playlists.append(await answer.text())

    trace = TraceConfig()
    trace.on_request_end.append(note)
    async with ClientSession(trace_configs=[trace]) as session:
        yield session
    if try_playlist is not None:
        for text in playlists:
            try_playlist(text)


@pytest.fixture
def raw(url: URL) -> Raw:
    """Give a function that sends a request line as it stands, and gives the answer."""

    async def send(target: bytes, method: bytes = b"GET", headers: bytes = b"") -> Answer:
        reader, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(method + b" " + target + b" HTTP/1.1\r\nHost: host\r\nConnection: close\r\n" + headers + b"\r\n")
        head, _, body = (await reader.read()).partition(b"\r\n\r\n")
        writer.close()
        await writer.wait_closed()
        first, *lines = head.decode().split("\r\n")
        return Answer(int(first.split(" ")[1]), dict(line.split(": ", 1) for line in lines), body)

    return send


@pytest.fixture
def now() -> datetime:
    """Give the present moment, in whole seconds."""
    return datetime.now(UTC).replace(microsecond=0)
