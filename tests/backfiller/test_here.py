"""What happens on our side while a node is gone through: hours are deleted, disks refuse, names are in the way."""

import asyncio
import json
import os
from pathlib import Path

import pytest

from backfiller.extras import fetch_extras
from backfiller.main import Backfiller
from backfiller.outcomes import NodeError, Outcome
from backfiller.peer import Peer
from backfiller.survey import Look
from backfiller.transfer import Place, make_tombstones
from backfiller.wire import Line
from common.expired import Expired
from common.recording import SegmentWriter
from hls_origin import Held, Origin, raw
from listed_node import HOUR, HOURS, listing, name_of, path_of
from log_events import LogEvents
from other_nodes import Fill, Hire, Node

HOUR_NAME = "2026-03-01T12"


@pytest.mark.parametrize("when", ["before", "while it is written", "after"])
async def test_hour_that_is_deleted_while_it_is_copied_stays_deleted(
    here: Node, other: Node, hire: Hire, monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Retention may take an hour in the midst of a pass: nothing of it comes back, and nobody is blamed."""
    other.record(0)
    expired, commit = Expired(here.store.base), SegmentWriter.commit_copy
    if when == "before":
        look = hire(other).survey.look
        monkeypatch.setattr(type(hire(other).survey), "look", lambda _, place: delete(look(place)))

    def delete(seen: Look | None = None) -> Look | None:
        folder = here.store.folder("chan", "source") / HOUR_NAME
        expired.mark("chan", "source", [HOUR_NAME])
        if folder.exists():
            folder.rename(folder.with_name(".deleted"))
        return seen

    def committed(writer: SegmentWriter, original: object) -> bool:
        if when == "while it is written":
            delete()
        done = commit(writer, original)  # type: ignore[arg-type]
        if when == "after":
            expired.mark("chan", "source", [HOUR_NAME])
        return done

    monkeypatch.setattr(SegmentWriter, "commit_copy", committed)
    done = await hire(other).go_through()
    assert (done.fetched, done.failed.total()) == (0, 0)
    assert here.store.hours("chan", "source") == []
    assert hire(other).source.standing.failing("chan", "source", HOUR_NAME) == set()


async def test_hour_that_cannot_be_read_here_keeps_nothing_else_from_coming(
    here: Node, other: Node, fill: Fill, events: LogEvents
) -> None:
    """A file in the place of an hour is logged once, and the other hours are fetched."""
    other.record(0)
    before = other.record(-3600)
    (here.store.base / "chan/source").mkdir(parents=True)
    (here.store.base / "chan/source" / HOUR_NAME).touch()
    assert [(await fill(other)).failed.total() for _ in range(2)] == [1, 1]
    assert len(events.of("hour_not_compared", hour=HOUR_NAME)) == 1
    assert (here.folder(before) / before.name).exists()


async def test_first_hour_that_can_be_has_none_before_it(origin: Origin, fill: Fill) -> None:
    """A node may list the oldest hour of all."""
    node = listing(origin)
    origin.put(HOURS, '["1900-01-01T00"]')
    origin.put("/files/chan/source/1900-01-01T00", json.dumps([name_of(b"content")]))
    assert (await fill(node)).failed.total() == 1


async def test_listing_that_breaks_off_is_no_lie(origin: Origin, hire: Hire, events: LogEvents) -> None:
    """A node is not put away for a bad line, on which its listings end in the middle."""
    worker = hire(listing(origin))
    origin.put(HOUR, raw(b'HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n["00'))
    for _ in range(4):
        with pytest.raises(NodeError) as told:
            await worker.go_through()
        assert told.value.outcome is Outcome.BROKEN_OFF
    assert not worker.source.standing.away_seconds
    assert not events.of("node_put_away")


async def test_body_that_drips_is_given_up_however_long_it_says_it_is(
    origin: Origin, backfiller: Backfiller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Time is given for what has come, not for what was announced."""
    monkeypatch.setattr("backfiller.peer._BODY_SECONDS", 0.5)
    name = name_of(b"content")
    origin.put(path_of(name), Held(bytes(50_000_000), 1))
    peer = backfiller.peer(origin.base)
    with pytest.raises(NodeError, match="in time"):
        await asyncio.wait_for(asyncio.to_thread(_read, peer, name), 25.0)
    peer.close()


def _read(peer: Peer, name: str) -> None:
    with peer.body("segments", "chan", "source", HOUR_NAME, name, most=60_000_000) as parts:
        for _ in parts:
            pass


async def test_reserve_of_the_disk_holds_for_all_that_is_made(here: Node, origin: Origin) -> None:
    """Where too little is free no extra file comes and no tombstone is made."""
    origin.put("/extras/faces", '["one.png"]')
    origin.put("/segments/faces/one.png", b"data")
    peer = Peer(origin.base, Line())
    with pytest.raises(NodeError) as told:
        await asyncio.to_thread(fetch_extras, peer, "faces", here.store, 1 << 62)
    peer.close()
    assert told.value.outcome is Outcome.NO_ROOM
    with pytest.raises(NodeError):
        make_tombstones(Place("chan", "source", HOUR_NAME), ("x.tombstone",), here.store, reserve=1 << 62)
    assert list(here.store.base.iterdir()) == []


async def test_rest_of_an_extra_file_is_taken_over(here: Node, origin: Origin, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a process that was killed has left of a file is gone as soon as the file is there."""
    origin.put("/extras/faces", '["one.png"]')
    origin.put("/segments/faces/one.png", b"data")
    peer = Peer(origin.base, Line())
    with monkeypatch.context() as dead:
        dead.setattr(Path, "unlink", lambda _: None)
        dead.setattr(os, "fsync", _interrupted)
        with pytest.raises(KeyboardInterrupt):
            await asyncio.to_thread(fetch_extras, peer, "faces", here.store)
    assert len(list((here.store.base / "faces").iterdir())) == 1
    assert await asyncio.to_thread(fetch_extras, peer, "faces", here.store) == 1
    peer.close()
    assert {path.name: path.read_bytes() for path in (here.store.base / "faces").iterdir()} == {"one.png": b"data"}


def _interrupted(_: int) -> None:
    raise KeyboardInterrupt
