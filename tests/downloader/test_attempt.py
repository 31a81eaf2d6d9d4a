"""An origin that is slow, silent or endless: a second attempt beside the first, and limits to everything."""

import asyncio
from contextlib import suppress
from datetime import timedelta

import pytest
from aiohttp import ClientSession, web

from common.segments import SegmentType
from common.store import Store
from downloader import attempt
from downloader.fetch import Fetched, Fetcher, FetchError, Target
from downloader.outcomes import Reason
from downloader.playlist_values import PlaylistSegment
from downloader.timeline import NewSegment
from downloader.transfer import Patience
from downloads import on_disk, stored
from hls_origin import NOON, PACKET, Answer, Held, Origin, body, breaks_off, hangs_up, status, ts

PATH = "/live/a.ts"
TWO = timedelta(seconds=2)
LONG = ts(7, packets=8000)  # some 1.5 MB: more than is handed to the disk at once

AT_ONCE = Patience(answer_soft=0.0, silence_soft=0.0)
"""With it each attempt is overdue at once, so that a second one begins beside it."""


def kinds(store: Store) -> list[SegmentType]:
    return [segment.type for segment in stored(store)]


def new(origin: Origin, path: str = PATH) -> NewSegment:
    return NewSegment(PlaylistSegment(origin.url(path), TWO), NOON, guessed=False)


@pytest.fixture
def fetcher(session: ClientSession, store: Store) -> Fetcher:
    return Fetcher(session, Target(store, "chan", "source"), patience=AT_ONCE)


async def failure(fetcher: Fetcher, origin: Origin) -> FetchError:
    with pytest.raises(FetchError) as raised:
        await fetcher.fetch(new(origin))
    return raised.value


@pytest.mark.parametrize("at", [None, 0, 5 * PACKET, 1_000_000])
async def test_a_second_attempt_wins_over_a_slow_first(
    fetcher: Fetcher, origin: Origin, store: Store, at: int | None
) -> None:
    """While the first hangs, before its answer or within it, the second brings the segment; nothing else stays."""
    origin.put(PATH, Held(LONG, at), LONG)
    found = await fetcher.fetch(new(origin))
    assert found.segment.type is SegmentType.FULL
    assert stored(store) == {found.segment: LONG}
    assert origin.count(PATH) == 2
    assert len(set(origin.peers)) == 2


async def test_a_slow_first_attempt_may_still_win(fetcher: Fetcher, origin: Origin, store: Store) -> None:
    """The first goes on beside the second, and wins if it is whole before it."""
    first, second = Held(LONG, 5 * PACKET), Held(ts(2), 0)
    origin.put(PATH, first, second)
    fetching = asyncio.create_task(fetcher.fetch(new(origin)))
    await second.wait()
    first.release.set()
    found = await fetching
    assert stored(store) == {found.segment: LONG}


@pytest.mark.parametrize("first", [0, 1])
async def test_of_two_that_break_off_the_longer_is_kept(
    fetcher: Fetcher, origin: Origin, store: Store, first: int
) -> None:
    """When neither comes whole there is one partial segment, with as much as there was."""
    answers = [breaks_off(LONG, at * PACKET) for at in (100, 40)]
    begun = Held(b"", None)

    async def waits(request: web.Request) -> web.StreamResponse:
        await begun.wait()
        return await answers[first](request)

    async def follows(request: web.Request) -> web.StreamResponse:
        begun.reached.set()
        return await answers[1 - first](request)

    origin.put(PATH, waits, follows)
    failed = await failure(fetcher, origin)
    assert failed.reason is Reason.PARTIAL
    assert kinds(store) == [SegmentType.PARTIAL]
    assert [*stored(store).values()] == [LONG[: 100 * PACKET]]


@pytest.mark.parametrize(
    "bad", [status(404), status(500), hangs_up, breaks_off(LONG, PACKET), body(b""), body("<html>")]
)
async def test_a_second_attempt_that_fails_leaves_the_first(
    fetcher: Fetcher, origin: Origin, store: Store, bad: Answer
) -> None:
    """Whatever becomes of the second, the first is waited for."""
    first = Held(LONG, 5 * PACKET)

    async def releases(request: web.Request) -> web.StreamResponse:
        asyncio.get_running_loop().call_later(0.05, first.release.set)
        return await bad(request)

    origin.put(PATH, first, releases)
    found = await fetcher.fetch(new(origin))
    assert stored(store) == {found.segment: LONG}


async def test_a_stop_while_two_are_under_way_keeps_one(fetcher: Fetcher, origin: Origin, store: Store) -> None:
    """Cancelled, both end, and what the longer one has brought is kept."""
    second = Held(LONG, 1_000_000)
    origin.put(PATH, Held(LONG, PACKET), second)
    fetching = asyncio.create_task(fetcher.fetch(new(origin)))
    await second.wait()
    await on_disk(store, SegmentType.TEMP)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert kinds(store) == [SegmentType.PARTIAL]
    (data,) = stored(store).values()
    assert len(data) > 5 * PACKET
    assert LONG.startswith(data)


async def test_a_slow_line_gets_few_second_attempts(fetcher: Fetcher, origin: Origin) -> None:
    """Where everything is slow, only two at a time get a second attempt."""
    for number in range(4):
        origin.put(f"/{number}.ts", Held(ts(number), PACKET), Held(ts(number), PACKET))
    running = [asyncio.create_task(fetcher.fetch(new(origin, f"/{number}.ts"))) for number in range(4)]
    for number in range(2):
        await origin.asked(f"/{number}.ts", 2)
    origin.let_go()
    await asyncio.gather(*running)
    assert [origin.count(f"/{number}.ts") for number in range(4)] == [2, 2, 1, 1]


@pytest.mark.parametrize(
    ("patience", "at"),
    [
        (Patience(answer_hard=0.05), None),
        (Patience(silence_hard=0.05), None),
        (Patience(silence_hard=0.05), 0),
        (Patience(silence_hard=0.05), 5 * PACKET),
    ],
)
async def test_silence_ends_an_attempt(
    session: ClientSession, origin: Origin, store: Store, patience: Patience, at: int | None
) -> None:
    """No answer, or no more of it, is a timeout after a while; what came is kept."""
    origin.put(PATH, Held(LONG, at))
    fetcher = Fetcher(session, Target(store, "chan", "source"), patience=patience)
    failed = await failure(fetcher, origin)
    assert (failed.reason, failed.gone) == (Reason.TIMED_OUT, False)
    assert kinds(store) == ([SegmentType.PARTIAL] if at else [])


async def test_a_head_that_trickles_ends_too(session: ClientSession, origin: Origin, store: Store) -> None:
    """Headers that never stop coming, one at a time, are no answer."""
    origin.put(PATH, head_trickle)
    failed = await failure(
        Fetcher(session, Target(store, "chan", "source"), patience=Patience(answer_hard=0.2)), origin
    )
    assert failed.reason is Reason.TIMED_OUT
    assert not stored(store)


async def head_trickle(request: web.Request) -> web.StreamResponse:
    transport, gone = request.transport, asyncio.Event()
    assert isinstance(transport, asyncio.WriteTransport)
    transport.write(b"HTTP/1.1 200 OK\r\n")
    while not transport.is_closing():
        transport.write(b"X-More: to come\r\n")
        with suppress(TimeoutError):
            async with asyncio.timeout(0.01):
                await gone.wait()
    return web.Response()


async def test_a_trickle_ends_at_the_hard_limit(
    session: ClientSession, origin: Origin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A body that never stops coming, a packet at a time, is given up when its time is over."""
    monkeypatch.setattr(Patience, "body_hard", lambda *_: 0.2)
    origin.put(PATH, trickle)
    failed = await failure(Fetcher(session, Target(store, "chan", "source")), origin)
    assert failed.reason is Reason.TIMED_OUT
    assert kinds(store) == [SegmentType.PARTIAL]


async def trickle(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    await response.prepare(request)
    gone = asyncio.Event()
    while True:
        try:
            await response.write(ts(1))
            async with asyncio.timeout(0.01):
                await gone.wait()
        except TimeoutError:
            continue
        except ConnectionError:
            return response


def test_longer_segments_may_take_longer() -> None:
    """The limits of the body grow with the duration, and end somewhere."""
    patience = Patience()
    durations = [TWO, 3 * TWO, 1800 * TWO]
    assert [patience.body_hard(duration) for duration in durations] == [90.0, 150.0, 300.0]
    assert [patience.body_soft(duration) for duration in durations[:2]] == [7.0, 13.0]


async def test_an_endless_body_is_bounded_in_bytes(
    session: ClientSession, origin: Origin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk is filled by one segment that never ends, and no other segment notices."""
    monkeypatch.setattr(attempt, "_MOST_BYTES_A_SECOND", 1 << 18)

    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            try:
                await response.write(LONG)
            except ConnectionError:
                return response

    origin.put(PATH, endless)
    origin.put("/b.ts", ts(2))
    fetcher = Fetcher(session, Target(store, "chan", "low"))
    failed, other = await asyncio.gather(failure(fetcher, origin), fetcher.fetch(new(origin, "/b.ts")))
    assert (str(failed), failed.gone) == ("The segment is longer than 1 MiB.", True)
    assert isinstance(other, Fetched)


async def test_after_a_failure_the_connection_is_a_fresh_one(
    session: ClientSession, origin: Origin, store: Store
) -> None:
    """Connections are used again, but not by a segment that has failed before."""
    fetcher = Fetcher(session, Target(store, "chan", "source"))
    origin.put(PATH, ts(1), status(500), ts(2), ts(3))
    await fetcher.fetch(new(origin))
    with pytest.raises(FetchError):
        await fetcher.fetch(new(origin))
    await fetcher.fetch(new(origin))
    await fetcher.fetch(new(origin))
    first, failed, again, last = origin.peers
    assert first == failed == last != again
