"""What an HLS playlist says, as values; the words are those of RFC 8216."""

from collections.abc import Mapping
from dataclasses import dataclass
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
class Map:
    """The initialisation section of the segments after it (EXT-X-MAP); they are fragmented MP4."""

    uri: str
    byterange: ByteRange | None = None


@dataclass(frozen=True, slots=True)
class Key:
    """How the segments after it are encrypted (EXT-X-KEY), never with METHOD=NONE.

    `uri` is empty if the key cannot be fetched by us (`data:`, `skd:`). Without an `iv` (16 bytes) it is the segment's
    sequence number (RFC 8216 §5.2).
    """

    method: str
    uri: str
    iv: bytes | None = None
    keyformat: str = "identity"


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


@dataclass(frozen=True, slots=True)
class MediaPlaylist:
    """A list of segments, oldest first. `target_duration` is derived from them where the playlist names none."""

    target_duration: timedelta
    segments: tuple[PlaylistSegment, ...] = ()
    media_sequence: int = 0
    discontinuity_sequence: int = 0
    playlist_type: Literal["VOD", "EVENT"] | None = None
    endlist: bool = False
    i_frames_only: bool = False
    dateranges: tuple[DateRange, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Variant:
    """One entry of a multivariant playlist (EXT-X-STREAM-INF).

    Bandwidths are bits per second (0: not said), `resolution` is (width, height), `name` its NAME (not in the RFC, but
    common), `video` and `audio` the GROUP-IDs of renditions.
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


@dataclass(frozen=True, slots=True)
class MultivariantPlaylist:
    """A choice of media playlists, in the order of the file."""

    variants: tuple[Variant, ...] = ()
    renditions: tuple[Rendition, ...] = ()
    warnings: tuple[str, ...] = ()
