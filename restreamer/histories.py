"""The routes of the playlists that the downloader keeps for later questions; only for who has a token.

They are as they came, and there may be secrets in their addresses: with those, anybody could ask in our name.
"""

from aiohttp import web

from common import histories
from common.store import BadPathError
from common.web import RequestError
from restreamer.answers import answer_json
from restreamer.files import send_file
from restreamer.keys import ADMISSION, STORE


async def hours(request: web.Request) -> web.Response:
    """Answer `GET /histories/C/Q`: the hours that have any, each with a digest of their names."""
    _check(request)
    channel, quality = request.match_info["channel"], request.match_info["quality"]
    return await answer_json(request, lambda: histories.digests(request.app[STORE], channel, quality))


async def names(request: web.Request) -> web.Response:
    """Answer `GET /histories/C/Q/H`: their names."""
    _check(request)
    return await answer_json(request, lambda: histories.names(request.app[STORE], **request.match_info))


async def playlist(request: web.Request) -> web.StreamResponse:
    """Answer `GET /histories/C/Q/H/NAME`: one of them, as it came."""
    _check(request)
    try:
        path = histories.path(request.app[STORE], **request.match_info)
    except BadPathError as error:
        raise RequestError(str(error), status=404) from error
    return await send_file(request, path, {"Content-Type": "text/plain; charset=utf-8", "Cache-Control": "no-cache"})


def _check(request: web.Request) -> None:
    if not request.app[ADMISSION].asks_for_tokens:
        raise RequestError("Kept playlists may hold secrets; they are given only where a token is needed.", status=403)
