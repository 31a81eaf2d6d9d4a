"""What the restreamer answers, for programs: an OpenAPI 3.1 document, worked out from one table of its routes."""

from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from aiohttp import web

from restreamer.admission import OPEN
from restreamer.params import (
    COMPOSE_PARAMETERS,
    CUT_PARAMETERS,
    CUT_TYPES,
    DELTA_PARAMETER,
    FRAME_PARAMETERS,
    LISTING_PARAMETERS,
    PREVIEW_PARAMETERS,
    RANGE_PARAMETERS,
    THUMBNAIL_PARAMETERS,
    WAVEFORM_PARAMETERS,
)

Json = dict[str, Any]

_VERSION = version("respool")  # read once: it stands in a file


@dataclass(frozen=True, slots=True)
class Route:
    """What is said of a route: its name for generated clients, one sentence, and its answers.

    `answers` maps the media types of a 200 to their schemas; `also` lists statuses beside that and those of all routes.
    With a `body`, which is the media type of what is sent, it is a POST.
    """

    name: str
    summary: str
    answers: Mapping[str, Json]
    query: tuple[str, ...] = ()
    required: tuple[str, ...] = ()
    headers: tuple[str, ...] = ()
    also: tuple[int, ...] = ()
    body: str | None = None


_TEXT: Json = {"type": "string"}
_BYTES: Json = {}  # OpenAPI 3.1: bytes are what has no schema
_NAMES: Json = {"type": "array", "items": _TEXT}
_DIGEST: Json = {"type": "string", "pattern": "^[0-9a-f]{32}$"}
_DIGESTS: Json = {"type": "object", "additionalProperties": _DIGEST}
_FILE = (206, 304, 404, 412, 416)
_PNG = {"image/png": _BYTES}
_PLACE: Json = {"type": ["array", "null"], "items": {"type": "integer"}, "minItems": 4, "maxItems": 4}
_TEMPLATE: Json = {
    "type": "object",
    "required": ["name", "description", "size", "crop", "location"],
    "properties": {
        "name": _TEXT,
        "description": _TEXT,
        "size": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        "crop": _PLACE,
        "location": _PLACE,
    },
}
_PLAYLIST = {"application/vnd.apple.mpegurl": _TEXT}

ROUTES: Mapping[str, Route] = {
    "/files": Route("listChannels", "The channels.", {"application/json": _NAMES}),
    "/files/{channel}": Route("listQualities", "The channel's qualities.", {"application/json": _NAMES}),
    "/files/{channel}/{quality}": Route("listHours", "The hours recorded, oldest first.", {"application/json": _NAMES}),
    "/files/{channel}/{quality}/{hour}": Route(
        "listSegments", "The segment names of an hour.", {"application/json": _NAMES}, query=LISTING_PARAMETERS
    ),
    "/segments/{channel}/{quality}/{hour}/{name}": Route(
        "getSegment",
        "A segment, whole or by byte range.",
        {"video/mp2t": _BYTES, "video/mp4": _BYTES, "application/octet-stream": _BYTES},
        headers=("Range",),
        also=_FILE,
    ),
    "/segments/{directory}/{path}": Route(
        "getExtra",
        "A file below an extra folder, whole or by byte range; slashes may be in its path.",
        {"*/*": _BYTES},
        headers=("Range",),
        also=_FILE,
    ),
    "/extras/{directory}": Route(
        "listExtras",
        "The paths of all files below an extra folder.",
        {"application/json": _NAMES},
        also=(304,),
    ),
    "/digests": Route(
        "getDigests",
        "The digests of all qualities, by channel and quality.",
        {"application/json": {"type": "object", "additionalProperties": _DIGESTS}},
        also=(304,),
    ),
    "/digests/{channel}/{quality}": Route(
        "getDigestsOfDays", "The digests of a quality's days.", {"application/json": _DIGESTS}, also=(304,)
    ),
    "/digests/{channel}/{quality}/{day}": Route(
        "getDigestsOfHours", "The digests of a day's hours.", {"application/json": _DIGESTS}, also=(304,)
    ),
    "/histories/{channel}/{quality}": Route(
        "getDigestsOfHistories",
        "The hours in which playlists were kept, with a digest of their names; only where a token is needed.",
        {"application/json": _DIGESTS},
        also=(304, 403),
    ),
    "/histories/{channel}/{quality}/{hour}": Route(
        "listHistories",
        "The names of the playlists kept in an hour; only where a token is needed.",
        {"application/json": _NAMES},
        also=(304, 403),
    ),
    "/histories/{channel}/{quality}/{hour}/{name}": Route(
        "getHistory",
        "A playlist as it came; only where a token is needed.",
        {"text/plain": _TEXT},
        headers=("Range",),
        also=(*_FILE, 403),
    ),
    "/playlist/{channel}.m3u8": Route(
        "getMultivariantPlaylist",
        "The qualities, each with its media playlist for the same range.",
        _PLAYLIST,
        query=RANGE_PARAMETERS,
        also=(304, 404),
    ),
    "/playlist/{channel}/{quality}.m3u8": Route(
        "getMediaPlaylist",
        "The media playlist of a range; without an end it is live.",
        _PLAYLIST,
        query=(*RANGE_PARAMETERS, DELTA_PARAMETER),
        also=(304, 404),
    ),
    "/cut/{channel}/{quality}.ts": Route(
        "getCut",
        "A range as one video.",
        {"video/mp2t": _BYTES, "video/webm": _BYTES},
        query=CUT_PARAMETERS,
        required=("type",),
        also=(404, 406),
    ),
    "/cut/{channel}/{quality}.mp4": Route(
        "getCutAsMp4",
        "A range as one video in MP4; rough and fast of what was recorded as MP4 and MPEG-TS does not carry.",
        {"video/mp4": _BYTES, "video/mp2t": _BYTES, "video/webm": _BYTES},
        query=CUT_PARAMETERS,
        required=("type",),
        also=(404, 406),
    ),
    "/preview/{channel}/{quality}.mp4": Route(
        "getPreview",
        "A transition between two ranges, with a second on each side, small.",
        {"video/mp4": _BYTES},
        query=PREVIEW_PARAMETERS,
        required=("range", "transition"),
        also=(404, 406),
    ),
    "/frame/{channel}/{quality}.png": Route(
        "getFrame",
        "The frame on screen at a moment.",
        _PNG,
        query=FRAME_PARAMETERS,
        required=("timestamp",),
        also=(304, 404),
    ),
    "/waveform/{channel}/{quality}.png": Route(
        "getWaveform",
        "The sound of a range as a picture, empty where nothing is recorded.",
        _PNG,
        query=WAVEFORM_PARAMETERS,
        required=("start", "end"),
        also=(304, 404),
    ),
    "/thumbnails": Route(
        "listTemplates",
        "The templates for thumbnails, each with its size and where the frame goes.",
        {"application/json": {"type": "array", "items": _TEMPLATE}},
    ),
    "/thumbnail/{channel}/{quality}.png": Route(
        "getThumbnail",
        "The frame at a moment, set into a template by name; without one, alone.",
        _PNG,
        query=THUMBNAIL_PARAMETERS,
        required=("timestamp",),
        also=(304, 404),
    ),
    "/status": Route(
        "getStatus",
        "How this node stands: its version, its disk, what is being recorded, and what is missing of the last hours.",
        {"application/json": {"$ref": "#/components/schemas/Status"}},
    ),
    "/coverage/{channel}/{quality}/{day}.png": Route(
        "getCoveragePicture",
        "The librarian's picture of what is recorded of a day.",
        _PNG,
        headers=("Range",),
        also=_FILE,
    ),
    "/metrics": Route("getMetrics", "The figures of this process, as Prometheus reads them.", {"text/plain": _TEXT}),
    "/health": Route(
        "getHealth",
        "Whether the service is alive and can read its store; if it cannot, the same form comes with a 503.",
        {"application/json": {"$ref": "#/components/schemas/Health"}},
    ),
    "/openapi.json": Route("getDocument", "This document.", {"application/json": {"type": "object"}}),
    "/": Route("getPage", "The page with the player.", {"text/html": _TEXT}, also=_FILE),
    "/web/{name}": Route("getPageFile", "A file of the page; slashes may be in its name.", {"*/*": _BYTES}, also=_FILE),
}
"""What there is: each route by its path, as the router has it."""

UPLOADS: Mapping[str, Route] = {
    "/thumbnail/{channel}/{quality}.png": Route(
        "composeThumbnail",
        "The frame at a moment, set into the template that is sent.",
        _PNG,
        query=COMPOSE_PARAMETERS,
        required=("timestamp",),
        also=(404, 413),
        body="image/png",
    ),
}
"""What answers to something that is sent, by its path: nothing of it is kept."""

# As common.store checks it: at most 255 bytes, no way out of a folder, nothing hidden.
_NAME: Json = {"type": "string", "pattern": r"^[^./\x00][^/\x00]*$", "maxLength": 255}
_HOUR: Json = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}$", "examples": ["2026-03-01T18"]}
_DAY: Json = {"type": "string", "pattern": r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$", "examples": ["2026-03-01"]}
_TIME: Json = {"type": "string", "format": "date-time", "examples": ["2026-03-01T18:30:00Z"]}
_PARTS: Json = {
    "type": "array",
    "items": {"type": "string"},
}
_SKIP: Json = {"type": "string", "enum": ["YES", "v2"]}
_FLAG: Json = {"type": "boolean", "default": False}

_BOX: Json = {
    "type": "string",
    "pattern": "^[0-9]{1,5},[0-9]{1,5},[0-9]{1,5},[0-9]{1,5}$",
    "examples": ["0,0,1280,720"],
}
_SIZE: Json = {"type": "string", "pattern": "^[0-9]{1,5}x[0-9]{1,5}$", "examples": ["1024x128"]}

# Where each stands is told by the tables of names; what it is, here.
_PARAMETERS: Mapping[str, tuple[str, str, Json]] = {
    "channel": ("path", "The channel, by the name that it was given.", _NAME),
    "quality": ("path", "One rendition of it, such as source.", _NAME),
    "hour": ("path", "An hour (UTC).", _HOUR),
    "day": ("path", "A day (UTC).", _DAY),
    "directory": ("path", "A folder of the store that holds no recordings.", _NAME),
    "path": ("path", "The path of a file below it, as it is listed.", _TEXT),
    "name": ("path", "The name of a file, as it is listed or linked.", _TEXT),
    "start": ("query", "Where the range begins, UTC; without it, at the first segment recorded.", _TIME),
    "end": ("query", "Where the range ends, UTC; without it, it has no end yet.", _TIME),
    "range": ("query", "START,END, in place of start and end; repeated, ranges are joined in their order.", _PARTS),
    "transition": ("query", "TYPE,SECONDS between two ranges, empty for a hard join; one less than ranges.", _PARTS),
    DELTA_PARAMETER: ("query", "Leave out old entries of a live playlist (rfc8216bis §6.2.5.1).", _SKIP),
    "tombstones": ("query", "List tombstones too, and what they hide.", _FLAG),
    "type": ("query", "How the video is cut.", {"type": "string", "enum": [*CUT_TYPES]}),
    "timestamp": ("query", "The moment, UTC.", _TIME),
    "size": ("query", "The size of the picture in pixels: a frame is made to fit, a waveform has it.", _SIZE),
    "template": ("query", "The template, by the name that is listed.", _TEXT),
    "crop": ("query", "What of the frame is shown: x, y, width, height; without it, the middle.", _BOX),
    "location": ("query", "Where in the template: x, y, width, height; without it, where the template says.", _BOX),
    "allow_holes": ("query", "Leave out what is missing; without it, a hole is a 406.", _FLAG),
    "Range": ("header", "One range of bytes (RFC 9110 §14).", {"type": "string", "examples": ["bytes=0-99"]}),
}

# Without a body: it is there already, or has changed.
_SILENT = {304: "What the client has is still what there is.", 412: "What the client has is not what there is."}
_PART = {206: "The bytes that were asked for."}
_ERRORS = {
    400: "A parameter or a name is wrong; the sentence says which.",
    401: "This node asks for a token.",
    403: "It is given only where a token is needed.",
    404: "There is no such thing, or nothing recorded.",
    405: "That method is not possible here; the header Allow says which are.",
    406: "Something is missing in the range.",
    413: "What is sent is too long.",
    416: "The file has no such bytes, or more than one range was asked for.",
    503: "The store cannot be read now, or changed meanwhile, or too much is asked for at once; ask again.",
}
_ALL_ROUTES = (400, 405, 503)


def document() -> Json:
    """Make the OpenAPI 3.1 document."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Respool restreamer",
            "version": _VERSION,
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "Recordings of live streams as listings, segments, HLS playlists and cuts. HEAD is answered "
            "wherever GET is. A node may ask for a token, for all or for what other nodes ask for. "
            "Query parameters that begin with an underscore are players' own and are let pass.",
        },
        "servers": [{"url": "/"}],
        "paths": {
            path: {
                "get": _operation(path, route),
                **({"post": _operation(path, UPLOADS[path])} if path in UPLOADS else {}),
            }
            for path, route in ROUTES.items()
        },
        "components": {
            "schemas": {
                "Error": _object(error="One sentence that says what was wrong."),
                "Health": _HEALTH,
                "Status": _STATUS,
            },
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
        },
    }


def _object(**properties: str) -> Json:
    described = {name: {"type": "string", "description": text} for name, text in properties.items()}
    return {"type": "object", "required": [*properties], "properties": described}


_ERROR: Json = {"$ref": "#/components/schemas/Error"}
_HEALTH = _object(status="ok, or failing.", store="readable, or what is wrong with it in one sentence.")


_NUMBERS: Json = {"type": "object", "additionalProperties": {"type": "number"}}
_WINDOW: Json = {
    "type": "object",
    "required": ["start", "end", "covered", "offered_seconds", "recorded_seconds", "missing_seconds", "missing"],
    "properties": {
        "start": _TIME,
        "end": _TIME,
        "covered": {"type": "number", "minimum": 0, "maximum": 1},
        "offered_seconds": {"type": "number"},
        "recorded_seconds": _NUMBERS,
        "missing_seconds": _NUMBERS,
        "missing": {"type": "array", "items": _object(start="Its start.", end="Its end.", reason="Why, in one word.")},
    },
}
_RECORDING: Json = {
    "type": "object",
    "required": ["channel", "quality", "recorder", "newest", "lag_seconds", "last_hour", "last_day", "picture"],
    "properties": {
        "channel": _TEXT,
        "quality": _TEXT,
        "recorder": {"enum": ["recording", "waiting", "stopped", "unknown"]},
        "newest": {"type": ["string", "null"]},
        "lag_seconds": {"type": ["number", "null"]},
        "last_hour": _WINDOW,
        "last_day": _WINDOW,
        "picture": {"type": "array", "items": _object(hour="An hour.", cells="A character for each minute.")},
    },
}
_STATUS: Json = {
    "type": "object",
    "required": ["version", "now", "disk", "recordings"],
    "properties": {
        "version": _TEXT,
        "now": _TIME,
        "disk": {
            "type": "object",
            "required": ["free_bytes", "total_bytes"],
            "properties": {"free_bytes": {"type": "integer"}, "total_bytes": {"type": "integer"}},
        },
        "recordings": {"type": "array", "items": _RECORDING},
    },
}


def _operation(path: str, route: Route) -> Json:
    # the parts of a path are its parameters, in braces
    parts = tuple(part.partition("}")[0] for part in path.split("{")[1:])
    names = (*parts, *route.query, *route.headers)
    body = {"requestBody": {"required": True, "content": {route.body: {"schema": _BYTES}}}} if route.body else {}
    return {
        **body,
        "operationId": route.name,
        "summary": route.summary,
        **({} if path in OPEN else {"security": [{}, {"token": []}]}),
        "parameters": [_parameter(name, required=name in (*parts, *route.required)) for name in names],
        "responses": {str(status): answer for status, answer in _answers(path, route).items()},
    }


def _parameter(name: str, *, required: bool) -> Json:
    place, description, schema = _PARAMETERS[name]
    return {"name": name, "in": place, "required": required, "description": description, "schema": schema}


def _answers(path: str, route: Route) -> dict[int, Json]:
    answers = {200: _answer(route.summary, route.answers)}
    for status in sorted({*_ALL_ROUTES, *route.also, *(() if path in OPEN else (401,))}):
        if status in _SILENT:
            answers[status] = {"description": _SILENT[status]}
        elif status in _PART:
            answers[status] = _answer(_PART[status], route.answers)
        else:
            answers[status] = _answer(_ERRORS[status], {"application/json": _ERROR})
    if route.name == "getHealth":
        answers[503] = _answer("The store cannot be read.", route.answers)
    return answers


def _answer(description: str, content: Mapping[str, Json]) -> Json:
    return {"description": description, "content": {kind: {"schema": schema} for kind, schema in content.items()}}


async def show_document(_: web.Request) -> web.Response:
    """Answer `GET /openapi.json`."""
    return web.json_response(document(), headers={"Cache-Control": "no-cache"})
