"""Where a channel's media playlists are: asked once for all qualities, chosen for each."""

import pytest
from aiohttp import ClientSession

from downloader.origin import OriginError
from downloader.providers import Playlists, UrlProvider
from downloader.source import Channel, Source
from hls_origin import Entry, Origin, multivariant, playlist, status

PATH = "/live/list.m3u8"


def source(origin: Origin, session: ClientSession, *qualities: str) -> Source:
    return Source(Channel("chan", UrlProvider(origin.url(PATH))), session, qualities)


async def test_each_quality_is_found(origin: Origin, session: ClientSession) -> None:
    """A channel's address may be a choice of qualities; `source` is the best, others go by name."""
    origin.put(PATH, multivariant(high="high.m3u8", low="low.m3u8"))
    asked = source(origin, session, "source", "low")
    assert (await asked.find("source")).url == origin.url("/live/high.m3u8")
    assert (await asked.find("low")).url == origin.url("/live/low.m3u8")
    assert origin.count(PATH) == 1


async def test_no_answer_is_given_twice_to_one_quality(origin: Origin, session: ClientSession) -> None:
    """Who asks again wants to know how it is now, and then the others get that too."""
    origin.put(PATH, multivariant(high="a.m3u8", low="b.m3u8"), multivariant(high="c.m3u8", low="d.m3u8"))
    asked = source(origin, session, "source", "low")
    found = [(await asked.find(quality)).url for quality in ("source", "source", "low")]
    assert found == [origin.url("/live/a.m3u8"), origin.url("/live/c.m3u8"), origin.url("/live/d.m3u8")]
    assert origin.count(PATH) == 2


async def test_a_media_playlist_is_its_own_quality(origin: Origin, session: ClientSession) -> None:
    """A channel's address may be the list of segments itself; then there is `source` only, and it is at hand."""
    origin.put(PATH, playlist(Entry("a.ts")))
    found = await source(origin, session, "source").find("source")
    assert found.url == origin.url(PATH)
    assert found.playlist is not None
    assert [entry.uri for entry in found.playlist.segments] == [origin.url("/live/a.ts")]
    with pytest.raises(OriginError, match=r"offers one quality only; ask for source in place of 720p\.$"):
        await source(origin, session, "720p").find("720p")


async def test_a_missing_quality_names_those_there_are(origin: Origin, session: ClientSession) -> None:
    """The sentence says what could be asked for, and the qualities that there are do not suffer."""
    origin.put(PATH, multivariant(high="high.m3u8"))
    asked = source(origin, session, "source", "720p")
    with pytest.raises(OriginError, match=r"has no quality '720p'; it has: source, high\.$"):
        await asked.find("720p")
    assert (await asked.find("source")).url == origin.url("/live/high.m3u8")


async def test_an_error_is_told_to_all_who_asked(origin: Origin, session: ClientSession) -> None:
    """An origin that fails is asked once for all qualities, too."""
    origin.put(PATH, status(500))
    asked = source(origin, session, "source", "720p")
    for quality in ("source", "720p"):
        with pytest.raises(OriginError, match="answers 500"):
            await asked.find(quality)
    assert origin.count(PATH) == 1


async def test_backups_are_tried_in_turn(origin: Origin, session: ClientSession) -> None:
    """Where variants are the same thing at two addresses, another attempt gets the other one."""
    lines = [f"#EXT-X-STREAM-INF:BANDWIDTH=9,RESOLUTION=2x2\n{name}.m3u8" for name in "ab"]
    origin.put(PATH, "\n".join(["#EXTM3U", *lines, ""]))
    asked = source(origin, session, "source")
    found = [(await asked.find("source", attempt)).url for attempt in range(3)]
    assert found == [origin.url(f"/live/{name}.m3u8") for name in "aba"]


async def test_sound_that_comes_apart_is_found_too(origin: Origin, session: ClientSession) -> None:
    """The name of a separate sound is told once, and it is found like a quality."""
    media = '#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID="s",NAME="x",DEFAULT=YES,URI="sound.m3u8"'
    variant = '#EXT-X-STREAM-INF:BANDWIDTH=9,CODECS="avc1.4d401f,mp4a.40.2",AUDIO="s"\npicture.m3u8'
    origin.put(PATH, f"#EXTM3U\n{media}\n{variant}\n")
    asked = source(origin, session, "source")
    assert (await asked.find("source")).url == origin.url("/live/picture.m3u8")
    assert asked.sounds.get_nowait() == "source-audio"
    assert (await asked.find("source-audio")).url == origin.url("/live/sound.m3u8")
    await asked.find("source")
    assert asked.sounds.empty()


class Known:
    """A provider that knows the qualities itself."""

    address = "http://host/"

    def find(self) -> Playlists:
        return Playlists("http://host/", qualities={"1080p": "http://host/a", "480p": "http://host/b"})


async def test_a_provider_may_know_the_qualities(session: ClientSession) -> None:
    """Then they go by its names, and the first is the best."""
    asked = Source(Channel("chan", Known()), session, ["source", "480P"])
    assert (await asked.find("source")).url == "http://host/a"
    assert (await asked.find("480P")).url == "http://host/b"
    with pytest.raises(OriginError, match=r"has no quality '720p'; it has: source, 1080p, 480p\.$"):
        await asked.find("720p")
