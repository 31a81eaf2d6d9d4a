"""Which entries of a media playlist are advertisements in place of the programme, and by which mark. Pure.

What is skipped cannot be recorded later, so an entry is called an advertisement only where the service that put it
there says so of this very entry. Those marks are Twitch's, and count in its playlists only (they have date ranges of a
class `twitch-...`), but for the title `Amazon|...`, which nothing else is called:

- `stitched`: its middle lies in a date range of the class `twitch-stitched-...` or the ID `stitched-ad-...`, or in one
  with attributes X-TV-TWITCH-AD-... whose class is none that accompanies the programme. Its middle, since a range of
  20.234 s stands for ten segments of 2 s. A range ends where the stream's source is `live` again, a range without an
  end at the next discontinuity, and one of more than ten minutes is none that can be believed.
- `title`: its title is an advertisement's name: `Amazon|...`, `FT|...`, `DCM,...`, `stitched...`; in a playlist that
  has a stitched advertisement, also whatever a date range of the class `twitch-stream-source` names as source, `live`
  apart.
- `source`: a date range of the class `twitch-stream-source` gives such a name for its middle, and its title is not
  `live`.
- `address`: it lies in a folder `adsquared`.

What follows says that something is sold, but not that the entry is not the programme; such an entry is recorded, and
only counted:

- `overlay`: a date range of the class `twitch-maf-ad`: the page draws an advertisement, the entries stay the programme.
- `break`: EXT-X-CUE-OUT and its dialects, or a date range with SCTE35-OUT or SCTE35-CMD: the broadcaster's own mark
  that somebody downstream may put something else there. What the origin itself sends is often the programme.
- `interstitial`: `com.apple.hls.interstitial`: a player fetches another playlist meanwhile; these entries stay.
- `placeholder`: a folder `_404` or a name that begins with `processing` in a Twitch playlist.
"""

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from downloader.playlist import start_times
from downloader.playlist_text import read_number, read_time
from downloader.playlist_values import DateRange, MediaPlaylist, PlaylistSegment


class Mark(StrEnum):
    """Why an entry is an advertisement, or may be one; a label of metrics."""

    STITCHED = "stitched"
    SOURCE = "source"
    TITLE = "title"
    ADDRESS = "address"
    OVERLAY = "overlay"
    BREAK = "break"
    INTERSTITIAL = "interstitial"
    PLACEHOLDER = "placeholder"

    @property
    def certain(self) -> bool:
        """Whether an entry with this mark is skipped."""
        return self in _CERTAIN


_CERTAIN = frozenset({Mark.STITCHED, Mark.SOURCE, Mark.TITLE, Mark.ADDRESS})

# The longest single advertisement seen is three minutes; a whole break is one range for each of them.
_LONGEST = timedelta(minutes=10)

# How long a range may last whose end nobody tells, or tells as beyond any reason; enough for what is only counted.
_OPEN = timedelta(days=1)

# The discontinuity at which an advertisement begins may be dated a little later than the range.
_OWN_BREAK = timedelta(milliseconds=500)

# What is left of a break when the entries in it were rounded.
_ROUNDED = timedelta(milliseconds=100)

# Date ranges of one session; a break has three for each of its advertisements.
_MOST_KNOWN = 200

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_LIVE = "live"
_SOURCE = "X-TV-TWITCH-STREAM-SOURCE"
_STREAM_SOURCE = "twitch-stream-source"
_OVERLAY = "twitch-maf-ad"
_INTERSTITIAL = "com.apple.hls.interstitial"
_SPLICE = frozenset({"SCTE35-OUT", "SCTE35-CMD"})
_AMAZON = re.compile(r"Amazon\|")
_NAME = re.compile(r"Amazon\||FT\||DCM,|stitched", re.IGNORECASE)
_ADDRESS = re.compile(r"/adsquared/")
_PLACEHOLDER = re.compile(r"/_404/|/processing[^/]*$")

# Date ranges of Twitch's that accompany the programme, whatever attributes they have.
_BESIDE = frozenset(
    {"timestamp", "twitch-ad-quartile", "twitch-assignment", _OVERLAY, "twitch-session", _STREAM_SOURCE,
     "twitch-trigger", _INTERSTITIAL}
)  # fmt: skip


def advertisements(playlist: MediaPlaylist) -> list[bool]:
    """Tell of each entry whether it is an advertisement, and thus not to be recorded."""
    return [_is_certain(mark) for mark in marks(playlist)]


def marks(playlist: MediaPlaylist) -> list[Mark | None]:
    """Give of each entry the mark by which it is an advertisement, or may be one; None if it has none."""
    starts = start_times(playlist)
    context = _Context(playlist, starts)
    entries = zip(playlist.segments, starts, _cued(playlist.segments), strict=True)
    return [context.mark(entry, start) or (Mark.BREAK if cued else None) for entry, start, cued in entries]


def prefetch_advertisements(playlist: MediaPlaylist) -> list[bool]:
    """Tell of each entry in `prefetch` whether it is, or may well be, an advertisement.

    Nothing is lost by leaving one out: it is listed later, with its title. So where the sides are changing (after a
    discontinuity, or after an advertisement) all of them are left out.
    """
    if not playlist.prefetch:
        return []
    starts = start_times(playlist)
    context = _Context(playlist, starts)
    found: list[bool] = []
    leave = bool(playlist.segments) and _is_certain(context.mark(playlist.segments[-1], starts[-1]))
    end = starts[-1] + playlist.segments[-1].duration if starts and starts[-1] else None
    for entry in playlist.prefetch:
        start = entry.program_date_time or end
        leave = leave or entry.discontinuity or _is_certain(context.mark(entry, start))
        found.append(leave)
        end = start and start + entry.duration
    return found


@dataclass(slots=True)
class Ranges:
    """Remembers the date ranges of one session's playlists for as long as they may cover what is listed.

    Many a service writes the tag before the first entry that the range covers, so that it leaves the playlist with that
    entry, while others that it covers are listed still, or are yet to come.
    """

    _known: dict[str, DateRange] = field(default_factory=dict)

    def complete(self, playlist: MediaPlaylist) -> MediaPlaylist:
        """Give the playlist with those ranges that it had before; one without an ID, or without an end, is not kept."""
        begins = next(iter(start_times(playlist)), None)
        before = [found for found in self._known.values() if begins and _reaches(found, begins)]
        known = {key: found for key, found in _merged((*before, *playlist.dateranges)).items() if found.id}
        self._known = dict([*known.items()][-_MOST_KNOWN:])
        return replace(playlist, dateranges=(*before, *playlist.dateranges)) if before else playlist


def _reaches(found: DateRange, moment: datetime) -> bool:
    if found.class_name == _STREAM_SOURCE:  # until the next, whenever that begins
        return True
    end = _end(found, found.start, None) if found.start else None
    return end is not None and end > moment


def _is_certain(mark: Mark | None) -> bool:
    return mark is not None and mark.certain


@dataclass(frozen=True, slots=True)
class _Span:
    """A date range with what is needed of it here; without an `end` nobody has said yet when it ends."""

    start: datetime
    end: datetime | None
    range: DateRange

    @property
    def known(self) -> tuple[datetime, datetime]:
        return self.start, self.end or self.start + _OPEN


class _Covered:
    """Stretches of time, joined where they overlap."""

    def __init__(self, stretches: Iterable[tuple[datetime, datetime]]) -> None:
        self._starts: list[datetime] = []
        self._ends: list[datetime] = []
        for start, end in sorted(stretches):
            if self._ends and start <= self._ends[-1]:
                self._ends[-1] = max(end, self._ends[-1])
            else:
                self._starts.append(start)
                self._ends.append(end)

    def __contains__(self, moment: datetime) -> bool:
        index = bisect_right(self._starts, moment)
        return index > 0 and moment < self._ends[index - 1]


class _Context:
    """What the playlist as a whole says, to be held against each entry."""

    def __init__(self, playlist: MediaPlaylist, starts: Sequence[datetime | None]) -> None:
        spans = _spans(playlist.dateranges)
        stitched = [span for span in spans if _is_stitched(span.range)]
        self._sources = [span for span in spans if span.range.class_name == _STREAM_SOURCE]
        self._twitch = bool(stitched) or any(span.range.class_name.startswith("twitch-") for span in spans)
        names = {span.range.attributes.get(_SOURCE, "").casefold() for span in self._sources if stitched}
        self._names = names - {"", _LIVE}
        self._stitched = _Covered(_believed(stitched, self._sources, _breaks(playlist, starts)))
        self._overlays = _Covered(span.known for span in spans if span.range.class_name == _OVERLAY)
        interstitials = [span for span in spans if span.range.class_name == _INTERSTITIAL]
        self._interstitials = _Covered((span.start, span.end) for span in interstitials if span.end)
        self._splices = _Covered(span.known for span in spans if _SPLICE.intersection(span.range.attributes))

    def mark(self, entry: PlaylistSegment, start: datetime | None) -> Mark | None:
        """Give the entry's mark, cues aside."""
        if self._is_name(entry.title):
            return Mark.TITLE
        if self._twitch and _ADDRESS.search(entry.uri):
            return Mark.ADDRESS
        middle = start and start + entry.duration / 2
        if middle is not None and middle in self._stitched:
            return Mark.STITCHED
        if middle is not None and entry.title.casefold() != _LIVE and self._is_name(self._source(middle)):
            return Mark.SOURCE
        if self._twitch and _PLACEHOLDER.search(entry.uri.partition("?")[0]):
            return Mark.PLACEHOLDER
        return None if middle is None else self._hint(middle)

    def _hint(self, middle: datetime) -> Mark | None:
        hints = ((Mark.OVERLAY, self._overlays), (Mark.BREAK, self._splices), (Mark.INTERSTITIAL, self._interstitials))
        return next((mark for mark, covered in hints if middle in covered), None)

    def _is_name(self, text: str) -> bool:
        """Tell whether a title, or the name of a source, is an advertisement's."""
        if not self._twitch:
            return _AMAZON.match(text) is not None
        return _NAME.match(text) is not None or text.casefold() in self._names

    def _source(self, moment: datetime) -> str:
        index = bisect_right(self._sources, moment, key=lambda span: span.start) - 1
        if index < 0 or moment >= (self._sources[index].end or moment + _OPEN):
            return ""
        return self._sources[index].range.attributes.get(_SOURCE, "")


def _believed(
    stitched: Sequence[_Span], sources: Sequence[_Span], breaks: Sequence[datetime]
) -> Iterator[tuple[datetime, datetime]]:
    """Give where the stitched advertisements are, each until its end, and no longer than can be true."""
    live = [span.start for span in sources if span.range.attributes.get(_SOURCE, "").casefold() == _LIVE]
    for span in stitched:
        end = span.end or _first_after(breaks, span.start + _OWN_BREAK) or span.start + _LONGEST
        end = min(end, _first_after(live, span.start) or end)
        if end - span.start <= _LONGEST:
            yield span.start, end


def _first_after(times: Sequence[datetime], moment: datetime) -> datetime | None:
    index = bisect_right(times, moment)
    return times[index] if index < len(times) else None


def _breaks(playlist: MediaPlaylist, starts: Sequence[datetime | None]) -> list[datetime]:
    pairs = zip(playlist.segments, starts, strict=True)
    return sorted(start for entry, start in pairs if entry.discontinuity and start)


def _is_stitched(found: DateRange) -> bool:
    if found.class_name.startswith("twitch-stitched") or found.id.startswith("stitched-ad-"):
        return True
    return found.class_name not in _BESIDE and any(name.startswith("X-TV-TWITCH-AD-") for name in found.attributes)


def _spans(dateranges: Sequence[DateRange]) -> list[_Span]:
    """Give the date ranges that have a start, sorted by it, those of the same ID as one (RFC 8216 §4.3.2.7)."""
    spans: list[_Span] = []
    following: dict[str, datetime] = {}
    for found in sorted(
        (r for r in _merged(dateranges).values() if r.start), key=lambda r: (r.start or _EPOCH, r.id), reverse=True
    ):
        start = found.start or _EPOCH
        spans.append(_Span(start, _end(found, start, following.get(found.class_name)), found))
        following[found.class_name] = start
    return spans[::-1]


def _merged(dateranges: Sequence[DateRange]) -> dict[str, DateRange]:
    """Give the ranges by ID, what several tags say of one as one; those without an ID by their place."""
    merged: dict[str, DateRange] = {}
    for number, found in enumerate(dateranges):
        key = found.id or f"#{number}"
        before = merged.get(key)
        merged[key] = _both(before, found) if before else found
    return merged


def _both(first: DateRange, second: DateRange) -> DateRange:
    attributes = {**first.attributes, **second.attributes}
    return DateRange(first.id, first.class_name or second.class_name, first.start or second.start, attributes)


def _end(found: DateRange, start: datetime, following: datetime | None) -> datetime | None:
    attributes = found.attributes
    if "END-DATE" in attributes:
        return read_time(attributes["END-DATE"])
    seconds = read_number(attributes.get("DURATION", attributes.get("PLANNED-DURATION", "")))
    if seconds is not None:
        return start + min(timedelta(seconds=min(seconds, _OPEN.total_seconds())), _OPEN)
    return following if attributes.get("END-ON-NEXT", "").upper() == "YES" else None


def _cued(segments: Sequence[PlaylistSegment]) -> Iterator[bool]:
    """Tell of each entry whether it lies in a break that cues announce."""
    left = timedelta(0)
    for entry in segments:
        if entry.cue:
            left = (entry.cue.duration if entry.cue.duration is not None else _OPEN) if entry.cue.out else timedelta(0)
        yield left > _ROUNDED
        left = max(left - entry.duration, timedelta(0))
