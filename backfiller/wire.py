"""One connection to another node, bounded in time, in bytes and in rate. All of it blocks, and ends soon after a stop.

Segments are read by threads that do nothing else, straight from the socket into the buffer that is hashed and written:
this takes a third of the processor's time of a client on the event loop, and keeps the loop free.
"""

import http.client
import io
import os
import select
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backfiller.rate import Rate

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

# How long a thread waits for the kernel before it looks whether it is to stop.
_TICK_SECONDS = 0.25

# With a rate, what the kernel receives ahead of us counts, too: it gets room for so many of our reads, but not for less
# than a few packets.
_RECEIVED_AHEAD = 5
_LEAST_RECEIVED_AHEAD = 32 << 10

_READ_AHEAD = 64 << 10


class HaltedError(Exception):
    """We are to stop."""


@dataclass(frozen=True, slots=True)
class Line:
    """What all connections have in common: the shared rate, how to end them, whom to trust; times in seconds.

    `tls` gives the context for https, and is asked when it is first needed: making one takes longer than a pass over
    months. `silence` is the longest wait for a next byte.
    """

    rate: Rate = field(default_factory=lambda: Rate(None))
    halt: threading.Event = field(default_factory=threading.Event)
    tls: Callable[[], ssl.SSLContext] | None = None
    connect: float = 10.0
    silence: float = 30.0


class Wire(http.client.HTTPConnection):
    """A connection for one request after the other; `until` is the time (monotonic) at which the present one fails.

    It comes later by `earns` seconds with each byte that is received.
    """

    def __init__(self, host: str, port: int, line: Line) -> None:
        """Connect to nothing yet."""
        super().__init__(host, port)
        if line.tls is not None:
            self.default_port = http.client.HTTPS_PORT  # which is not told in `Host`
        self._line = line
        self._stream: socket.socket | None = None
        self.until = float("inf")
        self.earns = 0.0
        self.received = 0

    def connect(self) -> None:
        """Connect, and agree upon TLS if that is to be. Raises OSError (TimeoutError too) and HaltedError."""
        until = min(self.until, time.monotonic() + self._line.connect)
        stream = self._reach(until)
        if self._line.tls is not None:
            stream.settimeout(max(_TICK_SECONDS, until - time.monotonic()))
            try:
                stream = self._line.tls().wrap_socket(stream, server_hostname=self.host)
            except BaseException:
                stream.close()
                raise
        stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        stream.settimeout(_TICK_SECONDS)
        self._stream = stream
        # http.client only ever sends, makes a file and closes
        self.sock = _Guarded(self, stream)

    def _reach(self, until: float) -> socket.socket:
        last: OSError = OSError("it has no address")
        found = socket.getaddrinfo(self.host, self.port, type=socket.SOCK_STREAM)
        for left, (family, kind, protocol, _, address) in zip(range(len(found), 0, -1), found, strict=True):
            # one that leads nowhere, as IPv6 often does, leaves time for the others
            share = (until - time.monotonic()) / left
            stream = socket.socket(family, kind, protocol)
            try:
                self._limit(stream)
                stream.setblocking(False)  # noqa: FBT003 - socket's own signature
                with suppress(BlockingIOError):
                    stream.connect(address)
                self._await_connection(stream, time.monotonic() + share)
            except OSError as error:
                stream.close()
                last = error
            except BaseException:
                stream.close()
                raise
            else:
                return stream
        raise last

    def _limit(self, stream: socket.socket) -> None:
        at_once = self._line.rate.at_once
        if at_once is not None:
            stream.setsockopt(
                socket.SOL_SOCKET, socket.SO_RCVBUF, max(_LEAST_RECEIVED_AHEAD, _RECEIVED_AHEAD * at_once)
            )

    def _await_connection(self, stream: socket.socket, until: float) -> None:
        poll = select.poll()
        poll.register(stream, select.POLLOUT)
        while not poll.poll(int(_TICK_SECONDS * 1000)):
            self._check(until)
        fault = stream.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
        if fault:
            raise OSError(fault, os.strerror(fault))

    def _check(self, until: float) -> None:
        if self._line.halt.is_set():
            raise HaltedError
        if time.monotonic() > until:
            raise TimeoutError

    def receive(self, buffer: memoryview) -> int:
        """Receive what comes next, at most `buffer`; 0 at the end. Raises OSError (or TimeoutError), HaltedError."""
        stream = self._stream
        if stream is None:
            return 0
        at_once = self._line.rate.at_once
        room = buffer if at_once is None else buffer[:at_once]
        silent = time.monotonic() + self._line.silence
        while True:
            self._check(min(silent, self.until))
            try:
                count = stream.recv_into(room)
                break
            except TimeoutError:
                continue
            except OSError as error:  # told apart from what the disk raises while a body is written
                raise ConnectionAbortedError(error.errno, error.strerror) from error
        self.received += count
        waited = self._line.rate.take(count)
        if waited and self._line.halt.wait(waited):
            raise HaltedError
        self.until += waited + count * self.earns  # the wait was not the node's doing
        return count

    def send_all(self, data: bytes) -> None:
        """Send a request."""
        if self._stream is not None:
            self._stream.settimeout(self._line.connect)
            self._stream.sendall(data)
            self._stream.settimeout(_TICK_SECONDS)

    def hang_up(self) -> None:
        """Close the socket."""
        if self._stream is not None:
            self._stream.close()
            self._stream = None


class _Guarded:
    """The socket as http.client sees it."""

    def __init__(self, wire: Wire, stream: socket.socket) -> None:
        self._wire = wire
        self._stream = stream

    def sendall(self, data: bytes) -> None:
        """Send."""
        self._wire.send_all(data)

    def makefile(self, _: str) -> io.BufferedReader:
        """Read an answer."""
        return io.BufferedReader(_Incoming(self._wire), _READ_AHEAD)

    def close(self) -> None:
        """Close."""
        self._wire.hang_up()


class _Incoming(io.RawIOBase):
    def __init__(self, wire: Wire) -> None:
        self._wire = wire

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        return self._wire.receive(memoryview(buffer).cast("B"))


def chunks(response: http.client.HTTPResponse, buffer: bytearray) -> Iterator[memoryview]:
    """Give a body part by part, each in the same buffer."""
    view = memoryview(buffer)
    while count := response.readinto(view):
        yield view[:count]
