"""Another node, as its routes show it: whatever it does is bytes, within bounds, or a NodeError. All of it blocks."""

import http.client
import ssl
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from http import HTTPStatus
from urllib.parse import quote, urlsplit

from backfiller.outcomes import NodeError, Outcome
from backfiller.wire import HaltedError, Line, Wire, chunks
from common.addresses import USER_AGENT, without_secrets

# A node that has to list months of its store first, from a slow disk, takes its time.
_LISTING_SECONDS = 180.0

# A body has this long, and more for each byte that has come: what trickles in more slowly is given up, however much was
# announced.
_BODY_SECONDS = 60.0
_SLOWEST_BYTES_PER_SECOND = 8 << 10

# Idle connections that are kept; more are open only while more requests are under way.
_MOST_IDLE = 16

# What is read at a time: it stays in the processor's cache while it is hashed and written.
_BUFFER_BYTES = 256 << 10

_GZIP = 31  # for zlib: with gzip's head

_buffers = threading.local()


class Peer:
    """A node at a URL; `name` is what logs and metrics call it. May be used from several threads."""

    def __init__(self, url: str, line: Line, token: Callable[[], str | None] = lambda: None) -> None:
        """Take an http or https address; nothing is sent yet. `token` is asked for with each request."""
        parts = urlsplit(url)
        self.url = url
        self.name = without_secrets(url).rstrip("/")
        is_tls = parts.scheme == "https"
        self._host = parts.hostname or ""
        self._port = parts.port or (http.client.HTTPS_PORT if is_tls else http.client.HTTP_PORT)
        self._prefix = parts.path.rstrip("/")
        self._line = line if is_tls else replace(line, tls=None)
        self._token = token
        self._idle: list[Wire] = []
        self._lock = threading.Lock()

    def get(self, *parts: str, query: str = "", most: int) -> bytes | None:
        """Get a short answer, of at most so many bytes when it is unpacked; None if there is nothing (404).

        `parts` are those of the path. Raises NodeError.
        """
        with self._answer(parts, query, _LISTING_SECONDS, {"Accept-Encoding": "gzip"}) as (wire, response):
            if response.status == HTTPStatus.NOT_FOUND:
                response.close()
                wire.close()
                return None
            self._check(response)
            body = response.read(most + 1)
            if response.length and len(body) <= most:  # http.client does not mind
                raise NodeError("The connection broke off.", Outcome.BROKEN_OFF)
            packed = response.headers.get("Content-Encoding", "identity")
        return _unpacked(body, packed.strip().lower(), most)

    @contextmanager
    def body(self, *parts: str, most: int) -> Iterator[Iterator[memoryview]]:
        """Get a file of at most so many bytes, part by part in one buffer. Raises NodeError, also while it is read."""
        with self._answer(parts, "", _BODY_SECONDS, {"Accept-Encoding": "identity"}) as (wire, response):
            if response.status in (HTTPStatus.NOT_FOUND, HTTPStatus.GONE):
                raise NodeError("It no longer has it.", Outcome.GONE)
            self._check(response)
            length = response.length
            if length is not None and length > most:
                raise NodeError(f"It sends {length} bytes, where {most} are the most that can be.", Outcome.TOO_LONG)
            wire.earns = 1 / _SLOWEST_BYTES_PER_SECOND
            yield _bounded(response, most)

    def close(self) -> None:
        """Close the connections that nobody uses."""
        with self._lock:
            idle, self._idle = self._idle, []
        for wire in idle:
            wire.close()

    @contextmanager
    def _answer(
        self, parts: tuple[str, ...], query: str, seconds: float, headers: dict[str, str]
    ) -> Iterator[tuple[Wire, http.client.HTTPResponse]]:
        path = "/".join((self._prefix, *(quote(part, safe="") for part in parts))) + (f"?{query}" if query else "")
        wire: Wire | None = None
        reusable = False
        try:
            wire, response = self._ask(path, seconds, headers)
            yield wire, response
            reusable = response.isclosed() and not response.will_close
        except HaltedError:
            raise NodeError("We are to stop.", Outcome.STOPPED) from None
        except TimeoutError:
            outcome = Outcome.BROKEN_OFF if wire is not None and wire.received else Outcome.AWAY
            raise NodeError("It does not answer in time.", outcome) from None
        except (http.client.IncompleteRead, ConnectionError) as error:
            outcome = Outcome.BROKEN_OFF if wire is not None and wire.received else Outcome.AWAY
            raise NodeError(f"The connection broke off ({_reason(error)}).", outcome) from error
        except (http.client.HTTPException, ValueError) as error:
            raise NodeError(f"Its answer is no HTTP ({type(error).__name__}).", Outcome.NONSENSE) from error
        finally:
            if wire is not None:
                self._give_back(wire, reusable=reusable)

    def _ask(self, path: str, seconds: float, headers: dict[str, str]) -> tuple[Wire, http.client.HTTPResponse]:
        """Send a request, on an idle connection if there is one that still stands."""
        token = self._token()
        headers = headers | {"User-Agent": USER_AGENT} | ({"Authorization": f"Bearer {token}"} if token else {})
        with self._lock:
            idle = self._idle.pop() if self._idle else None
        if idle is not None:
            with suppress(ConnectionError, http.client.BadStatusLine):
                return self._send(idle, path, seconds, headers)
            idle.close()
        wire = Wire(self._host, self._port, self._line)
        try:
            wire.until = time.monotonic() + seconds
            wire.connect()
        except OSError as error:
            wire.close()
            raise NodeError(f"It cannot be reached ({_reason(error)}).", Outcome.AWAY) from error
        except BaseException:
            wire.close()
            raise
        return self._send(wire, path, seconds, headers)

    def _send(
        self, wire: Wire, path: str, seconds: float, headers: dict[str, str]
    ) -> tuple[Wire, http.client.HTTPResponse]:
        wire.until = time.monotonic() + seconds
        wire.earns = 0.0
        wire.received = 0
        try:
            wire.request("GET", path, headers=headers)
            return wire, wire.getresponse()
        except BaseException:
            wire.close()
            raise

    def _give_back(self, wire: Wire, *, reusable: bool) -> None:
        with self._lock:
            if reusable and len(self._idle) < _MOST_IDLE:
                self._idle.append(wire)
                return
        wire.close()

    def _check(self, response: http.client.HTTPResponse) -> None:
        status = response.status
        if status == HTTPStatus.OK:
            return
        if status in (HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN):
            raise NodeError(f"It refuses us ({status}): it wants another token.", Outcome.REFUSED)
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise NodeError(f"It sends us elsewhere ({status}), where we do not go.", Outcome.REFUSED)
        raise NodeError(f"It answers {status}.", Outcome.REFUSED)


def _bounded(response: http.client.HTTPResponse, most: int) -> Iterator[memoryview]:
    """Give a body that ends as it should. Raises NodeError if it is too long, or breaks off."""
    buffer = getattr(_buffers, "buffer", None)
    if buffer is None:
        buffer = _buffers.buffer = bytearray(_BUFFER_BYTES)
    left = most
    expected = response.length
    for part in chunks(response, buffer):
        left -= len(part)
        if left < 0:
            raise NodeError(f"It sends more than {most} bytes, which are the most that can be.", Outcome.TOO_LONG)
        yield part
    if expected is not None and most - left < expected:
        raise NodeError("The connection broke off.", Outcome.BROKEN_OFF)


def _unpacked(body: bytes, packed: str, most: int) -> bytes:
    if packed == "gzip":
        try:
            unpacking = zlib.decompressobj(_GZIP)
            body = unpacking.decompress(body, most + 1)
            whole = unpacking.eof or len(body) > most
        except zlib.error:
            whole = False
        if not whole:
            raise NodeError("Its answer cannot be unpacked.", Outcome.NONSENSE)
    elif packed not in ("identity", ""):
        raise NodeError("Its answer is packed in a way that we did not ask for.", Outcome.NONSENSE)
    if len(body) > most:
        raise NodeError(f"Its answer is longer than {most} bytes.", Outcome.TOO_LONG)
    return body


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate: {error.verify_message}"
    return (getattr(error, "strerror", None) or str(error) or type(error).__name__)[:200]
