"""Playlists of all kinds, as readers that are not ours understand them: hls-parser, m3u8-parser and m3u8."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession
from m3u8 import ParseError
from yarl import URL

from common.segments import Segment, SegmentType

Put = Callable[..., Segment]
Check = Callable[[str], dict[str, Any]]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PAST = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T14:00:00Z"}
ODD = '#1 ✓ it\'s "50%" a+b?c&d, e'


async def text(client: ClientSession, url: URL) -> str:
    async with client.get(url) as response:
        assert response.status == 200, await response.text()
        return await response.text()


def milliseconds(segments: list[Segment]) -> list[int]:
    return [(segment.start - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) for segment in segments]


async def test_a_recording_with_holes(url: URL, client: ClientSession, put: Put, check_playlist: Check) -> None:
    """Of a past range with holes, odd lengths and an hour's change, all read the same times, lengths and breaks."""
    recorded = [
        put("12:00:00.000001", 2.0),
        put("12:00:02.000001", 1.999999),
        put("12:00:10", 4.5),
        put("12:00:14.5", 0.04, kind=SegmentType.PARTIAL),
        put("12:00:20", 6.006),
        put("12:59:58", 4.0),
        put("13:00:02", 2.0, kind=SegmentType.SUSPECT),
    ]
    found = check_playlist(await text(client, url / "playlist/chan/source.m3u8" % PAST))
    segments = found["segments"]
    assert [segment["time"] for segment in segments] == milliseconds(recorded)
    assert [segment["duration"] for segment in segments] == [each.duration.total_seconds() for each in recorded]
    assert [segment["discontinuity"] for segment in segments] == [False, False, True, False, True, True, False]
    assert (found["target"], found["sequence"], found["ended"], found["type"]) == (7, 0, True, "VOD")


@pytest.mark.parametrize("seconds", [2.0, 0.04, 30.0])
async def test_a_single_segment(
    url: URL, client: ClientSession, put: Put, check_playlist: Check, seconds: float
) -> None:
    """One segment, however short or long, is a playlist to all."""
    put("12:00:00", seconds)
    found = check_playlist(await text(client, url / "playlist/chan/source.m3u8" % PAST))
    assert [segment["duration"] for segment in found["segments"]] == [seconds]


async def test_a_live_playlist(url: URL, client: ClientSession, put: Put, check_playlist: Check, now: datetime) -> None:
    """A live playlist is understood each time that it is reloaded, also across a hole and as a delta update."""
    live = url / "playlist/chan/source.m3u8"
    for number in range(30):
        put(now + timedelta(seconds=2 * number - 90 - 10 * (number < 10)))
    found = check_playlist(await text(client, live))
    assert [segment["discontinuity"] for segment in found["segments"]].count(True) == 1
    assert not found["ended"]
    put(now - timedelta(seconds=30))
    again = check_playlist(await text(client, live))
    assert again["segments"][:-1] == found["segments"]
    delta = check_playlist(await text(client, live % {"_HLS_skip": "YES"}))
    assert delta["skipped"] > 0
    assert again["segments"][delta["skipped"] :] == delta["segments"]


async def test_odd_names(url: URL, client: ClientSession, put: Put, check_playlist: Check) -> None:
    """Names that need quoting are read by all, in both kinds of playlist."""
    put("12:00:00", channel=ODD, quality=ODD)
    variants = check_playlist(await text(client, url / "playlist" / f"{ODD}.m3u8" % PAST))["variants"]
    playlist = (url / "playlist/x").join(URL(variants[0]["uri"], encoded=True))
    segments = check_playlist(await text(client, playlist))["segments"]
    async with client.get(playlist.join(URL(segments[0]["uri"], encoded=True))) as response:
        assert await response.read() == NOON.isoformat().encode()


async def test_variants(url: URL, client: ClientSession, put: Put, check_playlist: Check) -> None:
    """A multivariant playlist has the same variants to all, the best first."""
    for quality, size in (("source", 900_000), ("360p30", 100_000), ("160p30", 20_000)):
        put("12:00:00", data=b"x" * size, quality=quality)
    variants = check_playlist(await text(client, url / "playlist/chan.m3u8" % PAST))["variants"]
    assert [variant["bandwidth"] for variant in variants] == [3_600_000, 400_000, 80_000]


HEAD = "#EXTM3U\n#EXT-X-VERSION:3\n#EXT-X-TARGETDURATION:2\n"


@pytest.mark.parametrize(
    "wrong",
    [
        "#EXTM3U\n#EXT-X-VERSION:3\n#EXTINF:2,\na.ts\n",
        HEAD + "#EXTINF:2.0,\n#EXT-X-ENDLIST\n",
        HEAD + "#EXTINF:9.0,\na.ts\n",
        HEAD + "a.ts\n",
        "a.ts\n",
    ],
)
def test_what_is_wrong_is_noticed(check_playlist: Check, wrong: str) -> None:
    """A playlist that breaks the rules does not pass, and the next one is not mistaken for it."""
    with pytest.raises((AssertionError, ParseError, ValueError)):
        check_playlist(wrong)
    check_playlist(HEAD + "#EXTINF:2.0,\na.ts\n")
