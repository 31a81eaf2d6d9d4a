"""The routes by which other nodes find out, in few bytes, whether there is anything here that they have not."""

import re
from datetime import date

from aiohttp import web

from common.digest_cache import Digests
from common.errors import UserError
from common.store import Store
from common.web import RequestError
from restreamer.answers import answer_json
from restreamer.keys import DIGESTS, DIGESTS_TURN, STORE

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)


async def everything(request: web.Request) -> web.Response:
    """Answer `GET /digests`: of each channel the digests of its qualities; 503 if the store has gone."""
    async with request.app[DIGESTS_TURN]:
        return await answer_json(request, lambda: _everything(request.app[STORE], request.app[DIGESTS]))


async def days(request: web.Request) -> web.Response:
    """Answer `GET /digests/C/Q`: the digests of its days."""
    channel, quality = request.match_info["channel"], request.match_info["quality"]
    async with request.app[DIGESTS_TURN]:
        return await answer_json(request, lambda: request.app[DIGESTS].days(channel, quality))


async def hours(request: web.Request) -> web.Response:
    """Answer `GET /digests/C/Q/DAY`: the digests of the hours of a day (UTC)."""
    channel, quality, day = (request.match_info[part] for part in ("channel", "quality", "day"))
    _check_day(day)
    async with request.app[DIGESTS_TURN]:
        return await answer_json(request, lambda: request.app[DIGESTS].hours(channel, quality, day))


def _everything(store: Store, digests: Digests) -> dict[str, dict[str, str]]:
    found = digests.all()
    if not found:
        try:
            store.check_readable()
        except UserError as error:
            raise RequestError(str(error), status=503) from error
    return found


def _check_day(name: str) -> None:
    try:
        known = _DAY.fullmatch(name) is not None and bool(date.fromisoformat(name))
    except ValueError:
        known = False
    if not known:
        raise RequestError(f"{name[:64]!r} is not a day such as 2026-03-01.")
