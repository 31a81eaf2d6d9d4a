"""The restreamer behind a real nginx, with the configuration of the documentation."""

import asyncio
import os
import shutil
import socket
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession, web
from yarl import URL

from common.dateutil import format_utc
from common.segments import Segment
from common.store import Store
from common.web import serving
from restreamer.main import make_app

Put = Callable[..., Segment]

HOUR = "2026-03-01T12"
DATA = bytes(range(256)) * 4
FOR_GOOD = "public, max-age=31536000, immutable"
PLAYLIST = "playlist/chan/source.m3u8"
RANGE = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:00:02Z"}

# Around the configuration of the documentation, as a distribution would have it.
AROUND = """
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1; {user}
events {{ worker_connections 64; }}
http {{
    access_log off; default_type application/octet-stream;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    include {folder}/respool.conf;
}}
"""


def substituted(text: str, changes: dict[str, str]) -> str:
    for old, new in changes.items():
        assert old in text, f"The configuration does not name {old}."
        text = text.replace(old, new)
    return text


@pytest.fixture
def passed_on() -> list[str]:
    """The playlists that the restreamer was asked for, each by its query and the encoding wanted."""
    return []


@pytest.fixture
async def front(store: Store, tmp_path: Path, root: Path, passed_on: list[str]) -> AsyncIterator[URL]:
    """The address of an nginx in front of the restreamer."""
    nginx = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if nginx is None:
        pytest.skip("There is no nginx here to put in front.")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    folder = tmp_path / "nginx"
    (folder / "cache").mkdir(parents=True)

    async def note(request: web.Request, _: web.StreamResponse) -> None:
        if request.path.startswith("/playlist/"):
            passed_on.append(f"{request.headers.get('Accept-Encoding')} {request.query_string}")

    app = make_app(store, accel_prefix="/protected")
    app.on_response_prepare.append(note)
    async with serving(app, "127.0.0.1", 0) as behind:
        changes = {
            "server 127.0.0.1:8000;": f"server 127.0.0.1:{behind};",
            "listen 8080;": f"listen 127.0.0.1:{port};",
            "alias /srv/respool/segments/;": f"alias {store.base}/;",
            "proxy_cache_path /var/cache/nginx/respool ": f"proxy_cache_path {folder}/cache ",
        }
        (folder / "respool.conf").write_text(substituted((root / "docs/nginx.conf").read_text(), changes))
        user = "user root;" if os.geteuid() == 0 else ""
        (folder / "nginx.conf").write_text(AROUND.format(folder=folder, user=user))
        process = await asyncio.create_subprocess_exec(
            nginx, "-p", folder, "-e", folder / "error.log", "-c", folder / "nginx.conf"
        )
        try:
            async with asyncio.timeout(60):
                while not await listens(port):
                    assert process.returncode is None, (folder / "error.log").read_text()
            yield URL(f"http://127.0.0.1:{port}")
        finally:
            if process.returncode is None:
                process.terminate()
            await process.wait()


async def listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        await asyncio.sleep(0)
        return False
    writer.close()
    return True


async def test_nginx_sends_segments(front: URL, client: ClientSession, put: Put) -> None:
    """A segment comes through nginx whole and by ranges, with the headers that the restreamer gives it."""
    segment = put("12:00:00", data=DATA, channel="a channel ✓ 100%")
    address = front / "segments/a channel ✓ 100%/source" / HOUR / segment.name
    async with client.get(address) as response:
        assert (response.status, response.content_type) == (200, "video/mp2t")
        assert response.headers["Server"].startswith("nginx")
        assert response.headers["Cache-Control"] == FOR_GOOD
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert "X-Accel-Redirect" not in response.headers
        tag = response.headers["ETag"]
        assert await response.read() == DATA
    async with client.get(address, headers={"Range": "bytes=1-9"}) as response:
        assert (response.status, await response.read()) == (206, DATA[1:10])
    async with client.get(address, headers={"If-None-Match": tag}) as response:
        assert response.status == 304
    async with client.head(address) as response:
        assert (response.status, response.content_length) == (200, len(DATA))


async def test_nginx_gives_away_nothing_else(front: URL, client: ClientSession, put: Put, store: Store) -> None:
    """Nobody comes past the restreamer into the folder, and what that refuses is refused in its words."""
    segment = put("12:00:00", data=DATA)
    folder = store.folder("chan", "source") / HOUR
    (folder / ".hidden").write_text("canary")
    (folder / "stranger.ts").write_text("canary")
    for path in (f"protected/chan/source/{HOUR}/{segment.name}", f"protected/chan/source/{HOUR}/stranger.ts"):
        async with client.get(front / path) as response:
            assert response.status == 404
            assert "canary" not in await response.text()
    for name in ("stranger.ts", ".hidden", "00:00.000000-2.0-full-x.ts", "..%2f..%2fcanary"):
        async with client.get(URL(f"{front}/segments/chan/source/{HOUR}/{name}", encoded=True)) as response:
            assert response.status in (400, 404), name
            assert list(await response.json()) == ["error"]


async def test_nginx_passes_on_the_rest(front: URL, client: ClientSession, put: Put) -> None:
    """Listings, playlists and cuts come through nginx as they are; playlists say how they were cached."""
    put("12:00:00", data=DATA)
    async with client.get(front / "files") as response:
        assert await response.json() == ["chan"]
    async with client.get(front / PLAYLIST % RANGE) as response:
        assert response.status == 200
        assert "#EXT-X-ENDLIST" in await response.text()
        assert response.headers["X-Cache-Status"] in ("MISS", "BYPASS", "EXPIRED")
    async with client.get(front / "cut/chan/source.ts" % (RANGE | {"type": "rough"})) as response:
        assert await response.read() == DATA


async def test_many_viewers_are_one_request_a_second(
    front: URL, client: ClientSession, put: Put, passed_on: list[str], now: datetime
) -> None:
    """However many watch, and whatever else their browsers take, a second costs one request per list and encoding."""
    start = now - timedelta(seconds=60)
    for n in range(25):
        put(start + timedelta(seconds=2 * n))
    live = front / PLAYLIST % {"start": format_utc(start)}

    async def watch(number: int) -> None:
        taken = "identity" if number % 4 == 0 else f"gzip, deflate, br;q=0.{number % 4}"
        update = {"_HLS_skip": "YES"} if number % 2 else {}
        for _ in range(20):
            async with client.get(live.update_query(update), headers={"Accept-Encoding": taken}) as response:
                assert response.status == 200
                assert ("Content-Encoding" in response.headers) is (number % 4 != 0)
                assert ("#EXT-X-SKIP:" in await response.text()) is (number % 2 == 1)

    began = time.monotonic()
    await asyncio.gather(*map(watch, range(40)))
    seconds = time.monotonic() - began
    counts = Counter(passed_on)
    assert len(counts) == 3
    # a slow machine may need more than a second for one answer
    assert max(counts.values()) <= 2 * seconds + 2


async def test_each_gets_what_it_takes_from_the_cache(
    front: URL, client: ClientSession, put: Put, passed_on: list[str]
) -> None:
    """Clients that take gzip share one answer, the others another one, each with a tag that nginx knows again."""
    put("12:00:00")
    at = front / PLAYLIST % RANGE
    tags: dict[bool, set[str]] = {True: set(), False: set()}
    for taken in ("gzip", "gzip, deflate, br, zstd", "GZIP;q=0.5", "identity", "", "gzip;q=0, *;q=0", "br", "gzipped"):
        async with client.get(at, headers={"Accept-Encoding": taken}) as response:
            packed = "Content-Encoding" in response.headers
            assert packed is (taken.lower().startswith("gzip") and taken not in ("gzip;q=0, *;q=0", "gzipped"))
            assert (await response.text()).startswith("#EXTM3U")
            assert response.headers["Vary"] == "Accept-Encoding"
            tags[packed].add(tag := response.headers["ETag"])
        async with client.get(at, headers={"Accept-Encoding": taken, "If-None-Match": tag}) as response:
            assert (response.status, response.headers["X-Cache-Status"]) == (304, "HIT")
    assert [len(found) for found in tags.values()] == [1, 1]
    assert len({*passed_on}) == 2


async def test_a_live_list_from_the_cache_is_young(front: URL, client: ClientSession, put: Put, now: datetime) -> None:
    """What nobody has asked for in some seconds is fetched anew for all who then ask at once."""
    start = now - timedelta(seconds=30)
    put(start)
    live = front / PLAYLIST % {"start": format_utc(start)}

    async def entries() -> int:
        async with client.get(live) as response:
            return (await response.text()).count("#EXTINF")

    assert await entries() == 1
    put(start + timedelta(seconds=2))
    await asyncio.sleep(3.1)  # a second for which it is fresh, one for which it may be renewed, in whole seconds
    assert await asyncio.gather(*(entries() for _ in range(10))) == [2] * 10


async def test_without_nginx_the_header_is_all(store: Store, client: ClientSession, put: Put) -> None:
    """With a prefix the restreamer sends no segment itself: it names the place, quoted, that nginx sends it from."""
    segment = put("12:00:00", data=DATA, channel="a b%?")
    async with (
        serving(make_app(store, accel_prefix="/protected"), "127.0.0.1", 0) as port,
        client.get(URL(f"http://127.0.0.1:{port}") / "segments/a b%?/source" / HOUR / segment.name) as response,
    ):
        assert (response.status, await response.read()) == (200, b"")
        place = f"/protected/a%20b%25%3F/source/{HOUR}/{segment.name}"
        assert response.headers["X-Accel-Redirect"].replace("%3A", ":") == place.replace("%3A", ":")
        assert response.headers["Cache-Control"] == FOR_GOOD
