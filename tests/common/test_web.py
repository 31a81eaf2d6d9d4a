"""HTTP with a real server on loopback: how errors are answered, how a server starts and stops."""

import asyncio
import itertools
import re
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress

import pytest
import structlog
from aiohttp import ClientError, ClientSession, web
from structlog.testing import capture_logs

from common.errors import UserError
from common.waits import in_thread
from common.web import (
    MetricsPage,
    RequestError,
    answer_errors,
    client_session,
    error_response,
    serving,
    show_metrics,
)

HOST = "127.0.0.1"

log = structlog.get_logger()


async def fine(_: web.Request) -> web.Response:
    return web.Response(text="fine")


async def bad_request(_: web.Request) -> web.Response:
    raise RequestError("The end is before the start.")


async def not_acceptable(_: web.Request) -> web.Response:
    raise RequestError("There is a hole.", 406)


async def broken(_: web.Request) -> web.Response:
    raise RuntimeError("a secret of the inside")


async def moved(_: web.Request) -> web.Response:
    raise web.HTTPFound("/fine")


async def too_large(_: web.Request) -> web.Response:
    raise web.HTTPRequestEntityTooLarge(10, 20)


async def breaks_off(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    if length := request.query.get("length"):
        response.content_length = int(length)
    else:
        response.enable_chunked_encoding()
    await response.prepare(request)
    await response.write(b"x" * int(request.query["sent"]))
    raise RequestError("There is a hole.", 406) if "refuse" in request.query else RuntimeError("a secret of the inside")


def application() -> web.Application:
    app = web.Application(middlewares=[answer_errors])
    app.router.add_get("/metrics", show_metrics)
    for handler in (fine, bad_request, not_acceptable, broken, moved, too_large, breaks_off):
        app.router.add_get(f"/{handler.__name__}", handler)
    app.router.add_post("/fine", fine)
    return app


@asynccontextmanager
async def client() -> AsyncIterator[ClientSession]:
    async with (
        serving(application(), HOST, 0) as port,
        ClientSession(f"http://{HOST}:{port}") as session,
    ):
        yield session


@pytest.fixture(autouse=True)
def _quiet() -> Iterator[None]:
    with capture_logs():
        yield


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("/bad_request", 400, "The end is before the start."),
        ("/not_acceptable", 406, "There is a hole."),
        ("/broken", 500, "Something went wrong here; the log says what."),
        ("/nowhere", 404, "There is nothing at /nowhere."),
        ("/" + "x" * 5000, 404, f"There is nothing at /{'x' * 199}."),
        ("/too_large", 413, "Request Entity Too Large."),
    ],
)
async def test_errors_are_a_json_sentence(path: str, status: int, sentence: str) -> None:
    """Every error is JSON with one sentence, is not cached, and leaves the connection usable."""
    async with client() as session:
        async with session.get(path) as answer:
            assert answer.status == status
            assert await answer.json() == {"error": sentence}
            assert answer.headers["Cache-Control"] == "no-store"
        async with session.get("/fine") as answer:
            assert await answer.text() == "fine"


async def test_another_method_is_refused() -> None:
    """A method that a route does not know is refused with those that it does, in order."""
    async with client() as session, session.delete("/fine") as answer:
        assert answer.status == 405
        assert answer.headers["Allow"] == "GET, HEAD, POST"
        assert await answer.json() == {"error": "DELETE is not possible here; try GET or HEAD or POST."}


async def test_no_trace_reaches_the_client() -> None:
    """What went wrong inside is in the log, with its trace, and not in the answer."""
    with capture_logs() as logs:
        async with client() as session, session.get("/broken") as answer:
            assert b"secret" not in await answer.read()
            assert "secret" not in str(answer.headers)
    [entry] = [entry for entry in logs if entry["event"] == "request_failed"]
    assert (entry["path"], entry["method"], entry["exc_info"]) == ("/broken", "GET", True)


async def test_redirects_pass() -> None:
    """A redirect is no error."""
    async with client() as session, session.get("/moved", allow_redirects=False) as answer:
        assert (answer.status, answer.headers["Location"]) == (302, "/fine")


@pytest.mark.parametrize(
    "query", ["sent=100&length=1000", "sent=100", "sent=100&length=1000&refuse", "sent=100&refuse"]
)
async def test_an_answer_that_breaks_off_is_broken(query: str) -> None:
    """An error after an answer has begun breaks the connection: nothing else can tell that the answer is not whole."""
    async with client() as session, asyncio.timeout(60):
        with pytest.raises(ClientError):
            async with session.get(f"/breaks_off?{query}") as answer:
                await answer.read()


async def test_requests_are_measured() -> None:
    """Each request is counted by route, method and status; unknown paths and methods make no labels of their own."""
    async with client() as session:
        for method, path in (
            ("GET", "/moved"),
            ("GET", "/nowhere-at-all"),
            ("PROPFIND", "/fine"),
            ("GET", "/bad_request"),
        ):
            async with session.request(method, path, allow_redirects=False):
                pass
        async with session.get("/metrics") as answer:
            text = await answer.text()
            assert answer.headers["Content-Type"].startswith("text/plain")
    for labels in (
        'method="GET",route="/moved",status="302"',
        'method="any",route="none",status="404"',
        'method="any",route="none",status="405"',
        'method="GET",route="/bad_request",status="400"',
    ):
        assert f"respool_http_request_seconds_count{{{labels}}}" in text
    assert "nowhere-at-all" not in text
    assert "PROPFIND" not in text


async def test_metrics_are_as_they_are_after_the_question() -> None:
    """Who asks while metrics are being made waits for the next ones, with all others who do; the loop goes on."""
    began, go_on, count = threading.Semaphore(0), threading.Semaphore(0), itertools.count(1)

    def render() -> bytes:
        began.release()
        go_on.acquire(timeout=60)
        return str(next(count)).encode()

    page = MetricsPage(render)
    first = asyncio.create_task(page.text())
    await asyncio.to_thread(began.acquire)  # and that the loop comes here shows that it is not blocked
    others = [asyncio.create_task(page.text()) for _ in range(100)]
    left = asyncio.create_task(page.text())
    await asyncio.sleep(0)
    left.cancel()
    for _ in range(3):
        go_on.release()
    assert await first == b"1"
    assert {await other for other in others} == {b"2"}
    assert await page.text() == b"3"


async def test_metrics_that_fail_are_tried_again() -> None:
    """A failure is told to who has asked, and is over with the next question."""
    divisors = iter([0, 1])

    def render() -> bytes:
        return b"fine" * (1 // next(divisors))

    page = MetricsPage(render)
    with pytest.raises(ZeroDivisionError):
        await page.text()
    assert await page.text() == b"fine"


async def logs_inside(_: web.Request) -> web.Response:
    log.info("inside")
    await in_thread(log.info, "in_a_thread")
    await asyncio.create_task(asyncio.to_thread(log.info, "in_a_task"))
    return web.Response(text="logged")


@pytest.mark.parametrize(
    ("brought", "kept"),
    [
        ("from-outside.1", True),
        ("a" * 128, True),
        (None, False),
        ("", False),
        ("a" * 129, False),
        ("two words", False),
        ("<script>", False),
        ('"}', False),
    ],
)
async def test_requests_have_identifiers(brought: str | None, *, kept: bool) -> None:
    """All that is logged for a request has its identifier, brought or new, and the answer tells it; errors too."""
    app = application()
    app.router.add_get("/logs_inside", logs_inside)
    headers = {} if brought is None else {"X-Request-Id": brought}
    with capture_logs(processors=[structlog.contextvars.merge_contextvars]) as logs:
        async with serving(app, HOST, 0) as port, ClientSession(f"http://{HOST}:{port}", headers=headers) as session:
            for path in ("/logs_inside", "/bad_request", "/nowhere", "/broken", "/moved", "/metrics"):
                logs.clear()
                async with session.get(path, allow_redirects=False) as answer:
                    told = answer.headers["X-Request-Id"]
                assert (told == brought) is kept
                assert {entry["request_id"] for entry in logs} == {told}
                assert re.fullmatch(r"[A-Za-z0-9._-]{1,128}", told)
    assert "request_id" not in structlog.contextvars.get_contextvars()


async def test_each_request_is_one_line() -> None:
    """A request is one line with what it cost; what asks for metrics and health all the time shows only at `debug`."""
    with capture_logs() as logs:
        async with client() as session:
            for path in ("/fine?start=now&token=x", "/metrics", "/not_acceptable"):
                async with session.get(path) as answer:
                    await answer.read()
    lines = [entry for entry in logs if entry["event"] == "request"]
    assert [(line["log_level"], line["path"], line.get("query"), line["status"]) for line in lines] == [
        ("info", "/fine", "start=now&token=x", 200),
        ("debug", "/metrics", None, 200),
        ("info", "/not_acceptable", None, 406),
    ]
    assert lines[0]["bytes"] == 4
    assert all(line["seconds"] >= 0 <= line["cpu_seconds"] for line in lines)


async def test_a_port_in_use_is_told() -> None:
    """A port in use is a sentence that names the port and the option."""
    with socket.create_server((HOST, 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UserError, match=rf"^Port {port} is in use .* --port\.$"):
            async with serving(application(), HOST, port):
                pass


async def test_an_address_of_another_machine_is_told() -> None:
    """An address that is not of this machine is a sentence too."""
    with pytest.raises(UserError, match=r"^Cannot listen on 192\.0\.2\.1 port 1 .*\.$"):
        async with serving(application(), "192.0.2.1", 1):
            pass


async def test_a_stop_does_not_wait_for_long_answers() -> None:
    """A server that stops closes what is still under way after about a second, and frees its port."""
    begun = asyncio.Event()

    async def hang(_: web.Request) -> web.Response:
        begun.set()
        await asyncio.sleep(3600)
        raise AssertionError

    app = application()
    app.router.add_get("/hang", hang)
    async with client_session() as session:
        async with asyncio.timeout(30):  # left to itself, aiohttp would wait for a minute
            async with serving(app, HOST, 0) as port:
                waiting = asyncio.create_task(session.get(f"http://{HOST}:{port}/hang").__aenter__())
                await begun.wait()
        with pytest.raises(ClientError):
            await waiting
        with socket.create_server((HOST, port)):
            pass


@pytest.mark.parametrize("begun", [b"", b"GET /", b"GET / HTTP/1.1\r\nHost: here\r\nX-Slow: "])
async def test_a_request_that_does_not_come_is_not_waited_for(monkeypatch: pytest.MonkeyPatch, begun: bytes) -> None:
    """A connection that sends no whole request is closed after a while, however slowly it goes on sending."""
    monkeypatch.setattr("common.web._IDLE_SECONDS", 0.3)
    async with asyncio.timeout(60), serving(web.Application(), "127.0.0.1", 0) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(begun)
        while not reader.at_eof():
            writer.write(b"x" if begun else b"")
            with suppress(TimeoutError, ConnectionError):
                async with asyncio.timeout(0.05):
                    assert await reader.read() == b""
        writer.close()


async def test_our_clients_say_who_they_are() -> None:
    """Requests of ours carry our name and version, and connecting is bounded in time."""
    seen: list[str] = []

    async def note(request: web.Request) -> web.Response:
        seen.append(request.headers["User-Agent"])
        return web.Response()

    app = web.Application()
    app.router.add_get("/", note)
    async with serving(app, HOST, 0) as port, client_session() as session, session.get(f"http://{HOST}:{port}/"):
        assert session.timeout.sock_connect == 10.0
    assert seen[0].startswith("respool/")


def test_the_form_of_an_error() -> None:
    """An error's body is UTF-8 JSON."""
    answer = error_response(404, "Für hier gibt es nichts.")
    assert answer.content_type == "application/json"
    assert isinstance(answer.body, bytes)
