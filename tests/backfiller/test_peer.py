"""Requests to a node, one after the other."""

import asyncio
import socket
import time
from collections.abc import Iterator

import pytest

from backfiller.peer import Peer
from backfiller.wire import Line, Wire
from hls_origin import Origin, typed
from other_nodes import Node


@pytest.fixture
def peer(origin: Origin) -> Iterator[Peer]:
    peer = Peer(f"{origin.base}/prefix/", Line())
    yield peer
    peer.close()


async def test_connections_are_used_again(origin: Origin, peer: Peer) -> None:
    """Requests go over one connection; what is not there is None."""
    origin.put("/prefix/files", b"[]")
    for _ in range(3):
        assert await asyncio.to_thread(lambda: peer.get("files", most=10)) == b"[]"
    assert len(set(origin.peers)) == 1
    assert peer.name == f"{origin.base}/prefix"
    assert await asyncio.to_thread(lambda: peer.get("gone", most=10)) is None


async def test_names_are_quoted(origin: Origin, peer: Peer) -> None:
    """Whatever a part of a path is called, it stays that part."""
    await asyncio.to_thread(lambda: peer.get("files", "a b", "c/d?e#f%2F", most=10))
    assert origin.requests == ["/prefix/files/a b/c/d?e#f%2F"]


async def test_answers_are_unpacked(origin: Origin, peer: Peer, other: Node) -> None:
    """A node may compress what it lists; ours does."""
    origin.put("/prefix/files", typed(b"[]", "application/json", Content_Encoding="identity"))
    assert await asyncio.to_thread(lambda: peer.get("files", most=10)) == b"[]"
    for seconds in range(0, 400, 2):
        other.record(seconds)
    packed = Peer(other.url, Line())
    body = await asyncio.to_thread(lambda: packed.get("files", "chan", "source", "2026-03-01T12", most=1 << 20))
    packed.close()
    assert body is not None
    assert body.count(b".ts") == 200


async def test_connection_that_was_closed_in_the_meantime_is_replaced(origin: Origin, peer: Peer) -> None:
    """A node may close a connection that nobody uses; the next request does not suffer from it."""
    origin.put("/prefix/files", b"[]")
    await asyncio.to_thread(lambda: peer.get("files", most=10))
    (wire,) = peer._idle
    assert wire._stream is not None
    wire._stream.shutdown(2)
    assert await asyncio.to_thread(lambda: peer.get("files", most=10)) == b"[]"
    assert len(set(origin.peers)) == 2


async def test_address_that_leads_nowhere_leaves_time_for_the_next(
    origin: Origin, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a node has several addresses, one that nobody answers at does not use up the time of all."""
    origin.put("/prefix/files", b"[]")
    found, wait, tried = socket.getaddrinfo, Wire._await_connection, list[float]()

    def silent(wire: Wire, stream: socket.socket, until: float) -> None:
        tried.append(until - time.monotonic())
        if len(tried) == 1:
            raise TimeoutError
        wait(wire, stream, until)

    monkeypatch.setattr(socket, "getaddrinfo", lambda *args, **more: 2 * found(*args, **more)[:1])
    monkeypatch.setattr(Wire, "_await_connection", silent)
    assert await asyncio.to_thread(lambda: peer.get("files", most=10)) == b"[]"
    assert tried[0] <= Line().connect / 2 < tried[1]
