"""An HLS origin on loopback whose every answer the test chooses, and builders for what it serves.

Nothing here takes time by itself: what hangs, hangs until the test releases it.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus

from aiohttp import web

from log_events import PATIENCE_SECONDS
from ts_bytes import crc32

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PACKET = 188

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


def ts(number: int, packets: int = 20) -> bytes:
    """Make a body by which a transport stream is known, and its number too: an empty association, then anything."""
    section = b"\0\xb0\x09" + (number & 0xFFFF).to_bytes(2) + b"\xc1\0\0"
    association = b"\x47\x40\0\x10\0" + section + crc32(section).to_bytes(4)
    return association.ljust(PACKET, b"\xff") + (b"\x47" + number.to_bytes(4) * 47)[:PACKET] * (packets - 1)


def box(kind: bytes, content: bytes, *, wide: bool = False) -> bytes:
    """Make a box of MP4; a wide one tells its length in 64 bits."""
    if wide:
        return b"\0\0\0\1" + kind + (16 + len(content)).to_bytes(8) + content
    return (8 + len(content)).to_bytes(4) + kind + content


def init_section(number: int = 0) -> bytes:
    """Make what an init section is known by."""
    return box(b"ftyp", b"iso6") + box(b"moov", number.to_bytes(4) * 5)


def fragment(number: int, length: int = 100, *, wide: bool = False) -> bytes:
    """Make a body by which a fragment of MP4 is known, and its number too."""
    return box(b"moof", number.to_bytes(4)) + box(b"mdat", number.to_bytes(4) * (length // 4), wide=wide)


@dataclass(frozen=True, slots=True)
class Entry:
    """One segment of a playlist, with the tags before it."""

    uri: str
    seconds: float = 2.0
    at: datetime | None = None
    tags: tuple[str, ...] = ()

    def lines(self) -> list[str]:
        dated = [f"#EXT-X-PROGRAM-DATE-TIME:{self.at.isoformat()}"] if self.at else []
        return [*self.tags, *dated, f"#EXTINF:{self.seconds:.6f},", self.uri]


def playlist(*entries: Entry, sequence: int = 0, target: int = 2, end: bool = False, tags: tuple[str, ...] = ()) -> str:
    """Write a media playlist."""
    head = ["#EXTM3U", f"#EXT-X-TARGETDURATION:{target}", f"#EXT-X-MEDIA-SEQUENCE:{sequence}", *tags]
    body = [line for entry in entries for line in entry.lines()]
    return "\n".join([*head, *body, *(["#EXT-X-ENDLIST"] if end else []), ""])


def multivariant(**variants: str) -> str:
    """Write a multivariant playlist: names and addresses, the best first."""
    lines = [
        f'#EXT-X-STREAM-INF:BANDWIDTH={1000 - number},NAME="{name}"\n{uri}'
        for number, (name, uri) in enumerate(variants.items())
    ]
    return "\n".join(["#EXTM3U", *lines, ""])


def body(data: bytes | str) -> Answer:
    """Answer 200 with a body."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=data.encode() if isinstance(data, str) else data)

    return answer


def status(code: int, text: str = "") -> Answer:
    """Answer with a status."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=code, text=text)

    return answer


def redirect(location: str) -> Answer:
    """Answer that it is elsewhere."""

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    return answer


def breaks_off(data: bytes, at: int, *, chunked: bool = False) -> Answer:
    """Promise a body and close the connection after a part of it."""

    async def answer(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(data)
        await response.prepare(request)
        await response.write(data[:at])
        assert request.transport is not None
        request.transport.close()
        return response

    return answer


def raw(answer: bytes) -> Answer:
    """Send these bytes, head and all, and close the connection."""

    async def send(request: web.Request) -> web.StreamResponse:
        assert request.transport is not None
        assert isinstance(request.transport, asyncio.WriteTransport)
        request.transport.write(answer)
        request.transport.close()
        return web.Response()

    return send


def typed(data: bytes | str, content_type: str, **headers: str) -> Answer:
    """Answer 200 with a body, its type and more headers; underscores in their names are dashes."""
    content = data.encode() if isinstance(data, str) else data
    more = {name.replace("_", "-"): value for name, value in headers.items()}

    async def answer(_: web.Request) -> web.StreamResponse:
        return web.Response(body=content, headers={"Content-Type": content_type, **more})

    return answer


def ranged(data: bytes) -> Answer:
    """Answer requests for ranges with those, as RFC 9110 §14 has it; any other with all."""

    async def answer(request: web.Request) -> web.StreamResponse:
        wanted = request.http_range
        if wanted.start is None:
            return web.Response(body=data)
        part = data[wanted.start : wanted.stop]
        headers = {"Content-Range": f"bytes {wanted.start}-{wanted.start + len(part) - 1}/{len(data)}"}
        return web.Response(status=206, body=part, headers=headers)

    return answer


def hangs_up(request: web.Request) -> Awaitable[web.StreamResponse]:
    """Close the connection in place of an answer."""
    assert request.transport is not None
    request.transport.close()
    return asyncio.sleep(0, web.Response())


@dataclass(slots=True)
class Held:
    """Send a part of a body (None: not even a head) and hold the rest back until released."""

    data: bytes
    at: int | None = None
    reached: asyncio.Event = field(default_factory=asyncio.Event)
    release: asyncio.Event = field(default_factory=asyncio.Event)

    async def wait(self) -> None:
        """Wait until that part was sent."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.reached.wait()

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = len(self.data)
        if self.at is not None:
            await response.prepare(request)
            await response.write(self.data[: self.at])
        self.reached.set()
        await self.release.wait()
        with suppress(ConnectionError):  # nobody may be there any more
            await response.prepare(request)
            await response.write(self.data[self.at or 0 :])
        return response


class Origin:
    """What it answers at each path, and what it was asked: `requests` are paths in the order of arrival.

    `peers` are the other ends of their connections, `headers` what was sent along.
    """

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.queries: list[str] = []
        self.peers: list[object] = []
        self.headers: list[dict[str, str]] = []
        self.base = ""
        self._answers: dict[str, list[Answer]] = {}
        self._held: list[Held] = []
        self._asked = asyncio.Event()

    def url(self, path: str) -> str:
        return self.base + path

    def put(self, path: str, *answers: Answer | str | bytes) -> None:
        """Answer so from now on, one after the other; the last answer stays."""
        given = [answer if callable(answer) else body(answer) for answer in answers]
        self._answers[path] = given
        self._held += [answer for answer in given if isinstance(answer, Held)]

    def count(self, path: str) -> int:
        return self.requests.count(path)

    async def asked(self, path: str, count: int = 1) -> None:
        """Wait until `path` has been asked for `count` times."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while self.count(path) < count:
                self._asked.clear()
                await self._asked.wait()

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        self.queries.append(request.query_string)
        self.headers.append(dict(request.headers))
        self.peers.append(request.transport.get_extra_info("peername") if request.transport else None)
        self._asked.set()
        answers = self._answers.get(request.path, [status(HTTPStatus.NOT_FOUND)])
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        return await answer(request)

    def let_go(self) -> None:
        for held in self._held:
            held.release.set()


@asynccontextmanager
async def serving_origin(host: str = "127.0.0.1") -> AsyncIterator[Origin]:
    """Serve an origin on a free port."""
    origin = Origin()
    app = web.Application()
    app.add_routes([web.get("/{path:.*}", origin.handle)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, host, 0).start()
        origin.base = f"http://{host}:{runner.addresses[0][1]}"
        yield origin
    finally:
        origin.let_go()
        await runner.cleanup()


@dataclass(slots=True)
class Live:
    """A live stream at an origin: `reveal` brings the next segments into the window of its playlist."""

    origin: Origin
    path: str = "/live.m3u8"
    window: int = 5
    seconds: float = 2.0
    target: int = 2
    start: datetime | None = NOON
    folder: str = "/"
    bodies: list[bytes] = field(default_factory=list)
    entries: list[Entry] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.publish()

    def reveal(self, *answers: Answer | bytes) -> None:
        """Add a segment for each answer (a body, or what else happens), and publish them together."""
        for answer in answers:
            self.add(answer, self.seconds)
        self.publish()

    def reveal_some(self, count: int) -> None:
        """Add so many sound segments."""
        self.reveal(*(ts(len(self.bodies) + n) for n in range(count)))

    def add(self, answer: Answer | bytes, seconds: float) -> None:
        uri = f"{self.folder}{len(self.entries)}.ts"
        self.bodies.append(answer if isinstance(answer, bytes) else b"")
        at = self.start + timedelta(seconds=sum(entry.seconds for entry in self.entries)) if self.start else None
        self.entries.append(Entry(uri, seconds, at))
        self.origin.put(uri, answer)

    def publish(self, *, end: bool = False) -> None:
        shown = self.entries[-self.window :]
        text = playlist(*shown, sequence=len(self.entries) - len(shown), target=self.target, end=end)
        self.origin.put(self.path, text)
