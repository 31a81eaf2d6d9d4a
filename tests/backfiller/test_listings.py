"""Nodes that know no digests, such as the predecessor's: compared by listings, in proportion to what may change."""

import asyncio
import json
from datetime import datetime, timedelta

import pytest

from hls_origin import NOON, Origin, body, typed
from listed_node import HOUR, HOURS, listing, name_of, path_of
from other_nodes import SECOND, Fill, Hire, Node

QUERY = "tombstones=true"


@pytest.mark.parametrize("content_type", ["application/json", "text/html; charset=utf-8", "text/plain"])
async def test_older_node_is_backfilled_from(here: Node, origin: Origin, fill: Fill, content_type: str) -> None:
    """A node that answers in JSON under whatever type, with temps in its lists and without tags, is read as well."""
    data = b"content"
    name = name_of(data)
    temp = "00:04.000000-2.0-temp-0b52f9a6-7b1f-4c61-9e12-9a0d4a8a1c55.ts"
    node = listing(origin)
    for path, answer in {
        "/files": ["chan", "other"],
        "/files/chan": ["source"],
        "/files/other": [],
        HOURS: ["2026-03-01T11", "2026-03-01T12"],
        "/files/chan/source/2026-03-01T11": [],
        HOUR: [name, temp],
    }.items():
        origin.put(path, typed(json.dumps(answer), content_type))
    origin.put(path_of(name), data)
    assert (await fill(node)).fetched == 1
    assert here.names() == {f"chan/source/2026-03-01T12/{name}"}
    assert [query for path, query in zip(origin.requests, origin.queries, strict=True) if path == HOUR] == [QUERY]


async def test_listing_that_has_not_changed_is_not_read_again(here: Node, origin: Origin, hire: Hire) -> None:
    """An hour whose listing came as before, while ours is as before too, is left at that; a new name is seen."""
    data, more = b"content", b"more"
    node = listing(origin, name_of(data))
    origin.put(path_of(name_of(data)), data)
    origin.put(path_of(name_of(more, 2.0)), more)
    worker = hire(node)
    worker.survey.now = lambda: NOON + 60 * SECOND
    await worker.go_through()
    worker.survey.now = lambda: NOON + 120 * SECOND
    (place,) = await asyncio.to_thread(worker.survey.differing)
    assert await asyncio.to_thread(worker.survey.look, place) is None
    origin.put(HOUR, json.dumps([name_of(data), name_of(more, 2.0)]))
    worker.survey.now = lambda: NOON + 180 * SECOND
    assert (await worker.go_through()).fetched == 1
    assert len(here.names()) == 2


async def test_old_hours_are_asked_for_seldom(origin: Origin, hire: Hire) -> None:
    """The older an hour is, the longer it takes until it is listed again; one with something left to do is at once."""
    worker = hire(listing(origin))
    clock = [datetime.fromisoformat("2026-03-02T12:00:00Z")]
    worker.survey.now = lambda: clock[0]
    origin.put(HOURS, json.dumps(["2026-03-02T12", "2026-03-01T12", "2026-02-01T00"]))
    listed = []
    for minutes in (0, 1, 70, 6 * 60 + 1):
        clock[0] += timedelta(minutes=minutes)
        await worker.go_through()
        listed.append(sum(path.startswith(HOURS + "/") for path in origin.requests))
        origin.requests.clear()
    assert listed == [3, 1, 2, 3]
    origin.put(HOUR, body(json.dumps([name_of(b"missing")])))
    clock[0] += timedelta(hours=7)
    for _ in range(2):
        origin.requests.clear()
        await worker.go_through()
        assert HOUR in origin.requests
