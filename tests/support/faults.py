"""What an origin can do wrong, each fault by its name, and broadcasts with faults at random from a seed."""

import asyncio
import random
from collections.abc import Callable
from contextlib import suppress

from aiohttp import web

from broadcast import Pause, Script
from origin import Act, Ask, Asked, Fault
from ts_bytes import PACKET

# Acts: what is sent in place of the sound answer ---------------------------------------------------------------------


def answers(status: int) -> Act:
    """Answer with a status."""

    async def act(ask: Ask) -> web.StreamResponse:
        return web.Response(status=status)

    return act


def sends(data: bytes, kind: str = "text/html") -> Act:
    """Answer 200 with something else."""

    async def act(ask: Ask) -> web.StreamResponse:
        return web.Response(body=data, content_type=kind)

    return act


def redirects(location: str) -> Act:
    """Answer that it is elsewhere."""

    async def act(ask: Ask) -> web.StreamResponse:
        return web.Response(status=302, headers={"Location": location})

    return act


async def hangs_up(ask: Ask) -> web.StreamResponse:
    """Close the connection in place of an answer."""
    _close(ask)
    return web.Response()


def hangs(seconds: float = 60.0) -> Act:
    """Say nothing, then close the connection."""

    async def act(ask: Ask) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        return await hangs_up(ask)

    return act


def late(seconds: float) -> Act:
    """Give the sound answer, as it was when it was asked for, but so late."""

    async def act(ask: Ask) -> web.StreamResponse:
        await asyncio.sleep(seconds)
        if ask.asked is Asked.PLAYLIST:
            return await ask.show.send_playlist(ask, ask.began)
        return await ask.whole()

    return act


async def stale(ask: Ask) -> web.StreamResponse:
    """Answer 200 with the playlist as it was when the fault began."""
    assert ask.fault is not None
    return await ask.show.send_playlist(ask, ask.fault.begin)


def breaks_off(share: float, after: float = 0.0, *, chunked: bool = False) -> Act:
    """Send a part, stand still for some seconds, and close the connection: it is plain that the rest is missing."""

    async def act(ask: Ask) -> web.StreamResponse:
        response = ask.response()
        if chunked:
            response.enable_chunked_encoding()
        else:
            response.content_length = len(ask.body)
        await response.prepare(ask.request)
        await response.write(ask.body[: int(len(ask.body) * share)])
        await asyncio.sleep(after)
        ask.enter(whole=False)
        _close(ask)
        return response

    return act


def ends_early(share: float, after: float = 0.0, *, within_packet: bool = False) -> Act:
    """Send a part as if that were all: neither a length nor chunks tell that the rest is missing."""

    async def act(ask: Ask) -> web.StreamResponse:
        response = ask.response()
        response.force_close()
        response.headers["Connection"] = "close"
        cut = int(len(ask.body) * share) // PACKET * PACKET + (77 if within_packet else 0)
        # no length and no chunks: the end of the connection is the end of the body
        await _raw(ask, b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + ask.body[:cut])
        await asyncio.sleep(after)
        ask.enter(whole=False)
        _close(ask)
        return response

    return act


def understates(share: float) -> Act:
    """Send a part, with a length that is true of the part."""

    async def act(ask: Ask) -> web.StreamResponse:
        response = ask.response()
        data = ask.body[: int(len(ask.body) * share) // PACKET * PACKET]
        response.content_length = len(data)
        await response.prepare(ask.request)
        await response.write(data)
        ask.enter(whole=False)
        return response

    return act


def trickles(seconds: float, pieces: int = 20) -> Act:
    """Send all of it, but slowly."""

    async def act(ask: Ask) -> web.StreamResponse:
        response = ask.response()
        response.content_length = len(ask.body)
        await response.prepare(ask.request)
        step = -(-len(ask.body) // pieces)
        for at in range(0, len(ask.body), step):
            with suppress(ConnectionError):
                await response.write(ask.body[at : at + step])
            await asyncio.sleep(seconds / pieces)
            if ask.gone:
                return response
        await response.write_eof()
        ask.enter(whole=True)
        return response

    return act


def never_ends(piece: bytes, seconds: float) -> Act:
    """Send a piece again and again, without an end, each so many seconds after the last."""

    async def act(ask: Ask) -> web.StreamResponse:
        response = ask.response()
        response.enable_chunked_encoding()
        await response.prepare(ask.request)
        with suppress(ConnectionError):
            while not ask.gone:
                await response.write(piece)
                await asyncio.sleep(seconds)
        return response

    return act


def without(variant: str) -> Act:
    """Send the multivariant playlist without one of its variants."""

    async def act(ask: Ask) -> web.StreamResponse:
        lines = ask.body.decode().splitlines(keepends=True)
        # each variant is two lines, after the first one
        pairs = zip(lines[1::2], lines[2::2], strict=True)
        kept = [line for pair in pairs if f'NAME="{variant}"' not in pair[0] for line in pair]
        return await ask.whole("".join([lines[0], *kept]).encode())

    return act


async def nothing(ask: Ask) -> web.StreamResponse:
    """Answer 200 with no bytes at all."""
    return web.Response(body=b"", content_type="video/mp2t")


async def _raw(ask: Ask, data: bytes) -> None:
    if (transport := ask.request.transport) is not None:
        transport.write(data)


def _close(ask: Ask) -> None:
    if (transport := ask.request.transport) is not None:
        transport.close()


# Switches ------------------------------------------------------------------------------------------------------------

SEGMENTS = frozenset({Asked.SEGMENT})
PLAYLISTS = frozenset({Asked.PLAYLIST})
LISTS = frozenset({Asked.PLAYLIST, Asked.MASTER})
MASTERS = frozenset({Asked.MASTER})
ALL = frozenset(Asked)


Maker = Callable[[str, random.Random, float, int], Fault]


def _on(act: Callable[[random.Random], Act], *, attempts: int = 2, segments: int = 1, arrives: bool = False) -> Maker:
    """Make a fault of the segment `number` (and those after it) the first times that it is asked for."""

    def make(name: str, dice: random.Random, _: float, number: int) -> Fault:
        numbers = frozenset(range(number, number + segments))
        tries = dice.randint(1, attempts)
        return Fault(name, SEGMENTS, act(dice), numbers=numbers, attempts=tries, lets_through=arrives)

    return make


def _while(
    asked: frozenset[Asked], act: Callable[[random.Random], Act], least: float, most: float, *, old: bool = False
) -> Maker:
    """Make a fault of all that is asked for some seconds."""

    def make(name: str, dice: random.Random, begin: float, _: int) -> Fault:
        return Fault(name, asked, act(dice), begin, begin + dice.uniform(least, most), old_only=old)

    return make


_FOR_GOOD = 1e6

# What cures itself, so that nothing is lost by it: the dice choose how bad it is.
PASSING: dict[str, Maker] = {
    "segment 404 for a moment": _on(lambda _: answers(404)),
    "segment 5xx": _on(lambda dice: answers(dice.choice((500, 502, 503, 504, 429))), attempts=3),
    "segment hangs": _on(lambda _: hangs(), segments=2),
    "segment without an answer": _on(lambda _: hangs_up, segments=2),
    "segment breaks off": _on(lambda dice: breaks_off(dice.random())),
    "chunks without an end": _on(lambda dice: breaks_off(dice.random(), chunked=True)),
    "segment stands still and breaks off": _on(lambda dice: breaks_off(dice.random(), 70.0)),
    "segment ends within a packet": _on(lambda dice: ends_early(dice.uniform(0.1, 0.8), within_packet=True)),
    "segment ends too soon": _on(lambda dice: ends_early(dice.uniform(0.1, 0.4))),
    "segment hangs and ends as if whole": _on(lambda dice: ends_early(dice.uniform(0.1, 0.4), 60.0)),
    "segment shorter than it should be": _on(lambda dice: understates(dice.uniform(0.1, 0.4))),
    "segment of no bytes": _on(lambda _: nothing),
    "a page for a segment": _on(lambda _: sends(b"<html>We are sorry.</html>")),
    "segment trickles": _on(lambda dice: trickles(dice.uniform(5, 25)), attempts=1, segments=2, arrives=True),
    "segments 5xx": _while(SEGMENTS, lambda _: answers(503), 3, 20),
    "playlist 5xx": _while(PLAYLISTS, lambda _: answers(502), 2, 12),
    "playlist 404": _while(PLAYLISTS, lambda _: answers(404), 2, 12),
    "playlist hangs": _while(PLAYLISTS, lambda _: hangs(30), 3, 8),
    "playlist late": _while(PLAYLISTS, lambda dice: late(dice.uniform(1, 8)), 2, 12),
    "playlist stale": _while(PLAYLISTS, lambda _: stale, 4, 14),
    "playlist empty": _while(PLAYLISTS, lambda _: sends(b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n"), 2, 8),
    "playlist cut off": _while(PLAYLISTS, lambda _: sends(b"#EXTM3U\n#EXT-X-TARG"), 2, 8),
    "a page for a playlist": _while(LISTS, lambda _: sends(b"<html>"), 2, 10),
    "session stale": _while(PLAYLISTS, lambda _: stale, _FOR_GOOD, _FOR_GOOD, old=True),
    "session refused": _while(PLAYLISTS, lambda _: answers(403), _FOR_GOOD, _FOR_GOOD, old=True),
    "session hangs": _while(PLAYLISTS, lambda _: hangs(30), _FOR_GOOD, _FOR_GOOD, old=True),
    "session late": _while(PLAYLISTS, lambda _: late(9.0), _FOR_GOOD, _FOR_GOOD, old=True),
    "session's segments refused": _while(SEGMENTS | PLAYLISTS, lambda _: answers(403), _FOR_GOOD, _FOR_GOOD, old=True),
    "new sessions refused": _while(MASTERS, lambda _: answers(500), 5, 15),
    "everything away": _while(ALL, lambda _: hangs_up, 2, 12),
    "everything hangs": _while(ALL, lambda _: hangs(30), 2, 12),
}


# What does not cure itself, and what the report says of it then.
LASTING: dict[str, tuple[frozenset[Asked], Act, str]] = {
    "404": (SEGMENTS, answers(404), "expired"),
    "410": (SEGMENTS, answers(410), "expired"),
    "500": (SEGMENTS, answers(500), "refused"),
    "no answer": (SEGMENTS, hangs_up, "refused"),
    "silence": (SEGMENTS, hangs(), "timed_out"),
    "silence in the middle": (SEGMENTS, breaks_off(0.5, 90.0), "timed_out"),
    "breaks off": (SEGMENTS, breaks_off(0.5), "partial"),
    "chunks without an end": (SEGMENTS, breaks_off(0.5, chunked=True), "partial"),
    "a page": (SEGMENTS, sends(b"<html>We are sorry.</html>"), "refused"),
    "no bytes": (SEGMENTS, nothing, "refused"),
    "no init section": (frozenset({Asked.INIT}), answers(404), "unusable"),
    "no key": (frozenset({Asked.KEY}), answers(404), "unusable"),
    "a key of 15 bytes": (frozenset({Asked.KEY}), sends(b"x" * 15), "unusable"),
}


def passing(name: str, seed: object, begin: float, number: int) -> Fault:
    """Make the fault of that name, which is on at `begin` or for the segment `number`."""
    return PASSING[name](name, random.Random(f"{name} {seed}"), begin, number)


def random_script(dice: random.Random, count: int) -> Script:
    """Make a broadcast with some of all that is allowed."""
    numbers = range(5, count - 10)
    ad, gap = dice.choice(numbers), dice.choice(numbers)
    pause = Pause(dice.uniform(5, 60), reset=dice.random() < 0.5)
    return Script(
        count=count,
        window=dice.choice((15, 20, 30)),
        ads=frozenset(range(ad, ad + dice.randint(1, 8)) if dice.random() < 0.5 else ()),
        gaps=frozenset({gap} if dice.random() < 0.3 else ()),
        slates=frozenset({gap + 3} if dice.random() < 0.3 else ()),
        jumps={dice.choice(numbers): dice.choice((-0.5, 0.3, 0.7, 5.0))} if dice.random() < 0.4 else {},
        pauses={dice.choice(numbers): pause} if dice.random() < 0.4 else {},
        every_map=dice.choice((0, 0, 25)),
        every_key=dice.choice((0, 0, 20)),
        names_differ=dice.random() < 0.3,
        expires=dice.choice((None, None, 90.0)),
        blocking=dice.random() < 0.2,
    )


def random_broadcast(seed: int, count: int = 120) -> tuple[Script, list[Fault]]:
    """Make a broadcast with faults that all cure themselves: nothing of it needs to be lost."""
    dice = random.Random(seed)
    script = random_script(dice, count)
    names = [dice.choice(list(PASSING)) for _ in range(dice.randint(3, 9))]
    lasts = count * script.seconds - 60
    return script, [passing(name, seed, dice.uniform(0, lasts), dice.randrange(5, count - 10)) for name in names]
