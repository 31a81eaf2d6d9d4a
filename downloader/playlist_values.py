"""What an HLS playlist says, as values; the words are those of RFC 8216."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

_AUDIO_CODECS = ("mp4a", "ac-3", "ec-3", "ac-4", "opus", "flac", "alac", "mp3", "vorbis", "dts")


class PlaylistError(ValueError):
    """No usable HLS playlist, or not what was asked of it; the text is one plain sentence."""


@dataclass(frozen=True, slots=True)
class ByteRange:
    """`length` bytes of a resource from the offset `start` on (EXT-X-BYTERANGE)."""

    length: int
    start: int


@dataclass(frozen=True, slots=True)
class Key:
    """How the segments after it are encrypted (EXT-X-KEY), never with METHOD=NONE.

    Keys of several formats may apply at once; this is the one that we could use (`identity`), or else the last of the
    others. `uri` is empty if the key cannot be fetched by us (`data:`, `skd:`, a version of the format that is not
    known). Without an `iv` (16 bytes) it is the segment's sequence number (RFC 8216 §5.2).
    """

    method: str
    uri: str
    iv: bytes | None = None
    keyformat: str = "identity"


@dataclass(frozen=True, slots=True)
class Map:
    """The initialisation section of the segments after it (EXT-X-MAP); they are fragmented MP4.

    It is encrypted with the `key` that applied where it stands, which need not be that of the segments (§4.3.2.5).
    """

    uri: str
    byterange: ByteRange | None = None
    key: Key | None = None


@dataclass(frozen=True, slots=True)
class Cue:
    """A mark before a segment that a break begins (`out`) or ends there, with its planned duration where it is told.

    The dialects are many (EXT-X-CUE-OUT, EXT-X-CUE-OUT-CONT, EXT-X-CUE-IN, EXT-X-SCTE35, EXT-X-CUE), none is standard.
    """

    out: bool
    duration: timedelta | None = None


@dataclass(frozen=True, slots=True)
class DateRange:
    """A stretch of time with attributes (EXT-X-DATERANGE), such as an advertisement; `start` is aware UTC."""

    id: str
    class_name: str
    start: datetime | None
    attributes: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class PlaylistSegment:
    """One entry of a media playlist.

    `sequence` is its Media Sequence Number; `program_date_time` is aware UTC and only what the playlist says of this
    very segment (see `start_times`). A `gap` is not to be fetched: the origin says so (EXT-X-GAP), or its address, byte
    range or map was refused; its number, time and duration count all the same.

    `bitrate` is bits per second, approximately (EXT-X-BITRATE). `prefetch`: see `MediaPlaylist.prefetch`.
    """

    uri: str
    duration: timedelta
    sequence: int = 0
    title: str = ""
    program_date_time: datetime | None = None
    discontinuity: bool = False
    gap: bool = False
    byterange: ByteRange | None = None
    map: Map | None = None
    key: Key | None = None
    bitrate: int | None = None
    cue: Cue | None = None
    prefetch: bool = False


@dataclass(frozen=True, slots=True)
class ServerControl:
    """What the origin offers for reloads, and how far behind the end a player should stay (EXT-X-SERVER-CONTROL)."""

    can_block_reload: bool = False
    can_skip_until: timedelta | None = None
    hold_back: timedelta | None = None
    part_hold_back: timedelta | None = None


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """A list of segments, oldest first. `target_duration` is derived from them where the playlist names none.

    Parts (EXT-X-PART, EXT-X-PRELOAD-HINT) are not kept: the segment that they make up holds the same media, is listed
    as soon as its last part is, and is one file with one name; recorded twice, the same moment would lie in the store
    twice. What a reload can be planned by stays: `part_target` (None: there are no parts), and `pending`, how much of
    the segment after the last one is out already.

    `prefetch` (EXT-X-TWITCH-PREFETCH) are the segments after the last one, whose addresses are told ahead of their
    time. Number, map and key are theirs; the duration is that of the last segment and only likely, there is no title,
    and whether it is an advertisement is told for certain only once it is listed. Each is listed later, at the same
    address, with what it lacks.
    """

    target_duration: timedelta
    segments: tuple[PlaylistSegment, ...] = ()
    media_sequence: int = 0
    discontinuity_sequence: int = 0
    playlist_type: Literal["VOD", "EVENT"] | None = None
    endlist: bool = False
    i_frames_only: bool = False
    dateranges: tuple[DateRange, ...] = ()
    warnings: tuple[str, ...] = ()
    prefetch: tuple[PlaylistSegment, ...] = ()
    server_control: ServerControl = ServerControl()
    part_target: timedelta | None = None
    pending: timedelta = timedelta(0)


@dataclass(frozen=True, slots=True)
class Variant:
    """One entry of a multivariant playlist (EXT-X-STREAM-INF).

    Bandwidths are bits per second (0: not said), `resolution` is (width, height), `name` its NAME (not in the RFC, but
    common) or what Twitch has in its place (IVS-NAME, STABLE-VARIANT-ID), `video` and `audio` the GROUP-IDs of
    renditions, `video_range` one of SDR (the default), PQ and HLG, `pathway` the PATHWAY-ID of content steering: where
    it comes from. `is_source`: Twitch says that it is what the streamer sends (IVS-VARIANT-SOURCE).
    """

    uri: str
    bandwidth: int = 0
    average_bandwidth: int | None = None
    resolution: tuple[int, int] | None = None
    frame_rate: float | None = None
    codecs: tuple[str, ...] = ()
    name: str = ""
    video: str = ""
    audio: str = ""
    video_range: str = "SDR"
    pathway: str = ""
    is_source: bool = False

    @property
    def audio_only(self) -> bool:
        """Whether it has no picture, as far as the playlist tells."""
        codecs = [codec.casefold() for codec in self.codecs]
        return self.resolution is None and bool(codecs) and all(codec.startswith(_AUDIO_CODECS) for codec in codecs)


@dataclass(frozen=True, slots=True)
class Rendition:
    """An alternative of a group (EXT-X-MEDIA); without a `uri` it is within the variants that name the group."""

    type: str
    group: str
    name: str
    uri: str = ""
    language: str = ""
    default: bool = False
    autoselect: bool = False


@dataclass(frozen=True, slots=True)
class MultivariantPlaylist:
    """A choice of media playlists, in the order of the file.

    `variables` are those that its media playlists may import (EXT-X-DEFINE), `pathway` is the one to begin with
    (EXT-X-CONTENT-STEERING).
    """

    variants: tuple[Variant, ...] = ()
    renditions: tuple[Rendition, ...] = ()
    warnings: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    pathway: str = ""
