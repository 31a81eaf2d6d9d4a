"""Those who read an hour while it goes: over HTTP from a real restreamer."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import pytest
from aiohttp import ClientPayloadError, ClientSession
from yarl import URL

from common.dateutil import HOUR, floor_hour, format_utc, hour_name
from common.expired import Expired
from common.recording import SegmentWriter
from common.segments import Segment, SegmentType
from common.store import Store
from common.tombstones import hide
from common.web import serving
from librarian.deletion import Queue, delete
from librarian.retention import StoredHour
from log_events import log_events
from restreamer.main import make_app

NOW = datetime.now(UTC).replace(microsecond=0)
THIS_HOUR = floor_hour(NOW)

Put = Callable[..., Segment]


@pytest.fixture
def put(store: Store) -> Put:
    def record(start: datetime, data: bytes = b"x") -> Segment:
        writer = SegmentWriter(store, "chan", "source", start, timedelta(seconds=2))
        writer.write(data)
        return writer.commit(SegmentType.FULL)

    return record


@pytest.fixture
async def url(store: Store) -> AsyncIterator[URL]:
    async with serving(make_app(store), "127.0.0.1", 0) as port:
        yield URL(f"http://127.0.0.1:{port}")


def delete_hour(store: Store, hour: datetime) -> None:
    delete(store, Expired(store.base), StoredHour(hour, "chan", "source"))
    queue = Queue(store)
    while queue.remove_some():
        pass


async def test_segment_on_its_way_arrives_whole(store: Store, put: Put, url: URL) -> None:
    """A client that has begun to fetch a segment gets all of it though its hour goes; the next one gets 404."""
    data = bytes(range(256)) * (1 << 16)
    segment = put(THIS_HOUR - 5 * HOUR, data)
    address = url / f"segments/chan/source/{segment.hour}/{segment.name}"
    async with ClientSession() as session:
        async with session.get(address) as response:
            begun = await response.content.readexactly(1000)
            await asyncio.to_thread(delete_hour, store, THIS_HOUR - 5 * HOUR)
            assert begun + await response.read() == data
        async with session.get(address) as response:
            assert response.status == 404


async def test_live_list_loses_what_has_gone_though_tombstones_stay(store: Store, put: Put, url: URL) -> None:
    """A list that is being read loses a deleted hour at its head and counts it, whatever is left in its place."""
    old = [put(THIS_HOUR - timedelta(seconds=seconds), bytes(seconds)) for seconds in (10, 8, 6)]
    new = [put(THIS_HOUR + timedelta(seconds=seconds), bytes(seconds)) for seconds in (2, 4)]
    hide(store, "chan", "source", old[0].hour, [old[0].name])
    at = url / "playlist/chan/source.m3u8" % {"start": format_utc(THIS_HOUR - timedelta(minutes=2))}
    async with ClientSession() as session:
        async with session.get(at) as response:
            assert (await response.text()).count("#EXTINF") == 4
        await asyncio.to_thread(delete_hour, store, THIS_HOUR - HOUR)
        async with session.get(at) as response:
            text = await response.text()
    assert text.count("#EXTINF") == len(new)
    assert "#EXT-X-MEDIA-SEQUENCE:2\n" in text


async def test_whatever_is_asked_while_hours_go_has_an_answer(store: Store, put: Put, url: URL) -> None:
    """While hour after hour goes, playlists, listings, segments and cuts of them are answered, never with a failure."""
    first, hours = THIS_HOUR - 30 * HOUR, 20
    names = [put(first + each * HOUR, bytes([each])) for each in range(hours)]
    span = {"start": format_utc(first), "end": format_utc(first + hours * HOUR)}
    asked = [
        url / "playlist/chan/source.m3u8" % span,
        url / "playlist/chan.m3u8" % span,
        url / "cut/chan/source.ts" % (span | {"type": "rough", "allow_holes": "true"}),
        url / "files/chan/source",
        *(url / f"files/chan/source/{hour_name(each.start)}" % {"tombstones": "true"} for each in names[::5]),
        *(url / f"segments/chan/source/{each.hour}/{each.name}" for each in names[::5]),
    ]
    statuses: set[int] = set()
    gone = asyncio.Event()

    async def ask(session: ClientSession, address: URL) -> None:
        while not gone.is_set():
            # a cut whose segments go is broken off, so that nobody takes it for whole
            with suppress(ClientPayloadError):
                async with session.get(address) as response:
                    statuses.add(response.status)
                    await response.read()

    with log_events() as logged:
        async with ClientSession() as session, asyncio.TaskGroup() as group:
            for address in asked:
                group.create_task(ask(session, address))
            for each in range(hours):
                await asyncio.to_thread(delete_hour, store, first + each * HOUR)
            gone.set()
    assert 200 in statuses
    assert statuses <= {200, 404, 503}
    assert logged.of("request_failed") == []
