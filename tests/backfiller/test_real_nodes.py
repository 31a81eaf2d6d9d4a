"""Real nodes on a network of their own, of whose machines, lines and neighbours everything goes wrong that can."""

import asyncio
import hashlib
import json
import random
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest

from common.dateutil import HOUR, floor_hour, hour_name
from common.segments import SegmentType, content_hash, make_segment, stem
from common.tombstones import hide
from db_proxy import proxied
from hls_origin import Live, Origin, breaks_off, serving_origin, status, ts
from networks import Loopback, Network, has_namespaces, network
from real_nodes import Nodes, RealNode, real_nodes

SECOND, MINUTE = timedelta(seconds=1), timedelta(minutes=1)
NOW = datetime.now(UTC)

# Which of the hours of before are where: a day's worth, one that is too old, one that is too old but kept.
DAY = [floor_hour(NOW) - ago * HOUR for ago in range(3, 27)]
OLD, KEPT = (floor_hour(NOW) - ago * HOUR for ago in (60, 50))
MOST_HOURS = "36h"

# The slow line, in bytes a second, and how many segments have come by it when it is in the middle of its work.
SLOW = 1_000_000
MANY = 50

# What a downloader says of segments that nobody gives it.
MISSED = ("segment_lost", "stream_not_recorded")


def data_of(number: int, size: int = 15_000) -> bytes:
    return random.Random(number).randbytes(size)


def hash_of(data: bytes) -> str:
    return content_hash(hashlib.sha256(data).digest())


def lay(node: RealNode, start: datetime, data: bytes) -> str:
    """Have a segment in a node's store, as if it had recorded it long ago; give its path."""
    name = make_segment(start, 2 * SECOND, SegmentType.FULL, hash_of(data)).name
    path = node.store.folder("chan", "source") / hour_name(start) / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path.relative_to(node.store.base).as_posix()


@dataclass(slots=True)
class Broadcast:
    """One live stream, as each node sees it: with losses of its own."""

    origin: Origin
    lives: dict[str, Live]
    dice: random.Random
    contents: list[str] = field(default_factory=list)

    def send(self, count: int, *, to: RealNode | None = None) -> set[str]:
        """Send so many segments, each to some of the nodes, or to one alone; give their contents."""
        for _ in range(count):
            body = ts(len(self.contents))
            having = [to.name] if to else self.dice.sample(list(self.lives), self.dice.randint(1, len(self.lives)))
            for name, live in self.lives.items():
                refused = self.dice.choice([status(404), breaks_off(body, 1000)])
                live.add(body if name in having else refused, live.seconds)
            self.contents.append(hash_of(body))
        for live in self.lives.values():
            live.publish()
        return set(self.contents[-count:])


def lie(origin: Origin) -> str:
    """Have a node at the origin that has all and gives nothing of what it says; give its address."""
    hour = hour_name(DAY[0])
    path = f"/files/chan/source/{hour}"
    names = [
        make_segment(DAY[0] + n * SECOND, SECOND, SegmentType.FULL, hash_of(data_of(10_000 + n))).name for n in range(9)
    ]
    origin.put("/liar/digests", json.dumps({"chan": {"source": "1"}, "..": {"..": "2"}}))
    origin.put("/liar/digests/chan/source", json.dumps({hour[:10]: "3"}))
    origin.put(f"/liar/digests/chan/source/{hour[:10]}", json.dumps({hour: "4", "../../x": "5"}))
    origin.put(f"/liar{path}", json.dumps([*names, "../../../lie.ts", "/etc/passwd"]))
    for name in names:
        origin.put(f"/liar{path}/{name}".replace("files", "segments"), b"a lie")
    return origin.url("/liar")


@asynccontextmanager
async def nodes_that_record(
    made: Network, folder: Path, dsn: str, names: list[str]
) -> AsyncIterator[tuple[Nodes, Broadcast]]:
    """Have nodes that are to record a broadcast, and share a database that is reached by the network."""
    async with (
        serving_origin(made.host) as origin,
        proxied(dsn, made.host) as database,
        real_nodes(made, folder, names) as nodes,
    ):
        start = NOW - timedelta(minutes=3)
        lives = {name: Live(origin, f"/{name}/live.m3u8", 60, 0.5, 1, start, folder=f"/{name}/") for name in names}
        for node in nodes.all:
            shared = ("--database", database.dsn)
            host = ("--host", made.address(node.machine))
            node.arguments = {
                "downloader": (f"chan={origin.url(lives[node.name].path)}",),
                "restreamer": (*host, "--port", str(node.port), "--log-level", "debug"),
                "backfiller": (*shared, "--name", node.name, "--every", "1", "--recent", "5", "--reserve", "0"),
                "librarian": shared,
            }
        yield nodes, Broadcast(origin, lives, random.Random(7))


async def announce(dsn: str, nodes: Nodes, **others: str) -> None:
    connection = await asyncpg.connect(dsn)
    known = {node.name: node.url for node in nodes.all} | others
    await connection.executemany("INSERT INTO nodes (name, url) VALUES ($1, $2)", list(known.items()))
    await connection.close()


async def keep(dsn: str, hour: datetime) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute(
        """INSERT INTO keeps (channel, start, "end", who) VALUES ('chan', $1, $2, 'me')""",
        hour + HOUR / 3,
        hour + HOUR / 2,
    )
    await connection.close()


async def killed_amid_copies(node: RealNode, nodes: Nodes) -> None:
    """Kill all of a node at a moment in which copies of its backfiller are half-written."""

    def is_copying() -> bool:
        node.signal(signal.SIGSTOP, "backfiller")
        paths = node.paths()
        if len(paths) > MANY and any("-temp-copy_" in path for path in paths):
            return True
        node.signal(signal.SIGCONT, "backfiller")
        return False

    await nodes.until(is_copying)
    await node.kill()
    assert any("-temp-" in path for path in node.paths())


@pytest.mark.parametrize("where", ["namespaces" if has_namespaces() else "loopback"])
async def test_three_nodes_end_with_all_that_any_of_them_had(where: str, tmp_path: Path, postgres_dsn: str) -> None:
    """After losses, a partition, a slow line, a kill amid copies, a day away, lies: all hold the union, and are quiet.

    What was hidden is hidden everywhere, and what a node has deleted is not there again.
    """
    with network(3) as made:
        async with nodes_that_record(made, tmp_path, postgres_dsn, ["one", "two", "three"]) as (nodes, broadcast):
            one, two, three = nodes.all
            await announce(postgres_dsn, nodes, liar=lie(broadcast.origin), dead=f"http://{made.address(9)}:9")
            await keep(postgres_dsn, KEPT)
            day = prefill(one, two)
            hidden = hide_paths(two, in_hour(OLD, day)[:1])
            two.arguments["librarian"] = (*two.arguments["librarian"], "--max-age", MOST_HOURS)
            if not made.slow(three.machine, SLOW):
                three.arguments["backfiller"] = (*three.arguments["backfiller"], "--rate", str(SLOW))
            broadcast.send(8)
            await asyncio.gather(*(node.start() for node in nodes.all))
            await killed_amid_copies(three, nodes)
            hidden |= hide_paths(one, in_hour(DAY[3], day & one.paths()))
            gone = in_hour(DAY[3], hidden)[0]
            (one.store.base / gone).unlink()
            two.cut()
            sent = broadcast.send(8, to=one)
            await three.start()
            # what the one has comes from it though the other, which has it too, does not answer
            await nodes.until(lambda: sent <= one.contents() <= three.contents())
            assert not sent & two.contents()
            two.heal()
            broadcast.send(8)
            await nodes.until(lambda: are_whole(nodes, broadcast, day, hidden))
            await until_quiet(nodes)
            check(nodes, hidden)
            assert gone not in one.paths()


def prefill(one: RealNode, two: RealNode) -> set[str]:
    """Have a day's worth of hours on two nodes, each of which lacks some, and older ones on both; give all paths."""
    dice = random.Random(1)
    starts = [hour + minute * MINUTE for hour in DAY for minute in range(8)]
    holders = [(start, dice.choice([(one,), (two,), (one, two)])) for start in starts]
    holders += [(start, (one, two)) for start in (OLD, OLD + MINUTE, KEPT)]
    return {lay(node, start, data_of(number)) for number, (start, having) in enumerate(holders) for node in having}


def hide_paths(node: RealNode, paths: list[str]) -> set[str]:
    """Hide segments on a node; give their paths."""
    for path in paths:
        channel, quality, hour, name = path.split("/")
        hide(node.store, channel, quality, hour, [name])
    return set(paths)


def in_hour(hour: datetime, paths: set[str]) -> list[str]:
    return sorted(path for path in paths if f"/{hour_name(hour)}/" in path)


def are_whole(nodes: Nodes, broadcast: Broadcast, day: set[str], hidden: set[str]) -> bool:
    """Tell whether each node has all of the broadcast and of the day, and hides what is hidden."""
    for node in nodes.all:
        wanted = {path for path in day - hidden if node is not nodes.all[1] or path not in in_hour(OLD, day)}
        paths = node.paths()
        tombstones = {f"{stem(path)}.tombstone" for path in hidden}
        if not (wanted <= paths and tombstones <= paths and set(broadcast.contents) <= node.contents()):
            return False
    return True


async def until_quiet(nodes: Nodes) -> None:
    """Wait until each node has been gone through by the others with one request each time, several times in a row.

    Until then a downloader may still give up segments, and keep what came of them.
    """
    passes = 4 * (len(nodes.all) - 1)
    await nodes.until(lambda: all(set(node.asked()[-passes:]) == {"/digests"} for node in nodes.all))


def check(nodes: Nodes, hidden: set[str]) -> None:
    """See that all hold the same but for what one has deleted, that all is whole, and that nobody complained."""
    one, two, three = nodes.all
    deleted = set(in_hour(OLD, one.visible()))
    assert one.visible() == three.visible() == two.visible() | deleted
    assert in_hour(OLD, two.paths()) == [f"{stem(path)}.tombstone" for path in in_hour(OLD, hidden)]
    for node in nodes.all:
        assert node.flaws() == []
        assert [event for event in node.events if event["level"] == "error" and event["event"] not in MISSED] == []
        assert node.said("node_put_away", node=nodes.all[0].said("node_put_away")[0]["node"])


async def test_recording_does_not_notice_that_an_hour_is_fetched(
    tmp_path: Path, postgres_dsn: str, record_property: Callable[[str, object], None]
) -> None:
    """While a node fetches an hour as fast as it can, it records as before; then both nodes hold all, and are quiet."""
    async with nodes_that_record(Loopback(), tmp_path, postgres_dsn, ["one", "two"]) as (nodes, broadcast):
        one, two = nodes.all
        await announce(postgres_dsn, nodes)
        hour = {lay(one, DAY[0] + 2 * number * SECOND, data_of(number, 40_000)) for number in range(600)}
        await one.start()
        await two.start("downloader", "restreamer", "librarian")
        await nodes.until(lambda: bool(one.said("serving") and two.said("stream_found")))
        before = [await lag(nodes, two, broadcast) for _ in range(4)]
        await two.start("backfiller")
        during = []
        while not hour <= two.paths():
            during.append(await lag(nodes, two, broadcast))
        for name, seconds in (("before", before), ("during", during)):
            record_property(name, [round(each, 2) for each in seconds])
            print(f"Seconds from the playlist to the store, {name}: {seconds}")  # noqa: T201 - a figure for who asks
        assert two.said("segment_fetch_failed") == []
        await nodes.until(lambda: one.visible() == two.visible())
        assert two.visible() > hour
        assert len(two.contents()) == len(hour) + len(broadcast.contents)
        await until_quiet(nodes)


async def lag(nodes: Nodes, node: RealNode, broadcast: Broadcast) -> float:
    """Send a segment to a node, and give the seconds until it is recorded."""
    began = asyncio.get_running_loop().time()
    broadcast.send(1, to=node)
    await nodes.until(lambda: len(node.said("segment_committed", type="full")) == len(broadcast.contents))
    return asyncio.get_running_loop().time() - began
