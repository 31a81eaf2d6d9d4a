"""One quality is followed: what is fetched, in which order, how often, and what happens when something fails."""

import asyncio
import errno
from collections import Counter
from datetime import timedelta
from itertools import pairwise

import pytest
from blockbuster import blockbuster_ctx
from prometheus_client import REGISTRY

from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from downloader import queue as subject
from downloader.retries import MOST_TRIES
from downloads import Ticks, bodies, recording, stored
from hls_origin import (
    NOON,
    Answer,
    Entry,
    Held,
    Live,
    Origin,
    breaks_off,
    hangs_up,
    playlist,
    status,
    ts,
)
from log_events import LogEvents

PATH = "/live.m3u8"


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"respool_{name}", {"channel": "chan", "quality": "source", **labels}) or 0.0


# The ordinary way ----------------------------------------------------------------------------------------------------


async def test_a_sliding_window_is_recorded_whole(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """All that a live playlist ever shows is stored once, byte for byte, at the times that it tells."""
    live = Live(origin)
    live.reveal_some(3)
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        for count in (1, 0, 2, 5, 1):
            live.reveal_some(count)
            await ticks.step()
        await events.wait("segment_committed", 12)
    assert bodies(store) == live.bodies
    assert [segment.start for segment in stored(store)] == [NOON + timedelta(seconds=2 * n) for n in range(12)]
    assert {origin.count(entry.uri) for entry in live.entries} == {1}
    assert ticks.seconds[1:4] == pytest.approx([2.0, 1.0, 2.0], abs=0.5)  # as its target duration and news ask for
    assert not [event for event in events.all if event["level"] != "info"]


async def test_nothing_blocks_the_loop(origin: Origin, store: Store, events: LogEvents, ticks: Ticks) -> None:
    """Neither playlists nor segments nor the disk hold up the other channels."""
    live = Live(origin)
    live.reveal_some(3)
    with blockbuster_ctx("downloader"), blockbuster_ctx("common"):
        async with recording(store, origin.url(PATH)):
            live.reveal(ts(3, packets=8000), breaks_off(ts(4), 188))
            await events.wait("segment_committed", 4)
            await events.wait("segment_lost")


async def test_a_stream_without_times_is_dated_and_says_so(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """Segments whose times are worked out join each other, and the log says of them that they were guessed."""
    live = Live(origin, start=None)
    live.reveal_some(3)
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        live.reveal_some(2)
        await ticks.step()
        await events.wait("segment_committed", 5)
    assert bodies(store) == live.bodies
    segments = list(stored(store))
    assert all(later.start == earlier.end for earlier, later in pairwise(segments))
    assert [event["segments"] for event in events.of("start_times_guessed")] == [3, 2]


async def test_what_is_odd_about_a_playlist_is_told_once(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """A warning is logged when it appears and not at each poll, and what is past is forgotten."""
    text = playlist(Entry("/0.ts", at=NOON)) + "#EXTINF:2,\nfile:///etc/passwd?hunter2\n"
    origin.put(PATH, text)
    origin.put("/0.ts", ts(0))
    async with recording(store, origin.url(PATH)) as recorder:
        await ticks.reached(1)
        await ticks.step(3)
        (odd,) = events.of("playlist_odd")
        assert "file:///etc/passwd" in odd["reason"]
        origin.put(PATH, playlist(Entry("/0.ts", at=NOON)))
        await ticks.step()
        assert not recorder._warned
    assert "hunter2" not in str(events.all)


# Order and concurrency -----------------------------------------------------------------------------------------------


async def test_the_newest_come_first_and_few_at_a_time(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """At the first sight of a long playlist the live edge is fetched first, then the rest from the oldest on."""
    live = Live(origin, window=12)
    held = [Held(ts(n)) for n in range(12)]
    for one in held:
        live.add(one, 2.0)
    live.publish()
    async with recording(store, origin.url(PATH)):
        await asyncio.gather(*(held[n].wait() for n in (9, 10, 11, 0)))
        await ticks.reached(1)
        assert not any(held[n].reached.is_set() for n in range(1, 9))
        live.reveal(Held(ts(12)))
        await ticks.step()  # a new segment goes before what is left of the old ones
        held[9].release.set()
        await origin.asked("/12.ts")
        assert not held[1].reached.is_set()
        origin.let_go()
        await events.wait("segment_committed", 13)
    fetched = [path for path in origin.requests if path.endswith(".ts")]
    assert sorted(fetched[:4]) == ["/0.ts", "/10.ts", "/11.ts", "/9.ts"]
    assert fetched[4:6] == ["/12.ts", "/1.ts"]
    assert set(Counter(fetched).values()) == {1}


async def test_segments_that_fail_do_not_hold_up_the_live_edge(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While many segments wait for another try, new ones are fetched as ever."""
    monkeypatch.setattr(subject, "backoff", lambda *_, **__: 3600.0)
    live = Live(origin, window=10)
    live.reveal(*(status(500) for _ in range(8)))
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        await events.wait("segment_fetch_failed", 8)
        live.reveal_some(1)
        await ticks.step()
        await events.wait("segment_committed")
    assert bodies(store) == [ts(8)]


# Failures of segments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer", [status(500), status(503), hangs_up, breaks_off(ts(0), 188), breaks_off(ts(0), 188, chunked=True), b""]
)
async def test_a_segment_is_tried_until_it_is_there(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks, answer: Answer | bytes
) -> None:
    """What fails for a while is not lost."""
    retries = metric("segment_fetch_failures_total")
    live = Live(origin)
    live.reveal_some(1)
    origin.put("/0.ts", answer, answer, ts(0))
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_committed")
    assert bodies(store) == [ts(0)]
    attempts = [event["attempt"] for event in events.of("segment_fetch_failed")]
    # aiohttp tries again by itself if it is a reused connection that is closed
    assert attempts == ([1, 2] if answer is not hangs_up else [1, 2][: len(attempts)])
    assert metric("segment_fetch_failures_total") == retries + len(attempts)
    assert not events.of("segment_lost")


async def test_a_segment_that_is_gone_is_given_up_in_the_end(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """What the origin lists and does not have is asked for some more, then lost: logged and counted."""
    lost = metric("segments_missing_total", reason="expired")
    live = Live(origin)
    live.reveal(ts(0), status(404), ts(2))
    async with recording(store, origin.url(PATH)):
        (event,) = await events.wait("segment_lost")
        await events.wait("segment_committed", 2)
    assert event["reason"] == "The origin no longer has it (404)."
    assert (event["channel"], event["quality"], event["url"]) == ("chan", "source", origin.url("/1.ts"))
    assert event["start"].startswith("2026-03-01T12:00:02")
    assert origin.count("/1.ts") == MOST_TRIES
    assert metric("segments_missing_total", reason="expired") == lost + 1
    assert bodies(store) == [ts(0), ts(2)]


async def test_a_segment_that_never_comes_is_given_up_in_the_end(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """Tries are counted, and what no try brings is lost: logged and counted once."""
    lost = metric("segments_missing_total", reason="refused")
    live = Live(origin)
    live.reveal(status(500))
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_lost")
    assert origin.count("/0.ts") == len(events.of("segment_fetch_failed")) == MOST_TRIES
    assert metric("segments_missing_total", reason="refused") == lost + 1


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (OSError(errno.ENOSPC, "No space left on device"), "The disk is full; make room in {}."),
        (OSError(errno.EROFS, "Read-only file system"), "The store at {} refuses it: Read-only file system."),
    ],
)
async def test_a_disk_that_refuses_is_said_and_tried_again(
    origin: Origin,
    store: Store,
    events: LogEvents,
    ticks: Ticks,
    monkeypatch: pytest.MonkeyPatch,
    error: OSError,
    sentence: str,
) -> None:
    """A full disk is told with what to do, and when there is room again, the segment is recorded."""
    write, failures = SegmentWriter.write, [error, error]

    def failing(self: SegmentWriter, data: bytes) -> None:
        if failures:
            raise failures.pop()
        write(self, data)

    monkeypatch.setattr(SegmentWriter, "write", failing)
    live = Live(origin)
    live.reveal_some(1)
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_committed")
    assert [event["reason"] for event in events.of("segment_fetch_failed")] == [sentence.format(store.base)] * 2
    assert bodies(store) == [ts(0)]


async def test_a_host_that_cannot_be_is_no_reason_to_die(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """An address that no resolver takes is a failed segment like others."""
    live = Live(origin)
    live.reveal_some(1)
    live.entries.append(Entry(f"http://{'a' * 64}.example/1.ts?token=hunter2", at=NOON + timedelta(seconds=2)))
    live.publish()
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_lost")
        await events.wait("segment_committed")
    assert "hunter2" not in str(events.all)


# Restart -------------------------------------------------------------------------------------------------------------


async def test_after_a_restart_only_what_is_missing_is_fetched(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """What is on disk as full is not fetched again; what is there only in part is."""
    live = Live(origin)
    live.reveal(ts(0), breaks_off(ts(1), 188), ts(2))
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_lost")
        await events.wait("segment_committed", 2)
    live.origin.put("/1.ts", ts(1))
    live.reveal_some(1)
    async with recording(Store(store.base), origin.url(PATH)):
        await events.wait("segment_committed", 4)
    assert bodies(store) == [ts(0), ts(1), ts(2), ts(3)]
    assert [origin.count(f"/{n}.ts") for n in (0, 2, 3)] == [1, 1, 1]
    assert [kind.type for kind in stored(store)].count(SegmentType.PARTIAL) == 1


async def test_after_a_restart_a_stream_without_times_goes_on_where_it_was(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """Its segments are known by their content, take the times that they have in the store, and are not stored twice."""
    live = Live(origin, start=None, window=6)
    live.reveal_some(5)
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_committed", 5)
    before = stored(store)
    live.reveal(status(404), ts(6), ts(7))
    async with recording(Store(store.base), origin.url(PATH)):
        await events.wait("segment_committed", 7)
    assert bodies(store) == [ts(n) for n in (0, 1, 2, 3, 4, 6, 7)]
    assert before.items() <= stored(store).items()
    starts = [segment.start for segment in stored(store)]
    assert [later - earlier for earlier, later in pairwise(starts)] == [
        timedelta(seconds=s) for s in (2, 2, 2, 2, 4, 2)
    ]
    assert not [*store.base.glob(".anchor-*")]


async def test_what_is_new_of_a_stream_without_times_is_dated_by_the_clock(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """Where nothing of the playlist is in the store, all of it is recorded."""
    live = Live(origin, start=None)
    live.reveal_some(3)
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_committed", 3)
    again = Live(origin, start=None, folder="/again-")
    again.reveal(*(ts(n) for n in (10, 11, 12)))
    async with recording(Store(store.base), origin.url(PATH)):
        await events.wait("segment_committed", 6)
    assert sorted(bodies(store)) == sorted([*live.bodies, *again.bodies])


async def test_a_store_that_cannot_be_read_is_no_reason_not_to_record(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it cannot be told what is on disk, everything is fetched."""

    def refuse(*_: object) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(Store, "candidates", refuse)
    live = Live(origin)
    live.reveal_some(2)
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_committed", 2)
    (event,) = events.of("store_unreadable")
    assert event["reason"] == "Input/output error"


# The end ------------------------------------------------------------------------------------------------------------


async def test_the_end_of_what_is_on_disk_is_recorded_after_a_restart(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """A stream that ended while nothing recorded is known by what is on disk of it, and its end is fetched."""
    live = Live(origin)
    live.reveal_some(2)
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_committed", 2)
    live.reveal_some(2)
    live.publish(end=True)
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_committed", 4)
        (event,) = await events.wait("stream_not_recorded")
    assert event["reason"] == "The stream has ended; it is recorded again as soon as it returns."
    assert bodies(store) == live.bodies
