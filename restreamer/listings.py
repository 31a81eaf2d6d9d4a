"""The routes that list the store and serve its files."""

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from aiohttp import web

from common.dateutil import parse_hour
from common.segments import TOMBSTONE_SUFFIX, SegmentType, parse_name
from common.store import BadPathError, Store
from common.web import RequestError
from restreamer.keys import STORE

T = TypeVar("T")

_MEDIA_TYPES = {".ts": "video/mp2t", ".mp4": "video/mp4", TOMBSTONE_SUFFIX: "application/octet-stream"}

# A name tells its content, so what was once served under it stays as it is.
_IMMUTABLE = "public, max-age=31536000, immutable"


async def off_loop(work: Callable[[], T]) -> T:
    """Do a request's disk work in a thread; a name that leads nowhere becomes a 400."""
    try:
        return await asyncio.to_thread(work)
    except BadPathError as error:
        raise RequestError(str(error)) from error


async def channels(request: web.Request) -> web.Response:
    """Answer `GET /files`: the channels, as a JSON list."""
    return _json(await off_loop(request.app[STORE].channels))


async def qualities(request: web.Request) -> web.Response:
    """Answer `GET /files/C`: the channel's qualities."""
    channel = request.match_info["channel"]
    return _json(await off_loop(lambda: request.app[STORE].qualities(channel)))


async def hours(request: web.Request) -> web.Response:
    """Answer `GET /files/C/Q`: the hours recorded, oldest first."""
    info = request.match_info
    return _json(await off_loop(lambda: request.app[STORE].hours(info["channel"], info["quality"])))


async def segments(request: web.Request) -> web.Response:
    """Answer `GET /files/C/Q/H`: the hour's segment names; with `?tombstones=true` those and what they hide, too."""
    info = request.match_info
    tombstones = request.query.get("tombstones", "false").lower() == "true"
    names = await off_loop(
        lambda: request.app[STORE].names(info["channel"], info["quality"], info["hour"], tombstones=tombstones)
    )
    return _json(names)


async def segment(request: web.Request) -> web.StreamResponse:
    """Answer `GET /segments/C/Q/H/NAME`: the file, whole or by byte range (RFC 9110 §14)."""
    info = request.match_info
    media_type = _media_type(info["hour"], info["name"])
    path = await off_loop(lambda: _existing(request.app[STORE], **info))
    return web.FileResponse(path, headers={"Content-Type": media_type, "Cache-Control": _IMMUTABLE})


def _existing(store: Store, channel: str, quality: str, hour: str, name: str) -> Path:
    path = store.path(channel, quality, hour, name)
    if not path.is_file():
        raise RequestError(f"There is no segment {name[:200]} in {hour} of {channel}/{quality}.", status=404)
    return path


def _media_type(hour: str, name: str) -> str:
    """Give the media type of a segment or tombstone. Raises RequestError for anything else, and for a `temp`."""
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
    return media_type


async def health(request: web.Request) -> web.Response:
    """Answer `GET /health`: alive, and whether the store can be read; 503 if it cannot."""
    store = request.app[STORE]
    readable = await asyncio.to_thread(store.base.is_dir)
    body = {"status": "ok" if readable else "failing", "store": "readable" if readable else f"{store.base} is missing"}
    return web.json_response(body, status=200 if readable else 503, headers={"Cache-Control": "no-store"})


def _json(names: list[str]) -> web.Response:
    return web.json_response(names, headers={"Cache-Control": "no-cache"}, dumps=_dumps)


def _dumps(names: object) -> str:
    return json.dumps(names, separators=(",", ":"))
