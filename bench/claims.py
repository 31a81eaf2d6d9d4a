"""How long it takes a cutter to claim one of many events, alone and with others."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from statistics import median

import asyncpg
from prometheus_client import REGISTRY

from bench.event_database import Database
from common import db
from common.events import Event
from cutter.rows import Rows

EVENTS = 10_000
ROUNDS, PER_ROUND = 25, 20
NEW_CONNECTIONS = 20
AT_ONCE, CLAIMS_EACH = 8, 25
LEASE, SILENCE = timedelta(seconds=60), timedelta(minutes=10)

Step = Callable[[], Awaitable[object]]


@dataclass(slots=True)
class Timings:
    """How long something took each time, in seconds, and how much of the processor all of it took in the server."""

    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0

    async def measure(self, server: Database, times: int, step: Step) -> None:
        """Do something so often."""
        cpu = server.cpu()
        for _ in range(times):
            began = time.perf_counter()
            await step()
            self.seconds.append(time.perf_counter() - began)
        self.cpu += server.cpu() - cpu

    def percentile(self, share: float) -> float:
        """Give the milliseconds within which so many were done."""
        return sorted(self.seconds)[min(int(share * len(self.seconds)), len(self.seconds) - 1)] * 1000


async def measure_claims(server: Database) -> None:
    """Print the tables."""
    await server.fill("EDITED", EVENTS)
    print(f"| one of {EVENTS:,} events | p50 ms | p99 ms | CPU ms in the server | times the floor | target |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |", flush=True)
    timings = await _alone(server)
    floor = median(timings["floor: an UPDATE by key, committed"].seconds) * 1000
    for name, each in timings.items():
        p50, p99 = each.percentile(0.5), each.percentile(0.99)
        target = "p99 ≤ 5 ms" if name == "both" else ""
        cpu = each.cpu / len(each.seconds) * 1000
        print(f"| {name} | {p50:.2f} | {p99:.2f} | {cpu:.2f} | {p50 / floor:.1f} | {target} |", flush=True)
    print("\n| cutters that claim at once | p50 ms | p99 ms | claims/s | claims lost | statements done again |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for cutters in (1, AT_ONCE):
        print(f"| {cutters} | {' | '.join(await _together(server, cutters))} |", flush=True)


async def _alone(server: Database) -> dict[str, Timings]:
    """Measure each step in turns, so that what else runs on the machine disturbs all of them alike."""
    async with _rows(server, "node") as rows, _counting(server, "on") as count, _counting(server, "off") as count_only:
        queue: list[Event] = []

        async def look() -> None:
            queue[:] = await _candidates(rows)

        async def claim() -> None:
            assert await rows.claim(queue.pop(0), LEASE) is not None

        async def both() -> None:
            await look()
            await claim()

        steps: dict[str, Step] = {
            "floor: an UPDATE by key, committed": count,
            "the same, not waiting for the disk": count_only,
            "what may be claimed": look,
            "claim": claim,
            "both": both,
        }
        timings = {name: Timings() for name in steps}
        for step in steps.values():
            await step()
        for _ in range(ROUNDS):
            await look()
            for name, step in steps.items():
                await timings[name].measure(server, PER_ROUND, step)
    timings["both, on a new connection"] = new = Timings()
    for _ in range(NEW_CONNECTIONS):
        async with _rows(server, "node") as rows:
            await new.measure(server, 1, both)
    return timings


async def _together(server: Database, cutters: int) -> list[str]:
    """Let several claim what is first, as they do when all of them wake at the same notification."""
    claimed = Timings()

    async def claim_some(rows: Rows) -> int:
        passed_over: set[str] = set()
        for _ in range(CLAIMS_EACH):
            began = time.perf_counter()
            while await rows.claim((first := (await _candidates(rows, passed_over))[0]), LEASE) is None:
                passed_over.add(first.id)
            claimed.seconds.append(time.perf_counter() - began)
        return len(passed_over)

    again = _done_again()
    async with AsyncExitStack() as stack:
        all_rows = [await stack.enter_async_context(_rows(server, f"node{number}")) for number in range(cutters)]
        for rows in all_rows:
            await _candidates(rows)
        began = time.perf_counter()
        lost = sum(await asyncio.gather(*(claim_some(rows) for rows in all_rows)))
        took = time.perf_counter() - began
    times = [f"{claimed.percentile(share):.1f}" for share in (0.5, 0.99)]
    return [*times, f"{len(claimed.seconds) / took:.0f}", str(lost), f"{_done_again() - again:.0f}"]


async def _candidates(rows: Rows, without: Collection[str] = ()) -> list[Event]:
    found = await rows.candidates(cut=True, closed=[], silence=SILENCE, without=without)
    return [each.event for each in found]


@asynccontextmanager
async def _rows(server: Database, node: str) -> AsyncIterator[Rows]:
    async with await db.pool(server.dsn) as connections, await db.pool(server.dsn, light=True) as light:
        yield Rows(connections, light, node, node)


@asynccontextmanager
async def _counting(server: Database, synchronous_commit: str) -> AsyncIterator[Step]:
    """Count in a table of one row, a serializable transaction each; on or off: whether to wait for the disk."""
    settings = {"default_transaction_isolation": "serializable", "synchronous_commit": synchronous_commit}
    connection = await asyncpg.connect(server.dsn, server_settings=settings)
    try:
        await connection.execute("CREATE TABLE IF NOT EXISTS floor (id text PRIMARY KEY, number bigint)")
        await connection.execute("INSERT INTO floor VALUES ($1, 0)", synchronous_commit)
        count = await connection.prepare("UPDATE floor SET number = number + 1 WHERE id = $1")
        yield lambda: count.fetch(synchronous_commit)
    finally:
        await connection.close()


def _done_again() -> float:
    """Count the statements of this process that were done again for a conflict."""
    return sum(
        sample.value
        for metric in REGISTRY.collect()
        for sample in metric.samples
        if sample.name == "respool_database_retries_total"
    )
