"""A channel for as long as the service runs: workers for each of its qualities, started, handed over and retired."""

import asyncio
import itertools
from collections.abc import Callable
from dataclasses import dataclass, field

import structlog

from common import metrics
from common.waits import backoff, pause
from downloader.handover import STANDSTILL, Cause, Decision, Starts, decide
from downloader.origin import OriginError
from downloader.recorder import EndedError, Recorder, UnsupportedError
from downloader.source import Source
from downloader.worker import Worker

log = structlog.get_logger()

# A stream that is away may be back any second, and what it sends then is sent once.
_LONGEST_PAUSE = 10.0

_FOLLOWED = metrics.gauge(
    "stream_followed", "1 while the playlist of a quality is being followed.", "channel", "quality"
)
_WORKERS = metrics.gauge("workers", "Workers that are alive.", "channel", "quality")
_STARTED = metrics.counter("workers_started", "Workers started.", "channel", "quality", "cause")
_TOOK_OVER = metrics.counter("workers_took_over", "Workers that proved themselves.", "channel", "quality")
_RETIRED = metrics.counter("workers_retired", "Workers that made way for a later one.", "channel", "quality")


async def record(source: Source, recorder_of: Callable[[str], Recorder], stop: asyncio.Event) -> None:
    """Record a channel until `stop`, with a recorder for each quality; whatever is wrong is said once and tried again.

    What sounds apart from its picture gets a recorder too, as soon as it is known.
    """
    async with asyncio.TaskGroup() as group:

        async def listen() -> None:
            while True:
                name = await source.sounds.get()
                group.create_task(Line(source, recorder_of(name), stop).run())

        for quality in source.qualities:
            group.create_task(Line(source, recorder_of(quality), stop).run())
        listening = group.create_task(listen())
        await stop.wait()
        listening.cancel()


@dataclass(slots=True, eq=False)
class Line:
    """The workers of one quality, one after the other; a later one leads as soon as it has proved itself."""

    source: Source
    recorder: Recorder
    stop: asyncio.Event
    _changed: asyncio.Event = field(default_factory=asyncio.Event)
    _workers: dict[Worker, "asyncio.Task[None]"] = field(default_factory=dict)
    _leader: Worker | None = None
    _starts: Starts = field(default_factory=Starts)
    _ready_at: float | None = None
    _next_cause: Cause = Cause.START
    _said: tuple[str, str] = ("", "")
    _numbers: "itertools.count[int]" = field(default_factory=itertools.count)

    async def run(self) -> None:
        """Keep a worker at it until the stop."""
        where = self.recorder.target.where().values()
        async with asyncio.TaskGroup() as group:
            self.recorder.report.waiting("It is being looked for.")
            tasks = [group.create_task(self.recorder.run()), group.create_task(self._manage(group))]
            await self.stop.wait()
            # what is under way is not waited for: an origin that hangs must not hold up the stop
            for task in (*tasks, *self._workers.values()):
                task.cancel()
        _FOLLOWED.labels(*where).set(0)
        _WORKERS.labels(*where).set(0)

    async def _manage(self, group: asyncio.TaskGroup) -> None:
        while True:
            self._changed.clear()
            decision = decide([worker.standing for worker in self._workers])
            self._hand_over(decision)
            if decision.start is None:
                self._ready_at = None
                await self._changed.wait()
                continue
            cause = decision.start if self._workers else self._next_cause
            if (wait := self._wait(cause)) <= 0 or not await pause(self._changed, wait):
                self._start(group, cause)

    def _hand_over(self, decision: Decision) -> None:
        workers = [*self._workers]
        leader = None if decision.leader is None else workers[decision.leader]
        if leader is not None and leader is not self._leader:
            _TOOK_OVER.labels(*self.recorder.target.where().values()).inc()
            log.info("worker_took_over", **self.recorder.target.where(), worker=leader.number)
        self._leader = leader
        for index in decision.retire:
            _RETIRED.labels(*self.recorder.target.where().values()).inc()
            log.info("worker_retired", **self.recorder.target.where(), worker=workers[index].number)
            self._workers.pop(workers[index]).cancel()
        if leader is not None and leader.standing.trouble is None and leader.has_news:
            # all is well: whatever is wrong next is news, and may be over at once
            self._starts.attempts, self._said, leader.has_news = 0, ("", ""), False
        elif leader is not None and leader.standing.trouble in STANDSTILL:
            self._say("stream_in_trouble", leader.reason)
            self.recorder.report.waiting(leader.reason)
        works = leader is not None and leader.standing.trouble not in STANDSTILL
        if works:
            self.recorder.report.following()
        _FOLLOWED.labels(*self.recorder.target.where().values()).set(works)
        _WORKERS.labels(*self.recorder.target.where().values()).set(len(self._workers))

    def _wait(self, cause: Cause) -> float:
        """Give the seconds until the next worker may be started."""
        now = asyncio.get_running_loop().time()
        if self._ready_at is None:
            attempts = self._starts.attempts
            at_once = cause is Cause.START or (self._workers and not attempts)
            wait = 0.0 if at_once else backoff(max(1, attempts), most=_LONGEST_PAUSE)
            self._ready_at = max(now + wait, self._starts.earliest(cause))
        return self._ready_at - now

    def _start(self, group: asyncio.TaskGroup, cause: Cause) -> None:
        self._ready_at = None
        attempt = self._starts.attempts
        self._starts.note(cause, asyncio.get_running_loop().time())
        worker = Worker(next(self._numbers), self.source, self.recorder, self.stop, self._changed, attempt)
        _STARTED.labels(*self.recorder.target.where().values(), cause.value).inc()
        log.info("worker_started", **self.recorder.target.where(), worker=worker.number, cause=cause.value)
        self._workers[worker] = group.create_task(self._work(worker))

    async def _work(self, worker: Worker) -> None:
        """Let a worker work, and take note of its end."""
        try:
            await worker.run()
        except EndedError:
            self._end(worker, Cause.ENDED, "The stream has ended; it is recorded again as soon as it returns.")
        except (OriginError, UnsupportedError) as error:
            self._end(worker, Cause.FAILED, str(error))
        except Exception:  # the edge of a worker: what nobody thought of must not end the other channels
            log.exception("worker_broke", **self.recorder.target.where(), worker=worker.number)
            self._end(worker, Cause.FAILED, "Something went wrong here; the log says what.")
        finally:
            self.recorder.forget(worker.number)

    def _end(self, worker: Worker, cause: Cause, reason: str) -> None:
        self._workers.pop(worker, None)
        self._next_cause = cause
        self._changed.set()
        self._say("worker_failed" if self._workers else "stream_not_recorded", reason)
        if not self._workers:
            self.recorder.report.waiting(reason)

    def _say(self, event: str, reason: str) -> None:
        """Say what is wrong, unless it was said last; that an attempt failed for the known reason is no news."""
        if (event, reason) == self._said or (event == "worker_failed" and reason == self._said[1]):
            return
        self._said = (event, reason)
        level = log.error if event == "stream_not_recorded" else log.warning
        level(event, **self.recorder.target.where(), reason=reason)
