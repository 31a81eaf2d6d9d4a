"""Nodes that lie, by mistake or on purpose: they are limited, named, and harm nothing."""

import asyncio
import gzip
import json
from collections.abc import Callable

import pytest

from backfiller.main import Backfiller
from backfiller.outcomes import NodeError, Outcome
from backfiller.transfer import copy
from common.expired import Expired
from downloads import Ticks
from hls_origin import Answer, Origin, breaks_off, hangs_up, raw, redirect, status, typed
from listed_node import HOUR, HOURS, listing, name_of, path_of
from log_events import LogEvents
from other_nodes import Fill, Hire, Node

BODIES: dict[str, tuple[Answer | bytes, Outcome]] = {
    "other bytes": (b"other bytes", Outcome.WRONG_HASH),
    "no bytes": (b"", Outcome.WRONG_HASH),
    "gone": (status(404), Outcome.GONE),
    "an error": (status(500), Outcome.REFUSED),
    "sent elsewhere": (redirect("/elsewhere"), Outcome.REFUSED),
    "broken off": (breaks_off(b"0123456789", 5), Outcome.BROKEN_OFF),
    "broken off in chunks": (breaks_off(b"0123456789", 5, chunked=True), Outcome.BROKEN_OFF),
    "no HTTP": (raw(b"SSH-2.0-OpenSSH_9.2\r\n"), Outcome.NONSENSE),
    "a length that cannot be": (raw(b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\nx"), Outcome.TOO_LONG),
    "an endless head": (raw(b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 5000), Outcome.NONSENSE),
    "hung up": (hangs_up, Outcome.AWAY),
}


@pytest.mark.parametrize("case", BODIES)
async def test_segment_that_is_not_what_it_should_be(
    here: Node, origin: Origin, fill: Fill, events: LogEvents, case: str
) -> None:
    """Whatever comes in place of a segment: nothing of it is left, and it is logged with the node and the reason."""
    answer, outcome = BODIES[case]
    name = name_of(b"content")
    origin.put(path_of(name), answer)
    node = listing(origin, name)
    if outcome is Outcome.AWAY:
        with pytest.raises(NodeError):
            await fill(node)
    else:
        assert (await fill(node)).failed == {outcome: 1}
    (said,) = events.of("segment_not_fetched")
    assert (said["node"], said["name"], said["outcome"]) == (origin.base, name, outcome)
    assert here.names() == set()
    assert "/elsewhere" not in origin.requests


async def test_endless_body_is_cut_off(here: Node, origin: Origin, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """A body that goes on beyond what a segment of its length can have is not read to its end."""
    monkeypatch.setattr("backfiller.transfer._MOST_BYTES", 1 << 20)
    monkeypatch.setattr("backfiller.transfer._MOST_BYTES_PER_SECOND", 0)
    data = bytes(1 << 20) + b"x"
    name = name_of(data)
    origin.put(path_of(name), breaks_off(data * 4, len(data) * 4, chunked=True))
    assert (await fill(listing(origin, name))).failed == {Outcome.TOO_LONG: 1}
    assert here.names() == set()


async def test_names_that_climb_are_passed_over(here: Node, origin: Origin, fill: Fill) -> None:
    """Names that lead out of their folder, channels and hours too, are never asked for, nor written."""
    data = b"content"
    good = name_of(data)
    names = [
        "../../../../etc/passwd",
        "..",
        "",
        "/etc/passwd",
        f"../{good}",
        f"a/{good}",
        f"{good}\n",
        good + "\0",
        "é",
    ]
    node = listing(origin, good, *names, *(f"{name}.tombstone" for name in names))
    origin.put("/files", json.dumps(["chan", "..", "a/b", ".hidden", ""]))
    origin.put("/files/chan", json.dumps(["source", "..", "../source", ".digests"]))
    origin.put(HOURS, json.dumps(["2026-03-01T12", "../2026-03-01T12", "2026-13-01T12", "9000-01-01T00"]))
    origin.put(path_of(good), data)
    assert (await fill(node)).fetched == 1
    assert here.names() == {f"chan/source/2026-03-01T12/{good}"}
    assert set(origin.requests) == {"/digests", "/files", "/files/chan", HOURS, HOUR, path_of(good)}


LISTINGS: dict[str, Answer | str] = {
    "no JSON": "<html>",
    "no list": "{}",
    "no names": "[1]",
    "nested without end": "[" * 100_000,
    "a million names": json.dumps(["00:00.000000-2.0-full-x.ts"] * 300_000),
    "more names than an hour has": json.dumps([str(number) for number in range(80_000)]),
    "a bomb": typed(gzip.compress(bytes(1 << 28), 1), "application/json", Content_Encoding="gzip"),
    "packed otherwise": raw(b"HTTP/1.1 200 OK\r\nContent-Encoding: zstd\r\nContent-Length: 2\r\n\r\n[]"),
    "half a parcel": typed(gzip.compress(b"[]")[:-9], "application/json", Content_Encoding="identity, gzip"),
}


@pytest.mark.parametrize("case", LISTINGS)
async def test_hour_that_is_not_listed_keeps_nothing_else_from_coming(
    here: Node, origin: Origin, fill: Fill, events: LogEvents, case: str
) -> None:
    """A listing that is none is logged once, and the other hours are fetched all the same."""
    data = b"content"
    name = name_of(data)
    node = listing(origin)
    origin.put(HOURS, '["2026-03-01T12", "2026-03-01T11"]')
    origin.put(HOUR, LISTINGS[case])
    origin.put("/files/chan/source/2026-03-01T11", json.dumps([name]))
    origin.put(path_of(name).replace("T12", "T11"), data)
    done = await fill(node)
    assert (done.fetched, done.failed.total()) == (1, 1)
    assert len(events.of("hour_not_listed", node=origin.base, hour="2026-03-01T12")) == 1
    assert here.names() == {f"chan/source/2026-03-01T11/{name}"}


@pytest.mark.parametrize("digests", ["[]", '{"chan": {"source": 1}}', '{"chan": 1}', "x" * (9 << 20)])
async def test_digests_that_are_none(origin: Origin, fill: Fill, digests: str) -> None:
    """Digests that make no sense end the pass with a sentence."""
    origin.put("/digests", digests)
    with pytest.raises(NodeError) as told:
        await fill(Node.elsewhere(origin.base))
    assert told.value.outcome in (Outcome.NONSENSE, Outcome.TOO_LONG)


async def test_node_that_lies_is_put_away(
    here: Node, origin: Origin, hire: Hire, events: LogEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After three lies nothing more is asked of a node for a minute, however often others are; what it gave stays."""
    good = [str(number).encode() for number in range(3)]
    bad = [f"bad {number}".encode() for number in range(9)]
    names = [name_of(data, 2.0 * number) for number, data in enumerate([*bad, *good])]
    for name, data in zip(names, [*bad, *good], strict=True):
        origin.put(path_of(name), b"a lie" if data in bad else data)
    worker = hire(listing(origin, *names))
    ticks = Ticks()
    monkeypatch.setattr("backfiller.worker.pause", ticks.pause)
    stop = asyncio.Event()
    running = asyncio.ensure_future(worker.run(stop))
    await ticks.reached(1)
    stop.set()
    await running
    assert 50 < ticks.seconds[0] <= 60
    (said,) = events.of("node_failed")
    assert said["outcome"] == "wrong_hash"
    (said,) = events.of("node_put_away")
    assert (said["node"], said["seconds"]) == (origin.base, 60)
    assert origin.requests.count(path_of(names[0])) == 0
    assert len(here.names()) == 3


async def test_what_a_node_could_not_give_is_not_asked_for_at_once(origin: Origin, fill: Fill) -> None:
    """A segment that came with other bytes is left alone for a while; the rest of its hour is not."""
    bad, good = name_of(b"bad"), name_of(b"good", 2.0)
    node = listing(origin, bad, good)
    origin.put(path_of(bad), b"a lie")
    origin.put(path_of(good), status(500), b"good")
    await fill(node)
    await fill(node)
    assert origin.count(path_of(bad)) == 1


@pytest.mark.parametrize("answer", [status(401), status(403)])
async def test_node_that_wants_another_token_is_told(origin: Origin, fill: Fill, answer: Answer) -> None:
    """A node that refuses us says so in the error."""
    origin.put("/digests", answer)
    with pytest.raises(NodeError, match="token"):
        await fill(Node.elsewhere(origin.base))


async def test_full_disk_ends_the_pass(
    here: Node, other: Node, backfiller: Backfiller, monkeypatch: pytest.MonkeyPatch, hire: Hire
) -> None:
    """Where too little of our disk is free nothing is fetched, and the node is not blamed."""
    monkeypatch.setattr(backfiller.fetches, "_copy", _refusing(backfiller))
    other.record(0)
    worker = hire(other)
    with pytest.raises(NodeError) as told:
        await worker.go_through()
    assert told.value.outcome is Outcome.NO_ROOM
    assert worker.source.standing.failing("chan", "source", "2026-03-01T12") == set()
    assert here.names() == set()


def _refusing(backfiller: Backfiller) -> Callable[..., int]:
    return lambda peer, place, segment: copy(
        peer, place, segment, backfiller.store, Expired(backfiller.store.base), reserve=1 << 62
    )
