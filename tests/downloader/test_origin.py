"""Playlists over HTTP: what comes, and how what does not is told."""

import asyncio

import pytest
from aiohttp import ClientSession, ClientTimeout

from downloader import origin as subject
from downloader.origin import OriginError, fetch_playlist
from downloader.playlist_values import MediaPlaylist
from hls_origin import Entry, Held, Origin, breaks_off, hangs_up, playlist, redirect, status
from log_events import LogEvents

SECRET = "hunter2"
PATH = "/live/list.m3u8"


def asked(origin: Origin) -> str:
    """The playlist's address with a secret in each place that can hold one."""
    return origin.url(PATH).replace("//", f"//user:{SECRET}@") + f"?token={SECRET}#{SECRET}"


async def refusal(session: ClientSession, url: str) -> str:
    """The sentence with which it is refused; it tells no secrets."""
    with pytest.raises(OriginError) as raised:
        await fetch_playlist(session, url)
    sentence = str(raised.value)
    assert SECRET not in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence
    return sentence


async def test_a_media_playlist_comes_with_absolute_addresses(origin: Origin, session: ClientSession) -> None:
    """Addresses in it are taken relative to where it was found."""
    origin.put(PATH, playlist(Entry("a.ts"), Entry("/b.ts")))
    found = await fetch_playlist(session, origin.url(PATH))
    assert isinstance(found, MediaPlaylist)
    assert [entry.uri for entry in found.segments] == [origin.url("/live/a.ts"), origin.url("/b.ts")]


async def test_addresses_are_relative_to_where_a_redirect_leads(origin: Origin, session: ClientSession) -> None:
    """After a redirect it is the last address that counts."""
    origin.put(PATH, redirect("/elsewhere/list.m3u8"))
    origin.put("/elsewhere/list.m3u8", playlist(Entry("a.ts")))
    found = await fetch_playlist(session, origin.url(PATH))
    assert isinstance(found, MediaPlaylist)
    assert found.segments[0].uri == origin.url("/elsewhere/a.ts")


PLAYLIST = playlist(Entry("a.ts")).encode()


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (status(404), "answers 404 Not Found."),
        (status(403, SECRET), "answers 403 Forbidden."),
        (status(500), "answers 500 Internal Server Error."),
        (status(599), "answers 599."),
        ("<!DOCTYPE html>\n<html>hunter2</html>", "this is not an HLS playlist: it begins with '<!DOCTYPE html>'"),
        ("", "the playlist is empty."),
        (b"\xff\xfe\x00\x01" * 99, "this is not an HLS playlist"),
        (breaks_off(PLAYLIST, 20), "cannot be fetched: the transfer broke off."),
        (breaks_off(PLAYLIST, 20, chunked=True), "cannot be fetched: the transfer broke off."),
        (hangs_up, "cannot be fetched: the connection was closed before an answer came."),
        (redirect(f"{PATH}?token={SECRET}"), "cannot be fetched: it redirects without an end."),
        (redirect(f"file:///etc/{SECRET}"), "cannot be fetched: it redirects to what is neither http nor https."),
        (redirect(f"http://[{SECRET}/"), "cannot be fetched: the address, or one that it redirects to, is malformed."),
        (redirect(f"http://{'a' * 64}.{SECRET}.invalid/"), "cannot be fetched: its host cannot be a host's name."),
        (redirect(f"//127.0.0.1:1/{SECRET}"), "cannot be fetched: the connection failed (Connection refused)."),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_said_in_one_sentence(
    origin: Origin, session: ClientSession, events: LogEvents, answer: str, sentence: str
) -> None:
    """Whatever an origin answers, the error is one sentence for an operator, and tells no secrets."""
    origin.put(PATH, answer)
    said = await refusal(session, asked(origin))
    assert sentence.lower() in said.lower()
    assert said.startswith(origin.url(PATH))
    assert not events.all


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        (f"http://127.0.0.1:1/x?{SECRET}", "1:1/x cannot be fetched: the connection failed (Connection refused)."),
        (f"http://h:99999/?{SECRET}", "(a malformed URL) cannot be fetched: the address, or one that it redirects to,"),
        (f"https://{{}}/x?{SECRET}", "cannot be fetched: a secure connection could not be made."),
    ],
)  # fmt: skip
async def test_an_address_that_leads_nowhere_is_said(
    origin: Origin, session: ClientSession, url: str, sentence: str
) -> None:
    """An address at which nobody answers gives a sentence too."""
    assert sentence in await refusal(session, url.format(origin.base.removeprefix("http://")))


@pytest.mark.parametrize("sent", [None, 10])
async def test_an_origin_that_hangs_is_given_up(
    origin: Origin, session: ClientSession, monkeypatch: pytest.MonkeyPatch, sent: int | None
) -> None:
    """A playlist that does not come, or does not go on coming, is not waited for."""
    monkeypatch.setattr(subject, "_PLAYLIST_TIMEOUT", ClientTimeout(total=0.05))
    origin.put(PATH, Held(PLAYLIST, sent))
    assert await refusal(session, asked(origin)) == f"{origin.url(PATH)} does not answer in time."


async def test_a_playlist_without_an_end_is_given_up(
    origin: Origin, session: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is far too long for a playlist is not read to its end, which may never come."""
    monkeypatch.setattr(subject, "_MOST_BYTES", 1 << 20)
    endless = Held(b"#EXTM3U\n" + b"#" * (3 << 20), 2 << 20)
    origin.put(PATH, endless)
    async with asyncio.timeout(5):
        assert await refusal(session, asked(origin)) == (
            f"{origin.url(PATH)} is longer than 1 MiB, so it is no playlist."
        )


async def test_addresses_in_warnings_tell_no_secrets(origin: Origin, session: ClientSession) -> None:
    """What a playlist gets wrong is told without the secrets of its addresses."""
    lines = [f"http://user:{SECRET}@host/a.ts?token={SECRET}", f"file://user:{SECRET}@host/b.ts?token={SECRET}"]
    origin.put(PATH, f"#EXTM3U\n{lines[0]}\n#EXTINF:2,\n{lines[1]}\n")
    found = await fetch_playlist(session, origin.url(PATH))
    assert len(found.warnings) == 3
    assert SECRET not in str(found.warnings)
