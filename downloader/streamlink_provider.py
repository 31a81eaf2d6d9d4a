"""What the streamlink library resolves: Twitch, and the sites of its other plugins.

Only its knowledge of sites is used: it finds the multivariant playlist, and we choose and download. The library is
imported when it is first asked.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from common.addresses import without_secrets
from downloader.providers import Playlists, ProviderError, good_for, plainly

if TYPE_CHECKING:
    from streamlink.session.session import Streamlink
    from streamlink.stream.stream import Stream

# One request of a plugin; it makes several.
_REQUEST_SECONDS = 10.0

# Which variants Twitch offers depends on what we say that we can play; we only store it.
_TWITCH_CODECS = ["h264", "h265", "av1"]

# The OAuth token of an account that sees no advertisements. A variable and no flag: flags are seen by everybody.
TWITCH_TOKEN = "RESPOOL_TWITCH_TOKEN"  # noqa: S105 - the name of one

# The token in Twitch's multivariant address ends after minutes, the media playlists behind it after a day and not
# before (https://github.com/streamlink/streamlink/issues/5360).
_TWITCH_HOST = "usher.ttvnw.net"
_TWITCH_LASTS = timedelta(hours=24)

# Those that our client sets for itself, or that say nothing about the stream.
_OWN_HEADERS = {"accept", "accept-encoding", "connection"}

# Synonyms that streamlink adds to the names of qualities.
_SYNONYMS = {"best", "worst"}


@dataclass(frozen=True, slots=True)
class StreamlinkProvider:
    """A page that one of streamlink's plugins knows, such as https://www.twitch.tv/CHANNEL."""

    address: str

    def find(self) -> Playlists:
        """Have the plugin find it; a session of its own each time, so that nothing old is left from the last."""
        from streamlink.session.session import Streamlink

        session = Streamlink({"http-timeout": _REQUEST_SECONDS, "no-plugin-cache": True, "webbrowser": False})
        try:
            return _playlists(session, _streams(session, self.address), without_secrets(self.address))
        finally:
            session.http.close()


def _streams(session: "Streamlink", address: str) -> "Mapping[str, Stream]":
    """Give the streams of a page by name. Raises ProviderError."""
    from streamlink.exceptions import NoPluginError, StreamlinkError

    shown = without_secrets(address)
    try:
        name, plugin, url = session.resolve_url(address)
        streams: Mapping[str, Stream] = plugin(session, url, _twitch_options() if name == "twitch" else {}).streams()
    except NoPluginError:
        raise ProviderError(
            f"streamlink has no plugin for {shown}; if it is a playlist itself, leave out `streamlink:`."
        ) from None
    except StreamlinkError as error:
        raise ProviderError(f"streamlink cannot find {shown} ({plainly(error)}).") from error
    if not streams:
        raise ProviderError(f"{shown} is offline.")
    return streams


def _twitch_options() -> dict[str, Any]:
    token = os.environ.get(TWITCH_TOKEN)
    return {
        "supported-codecs": _TWITCH_CODECS,
        "api-header": [("Authorization", f"OAuth {token}")] if token else [],
    }


def _playlists(session: "Streamlink", streams: "Mapping[str, Stream]", shown: str) -> Playlists:
    from streamlink.stream.hls.hls import HLSStream, MuxedHLSStream

    found = {name: stream for name, stream in streams.items() if isinstance(stream, HLSStream | MuxedHLSStream)}
    if not found:
        raise ProviderError(f"{shown} is live, but not as HLS.")
    best: Any = found.get("best") or next(iter(found.values()))
    url = best.to_manifest_url() if best.multivariant else _first(best).url
    alone = {name: stream for name, stream in found.items() if name not in _SYNONYMS and not stream.multivariant}
    ranked = sorted(alone, key=lambda name: alone[name] is not best) if len(alone) > 1 else []
    qualities = {name: _first(alone[name]).url for name in ranked}
    return Playlists(url, _headers(session, _first(best).args), _good_for(url), qualities)


def _first(stream: Any) -> Any:  # noqa: ANN401 - one HLS stream, or one with sound of its own, whose first is the picture
    return stream.substreams[0] if hasattr(stream, "substreams") else stream


def _headers(session: "Streamlink", arguments: Mapping[str, Any]) -> dict[str, str]:
    headers = {**session.http.headers, **(arguments.get("headers") or {})}
    return {name: _text(value) for name, value in headers.items() if name.casefold() not in _OWN_HEADERS}


def _text(value: str | bytes) -> str:
    return value.decode("latin-1") if isinstance(value, bytes) else value


def _good_for(url: str) -> timedelta | None:
    return _TWITCH_LASTS if urlsplit(url).hostname == _TWITCH_HOST else good_for(url, datetime.now(UTC))
