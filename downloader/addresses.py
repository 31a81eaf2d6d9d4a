"""What stands behind NAME= on the command line, as a provider: a URL, or the name of another provider, a colon, its address."""

from collections.abc import Callable

from downloader.providers import Provider, UrlProvider, is_http
from downloader.streamlink_provider import StreamlinkProvider
from downloader.ytdlp_provider import YtDlpProvider

# A new provider gets its line here. None of these modules imports its library before it is asked.
PROVIDERS: dict[str, Callable[[str], Provider]] = {
    "streamlink": StreamlinkProvider,
    "yt-dlp": YtDlpProvider,
}


class AddressError(ValueError):
    """An address of which no provider can be made; one plain sentence."""


def provider_of(text: str) -> Provider:
    """Read an address. Raises AddressError, which shows no secrets."""
    name, colon, address = text.partition(":")
    if not colon or name not in PROVIDERS:
        if not is_http(text):
            known = " or ".join(f"{name}:" for name in PROVIDERS)
            raise AddressError(f"must be an http or https URL, such as https://host/x.m3u8, or such a URL behind {known}.")
        return UrlProvider(text)
    # streamlink's own way to name a playlist outright
    if not is_http(address.removeprefix("hls://")):
        raise AddressError(f"must have an http or https URL behind {name}:, such as {name}:https://www.twitch.tv/NAME.")
    return PROVIDERS[name](address)
