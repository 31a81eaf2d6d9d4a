"""The origin of a stream over HTTP: its playlists, as values."""

import asyncio
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus

from aiohttp import (
    ClientConnectorCertificateError,
    ClientConnectorDNSError,
    ClientError,
    ClientPayloadError,
    ClientSession,
    ClientSSLError,
    ClientTimeout,
    InvalidURL,
    NonHttpUrlClientError,
    ServerDisconnectedError,
    StreamReader,
    TooManyRedirects,
)

from common.addresses import without_secrets
from downloader.connections import is_out_of_reach
from downloader.playlist import parse
from downloader.playlist_values import MediaPlaylist, MultivariantPlaylist, PlaylistError

# The best quality that a channel has, whatever it is.
SOURCE = "source"

# A live playlist that takes longer is of no use: its segments are old when it comes.
_PLAYLIST_TIMEOUT = ClientTimeout(total=15.0, sock_connect=5.0, sock_read=10.0)

# Far more than a playlist of a day has.
_MOST_BYTES = 16 << 20


class OriginError(Exception):
    """The origin did not give what was asked of it; the text is one plain sentence."""


async def fetch_playlist(
    session: ClientSession,
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    variables: Mapping[str, str] | None = None,
    seconds: float = 0.0,
    seen: Callable[[str], None] = lambda _: None,
) -> MediaPlaylist | MultivariantPlaylist:
    """Fetch and read a playlist; the origin may hold the answer back for so many `seconds`. `seen` gets its text.

    A media playlist may import `variables`, which are those of the multivariant playlist that led to it. Raises
    OriginError if it does not come, or is none.
    """
    try:
        async with session.get(url, headers=headers, timeout=_timeout(seconds)) as response:
            if response.status != HTTPStatus.OK:
                raise OriginError(f"{without_secrets(url)} answers {status_line(response.status)}.")
            body = await _read(response.content, url)
            where = str(response.url)
    except TimeoutError:
        raise OriginError(f"{without_secrets(url)} does not answer in time.") from None
    except (ClientError, ValueError, OSError) as error:
        raise OriginError(f"{without_secrets(url)} cannot be fetched: {why(error)}.") from error
    text = body.decode("utf-8", "replace")
    seen(text)
    try:
        return await asyncio.to_thread(parse, text, where, variables)
    except PlaylistError as error:
        raise OriginError(f"{without_secrets(url)}: {error}") from error


def _timeout(held_back: float) -> ClientTimeout:
    given = _PLAYLIST_TIMEOUT
    total, read = (given.total or 0.0) + held_back, (given.sock_read or 0.0) + held_back
    return ClientTimeout(total=total, sock_connect=given.sock_connect, sock_read=read or None)


async def fetch_media_playlist(
    session: ClientSession,
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    variables: Mapping[str, str] | None = None,
    seconds: float = 0.0,
    seen: Callable[[str], None] = lambda _: None,
) -> MediaPlaylist:
    """Fetch and read a media playlist, as `fetch_playlist` does. Raises OriginError if it is a multivariant one too."""
    playlist = await fetch_playlist(session, url, headers, variables=variables, seconds=seconds, seen=seen)
    if not isinstance(playlist, MediaPlaylist):
        raise OriginError(f"{without_secrets(url)} is now a choice of qualities, where a list of segments was.")
    return playlist


def status_line(status: int) -> str:
    """Give a status as one reads it: `404 Not Found`; never in the origin's own words, which may be anything."""
    with suppress(ValueError):
        return f"{status} {HTTPStatus(status).phrase}"
    return str(status)


# The first that fits decides, so what is special comes before what is general.
_REASONS: tuple[tuple[type[Exception], str], ...] = (
    (TooManyRedirects, "it redirects without an end"),
    (InvalidURL, "the address, or one that it redirects to, is malformed"),
    (NonHttpUrlClientError, "it redirects to what is neither http nor https"),
    (ClientConnectorDNSError, "its host is not known"),
    (ClientConnectorCertificateError, "its certificate is not valid"),
    (ClientSSLError, "a secure connection could not be made"),
    (ServerDisconnectedError, "the connection was closed before an answer came"),
    (ClientPayloadError, "the transfer broke off"),
    (UnicodeError, "its host cannot be a host's name"),
)


def why(error: ClientError | ValueError | OSError) -> str:
    """Say in a few words why a request failed; never in the error's own, which may quote the whole address."""
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return reason
    if is_out_of_reach(error):
        return "it leads to a private address, which only --allow-private permits"
    if isinstance(error, OSError) and error.errno:
        return f"the connection failed ({os.strerror(error.errno)})"
    return f"the answer could not be understood ({type(error).__name__})"


async def _read(content: StreamReader, url: str) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise OriginError(f"{without_secrets(url)} is longer than {_MOST_BYTES >> 20} MiB, so it is no playlist.")
    return bytes(body)
