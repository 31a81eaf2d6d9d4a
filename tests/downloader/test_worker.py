"""One session: its playlist is asked for, judged, and given up when it fails."""

import asyncio
from datetime import timedelta

import pytest
from aiohttp import ClientSession

from common.store import Store
from downloader import worker as subject
from downloader.fetch import Target
from downloader.handover import Cause
from downloader.origin import OriginError
from downloader.polling import BLOCKED_SECONDS
from downloader.providers import UrlProvider
from downloader.recorder import EndedError, Recorder, UnsupportedError
from downloader.source import Channel, Source
from downloader.worker import Worker
from downloads import Ticks, bodies
from hls_origin import NOON, Entry, Held, Live, Origin, multivariant, playlist, status
from log_events import PATIENCE_SECONDS, LogEvents

PATH = "/live.m3u8"


def worker(recorder: Recorder, url: str) -> Worker:
    source = Source(Channel("chan", UrlProvider(url)), recorder.session, ["source"])
    return Worker(0, source, recorder, asyncio.Event(), asyncio.Event())


@pytest.fixture
def recorder(store: Store, session: ClientSession) -> Recorder:
    return Recorder(Target(store, "chan", "source"), session)


async def work(one: Worker) -> None:
    async with asyncio.timeout(PATIENCE_SECONDS):
        await one.run()


async def test_a_playlist_that_fails_at_first_sight_is_not_insisted_on(
    origin: Origin, recorder: Recorder, ticks: Ticks
) -> None:
    """What does not answer at all is for the manager to look after."""
    with pytest.raises(OriginError, match="answers 404"):
        await work(worker(recorder, origin.url(PATH)))
    assert origin.count(PATH) == 1


async def test_a_playlist_imports_what_the_choice_of_qualities_defines(
    origin: Origin, store: Store, recorder: Recorder, events: LogEvents, ticks: Ticks
) -> None:
    """The addresses of segments may hold names for texts that the multivariant playlist tells (EXT-X-DEFINE)."""
    live = Live(origin)
    live.reveal_some(1)
    [content] = live.bodies
    origin.put("/today/0.ts", content)
    define = '#EXT-X-DEFINE:NAME="folder",VALUE="today"'
    origin.put("/choice.m3u8", multivariant(source="media.m3u8").replace("#EXTM3U", f"#EXTM3U\n{define}", 1))
    text = playlist(Entry("/{$folder}/0.ts", at=NOON), tags=('#EXT-X-DEFINE:IMPORT="folder"',))
    origin.put("/media.m3u8", text)
    fetching = asyncio.create_task(recorder.run())
    working = asyncio.create_task(work(worker(recorder, origin.url("/choice.m3u8"))))
    await events.wait("segment_committed")
    assert bodies(store) == [content]
    working.cancel()
    fetching.cancel()


async def test_a_playlist_that_fails_is_insisted_on_for_a_while(
    origin: Origin, recorder: Recorder, ticks: Ticks
) -> None:
    """A worker that has shown something goes on while it fails, in trouble; only many failures in a row end it."""
    text = playlist(Entry("/0.ts", at=NOON))
    origin.put(PATH, text, status(500), "<html>", text, *[status(500)] * 5, status(502), text)
    one = worker(recorder, origin.url(PATH))
    working = asyncio.create_task(work(one))
    troubles = []
    await ticks.reached(1)
    for _ in range(8):
        await ticks.step()
        troubles.append(one.standing.trouble)
    assert troubles == [Cause.FAILED, Cause.FAILED, None, *[Cause.FAILED] * 5]
    assert one.reason == f"{origin.url(PATH)} answers 500 Internal Server Error."
    ticks.end()
    with pytest.raises(OriginError, match="answers 502 Bad Gateway"):
        await working
    assert origin.count(PATH) == 10


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        (playlist(Entry("a.ts"), end=True), "This is a finished recording"),
        (playlist(Entry("a.ts"), tags=("#EXT-X-I-FRAMES-ONLY",)), "is a list of key frames only"),
    ],
)
async def test_what_cannot_be_recorded_is_refused(
    origin: Origin, recorder: Recorder, ticks: Ticks, text: str, sentence: str
) -> None:
    """A kind of stream that is not supported is one sentence, and nothing of it is fetched."""
    origin.put(PATH, text)
    with pytest.raises(UnsupportedError) as raised:
        await work(worker(recorder, origin.url(PATH) + "?token=hunter2"))
    assert sentence in str(raised.value)
    assert "hunter2" not in str(raised.value)
    assert origin.count("/a.ts") == 0


async def test_a_list_that_becomes_a_choice_is_an_error(origin: Origin, recorder: Recorder, ticks: Ticks) -> None:
    """A media playlist in whose place comes a multivariant one is told."""
    origin.put(PATH, playlist(Entry("/0.ts", at=NOON)), multivariant(a="a.m3u8"))
    one = worker(recorder, origin.url(PATH))
    working = asyncio.create_task(work(one))
    await ticks.reached(1)
    await ticks.step()
    assert one.reason.endswith("is now a choice of qualities, where a list of segments was.")
    working.cancel()


async def test_the_end_of_what_was_live_is_recorded(
    origin: Origin, store: Store, recorder: Recorder, events: LogEvents, ticks: Ticks
) -> None:
    """Segments that come together with the end of the stream belong to it."""
    live = Live(origin)
    live.reveal_some(2)
    fetching = asyncio.create_task(recorder.run())
    working = asyncio.create_task(work(worker(recorder, origin.url(PATH))))
    await ticks.reached(1)
    live.reveal_some(1)
    live.publish(end=True)
    ticks.end()
    with pytest.raises(EndedError):
        await working
    await events.wait("segment_committed", 3)
    fetching.cancel()
    assert bodies(store) == live.bodies


# Reloads that block ---------------------------------------------------------------------------------------------------

BLOCKS = ("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES",)


def offering(count: int) -> str:
    return playlist(*(Entry(f"/{n}.ts", at=NOON + timedelta(seconds=2 * n)) for n in range(count)), tags=BLOCKS)


async def test_an_origin_that_holds_answers_back_is_asked_for_the_next(
    origin: Origin, recorder: Recorder, ticks: Ticks
) -> None:
    """The next segment is asked for by its number, and the one after it as soon as the answer is there."""
    held = Held(offering(4).encode())
    origin.put(PATH, offering(2), offering(3), held)
    working = asyncio.create_task(work(worker(recorder, origin.url(PATH) + "?t=1")))
    await ticks.reached(1)
    await ticks.step()
    ticks.end()
    await held.wait()
    assert origin.queries == ["t=1", "t=1&_HLS_msn=2", "t=1&_HLS_msn=3"]
    assert max(ticks.seconds) <= BLOCKED_SECONDS
    working.cancel()


async def test_an_origin_that_only_says_so_is_polled(origin: Origin, recorder: Recorder, ticks: Ticks) -> None:
    """If what was asked for is not in the answer, twice, the pauses are those of any other origin."""
    origin.put(PATH, offering(2))
    working = asyncio.create_task(work(worker(recorder, origin.url(PATH))))
    await ticks.reached(1)
    await ticks.step(6)
    assert origin.queries[-2:] == ["", ""]
    assert sum("_HLS_msn" in query for query in origin.queries) == 2
    assert min(ticks.seconds[-3:]) >= 0.5
    working.cancel()


async def test_an_origin_that_refuses_the_number_is_polled(origin: Origin, recorder: Recorder, ticks: Ticks) -> None:
    """An error to such a request is no reason to give the playlist up."""
    origin.put(PATH, offering(2), status(400), offering(3))
    one = worker(recorder, origin.url(PATH))
    working = asyncio.create_task(work(one))
    await ticks.reached(1)
    await ticks.step(3)
    assert origin.queries == ["", "_HLS_msn=2", "", ""]
    assert one.standing.trouble is None
    working.cancel()


async def test_what_takes_long_is_said_while_it_goes_on(
    origin: Origin, recorder: Recorder, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A request that hangs is trouble long before it is given up, and none any more when the answer comes."""
    monkeypatch.setattr(subject, "_SLOW_PLAYLIST_SECONDS", 0.0)
    text = playlist(Entry("/0.ts", at=NOON))
    held = Held(text.encode())
    origin.put(PATH, text, held, text)
    one = worker(recorder, origin.url(PATH))
    working = asyncio.create_task(work(one))
    await ticks.reached(1)
    ticks.end()
    await held.wait()
    async with asyncio.timeout(PATIENCE_SECONDS):
        while one.standing.trouble is None:
            one.changed.clear()
            await one.changed.wait()
    told = [(one.standing.trouble, one.reason)]
    held.release.set()
    await ticks.reached(2)
    told.append((one.standing.trouble, one.reason))
    assert told == [(Cause.SLOW, f"{origin.url(PATH)} takes long to answer."), (None, "")]
    working.cancel()
