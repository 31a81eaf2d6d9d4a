"""The fetches of all nodes together: each segment once, from whichever node has it and is free."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from dataclasses import dataclass, field

import structlog

from backfiller import numbers
from backfiller.outcomes import HARMLESS, LIES, OURS, NodeError, Outcome
from backfiller.peer import Peer
from backfiller.standing import Standing
from backfiller.transfer import Place
from common.segments import Segment

log = structlog.get_logger()

# After so many failures in a row nothing more is asked of a node until it has been looked at again.
_MOST_FAILURES = 3

# How many nodes may have a turn beyond what is fetched at once.
MOST_TURNS = 16

# Copies a segment of a node into the store and gives its bytes; raises NodeError. It blocks.
Copy = Callable[[Peer, Place, Segment], int]


@dataclass(slots=True, eq=False)
class Source:
    """A node that segments are fetched from: what is still wanted of it, how many it is sending now."""

    peer: Peer
    standing: Standing
    wanted: "deque[_Job]" = field(default_factory=deque)
    busy: int = 0
    failures: int = 0


@dataclass(slots=True, eq=False)
class _Job:
    """One segment, the nodes that have it and have not failed to give it, and what became of it."""

    place: Place
    segment: Segment
    done: asyncio.Future[Outcome]
    sources: list[Source] = field(default_factory=list)
    running: bool = False

    @property
    def key(self) -> tuple[str, str, str, str]:
        return (*self.place, self.segment.name)


class Fetches:
    """Fetches what the workers of several nodes want, so many at a time, in threads of `executor`."""

    def __init__(self, copy: Copy, executor: Executor, at_once: int) -> None:
        """Fetch nothing yet. `executor` has `at_once` and MOST_TURNS threads."""
        self._copy = copy
        self._executor = executor
        self._at_once = at_once
        self._jobs: dict[tuple[str, str, str, str], _Job] = {}
        self._sources: list[Source] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def fetch(self, source: Source, place: Place, segments: Iterable[Segment]) -> dict[str, Outcome]:
        """Fetch the segments of an hour that a node has, from it or from another that has them; the first first.

        Gives by name what became of each.
        """
        if source not in self._sources:
            self._sources.append(source)
        jobs = [self._join(source, place, segment) for segment in segments]
        # hours that differ are found newest first, but a later look finds newer ones
        source.wanted = deque(sorted(source.wanted, key=lambda job: job.place.hour, reverse=True))
        try:
            self._start()
            for job in jobs:
                await asyncio.shield(job.done)
        finally:
            for job in jobs:
                if not job.done.done():
                    self._give_up(job, source, Outcome.STOPPED)
            if not source.wanted and not source.busy and source in self._sources:
                self._sources.remove(source)
        return {job.segment.name: job.done.result() for job in jobs}

    def _join(self, source: Source, place: Place, segment: Segment) -> _Job:
        key = (*place, segment.name)
        job = self._jobs.get(key)
        if job is None:
            job = self._jobs[key] = _Job(place, segment, asyncio.get_running_loop().create_future())
        job.sources.append(source)
        source.wanted.append(job)
        return job

    def _start(self) -> None:
        """Start what can be: the node that sends least is asked next, so that they share the work.

        A node that sends nothing gets a turn in any case, since others may hang.
        """
        while True:
            full = len(self._tasks) >= self._at_once
            free = [source for source in self._sources if not (full and source.busy) and _next(source)]
            if not free or len(self._tasks) >= self._at_once + MOST_TURNS:
                return
            source = min(free, key=lambda one: one.busy)
            job = source.wanted.popleft()
            job.running = True
            source.busy += 1
            task = asyncio.ensure_future(self._run(source, job))
            self._tasks.add(task)
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._start()

    async def _run(self, source: Source, job: _Job) -> None:
        loop = asyncio.get_running_loop()
        try:
            size = await loop.run_in_executor(self._executor, self._copy, source.peer, job.place, job.segment)
        except NodeError as error:
            self._failed(source, job, error)
        except Exception as error:
            self._end(job, Outcome.STOPPED)
            log.exception("fetch_failed", node=source.peer.name, name=job.segment.name, reason=str(error))
        else:
            source.failures = 0
            source.standing.gave(job.key)
            numbers.FETCHES.labels(source.peer.name, Outcome.FETCHED).inc()
            numbers.BYTES.labels(source.peer.name).inc(size)
            self._end(job, Outcome.FETCHED)
        finally:
            job.running = False
            source.busy -= 1

    def _failed(self, source: Source, job: _Job, error: NodeError) -> None:
        outcome = error.outcome
        numbers.FETCHES.labels(source.peer.name, outcome).inc()
        about = {"node": source.peer.name, **job.place._asdict(), "name": job.segment.name}
        if outcome is not Outcome.STOPPED:
            say = log.info if outcome in HARMLESS else log.warning
            say("segment_not_fetched", **about, outcome=outcome.value, reason=str(error))
        if outcome not in OURS | {Outcome.AWAY, Outcome.UNWANTED}:
            source.standing.failed(job.key)
        source.failures += outcome not in HARMLESS
        put_away = outcome in LIES and source.standing.lied()
        if put_away:
            log.warning("node_put_away", node=source.peer.name, seconds=round(source.standing.away_seconds))
        job.running = False
        self._give_up(job, source, outcome)
        if put_away or outcome in OURS or outcome is Outcome.AWAY or source.failures >= _MOST_FAILURES:
            self._drop(source, outcome)

    def _drop(self, source: Source, outcome: Outcome) -> None:
        """Want nothing more of a node for now."""
        wanted, source.wanted = source.wanted, deque()
        source.failures = 0
        for job in wanted:
            self._give_up(job, source, outcome)

    def _give_up(self, job: _Job, source: Source, outcome: Outcome) -> None:
        """Leave a segment to the other nodes that have it; without any, that is what became of it."""
        if source in job.sources:
            job.sources.remove(source)
        if job.running or job.done.done():
            return
        if not job.sources:
            self._end(job, outcome)
        for other in job.sources:
            other.wanted.appendleft(job)

    def _end(self, job: _Job, outcome: Outcome) -> None:
        self._jobs.pop(job.key, None)
        if not job.done.done():
            job.done.set_result(outcome)


def _next(source: Source) -> bool:
    """Tell whether there is something to ask a node for, and bring that to the front."""
    while source.wanted and (source.wanted[0].running or source.wanted[0].done.done()):
        source.wanted.popleft()
    return bool(source.wanted)
