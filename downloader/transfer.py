"""One request to an origin, and its answer as bytes; whatever the origin does is bytes or a FetchError."""

import asyncio
import re
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus

from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from downloader.connections import fresh_session, is_out_of_reach
from downloader.origin import status_line, why
from downloader.outcomes import FetchError, Reason
from downloader.playlist_values import ByteRange

# Of a whole resource that came where a part of it was asked for, the part is cut out up to here.
_MOST_TO_CUT = 64 << 20

_GONE = (HTTPStatus.FORBIDDEN, HTTPStatus.NOT_FOUND, HTTPStatus.GONE)
_CONTENT_RANGE = re.compile(r"bytes\s+([0-9]{1,18})-([0-9]{1,18})/", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an origin may take, in seconds.

    After the soft limits a second attempt begins beside the first; the hard ones and `connect` end an attempt.
    Silence is when no byte comes. The limits of a whole body grow with the duration of the segment. A soft limit of
    what follows the answer counts once that of the answer is over, which is no longer.
    """

    connect: float = 5.0
    answer_soft: float = 3.0
    answer_hard: float = 15.0
    silence_soft: float = 3.0
    silence_hard: float = 15.0

    def body_soft(self, duration: timedelta) -> float:
        """Give the seconds after which a second attempt may be quicker than the rest of the first."""
        return 4.0 + 1.5 * duration.total_seconds()

    def body_hard(self, duration: timedelta) -> float:
        """Give the seconds after which an attempt has failed, however steadily it trickles."""
        return min(60.0 + 15.0 * duration.total_seconds(), 300.0)


@dataclass(slots=True)
class Client:
    """How one quality asks its origin; the headers go with every request."""

    session: ClientSession
    patience: Patience
    headers: dict[str, str] = field(default_factory=dict)


class Transfer:
    """One request: `open` it, `read` it to the end, `close` it.

    `content_type` and `coding` (gzip, say, which is decoded) are the answer's; `framed` if it tells where it ends.
    `received` are the bytes so far; `answered_at` and `moved_at` (the last byte) are times of the loop. `taken`: who
    began it has handed it over.
    """

    def __init__(self, client: Client, uri: str, byterange: ByteRange | None = None, what: str = "segment") -> None:
        """Take an http or https address, which part of it is wanted, and what it is called in sentences."""
        self.client, self.uri, self.byterange, self.what = client, uri, byterange, what
        self.content_type = self.coding = ""
        self.framed = byterange is not None
        self.answered_at: float | None = None
        self.moved_at = 0.0
        self.taken = False
        self.received = 0
        self._stack = AsyncExitStack()
        self._response: ClientResponse | None = None
        self._ahead = bytearray()
        self._skip = 0
        self._left = None if byterange is None else byterange.length

    async def open(self, *, fresh: bool = False) -> None:
        """Send the request and take the head of its answer; a `fresh` one has a connection of its own.

        Raises FetchError, also if the answer is not what was asked for.
        """
        with self._as_fetch_errors():
            async with asyncio.timeout(self.client.patience.answer_hard):
                session = self.client.session
                if fresh:
                    session = await self._stack.enter_async_context(fresh_session(session))
                response = await self._stack.enter_async_context(self._request(session))
        self._check(response)
        self._response = response
        self.answered_at = self.moved_at = asyncio.get_running_loop().time()
        self.content_type = response.content_type
        self.coding = response.headers.get("Content-Encoding", "")[:40]
        self.framed = (
            self.framed
            or response.content_length is not None
            or "chunked" in response.headers.get("Transfer-Encoding", "")
        )

    async def read(self) -> bytes:
        """Give what came next, empty at the end. Raises FetchError if the end did not come as it should."""
        if self._ahead:
            data = bytes(self._ahead)
            self._ahead.clear()
            return data
        return await self._receive()

    async def read_ahead(self, most: int) -> None:
        """Keep up to so many bytes for later reads; may be cancelled at any moment, and nothing is lost."""
        while len(self._ahead) < most and (data := await self._receive()):
            self._ahead += data

    async def close(self) -> None:
        """Let go of the connection: for others if all was read, else for good."""
        await self._stack.aclose()

    def _request(self, session: ClientSession) -> AbstractAsyncContextManager[ClientResponse]:
        headers = {**self.client.headers, "Accept-Encoding": "identity"}
        if self.byterange is not None:
            headers["Range"] = f"bytes={self.byterange.start}-{self.byterange.start + self.byterange.length - 1}"
        patience = self.client.patience
        timeout = ClientTimeout(sock_connect=patience.connect, sock_read=patience.silence_hard)
        return session.get(self.uri, headers=headers, timeout=timeout)

    def _check(self, response: ClientResponse) -> None:
        if response.status in _GONE:
            raise FetchError(f"The origin no longer has {self._it} ({response.status}).", Reason.EXPIRED)
        wanted = self.byterange
        if response.status == HTTPStatus.PARTIAL_CONTENT and wanted is not None:
            found = _CONTENT_RANGE.match(response.headers.get("Content-Range", ""))
            if found is None or (int(found[1]), int(found[2])) != (wanted.start, wanted.start + wanted.length - 1):
                raise FetchError("The origin gives other bytes than those that were asked for.", Reason.REFUSED)
            return
        if response.status != HTTPStatus.OK:
            raise FetchError(f"The origin answers {status_line(response.status)}.", Reason.REFUSED)
        if wanted is not None:
            if wanted.start + wanted.length > _MOST_TO_CUT:
                raise FetchError("The origin gives all of a large file in place of a part of it.", Reason.REFUSED)
            self._skip = wanted.start

    async def _receive(self) -> bytes:
        assert self._response is not None, "it is open"  # noqa: S101 - for the types
        while self._left != 0:
            with self._as_fetch_errors():
                data = await self._response.content.readany()
            if not data:
                if self._left:
                    raise FetchError(f"The {self.what} cannot be fetched: the transfer broke off.", self._broken_off)
                return b""
            skipped = min(self._skip, len(data))
            self._skip -= skipped
            data = data[skipped : None if self._left is None else skipped + self._left]
            self._left = None if self._left is None else self._left - len(data)
            if data:
                self.received += len(data)
                self.moved_at = asyncio.get_running_loop().time()
                return data
        return b""

    @property
    def _it(self) -> str:
        return "it" if self.what == "segment" else f"the {self.what}"

    @property
    def _broken_off(self) -> Reason:
        return Reason.PARTIAL if self.received else Reason.REFUSED

    @contextmanager
    def _as_fetch_errors(self) -> Iterator[None]:
        try:
            yield
        except TimeoutError:
            raise FetchError(f"The {self.what} did not arrive in time.", Reason.TIMED_OUT) from None
        except (ClientError, ValueError, OSError) as error:
            sentence = f"The {self.what} cannot be fetched: {why(error)}."
            raise FetchError(sentence, self._broken_off, gone=is_out_of_reach(error)) from error
