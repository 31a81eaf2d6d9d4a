"""Playlists as text (RFC 8216), in chunks that stay as they are when others change. Pure."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from operator import attrgetter

from common.coverage import Hole, HourCoverage
from common.dateutil import hour_name
from common.segments import Segment
from restreamer.chunks import Chunk
from restreamer.ledger import Entry

# Delta updates came with version 9, decimal durations with 3 (RFC 8216 §7, rfc8216bis §8).
_VERSION = 3
_DELTA_VERSION = 9

# A delta update may leave out what is at least six target durations before the end (rfc8216bis §4.4.3.8).
_SKIP_TARGETS = 6

_SECOND = timedelta(seconds=1)

# A stream that has just begun has shown few of its segments: the first may be the short rest of something.
_FEW = 30
_CAREFUL_TARGET = 6


@dataclass(frozen=True, slots=True)
class Variant:
    """One quality of a multivariant playlist: where its playlist is, and its peak and average bits per second."""

    uri: str
    bandwidth: int
    average_bandwidth: int


def target_duration(durations: Iterable[timedelta]) -> int:
    """Give the EXT-X-TARGETDURATION, in seconds, that none of the durations exceeds (RFC 8216 §4.3.3.1)."""
    return max(1, math.ceil(max(durations, default=timedelta()) / _SECOND))


def live_target_duration(durations: Sequence[timedelta]) -> int:
    """Give one that is to hold for what comes later, too: it may not change as long as the playlist lives."""
    longest = target_duration(durations)
    return longest if len(durations) >= _FEW else max(longest, _CAREFUL_TARGET)


@dataclass(frozen=True, slots=True)
class RenderedHour:
    """An hour, its entries as text, and the duration of the longest."""

    hour: HourCoverage
    chunk: Chunk
    longest: timedelta


def render_hour(base: str, hour: HourCoverage) -> RenderedHour:
    """Write the segments of one hour; `base` is the address below which the hours' segments are."""
    chunk = Chunk(_lines(base, hour.segments, {index for index, _ in hour.holes}))
    return RenderedHour(hour, chunk, max(map(attrgetter("duration"), hour.segments)))


def past_playlist(hours: Sequence[RenderedHour], gaps: Sequence[Hole | None]) -> list[Chunk]:
    """Put together a playlist to which nothing will be added; `gaps`: the hole before each hour, and one after all."""
    target = target_duration(hour.longest for hour in hours)
    chunks = [Chunk(f"#EXTM3U\n#EXT-X-VERSION:{_VERSION}\n#EXT-X-TARGETDURATION:{target}\n#EXT-X-PLAYLIST-TYPE:VOD\n")]
    for index, hour in enumerate(hours):
        chunks += [_BREAK, hour.chunk] if index and gaps[index] is not None else [hour.chunk]
    return [*chunks, END]


# What stands before an entry that nothing promises to join the one before it (RFC 8216 §4.3.2.3).
_BREAK = Chunk("#EXT-X-DISCONTINUITY\n")

END = Chunk("#EXT-X-ENDLIST\n")


def entries_chunk(base: str, entries: Sequence[Entry]) -> Chunk:
    """Write entries of a ledger."""
    breaks = {index for index, entry in enumerate(entries) if entry.broken}
    return Chunk(_lines(base, [entry.segment for entry in entries], breaks))


def _lines(base: str, segments: Sequence[Segment], breaks: set[int]) -> str:
    """Write segments, with a discontinuity before those at `breaks`: the hot path of a playlist of days."""
    lasts: dict[timedelta, str] = {}
    lines = []
    hour, hour_ends = "", None
    for index, (start, duration, _, _, name) in enumerate(segments):
        if hour_ends is None or start >= hour_ends:
            hour = hour_name(start)
            hour_ends = start.replace(minute=0, second=0, microsecond=0) + timedelta(hours=1)
        text = lasts.get(duration)
        if text is None:
            text = lasts[duration] = f"{duration / _SECOND:.6f}"
        if index in breaks:
            lines.append("#EXT-X-DISCONTINUITY\n")
        lines.append(
            f"#EXT-X-PROGRAM-DATE-TIME:{hour}:{name[:12]}Z\n#EXTINF:{text},\n{base}/{hour}/{name}\n",
        )
    return "".join(lines)


def live_head(target: int, first: int, first_break: int, *, skipped: int = 0) -> Chunk:
    """Begin a live playlist with the numbers of its first entry, with `skipped` entries left out by a delta update."""
    return Chunk(
        f"#EXTM3U\n#EXT-X-VERSION:{_DELTA_VERSION if skipped else _VERSION}\n#EXT-X-TARGETDURATION:{target}\n"
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
        lines += [
            f"#EXT-X-STREAM-INF:BANDWIDTH={variant.bandwidth},AVERAGE-BANDWIDTH={variant.average_bandwidth}",
            variant.uri,
        ]
    return "\n".join(lines) + "\n"
