"""Playlists as text, read back with a parser that is not ours and held against RFC 8216."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from typing import Any
from urllib.parse import urljoin

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.coverage import BestSequence, Hole, best_sequence, cover_hour
from common.dateutil import HOUR
from common.facts import VariantAttributes
from common.segments import Segment, SegmentType, make_segment
from restreamer.chunks import Chunk
from restreamer.ledger import Entry as Listed
from restreamer.playlist import (
    Variant,
    entries_chunk,
    live_head,
    live_target_duration,
    multivariant_playlist,
    past_playlist,
    render_hour,
    skippable,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAR = NOON + timedelta(days=1)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seg(start: float, seconds: float = 2.0, kind: SegmentType = SegmentType.FULL) -> Segment:
    return make_segment(at(start), timedelta(seconds=seconds), kind, f"h{start:.6f}".replace(".", "_"))


def sequence(segments: Iterable[Segment], start: float = 0.0, end: float = 60.0) -> BestSequence:
    return best_sequence([cover_hour(segments, lambda _: 0)], at(start), at(end))


BASE = "../../segments/c/q"


def uri(segment: Segment) -> str:
    return f"{BASE}/{segment.hour}/{segment.name}"


def text_of(chunks: Iterable[Chunk]) -> str:
    return b"".join(chunk.text for chunk in chunks).decode()


def past(found: BestSequence) -> str:
    return text_of(
        past_playlist(
            [render_hour(BASE, hour, {}) for hour in found.hours], [gap is not None for gap in found.gaps[:-1]]
        )
    )


def live(listed: list[Listed], target: int = 2, first: int = 0, first_break: int = 0, skipped: int = 0) -> str:
    return text_of(
        [
            live_head(target, first, first_break, version=3, skipped=skipped),
            entries_chunk(BASE, listed[skipped:], {}),
        ]
    )


def read(found: BestSequence) -> Any:  # noqa: ANN401 - m3u8 has no types
    return m3u8.loads(past(found))


@dataclass
class Entry:
    """One entry by our own strict reading of the text: its tags, and its URI."""

    tags: dict[str, str]
    uri: str


def entries(text: str) -> Iterator[Entry]:
    """Read the entries line by line, refusing what RFC 8216 §4.1 refuses."""
    head, *lines = text.split("\n")
    assert head == "#EXTM3U"
    assert lines.pop() == ""
    tags: dict[str, str] = {}
    for line in lines:
        assert line == line.strip() != ""
        if not line.startswith("#"):
            yield Entry(tags, line)
            tags = {}
            continue
        name, _, value = line.partition(":")
        assert re.fullmatch(r"#EXT[A-Z0-9-]+", name)
        assert name not in tags
        tags[name] = value
    assert set(tags) <= {"#EXT-X-ENDLIST"}, "tags of a segment that does not follow"


moments = st.floats(0, 59, allow_nan=False).map(lambda seconds: round(seconds, 6))
durations = st.floats(0, 12, allow_nan=False).map(lambda seconds: round(seconds, 6))
any_segments = st.lists(
    st.builds(seg, moments, durations, st.sampled_from(SegmentType))
    | st.builds(seg, st.integers(0, 29).map(lambda number: 2.0 * number)),
    max_size=30,
)


@given(any_segments)
def test_what_is_listed_keeps_the_standard(segments: list[Segment]) -> None:
    """The sequence comes out as it is: times, durations and addresses; a discontinuity at each hole between, only."""
    best = sequence(segments)
    items, listed = list(best), best.segments
    if not listed:
        return
    found = list(entries(past(best)))
    target = int(found[0].tags["#EXT-X-TARGETDURATION"])
    assert [entry.uri for entry in found] == [uri(segment) for segment in listed]
    for segment, entry in zip(listed, found, strict=True):
        seconds = entry.tags["#EXTINF"].removesuffix(",")
        assert re.fullmatch(r"[0-9]+\.[0-9]+", seconds)
        assert timedelta(seconds=float(seconds)) == segment.duration <= timedelta(seconds=target)
        assert datetime.fromisoformat(entry.tags["#EXT-X-PROGRAM-DATE-TIME"]) == segment.start
    broken = {after.start for before, after in pairwise(items) if isinstance(before, Hole) and after is not listed[0]}
    marked = {
        segment.start for segment, entry in zip(listed, found, strict=True) if "#EXT-X-DISCONTINUITY" in entry.tags
    }
    assert marked == broken - {listed[0].start}


@given(any_segments)
def test_others_read_what_is_written(segments: list[Segment]) -> None:
    """The m3u8 library reads the same segments, of a list that is closed and a VOD."""
    best = sequence(segments)
    if not best.segments:
        return
    found = read(best)
    assert [(entry.uri, entry.program_date_time) for entry in found.segments] == [
        (uri(segment), segment.start) for segment in best.segments
    ]
    assert not found.segments[0].discontinuity
    longest = max(segment.duration for segment in best.segments)
    assert found.target_duration == max(1, math.ceil(longest.total_seconds()))
    assert (found.version, found.is_endlist, found.playlist_type) == (3, True, "vod")


def test_the_text_of_the_past_is_as_expected() -> None:
    """A playlist with a hole at either end and one between, in full."""
    first, second, third = seg(2), seg(4, 1.966667), seg(10)
    assert past(sequence([first, second, third])) == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:3\n"
        "#EXT-X-TARGETDURATION:2\n"
        "#EXT-X-PLAYLIST-TYPE:VOD\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:02.000000Z\n"
        "#EXTINF:2.000000,\n"
        f"{uri(first)}\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:04.000000Z\n"
        "#EXTINF:1.966667,\n"
        f"{uri(second)}\n"
        "#EXT-X-DISCONTINUITY\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:10.000000Z\n"
        "#EXTINF:2.000000,\n"
        f"{uri(third)}\n"
        "#EXT-X-ENDLIST\n"
    )


def test_the_text_of_what_is_live_is_as_expected() -> None:
    """A live list is open, begins with the numbers of its first entry, and offers delta updates."""
    listed = [Listed(seg(4), broken=True), Listed(seg(6), broken=False)]
    assert live(listed, first=7, first_break=2) == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:3\n"
        "#EXT-X-TARGETDURATION:2\n"
        "#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL=12.0\n"
        "#EXT-X-MEDIA-SEQUENCE:7\n"
        "#EXT-X-DISCONTINUITY-SEQUENCE:2\n"
        "#EXT-X-DISCONTINUITY\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:04.000000Z\n"
        "#EXTINF:2.000000,\n"
        f"{uri(seg(4))}\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:06.000000Z\n"
        "#EXTINF:2.000000,\n"
        f"{uri(seg(6))}\n"
    )


@given(st.lists(durations, max_size=40), st.integers(1, 12))
def test_a_delta_update_and_what_is_known_make_the_whole(lasts: list[float], target: int) -> None:
    """What is skipped lies before the skip boundary, and is as much as may be (rfc8216bis §6.2.5.1)."""
    listed = [Listed(seg(20.0 * n, min(seconds, target)), broken=n % 5 == 3) for n, seconds in enumerate(lasts)]
    skipped = skippable(listed, target)
    sent = [entry.segment.duration for entry in listed[skipped:]]
    boundary = timedelta(seconds=6 * target)
    assert sum(sent, timedelta()) >= boundary or skipped == 0
    assert not sent or sum(sent[1:], timedelta()) < boundary
    if skipped:
        update = live(listed, target, skipped=skipped)
        assert f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n" in update
        assert "#EXT-X-VERSION:9\n" in update
        assert update[update.index("#EXT-X-PROGRAM") :] in live(listed, target)


@pytest.mark.parametrize(
    ("lasts", "target"), [([2.0] * 30, 2), ([2.0] * 29 + [2.1], 3), ([1.2], 6), ([2.0] * 29, 6), ([9.0], 9)]
)
def test_a_live_target_holds_for_what_may_come(lasts: list[float], target: int) -> None:
    """With few segments seen the target duration is chosen with care, since it may not change."""
    assert live_target_duration([timedelta(seconds=seconds) for seconds in lasts]) == target


@pytest.mark.parametrize(("seconds", "target"), [(0.0, 1), (0.4, 1), (2.0, 2), (2.000001, 3), (9.99, 10)])
def test_no_segment_exceeds_the_target(seconds: float, target: int) -> None:
    """The target duration is the longest segment's, in whole seconds upwards, and at least one."""
    assert read(sequence([seg(0, 0.0), seg(0.1, seconds)])).target_duration == target


def test_a_segment_without_a_duration_is_listed() -> None:
    """A segment that lasts no time is an entry like others."""
    found = read(sequence([seg(0), seg(2, 0.0), seg(2.001), seg(4.001)], end=6.0))
    assert [entry.duration for entry in found.segments] == [2.0, 0.0, 2.0, 2.0]
    assert not any(entry.discontinuity for entry in found.segments)


def test_a_hole_is_marked_after_a_segment_that_is_not_full() -> None:
    """Where two segments touch and the first is not full, there is a discontinuity too: nothing promises they join."""
    found = read(sequence([seg(0), seg(2, kind=SegmentType.SUSPECT), seg(4)], end=6.0))
    assert [entry.discontinuity for entry in found.segments] == [False, False, True]


def test_one_fragmented_segment_asks_for_a_newer_version() -> None:
    """Wherever in an hour the first segment of fragmented MP4 is, the version is the one that EXT-X-MAP needs."""
    later = seg(2)
    later = later._replace(name=later.name.replace(".ts", ".mp4"))
    for segments, version in (([seg(0)], 3), ([seg(0), later], 6)):
        hours = [render_hour(BASE, hour, {}) for hour in sequence(segments).hours]
        assert f"#EXT-X-VERSION:{version}\n" in text_of(past_playlist(hours, [False]))


def test_hours_are_no_seams() -> None:
    """Where one hour joins the next there is no discontinuity, and each entry lies in its own hour."""
    hours = [cover_hour([seg(3596), seg(3598)], lambda _: 0), cover_hour([seg(3600), seg(3602)], lambda _: 0)]
    found = read(best_sequence(hours, at(3596), NOON + HOUR))
    assert not any(entry.discontinuity for entry in found.segments)
    assert [entry.uri.split("/")[-2] for entry in found.segments] == ["2026-03-01T12", "2026-03-01T12", "2026-03-01T13"]


def test_addresses_do_not_begin_with_a_scheme() -> None:
    """The colon of a segment's name is not taken for a scheme's when the address is resolved (RFC 3986 §4.2)."""
    address = urljoin("http://host:1/prefix/playlist/c/q.m3u8", read(sequence([seg(0)])).segments[0].uri)
    assert address == f"http://host:1/prefix/segments/c/q/2026-03-01T12/{seg(0).name}"


UNKNOWN = VariantAttributes(None, None, None)
KNOWN = VariantAttributes("avc1.64001F,mp4a.40.2", (1280, 720), Fraction(30000, 1001))


def test_variants_are_listed_best_first() -> None:
    """Each variant has its peak and average bandwidth, and the one with the most comes first."""
    text = multivariant_playlist(
        [Variant("c/low.m3u8", 600, 500, UNKNOWN), Variant("c/high.m3u8?start=1", 6000, 5000, KNOWN)]
    )
    found = m3u8.loads(text)
    assert found.is_variant
    assert [
        (variant.uri, variant.stream_info.bandwidth, variant.stream_info.average_bandwidth)
        for variant in found.playlists
    ] == [("c/high.m3u8?start=1", 6000, 5000), ("c/low.m3u8", 600, 500)]
    known, unknown = (variant.stream_info for variant in found.playlists)
    assert (known.codecs, known.resolution, known.frame_rate) == (KNOWN.codecs, (1280, 720), 29.97)
    assert (unknown.codecs, unknown.resolution, unknown.frame_rate) == (None, None, None)
