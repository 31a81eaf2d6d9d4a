"""The routes that tell how this node stands, and show the librarian's pictures of what is recorded."""

import re

from aiohttp import web

from common.coverage_pictures import picture_path
from common.store import BadPathError
from common.web import RequestError
from restreamer.files import send_file
from restreamer.keys import STATUS, STORE

_DAY = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}", re.ASCII)

# The day that is under way gets another picture each minute.
_FRESH_SECONDS = 30


async def status(request: web.Request) -> web.Response:
    """Answer `GET /status`: what is being recorded here, and what of the last hours is missing and why."""
    text = await request.app[STATUS].text()
    return web.json_response(text=text, headers={"Cache-Control": "no-store"})


async def coverage(request: web.Request) -> web.StreamResponse:
    """Answer `GET /coverage/C/Q/DAY.png`: the librarian's picture of a day; 404 if there is none."""
    info = request.match_info
    if _DAY.fullmatch(info["day"]) is None:
        raise RequestError(f"{info['day'][:64]!r} is not a day such as 2026-03-01.")
    try:
        path = picture_path(request.app[STORE], info["channel"], info["quality"], info["day"])
    except BadPathError as error:
        raise RequestError(str(error)) from error
    headers = {"Content-Type": "image/png", "Cache-Control": f"public, max-age={_FRESH_SECONDS}"}
    try:
        return await send_file(request, path, headers)
    except web.HTTPNotFound as error:
        raise RequestError("There is no picture of that day; the librarian draws them.", status=404) from error
