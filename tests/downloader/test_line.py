"""The workers of one quality: how they are started, how one takes over from another, what is said of it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace

import pytest
from aiohttp import ClientSession
from prometheus_client import REGISTRY

from common.store import Store
from downloader import manager
from downloader.fetch import Target
from downloader.handover import MOST_WORKERS, Cause, Standing
from downloader.manager import Line
from downloader.origin import OriginError
from downloader.providers import UrlProvider
from downloader.recorder import Recorder
from downloader.source import Channel, Source
from downloads import Ticks
from log_events import PATIENCE_SECONDS, LogEvents

GOOD = Standing(programme=True, keeps_up=True, goes_on=True)


@dataclass(eq=False)
class Scripted:
    """A worker that is what the test says, and ends when the test says so."""

    number: int
    source: Source
    recorder: Recorder
    stop: asyncio.Event
    changed: asyncio.Event
    attempt: int
    standing: Standing = field(default_factory=Standing)
    reason: str = ""
    has_news: bool = False
    end: "asyncio.Future[None]" = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    cancelled: bool = False

    async def run(self) -> None:
        try:
            await self.end
        except asyncio.CancelledError:
            self.cancelled = True
            raise

    def becomes(self, standing: Standing, reason: str = "", *, news: bool = False) -> None:
        self.standing, self.reason, self.has_news = standing, reason, news
        self.changed.set()

    def is_in(self, trouble: Cause, reason: str = "It is bad.") -> None:
        self.becomes(replace(self.standing, trouble=trouble), reason)


@dataclass
class Crew:
    """All workers that were started."""

    events: LogEvents
    ticks: Ticks
    all: list[Scripted] = field(default_factory=list)

    async def started(self, count: int) -> Scripted:
        """Wait for the start of so many, and give the last."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            while len(self.all) < count:
                self.ticks.end()
                await asyncio.sleep(0)
        return self.all[count - 1]

    async def settled(self) -> None:
        """Let all that is ready happen."""
        for _ in range(20):
            await asyncio.sleep(0)

    def gone(self) -> list[int]:
        return [worker.number for worker in self.all if worker.cancelled]

    def causes(self) -> list[str]:
        return [event["cause"] for event in self.events.of("worker_started")]


@pytest.fixture
async def crew(
    store: Store, session: ClientSession, events: LogEvents, ticks: Ticks, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Crew]:
    crew = Crew(events, ticks)

    def make(*arguments: object) -> Scripted:
        crew.all.append(Scripted(*arguments))  # type: ignore[arg-type]  # as a worker is made
        return crew.all[-1]

    monkeypatch.setattr(manager, "Worker", make)
    source = Source(Channel("chan", UrlProvider("http://host/")), session, ["source"])
    stop = asyncio.Event()
    line = Line(source, Recorder(Target(store, "chan", "source"), session), stop)
    async with asyncio.TaskGroup() as group:
        group.create_task(line.run())
        yield crew
        stop.set()


async def test_the_next_one_takes_over_only_when_proved(crew: Crew) -> None:
    """A worker in trouble goes on beside the next one, until that has shown that it keeps up."""
    first = await crew.started(1)
    first.becomes(GOOD, news=True)
    first.is_in(Cause.EXPIRES)
    second = await crew.started(2)
    second.becomes(Standing(programme=True))
    await crew.settled()
    gone = [crew.gone()]
    second.becomes(GOOD)
    await crew.settled()
    gone.append(crew.gone())
    assert gone == [[], [0]]
    assert crew.causes() == ["start", "expires"]
    assert [event["worker"] for event in crew.events.of("worker_took_over")] == [0, 1]
    assert [event["worker"] for event in crew.events.of("worker_retired")] == [0]


async def test_a_slow_one_may_still_win(crew: Crew) -> None:
    """Another attempt is made while the first goes on; if that is the first after all, it leads until the other can."""
    first = await crew.started(1)
    first.is_in(Cause.SLOW)
    await crew.started(2)
    first.becomes(GOOD, news=True)
    await crew.settled()
    assert crew.gone() == []
    assert REGISTRY.get_sample_value("respool_stream_followed", {"channel": "chan", "quality": "source"}) == 1


async def test_there_are_never_more_than_three(crew: Crew) -> None:
    """However many hang, no more are started, until one of them ends."""
    for count in range(1, MOST_WORKERS + 1):
        (await crew.started(count)).is_in(Cause.SLOW)
    for _ in range(3):
        await crew.settled()
        crew.ticks.end()
    assert len(crew.all) == MOST_WORKERS
    crew.all[0].end.set_exception(OriginError("It is gone."))
    await crew.started(MOST_WORKERS + 1)


async def test_a_leader_in_trouble_is_said_once(crew: Crew) -> None:
    """Its sentence stands in the log when it begins, not at each attempt to replace it, and again after a recovery."""
    first = await crew.started(1)
    for round_ in (1, 2):
        first.becomes(GOOD, news=True)
        await crew.settled()
        first.is_in(Cause.STALE, "It shows nothing new.")
        for _ in range(2):
            attempt = await crew.started(len(crew.all) + 1)
            attempt.end.set_exception(OriginError("It shows nothing new."))
            await crew.settled()
        assert [event["reason"] for event in crew.events.of("stream_in_trouble")] == ["It shows nothing new."] * round_
    assert not crew.events.of("worker_failed")
    assert not crew.events.of("stream_not_recorded")


async def test_an_attempt_that_fails_beside_a_leader_is_said(crew: Crew) -> None:
    """Why the next one does not come is told once, and the leader is left alone."""
    first = await crew.started(1)
    first.becomes(GOOD)
    first.is_in(Cause.EXPIRES)
    for count in (2, 3):
        (await crew.started(count)).end.set_exception(OriginError("The provider is away."))
    await crew.settled()
    assert [event["reason"] for event in crew.events.of("worker_failed")] == ["The provider is away."]
    assert not first.cancelled
    assert crew.all[2].attempt == 2


async def test_a_mistake_of_ours_ends_one_worker_only(crew: Crew) -> None:
    """What nobody thought of is logged with its trace, and the next worker is started."""
    (await crew.started(1)).end.set_exception(ZeroDivisionError("oops"))
    await crew.started(2)
    assert len(crew.events.of("worker_broke")) == 1
    assert [event["reason"] for event in crew.events.of("stream_not_recorded")] == [
        "Something went wrong here; the log says what."
    ]


async def test_metrics_tell_of_the_workers(crew: Crew) -> None:
    """How many were started and why, how many are alive, took over and made way."""

    def value(name: str, **labels: str) -> float:
        where = {"channel": "chan", "quality": "source", **labels}
        return REGISTRY.get_sample_value(f"respool_{name}", where) or 0.0

    before = [value("workers_started_total", cause="jumped"), value("workers_retired_total")]
    first = await crew.started(1)
    first.becomes(GOOD)
    first.is_in(Cause.JUMPED)
    second = await crew.started(2)
    await crew.settled()
    assert value("workers") == 2
    second.becomes(GOOD)
    await crew.settled()
    assert value("workers") == 1
    assert [value("workers_started_total", cause="jumped"), value("workers_retired_total")] == [n + 1 for n in before]
