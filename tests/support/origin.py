"""An HLS origin with switches: it sends broadcasts as their scripts say, with faults, and keeps a ledger of it.

It tells the time by its loop, so that on a virtual clock hours pass in seconds. Every address that it hands out belongs
to a session, as with the large platforms: `/CHANNEL/master.m3u8` opens one.
"""

import asyncio
import hashlib
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from http import HTTPStatus

from aiohttp import web

from broadcast import (
    Item,
    Kind,
    Listed,
    Script,
    body,
    in_window,
    init_section,
    key,
    make_items,
    media_playlist,
    multivariant_playlist,
)

# What players skip at first lies at the end of the first playlist.
_PREROLL_LEAD_SECONDS = 6.0

_RANGE = re.compile(r"bytes=([0-9]+)-([0-9]+)")


class Asked(StrEnum):
    """What is asked for."""

    MASTER = "master"
    PLAYLIST = "playlist"
    SEGMENT = "segment"
    KEY = "key"
    INIT = "init"


@dataclass(frozen=True, slots=True)
class Served:
    """A line of the ledger: an answer that went out, whole or not."""

    asked: Asked
    variant: str
    number: int
    session: int
    began: float
    ended: float
    whole: bool
    fault: str


@dataclass(frozen=True, slots=True)
class Session:
    """What one visitor was given, and when."""

    number: int
    opened: float


@dataclass(slots=True)
class Ask:
    """One request: what it is for, the sound answer, and the ways to send it."""

    request: web.Request
    show: "Show"
    asked: Asked
    session: Session
    variant: str = ""
    item: Item | None = None
    body: bytes = b""
    began: float = 0.0
    fault: "Fault | None" = None
    note: Callable[[], None] = lambda: None
    entered: bool = False

    @property
    def gone(self) -> bool:
        """Whether nobody is there any more."""
        return self.request.transport is None or self.request.transport.is_closing()

    async def whole(self, data: bytes | None = None) -> web.StreamResponse:
        """Send the sound answer (or `data` as if it were that) and note in the ledger that it went out."""
        data = self.body if data is None else data
        response = self.response()
        wanted = _RANGE.fullmatch(self.request.headers.get("Range", ""))
        if wanted:
            total, data = len(data), data[int(wanted[1]) : int(wanted[2]) + 1]
            response.set_status(HTTPStatus.PARTIAL_CONTENT)
            response.headers["Content-Range"] = f"bytes {wanted[1]}-{int(wanted[1]) + len(data) - 1}/{total}"
        response.content_length = len(data)
        if not self.gone:
            await response.prepare(self.request)
            await response.write(data)
            await response.write_eof()
            self.enter(whole=True)
        return response

    def response(self) -> web.StreamResponse:
        """Begin an answer with the type that it should have."""
        playlist = self.asked in {Asked.MASTER, Asked.PLAYLIST}
        kind = "application/vnd.apple.mpegurl" if playlist else "application/octet-stream"
        return web.StreamResponse(headers={"Content-Type": kind, "Cache-Control": "no-store"})

    def enter(self, *, whole: bool) -> None:
        """Note in the ledger what went out."""
        self.entered = True
        if whole:
            self.note()
        number = self.item.number if self.item else -1
        now, name = self.show.clock(), self.fault.name if self.fault else ""
        entry = Served(self.asked, self.variant, number, self.session.number, self.began, now, whole, name)
        self.show.ledger.append(entry)


Act = Callable[[Ask], Awaitable[web.StreamResponse]]


@dataclass(frozen=True, slots=True)
class Fault:
    """A switch: what is done in place of the sound answer, to whom and when.

    It is on from `begin` until `end` (seconds of the clock), for these `numbers` of segments (None: all), these
    `variants` (None: all) and the first `attempts` requests of the same address (None: all). `old_only`: for sessions
    only that were opened before it. `lets_through`: what is asked for comes nevertheless, later perhaps.
    """

    name: str
    asked: frozenset[Asked]
    act: Act
    begin: float = float("-inf")
    end: float = float("inf")
    numbers: frozenset[int] | None = None
    variants: frozenset[str] | None = None
    attempts: int | None = None
    old_only: bool = False
    lets_through: bool = False

    def hits(self, ask: Ask, attempt: int) -> bool:
        """Tell whether it is on for this request, the `attempt`th (from 1) for its address."""
        return (
            ask.asked in self.asked
            and self.begin <= ask.began < self.end
            and (self.numbers is None or (ask.item is not None and ask.item.number in self.numbers))
            and (self.variants is None or ask.variant in self.variants)
            and (self.attempts is None or attempt <= self.attempts)
            and not (self.old_only and ask.session.opened >= self.begin)
        )


@dataclass(slots=True)
class Show:
    """One channel at the origin: its script, its faults, and what it has sent so far.

    `listed` tells when a segment was first in a playlist that went out whole, `polls` when playlists were asked for.
    """

    name: str
    script: Script
    clock: Callable[[], float]
    epoch: datetime
    faults: tuple[Fault, ...] = ()
    ledger: list[Served] = field(default_factory=list)
    listed: dict[tuple[str, int], float] = field(default_factory=dict)
    polls: list[tuple[float, str]] = field(default_factory=list)
    sessions: list[Session] = field(default_factory=list)
    items: list[Item] = field(default_factory=list)
    _attempts: Counter[str] = field(default_factory=Counter)
    _addresses: dict[str, tuple[str, list[Item]]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.items = make_items(self.script, self.epoch)

    @property
    def over(self) -> float:
        """When the last segment is out."""
        return self.items[-1].published

    async def answer(self, request: web.Request) -> web.StreamResponse:
        """Answer what is asked below this channel's folder."""
        ask = self._understand(request)
        if ask is None:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        self._attempts[request.path_qs] += 1
        attempt = self._attempts[request.path_qs]
        ask.fault = next((fault for fault in self.faults if fault.hits(ask, attempt)), None)
        if ask.asked is Asked.PLAYLIST:
            self.polls.append((ask.began, request.path_qs))
        try:
            return await (self._sound(ask) if ask.fault is None else ask.fault.act(ask))
        finally:
            if not ask.entered:
                ask.enter(whole=False)

    async def _sound(self, ask: Ask) -> web.StreamResponse:
        expires = self.script.expires
        if expires is not None and ask.asked is Asked.PLAYLIST and self.clock() >= ask.session.opened + expires:
            return web.Response(status=HTTPStatus.FORBIDDEN)
        if ask.asked is Asked.SEGMENT and ask.item and self.clock() > ask.item.published + self.script.kept:
            return web.Response(status=HTTPStatus.NOT_FOUND)
        if ask.asked is Asked.PLAYLIST:
            return await self.send_playlist(ask)
        return await ask.whole()

    # Playlists -------------------------------------------------------------------------------------------------------

    async def send_playlist(self, ask: Ask, now: float | None = None) -> web.StreamResponse:
        """Send a media playlist as it is, or as it was."""
        await self._until_wanted(ask)
        now = self.clock() if now is None else now
        shown, ended = in_window(self.script, self.items, now)
        if self.script.preroll and not self.script.history:
            shown = [item for item in shown if item.published > ask.session.opened - _PREROLL_LEAD_SECONDS]
        entries = [self._entry(ask, item) for item in shown]
        breaks = sum(item.discontinuity for item in self.items[: shown[0].number]) if shown else 0
        text = media_playlist(self.script, entries, ended=ended, breaks_before=breaks)

        def note() -> None:
            for entry in entries:
                if entry.shown is entry.item.kind:
                    self.listed.setdefault((ask.variant, entry.item.number), self.clock())

        ask.note = note
        return await ask.whole(text.encode())

    async def _until_wanted(self, ask: Ask) -> None:
        """Hold a blocking request (`_HLS_msn`) until the playlist has that segment."""
        wanted = ask.request.query.get("_HLS_msn", "")
        if not self.script.blocking or not wanted.isdigit():
            return
        coming = [item for item in self.items if item.published > self.clock()]
        held = next((item for item in coming if item.sequence >= int(wanted)), None)
        if held is not None and held.run == coming[0].run:
            await asyncio.sleep(held.published - self.clock())

    def _entry(self, ask: Ask, item: Item) -> Listed:
        session, script = ask.session, self.script
        pre = script.preroll and item.published < session.opened + script.preroll
        pre = pre and not (script.history and item.published < session.opened)
        shown = Kind.ADVERTISEMENT if pre and item.kind is Kind.PROGRAMME else item.kind
        lines = []
        if script.every_key:
            lines.append(f'#EXT-X-KEY:METHOD=AES-128,URI="{item.number // script.every_key}.key"')
        if script.every_map:
            lines.append(f'#EXT-X-MAP:URI="{item.number // script.every_map}.init.mp4"')
        if script.ranges:
            data = self._stored(ask.variant, item)
            begins = sum(
                len(self._stored(ask.variant, other)) for other in self._sharing(item)[: item.number % script.ranges]
            )
            lines.append(f"#EXT-X-BYTERANGE:{len(data)}@{begins}")
        return Listed(item, shown, self._name(session, item, shown), tuple(lines))

    def _sharing(self, item: Item) -> list[Item]:
        first = item.number - item.number % self.script.ranges
        return self.items[first : first + self.script.ranges]

    def _name(self, session: Session, item: Item, shown: Kind) -> str:
        ending = "mp4" if self.script.every_map else "ts"
        if shown is Kind.ADVERTISEMENT:
            return f"ad-{item.number}.{ending}"
        number = item.number // self.script.ranges if self.script.ranges else item.number
        if self.script.names_differ:
            return f"{hashlib.sha256(f'{session.number} {number}'.encode()).hexdigest()[:16]}-{number}.{ending}"
        return f"part-{number}.{ending}?token={session.number}"

    # Content ---------------------------------------------------------------------------------------------------------

    def content(self, variant: str, item: Item) -> bytes:
        """Give what a recording should have of a segment, byte for byte."""
        return init_section(self.script, self.name, variant, item) + body(self.script, self.name, variant, item)

    def _stored(self, variant: str, item: Item) -> bytes:
        data = body(self.script, self.name, variant, item)
        if not self.script.every_key:
            return data
        return encrypt(data, key(self.script, self.name, item), item.sequence.to_bytes(16))

    def _understand(self, request: web.Request) -> Ask | None:
        now = self.clock()
        _, _, *rest = request.path.split("/")
        match rest:
            case ["master.m3u8"]:
                session = Session(len(self.sessions), now)
                self.sessions.append(session)
                text = multivariant_playlist({v: f"s{session.number}/{v}/live.m3u8" for v in self.script.variants})
                return Ask(request, self, Asked.MASTER, session, body=text.encode(), began=now)
            case [number, variant, name] if number[1:].isdigit() and int(number[1:]) < len(self.sessions):
                ask = Ask(request, self, Asked.PLAYLIST, self.sessions[int(number[1:])], variant, began=now)
                return ask if name == "live.m3u8" else self._media(ask, name)
        return None

    def _media(self, ask: Ask, name: str) -> Ask | None:
        stem, _, ending = name.partition(".")
        digits = stem.rpartition("-")[2]
        if not digits.isdigit():
            return None
        number = int(digits)
        scale = {"key": self.script.every_key, "init.mp4": self.script.every_map}.get(ending, self.script.ranges) or 1
        if number * scale >= len(self.items):
            return None
        item = ask.item = self.items[number * scale]
        ask.asked = {"key": Asked.KEY, "init.mp4": Asked.INIT}.get(ending, Asked.SEGMENT)
        if ask.asked is Asked.KEY:
            ask.body = key(self.script, self.name, item)
        elif ask.asked is Asked.INIT:
            ask.body = init_section(self.script, self.name, ask.variant, item)
        elif stem.startswith("ad-"):
            ask.item = None
            ask.body = body(self.script, self.name, f"ad {ask.session.number}", item)
        elif self.script.ranges:
            ask.body = b"".join(self._stored(ask.variant, other) for other in self._sharing(item))
            ask.item = self._at_range(ask)
        else:
            ask.body = self._stored(ask.variant, item)
        return ask

    def _at_range(self, ask: Ask) -> Item | None:
        """Tell which of the segments that share a resource a range is."""
        wanted = _RANGE.fullmatch(ask.request.headers.get("Range", ""))
        begins = 0
        for item in self._sharing(ask.item) if ask.item else []:
            if wanted and int(wanted[1]) == begins:
                return item
            begins += len(self._stored(ask.variant, item))
        return None


def encrypt(data: bytes, secret: bytes, iv: bytes) -> bytes:
    """Encrypt as AES-128 in playlists does: CBC with PKCS #7 padding (RFC 8216 §4.3.2.4)."""
    from cryptography.hazmat.primitives import padding  # noqa: PLC0415 - few tests need it
    from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes  # noqa: PLC0415 - likewise

    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(secret), modes.CBC(iv)).encryptor()
    return encryptor.update(padder.update(data) + padder.finalize()) + encryptor.finalize()


@dataclass(slots=True)
class Origin:
    """All channels at one address."""

    clock: Callable[[], float]
    epoch: datetime
    shows: dict[str, Show] = field(default_factory=dict)
    base: str = ""

    def show(self, name: str, script: Script, faults: Iterable[Fault] = ()) -> Show:
        """Begin a broadcast."""
        self.shows[name] = Show(name, script, self.clock, self.epoch, tuple(faults))
        return self.shows[name]

    def url(self, name: str) -> str:
        """Give the address of a channel."""
        return f"{self.base}/{name}/master.m3u8"

    async def handle(self, request: web.Request) -> web.StreamResponse:
        """Answer."""
        show = self.shows.get(request.match_info["channel"])
        return web.Response(status=HTTPStatus.NOT_FOUND) if show is None else await show.answer(request)


@asynccontextmanager
async def serving_broadcasts(clock: Callable[[], float], epoch: datetime, port: int = 0) -> AsyncIterator[Origin]:
    """Serve an origin on loopback."""
    origin = Origin(clock, epoch)
    app = web.Application()
    app.add_routes([web.get("/{channel}/{rest:.*}", origin.handle)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", port).start()
        origin.base = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield origin
    finally:
        await runner.cleanup()
