"""What yt-dlp resolves: its own library on a real server, and what extractors of sites give."""

import subprocess
import sys
from types import ModuleType
from typing import Any, Self

import pytest

from downloader.finder import Finder
from downloader.providers import Playlists, ProviderError
from downloader.ytdlp_provider import YtDlpProvider
from hls_origin import Entry, Origin, multivariant, playlist, status

PAGE = "https://site/watch?v=1"


async def find(address: str) -> Playlists:
    return await Finder("chan", YtDlpProvider(address)).find()


async def refusal(address: str) -> str:
    with pytest.raises(ProviderError) as raised:
        await find(address)
    return str(raised.value)


async def test_library_finds_a_playlist(origin: Origin) -> None:
    """The real library gives the multivariant playlist of an address, and one sentence where there is none."""
    origin.put("/x.m3u8", multivariant(best="a.m3u8", less="b.m3u8"))
    origin.put("/a.m3u8", playlist(Entry("0.ts")))
    found = await find(origin.url("/x.m3u8"))
    assert (found.url, found.qualities) == (origin.url("/x.m3u8"), {})
    assert "User-Agent" in found.headers
    origin.put("/y.m3u8", status(404))
    said = await refusal(origin.url("/y.m3u8?SECRET"))
    assert said.startswith(f"yt-dlp cannot find {origin.url('/y.m3u8')} (ERROR: [generic]")
    assert "SECRET" not in said


@pytest.fixture
def library(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Put in place of the library one that gives this for any page."""
    info: dict[str, Any] = {}

    class YoutubeDL:
        def __init__(self, options: dict[str, Any]) -> None:
            assert options["cachedir"] is False

        def __enter__(self) -> Self:
            return self

        def __exit__(self, *_: object) -> None:
            pass

        def extract_info(self, url: str, *, download: bool) -> dict[str, Any]:
            assert (url, download) == (PAGE, False)
            return info

    fake, utils = ModuleType("yt_dlp"), ModuleType("yt_dlp.utils")
    fake.__dict__.update(YoutubeDL=YoutubeDL, utils=utils)
    utils.__dict__.update(YoutubeDLError=RuntimeError)
    monkeypatch.setitem(sys.modules, "yt_dlp", fake)
    monkeypatch.setitem(sys.modules, "yt_dlp.utils", utils)
    return info


def hls(name: str, **fields: object) -> dict[str, object]:
    return {"format_id": name, "protocol": "m3u8_native", "url": f"https://site/{name}.m3u8", **fields}


async def test_one_multivariant_playlist_is_enough(library: dict[str, Any]) -> None:
    """If all formats stand in one playlist, that is the address; of the headers those stay that a site may look at."""
    headers = {"User-Agent": "x", "Referer": PAGE, "Accept": "*/*", "Sec-Fetch-Mode": "navigate"}
    shared = {"manifest_url": "https://site/all.m3u8", "http_headers": headers}
    dash = {"protocol": "http_dash_segments", "url": "https://site/x.mpd", "manifest_url": "https://site/x.mpd"}
    library.update(live_status="is_live", formats=[hls("low", **shared), hls("high", **shared), dash])
    assert await find(PAGE) == Playlists("https://site/all.m3u8", {"User-Agent": "x", "Referer": PAGE})


async def test_formats_without_a_common_playlist_are_qualities(library: dict[str, Any]) -> None:
    """Otherwise each is a quality by height and rate, the best first, and of one name the better."""
    library["formats"] = [
        hls("audio"), hls("small", height=360, fps=29.97), hls("b", height=720, fps=60), hls("c", height=720, fps=60),
    ]  # fmt: skip
    found = await find(PAGE)
    assert found.url == "https://site/c.m3u8"
    assert list(found.qualities.items()) == [
        ("720p60", "https://site/c.m3u8"), ("360p30", "https://site/small.m3u8"), ("audio", "https://site/audio.m3u8"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("info", "sentence"),
    [
        ({"live_status": "is_upcoming"}, "https://site/watch has not begun yet."),
        ({"live_status": "was_live", "formats": [hls("x")]}, "https://site/watch is over."),
        ({"formats": [{"protocol": "https"}]}, "https://site/watch is not to be had as HLS; it may be offline."),
        ({}, "https://site/watch is not to be had as HLS; it may be offline."),
        ({"formats": [{"protocol": "m3u8"}]}, "https://site/watch could not be found (KeyError: 'url')."),
    ],
)
async def test_what_is_not_on_air_is_said(library: dict[str, Any], info: dict[str, Any], sentence: str) -> None:
    """A stream that is to come, is over, or is no HLS is one sentence."""
    library.update(info)
    assert await refusal(PAGE) == sentence


async def test_missing_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the optional extra the sentence says how to get it."""
    monkeypatch.setitem(sys.modules, "yt_dlp", None)
    assert await refusal(PAGE) == "yt-dlp is not installed; `pip install 'respool[yt-dlp]'` does that."


BOTH = """
import sys, streamlink
from downloader.providers import ProviderError
from downloader.ytdlp_provider import YtDlpProvider
try:
    YtDlpProvider("http://127.0.0.1:1/x").find()
except ProviderError:
    pass
from urllib3.util.url import parse_url
print(parse_url("http://host.example/a%2fb").url)
"""


def test_both_libraries_work_in_one_process() -> None:
    """Where streamlink was asked before, yt-dlp leaves it able to read addresses, as they are."""
    done = subprocess.run([sys.executable, "-c", BOTH], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout == "http://host.example/a%2fb\n"
