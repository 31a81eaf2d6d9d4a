"""The demo stream: a live HLS stream of our own making, recorded by `respool up` when no channel is named.

One ffmpeg encodes it in the pace of the clock, and a small HTTP server offers it like any origin would. Sequence
numbers are the segments' start times divided by their length, so a restart of either needs no memory: it begins a
new run with higher numbers, and segments of an earlier run are listed no more.

    python -m respool.demo --folder DIR [--port N] [--ffmpeg PATH]
"""

import asyncio
import collections
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import imageio_ffmpeg
import structlog
from aiohttp import web

from common import service
from common.children import send_signal
from common.errors import UserError
from common.options import host_option, log_level_option, option, port_option
from common.waits import backoff, pause
from common.web import RequestError, answer_errors, serving
from respool.demo_encoder import (
    RENDITIONS,
    SEGMENT_SECONDS,
    announced,
    dying_with_parent,
    encoder_command,
    write_assets,
)
from respool.timecode import FRAME_RATE

WINDOW: Final = 10
"""Segments that a playlist lists."""

KEPT: Final = 300 // SEGMENT_SECONDS
"""Segments that can still be fetched: five minutes, for a reader that is late."""

HOST: Final = "127.0.0.1"
PLAYLIST: Final = "/demo.m3u8"

_OWN_FOLDER: Final = "respool-demo-stream"
_FIRST_SEGMENT_SECONDS: Final = 10.0  # a request for a playlist waits so long for something to list
_LATE_SECONDS: Final = 10  # behind the clock, for instance after the machine has slept: a new run begins
_END_SECONDS: Final = 1.0  # from asking ffmpeg to end to killing it; what it would still write is not wanted
_TAIL_LINES: Final = 20

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class DemoConfig:
    """What the demo stream needs to know.

    It works in a folder of its own under `folder`, which it empties at the start and removes at the end.
    Port 0 is any free one.
    """

    ffmpeg: str
    folder: Path
    port: int = 0
    host: str = HOST


async def run(config: DemoConfig, stop: asyncio.Event, *, listening: Callable[[str], None] | None = None) -> None:
    """Serve the demo stream until `stop` is set; `listening` is told the playlist's URL as soon as it answers.

    Raises UserError if there is no such ffmpeg, if the port is taken or if the folder cannot be written. An encoder
    that fails is logged and started again.
    """
    ffmpeg = shutil.which(config.ffmpeg)
    if ffmpeg is None:
        raise UserError(
            f"There is no ffmpeg at {config.ffmpeg}: name another one, or none to use the one that comes along."
        )
    async with _workplace(config.folder / _OWN_FOLDER) as folder:
        shelf = Shelf(folder)
        async with _origin(shelf, config.host, config.port) as url:
            log.info("demo_listening", url=url)
            if listening:
                listening(url)
            await _keep_encoding(ffmpeg, shelf, stop)


class Shelf:
    """The whole segments on disk: which there are of each rendition, and which of them the playlists list."""

    def __init__(self, folder: Path) -> None:
        """Begin with nothing; `folder` has one folder per rendition."""
        self.folder = folder
        self._runs: list[int] = []
        self._whole: dict[str, set[int]] = {rendition.name: set() for rendition in RENDITIONS}
        self._listed: dict[str, list[int]] = {rendition.name: [] for rendition in RENDITIONS}
        self._filled = asyncio.Event()

    @property
    def next_sequence(self) -> int:
        """The lowest sequence number that no rendition has used yet."""
        return max((sequence + 1 for whole in self._whole.values() for sequence in whole), default=0)

    def begin_run(self, first: int) -> None:
        """Note that segments from sequence number `first` on do not continue those before it."""
        self._runs.append(first)

    def put(self, rendition: str, sequence: int) -> None:
        """Take a segment whose file is whole."""
        self._whole[rendition] = {kept for kept in self._whole[rendition] if kept > sequence - KEPT} | {sequence}
        run = [listed for listed in self._listed[rendition] if listed >= self._runs[-1]]
        self._listed[rendition] = [*run, sequence][-WINDOW:]
        if all(self._listed.values()):
            self._filled.set()

    def remove_old(self) -> None:
        """Delete the files that are too old to be fetched, those that a dead encoder left included; it blocks."""
        oldest = self.next_sequence - KEPT
        for path in self.folder.glob("*/*.ts"):
            if int(path.stem) < oldest:
                path.unlink(missing_ok=True)

    def find(self, rendition: str, name: str) -> Path | None:
        """Return the file of a segment by its name (`<sequence>.ts`) if it is whole and still kept."""
        if any(name == f"{sequence}.ts" for sequence in self._whole.get(rendition, ())):
            return self.folder / rendition / name
        return None

    async def playlist(self, rendition: str) -> str | None:
        """Return a rendition's playlist as it is now, or None if nothing came to be listed for some seconds."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_FIRST_SEGMENT_SECONDS):
                await self._filled.wait()
        listed = self._listed[rendition]
        if not listed:
            return None
        begun = max(first for first in self._runs if first <= listed[0])
        return media_playlist(rendition, listed, begun, resumed=begun != self._runs[0])


def multivariant_playlist() -> str:
    """Return the playlist of the renditions."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", "#EXT-X-INDEPENDENT-SEGMENTS"]
    for each in RENDITIONS:
        attributes = {
            "BANDWIDTH": each.bandwidth,
            "RESOLUTION": f"{each.width}x{each.height}",
            "FRAME-RATE": f"{FRAME_RATE:.3f}",
            "CODECS": f'"{each.codecs}"',
        }
        lines += [
            "#EXT-X-STREAM-INF:" + ",".join(f"{name}={value}" for name, value in attributes.items()),
            f"{each.name}.m3u8",
        ]
    return "\n".join(lines) + "\n"


def media_playlist(rendition: str, sequences: list[int], begun: int, *, resumed: bool) -> str:
    """Return a live playlist of consecutive segments, of the run that began with sequence number `begun`.

    The number of a run's discontinuity sequence is `begun` too: it grows with each run and needs no memory. A run that
    `resumed` after another one is marked on its first segment for as long as that one is listed.
    """
    marked = resumed and sequences[0] == begun
    lines = [
        "#EXTM3U",
        "#EXT-X-VERSION:6",
        f"#EXT-X-TARGETDURATION:{SEGMENT_SECONDS}",
        f"#EXT-X-MEDIA-SEQUENCE:{sequences[0]}",
        f"#EXT-X-DISCONTINUITY-SEQUENCE:{begun - marked}",
        "#EXT-X-INDEPENDENT-SEGMENTS",
        *(["#EXT-X-DISCONTINUITY"] if marked else []),
    ]
    for sequence in sequences:
        start = datetime.fromtimestamp(sequence * SEGMENT_SECONDS, UTC)
        lines += [
            f"#EXT-X-PROGRAM-DATE-TIME:{start:%Y-%m-%dT%H:%M:%S.000Z}",
            f"#EXTINF:{SEGMENT_SECONDS:.3f},",
            f"{rendition}/{sequence}.ts",
        ]
    return "\n".join(lines) + "\n"


@contextlib.asynccontextmanager
async def _workplace(folder: Path) -> AsyncIterator[Path]:
    def prepare() -> None:
        shutil.rmtree(folder, ignore_errors=True)  # what a killed process has left
        for rendition in RENDITIONS:
            (folder / rendition.name).mkdir(parents=True)
        write_assets(folder)

    try:
        await asyncio.to_thread(prepare)
    except OSError as error:
        raise UserError(
            f"The demo stream cannot write to {folder}: {error.strerror}; name a folder that it can write to."
        ) from error
    try:
        yield folder
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


@contextlib.asynccontextmanager
async def _origin(shelf: Shelf, host: str, port: int) -> AsyncIterator[str]:
    # Any page may play the stream: players fetch it with scripts, and it holds no secret.
    open_to_all = {"Access-Control-Allow-Origin": "*"}
    fresh = open_to_all | {"Cache-Control": "no-cache"}

    def playlist(text: str) -> web.Response:
        return web.Response(text=text, content_type="application/vnd.apple.mpegurl", headers=fresh)

    async def get_multivariant(_: web.Request) -> web.Response:
        return playlist(multivariant_playlist())

    async def get_media(request: web.Request) -> web.Response:
        text = await shelf.playlist(request.match_info["rendition"])
        if text is None:
            raise RequestError("The demo stream has not begun yet.", status=503)
        return playlist(text)

    async def get_segment(request: web.Request) -> web.FileResponse:
        path = shelf.find(request.match_info["rendition"], request.match_info["name"])
        if path is None:
            raise RequestError("There is no such segment, or no longer.", status=404)
        return web.FileResponse(path, headers=open_to_all | {"Content-Type": "video/mp2t"})

    known = "|".join(rendition.name for rendition in RENDITIONS)
    app = web.Application(middlewares=[answer_errors])
    app.router.add_get(PLAYLIST, get_multivariant)
    app.router.add_get(f"/{{rendition:{known}}}.m3u8", get_media)
    app.router.add_get(f"/{{rendition:{known}}}/{{name}}", get_segment)
    async with serving(app, host, port) as bound:
        yield f"http://{host}:{bound}{PLAYLIST}"


async def _keep_encoding(ffmpeg: str, shelf: Shelf, stop: asyncio.Event) -> None:
    failures = 0
    while True:
        first = max(int(time.time()) // SEGMENT_SECONDS, shelf.next_sequence)
        shelf.begin_run(first)
        reason = await _encode(ffmpeg, first, shelf, stop)
        if stop.is_set():
            return
        failures = 1 if shelf.next_sequence > first else failures + 1
        seconds = backoff(failures)
        log.error("demo_encoder_failed", reason=reason, failures=failures, retry_in_seconds=round(seconds, 1))
        if await pause(stop, seconds):
            return


async def _encode(ffmpeg: str, first: int, shelf: Shelf, stop: asyncio.Event) -> str:
    """Put the segments of one run of the encoder on the shelf, until it ends or `stop` is set; return why it ended."""
    epoch = first * SEGMENT_SECONDS
    command = encoder_command(ffmpeg, epoch, lead=max(0.0, time.time() - epoch))
    process = await asyncio.create_subprocess_exec(
        *dying_with_parent(command, os.getpid()),
        cwd=shelf.folder,
        start_new_session=True,  # Ctrl-C in the terminal is for us, who then end it
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    if process.stdout is None or process.stderr is None:
        raise AssertionError("the encoder was started without pipes")
    stopper = asyncio.create_task(_end_on(stop, process))
    tail = asyncio.create_task(_tail(process.stderr))
    try:
        reason = await _take_segments(process.stdout, shelf)
    finally:
        stopper.cancel()
        await _end(process)
        said = await tail
    return "\n".join([f"{reason}, exit code {process.returncode}", *said])


async def _take_segments(announcements: asyncio.StreamReader, shelf: Shelf) -> str:
    """Put each announced segment on the shelf, until there are no more or they come too late; return which."""
    async for line in announcements:
        segment = announced(line.decode())
        if segment is None:
            continue
        rendition, sequence = segment
        shelf.put(rendition, sequence)
        await asyncio.to_thread(shelf.remove_old)
        behind = time.time() - (sequence + 1) * SEGMENT_SECONDS
        if behind > _LATE_SECONDS:
            return f"it is {behind:.0f} s behind the clock"
    return "it ended"


async def _tail(stream: asyncio.StreamReader) -> list[str]:
    lines: collections.deque[str] = collections.deque(maxlen=_TAIL_LINES)
    async for line in stream:
        lines.append(line.decode(errors="replace").rstrip())
    return list(lines)


async def _end_on(stop: asyncio.Event, process: asyncio.subprocess.Process) -> None:
    await stop.wait()
    await _end(process)


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process, by force if it takes longer than `_END_SECONDS`; nothing is done if it has ended."""
    send_signal(process, signal.SIGTERM)
    try:
        async with asyncio.timeout(_END_SECONDS):
            await process.wait()
    except TimeoutError:
        send_signal(process, signal.SIGKILL)
    await process.wait()


@click.command()
@option(
    "--folder",
    type=click.Path(file_okay=False, path_type=Path),
    required=True,
    help=f"Folder to work in: the last minutes lie in {_OWN_FOLDER} there, which is removed at the end.",
)
@host_option
@port_option(0)
@option("--ffmpeg", default=imageio_ffmpeg.get_ffmpeg_exe, help="The ffmpeg to use.")
@log_level_option
def main(folder: Path, host: str, port: int, ffmpeg: str, log_level: str) -> None:
    """Serve a live HLS demo stream with the UTC time in its picture."""
    config = DemoConfig(ffmpeg, folder.absolute(), port, host)
    sys.exit(service.main(lambda stop: run(config, stop), name="demo", level=log_level))


if __name__ == "__main__":
    main()
