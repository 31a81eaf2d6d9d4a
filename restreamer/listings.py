"""The routes that list the store and serve its files."""

import json
from urllib.parse import quote

from aiohttp import web

from common.dateutil import parse_hour
from common.errors import UserError
from common.segments import TOMBSTONE_SUFFIX, SegmentType, finished_names, parse_name
from common.store import BadPathError, Store
from common.web import RequestError, error_response
from restreamer import extras
from restreamer.disk import off_loop_quickly
from restreamer.files import is_file, send_file
from restreamer.keys import ACCEL_PREFIX, EXTRAS, STORE
from restreamer.params import parse_tombstones

_MEDIA_TYPES = {".ts": "video/mp2t", ".mp4": "video/mp4", TOMBSTONE_SUFFIX: "application/octet-stream"}

# A name tells its content, so what was once served under it stays as it is.
_IMMUTABLE = "public, max-age=31536000, immutable"


async def channels(request: web.Request) -> web.Response:
    """Answer `GET /files`: the channels, as a JSON list; 503 if the store has gone, which is not to be without any."""
    names = await off_loop_quickly(request.app[STORE].channels)
    fault = None if names else await _fault(request.app[STORE])
    recorded = [name for name in names if name not in request.app[EXTRAS]]
    return _json(recorded) if fault is None else error_response(503, fault)


async def qualities(request: web.Request) -> web.Response:
    """Answer `GET /files/C`: the channel's qualities."""
    channel = request.match_info["channel"]
    return _json(await off_loop_quickly(lambda: request.app[STORE].qualities(channel)))


async def hours(request: web.Request) -> web.Response:
    """Answer `GET /files/C/Q`: the hours recorded, oldest first."""
    info = request.match_info
    return _json(await off_loop_quickly(lambda: request.app[STORE].hours(info["channel"], info["quality"])))


async def segments(request: web.Request) -> web.Response:
    """Answer `GET /files/C/Q/H`: the hour's segment names; with `?tombstones=true` those and what they hide, too."""
    info = request.match_info
    tombstones = parse_tombstones(request.query.items())
    return _json(await off_loop_quickly(lambda: _finished(request.app[STORE], **info, tombstones=tombstones)))


def _finished(store: Store, channel: str, quality: str, hour: str, *, tombstones: bool) -> list[str]:
    """List an hour's names but those of `temps`, which nobody can fetch."""
    names = store.names(channel, quality, hour, tombstones=tombstones)
    return names if tombstones else finished_names(parse_hour(hour), names)


async def segment(request: web.Request) -> web.StreamResponse:
    """Answer `GET /segments/C/Q/H/NAME`: the file, whole or by byte range (RFC 9110 §14)."""
    info = request.match_info
    if info["channel"] in request.app[EXTRAS]:
        return await extras.serve(request, info["channel"], "/".join((info["quality"], info["hour"], info["name"])))
    media_type, tag = _told_by(info["hour"], info["name"])
    try:
        path = request.app[STORE].path(**info)
    except BadPathError as error:
        raise RequestError(str(error)) from error
    headers = {"Content-Type": media_type, "Cache-Control": _IMMUTABLE}
    prefix = request.app[ACCEL_PREFIX]
    if prefix is None:
        return await send_file(request, path, headers, tag=tag)
    if not await off_loop_quickly(lambda: is_file(path)):
        raise web.HTTPNotFound
    return web.Response(headers=headers | {"X-Accel-Redirect": prefix + quote("/".join(("", *info.values())))})


def _told_by(hour: str, name: str) -> tuple[str, str]:
    """Give the media type and the tag of a segment or tombstone.

    Raises RequestError for anything else, and for a `temp`.
    """
    stem, _, suffix = name.rpartition(".")
    media_type = _MEDIA_TYPES.get("." + suffix)
    if media_type is None:
        raise RequestError(f"{name[:200]!r} is not a segment's name.", status=404)
    try:
        finished = parse_name(parse_hour(hour), f"{stem}.ts")
    except ValueError as error:
        raise RequestError(str(error), status=404) from error
    if finished.type is SegmentType.TEMP:
        raise RequestError("This segment is still being written.", status=404)
    return media_type, finished.hash


async def health(request: web.Request) -> web.Response:
    """Answer `GET /health`: alive, and whether the store can be read; 503 if it cannot."""
    fault = await _fault(request.app[STORE])
    body = {"status": "ok", "store": "readable"} if fault is None else {"status": "failing", "store": fault}
    return web.json_response(body, status=200 if fault is None else 503, headers={"Cache-Control": "no-store"})


async def _fault(store: Store) -> str | None:
    """Say what is wrong with the store, in one sentence; None if it can be read."""
    try:
        await off_loop_quickly(store.check_readable)
    except UserError as error:
        return str(error)
    return None


def _json(names: list[str]) -> web.Response:
    return web.json_response(names, headers={"Cache-Control": "no-cache"}, dumps=_dumps)


def _dumps(names: object) -> str:
    return json.dumps(names, separators=(",", ":"))
