"""Hours of faults at random in real time: whether memory stays flat, and the store is complete in the end.

Two downloaders record the same broadcasts of an origin with switches (tests/support): one lives all the time, the other
is killed (kill -9) every minute or two and started again. In the end each store is held against what the origin listed
and served.

    python -m bench soak [--minutes M] [--seed S] [--channels N]
"""

import argparse
import asyncio
import random
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import inf
from pathlib import Path

import bench.support  # noqa: F401 - before the modules of tests/support
from bench.downloader_process import Downloader, downloader
from broadcast import Script
from common.store import Store
from downloads import stored
from faults import PASSING, passing, random_script
from origin import Fault, Origin, Show, serving_broadcasts
from reckoning import Reckoning, Span, required

# One fault begins every so many seconds.
_FAULT_SECONDS = 20.0

# A process has its first look at a playlist within this.
_START_SECONDS = 5.0

# What failed last is tried again for so long.
_CALM_SECONDS = 120.0

# Packets of a segment: some 150 KB.
_PACKETS = 800


@dataclass(slots=True)
class Node:
    """A downloader and its store; `lives` are the times of the origin's clock in which it was at work."""

    name: str
    base: Path
    channels: list[str]
    shows: list[Show]
    lives: list[Span] = field(default_factory=list)
    memory: list[tuple[float, int]] = field(default_factory=list)

    def faults(self) -> Iterator[str]:
        for show in self.shows:
            found = stored(Store(self.base), show.name)
            yield from (f"{show.name}: {fault}" for fault in Reckoning(show, found, lives=tuple(self.lives)).faults())

    def required(self) -> int:
        return sum(len(required(show, tuple(self.lives))) for show in self.shows)


def main(options: Sequence[str] = ()) -> None:
    """Print the table, and what is wrong."""
    parser = argparse.ArgumentParser("python -m bench soak")
    parser.add_argument("--minutes", type=float, default=30.0, help="how long the broadcasts are")
    parser.add_argument("--seed", type=int, default=1, help="of the dice that choose broadcasts, faults and deaths")
    parser.add_argument("--channels", type=int, default=4)
    given = parser.parse_args(options)
    with tempfile.TemporaryDirectory(prefix="respool-soak-") as folder:
        nodes = asyncio.run(_soak(Path(folder), given.minutes * 60, random.Random(given.seed), given.channels))
        print("| downloader | deaths | MB after a minute | most | at the end | segments | wrong |")
        print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
        told = [_row(node) for node in nodes]
    print("\n".join(["", *(fault for faults in told for fault in faults)]))


def _row(node: Node) -> list[str]:
    faults = list(node.faults())
    late = [size / 1e6 for at, size in node.memory if at >= 60] or [size / 1e6 for _, size in node.memory]
    figures = f"{late[0]:.0f} | {max(late):.0f} | {late[-1]:.0f}"
    print(f"| {node.name} | {len(node.lives) - 1} | {figures} | {node.required()} | {len(faults)} |", flush=True)
    return faults


async def _soak(folder: Path, seconds: float, dice: random.Random, channels: int) -> list[Node]:
    loop = asyncio.get_running_loop()
    began = loop.time()
    broadcasts = [_broadcast(dice, seconds) for _ in range(channels)]
    async with serving_broadcasts(lambda: loop.time() - began, datetime.now(UTC)) as origin:
        nodes = [_node(origin, folder, name, broadcasts) for name in ("steady", "killed")]
        over = max(show.over for node in nodes for show in node.shows) + _CALM_SECONDS
        steady, killed = nodes
        await asyncio.gather(_live(origin, steady, [over]), _live(origin, killed, [*_deaths(dice, seconds), over]))
    return nodes


def _broadcast(dice: random.Random, seconds: float) -> tuple[Script, list[Fault]]:
    count = max(20, int(seconds / 2))
    script = replace(random_script(dice, count), packets=_PACKETS)
    faults = []
    for number in range(1, int(seconds / _FAULT_SECONDS)):
        begin = number * _FAULT_SECONDS
        name = dice.choice(list(PASSING))
        faults.append(passing(name, dice.random(), begin, int(begin / script.seconds)))
    return script, faults


def _node(origin: Origin, folder: Path, name: str, broadcasts: Iterable[tuple[Script, list[Fault]]]) -> Node:
    shows = [origin.show(f"{name}{n}", script, faults) for n, (script, faults) in enumerate(broadcasts)]
    return Node(name, folder / name, [f"{show.name}={origin.url(show.name)}" for show in shows], shows)


def _deaths(dice: random.Random, seconds: float) -> Iterator[float]:
    at = dice.uniform(20, 60)
    while at < seconds:
        yield at
        at += dice.uniform(50, 120)


async def _live(origin: Origin, node: Node, ends: Iterable[float]) -> None:
    """Let a downloader live until each of these moments, killed at all but the last."""
    ends = list(ends)
    for end in ends:
        with ExitStack() as stack:
            process = await asyncio.to_thread(stack.enter_context, downloader(node.base, node.channels))
            begins = origin.clock()
            while origin.clock() < end:
                await asyncio.sleep(min(5.0, max(0.0, end - origin.clock())))
                _look(process, node, origin.clock() - begins)
            if end is not ends[-1]:
                process.process.kill()
            node.lives.append((begins + _START_SECONDS, inf if end is ends[-1] else end))
            await asyncio.to_thread(stack.close)


def _look(process: Downloader, node: Node, age: float) -> None:
    if process.process.poll() is not None:
        raise SystemExit(f"The downloader has ended:\n{process.log.read_text()[-2000:]}")
    node.memory.append((age, process.memory()))


if __name__ == "__main__":
    main()
