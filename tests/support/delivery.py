"""Places to which videos are delivered in tests: a location, what lies there, and how it goes away."""

import asyncio
import hashlib
import html
import json
import os
import random
import re
import urllib.request
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

from aiohttp import web

from breaking_proxy import BreakingProxy, breaking_proxy
from cutter.locations import Location, Session, Video, s3
from cutter.locations.config import load
from cutter.locations.youtube import YouTube
from cutter.locations.youtube_upload import Patience
from fake_youtube import FakeYouTube, serving_app, serving_youtube

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TITLE = 'Run 1/2: "Ärger" <in> 100%'
MIB = 1 << 20
VIDEOS = (".mp4", ".ts")


def make_video(folder: Path, event: str = "event-1", revision: int = 3, size: int = MIB + 77, seed: int = 1) -> Video:
    """Spool a video of random bytes."""
    content = random.Random(seed).randbytes(size)
    digest = hashlib.sha256(content).hexdigest()
    path = folder / f"{digest[:8]}.mp4"
    path.write_bytes(content)
    # without < and >, which YouTube takes in no title
    title = TITLE.replace("<", "(").replace(">", ")")
    return Video(event, revision, path, size, digest, title, "Said of it.", ("a", "b c"), True, NOON)  # noqa: FBT003 - public


@dataclass
class Row:
    """What an event's row would hold of a delivery, and what its cutter was told."""

    session: Session | None = None
    kept: int = 0
    progress: list[float] = field(default_factory=list)
    at: Callable[[int], None] = lambda _: None  # called with the number of each progress

    async def keep(self, session: Session) -> None:
        self.session = json.loads(json.dumps(session))
        self.kept += 1

    def report(self, share: float) -> None:
        self.progress.append(share)
        self.at(len(self.progress))


@dataclass
class Place:
    """A location in the world: `config` is the file that makes it, `size` a video of some pieces."""

    location: Location
    config: Path
    size: int
    contents: Callable[[], Awaitable[dict[str, bytes]]]
    leave: Callable[[], Awaitable[None]]
    come_back: Callable[[], Awaitable[None]]
    youtube: FakeYouTube | None = None
    proxy: BreakingProxy | None = None

    async def digests(self) -> list[str]:
        """The SHA-256 of every video that can be seen there."""
        return [hashlib.sha256(content).hexdigest() for content in (await self.contents()).values()]


@asynccontextmanager
async def local_place(folder: Path) -> AsyncIterator[Place]:
    target = folder / "videos"
    target.mkdir()
    config = configured(folder, 'type = "local"\nfolder = "videos"')

    async def contents() -> dict[str, bytes]:
        shown = (path for path in target.rglob("*") if path.is_file() and not path.name.startswith("."))
        return {path.name: path.read_bytes() for path in shown if path.name.endswith(VIDEOS)}

    async def leave() -> None:
        target.rename(folder / "elsewhere")

    async def come_back() -> None:
        (folder / "elsewhere").rename(target)

    async with load(config)["place"] as location:
        yield Place(location, config, MIB + 77, contents, leave, come_back)


@asynccontextmanager
async def s3_place(folder: Path, moto: int) -> AsyncIterator[Place]:
    bucket = f"http://127.0.0.1:{moto}/bucket-{os.urandom(6).hex()}"

    def ask(path: str = "", method: str = "GET") -> bytes:
        asked = urllib.request.Request(bucket + path, method=method)  # noqa: S310 - loopback
        with urllib.request.urlopen(asked) as answer:  # noqa: S310 - loopback
            content: bytes = answer.read()
            return content

    await asyncio.to_thread(ask, method="PUT")
    (folder / "secret").write_text("secret\n")
    async with breaking_proxy(moto) as proxy:
        config = configured(
            folder,
            f'type = "s3"\nbucket = "{bucket.rpartition("/")[2]}"\nendpoint = "http://127.0.0.1:{proxy.port}"\n'
            'access_key_id = "key"\nsecret_access_key_file = "secret"',
        )

        async def contents() -> dict[str, bytes]:
            listed = (await asyncio.to_thread(ask, "?list-type=2")).decode()
            keys = [html.unescape(key) for key in re.findall("<Key>(.*?)</Key>", listed)]
            return {key: await asyncio.to_thread(ask, f"/{quote(key)}") for key in keys if key.endswith(VIDEOS)}

        location = load(config)["place"]
        assert isinstance(location, s3.S3)
        location._patience = s3.Patience(retries=0)
        async with location:
            yield Place(location, config, 11 * MIB + 5, contents, proxy.stop, proxy.start, proxy=proxy)


@asynccontextmanager
async def youtube_place(folder: Path) -> AsyncIterator[Place]:
    async with serving_youtube() as fake:
        (folder / "credentials").write_text(fake.credentials())
        config = configured(
            folder,
            f'type = "youtube"\ncredentials_file = "credentials"\naddress = "{fake.address}"\npiece_bytes = {MIB // 4}',
        )

        async def contents() -> dict[str, bytes]:
            return {name: video.content for name, video in fake.videos.items()}

        assert fake.server is not None
        location = load(config)["place"]
        assert isinstance(location, YouTube)
        location._patience = Patience(tries=3, pause=lambda _: 0.0)
        async with location:
            yield Place(location, config, MIB + 77, contents, fake.server.stop, fake.server.start, youtube=fake)


class WebDav:
    """As much of a WebDAV server as the example of docs/locations.md speaks to."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    def app(self) -> web.Application:
        app = web.Application(client_max_size=64 * MIB)
        app.router.add_put("/{name}", self._put)
        app.router.add_head("/{name}", self._head)
        app.router.add_route("MOVE", "/{name}", self._move)
        return app

    async def _put(self, request: web.Request) -> web.Response:
        self.files[request.match_info["name"]] = b""
        async for data in request.content.iter_any():
            self.files[request.match_info["name"]] += data
        return web.Response(status=201)

    async def _head(self, request: web.Request) -> web.Response:
        found = self.files.get(request.match_info["name"])
        if found is None:
            return web.Response(status=404)
        return web.Response(headers={"Content-Length": str(len(found))})

    async def _move(self, request: web.Request) -> web.Response:
        if request.match_info["name"] not in self.files:
            return web.Response(status=404)
        name = request.headers["Destination"].rpartition("/")[2]
        self.files[name] = self.files.pop(request.match_info["name"])
        return web.Response(status=201)


@asynccontextmanager
async def webdav_place(folder: Path) -> AsyncIterator[Place]:
    dav = WebDav()
    async with serving_app(dav.app()) as server:
        config = configured(folder, f'type = "webdav"\nfolder_url = "{server.address}"')

        async def contents() -> dict[str, bytes]:
            return {name: content for name, content in dav.files.items() if not name.startswith(".")}

        async with load(config)["place"] as location:
            yield Place(location, config, MIB + 77, contents, server.stop, server.start)


def configured(folder: Path, table: str) -> Path:
    """Write the configuration of one location, `place`."""
    file = folder / "locations.toml"
    file.write_text(f"[locations.place]\n{table}\n")
    return file
