"""HTTP, both ways: how our servers run and answer errors, how our clients behave, and what they may fetch."""

import asyncio
import errno
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from importlib.metadata import version
from urllib.parse import urlsplit, urlunsplit

import structlog
from aiohttp import ClientSession, ClientTimeout, TCPConnector, web
from aiohttp.http_exceptions import HttpProcessingError

from common import metrics
from common.errors import UserError

log = structlog.get_logger()

USER_AGENT = f"respool/{version('respool')}"

_REQUESTS = metrics.seconds("http_request", "Time to answer requests.", "route", "method", "status")

# No status of HTTP's: how servers note that the client has left.
_CLIENT_GONE = 499

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def error_response(status: int, sentence: str) -> web.Response:
    """Answer with an error: JSON `{"error": sentence}`, the same form everywhere."""
    return web.json_response({"error": sentence}, status=status, headers={"Cache-Control": "no-store"})


class RequestError(Exception):
    """A request that cannot be answered: the text is one sentence for whoever sent it."""

    def __init__(self, sentence: str, status: int = 400) -> None:
        """Answer with this sentence and status (4xx, or 503 for what passes)."""
        super().__init__(sentence)
        self.status = status


@web.middleware
async def answer_errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into JSON answers, log each request in one line, and measure it."""
    began = time.perf_counter()
    status = _CLIENT_GONE  # unless we come to an answer
    try:
        response = await _answer(request, handler)
        status = response.status
    except web.HTTPException as redirect:
        status = redirect.status
        raise
    finally:
        _account(request, status, time.perf_counter() - began)
    if not response.prepared and request.writer.output_size and request.transport is not None:
        # An error after another answer has begun: only a broken connection still tells that it is not whole.
        request.transport.abort()
    return response


async def _answer(request: web.Request, handler: Handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except RequestError as error:
        return error_response(error.status, str(error))
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


def _account(request: web.Request, status: int, seconds: float) -> None:
    resource = request.match_info.route.resource
    route = resource.canonical if resource is not None else "none"
    _REQUESTS.labels(route, request.method if resource is not None else "any", str(status)).observe(seconds)
    log.debug("request", method=request.method, path=request.path, status=status, seconds=round(seconds, 4))


async def show_metrics(_: web.Request) -> web.Response:
    """Answer `GET /metrics`."""
    # in a thread: it reads files of /proc
    return web.Response(body=await asyncio.to_thread(metrics.render), headers={"Content-Type": metrics.CONTENT_TYPE})


@asynccontextmanager
async def serving(app: web.Application, host: str, port: int, *, flag: str = "--port") -> AsyncIterator[int]:
    """Serve the application and give the port (0 asks for a free one); closes open requests soon after the end.

    Raises UserError if the port is in use or may not be used, which names the `flag` that chooses it.
    """
    logging.getLogger("aiohttp.server").addFilter(_is_no_mistake_of_a_client)
    # what is under way at a stop gets a second: a stop promises to take less than five
    runner = web.AppRunner(app, handle_signals=False, access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    try:
        site = web.TCPSite(runner, host, port)
        try:
            await site.start()
        except OSError as error:
            raise UserError(_cannot_listen(host, port, flag, error)) from error
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _is_no_mistake_of_a_client(record: logging.LogRecord) -> bool:
    """Tell what is worth a log line: anybody can send what is no HTTP, and would get one with a trace each time."""
    return not (record.exc_info and isinstance(record.exc_info[1], HttpProcessingError))


def _cannot_listen(host: str, port: int, flag: str, error: OSError) -> str:
    if error.errno == errno.EADDRINUSE:
        return f"Port {port} is in use by another program; stop that one or choose another port with {flag}."
    return f"Cannot listen on {host} port {port} ({error.strerror or error}); choose another one with {flag}."


def client_session(*, connect_seconds: float = 10.0) -> ClientSession:
    """Open a client session: connections are reused, connecting is bounded; each request brings its own timeouts."""
    return ClientSession(
        connector=TCPConnector(limit=0, ttl_dns_cache=60),
        timeout=ClientTimeout(total=None, sock_connect=connect_seconds, connect=connect_seconds),
        headers={"User-Agent": USER_AGENT},
        auto_decompress=True,
    )


def without_secrets(url: str) -> str:
    """Give a URL as it may be logged: without user, password, query and fragment, where tokens stand."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        address = f"{host}:{parts.port}" if parts.port else host
    except ValueError:
        return "(a malformed URL)"
    return urlunsplit((parts.scheme, address, parts.path, "", ""))
