"""HLS playlists as values: text in, frozen dataclasses out, by RFC 8216 and its successor draft-pantos-hls-rfc8216bis.

Pure: no clock, no I/O, no log. What a real stream gets wrong is read as well as it can be and told in `warnings`; only
what is no HLS playlist at all raises. Nothing here trusts its input: text, entries and warnings are bounded, every step
is linear, and of all addresses only http and https ones come out; a refused one is the empty string.
"""

import re
from collections.abc import Mapping
from datetime import datetime

from downloader.playlist_media import read_media
from downloader.playlist_multivariant import read_multivariant
from downloader.playlist_notes import MAX_CHARACTERS, Notes
from downloader.playlist_text import lines, quote
from downloader.playlist_values import MediaPlaylist, MultivariantPlaylist, PlaylistError

_SEGMENT_TAG = re.compile(r"[\r\n][ \t]*#EXTINF:")
_VARIANT_TAG = re.compile(r"[\r\n][ \t]*#EXT-X-STREAM-INF:")
_MULTIVARIANT_TAG = re.compile(r"[\r\n][ \t]*#EXT-X-(?:MEDIA|I-FRAME-STREAM-INF|SESSION-DATA|SESSION-KEY):")


def parse(text: str, url: str, variables: Mapping[str, str] | None = None) -> MediaPlaylist | MultivariantPlaylist:
    """Read a playlist that was fetched from `url` (the address after redirects), against which its URIs are resolved.

    A media playlist may import `variables`, which are those of the multivariant playlist that led to it. Raises
    PlaylistError if it is no HLS playlist, is both kinds at once, or is too large.
    """
    if len(text) > MAX_CHARACTERS:
        raise PlaylistError(f"The playlist has {len(text)} characters; more than {MAX_CHARACTERS} are not read.")
    text = text.removeprefix("\ufeff")
    _check_header(text)
    notes = Notes(url, variables or {})
    has_segments = _SEGMENT_TAG.search(text) is not None
    if _VARIANT_TAG.search(text):
        if has_segments:
            raise PlaylistError("The playlist has both segments and variants, so it is neither kind of HLS playlist.")
        return read_multivariant(text, notes)
    if not has_segments and _MULTIVARIANT_TAG.search(text):
        return read_multivariant(text, notes)
    return read_media(text, notes)


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
