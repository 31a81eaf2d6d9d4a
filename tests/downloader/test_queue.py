"""How far the recording of a quality is behind."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from aiohttp import ClientSession
from prometheus_client import REGISTRY

from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from downloader.fetch import Fetcher, Target
from downloader.queue import FetchQueue
from downloader.report import Report
from downloader.timeline import Timeline
from hls_origin import NOON

TWO_SECONDS = timedelta(seconds=2)


@dataclass
class Clock:
    now: datetime

    def __call__(self) -> datetime:
        return self.now


def queue_of(channel: str, store: Store, session: ClientSession, clock: Clock) -> FetchQueue:
    target = Target(store, channel, "source")
    return FetchQueue(target, Fetcher(session, target), Timeline(), Report(store, channel, "source", clock), clock)


def shown(name: str, channel: str) -> float | None:
    return REGISTRY.get_sample_value(name, {"channel": channel, "quality": "source"})


async def test_what_records_nothing_falls_behind_from_its_start(store: Store, session: ClientSession) -> None:
    """Where nothing has ever been recorded, the lag is the time since the recorder was started, and grows."""
    clock = Clock(NOON)
    await queue_of("empty", store, session, clock)._watch_lag()
    assert shown("respool_recording_lag_seconds", "empty") == 0
    clock.now += timedelta(minutes=1)
    assert shown("respool_recording_lag_seconds", "empty") == 60
    assert shown("respool_newest_segment_end_timestamp_seconds", "empty") is None


async def test_after_a_restart_it_is_as_far_behind_as_before(store: Store, session: ClientSession) -> None:
    """What the store holds in full counts from the start; a segment that ends earlier changes nothing."""
    for start, kind in ((NOON, SegmentType.FULL), (NOON + TWO_SECONDS, SegmentType.PARTIAL)):
        writer = SegmentWriter(store, "held", "source", start, TWO_SECONDS)
        writer.write(b"x")
        writer.commit(kind)
    queue = queue_of("held", store, session, Clock(NOON + timedelta(hours=3)))
    await queue._watch_lag()
    assert shown("respool_recording_lag_seconds", "held") == 3 * 3600 - 2
    queue._note_newest(NOON)
    assert shown("respool_newest_segment_end_timestamp_seconds", "held") == (NOON + TWO_SECONDS).timestamp()
    queue._note_newest(NOON + timedelta(hours=3, seconds=-6))
    assert shown("respool_recording_lag_seconds", "held") == 6
