"""What one client, or many, may take: real sockets, and clients that stop reading."""

import asyncio
import json
import select
import socket
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import ClientError, ClientSession
from structlog.testing import capture_logs
from yarl import URL

from common.encode_slots import encode_slot
from common.segments import Segment
from common.store import Store
from common.web import RETRY_AFTER_SECONDS, RequestError, serving
from restreamer import limits
from restreamer.chunks import Chunk
from restreamer.main import make_app

Put = Callable[..., Segment]

HOUR = "2026-03-01T12"
# More than the kernel keeps for a client that does not read.
LARGE = 24 << 20
PLAYLIST = "playlist/chan/source.m3u8?start=2026-03-01T12:00:00Z&end=2026-03-01T12:00:02Z"
CUT = "cut/chan/source.ts?type=rough&start=2026-03-01T12:00:00Z&end=2026-03-01T12:00:02Z"


@asynccontextmanager
async def asking(url: URL, path: str) -> AsyncIterator[socket.socket]:
    """A client that asks, reads the beginning of the answer, and then takes nothing more."""
    loop = asyncio.get_running_loop()
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)  # noqa: FBT003 - the library's
        await loop.sock_connect(client, (url.host, url.port))
        await loop.sock_sendall(client, f"GET /{path} HTTP/1.1\r\nHost: host\r\n\r\n".encode())
        assert (await loop.sock_recv(client, 1000)).startswith(b"HTTP/1.1 200")
        yield client


async def is_dropped(client: socket.socket) -> bool:
    """Wait, without reading, until the other side has broken the connection."""
    poller = select.poll()
    poller.register(client, 0)  # errors are always told
    return bool(await asyncio.to_thread(poller.poll, 10_000))


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TAKE_SECONDS", 0.2)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_does_not_take_a_segment_is_dropped(url: URL, put: Put) -> None:
    """Who asks for a segment and stops reading loses the connection, before the whole has been sent."""
    segment = put("12:00:00", data=b"x" * LARGE)
    async with asking(url, f"segments/chan/source/{HOUR}/{segment.name}") as lazy:
        assert await is_dropped(lazy)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_does_not_take_a_playlist_is_dropped(
    url: URL, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for a long playlist and stops reading loses the connection, and with it the place that it held."""
    put("12:00:00")
    monkeypatch.setattr("restreamer.playlists.past_playlist", lambda *_: [Chunk("#" * (1 << 20))] * (LARGE >> 20))
    monkeypatch.setattr(limits, "PIECE_BYTES", LARGE)
    async with asking(url, PLAYLIST) as lazy:
        assert await is_dropped(lazy)


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_does_not_take_a_cut_gives_its_place_back(
    store: Store, client: ClientSession, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for a cut and stops reading loses the connection, and another can have a cut."""
    put("12:00:00", data=b"x" * LARGE)
    monkeypatch.setattr("restreamer.main.MOST_CUTS", 1)
    async with (
        serving(make_app(store), "127.0.0.1", 0) as port,
        asking(url := URL(f"http://127.0.0.1:{port}"), CUT) as lazy,
    ):
        assert await is_dropped(lazy)
        async with client.get(URL(f"{url}/{CUT}")) as response:
            assert len(await response.read()) == LARGE


@pytest.mark.usefixtures("impatient")
async def test_a_client_that_does_not_take_what_is_encoded_gives_the_slot_back(
    store: Store, stream: list[bytes], put: Put, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who asks for a full cut and stops reading loses the connection, and ffmpeg ends; another encode can begin."""
    put("12:00:00", data=stream[0])
    endless = tmp_path / "ffmpeg"
    endless.write_text("#!/bin/sh\nexec cat /dev/zero\n")
    endless.chmod(0o755)
    monkeypatch.setenv("RESPOOL_FFMPEG", str(endless))
    monkeypatch.setenv("RESPOOL_ENCODES", "1")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with (
        asyncio.timeout(60),
        serving(make_app(store), "127.0.0.1", 0) as port,
        asking(URL(f"http://127.0.0.1:{port}"), CUT.replace("rough", "mpegts")) as lazy,
    ):
        assert await is_dropped(lazy)
        async with encode_slot("another"):
            pass


@pytest.mark.usefixtures("impatient")
async def test_a_client_has_so_long_for_a_megabyte_in_however_many_parts() -> None:
    """Parts each of which is taken in time are not, together, if they take too long."""
    transport = Mock()
    taker = limits.Taker(Mock(transport=transport))

    async def trickle() -> None:
        while True:
            async with taker.taking(1):
                await asyncio.sleep(0.05)

    async with asyncio.timeout(60):
        with pytest.raises(ConnectionResetError):
            await trickle()
    transport.abort.assert_called_once()


@pytest.mark.parametrize(
    ("path", "limit", "work"),
    [(PLAYLIST, "MOST_PLAYLISTS", "playlists"), (CUT, "MOST_CUTS", "cuts")],
    ids=["playlists", "cuts"],
)
async def test_too_many_at_once_are_told_to_come_back(
    store: Store, client: ClientSession, put: Put, monkeypatch: pytest.MonkeyPatch, path: str, limit: str, work: str
) -> None:
    """With all places taken, the next request gets a 503 that says when to come back; files are served all the same."""
    segment = put("12:00:00")
    monkeypatch.setattr(f"restreamer.main.{limit}", 2)
    begun, released = asyncio.Queue[None](), threading.Event()
    loop, original = asyncio.get_running_loop(), Store.sequence

    def slow(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the method's
        loop.call_soon_threadsafe(begun.put_nowait, None)
        assert released.wait(60)
        return original(*args, **kwargs)

    monkeypatch.setattr(Store, "sequence", slow)
    async with asyncio.timeout(60), serving(make_app(store), "127.0.0.1", 0) as port:

        async def ask(path: str) -> tuple[int, str | None, bytes]:
            async with client.get(URL(f"http://127.0.0.1:{port}/{path}")) as response:
                return response.status, response.headers.get("Retry-After"), await response.read()

        under_way = [asyncio.create_task(ask(f"{path}&_viewer={number}")) for number in range(2)]
        try:
            await begun.get()
            status, after, body = await ask(f"{path}&_viewer=3")
            while status != 503:  # the second may not have come as far
                status, after, body = await ask(f"{path}&_viewer=3")
            assert (status, after) == (503, str(RETRY_AFTER_SECONDS))
            assert json.loads(body) == {"error": f"Too many {work} are being made; come back in a few seconds."}
            assert (await ask(f"segments/chan/source/{HOUR}/{segment.name}"))[0] == 200
        finally:
            released.set()
        assert [answer[0] for answer in await asyncio.gather(*under_way)] == [200, 200]
        while (status := (await ask(path))[0]) == 503:  # a place is given back a moment after the last byte
            pass
        assert status == 200


def test_a_place_is_given_back_whatever_happens() -> None:
    """Whoever held a place, and however that ended, it is free again."""
    slots = limits.Slots(1, "things")
    for _ in range(2):
        with suppress(KeyError), slots.taken():
            with pytest.raises(RequestError, match="Too many things"), slots.taken():
                pytest.fail("There was one place.")
            raise KeyError


@pytest.mark.parametrize("path", ["playlist/chan/source.m3u8", "playlist/chan.m3u8", "cut/chan/source.ts"])
async def test_a_range_has_a_greatest_length(url: URL, client: ClientSession, put: Put, path: str) -> None:
    """A range that is too long to be meant is refused, though both its ends are named."""
    put("12:00:00")
    query = {"start": "2026-02-01T00:00:00Z", "end": "2026-03-04T00:00:00.001Z"}
    if path.startswith("cut"):
        query |= {"type": "rough", "allow_holes": "true"}
    async with client.get(url / path % query) as response:
        assert response.status == 400
        assert await response.json() == {"error": "The range is longer than 31 days; ask for it in parts."}
    async with client.get(url / path % (query | {"end": "2026-03-04T00:00:00Z"})) as response:
        assert response.status == 200, await response.text()


async def test_a_connection_too_many_is_told_so(store: Store) -> None:
    """Beyond the limit a connection gets a 503 at once; when another is closed, the next is served."""
    request = b"GET /files HTTP/1.1\r\nHost: host\r\n\r\n"
    async with asyncio.timeout(60), serving(make_app(store), "127.0.0.1", 0, connections=1) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        assert (await reader.readline()).startswith(b"HTTP/1.1 200")
        other, other_writer = await asyncio.open_connection("127.0.0.1", port)
        head, _, body = (await other.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 503")
        assert f"Retry-After: {RETRY_AFTER_SECONDS}".encode() in head
        assert json.loads(body) == {"error": "Too many are connected; come back in a few seconds."}
        other_writer.close()
        writer.close()
        status = b"503"
        while b"503" in status:  # our closing has to come to the server
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(request)
            status = await reader.readline()
            writer.close()
        assert status.startswith(b"HTTP/1.1 200")


async def test_a_client_that_leaves_is_no_failure(
    url: URL, client: ClientSession, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever leaves amid a segment is let go: the log has the line of every request, and nothing else."""
    segment = put("12:00:00", data=b"x" * 1000)

    def broken(*args: Any) -> int:  # noqa: ANN401 - as the function's
        raise BrokenPipeError

    monkeypatch.setattr("os.sendfile", broken)
    with capture_logs() as logs, pytest.raises(ClientError):
        async with client.get(url / f"segments/chan/source/{HOUR}" / segment.name) as response:
            await response.read()
    told = [entry for entry in logs if entry["log_level"] != "debug"]
    assert [(entry["event"], entry["log_level"]) for entry in told] in ([], [("request", "info")])
