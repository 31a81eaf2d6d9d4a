"""A live origin for measurements, in a process of its own: channels of 6 Mbit/s in segments of two seconds.

It does as little as it can, and notes when it published what and when it was asked for which playlist.
"""

import asyncio
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from urllib.request import urlopen

from aiohttp import web

from bench.served import served

SECONDS = 2.0
WINDOW = 6
BYTES = 188 * 7979  # of a segment: 6.0 Mbit/s
JITTER = 0.1

# Tables of a programme with one sound (ISO 13818-1 §2.4.4), then packets of it.
_TABLES = (
    (0, "00b00d0001c100000001f0002ab104b2"),
    (0x1000, "02b0120001c10000e101f0000fe101f000"),
)


@dataclass(slots=True)
class Channel:
    """A stream whose segment `n` is published at `at(n)`, a Unix time, and not quite regularly."""

    number: int
    began: float
    blocking: bool
    polls: list[tuple[float, int, bool]] = field(default_factory=list)
    dice: random.Random = field(init=False)
    _at: list[float] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dice = random.Random(self.number)

    def at(self, number: int) -> float:
        while len(self._at) <= number:
            self._at.append(self.began + (len(self._at) + 1) * SECONDS + self.dice.uniform(0, JITTER))
        return self._at[number]

    def newest(self) -> int:
        """Give the number of the last segment that is out; -1 before the first."""
        number = int((time.time() - self.began) / SECONDS)
        while number >= 0 and self.at(number) > time.time():
            number -= 1
        return number

    async def playlist(self, request: web.Request) -> web.Response:
        asked = time.time()
        wanted = request.query.get("_HLS_msn", "")
        if self.blocking and wanted.isdigit() and int(wanted) <= self.newest() + 2:
            await asyncio.sleep(max(0.0, self.at(int(wanted)) - time.time()))
        newest = self.newest()
        self.polls.append((asked, newest, bool(wanted)))
        first = max(0, newest - WINDOW + 1)
        lines = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{SECONDS:.0f}"]
        lines += ["#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES"] if self.blocking else []
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{first}")
        for number in range(first, newest + 1):
            start = datetime.fromtimestamp(self.began + number * SECONDS, UTC).isoformat(timespec="milliseconds")
            lines += [f"#EXT-X-PROGRAM-DATE-TIME:{start}", f"#EXTINF:{SECONDS},", f"{number}.ts"]
        return web.Response(text="\n".join([*lines, ""]), content_type="application/vnd.apple.mpegurl")

    def ledger(self) -> dict[str, object]:
        return {"began": self.began, "published": self._at[: self.newest() + 1], "polls": self.polls}


def _content() -> bytes:
    packets = bytearray()
    for pid, section in _TABLES:
        data = bytes([0x47, 0x40 | pid >> 8, pid & 0xFF, 0x10, 0]) + bytes.fromhex(section)
        packets += data.ljust(188, b"\xff")
    filling = random.Random(0).randbytes(184 * 1000)
    for number in range(BYTES // 188 - len(_TABLES)):
        at = number % 1000 * 184
        packets += bytes([0x47, 0x01, 0x01, 0x10 | number & 15]) + filling[at : at + 184]
    return bytes(packets)


def _serve(port: int, count: int, blocking: bool) -> None:  # noqa: FBT001 - of a process
    async def run() -> None:
        began = time.time() - WINDOW * SECONDS
        # their segments come one after the other, so that all moments between two of ours are measured
        channels = [Channel(n, began + n * SECONDS / count, blocking) for n in range(count)]
        content = _content()

        async def playlist(request: web.Request) -> web.Response:
            return await channels[int(request.match_info["channel"])].playlist(request)

        async def segment(_: web.Request) -> web.Response:
            return web.Response(body=content, content_type="video/mp2t")

        async def ledger(_: web.Request) -> web.Response:
            return web.json_response([channel.ledger() for channel in channels])

        app = web.Application()
        app.add_routes(
            [
                web.get("/ledger", ledger),
                web.get("/{channel}/live.m3u8", playlist),
                web.get("/{channel}/{number}.ts", segment),
            ]
        )
        runner = web.AppRunner(app, access_log=None, keepalive_timeout=75.0)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", port).start()
        await asyncio.Event().wait()

    asyncio.run(run())


@contextmanager
def live_origin(channels: int, *, blocking: bool = False) -> Iterator[str]:
    """Serve so many channels, `/0/live.m3u8` and so on, and give the address."""
    with served(_serve, channels, blocking) as address:
        yield address


@dataclass(frozen=True, slots=True)
class Ledger:
    """What a channel did: when each segment came out, and the requests for its playlist with the newest they found."""

    began: float
    published: list[float]
    polls: list[tuple[float, int, bool]]


def read_ledgers(address: str) -> list[Ledger]:
    """Ask the origin for its notes."""
    with urlopen(f"{address}/ledger") as answer:  # noqa: S310 - our own origin
        return [Ledger(**channel) for channel in json.load(answer)]
