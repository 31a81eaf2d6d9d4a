"""From sequences to playlists: RFC 8216, as text. Pure."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.coverage import BestSequence, Hole
from common.dateutil import format_utc
from common.segments import Segment

# Segments are fetched side by side, so a later one may be there first. So long a hole at the live edge is not shown,
# and nothing after it: its segment may only be late, and what is once listed may not move (RFC 8216 §6.2.1).
EDGE_HELD = timedelta(seconds=15)

# A range is past when it ended so long ago that nothing still under way belongs to it.
PAST_AFTER = timedelta(seconds=60)


@dataclass(frozen=True, slots=True)
class Variant:
    """One quality of a multivariant playlist: where its playlist is, and its peak and average bits per second."""

    uri: str
    bandwidth: int
    average_bandwidth: int


def until_live_edge(sequence: BestSequence, now: datetime) -> list[Segment | Hole]:
    """Give what a playlist may list at `now`: all, but nothing from a hole on that is at the live edge."""
    items: list[Segment | Hole] = []
    for item in sequence:
        if isinstance(item, Hole) and now - item.end < EDGE_HELD:
            break
        items.append(item)
    return items


def media_playlist(items: list[Segment | Hole], uri: Callable[[Segment], str], *, ended: bool) -> str:
    """Write a media playlist (RFC 8216 §4.3.3) of at least one segment; `ended`: nothing will be added to it."""
    longest = max(item.duration for item in items if isinstance(item, Segment))
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:3",  # decimal durations (§7)
        f"#EXT-X-TARGETDURATION:{max(1, math.ceil(longest / timedelta(seconds=1)))}",
        "#EXT-X-MEDIA-SEQUENCE:0",
        *(["#EXT-X-PLAYLIST-TYPE:VOD"] if ended else []),
        *_entries(items, uri),
        *(["#EXT-X-ENDLIST"] if ended else []),
    ]
    return "\n".join(lines) + "\n"


def _entries(items: list[Segment | Hole], uri: Callable[[Segment], str]) -> Iterator[str]:
    listed = broken = False
    for item in items:
        if isinstance(item, Hole):
            broken = listed
            continue
        if broken:
            yield "#EXT-X-DISCONTINUITY"
            broken = False
        yield f"#EXT-X-PROGRAM-DATE-TIME:{format_utc(item.start)}"
        yield f"#EXTINF:{item.duration / timedelta(seconds=1):.6f},"
        yield uri(item)
        listed = True


def multivariant_playlist(variants: list[Variant]) -> str:
    """Write a multivariant playlist (RFC 8216 §4.3.4), the best variant first."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:3"]
    for variant in sorted(variants, key=lambda variant: -variant.bandwidth):
        lines += [
            f"#EXT-X-STREAM-INF:BANDWIDTH={variant.bandwidth},AVERAGE-BANDWIDTH={variant.average_bandwidth}",
            variant.uri,
        ]
    return "\n".join(lines) + "\n"
