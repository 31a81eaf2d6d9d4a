"""The restreamer as a whole: its page, what all routes have in common, and what hostile requests get."""

import asyncio
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_from_bytes

import pytest
from aiohttp import ClientSession
from blockbuster import BlockBuster, blockbuster_ctx
from click.testing import CliRunner
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from common.errors import UserError
from common.segments import Segment
from common.store import Store
from common.web import serving
from restreamer.main import PAGES, Config, cli, make_app, run

Put = Callable[..., Segment]
Raw = Callable[..., Awaitable[Any]]

CANARY = "CANARY-in-a-coal-mine"
HOUR = "2026-03-01T12"
RANGE = "start=2026-03-01T12:00:00Z&end=2026-03-01T12:00:02Z"


@pytest.fixture
def segment(put: Put, store: Store, tmp_path: Path) -> Segment:
    """Record one segment, and lay canaries around it: beside the store, and in it under names that are no segment's."""
    recorded = put("12:00:00", data=b"x" * 5000)
    (tmp_path / "canary").write_text(CANARY)
    for folder in ("", "chan", "chan/source", f"chan/source/{HOUR}"):
        (store.base / folder / ".canary").write_text(CANARY)
        (store.base / folder / "canary.ts").symlink_to(tmp_path / "canary")
    return recorded


@pytest.fixture
def routes(segment: Segment) -> list[str]:
    """One good request for each route."""
    return [
        "/",
        "/web/sub/page.js",
        "/files",
        "/files/chan",
        "/files/chan/source",
        f"/files/chan/source/{HOUR}",
        f"/segments/chan/source/{HOUR}/{segment.name}",
        f"/playlist/chan.m3u8?{RANGE}",
        f"/playlist/chan/source.m3u8?{RANGE}",
        f"/cut/chan/source.ts?type=rough&{RANGE}",
        "/metrics",
        "/health",
        "/openapi.json",
    ]


# The page -----------------------------------------------------------------------------------------------------------


async def test_the_page_takes_nothing_from_elsewhere(url: URL, client: ClientSession) -> None:
    """The page is served with a policy that lets it load nothing but from here, and be framed by nobody."""
    async with client.get(url / "") as response:
        assert (response.status, response.content_type) == (200, "text/html")
        policy = response.headers["Content-Security-Policy"].split("; ")
        assert "default-src 'self'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "unsafe" not in response.headers["Content-Security-Policy"]
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Cache-Control"] == "no-cache"
        assert "<title>page</title>" in await response.text()


async def test_the_page_s_files_are_served(url: URL, client: ClientSession) -> None:
    """What lies beside the page is served with its type, and asked for again each time: versions differ."""
    async with client.get(url / "web/sub/page.js") as response:
        assert (response.status, await response.text()) == (200, "let it;")
        assert response.content_type in ("text/javascript", "application/javascript")
        assert response.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path", ["web", "web/", "web/sub", "web/no.js", "web/.made-from", "web//index.html", "web/index.html/"]
)
async def test_other_files_are_not_there(raw: Raw, path: str) -> None:
    """Folders, hidden files and what does not exist are a 404 with a sentence."""
    answer = await raw(f"/{path}".encode())
    assert answer.status == 404
    assert json.loads(answer.body) == {"error": f"There is nothing at /{path}."}


async def test_the_player_is_served(store: Store, client: ClientSession) -> None:
    """The player comes from the package, from no other address."""
    if not (PAGES / "vendor").is_dir():
        pytest.skip("The player is laid there when the wheel is built.")
    async with (
        serving(make_app(store), "127.0.0.1", 0) as port,
        client.get(f"http://127.0.0.1:{port}/web/vendor/hls.min.js") as response,
    ):
        assert response.status == 200
        assert await response.read() == (PAGES / "vendor/hls.min.js").read_bytes()


async def test_a_package_without_pages_still_serves(store: Store, client: ClientSession, tmp_path: Path) -> None:
    """A missing page is a 404 and no reason not to start."""
    async with (
        serving(make_app(store, tmp_path / "none"), "127.0.0.1", 0) as port,
        client.get(f"http://127.0.0.1:{port}/") as response,
    ):
        assert (response.status, await response.json()) == (404, {"error": "There is nothing at /."})


# What all routes have in common -------------------------------------------------------------------------------------


async def test_head_is_get_without_a_body(raw: Raw, routes: list[str]) -> None:
    """Each route answers HEAD with the status and the headers of GET, and nothing else."""
    moving = {"Date", "Content-Length", "X-Request-Id"}
    for route in routes:
        got, told = await raw(route.encode()), await raw(route.encode(), b"HEAD")
        assert (got.status, told.status, told.body) == (200, 200, b""), route
        assert told.headers["Content-Type"] == got.headers["Content-Type"]
        assert {k: v for k, v in told.headers.items() if k not in moving} == {
            k: v for k, v in got.headers.items() if k not in moving
        }, route
        if route != "/metrics":
            assert int(told.headers["Content-Length"]) == len(got.body), route


async def test_every_answer_may_be_shown_elsewhere(raw: Raw, routes: list[str]) -> None:
    """Pages of other origins may show recordings and read errors; no browser guesses another type than ours."""
    for route in [*routes, "/no", "/files/.hidden", "/playlist/no.m3u8"]:
        answer = await raw(route.encode())
        assert answer.headers["Access-Control-Allow-Origin"] == "*", route
        assert answer.headers["X-Content-Type-Options"] == "nosniff", route


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
async def test_nothing_can_be_changed(raw: Raw, routes: list[str], method: str) -> None:
    """Every route only reads: other methods get a 405 that says what is possible."""
    for route in routes:
        answer = await raw(route.encode(), method.encode(), b"Content-Length: 0\r\n")
        assert (answer.status, answer.headers["Allow"]) == (405, "GET, HEAD"), route
        assert json.loads(answer.body) == {"error": f"{method} is not possible here; try GET or HEAD."}


# Hostile requests ---------------------------------------------------------------------------------------------------

HOSTILE = [
    *(
        b"..",
        b"%2e%2e",
        b"%2E.",
        b".",
        b"%2e",
        b".canary",
        b"%2ecanary",
        b"canary",
        b"canary.ts",
        b"%00",
        b"canary.ts%00",
    ),
    *(b"%2f", b"..%2f..%2fcanary", b"%2e%2e%2f%2e%2e%2fcanary", b"..%5c..%5ccanary", b"..%252f..%252fcanary", b""),
    *(
        b"%ff",
        b"%c0%ae%c0%ae",
        b"%ed%a0%80",
        b"%ed%b3%bf",
        b"%",
        b"%2",
        b"%zz",
        b"%0d%0aX-Evil:%20yes",
        b"%e2%80%ae",
        b"%0a",
    ),
    *(
        b"a" * 256,
        b"%f0%9f%90%8c" * 64,
        b"~",
        b"*",
        b"{channel}",
        b"{}",
        b"con",
        b"-",
        b"--help",
        b";",
        b"file:%2f%2f%2f",
    ),
    *(b"9999-12-31T23", b"0000-00-00T00", b"2026-02-30T12", b"2026-03-01T24", b"2026-03-01T12%0a", HOUR.encode()),
    *(b"00:00.000000-2.0-full-x.ts", b"00:00.000000-2.0-temp-x.ts", b"60:00.000000-2.0-full-x.ts", b"chan", b"source"),
]
TIMES = [
    *(
        "2026-03-01T12:00:00Z",
        "2026-03-01T12:00:02",
        "2026-03-01T12:00:00+02:00",
        "0001-01-01",
        "9999-12-31T23:59:59.999999",
    ),
    *(
        "1900-01-01",
        "9000-12-31",
        "2026-W09-7",
        "20260301T120000Z",
        "12:00",
        "now",
        "-1",
        "1e9",
        "NaN",
        "",
        " ",
        "\0",
        "\u0662\u0660\u0662\u0666-\u0660\u0663-\u0660\u0661",
    ),
    *("2026-03-01T12:00:00+24:00", "2026-03-01T12:00:00-00:00:00.000001", "2026-03-01\ud80012:00", "9" * 900),
]
FRAMES = ["/{}", "/files/{}", "/segments/{}", "/playlist/{}.m3u8", "/cut/{}.ts", "/web/{}", "/health{}", "/metrics{}"]


def hostile_paths() -> st.SearchStrategy[bytes]:
    printable = st.text(st.characters(min_codepoint=0x21, max_codepoint=0x7E, exclude_characters="#?"), max_size=8)
    anything = st.binary(max_size=8).map(quote_from_bytes)
    part = st.sampled_from(HOSTILE) | (printable | anything).map(str.encode)
    inner = st.lists(part, min_size=1, max_size=5).map(b"/".join)
    return st.builds(lambda frame, path: frame.encode().replace(b"{}", path), st.sampled_from(FRAMES), inner)


def good_paths() -> st.SearchStrategy[bytes]:
    return st.sampled_from(
        [
            b"/files/chan/source/" + HOUR.encode(),
            b"/playlist/chan.m3u8",
            b"/playlist/chan/source.m3u8",
            b"/cut/chan/source.ts",
        ]
    )


def queries() -> st.SearchStrategy[bytes]:
    name = st.sampled_from(["start", "end", "type", "allow_holes", "tombstones", "_x", ""]) | st.text(max_size=4)
    value = st.sampled_from([*TIMES, "rough", "true", "false", "True"]) | st.text(max_size=6)
    pair = st.builds(lambda n, v: f"{_quoted(n)}={_quoted(v)}", name, value)
    return st.lists(pair, max_size=5).map(lambda pairs: "&".join(pairs).encode()).map(lambda text: text and b"?" + text)


def _quoted(text: str) -> str:
    return quote(text.encode("utf-8", "surrogatepass"))


@settings(max_examples=400, suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(b"/files/..%2f..%2fcanary", b"", b"GET")
@example(b"/segments/chan/source/" + HOUR.encode() + b"/canary.ts", b"", b"GET")
@example(b"/web/" + b"a" * 300, b"", b"GET")
@example(b"/web/../../canary", b"", b"GET")
@example(b"/../canary", b"", b"GET")
@example(b"//canary", b"", b"GET")
@given(hostile_paths() | good_paths(), queries(), st.sampled_from([b"GET", b"GET", b"GET", b"HEAD", b"POST"]))
async def test_whatever_is_asked_is_answered_or_refused(
    raw: Raw, segment: Segment, path: bytes, query: bytes, method: bytes
) -> None:
    """No request breaks anything, gets at a file that is no recording, or sees more of a mistake than one sentence."""
    answer = await raw(path + query, method, b"Content-Length: 0\r\n")
    assert answer.status < 500
    assert CANARY.encode() not in answer.body
    assert b"Traceback" not in answer.body
    assert "X-Evil" not in answer.headers
    if answer.status >= 400 and method != b"HEAD":
        error = json.loads(answer.body)
        assert list(error) == ["error"]
        assert error["error"].endswith(".")
        assert len(error["error"]) < 1000
        assert answer.headers["Content-Type"] == "application/json; charset=utf-8"
        assert answer.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    "request_line",
    [
        b"GET /files/\xff HTTP/1.1",
        b"GET /files/\x00 HTTP/1.1",
        b"GET /files/" + b"a" * 10_000 + b" HTTP/1.1",
        b"GET files HTTP/1.1",
        b"GET * HTTP/1.1",
        b"FETCH / HTTP/1.1",
        b"GET / HTTP/9.9",
        b"GET http://[::1/files HTTP/1.1",
        b"\x16\x03\x01\x02\x00\x01\x00",
    ],
)
async def test_what_is_no_http_is_refused(
    url: URL, raw: Raw, request_line: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    """A request that is none is refused as such, without a trace in answer or log, and others are served on."""
    reader, writer = await asyncio.open_connection(url.host, url.port)
    writer.write(request_line + b"\r\nHost: host\r\nConnection: close\r\n\r\n")
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    assert answer.split(b" ", 2)[1].startswith(b"4")
    assert b"Traceback" not in answer
    assert [record for record in caplog.records if record.name.startswith("aiohttp")] == []
    assert (await raw(b"/health")).status == 200


# The loop -----------------------------------------------------------------------------------------------------------


@pytest.fixture
def watched(url: URL, segment: Segment) -> Iterator[BlockBuster]:
    """Fail whatever waits for a disk, a lock or a clock within the loop, from now on."""
    with blockbuster_ctx() as blockbuster:
        # as asyncio's own: the socket never waits, and what is sent was awaited from the disk in a thread
        blockbuster.functions["os.sendfile"].can_block_in("restreamer/files.py", {"_send_at_once"})
        yield blockbuster


async def test_no_route_blocks_the_loop(
    url: URL, client: ClientSession, routes: list[str], watched: BlockBuster
) -> None:
    """All that touches the disk happens in threads, for good requests and for bad ones."""
    for route in routes:
        async with client.get(URL(f"{url}{route}")) as response:
            assert response.status == 200, route
            await response.read()
    for route in ["/no", "/files/no/no", f"/segments/chan/source/{HOUR}/no.ts", "/playlist/no.m3u8", "/web/no"]:
        async with client.get(URL(f"{url}{route}")) as response:
            assert response.status in (200, 404), route


async def test_the_watch_would_see_a_block(url: URL, client: ClientSession, watched: BlockBuster, store: Store) -> None:
    """Looking at the disk within the loop is what the test above would fail for."""
    with pytest.raises(Exception, match="Blocking call to"):
        store.channels()


@pytest.mark.parametrize(
    "route", ["/playlist/chan/source.m3u8?{}", "/playlist/chan.m3u8?{}", "/cut/chan/source.ts?type=rough&{}"]
)
async def test_a_long_work_does_not_hold_others_up(
    url: URL, client: ClientSession, segment: Segment, monkeypatch: pytest.MonkeyPatch, route: str
) -> None:
    """While a range is worked out, however long that takes, other requests are answered."""
    begun, released = asyncio.Event(), threading.Event()
    loop, work = asyncio.get_running_loop(), Store.hours_for

    def slow(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - as the method's
        loop.call_soon_threadsafe(begun.set)
        assert released.wait(60)
        return work(*args, **kwargs)

    monkeypatch.setattr(Store, "hours_for", slow)

    async def ask() -> int:
        async with client.get(URL(f"{url}{route.replace('{}', RANGE)}")) as response:
            await response.read()
            return response.status

    async with asyncio.timeout(60):
        asking = asyncio.create_task(ask())
        await begun.wait()
        try:
            async with client.get(url / "files") as response:
                assert await response.json() == ["chan"]
            assert not asking.done()
        finally:
            released.set()
        assert await asking == 200


# Start and stop -----------------------------------------------------------------------------------------------------


async def test_it_serves_until_it_is_told_to_stop(store: Store, client: ClientSession) -> None:
    """The service answers from its start to its stop, and then leaves the port."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    stop = asyncio.Event()
    async with asyncio.timeout(60):
        running = asyncio.create_task(run(Config(store.base, "127.0.0.1", port), stop))
        status = 0
        while not status and not running.done():
            try:
                async with client.get(f"http://127.0.0.1:{port}/health") as response:
                    status = response.status
            except OSError:
                await asyncio.sleep(0)
        assert status == 200
        stop.set()
        await running
    with pytest.raises(OSError, match="onnect"):
        await client.get(f"http://127.0.0.1:{port}/health")


async def test_a_store_that_is_not_there_is_said(tmp_path: Path) -> None:
    """Without its folder the service does not start, and says what to do."""
    with pytest.raises(UserError, match=r"No such file or directory.*--base-dir\.$"):
        await run(Config(tmp_path / "no", "127.0.0.1", 0), asyncio.Event())


async def test_a_port_in_use_is_said(store: Store) -> None:
    """With its port in use the service does not start, and says what to do."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^Port {port} is in use .* --port\.$"):
            await run(Config(store.base, "127.0.0.1", port), asyncio.Event())


def test_help_names_every_option() -> None:
    """The help of the command has a line and a variable for each option."""
    shown = CliRunner().invoke(cli, ["--help"]).output
    for flag in ("base-dir", "host", "port", "workers", "accel-prefix", "shared-port", "log-level"):
        assert f"--{flag}" in shown
        assert f"RESPOOL_{flag.upper().replace('-', '_')}" in "".join(shown.split())
