"""A channel for as long as the service runs: what is wrong is said once, tried again, and harms no other channel."""

import asyncio
from contextlib import AsyncExitStack
from datetime import timedelta
from functools import partial

import pytest
from prometheus_client import REGISTRY

from common.segments import SegmentType
from common.store import Store
from downloads import Ticks, bodies, recording, stored
from hls_origin import NOON, Answer, Entry, Held, Live, Origin, hangs_up, multivariant, playlist, status, ts
from log_events import PATIENCE_SECONDS, LogEvents

PATH = "/live.m3u8"


def told(events: LogEvents, name: str = "chan") -> list[str]:
    """The sentences that said why the channel is not recorded."""
    return [event["reason"] for event in events.of("stream_not_recorded", channel=name)]


def committed(events: LogEvents, count: int) -> bool:
    return len(events.of("segment_committed", channel="chan")) == count


def followed(name: str = "chan") -> float | None:
    return REGISTRY.get_sample_value("respool_stream_followed", {"channel": name, "quality": "source"})


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("<html>", "{}: This is not an HLS playlist: it begins with '<html>' and not with #EXTM3U."),
        (
            playlist(Entry("a.ts"), end=True),
            "This is a finished recording (EXT-X-ENDLIST), not a live stream; it is not recorded.",
        ),
        (
            playlist(Entry("a.ts"), tags=("#EXT-X-I-FRAMES-ONLY",)),
            "The stream at {} is a list of key frames only; this cannot be recorded.",
        ),
        ("#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO\n", "{}: The stream has no quality 'source'; it has: none."),
    ],
)
async def test_what_is_wrong_is_said_once_and_asked_again(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks, text: str, sentence: str
) -> None:
    """A stream that cannot be recorded is one sentence in the log, however often it is asked for; then it may be."""
    origin.put(PATH, text)
    async with recording(store, origin.url(PATH) + "?token=hunter2"):
        await ticks.reached(1)
        await ticks.step(4)
        assert told(events) == [sentence.format(origin.url(PATH))]
        assert not bodies(store)
        live = Live(origin)
        live.reveal_some(2)
        await ticks.step()
        await events.wait("segment_committed", 2)
    assert bodies(store) == [ts(0), ts(1)]
    assert "hunter2" not in str(events.all)


async def test_the_pauses_grow(origin: Origin, store: Store, events: LogEvents, ticks: Ticks) -> None:
    """A stream that is away is asked for less and less often, but at least every ten seconds."""
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        await ticks.step(9)
    assert 0.5 <= ticks.seconds[0] <= 1.0
    assert 1.0 <= ticks.seconds[1] <= 2.0
    assert all(5.0 <= seconds <= 10.0 for seconds in ticks.seconds[5:9])
    assert len(told(events)) == 1


async def test_the_same_failure_is_said_again_after_a_recovery(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """A stream that was recorded in between and fails anew is said again, and asked for at once."""
    live = Live(origin)
    origin.put(PATH, status(502))
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        for count in (1, 2):
            await ticks.until(lambda: len(told(events)) == count)  # noqa: B023 - it is called at once
            await ticks.step(4)
            assert told(events) == [f"{origin.url(PATH)} answers 502 Bad Gateway."] * count
            live.reveal_some(1)
            await ticks.step()
            await events.wait("segment_committed", count)
            origin.put(PATH, status(502))


@pytest.mark.parametrize("dated", [True, False])
async def test_a_stream_that_returns_is_recorded(
    origin: Origin,
    store: Store,
    events: LogEvents,
    ticks: Ticks,
    dated: bool,  # noqa: FBT001
) -> None:
    """After its end a stream is asked for until it is back, also if its encoder counts from nought again."""
    first = Live(origin, start=NOON if dated else None, folder="/a/")
    first.reveal_some(3)
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        assert followed() == 1
        first.publish(end=True)
        await ticks.step(3)
        assert told(events) == ["The stream has ended; it is recorded again as soon as it returns."]
        assert followed() == 0
        later = NOON + timedelta(minutes=1)
        # where times tell them apart, even the names are the same
        again = Live(origin, start=later if dated else None, folder="/a/" if dated else "/a/again-")
        again.reveal(*(ts(100 + n) for n in range(3)))
        await ticks.step()
        await events.wait("segment_committed", 6)
        assert followed() == 1
    assert bodies(store) == first.bodies + again.bodies
    assert followed() == 0


async def test_a_finished_recording_that_becomes_live_is_recorded_whole(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """What was refused as finished and then goes on is recorded, with what it listed before."""
    live = Live(origin)
    live.reveal_some(2)
    live.publish(end=True)
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        await ticks.step(2)
        assert len(told(events)) == 1
        live.reveal_some(1)
        await ticks.step()
        await events.wait("segment_committed", 3)
    assert bodies(store) == live.bodies


async def test_other_channels_are_unharmed(origin: Origin, store: Store, events: LogEvents, ticks: Ticks) -> None:
    """Channels that fail in every way at once leave the one that works as it is."""
    live = Live(origin)
    live.reveal_some(2)
    bad: dict[str, Answer | str | bytes] = {
        "missing": status(404),
        "silent": Held(b"#EXTM3U\n"),
        "cut": hangs_up,
        "page": "<html>",
        "vod": playlist(Entry("a.ts"), end=True),
        "nowhere": playlist(Entry(f"http://{'a' * 64}/a.ts")),
        "broken": playlist(Entry("file:///etc/passwd"), target=99999),
        "bytes": b"\xff" * 5000,
    }
    async with AsyncExitStack() as stack:
        for name, answer in bad.items():
            origin.put(f"/{name}", answer)
            await stack.enter_async_context(recording(store, origin.url(f"/{name}"), name))
        await stack.enter_async_context(recording(store, origin.url(PATH)))
        for count in range(2, 6):
            await ticks.until(partial(committed, events, count))
            live.reveal_some(1)
    assert bodies(store) == live.bodies[:5]
    assert not any(stored(store, name) for name in bad)
    assert all(len(told(events, name)) == 1 for name in bad.keys() - {"silent", "nowhere", "broken"})


async def test_a_playlist_that_moves_is_found_again(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """When a quality's playlist is gone, the channel's address tells the new one; nothing is fetched twice."""
    live = Live(origin, path="/old.m3u8")
    live.reveal_some(2)
    origin.put(PATH, multivariant(best="/old.m3u8"))
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        origin.put("/old.m3u8", status(404))
        live.path = "/new.m3u8"
        live.reveal_some(1)
        origin.put(PATH, multivariant(best="/new.m3u8"))
        await ticks.step(4)
        await events.wait("segment_committed", 3)
    assert bodies(store) == live.bodies
    assert [event["url"] for event in events.of("stream_found")] == [origin.url("/old.m3u8"), origin.url("/new.m3u8")]
    assert {origin.count(entry.uri) for entry in live.entries} == {1}


async def test_a_stop_does_not_wait_for_the_origin(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """A stop in the middle of a segment and of a playlist is immediate, and what came of the segment is kept."""
    live = Live(origin)
    data = ts(0, packets=8000)
    segment, list_ = Held(data, len(data) // 2), Held(b"#EXTM3U\n", 3)
    live.reveal(segment)
    async with recording(store, origin.url(PATH)):
        await segment.wait()
        await ticks.reached(1)
        origin.put(PATH, list_)
        ticks.end()
        await list_.wait()
        began = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - began < PATIENCE_SECONDS / 20
    names = [name for hour in store.hours("chan", "source") for name in store.names("chan", "source", hour)]
    assert [name.split("-")[2] for name in names] == [SegmentType.PARTIAL]
