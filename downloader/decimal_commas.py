"""Durations with a decimal comma, `#EXTINF:3,040000,`, as encoders in some countries write them. Pure.

By RFC 8216 that is three seconds and a title. Such a text is read with a comma only where that is certain: where the
times of the entries prove it, or where every entry has a second comma, before which there are digits only.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from itertools import pairwise

from downloader.playlist_text import read_duration
from downloader.playlist_values import PlaylistSegment

_COMMA = re.compile(r"\s*([0-9]{1,9}),([0-9]{1,9})\s*(,.*)?")

# Times are told in milliseconds, and each of two may be rounded.
_EXACT = timedelta(milliseconds=2)


@dataclass(frozen=True, slots=True)
class Reading:
    """An EXTINF read with a decimal comma; `closed` if a second comma ends its duration."""

    duration: timedelta
    title: str
    closed: bool

    @classmethod
    def of(cls, text: str) -> "Reading | None":
        """Read the text of an EXTINF so, if it has the form."""
        match = _COMMA.fullmatch(text)
        duration = read_duration(f"{match[1]}.{match[2]}") if match else None
        if match is None or duration is None:
            return None
        return cls(duration, (match[3] or "")[1:].strip(), match[3] is not None)


def with_decimal_commas(
    segments: Sequence[PlaylistSegment], readings: Mapping[int, Reading]
) -> tuple[PlaylistSegment, ...] | None:
    """Give the segments with those of the `readings` (by index) that are certain; None if none is."""
    for_comma = against = 0
    for index, told in _told(segments):
        if reading := readings.get(index):
            with_comma, without = (abs(told - d) <= _EXACT for d in (reading.duration, segments[index].duration))
            for_comma += with_comma and not without
            against += without and not with_comma
    all_closed = len(readings) == len(segments) and all(reading.closed for reading in readings.values())
    if against or not readings or not (for_comma or all_closed):
        return None
    return tuple(
        replace(entry, duration=reading.duration, title=reading.title) if (reading := readings.get(index)) else entry
        for index, entry in enumerate(segments)
    )


def _told(segments: Sequence[PlaylistSegment]) -> Iterator[tuple[int, timedelta]]:
    """Give the index of each segment whose duration the times tell, with it."""
    for index, (segment, following) in enumerate(pairwise(segments)):
        start, end = segment.program_date_time, following.program_date_time
        if start and end and not following.discontinuity:
            yield index, end - start
