"""What streamlink resolves: its own library, on a real server, and its Twitch plugin on answers like Twitch's."""

import asyncio
import io
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from requests import PreparedRequest, Response
from requests.adapters import BaseAdapter
from streamlink.session.http import HTTPSession

from downloader.finder import Finder
from downloader.providers import Playlists, ProviderError
from downloader.streamlink_provider import TWITCH_TOKEN, StreamlinkProvider
from hls_origin import Entry, Origin, multivariant, playlist, status

LIST = playlist(Entry("0.ts"))
TOKEN = {"expires": 4_000_000_000, "chansub": {"restricted_bitrates": []}}


async def find(address: str) -> Playlists:
    return await Finder("chan", StreamlinkProvider(address)).find()


async def refusal(address: str) -> str:
    with pytest.raises(ProviderError) as raised:
        await find(address)
    return str(raised.value)


async def test_multivariant_playlist_is_found(origin: Origin) -> None:
    """Of several variants the address is that of the playlist that lists them, so that choosing is left to us."""
    origin.put("/x.m3u8", multivariant(best="a.m3u8", less="b.m3u8"))
    found = await find(origin.url("/x.m3u8"))
    assert found.url == origin.url("/x.m3u8")
    assert found.qualities == {}
    assert list(found.headers) == ["User-Agent"]


async def test_media_playlist_is_found(origin: Origin) -> None:
    """A single media playlist is found as it is, with what its address tells of its end."""
    origin.put("/x.m3u8", LIST)
    found = await find(f"{origin.url('/x.m3u8')}?exp=1000000000")
    assert (found.url, found.qualities, found.expires_in) == (origin.url("/x.m3u8?exp=1000000000"), {}, None)


async def test_what_fails_is_one_sentence(origin: Origin) -> None:
    """A playlist that is not there, and a page that no plugin knows, are told without the secrets of the address."""
    origin.put("/x.m3u8", status(404))
    said = await refusal(origin.url("/x.m3u8?SECRET"))
    assert said.startswith(
        f"streamlink cannot find {origin.url('/x.m3u8')} (Unable to open URL: {origin.url('/x.m3u8')}"
    )
    assert "SECRET" not in said
    origin.put("/page", "<html>")
    said = await refusal(origin.url("/page?SECRET"))
    assert said == (
        f"streamlink has no plugin for {origin.url('/page')}; if it is a playlist itself, leave out `streamlink:`."
    )


class Twitch(BaseAdapter):
    """The few answers of Twitch that the plugin asks for."""

    def __init__(self, token: dict[str, Any] | None) -> None:
        super().__init__()
        self.token = token
        self.requests: list[PreparedRequest] = []

    def send(self, request: PreparedRequest, *_: object, **__: object) -> Response:
        self.requests.append(request)
        response = Response()
        response.request, response.url = request, request.url or ""
        response.status_code, response.encoding = 200, "utf-8"
        response.raw = io.BytesIO(self.answer(urlsplit(response.url).hostname or "").encode())
        return response

    def answer(self, host: str) -> str:
        if host == "gql.twitch.tv":
            value = self.token and {"signature": "sig", "value": json.dumps(self.token)}
            return json.dumps({"data": {"streamPlaybackAccessToken": value}})
        if host == "usher.ttvnw.net":
            return (
                "#EXTM3U\n"
                '#EXT-X-STREAM-INF:BANDWIDTH=9000000,RESOLUTION=2560x1440,CODECS="hev1.1.2.L150,mp4a.40.2",'
                'FRAME-RATE=60.000,STABLE-VARIANT-ID="1440p60"\nhttps://edge.ttvnw.net/v1/playlist/a.m3u8\n'
            )
        return LIST

    def close(self) -> None:
        pass

    def to(self, host: str) -> PreparedRequest:
        return next(request for request in self.requests if urlsplit(request.url or "").hostname == host)


Mount = Callable[[dict[str, Any] | None], Twitch]


@pytest.fixture
def twitch(monkeypatch: pytest.MonkeyPatch) -> Mount:
    def mount(token: dict[str, Any] | None) -> Twitch:
        fake = Twitch(token)
        monkeypatch.setattr(HTTPSession, "get_adapter", lambda *_, **__: fake)
        return fake

    return mount


async def test_twitch_channel_is_found(twitch: Mount) -> None:
    """The multivariant address has its token, all codecs are asked for, and it is good for Twitch's day."""
    fake = twitch(TOKEN)
    found = await find("https://www.twitch.tv/Marathon")
    address = urlsplit(found.url)
    query = parse_qs(address.query)
    assert (address.hostname, address.path) == ("usher.ttvnw.net", "/api/v2/channel/hls/marathon.m3u8")
    assert query["supported_codecs"] == ["h264,h265,av1"]
    assert (query["sig"], json.loads(query["token"][0])) == (["sig"], TOKEN)
    assert found.expires_in == timedelta(hours=24)
    assert found.headers["referer"] == "https://player.twitch.tv"
    assert "Authorization" not in fake.to("gql.twitch.tv").headers


async def test_twitch_is_asked_with_an_account(twitch: Mount, monkeypatch: pytest.MonkeyPatch) -> None:
    """The token of an account goes to Twitch's interface, and not along with the playlists."""
    monkeypatch.setenv(TWITCH_TOKEN, "abc")
    fake = twitch(TOKEN)
    found = await find("https://www.twitch.tv/marathon")
    assert fake.to("gql.twitch.tv").headers["Authorization"] == "OAuth abc"
    assert "abc" not in str(found)


async def test_twitch_channel_may_be_offline(twitch: Mount) -> None:
    """A channel without a token is offline."""
    twitch(None)
    assert await refusal("https://www.twitch.tv/marathon") == "https://www.twitch.tv/marathon is offline."


async def test_hanging_server_does_not_hold_up(origin: Origin) -> None:
    """While a site does not answer the attempt is given up, and the loop goes on."""
    release = asyncio.Event()

    async def hang(_: object) -> Any:  # noqa: ANN401 - never answers
        await release.wait()
        raise ConnectionError

    origin.put("/x.m3u8", hang)
    finder = Finder("chan", StreamlinkProvider(origin.url("/x.m3u8")), seconds=0.05)
    with pytest.raises(ProviderError, match="could not be found within 0 seconds"):
        await finder.find()
    release.set()
