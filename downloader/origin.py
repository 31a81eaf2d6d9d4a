"""The origin of a stream over HTTP: its playlists, as values."""

import asyncio
from http import HTTPStatus

from aiohttp import ClientError, ClientSession, ClientTimeout, StreamReader

from common.web import without_secrets
from downloader.playlist import choose_variants, parse
from downloader.playlist_values import MediaPlaylist, MultivariantPlaylist, PlaylistError

# The best quality that a channel has, whatever it is.
SOURCE = "source"

# A live playlist that takes longer is of no use: its segments are old when it comes.
_PLAYLIST_TIMEOUT = ClientTimeout(total=15.0, sock_connect=5.0, sock_read=10.0)

# Far more than a playlist of a day has.
_MOST_BYTES = 16 << 20


class OriginError(Exception):
    """The origin did not give what was asked of it; the text is one plain sentence."""


async def fetch_playlist(session: ClientSession, url: str) -> MediaPlaylist | MultivariantPlaylist:
    """Fetch and read a playlist. Raises OriginError if it does not come, or is none."""
    try:
        async with session.get(url, timeout=_PLAYLIST_TIMEOUT) as response:
            if response.status != HTTPStatus.OK:
                raise OriginError(f"{without_secrets(url)} answers {response.status} {response.reason}.")
            body = await _read(response.content, url)
            where = str(response.url)
    except TimeoutError:
        raise OriginError(f"{without_secrets(url)} does not answer in time.") from None
    except (ClientError, ValueError, OSError) as error:
        raise OriginError(f"{without_secrets(url)} cannot be fetched: {error}.") from error
    try:
        return await asyncio.to_thread(parse, body.decode("utf-8", "replace"), where)
    except PlaylistError as error:
        raise OriginError(f"{without_secrets(url)}: {error}") from error


async def media_playlist_url(session: ClientSession, url: str, quality: str) -> str:
    """Find where the media playlist of a quality is, given a channel's address. Raises OriginError."""
    playlist = await fetch_playlist(session, url)
    if isinstance(playlist, MediaPlaylist):
        if quality != SOURCE:
            raise OriginError(
                f"{without_secrets(url)} offers one quality only; ask for {SOURCE} in place of {quality}."
            )
        return url
    try:
        return choose_variants(playlist, [quality])[quality].uri
    except PlaylistError as error:
        raise OriginError(f"{without_secrets(url)}: {error}") from error


async def _read(content: StreamReader, url: str) -> bytes:
    body = bytearray()
    async for chunk in content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise OriginError(f"{without_secrets(url)} is longer than {_MOST_BYTES >> 20} MiB, so it is no playlist.")
    return bytes(body)
