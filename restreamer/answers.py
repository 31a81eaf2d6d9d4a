"""How playlists, and what nodes tell each other, are sent: compressed if the client takes it, with an entity tag.

Of playlists, identical requests are worked out once.
"""

import asyncio
import gzip
import hashlib
import json
import re
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from aiohttp import web

from restreamer.chunks import Chunk, etag, gzipped
from restreamer.disk import off_loop
from restreamer.limits import taking

_MEDIA_TYPE = "application/vnd.apple.mpegurl"

# A cache may give away the old answer while it fetches the new one, for so long (RFC 5861 §3): else all who ask in that
# moment would be passed on to us.
_RENEWED_SECONDS = 1

# What is shorter fits into one packet anyway.
_PACKED_BYTES = 1_000

# One coding that a client takes, and how gladly: 0 is not at all (RFC 9110 §12.5.3).
_CODING = re.compile(r"\s*([!#$%&'*+.^_`|~0-9A-Za-z-]+)\s*(?:;\s*q=\s*([01](?:\.[0-9]{0,3})?)\s*)?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Prepared:
    """A playlist ready to be sent: its bytes in parts, its strong entity tag, the seconds for which it is fresh."""

    parts: tuple[bytes, ...]
    tag: str
    packed: bool
    fresh_seconds: int

    @property
    def size(self) -> int:
        """The bytes of the body."""
        return sum(map(len, self.parts))


@dataclass(frozen=True, slots=True)
class Answer:
    """A playlist in chunks, and for how long it is fresh (seconds)."""

    chunks: list[Chunk]
    fresh_seconds: int

    def prepared(self, *, packed: bool) -> Prepared:
        """Make it ready, `packed` by gzip (RFC 1952) or plain. It takes its time."""
        parts = tuple(gzipped(self.chunks)) if packed else tuple(chunk.text for chunk in self.chunks)
        return Prepared(parts, etag(self.chunks) + ("-gzip" if packed else ""), packed, self.fresh_seconds)


class Flights:
    """Work under way: who asks for the same meanwhile, gets the same result."""

    def __init__(self) -> None:
        """Have nothing under way."""
        self._under_way: dict[Hashable, asyncio.Task[Prepared]] = {}

    async def share(self, key: Hashable, work: Callable[[], Prepared]) -> Prepared:
        """Do the work in a thread, or wait for the same that is being done already. Raises what it raises."""
        task = self._under_way.get(key)
        if task is None:
            task = self._under_way[key] = asyncio.create_task(off_loop(work))
            task.add_done_callback(lambda done: self._land(key, done))
        # a client that leaves must not take the work away from the others
        return await asyncio.shield(task)

    def _land(self, key: Hashable, task: "asyncio.Task[Prepared]") -> None:
        del self._under_way[key]
        if not task.cancelled():
            task.exception()  # seen, even if all who asked have left


def takes_gzip(request: web.Request) -> bool:
    """Tell whether a client takes gzip; one that says nothing gets plain text, which all can read."""
    takes: dict[str, bool] = {}
    for item in ",".join(request.headers.getall("Accept-Encoding", ())).split(","):
        found = _CODING.fullmatch(item)
        if found is not None:
            takes[found[1].lower()] = float(found[2] or 1) > 0
    return takes.get("gzip", takes.get("x-gzip", takes.get("*", False)))


async def respond(request: web.Request, answer: Prepared) -> web.StreamResponse:
    """Send a playlist, or only that it has not changed (RFC 9110 §13.1.2)."""
    headers = {
        "ETag": f'"{answer.tag}"',
        "Cache-Control": f"public, max-age={answer.fresh_seconds}, stale-while-revalidate={_RENEWED_SECONDS}",
        "Vary": "Accept-Encoding",
    }
    known = request.if_none_match or ()
    if any(tag.value in (answer.tag, "*") for tag in known):
        return web.Response(status=304, headers=headers)
    response = web.StreamResponse(headers=headers | ({"Content-Encoding": "gzip"} if answer.packed else {}))
    response.content_type = _MEDIA_TYPE
    response.charset = "utf-8"
    response.content_length = answer.size
    await response.prepare(request)
    if request.method != "HEAD":
        async with taking(request, answer.size):
            for part in answer.parts:
                await response.write(part)
    await response.write_eof()
    return response


async def answer_json(request: web.Request, work: Callable[[], object]) -> web.Response:
    """Answer with what `work`, done in a thread, gives; or only that it has not changed (RFC 9110 §13.1.2)."""
    takes = takes_gzip(request)
    body, tag, packed = await off_loop(lambda: _written(work(), takes_gzip=takes))
    headers = {"ETag": f'"{tag}"', "Cache-Control": "no-cache", "Vary": "Accept-Encoding"}
    if any(known.value in (tag, "*") for known in request.if_none_match or ()):
        return web.Response(status=304, headers=headers)
    headers |= {"Content-Encoding": "gzip"} if packed else {}
    return web.Response(body=body, headers=headers, content_type="application/json", charset="utf-8")


def _written(told: object, *, takes_gzip: bool) -> tuple[bytes, str, bool]:
    body = json.dumps(told, separators=(",", ":")).encode()
    tag = hashlib.sha256(body).hexdigest()[:32]
    if takes_gzip and len(body) > _PACKED_BYTES:
        return gzip.compress(body, compresslevel=6, mtime=0), f"{tag}-gzip", True
    return body, tag, False
