"""What stands behind NAME= on the command line, as a provider: a URL, or a provider's name, a colon and an address."""

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
            raise AddressError(
                f"must be an http or https URL, such as https://host/x.m3u8, or such a URL behind {known}."
            )
        return UrlProvider(text)
    if not is_http(address):
        raise AddressError(f"must have an http or https URL behind {name}:, such as {name}:https://host/page.")
    return PROVIDERS[name](address)
