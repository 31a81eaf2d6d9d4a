"""Playlists as text (RFC 8216), in chunks that stay as they are when others change. Pure."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise
from operator import attrgetter

from common.coverage import HourCoverage
from common.dateutil import hour_name
from common.facts import Facts, VariantAttributes, joins, same_format
from common.segments import Segment
from restreamer.chunks import Chunk
from restreamer.ledger import Entry

# Decimal durations came with version 3, EXT-X-MAP for all with 6, delta updates with 9 (RFC 8216 §7, rfc8216bis §8).
_VERSION = 3
_MAP_VERSION = 6
_DELTA_VERSION = 9

# A delta update may leave out what is at least six target durations before the end (rfc8216bis §4.4.3.8).
_SKIP_TARGETS = 6

_SECOND = timedelta(seconds=1)

# A stream that has just begun has shown few of its segments: the first may be the short rest of something.
_FEW = 30
_CAREFUL_TARGET = 6


@dataclass(frozen=True, slots=True)
class Variant:
    """One quality of a multivariant playlist.

    Where its playlist is, its peak and average bits per second, and what is known of its media.
    """

    uri: str
    bandwidth: int
    average_bandwidth: int
    media: VariantAttributes


def target_duration(durations: Iterable[timedelta]) -> int:
    """Give the EXT-X-TARGETDURATION, in seconds, that none of the durations exceeds (RFC 8216 §4.3.3.1)."""
    return max(1, math.ceil(max(durations, default=timedelta()) / _SECOND))


def live_target_duration(durations: Sequence[timedelta]) -> int:
    """Give one that is to hold for what comes later, too: it may not change as long as the playlist lives."""
    longest = target_duration(durations)
    return longest if len(durations) >= _FEW else max(longest, _CAREFUL_TARGET)


@dataclass(frozen=True, slots=True)
class RenderedHour:
    """An hour, its entries as text, the duration of the longest, whether there is fragmented MP4 among them.

    `complete`: all that could be known of them was known.
    """

    hour: HourCoverage
    chunk: Chunk
    longest: timedelta
    fragmented: bool
    complete: bool


def render_hour(base: str, hour: HourCoverage, facts: Mapping[str, Facts]) -> RenderedHour:
    """Write the segments of one hour, by what is known of them; `base` is where the hours' segments are."""
    breaks = {index for index, _ in hour.holes}
    if facts:
        breaks.update(
            index for index, pair in enumerate(pairwise(hour.segments), start=1) if media_breaks(facts, *pair)
        )
    return RenderedHour(
        hour,
        Chunk(_lines(base, hour.segments, breaks, facts)),
        longest=max(map(attrgetter("duration"), hour.segments)),
        fragmented=is_fragmented(hour.segments),
        complete=all(segment.hash in facts for segment in hour.segments),
    )


def media_breaks(facts: Mapping[str, Facts], earlier: Segment, later: Segment) -> bool:
    """Tell whether format or timestamps change between two neighbours; False as long as that is not known."""
    before, after = facts.get(earlier.hash), facts.get(later.hash)
    if before is None or after is None or not before.tracks or not after.tracks:
        return False
    return joins(before, after) is False or not same_format(before, after)


def past_playlist(hours: Sequence[RenderedHour], breaks: Sequence[bool]) -> list[Chunk]:
    """Put together a playlist to which nothing will be added; `breaks`: whether there is one before each hour."""
    target = target_duration(hour.longest for hour in hours)
    version = version_for(fragmented=any(hour.fragmented for hour in hours))
    chunks = [Chunk(f"#EXTM3U\n#EXT-X-VERSION:{version}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-PLAYLIST-TYPE:VOD\n")]
    for index, (hour, broken) in enumerate(zip(hours, breaks, strict=True)):
        chunks += [_BREAK, hour.chunk] if index and broken else [hour.chunk]
    return [*chunks, END]


def version_for(*, fragmented: bool) -> int:
    """Give the EXT-X-VERSION that entries need (RFC 8216 §7), if some are of fragmented MP4 or not."""
    return _MAP_VERSION if fragmented else _VERSION


def is_fragmented(segments: Iterable[Segment]) -> bool:
    """Tell whether there is fragmented MP4 among segments."""
    return any(segment.name.endswith(".mp4") for segment in segments)


# What stands before an entry that nothing promises to join the one before it (RFC 8216 §4.3.2.3).
_BREAK = Chunk("#EXT-X-DISCONTINUITY\n")

END = Chunk("#EXT-X-ENDLIST\n")


def entries_chunk(base: str, entries: Sequence[Entry], facts: Mapping[str, Facts]) -> Chunk:
    """Write entries of a ledger, by what is known of their segments."""
    breaks = {index for index, entry in enumerate(entries) if entry.broken}
    return Chunk(_lines(base, [entry.segment for entry in entries], breaks, facts))


def _lines(base: str, segments: Sequence[Segment], breaks: set[int], facts: Mapping[str, Facts]) -> str:
    """Write segments, with a discontinuity before those at `breaks`: the hot path of a playlist of days."""
    lasts: dict[timedelta, str] = {}
    lines = []
    hour, hour_ends = "", None
    init: str | None = None
    for index, (start, duration, _, content, name) in enumerate(segments):
        if hour_ends is None or start >= hour_ends:
            hour = hour_name(start)
            hour_ends = start.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        text = lasts.get(duration)
        if text is None:
            text = lasts[duration] = f"{duration / _SECOND:.6f}"
        if index in breaks:
            lines.append("#EXT-X-DISCONTINUITY\n")
        parts, init = ("", init) if name.endswith(".ts") else _parts(base, hour, name, facts.get(content), init)
        lines.append(f"#EXT-X-PROGRAM-DATE-TIME:{hour}:{name[:12]}Z\n#EXTINF:{text},\n{parts}{base}/{hour}/{name}\n")
    return "".join(lines)


def _parts(base: str, hour: str, name: str, facts: Facts | None, init: str | None) -> tuple[str, str | None]:
    """Address the two parts of a fragmented MP4 segment by byte range (RFC 8216 §4.3.2.2, §4.3.2.5).

    Gives the tags and the hash of the init section that holds from here on; `init` is the one that held before. Of a
    segment of which nothing is known, the whole file is listed: players that can, find both parts in it.
    """
    if facts is None or facts.init_bytes is None:
        return "", None
    tags = f"#EXT-X-BYTERANGE:{facts.bytes - facts.init_bytes}@{facts.init_bytes}\n"
    if facts.init_hash != init:
        tags = f'#EXT-X-MAP:URI="{base}/{hour}/{name}",BYTERANGE="{facts.init_bytes}@0"\n' + tags
    return tags, facts.init_hash


def live_head(target: int, first: int, first_break: int, *, version: int, skipped: int = 0) -> Chunk:
    """Begin a live playlist with the numbers of its first entry, with `skipped` entries left out by a delta update."""
    return Chunk(
        f"#EXTM3U\n#EXT-X-VERSION:{_DELTA_VERSION if skipped else version}\n#EXT-X-TARGETDURATION:{target}\n"
        f"#EXT-X-SERVER-CONTROL:CAN-SKIP-UNTIL={_SKIP_TARGETS * target:.1f}\n"
        f"#EXT-X-MEDIA-SEQUENCE:{first}\n"
        + (f"#EXT-X-DISCONTINUITY-SEQUENCE:{first_break}\n" if first_break else "")
        + (f"#EXT-X-SKIP:SKIPPED-SEGMENTS={skipped}\n" if skipped else "")
    )


def skippable(entries: Sequence[Entry], target: int) -> int:
    """Count the entries that a delta update leaves out: those before the skip boundary (rfc8216bis §6.2.5.1)."""
    left = timedelta(seconds=_SKIP_TARGETS * target)
    count = len(entries)
    while count and left > timedelta():
        count -= 1
        left -= entries[count].segment.duration
    return count


def multivariant_playlist(variants: list[Variant]) -> str:
    """Write a multivariant playlist (RFC 8216 §4.3.4), the best variant first."""
    lines = ["#EXTM3U", f"#EXT-X-VERSION:{_VERSION}"]
    for variant in sorted(variants, key=lambda variant: -variant.bandwidth):
        lines += [f"#EXT-X-STREAM-INF:{','.join(_attributes(variant))}", variant.uri]
    return "\n".join(lines) + "\n"


def _attributes(variant: Variant) -> Iterator[str]:
    """Give the attributes of EXT-X-STREAM-INF (RFC 8216 §4.3.4.2), those that are not known left out."""
    yield f"BANDWIDTH={variant.bandwidth}"
    yield f"AVERAGE-BANDWIDTH={variant.average_bandwidth}"
    if variant.media.codecs:
        yield f'CODECS="{variant.media.codecs}"'
    if variant.media.resolution:
        yield "RESOLUTION={}x{}".format(*variant.media.resolution)
    if variant.media.frame_rate:
        yield f"FRAME-RATE={float(variant.media.frame_rate):.3f}"
