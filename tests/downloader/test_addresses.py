"""What stands behind NAME= on the command line."""

import json
import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from downloader.addresses import PROVIDERS, AddressError, provider_of
from downloader.finder import Finder
from downloader.providers import Playlists, Provider, ProviderError, UrlProvider
from downloader.streamlink_provider import StreamlinkProvider
from downloader.ytdlp_provider import YtDlpProvider
from hls_origin import Origin


@pytest.mark.parametrize(
    ("text", "provider"),
    [
        ("https://host/x.m3u8?a=b:c", UrlProvider("https://host/x.m3u8?a=b:c")),
        ("streamlink:https://www.twitch.tv/x", StreamlinkProvider("https://www.twitch.tv/x")),
        ("yt-dlp:https://host/watch?v=1", YtDlpProvider("https://host/watch?v=1")),
    ],
)
def test_addresses_name_their_provider(text: str, provider: Provider) -> None:
    """A URL stands for itself; behind a provider's name and a colon stands what that one is asked."""
    assert provider_of(text) == provider


URL = "must be an http or https URL, such as https://host/x.m3u8, or such a URL behind streamlink: or yt-dlp:."
BEHIND = "must have an http or https URL behind {0}:, such as {0}:https://host/page."


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("host/x", URL),
        ("file:///x", URL),
        ("youtube-dl:https://h/x", URL),
        ("streamlink:", BEHIND.format("streamlink")),
        ("streamlink:file:///x", BEHIND.format("streamlink")),
        ("streamlink:hls://file:///x", BEHIND.format("streamlink")),
        ("yt-dlp:ytsearch:x", BEHIND.format("yt-dlp")),
    ],
)
def test_what_is_no_address_is_refused(text: str, sentence: str) -> None:
    """The sentence says what it must be, and nothing of what it was."""
    with pytest.raises(AddressError) as refused:
        provider_of(text)
    assert str(refused.value) == sentence


def test_every_provider_has_an_address() -> None:
    """Each entry of the table makes a provider of an address, without asking its library."""
    for make in PROVIDERS.values():
        assert make("https://host/x").address == "https://host/x"


async def test_documented_provider_works(root: Path, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """The provider that docs/providers.md shows is named on the command line as it says, and finds a stream."""
    page = (root / "docs" / "providers.md").read_text(encoding="utf-8")
    example = re.search(r"```python\n(.*?)```", page, re.DOTALL)
    assert example is not None
    names: dict[str, Any] = {"__name__": "studio"}
    exec(compile(example[1], "docs/providers.md", "exec"), names)  # noqa: S102 - the example is ours
    monkeypatch.setitem(PROVIDERS, "studio", names["StudioProvider"])
    finder = Finder("chan", provider_of(f"studio:{origin.url('/status')}"))
    origin.put("/status", json.dumps({"on_air": False}))
    with pytest.raises(ProviderError, match=r"^The studio is not on air\.$"):
        await finder.find()
    origin.put("/status", json.dumps({"on_air": True, "token": "abc", "playlist": "http://10.0.0.1/x.m3u8"}))
    headers = {"Authorization": "Bearer abc"}
    assert await finder.find() == Playlists("http://10.0.0.1/x.m3u8", headers, timedelta(hours=6))
    origin.put("/status", "<html>")
    with pytest.raises(ProviderError, match=r"^The studio's encoder does not answer\.$"):
        await finder.find()
