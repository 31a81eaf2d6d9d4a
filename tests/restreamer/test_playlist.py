"""Playlists as text, read back with a parser that is not ours and held against RFC 8216."""

import math
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any
from urllib.parse import urljoin

import m3u8
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.coverage import BestSequence, Hole, best_sequence, cover_hour
from common.dateutil import HOUR
from common.segments import Segment, SegmentType, make_segment
from restreamer.playlist import EDGE_HELD, Variant, media_playlist, multivariant_playlist, until_live_edge

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
FAR = NOON + timedelta(days=1)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def seg(start: float, seconds: float = 2.0, kind: SegmentType = SegmentType.FULL) -> Segment:
    return make_segment(at(start), timedelta(seconds=seconds), kind, f"h{start:.6f}".replace(".", "_"))


def sequence(segments: Iterable[Segment], start: float = 0.0, end: float = 60.0) -> BestSequence:
    return best_sequence([cover_hour(segments, lambda _: 0)], at(start), at(end))


def uri(segment: Segment) -> str:
    return f"../../segments/c/q/{segment.hour}/{segment.name}"


def read(items: list[Segment | Hole], *, ended: bool = True) -> Any:  # noqa: ANN401 - m3u8 has no types
    return m3u8.loads(media_playlist(items, uri, ended=ended))


def starts(items: Iterable[Segment | Hole]) -> list[float]:
    return [(item.start - NOON).total_seconds() for item in items if isinstance(item, Segment)]


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
    items = list(sequence(segments))
    listed = [item for item in items if isinstance(item, Segment)]
    if not listed:
        return
    text = media_playlist(items, uri, ended=True)
    found = list(entries(text))
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


@given(any_segments, st.booleans())
def test_others_read_what_is_written(segments: list[Segment], ended: bool) -> None:  # noqa: FBT001 - drawn
    """The m3u8 library reads the same segments; the list is closed, and a VOD, if and only if it has ended."""
    items = list(sequence(segments))
    listed = [item for item in items if isinstance(item, Segment)]
    if not listed:
        return
    found = read(items, ended=ended)
    assert [(entry.uri, entry.program_date_time) for entry in found.segments] == [(uri(s), s.start) for s in listed]
    assert not found.segments[0].discontinuity
    assert found.target_duration == max(1, math.ceil(max(s.duration for s in listed).total_seconds()))
    assert (found.version, found.media_sequence) == (3, 0)
    assert (found.is_endlist, found.playlist_type) == ((True, "vod") if ended else (False, None))


def test_the_text_is_as_expected() -> None:
    """A playlist with a hole at either end and one between, in full."""
    items = list(sequence([seg(2), seg(4, 1.966667), seg(10)]))
    assert media_playlist(items, lambda segment: segment.hash, ended=True) == (
        "#EXTM3U\n"
        "#EXT-X-VERSION:3\n"
        "#EXT-X-TARGETDURATION:2\n"
        "#EXT-X-MEDIA-SEQUENCE:0\n"
        "#EXT-X-PLAYLIST-TYPE:VOD\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:02.000000Z\n"
        "#EXTINF:2.000000,\n"
        "h2_000000\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:04.000000Z\n"
        "#EXTINF:1.966667,\n"
        "h4_000000\n"
        "#EXT-X-DISCONTINUITY\n"
        "#EXT-X-PROGRAM-DATE-TIME:2026-03-01T12:00:10.000000Z\n"
        "#EXTINF:2.000000,\n"
        "h10_000000\n"
        "#EXT-X-ENDLIST\n"
    )


@pytest.mark.parametrize(("seconds", "target"), [(0.0, 1), (0.4, 1), (2.0, 2), (2.000001, 3), (9.99, 10)])
def test_no_segment_exceeds_the_target(seconds: float, target: int) -> None:
    """The target duration is the longest segment's, in whole seconds upwards, and at least one."""
    assert read([seg(0, 0.0), seg(0.1, seconds)]).target_duration == target


def test_a_segment_without_a_duration_is_listed() -> None:
    """A segment that lasts no time is an entry like others."""
    found = read(list(sequence([seg(0), seg(2, 0.0), seg(2.001), seg(4.001)], end=6.0)))
    assert [entry.duration for entry in found.segments] == [2.0, 0.0, 2.0, 2.0]
    assert not any(entry.discontinuity for entry in found.segments)


def test_a_hole_is_marked_after_a_segment_that_is_not_full() -> None:
    """Where two segments touch and the first is not full, there is a discontinuity too: nothing promises they join."""
    found = read(list(sequence([seg(0), seg(2, kind=SegmentType.SUSPECT), seg(4)], end=6.0)))
    assert [entry.discontinuity for entry in found.segments] == [False, False, True]


@pytest.mark.parametrize(
    ("age", "shown"),
    [(timedelta(0), 2), (EDGE_HELD - timedelta(microseconds=1), 2), (EDGE_HELD, 3), (timedelta(days=1), 3)],
)
def test_a_young_hole_holds_the_edge_back(age: timedelta, shown: int) -> None:
    """Nothing after a hole is listed until the hole is so old that its segment is not only late."""
    items = until_live_edge(sequence([seg(0), seg(2), seg(6)], end=8.0), at(6) + age)
    assert len(starts(items)) == shown
    assert read(items, ended=False).segments[-1].discontinuity == (shown == 3)


def test_a_late_segment_lets_the_edge_go_on() -> None:
    """When a hole that held the edge is filled, what comes after it is listed at once, without a discontinuity."""
    now = at(8)
    assert starts(until_live_edge(sequence([seg(0), seg(4), seg(6)], end=8.0), now)) == [0]
    filled = until_live_edge(sequence([seg(0), seg(2), seg(4), seg(6)], end=8.0), now)
    assert starts(filled) == [0, 2, 4, 6]
    assert not any(entry.discontinuity for entry in read(filled, ended=False).segments)


def test_the_first_of_two_young_holes_holds() -> None:
    """Old holes stand; from the first young one on nothing is listed."""
    segments = [seg(0), seg(4), seg(20), seg(26)]
    assert starts(until_live_edge(sequence(segments, end=28.0), at(28))) == [0, 4]


def test_a_hole_at_the_start_holds_as_well() -> None:
    """A range whose first segment may only be late lists nothing yet."""
    assert starts(until_live_edge(sequence([seg(4)], end=6.0), at(6))) == []
    assert starts(until_live_edge(sequence([seg(4)], end=6.0), at(4) + EDGE_HELD)) == [4]


@given(any_segments, st.floats(0, 90), st.floats(0, 30))
def test_time_only_appends(segments: list[Segment], seconds: float, later: float) -> None:
    """As time goes by and nothing arrives, the list only grows at its end (RFC 8216 §6.2.1)."""
    found = sequence(segments, end=3600.0)
    earlier = starts(until_live_edge(found, at(seconds)))
    assert starts(until_live_edge(found, at(seconds + later)))[: len(earlier)] == earlier
    assert starts(until_live_edge(found, FAR)) == starts(found)


def test_hours_are_no_seams() -> None:
    """Where one hour joins the next there is no discontinuity, and each entry lies in its own hour."""
    hours = [cover_hour([seg(3596), seg(3598)], lambda _: 0), cover_hour([seg(3600), seg(3602)], lambda _: 0)]
    items = list(best_sequence(hours, at(3596), NOON + HOUR))
    found = read(items)
    assert not any(entry.discontinuity for entry in found.segments)
    assert [entry.uri.split("/")[-2] for entry in found.segments] == ["2026-03-01T12", "2026-03-01T12", "2026-03-01T13"]


def test_addresses_do_not_begin_with_a_scheme() -> None:
    """The colon of a segment's name is not taken for a scheme's when the address is resolved (RFC 3986 §4.2)."""
    address = urljoin("http://host:1/prefix/playlist/c/q.m3u8", read([seg(0)]).segments[0].uri)
    assert address == f"http://host:1/prefix/segments/c/q/2026-03-01T12/{seg(0).name}"


def test_variants_are_listed_best_first() -> None:
    """Each variant has its peak and average bandwidth, and the one with the most comes first."""
    text = multivariant_playlist([Variant("c/low.m3u8", 600, 500), Variant("c/high.m3u8?start=1", 6000, 5000)])
    found = m3u8.loads(text)
    assert found.is_variant
    assert [
        (variant.uri, variant.stream_info.bandwidth, variant.stream_info.average_bandwidth)
        for variant in found.playlists
    ] == [("c/high.m3u8?start=1", 6000, 5000), ("c/low.m3u8", 600, 500)]
