"""Segments that are begun before they are listed, and taken over when they are."""

import asyncio
from datetime import timedelta

import pytest
from aiohttp import ClientSession

from common.segments import SegmentType
from common.store import Store
from downloader import prefetches
from downloader.fetch import Fetched, Fetcher, Target
from downloader.playlist_values import ByteRange, PlaylistSegment
from downloader.timeline import NewSegment
from downloads import stored
from hls_origin import NOON, PACKET, Answer, Held, Origin, breaks_off, status, ts
from log_events import PATIENCE_SECONDS

PATH = "/live/a.ts"
LONG = ts(7, packets=8000)


@pytest.fixture
def fetcher(session: ClientSession, store: Store) -> Fetcher:
    return Fetcher(session, Target(store, "chan", "source"))


async def fetched(fetcher: Fetcher, origin: Origin, byterange: ByteRange | None = None) -> Fetched:
    entry = PlaylistSegment(origin.url(PATH), timedelta(seconds=2), byterange=byterange)
    return await fetcher.fetch(NewSegment(entry, NOON, guessed=False))


async def received(fetcher: Fetcher, origin: Origin, count: int) -> None:
    """Wait until so many bytes of the prefetch are here."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while True:
            if fetcher._prefetches._running[origin.url(PATH)][0].received >= count:
                return
            await asyncio.sleep(0)


@pytest.mark.parametrize("at", [0, 5 * PACKET, 1_000_000, len(LONG)])
async def test_a_listed_segment_goes_on_where_its_prefetch_is(
    fetcher: Fetcher, origin: Origin, store: Store, at: int
) -> None:
    """The transfer that was begun is the one that ends in the store: no byte of it is lost, none asked for twice."""
    held = Held(LONG, at)
    origin.put(PATH, held)
    fetcher.prefetch(origin.url(PATH))
    await held.wait()
    await received(fetcher, origin, at)
    await asyncio.sleep(0)
    fetching = asyncio.create_task(fetched(fetcher, origin))
    held.release.set()
    found = await fetching
    assert found.segment.type is SegmentType.FULL
    assert stored(store) == {found.segment: LONG}
    if at:  # before its answer a prefetch has nothing to be taken over
        assert origin.count(PATH) == 1


async def test_a_prefetch_that_is_through_waits_to_be_listed(fetcher: Fetcher, origin: Origin, store: Store) -> None:
    """A segment that is here in full is stored at once when it is listed; asking twice for it changes nothing."""
    origin.put(PATH, LONG)
    for _ in range(3):
        fetcher.prefetch(origin.url(PATH))
    await received(fetcher, origin, len(LONG))
    found = await fetched(fetcher, origin)
    assert stored(store) == {found.segment: LONG}
    assert origin.count(PATH) == 1


async def test_a_prefetch_reads_ahead_so_far_only(
    fetcher: Fetcher, origin: Origin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Memory holds a part of what is promised; the rest comes when it is listed."""
    monkeypatch.setattr(prefetches, "_MOST_AHEAD", 100_000)
    origin.put(PATH, LONG)
    fetcher.prefetch(origin.url(PATH))
    await received(fetcher, origin, 100_000)
    for _ in range(50):
        await asyncio.sleep(0)
    assert fetcher._prefetches._running[origin.url(PATH)][0].received < len(LONG)
    assert stored(store) == {}
    found = await fetched(fetcher, origin)
    assert stored(store) == {found.segment: LONG}
    assert origin.count(PATH) == 1


@pytest.mark.parametrize("bad", [status(404), status(500), breaks_off(LONG, PACKET)])
async def test_a_prefetch_that_fails_costs_nothing(fetcher: Fetcher, origin: Origin, store: Store, bad: Answer) -> None:
    """What is not there yet, or breaks off, is fetched anew when it is listed."""
    origin.put(PATH, bad, LONG)
    fetcher.prefetch(origin.url(PATH))
    _, task = fetcher._prefetches._running[origin.url(PATH)]
    await asyncio.wait({task})
    found = await fetched(fetcher, origin)
    assert stored(store) == {found.segment: LONG}
    assert origin.count(PATH) == 2


async def test_what_is_never_listed_is_dropped(fetcher: Fetcher, origin: Origin) -> None:
    """Newer promises take the place of the oldest, and a stop ends them all."""
    helds = [Held(LONG, PACKET) for _ in range(6)]
    for number, held in enumerate(helds):
        origin.put(f"/{number}.ts", held)
        fetcher.prefetch(origin.url(f"/{number}.ts"))
    assert [*fetcher._prefetches._running] == [origin.url(f"/{number}.ts") for number in range(2, 6)]
    tasks = [task for _, task in fetcher._prefetches._running.values()]
    for held in helds[2:]:
        await held.wait()
    await fetcher.close()
    assert all(task.cancelled() for task in tasks)
    assert not fetcher._prefetches._running


async def test_a_promise_that_is_not_kept_ends(
    fetcher: Fetcher, origin: Origin, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A prefetch that nobody asks for lets go of its connection after a while."""
    monkeypatch.setattr(prefetches, "_LONGEST_SECONDS", 0.05)
    origin.put(PATH, LONG)
    fetcher.prefetch(origin.url(PATH))
    _, task = fetcher._prefetches._running[origin.url(PATH)]
    await asyncio.wait({task})
    assert (await fetched(fetcher, origin)).bytes == len(LONG)
    assert origin.count(PATH) == 2


async def test_a_range_takes_no_prefetch_over(fetcher: Fetcher, origin: Origin) -> None:
    """The whole of a file is not a part of it."""
    origin.put(PATH, ts(1) + ts(2))
    fetcher.prefetch(origin.url(PATH))
    found = await fetched(fetcher, origin, ByteRange(len(ts(2)), len(ts(1))))
    assert found.bytes == len(ts(2))
    await fetcher.close()
