"""Several nodes that backfill from each other while things go wrong: in the end all hold the union."""

import asyncio
import hashlib
import os
import random
import signal
from contextlib import AsyncExitStack
from pathlib import Path

from backfiller.main import Config, run
from common.dateutil import parse_hour
from common.segments import SegmentType, content_hash, parse_names, stem, tombstone_name
from other_nodes import Node, node
from services import service


async def test_three_nodes_hold_the_union_after_losses_and_kills(tmp_path: Path) -> None:
    """Three nodes that each lost other segments, one of them killed amid its copies, end with the same files.

    Every file is what its name says, tombstones are everywhere, and nothing that was hidden came back.
    """
    dice = random.Random(7)
    async with AsyncExitStack() as stack:
        nodes = [await stack.enter_async_context(node(tmp_path / name)) for name in ("one", "two", "three")]
        hidden = record(nodes, dice)
        union = {path for each in nodes for path in each.names()}
        for number, each in enumerate(nodes):
            if number == 1:
                await killed_amid_copies(each, nodes, tmp_path)
            await fill(each, nodes)
        for each in (*nodes, *nodes):
            await fill(each, nodes)
        for each in nodes:
            assert visible(each.names(), hidden) == visible(union, hidden)
            assert {f"{path.removesuffix('.ts')}.tombstone" for path in hidden} <= each.names()
            assert_whole(each)


def record(nodes: list[Node], dice: random.Random) -> set[str]:
    """Record three hours, of which each node misses a third; give the paths of what the first has hidden."""
    for seconds in range(0, 3 * 3600, 180):
        data = dice.randbytes(200_000)
        having = dice.sample(nodes, dice.randint(1, 3))
        for each in having:
            each.record(seconds, data)
    paths = sorted(nodes[0].names())
    hidden = set(dice.sample(paths, 4))
    for path in hidden:
        name = Path(path)
        (nodes[0].store.base / name.parent / tombstone_name(name.name)).touch()
    return hidden


def visible(paths: set[str], hidden: set[str]) -> set[str]:
    stems = {stem(path) for path in hidden}
    return {path for path in paths if stem(path) not in stems}


def arguments(to: Node, nodes: list[Node]) -> list[str]:
    others = [part for each in nodes if each is not to for part in ("--node", each.url)]
    return ["--base-dir", str(to.store.base), *others, "--run-once"]


async def fill(to: Node, nodes: list[Node]) -> None:
    others = tuple(each.url for each in nodes if each is not to)
    await run(Config(to.store.base, others, run_once=True), asyncio.Event())


async def killed_amid_copies(to: Node, nodes: list[Node], folder: Path) -> None:
    """Kill a backfiller as soon as it has begun to copy."""
    async with service("backfiller", *arguments(to, nodes), "--rate", "400k", folder=folder) as process:
        while not any("-temp-" in path for path in to.names()):
            assert process.process.returncode is None
            await asyncio.sleep(0)
        os.kill(process.process.pid, signal.SIGKILL)
    assert any("-temp-" in path for path in to.names())


def assert_whole(each: Node) -> None:
    """All that is there is a segment whose content its name tells, or a tombstone."""
    for path in each.names():
        file = each.store.base / path
        if file.suffix == ".tombstone":
            continue
        (segment,), _ = parse_names(parse_hour(file.parent.name), [file.name])
        assert segment.type is not SegmentType.TEMP
        assert content_hash(hashlib.sha256(file.read_bytes()).digest()) == segment.hash
