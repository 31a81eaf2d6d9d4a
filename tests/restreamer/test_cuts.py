"""Rough cuts over HTTP: byte for byte what was recorded, or an error that nobody takes for a video."""

import asyncio
import os
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientPayloadError, ClientResponse, ClientSession
from structlog.testing import capture_logs
from yarl import URL

from common import web as common_web
from common.dateutil import format_utc
from common.segments import Segment
from common.store import Store

Put = Callable[..., Segment]

CUT = {"type": "rough", "start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:00:06Z"}

# More than the buffers of two sockets take: whoever sends so much has to wait for the reader.
LARGE = 24 << 20


def cut(url: URL, **changes: str) -> URL:
    return url / "cut/chan/source.ts" % (CUT | changes)


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[int]:
    """Give the queue of the statuses under which requests are accounted, each when it has ended."""
    statuses: asyncio.Queue[int] = asyncio.Queue()
    monkeypatch.setattr(common_web, "_account", lambda _, status, *__: statuses.put_nowait(status))
    return statuses


def open_files(below: Path) -> list[Path]:
    """What this process has open below a folder."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with suppress(FileNotFoundError):  # the listing's own
            found.append(link.readlink())
    return [path for path in found if path.is_relative_to(below)]


async def read_all(response: ClientResponse, received: bytearray) -> None:
    async with asyncio.timeout(60):
        async for piece in response.content.iter_any():
            received += piece


async def test_a_cut_is_what_was_recorded(url: URL, client: ClientSession, put: Put) -> None:
    """All segments that the range touches come whole, one after the other, as a download of known length."""
    put("11:59:58", data=b"before")
    pieces = [os.urandom(size) for size in (3 << 20, 1 << 20, 1, 188 * 7)]
    for clock, data in zip(("12:00:00", "12:00:02", "12:00:04", "12:00:06"), pieces, strict=True):
        put(clock, data=data)
    put("12:00:08", data=b"after")
    async with client.get(cut(url)) as response:
        assert (response.status, response.content_type) == (200, "video/mp2t")
        assert response.content_length == sum(map(len, pieces))
        assert await response.read() == b"".join(pieces)


async def test_an_inner_range_takes_whole_segments(url: URL, client: ClientSession, put: Put) -> None:
    """A range that begins and ends inside of segments gets these whole."""
    for clock in ("12:00:00", "12:00:02", "12:00:04", "12:00:06"):
        put(clock, data=clock.encode())
    async with client.get(cut(url, start="2026-03-01T12:00:03", end="2026-03-01T12:00:04.5")) as response:
        assert await response.read() == b"12:00:0212:00:04"


async def test_holes_are_refused_unless_they_are_allowed(url: URL, client: ClientSession, put: Put) -> None:
    """A cut with something missing is a 406 that says what; with holes allowed it is what there is."""
    put("12:00:00", data=b"one")
    put("12:00:04", data=b"two")
    async with client.get(cut(url)) as response:
        assert response.status == 406
        assert await response.json() == {
            "error": "Nothing complete is recorded from 2026-03-01T12:00:02.000000Z to 2026-03-01T12:00:04.000000Z. "
            "Add allow_holes=true to leave out what is missing."
        }
    async with client.get(cut(url, allow_holes="true")) as response:
        assert (response.status, await response.read()) == (200, b"onetwo")


@pytest.mark.parametrize(
    ("path", "query", "status"),
    [
        ("cut/no/source.ts", CUT | {"allow_holes": "true"}, 404),
        ("cut/no/source.ts", CUT, 406),
        ("cut/chan/source.ts", CUT | {"type": "smooth"}, 400),
        ("cut/chan/source.ts", {"type": "rough"}, 400),
        ("cut/.hidden/source.ts", CUT, 400),
        ("cut/chan/source.mkv", CUT, 404),
    ],
)
async def test_wrong_cuts_are_refused(
    url: URL, client: ClientSession, path: str, query: dict[str, str], status: int
) -> None:
    """A cut of nothing or with wrong parameters is refused with a sentence."""
    async with client.get(url / path % query) as response:
        assert response.status == status
        assert (await response.json())["error"].endswith(".")


@pytest.mark.parametrize(
    "name", ["plain", 'it\'s "quoted"', "ünï✓ 录像", "semi;colon=,", "line\r\nX-Evil: yes", "100%"]
)
async def test_the_file_has_a_good_name(url: URL, client: ClientSession, put: Put, name: str) -> None:
    """The download is named after channel, quality and start, whatever these hold (RFC 6266, RFC 8187)."""
    put("12:00:00", 6.0, channel=name)
    async with client.get(url / "cut" / name / "source.ts" % CUT) as response:
        assert response.status == 200
        assert response.content_disposition is not None
        assert response.content_disposition.type == "attachment"
        assert response.content_disposition.filename == f"{name} source 2026-03-01T12-00-00Z.ts"
        assert "X-Evil" not in response.headers


async def test_head_tells_what_get_would_give(url: URL, client: ClientSession, put: Put) -> None:
    """HEAD gives the length and the name without the video; and what GET refuses, HEAD refuses."""
    put("12:00:00", 6.0, b"x" * 1000)
    async with client.head(cut(url)) as response:
        assert (response.status, response.content_length, await response.read()) == (200, 1000, b"")
        assert response.content_disposition is not None
    async with client.head(cut(url, end="2026-03-01T13:00")) as response:
        assert response.status == 406


async def test_a_client_that_goes_away_leaves_nothing_open(
    url: URL, put: Put, store: Store, ended: asyncio.Queue[int]
) -> None:
    """A download that is given up is counted as such, is no error in the log, and leaves no file open."""
    put("12:00:00", 6.0, bytes(LARGE))
    with capture_logs() as logs:
        _, writer = await asyncio.open_connection(url.host, url.port)
        writer.write(f"GET {cut(url).raw_path_qs} HTTP/1.1\r\nHost: host\r\n\r\n".encode())
        await writer.drain()
        writer.transport.abort()
        assert await asyncio.wait_for(ended.get(), 10) == 499
    assert [event for event in logs if event["log_level"] in ("warning", "error")] == []
    assert open_files(store.base) == []


async def test_a_cut_that_breaks_off_is_not_taken_for_whole(
    url: URL, client: ClientSession, put: Put, store: Store, ended: asyncio.Queue[int]
) -> None:
    """If a segment is deleted while the cut is under way, the connection ends before the length that was promised."""
    first = put("12:00:00", data=b"1" * LARGE)
    last = put("12:00:02", 4.0, data=b"2" * 1000)
    received = bytearray()
    with capture_logs() as logs:
        async with client.get(cut(url)) as response:
            assert response.content_length == LARGE + 1000
            store.segment_path("chan", "source", last).unlink()
            with pytest.raises(ClientPayloadError):
                await read_all(response, received)
        assert await asyncio.wait_for(ended.get(), 10) == 503
    assert received == b"1" * len(received), "nothing that is not of the video"
    assert [event["event"] for event in logs if event["log_level"] in ("warning", "error")] == ["cut_broken_off"]
    assert first.end == last.start


async def test_a_cut_reaches_back_into_the_hour_before(url: URL, client: ClientSession, put: Put) -> None:
    """A segment of the hour before that reaches into the range is a part of the cut."""
    reaching = put("11:59:59", 4.0, b"reaching")
    put(format_utc(reaching.end)[11:-1], 10.0, b"rest")
    async with client.get(cut(url)) as response:
        assert (response.status, await response.read()) == (200, b"reachingrest")
    assert reaching.end - reaching.start == timedelta(seconds=4)
