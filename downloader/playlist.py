"""HLS playlists as values: text in, frozen dataclasses out, by RFC 8216 and its successor draft-pantos-hls-rfc8216bis.

Pure: no clock, no I/O, no log. What a real stream gets wrong is read as well as it can be and told in `warnings`; only
what is no HLS playlist at all raises. Nothing here trusts its input: text, entries and warnings are bounded, every step
is linear, and of all addresses only http and https ones come out; a refused one is the empty string.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Literal

from downloader.playlist_text import (
    Base,
    lines,
    quote,
    read_attributes,
    read_byterange,
    read_duration,
    read_extinf,
    read_integer,
    read_iv,
    read_number,
    read_resolution,
    read_time,
)
from downloader.playlist_values import (
    ByteRange,
    DateRange,
    Key,
    Map,
    MediaPlaylist,
    MultivariantPlaylist,
    PlaylistError,
    PlaylistSegment,
    Rendition,
    Variant,
)

__all__ = [
    "ByteRange",
    "DateRange",
    "Key",
    "Map",
    "MediaPlaylist",
    "MultivariantPlaylist",
    "PlaylistError",
    "PlaylistSegment",
    "Rendition",
    "Variant",
    "choose_variants",
    "parse",
    "start_times",
]

MAX_CHARACTERS = 16 * 1024 * 1024  # twelve hours of 2 s segments with long signed addresses are 10 million
MAX_ENTRIES = 100_000  # segments, variants, renditions and date ranges of one playlist: two days of 2 s segments
MAX_WARNINGS = 20  # so that a broken playlist of thousands of entries does not flood the log at every poll
DEFAULT_TARGET = timedelta(seconds=6)  # Apple's recommendation, for a playlist that has no duration to derive it from

_SHORTEST_TARGET = timedelta(seconds=1)
_UNKNOWN = timedelta(-1)  # a duration that could not be read, until the target duration is known
_SOURCE = frozenset({"source", "chunked"})  # Twitch calls its source `chunked`
_SIZE = re.compile(r"([0-9]{2,5})[pP]([0-9]{1,3})?")
_SEGMENT_TAG = re.compile(r"[\r\n][ \t]*#EXTINF:")
_VARIANT_TAG = re.compile(r"[\r\n][ \t]*#EXT-X-STREAM-INF:")
_MULTIVARIANT_TAG = re.compile(r"[\r\n][ \t]*#EXT-X-(?:MEDIA|I-FRAME-STREAM-INF|SESSION-DATA|SESSION-KEY):")


def parse(text: str, url: str) -> MediaPlaylist | MultivariantPlaylist:
    """Read a playlist that was fetched from `url` (the address after redirects), against which its URIs are resolved.

    Raises PlaylistError if it is no HLS playlist, is both kinds at once, or is too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise PlaylistError(f"The playlist has {len(text)} characters; more than {MAX_CHARACTERS} are not read.")
    text = text.removeprefix("\ufeff")
    _check_header(text)
    has_segments = _SEGMENT_TAG.search(text) is not None
    if _VARIANT_TAG.search(text):
        if has_segments:
            raise PlaylistError("The playlist has both segments and variants, so it is neither kind of HLS playlist.")
        return _MultivariantReader(_Notes(Base(url))).read(text)
    if not has_segments and _MULTIVARIANT_TAG.search(text):
        return _MultivariantReader(_Notes(Base(url))).read(text)
    return _MediaReader(_Notes(Base(url))).read(text)


def start_times(playlist: MediaPlaylist) -> list[datetime | None]:
    """Give each segment's start, aware UTC, or None throughout if the playlist tells no time at all.

    As RFC 8216 §6.3.3 has it: durations are added from the last EXT-X-PROGRAM-DATE-TIME on and, before the first, taken
    away backwards. Discontinuities make no difference: they break the media's timestamps, not the wall clock.
    """
    starts: list[datetime | None] = []
    now: datetime | None = None
    for segment in playlist.segments:
        now = segment.program_date_time or now
        starts.append(now)
        now = now and now + segment.duration
    first = next((n for n, start in enumerate(starts) if start), 0)
    for n in range(first - 1, -1, -1):
        following = starts[n + 1]
        starts[n] = following and following - playlist.segments[n].duration
    return starts


def choose_variants(playlist: MultivariantPlaylist, qualities: Sequence[str]) -> dict[str, Variant]:
    """Find the variant for each quality, case aside; the first of these rules that finds any decides.

    1. By name: the variant's NAME, its VIDEO group, or the NAME of that group's own rendition (`720p60`, `audio_only`).
       `source` and Twitch's `chunked` are one name.
    2. By size: `720p` is any of that height, `720p60` also of that frame rate (rounded: 59.94 is 60).
    3. `source` is any.

    Among several the best one: with a picture rather than sound only, the most pixels (no RESOLUTION counts as none),
    the highest frame rate, the highest bandwidth, the first in the file. Raises PlaylistError, which lists what there
    is, if a quality is missing.
    """
    renditions: dict[str, set[str]] = {}
    for rendition in playlist.renditions:
        if rendition.type == "VIDEO" and not rendition.uri:
            renditions.setdefault(rendition.group, set()).add(rendition.name)
    names = [[v.name, v.video, *sorted(renditions.get(v.video, ()))] for v in playlist.variants]
    return {quality: _choose(playlist.variants, names, quality) for quality in qualities}


def _choose(variants: Sequence[Variant], names: Sequence[Sequence[str]], quality: str) -> Variant:
    wanted = _SOURCE if quality.casefold() in _SOURCE else {quality.casefold()}
    found = [v for v, own in zip(variants, names, strict=True) if any(name.casefold() in wanted for name in own)]
    found = found or [variant for variant in variants if _has_size(variant, quality)]
    found = found or [variant for variant in variants if wanted is _SOURCE]
    if not found:
        labels = ("source", *(_label(v, own) for v, own in zip(variants, names, strict=True)))
        listed = [label for label in dict.fromkeys(labels) if label][:MAX_WARNINGS] if variants else ["none"]
        raise PlaylistError(f"The stream has no quality {quote(quality)}; it has: {', '.join(listed)}.")
    return max(found, key=_rank)


def _has_size(variant: Variant, quality: str) -> bool:
    size = _SIZE.fullmatch(quality)
    if size is None or variant.resolution is None or variant.resolution[1] != int(size[1]):
        return False
    return size[2] is None or (variant.frame_rate is not None and round(variant.frame_rate) == int(size[2]))


def _rank(variant: Variant) -> tuple[bool, int, float, int]:
    width, height = variant.resolution or (0, 0)
    return not variant.audio_only, width * height, variant.frame_rate or 0.0, variant.bandwidth


def _label(variant: Variant, names: Sequence[str]) -> str:
    size = f"{variant.resolution[1]}p{round(variant.frame_rate or 0) or ''}" if variant.resolution else ""
    return next(filter(None, names), size)[:80]


@dataclass(slots=True)
class _Notes:
    """What both readers keep: the playlist's own address, the warnings, and how many entries were counted."""

    base: Base
    warnings: list[str] = field(default_factory=list)
    untold: int = 0
    entries: int = 0

    def warn(self, sentence: str) -> None:
        if len(self.warnings) < MAX_WARNINGS:
            self.warnings.append(sentence)
        else:
            self.untold += 1

    def all_warnings(self) -> tuple[str, ...]:
        return (*self.warnings, f"There are {self.untold} more warnings.") if self.untold else tuple(self.warnings)

    def count_entry(self) -> None:
        self.entries += 1
        if self.entries > MAX_ENTRIES:
            raise PlaylistError(f"The playlist has more than {MAX_ENTRIES} entries, which no real stream has.")

    def resolve(self, uri: str, whose: str) -> str:
        """Give the absolute http or https address of `uri`, or an empty text and a warning."""
        address = None if "{$" in uri else self.base.resolve(uri)
        if address is None:
            reason = "uses a variable, which is not supported" if "{$" in uri else "is not an http or https one"
            self.warn(f"{whose} cannot be fetched: its address {quote(uri)} {reason}.")
        return address or ""


def _check_header(text: str) -> None:
    """Raise unless #EXTM3U comes first; blank lines and comments before it are common enough to be let through."""
    line = ""
    for line in lines(text):
        if line.split(maxsplit=1)[0].partition(":")[0] == "#EXTM3U":
            return
        if not line.startswith("#") or line.startswith("#EXT"):
            break
    if not line:
        raise PlaylistError("The playlist is empty.")
    raise PlaylistError(f"This is not an HLS playlist: it begins with {quote(line)} and not with #EXTM3U.")


class _MediaReader:
    """Reads a media playlist: one method for each tag in `_MEDIA_TAGS`, and `segment` for each URI line."""

    def __init__(self, notes: _Notes) -> None:
        self.notes = notes
        self.segments: list[PlaylistSegment] = []
        self.dateranges: list[DateRange] = []
        self.target: timedelta | None = None
        self.media_sequence = self.skipped = self.discontinuity_sequence = 0
        self.playlist_type: Literal["VOD", "EVENT"] | None = None
        self.endlist = self.i_frames_only = False
        self.map: Map | None = None
        self.key: Key | None = None
        self.range_end = ("", 0)
        self.begin_segment()

    def begin_segment(self) -> None:
        """Forget what applied to the segment before only."""
        self.duration: timedelta | None = None
        self.title = self.byterange = ""
        self.program_date_time: datetime | None = None
        self.discontinuity = self.gap = False

    def read(self, text: str) -> MediaPlaylist:
        for line in lines(text):
            if not line.startswith("#"):
                self.segment(line)
            elif line.startswith("#EXT"):
                name, _, value = line.partition(":")
                if tag := _MEDIA_TAGS.get(name):
                    tag(self, value)
        return self.playlist()

    def warn(self, sentence: str) -> None:
        self.notes.warn(f"Segment {self.sequence}: {sentence}")

    @property
    def sequence(self) -> int:
        return self.media_sequence + self.skipped + len(self.segments)

    def segment(self, uri: str) -> None:
        if self.duration is None:
            self.notes.warn(f"The line {quote(uri)} is left out: no EXTINF belongs to it.")
            return
        self.notes.count_entry()
        sequence = self.sequence
        uri = self.notes.resolve(uri, f"Segment {sequence}")
        byterange = self.segment_byterange(uri) if self.byterange else None
        self.segments.append(
            PlaylistSegment(
                uri=uri,
                duration=self.duration,
                sequence=sequence,
                title=self.title,
                program_date_time=self.program_date_time,
                discontinuity=self.discontinuity,
                gap=self.gap or not uri or (self.map is not None and not self.map.uri),
                byterange=byterange,
                map=self.map,
                key=self.key,
            )
        )
        self.begin_segment()

    def segment_byterange(self, uri: str) -> ByteRange | None:
        """Read the pending byte range; without an offset it goes on where the segment before ended."""
        found = read_byterange(self.byterange)
        if found is None:
            # the whole resource instead of a part of it would be recorded under the wrong name
            self.warn(f"its byte range {quote(self.byterange)} cannot be read, so it is left out.")
            self.gap = True
            return None
        length, start = found
        if start is None:
            last_uri, start = self.range_end
            if last_uri != uri:
                start = 0
                self.warn("its byte range has no offset and follows on none, so it is read from the start.")
        self.range_end = (uri, start + length)
        return ByteRange(length, start)

    def playlist(self) -> MediaPlaylist:
        if self.target is None:
            # RFC 8216 §4.3.3.1: no duration, rounded to the nearest integer, exceeds it
            longest = max((segment.duration for segment in self.segments), default=_UNKNOWN)
            nearest = timedelta(seconds=int(longest.total_seconds() + 0.5))
            self.target = max(nearest, _SHORTEST_TARGET) if longest >= timedelta(0) else DEFAULT_TARGET
            self.notes.warn(f"There is no usable EXT-X-TARGETDURATION, so {self.target.total_seconds():g} s are taken.")
        segments = [replace(s, duration=self.target) if s.duration < timedelta(0) else s for s in self.segments]
        return MediaPlaylist(
            target_duration=self.target,
            segments=tuple(segments),
            media_sequence=self.media_sequence,
            discontinuity_sequence=self.discontinuity_sequence,
            playlist_type=self.playlist_type,
            endlist=self.endlist,
            i_frames_only=self.i_frames_only,
            dateranges=tuple(self.dateranges),
            warnings=self.notes.all_warnings(),
        )

    def on_extinf(self, value: str) -> None:
        duration, self.title = read_extinf(value)
        if duration is None:
            self.warn(f"its duration {quote(value)} cannot be true, so the target duration is taken.")
        self.duration = _UNKNOWN if duration is None else duration

    def on_target_duration(self, value: str) -> None:
        target = read_duration(value)
        self.target = target if target and target >= _SHORTEST_TARGET else self.target

    def on_media_sequence(self, value: str) -> None:
        self.media_sequence = self.count_from("EXT-X-MEDIA-SEQUENCE", value, self.media_sequence)

    def on_discontinuity_sequence(self, value: str) -> None:
        self.discontinuity_sequence = self.count_from(
            "EXT-X-DISCONTINUITY-SEQUENCE", value, self.discontinuity_sequence
        )

    def count_from(self, tag: str, value: str, before: int) -> int:
        number = read_integer(value)
        if number is None or self.segments:
            self.notes.warn(f"{tag} is ignored: {quote(value)} is no number, or comes after the first segment.")
            return before
        return number

    def on_skip(self, value: str) -> None:
        self.skipped = read_integer(read_attributes(value).get("SKIPPED-SEGMENTS", "")) or 0

    def on_playlist_type(self, value: str) -> None:
        kinds: dict[str, Literal["VOD", "EVENT"]] = {"VOD": "VOD", "EVENT": "EVENT"}
        self.playlist_type = kinds.get(value.strip().upper())
        if self.playlist_type is None:
            self.notes.warn(f"EXT-X-PLAYLIST-TYPE {quote(value)} is neither VOD nor EVENT and is ignored.")

    def on_program_date_time(self, value: str) -> None:
        self.program_date_time = read_time(value)
        if self.program_date_time is None:
            self.warn(f"its time {quote(value)} cannot be read.")

    def on_byterange(self, value: str) -> None:
        self.byterange = value or "empty"

    def on_discontinuity(self, _: str) -> None:
        self.discontinuity = True

    def on_gap(self, _: str) -> None:
        self.gap = True

    def on_endlist(self, _: str) -> None:
        self.endlist = True

    def on_i_frames_only(self, _: str) -> None:
        self.i_frames_only = True

    def on_map(self, value: str) -> None:
        attributes = read_attributes(value)
        uri = self.notes.resolve(attributes.get("URI", ""), "The initialisation section (EXT-X-MAP)")
        text = attributes.get("BYTERANGE")
        found = read_byterange(text) if text is not None else None
        if text is not None and found is None:
            self.notes.warn(f"The byte range {quote(text)} of EXT-X-MAP cannot be read, so its segments are left out.")
            uri = ""
        self.map = Map(uri, ByteRange(found[0], found[1] or 0) if found else None)

    def on_key(self, value: str) -> None:
        """Keys of several formats apply at once; the identity one, which we can use, is kept before the others."""
        key = self.read_key(read_attributes(value))
        if key.method == "NONE":
            self.key = None
        elif key.keyformat == "identity" or self.key is None or self.key.keyformat != "identity":
            self.key = key

    def read_key(self, attributes: Mapping[str, str]) -> Key:
        method = attributes.get("METHOD", "")[:40]
        keyformat = attributes.get("KEYFORMAT", "identity")[:80]
        if method == "NONE":
            return Key(method, "")
        uri = self.notes.resolve(attributes.get("URI", ""), "A key")
        given = attributes.get("IV")
        iv = None if given is None else read_iv(given)
        if given is not None and iv is None:
            self.notes.warn(f"The IV {quote(given)} of a key cannot be read, so the key is left out.")
            uri = ""  # with another IV it would decrypt into rubbish
        return Key(method, uri, iv, keyformat)

    def on_daterange(self, value: str) -> None:
        self.notes.count_entry()
        attributes = read_attributes(value)
        start = read_time(attributes.get("START-DATE", ""))
        self.dateranges.append(DateRange(attributes.get("ID", ""), attributes.get("CLASS", ""), start, attributes))


_MEDIA_TAGS: dict[str, Callable[[_MediaReader, str], None]] = {
    "#EXTINF": _MediaReader.on_extinf,
    "#EXT-X-TARGETDURATION": _MediaReader.on_target_duration,
    "#EXT-X-MEDIA-SEQUENCE": _MediaReader.on_media_sequence,
    "#EXT-X-DISCONTINUITY-SEQUENCE": _MediaReader.on_discontinuity_sequence,
    "#EXT-X-SKIP": _MediaReader.on_skip,
    "#EXT-X-PLAYLIST-TYPE": _MediaReader.on_playlist_type,
    "#EXT-X-PROGRAM-DATE-TIME": _MediaReader.on_program_date_time,
    "#EXT-X-BYTERANGE": _MediaReader.on_byterange,
    "#EXT-X-DISCONTINUITY": _MediaReader.on_discontinuity,
    "#EXT-X-GAP": _MediaReader.on_gap,
    "#EXT-X-ENDLIST": _MediaReader.on_endlist,
    "#EXT-X-I-FRAMES-ONLY": _MediaReader.on_i_frames_only,
    "#EXT-X-MAP": _MediaReader.on_map,
    "#EXT-X-KEY": _MediaReader.on_key,
    "#EXT-X-DATERANGE": _MediaReader.on_daterange,
}


class _MultivariantReader:
    """Reads a multivariant playlist; an EXT-X-STREAM-INF waits for the URI line after it."""

    def __init__(self, notes: _Notes) -> None:
        self.notes = notes
        self.variants: list[Variant] = []
        self.renditions: list[Rendition] = []
        self.pending: dict[str, str] | None = None

    def read(self, text: str) -> MultivariantPlaylist:
        for line in lines(text):
            name, _, value = line.partition(":")
            if not line.startswith("#"):
                self.variant(line)
            elif name == "#EXT-X-STREAM-INF":
                self.pending = read_attributes(value)
            elif name == "#EXT-X-MEDIA":
                self.rendition(read_attributes(value))
        return MultivariantPlaylist(tuple(self.variants), tuple(self.renditions), self.notes.all_warnings())

    def variant(self, uri: str) -> None:
        attributes, self.pending = self.pending, None
        if attributes is None:
            self.notes.warn(f"The line {quote(uri)} is left out: no EXT-X-STREAM-INF belongs to it.")
            return
        self.notes.count_entry()
        address = self.notes.resolve(uri, "A variant")
        bandwidth = read_integer(attributes.get("BANDWIDTH", ""))
        if bandwidth is None:
            self.notes.warn(f"The variant {quote(uri)} has no usable BANDWIDTH.")
        if address:
            self.variants.append(_variant(address, attributes, bandwidth or 0))

    def rendition(self, attributes: Mapping[str, str]) -> None:
        self.notes.count_entry()
        name, uri = attributes.get("NAME", ""), attributes.get("URI", "")
        address = self.notes.resolve(uri, f"The rendition {quote(name)}") if uri else ""
        if uri and not address:
            return
        language, default = attributes.get("LANGUAGE", ""), attributes.get("DEFAULT", "").upper() == "YES"
        kind = attributes.get("TYPE", "").upper()
        self.renditions.append(Rendition(kind, attributes.get("GROUP-ID", ""), name, address, language, default))


def _variant(uri: str, attributes: Mapping[str, str], bandwidth: int) -> Variant:
    return Variant(
        uri=uri,
        bandwidth=bandwidth,
        average_bandwidth=read_integer(attributes.get("AVERAGE-BANDWIDTH", "")),
        resolution=read_resolution(attributes.get("RESOLUTION", "")),
        frame_rate=read_number(attributes.get("FRAME-RATE", "")),
        codecs=tuple(codec.strip() for codec in attributes.get("CODECS", "").split(",") if codec.strip()),
        name=attributes.get("NAME", ""),
        video=attributes.get("VIDEO", ""),
        audio=attributes.get("AUDIO", ""),
    )
