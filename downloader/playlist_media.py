"""A media playlist's text into its values, tag by tag. Pure; see `downloader.playlist`."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Literal

from downloader.decimal_commas import Reading, with_decimal_commas
from downloader.playlist_notes import Notes
from downloader.playlist_text import (
    quote,
    read_attributes,
    read_byterange,
    read_duration,
    read_extinf,
    read_integer,
    read_iv,
    read_time,
)
from downloader.playlist_values import (
    ByteRange,
    Cue,
    DateRange,
    Key,
    Map,
    MediaPlaylist,
    PlaylistSegment,
    ServerControl,
)

DEFAULT_TARGET = timedelta(seconds=6)  # Apple's recommendation, for a playlist that has no duration to derive it from

_SHORTEST_TARGET = timedelta(seconds=1)
_NONE = timedelta(0)
_UNKNOWN = timedelta(-1)  # a duration that could not be read, until the target duration is known


def read_media(text: str, notes: Notes) -> MediaPlaylist:
    """Read what is known to be a media playlist. Raises PlaylistError if it is too large."""
    return _MediaReader(notes).read(text)


class _MediaReader:
    """Reads a media playlist: one method for each tag in `_MEDIA_TAGS`, and `segment` for each URI line."""

    def __init__(self, notes: Notes) -> None:
        self.notes = notes
        self.segments: list[PlaylistSegment] = []
        self.dateranges: list[DateRange] = []
        self.readings: dict[int, Reading] = {}
        self.prefetch: list[PlaylistSegment] = []
        self.target: timedelta | None = None
        self.part_target: timedelta | None = None
        self.server_control = ServerControl()
        self.bitrate: int | None = None
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
        self.reading: Reading | None = None
        self.title = self.byterange = ""
        self.pending = timedelta(0)
        self.cue: Cue | None = None
        self.program_date_time: datetime | None = None
        self.discontinuity = self.gap = False

    def read(self, text: str) -> MediaPlaylist:
        for line in self.notes.lines(text):
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
        return self.media_sequence + self.skipped + len(self.segments) + len(self.prefetch)

    def segment(self, uri: str) -> None:
        if self.duration is None:
            self.notes.warn(f"The line {quote(uri)} is left out: no EXTINF belongs to it.")
            return
        self.forget_prefetch()
        if self.reading:
            self.readings[len(self.segments)] = self.reading
        self.segments.append(self.entry(uri, self.duration))
        self.begin_segment()

    def entry(self, uri: str, duration: timedelta) -> PlaylistSegment:
        """Give what stands in the file so far as one entry."""
        self.notes.count_entry()
        sequence = self.sequence
        uri = self.notes.resolve(uri, f"Segment {sequence}")
        byterange = self.segment_byterange(uri) if self.byterange else None
        return PlaylistSegment(
            uri=uri,
            duration=duration,
            sequence=sequence,
            title=self.title,
            program_date_time=self.program_date_time,
            discontinuity=self.discontinuity,
            gap=self.gap or not uri or (self.map is not None and not self.map.uri),
            byterange=byterange,
            map=self.map,
            key=self.key,
            bitrate=None if byterange else self.bitrate,
            cue=self.cue,
        )

    def forget_prefetch(self) -> None:
        """Drop what was told ahead of its time, since something comes after it that is listed."""
        self.discontinuity |= any(entry.discontinuity for entry in self.prefetch)
        self.prefetch.clear()

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
            self.target = max(nearest, _SHORTEST_TARGET) if longest >= _NONE else DEFAULT_TARGET
            self.notes.warn(f"There is no usable EXT-X-TARGETDURATION, so {self.target.total_seconds():g} s are taken.")
        segments = tuple(replace(s, duration=self.target) if s.duration < _NONE else s for s in self.segments)
        if self.readings and (read := with_decimal_commas(segments, self.readings)):
            self.notes.warn("The durations have a decimal comma and are read so.")
            segments = read
        likely = segments[-1].duration if segments else self.target
        return MediaPlaylist(
            target_duration=self.target,
            segments=segments,
            media_sequence=self.media_sequence,
            discontinuity_sequence=self.discontinuity_sequence,
            playlist_type=self.playlist_type,
            endlist=self.endlist,
            i_frames_only=self.i_frames_only,
            dateranges=tuple(self.dateranges),
            warnings=self.notes.all_warnings(),
            prefetch=tuple(replace(entry, duration=likely) for entry in self.prefetch),
            server_control=self.server_control,
            part_target=self.part_target,
            pending=self.pending,
        )

    def on_extinf(self, value: str) -> None:
        duration, self.title = read_extinf(value)
        self.reading = Reading.of(value)
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
        self.map = Map(uri, ByteRange(found[0], found[1] or 0) if found else None, self.key)

    def on_key(self, value: str) -> None:
        """Keep the identity key, which we can use, before those of other formats.

        Those of several formats apply at once, each until the next of its format (RFC 8216 §4.3.2.4).
        """
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
        versions = attributes.get("KEYFORMATVERSIONS", "1")
        if keyformat == "identity" and "1" not in versions.split("/"):
            self.notes.warn(f"The version {quote(versions)} of a key's format is not known, so the key is left out.")
            uri = ""
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

    def on_prefetch(self, value: str) -> None:
        """Take in an address told ahead of its time; what belongs to the segments listed is left alone."""
        self.notes.count_entry()
        sequence = self.sequence
        uri = self.notes.resolve(value.strip(), f"Segment {sequence}")
        self.prefetch.append(
            PlaylistSegment(
                uri=uri,
                duration=_NONE,
                sequence=sequence,
                program_date_time=self.program_date_time,
                discontinuity=self.discontinuity,
                gap=not uri or (self.map is not None and not self.map.uri),
                map=self.map,
                key=self.key,
                bitrate=self.bitrate,
                prefetch=True,
            )
        )
        self.program_date_time, self.discontinuity = None, False

    def on_server_control(self, value: str) -> None:
        attributes = read_attributes(value)
        self.server_control = ServerControl(
            can_block_reload=attributes.get("CAN-BLOCK-RELOAD", "").upper() == "YES",
            can_skip_until=read_duration(attributes.get("CAN-SKIP-UNTIL", "")),
            hold_back=read_duration(attributes.get("HOLD-BACK", "")),
            part_hold_back=read_duration(attributes.get("PART-HOLD-BACK", "")),
        )

    def on_part_inf(self, value: str) -> None:
        self.part_target = read_duration(read_attributes(value).get("PART-TARGET", ""))

    def on_part(self, value: str) -> None:
        self.notes.count_entry()
        self.pending += read_duration(read_attributes(value).get("DURATION", "")) or _NONE

    def on_bitrate(self, value: str) -> None:
        """It is in kilobits per second (draft-pantos-hls-rfc8216bis §4.4.4.8)."""
        self.bitrate = (read_integer(value) or 0) * 1000 or None

    def on_define(self, value: str) -> None:
        self.notes.define(value)

    def on_cue_out(self, value: str) -> None:
        """It is `30`, `"30"`, `DURATION=30`, `8/30` or `ElapsedTime=8,Duration=30`, or says nothing."""
        attributes = read_attributes(value)
        elapsed, _, whole = value.strip(' "').rpartition("/")
        duration = read_duration(attributes.get("DURATION", whole))
        gone = read_duration(attributes.get("ELAPSEDTIME", elapsed)) or _NONE
        self.cue = Cue(out=True, duration=duration and max(duration - gone, _NONE))

    def on_cue_in(self, _: str) -> None:
        self.cue = Cue(out=False)

    def on_scte35(self, value: str) -> None:
        attributes = read_attributes(value)
        kind = attributes.get("TYPE", "").casefold()
        if attributes.get("CUE-OUT", "NO").upper() != "NO" or kind == "spliceout":
            self.cue = Cue(out=True, duration=read_duration(attributes.get("DURATION", "")))
        elif attributes.get("CUE-IN", "").upper() == "YES" or kind == "splicein":
            self.cue = Cue(out=False)


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
    "#EXT-X-DEFINE": _MediaReader.on_define,
    "#EXT-X-SERVER-CONTROL": _MediaReader.on_server_control,
    "#EXT-X-PART-INF": _MediaReader.on_part_inf,
    "#EXT-X-PART": _MediaReader.on_part,
    "#EXT-X-BITRATE": _MediaReader.on_bitrate,
    "#EXT-X-TWITCH-PREFETCH": _MediaReader.on_prefetch,
    "#EXT-X-CUE-OUT": _MediaReader.on_cue_out,
    "#EXT-X-CUE-OUT-CONT": _MediaReader.on_cue_out,
    "#EXT-X-CUE-IN": _MediaReader.on_cue_in,
    "#EXT-X-SCTE35-OUT": _MediaReader.on_cue_out,
    "#EXT-X-SCTE35-IN": _MediaReader.on_cue_in,
    "#EXT-X-SCTE35": _MediaReader.on_scte35,
    "#EXT-X-CUE": _MediaReader.on_scte35,
}
