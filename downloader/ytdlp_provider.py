"""What the yt-dlp library resolves; it is an optional extra, `respool[yt-dlp]`, and imported when it is first asked."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from common.addresses import without_secrets
from downloader.providers import Playlists, ProviderError, good_for, plainly

_REQUEST_SECONDS = 10.0

# What an extractor calls something that is not on air now; not `not_live`, which is also said where nobody knows.
_NOT_ON_AIR = {"is_upcoming": "has not begun yet", "was_live": "is over", "post_live": "is over"}

# As for streamlink: what our client sets for itself, or what says nothing about the stream.
_OWN_HEADERS = {"accept", "accept-encoding", "accept-language", "connection", "sec-fetch-mode"}


@dataclass(frozen=True, slots=True)
class YtDlpProvider:
    """A page that one of yt-dlp's extractors knows."""

    address: str

    def find(self) -> Playlists:
        """Have the extractor find it."""
        try:
            YoutubeDL, YoutubeDLError = _library()  # noqa: N806 - classes
        except ImportError:
            raise ProviderError("yt-dlp is not installed; `pip install 'respool[yt-dlp]'` does that.") from None
        shown = without_secrets(self.address)
        try:
            with YoutubeDL(_options()) as library:
                info: Mapping[str, Any] = library.extract_info(self.address, download=False) or {}
        except YoutubeDLError as error:
            raise ProviderError(f"yt-dlp cannot find {shown} ({plainly(error)}).") from error
        return _playlists(info, shown)


def _library() -> tuple[type[Any], type[Exception]]:
    """Import the library, without harm to streamlink.

    Both put something of their own in the place of a pattern of urllib3, to the same end. What yt-dlp puts there cannot
    stand upon what streamlink did: then no URL could be read any more. So the one that came first stays.
    """
    import urllib3.util.url

    pattern: object = urllib3.util.url._PERCENT_RE  # noqa: SLF001 - it is this that they replace
    from yt_dlp import YoutubeDL
    from yt_dlp.utils import YoutubeDLError

    if not isinstance(pattern, re.Pattern):
        setattr(urllib3.util.url, "_PERCENT_RE", pattern)  # noqa: B010 - a type checker takes it for a pattern
    return YoutubeDL, YoutubeDLError


def _options() -> dict[str, Any]:
    return {
        "logger": _Silent(),
        "noplaylist": True,
        "socket_timeout": _REQUEST_SECONDS,
        "retries": 1,
        "extractor_retries": 1,
        "cachedir": False,
        "color": "never",
        # all formats stay in the answer whatever is chosen here; without it, one that asks for a format fails
        "format": "best/bestvideo/bestaudio",
        "ignore_no_formats_error": True,
    }


class _Silent:
    """Takes what the library would write to the terminal; what matters of it is raised too."""

    def debug(self, _: str) -> None:
        """Drop it."""

    info = warning = error = debug


def _playlists(info: Mapping[str, Any], shown: str) -> Playlists:
    status = info.get("live_status")
    if status in _NOT_ON_AIR:
        raise ProviderError(f"{shown} {_NOT_ON_AIR[status]}.")
    formats = [each for each in info.get("formats") or () if str(each.get("protocol")).startswith("m3u8")]
    if not formats:
        raise ProviderError(f"{shown} is not to be had as HLS; it may be offline.")
    formats.reverse()  # the library has the best last
    best, multivariant = formats[0], {each.get("manifest_url") for each in formats} - {None}
    headers = {
        name: text for name, text in (best.get("http_headers") or {}).items() if name.casefold() not in _OWN_HEADERS
    }
    if len(multivariant) == 1:
        url, qualities = multivariant.pop(), dict[str, str]()
    else:
        url, qualities = best["url"], dict[str, str]()
        for each in formats:
            qualities.setdefault(_name(each), each["url"])
    return Playlists(url, headers, good_for(url, datetime.now(UTC)), qualities)


def _name(each: Mapping[str, Any]) -> str:
    """Name a format as others name variants: 720p60; by the site's own name where it has no height."""
    height, rate = each.get("height"), each.get("fps")
    return f"{height}p{round(rate) if rate else ''}" if height else str(each.get("format_id"))
