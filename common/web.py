"""HTTP, both ways: how our servers run and answer errors, how our clients behave, and what they may fetch."""

import asyncio
import errno
import json
import logging
import re
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from http import HTTPStatus
from weakref import WeakKeyDictionary

import structlog
from aiohttp import ClientSession, ClientTimeout, CookieJar, TCPConnector, web
from aiohttp.http_exceptions import HttpProcessingError

from common import metrics
from common.addresses import USER_AGENT
from common.errors import UserError
from common.timed import Stopwatch

log = structlog.get_logger()

_REQUESTS = metrics.seconds("http_request", "Time to answer requests.", "route", "method", "status")
_CPU = metrics.seconds("http_request_cpu", "CPU time to answer requests, threads included.", "route", "method")

# By this header a request and all that is logged for it are known; who has no identifier for it is given one.
REQUEST_ID = "X-Request-Id"
_IDENTIFIER = web.RequestKey("identifier", str)
_SANE_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,127}")

# What asks again and again, by routes: worth a line only where it fails.
_ROUTINE = frozenset({"/metrics", "/health"})

# How much of what a client sends is logged of a path and of a query.
_LOGGED_CHARACTERS = 300

# No status of HTTP's: how servers note that the client has left.
_CLIENT_GONE = 499

# For each process: a connection costs some 30 KB and one of the open files, of which a process often may have 1,024.
MOST_CONNECTIONS = 900

# What the kernel keeps for us while we are busy; it takes no more than net.core.somaxconn.
_BACKLOG = 1024

# A connection that nobody uses is closed after so long.
_IDLE_SECONDS = 75.0

# When those come back who were told that there are too many.
RETRY_AFTER_SECONDS = 5

# After each rendering of the metrics, its time so often is left to better things.
_METRICS_REST = 3.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_response(status: int, sentence: str, *, retry_after: int | None = None) -> web.Response:
    """Answer with an error: JSON `{"error": sentence}`, the same form everywhere; seconds for what passes."""
    headers = {"Cache-Control": "no-store", **({} if retry_after is None else {"Retry-After": str(retry_after)})}
    return web.json_response({"error": sentence}, status=status, headers=headers)


class RequestError(Exception):
    """A request that cannot be answered: the text is one sentence for whoever sent it."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        """Answer with this sentence and status (4xx, 503 for what passes, or 500 for what failed here)."""
        super().__init__(sentence)
        self.status = status
        self.retry_after = RETRY_AFTER_SECONDS if status == HTTPStatus.SERVICE_UNAVAILABLE else None


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into JSON answers, log each request in one line, and measure it.

    Whatever is logged for it meanwhile has its identifier, `request_id`, which the answer tells too (`serving`).
    """
    with structlog.contextvars.bound_contextvars(request_id=_identifier(request)):
        return await _answer_and_account(request, handler)


def _identifier(request: web.Request) -> str:
    """Give the identifier that a request brings, if it is one, else a new one; the same for all who ask."""
    if _IDENTIFIER not in request:
        brought = request.headers.get(REQUEST_ID, "")
        request[_IDENTIFIER] = brought if _SANE_ID.fullmatch(brought) else secrets.token_hex(8)
    return request[_IDENTIFIER]


async def _tell_identifier(request: web.Request, response: web.StreamResponse) -> None:
    response.headers[REQUEST_ID] = _identifier(request)


async def _answer_and_account(request: web.Request, handler: Handler) -> web.StreamResponse:
    watch = Stopwatch()
    status, sent = _CLIENT_GONE, None  # unless we come to an answer
    try:
        response = await watch.run(_answer(request, handler))
        status = response.status
        sent = response.body_length if response.prepared else response.content_length
    except web.HTTPException as redirect:
        status = redirect.status
        raise
    finally:
        _account(request, status, watch, sent)
    if not response.prepared and request.writer.output_size and request.transport is not None:
        # An error after another answer has begun: only a broken connection still tells that it is not whole.
        request.transport.abort()
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestError as error:
        return error_response(error.status, str(error), retry_after=error.retry_after)
    except web.HTTPMethodNotAllowed as error:
        allowed = sorted(error.allowed_methods)
        answer = error_response(405, f"{error.method} is not possible here; try {' or '.join(allowed)}.")
        answer.headers["Allow"] = ", ".join(allowed)
        return answer
    except web.HTTPNotFound:
        return error_response(404, f"There is nothing at {request.path[:200]}.")
    except web.HTTPException as error:
        if error.status < HTTPStatus.BAD_REQUEST:
            raise
        return error_response(error.status, f"{error.reason}.")
    except Exception as error:  # the edge of a request: what is wrong with one must not reach the client or the others
        left = isinstance(error, ConnectionError) and (request.transport is None or request.transport.is_closing())
        if not left:
            log.exception("request_failed", method=request.method, path=request.path)
        return error_response(_CLIENT_GONE if left else 500, "Something went wrong here; the log says what.")


def _account(request: web.Request, status: int, watch: Stopwatch, sent: int | None) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "none"
    method = request.method if resource is not None else "any"
    _REQUESTS.labels(route, method, str(status)).observe(watch.seconds)
    _CPU.labels(route, method).observe(watch.cpu_seconds)
    write = log.debug if route in _ROUTINE and status < HTTPStatus.BAD_REQUEST else log.info
    query = request.rel_url.raw_query_string[:_LOGGED_CHARACTERS]
    write(
        "request",
        method=request.method,
        # as it was sent, without what a terminal would obey
        path=request.rel_url.raw_path[:_LOGGED_CHARACTERS],
        **({"query": query} if query else {}),
        status=status,
        **({} if sent is None else {"bytes": sent}),
        seconds=round(watch.seconds, 4),
        cpu_seconds=round(watch.cpu_seconds, 4),
    )


class MetricsPage:
    """The text of `/metrics`, however often it is asked for.

    Each text is of after the question. Those who ask while one is being made share the next; it is made in a thread
    of its own, since a disk that hangs may hold all those of the loop, and at most a quarter of the time.
    """

    def __init__(self, render: Callable[[], bytes] = metrics.render) -> None:
        """Have nothing to show yet."""
        self._render = render
        self._thread = ThreadPoolExecutor(1, "metrics")
        self._one_at_a_time = asyncio.Lock()
        self._rested = 0.0
        self._next: asyncio.Task[bytes] | None = None

    async def text(self) -> bytes:
        """Give the metrics as they are now, or a little later."""
        if self._next is None:
            self._next = asyncio.create_task(self._made())
        return await asyncio.shield(self._next)  # another may be waiting for it too

    async def _made(self) -> bytes:
        loop = asyncio.get_running_loop()
        async with self._one_at_a_time:
            await asyncio.sleep(self._rested - loop.time())
            self._next, began = None, loop.time()  # who asks from now on wants to know of what happens from now on
            try:
                return await loop.run_in_executor(self._thread, self._render)
            finally:
                self._rested = loop.time() + _METRICS_REST * (loop.time() - began)


# One for a process; tests have a loop each.
_pages: "WeakKeyDictionary[asyncio.AbstractEventLoop, MetricsPage]" = WeakKeyDictionary()


async def show_metrics(_: web.Request) -> web.Response:
    """Answer `GET /metrics`."""
    page = _pages.setdefault(asyncio.get_running_loop(), MetricsPage())
    return web.Response(body=await page.text(), headers={"Content-Type": metrics.CONTENT_TYPE})


@asynccontextmanager
async def serving(
    app: web.Application,
    host: str,
    port: int,
    *,
    flag: str = "--port",
    shared: bool = False,
    connections: int = MOST_CONNECTIONS,
) -> AsyncIterator[int]:
    """Serve the application and give the port (0 asks for a free one); closes open requests soon after the end.

    A port may be `shared` by several processes. Beyond so many `connections` at once, new ones are told to come back
    later. Raises UserError if the port is in use or may not be used, which names the `flag` that chooses it.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_no_mistake_of_a_client)
    if _tell_identifier not in app.on_response_prepare:
        app.on_response_prepare.append(_tell_identifier)
    # what is under way at a stop gets a second: a stop promises to take less than five
    runner = web.AppRunner(
        app, handle_signals=False, access_log=None, shutdown_timeout=1.0, keepalive_timeout=_IDLE_SECONDS
    )
    await runner.setup()
    server = runner.server
    assert server is not None, "it was just set up"  # noqa: S101 - for the types

    def accept() -> asyncio.BaseProtocol:
        return server() if len(server.connections) < connections else _Full()

    try:
        listener = await _listen(accept, host, port, flag, shared=shared)
        try:
            yield listener.sockets[0].getsockname()[1]
        finally:
            listener.close()
    finally:
        await runner.cleanup()


async def _listen(
    accept: Callable[[], asyncio.BaseProtocol], host: str, port: int, flag: str, *, shared: bool
) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    try:
        return await loop.create_server(accept, host, port, reuse_port=shared or None, backlog=_BACKLOG)
    except OSError as error:
        raise cannot_listen(host, port, error, flag) from error


class _Full(asyncio.Protocol):
    """The answer to a connection that is one too many."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Say so, and close it."""
        body = json.dumps({"error": "Too many are connected; come back in a few seconds."}).encode()
        head = (
            f"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/json; charset=utf-8\r\n"
            f"Content-Length: {len(body)}\r\nCache-Control: no-store\r\nAccess-Control-Allow-Origin: *\r\n"
            f"Retry-After: {RETRY_AFTER_SECONDS}\r\nConnection: close\r\n\r\n"
        )
        if isinstance(transport, asyncio.WriteTransport):
            transport.write(head.encode() + body)
            transport.close()


def _is_no_mistake_of_a_client(record: logging.LogRecord) -> bool:
    """Tell what is worth a log line: anybody can send what is no HTTP, and would get one with a trace each time."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def cannot_listen(host: str, port: int, error: OSError, flag: str = "--port") -> UserError:
    """Make the error that says why nothing can listen there, and which `flag` chooses another port."""
    if error.errno == errno.EADDRINUSE:
        return UserError(f"Port {port} is in use by another program; stop that one or choose another port with {flag}.")
    return UserError(f"Cannot listen on {host} port {port} ({error.strerror or error}); choose another with {flag}.")


def client_session(
    *, connect_seconds: float = 10.0, connector: TCPConnector | None = None, cookies: CookieJar | None = None
) -> ClientSession:
    """Open a client session: connections are reused, connecting is bounded; each request brings its own timeouts.

    Another `connector` may have rules of its own for what is connected to, a jar of `cookies` for what it keeps.
    """
    return ClientSession(
        connector=connector or TCPConnector(limit=0, ttl_dns_cache=60),
        cookie_jar=cookies,
        timeout=ClientTimeout(total=None, sock_connect=connect_seconds, connect=connect_seconds),
        headers={"User-Agent": USER_AGENT},
        auto_decompress=True,
    )
