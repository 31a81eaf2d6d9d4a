"""Advertisements in a stream that is recorded."""

from datetime import timedelta

from prometheus_client import REGISTRY

from common.store import Store
from downloads import Ticks, bodies, recording
from hls_origin import NOON, Entry, Origin, playlist, ts
from log_events import LogEvents

PATH = "/live.m3u8"
BREAK = range(4, 9)
STITCHED = (
    '#EXT-X-DATERANGE:ID="stitched-ad-1",CLASS="twitch-stitched-ad",'
    f'START-DATE="{(NOON + timedelta(seconds=8)).isoformat()}",DURATION=10.234'
)


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(f"respool_{name}_total", {"channel": "chan", "quality": "source", **labels}) or 0.0


async def test_a_break_longer_than_the_window_is_skipped_whole(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """Its tag leaves the playlist with its first entry; the rest is skipped too, and what follows is recorded."""
    before = metric("segments_missing", reason="advertisement"), metric("segments_marked", mark="stitched")
    entries = [
        Entry(f"/{n}.ts", at=NOON + timedelta(seconds=2 * n), tags=(STITCHED,) if n == BREAK.start else ())
        for n in range(12)
    ]
    for n in range(12):
        origin.put(f"/{n}.ts", ts(n))
    origin.put(PATH, *(playlist(*entries[first : first + 3], sequence=first) for first in range(10)))
    async with recording(store, origin.url(PATH)):
        await ticks.reached(1)
        await ticks.step(9)
        await events.wait("segment_committed", 12 - len(BREAK))
    assert bodies(store) == [ts(n) for n in range(12) if n not in BREAK]
    assert [origin.count(f"/{n}.ts") for n in BREAK] == [0] * len(BREAK)
    after = metric("segments_missing", reason="advertisement"), metric("segments_marked", mark="stitched")
    assert [now - then for now, then in zip(after, before, strict=True)] == [len(BREAK)] * 2


async def test_a_broadcaster_s_break_is_recorded_and_counted(
    origin: Origin, store: Store, events: LogEvents, ticks: Ticks
) -> None:
    """What lies between EXT-X-CUE-OUT and EXT-X-CUE-IN is stored like the rest."""
    before = metric("segments_marked", mark="break")
    tags = {1: ("#EXT-X-CUE-OUT",), 3: ("#EXT-X-CUE-IN",)}
    entries = [Entry(f"/{n}.ts", at=NOON + timedelta(seconds=2 * n), tags=tags.get(n, ())) for n in range(4)]
    for n in range(4):
        origin.put(f"/{n}.ts", ts(n))
    origin.put(PATH, playlist(*entries))
    async with recording(store, origin.url(PATH)):
        await events.wait("segment_committed", 4)
    assert bodies(store) == [ts(n) for n in range(4)]
    assert metric("segments_marked", mark="break") - before == 2
