"""The routes that show a moment or a range as a picture: frames, thumbnails, waveforms."""

import hashlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from aiohttp import web

from common.clips import NoPictureError, tag_of
from common.cuts import NothingRecordedError
from common.errors import UserError
from common.frames import FramePlan, draw_frame, plan_frame
from common.thumbnails import MOST_TEMPLATE_BYTES, BadImageError, Template, check_template, compose
from common.waveforms import draw_waveform, plan_waveform
from common.web import RequestError
from restreamer.disk import off_loop, off_loop_quickly
from restreamer.keys import FACTS, STORE, TEMPLATES
from restreamer.limits import PIECE_BYTES, taking, while_there
from restreamer.params import ThumbnailRequest, parse_frame, parse_thumbnail, parse_waveform
from restreamer.templates import UnknownTemplateError

# What is past and whole stays as it is; the rest may still be completed by what comes late or from other nodes.
_SETTLED_SECONDS = 7 * 24 * 3600
_OPEN_SECONDS = 10

_IS_PNG: Final = {"Content-Type": "image/png"}


async def frame(request: web.Request) -> web.StreamResponse:
    """Answer `GET /frame/C/Q.png`: the frame on screen at a moment; 404 if there is none."""
    wanted = parse_frame(request.query.items())
    plan = await _plan_frame(request, wanted.moment)
    tag = f"{plan.tag}-{wanted.fit.width}x{wanted.fit.height}" if wanted.fit else plan.tag
    return await _respond(request, tag, partial(draw_frame, plan, wanted.fit), settled=plan.settled)


async def waveform(request: web.Request) -> web.StreamResponse:
    """Answer `GET /waveform/C/Q.png`: the sound of a range; 404 if there is none."""
    wanted = parse_waveform(request.query.items())
    store, facts, info = request.app[STORE], request.app[FACTS], request.match_info
    try:
        plan = await off_loop(lambda: plan_waveform(store, info["channel"], info["quality"], wanted.start, wanted.end))
    except NothingRecordedError as error:
        raise RequestError(str(error), status=404) from error
    tag = f"{plan.tag}-{wanted.size.width}x{wanted.size.height}"
    settled = plan.settled and wanted.end < datetime.now(UTC)
    return await _respond(request, tag, partial(draw_waveform, plan, store, facts, wanted.size), settled=settled)


async def thumbnail(request: web.Request) -> web.StreamResponse:
    """Answer `GET /thumbnail/C/Q.png`: the frame at a moment in the named template; without one, alone."""
    wanted = parse_thumbnail(request.query.items(), named=True)
    template = None
    if wanted.template is not None:
        name, templates = wanted.template, request.app[TEMPLATES]
        try:
            template = (await off_loop_quickly(lambda: templates.get(name))).template
        except UnknownTemplateError as error:
            raise RequestError(str(error), status=404) from error
        except BadImageError as error:
            raise RequestError(str(error)) from error
    plan = await _plan_frame(request, wanted.moment)
    tag = tag_of("thumbnail", plan.tag, wanted, *_looks(template))
    # a template may be replaced by another of its name
    settled = plan.settled and template is None
    return await _respond(request, tag, _composing(plan, template, wanted), settled=settled)


async def compose_thumbnail(request: web.Request) -> web.StreamResponse:
    """Answer `POST /thumbnail/C/Q.png`: the frame at a moment in the template that is the request's body."""
    wanted = parse_thumbnail(request.query.items(), named=False)
    content = await _body(request)
    try:
        template = check_template(content)
    except BadImageError as error:
        raise RequestError(str(error)) from error
    plan = await _plan_frame(request, wanted.moment)
    picture = await _drawn(request, _composing(plan, template, wanted))
    return await _send(request, picture, {"Cache-Control": "no-store"})


async def templates(request: web.Request) -> web.Response:
    """Answer `GET /thumbnails`: the templates that there are, as a JSON list."""
    found = await off_loop_quickly(request.app[TEMPLATES].all)
    listed = [
        {
            "name": each.name,
            "description": each.description,
            "size": each.template.size,
            "crop": each.template.crop,
            "location": each.template.location,
        }
        for each in found
    ]
    return web.json_response(listed, headers={"Cache-Control": "no-cache"})


async def _plan_frame(request: web.Request, moment: datetime) -> FramePlan:
    store, facts, info = request.app[STORE], request.app[FACTS], request.match_info
    try:
        return await off_loop(lambda: plan_frame(store, facts, info["channel"], info["quality"], moment))
    except NoPictureError as error:
        raise RequestError(str(error), status=404) from error


def _looks(template: Template | None) -> tuple[object, ...]:
    if template is None:
        return ()
    return hashlib.sha256(template.content).hexdigest(), template.crop, template.location


def _composing(
    plan: FramePlan, template: Template | None, wanted: ThumbnailRequest
) -> Callable[[], Coroutine[Any, Any, bytes]]:
    async def draw() -> bytes:
        shown = await draw_frame(plan)
        return await off_loop(lambda: compose(shown, template, wanted.crop, wanted.location))

    return draw


async def _body(request: web.Request) -> bytes:
    """Read the body as far as a template may be long. Raises RequestError (413) if it is longer.

    A client that needs longer than it may for a whole piece is dropped: it holds the place of another.
    """
    body = bytearray()
    async with taking(request):
        while len(body) <= MOST_TEMPLATE_BYTES:
            part = await request.content.read(PIECE_BYTES)
            if not part:
                return bytes(body)
            body += part
    raise RequestError(f"The template has more than {MOST_TEMPLATE_BYTES >> 20} MiB.", status=413)


async def _respond(
    request: web.Request, tag: str, draw: Callable[[], Coroutine[Any, Any, bytes]], *, settled: bool
) -> web.StreamResponse:
    """Send a picture, or only that it has not changed (RFC 9110 §13.1.2), which need not be drawn."""
    seconds = _SETTLED_SECONDS if settled else _OPEN_SECONDS
    headers = {"ETag": f'"{tag}"', "Cache-Control": f"public, max-age={seconds}"}
    if any(known.value in (tag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    if request.method == "HEAD":
        return web.StreamResponse(headers=headers | _IS_PNG)
    return await _send(request, await _drawn(request, draw), headers)


async def _send(request: web.Request, picture: bytes, headers: dict[str, str]) -> web.StreamResponse:
    response = web.StreamResponse(headers=headers | _IS_PNG)
    response.content_length = len(picture)
    await response.prepare(request)
    for first in range(0, len(picture), PIECE_BYTES):
        async with taking(request):
            await response.write(picture[first : first + PIECE_BYTES])
    await response.write_eof()
    return response


async def _drawn(request: web.Request, draw: Callable[[], Coroutine[Any, Any, bytes]]) -> bytes:
    try:
        return await while_there(request, draw())
    except NoPictureError as error:
        raise RequestError(str(error), status=404) from error
    except BadImageError as error:
        raise RequestError(str(error)) from error
    except UserError as error:  # of the operator's making, who finds it here as well as anywhere
        raise RequestError(str(error), status=503) from error
    except FileNotFoundError as error:
        raise RequestError("A part of this was just deleted; ask again.", status=503) from error
