"""Several nodes at once: each segment is fetched once, from whichever node has it."""

import asyncio
import json
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from backfiller.main import Backfiller
from hls_origin import Answer, Held, Origin, status
from listed_node import HOUR, HOURS, listing, name_of, path_of
from log_events import PATIENCE_SECONDS
from other_nodes import Hire, Node, node


async def together(hire: Hire, *nodes: Node) -> int:
    """Make a pass over several nodes side by side; give the number of segments that they say they fetched."""
    passes = await asyncio.gather(*(hire(each).go_through() for each in nodes))
    return sum(done.fetched for done in passes)


async def test_each_segment_is_fetched_once(here: Node, backfiller: Backfiller, hire: Hire, tmp_path: Path) -> None:
    """Of what two nodes have each gives a part, and nothing comes twice; what only one has comes from that one."""
    asked: list[tuple[str, str]] = []
    copy = backfiller.fetches._copy

    def note(peer, place, segment):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202 - as it is
        asked.append((peer.url, segment.name))
        return copy(peer, place, segment)

    backfiller.fetches._copy = note
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(tmp_path / name)) for name in ("one", "two")]
        for each in nodes:
            for seconds in range(0, 80, 2):
                each.record(seconds)
        nodes[0].record(100)
        nodes[1].record(102)
        await together(hire, *nodes)
        assert here.names() == nodes[0].names() | nodes[1].names()
    names = [name for _, name in asked]
    assert len(names) == len(set(names)) == 42
    shares = [sum(url == each.url for url, _ in asked) for each in nodes]
    assert min(shares) >= 2


async def test_what_one_node_cannot_give_another_does(here: Node, other: Node, origin: Origin, hire: Hire) -> None:
    """A segment that one node gives wrong, or not at all, comes from the other node that has it."""
    segments = [other.record(seconds) for seconds in range(0, 8, 2)]
    names = [segment.name for segment in segments]
    answers: list[Answer | bytes] = [b"a lie", status(404), status(500), b"another lie"]
    for name, answer in zip(names, answers, strict=True):
        origin.put(path_of(name), answer)
    await together(hire, listing(origin, *names), other)
    assert here.names() == other.names()


async def test_node_that_hangs_does_not_keep_others_waiting(
    here: Node, other: Node, origin: Origin, hire: Hire
) -> None:
    """While one node holds its answers back, the others' segments come."""
    mine = [name_of(str(number).encode(), 2.0 * number) for number in range(8)]
    held = [Held(str(number).encode()) for number in range(8)]
    for name, holding in zip(mine, held, strict=True):
        origin.put(path_of(name), holding)
    hanging = asyncio.ensure_future(hire(listing(origin, *mine)).go_through())
    for holding in held[-4:]:
        await holding.wait()
    other.record(3600)
    await hire(other).go_through()
    assert other.names() <= here.names()
    for holding in held:
        holding.release.set()
    assert (await hanging).fetched == 8


async def test_node_that_goes_away_is_not_asked_for_all_the_rest(origin: Origin, hire: Hire) -> None:
    """After the first request that finds nobody there, the rest of an hour is left for the next pass."""
    names = [name_of(str(number).encode(), 2.0 * number) for number in range(60)]
    worker = hire(listing(origin, *names))
    asked = 0
    body = worker.source.peer.body

    def away(*parts: str, most: int):  # type: ignore[no-untyped-def]  # noqa: ANN202 - as it is
        nonlocal asked
        asked += 1
        worker.source.peer._port = 1
        return body(*parts, most=most)

    worker.source.peer.close()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.source.peer, "body", away)
        patch.setattr("backfiller.peer._MOST_IDLE", 0)
        with pytest.raises(Exception, match="went away"):
            await worker.go_through()
    assert asked <= 8


async def test_new_holes_come_before_what_is_left_of_old_hours(origin: Origin, hire: Hire) -> None:
    """While a node still gives an hour of long ago, a segment that has become missing since is asked for next."""
    names = [name_of(str(number).encode(), 2.0 * number) for number in range(8)]
    held = [Held(str(number).encode(), 0) for number in range(8)]
    for name, answer in zip(names, held, strict=True):
        origin.put(path_of(name), answer)
    worker = hire(listing(origin, *names))
    worker.every_seconds = 0.05
    going = asyncio.ensure_future(worker.go_through())
    for answer in held[4:]:  # the newest, as many as are fetched at once
        await answer.wait()
    new = name_of(b"new", 3600.0)
    hour = "2026-03-01T13"
    origin.put(HOURS, json.dumps(["2026-03-01T12", hour]))
    origin.put(HOUR.replace("2026-03-01T12", hour), json.dumps([new]))
    origin.put(path_of(new).replace("2026-03-01T12", hour), b"new")
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not any(job.segment.name == new for job in worker.source.wanted):
            assert not going.done()
            await asyncio.sleep(0)
        origin.requests.clear()
        held[7].release.set()
        while not (asked := [path for path in origin.requests if path.startswith("/segments/")]):
            assert not going.done()
            await asyncio.sleep(0)
    assert asked[0].endswith(new)
    origin.let_go()
    assert (await going).fetched == 9
