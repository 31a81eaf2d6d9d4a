"""One node: gone through again and again, in passes; the pauses grow while it fails, and it comes back by itself."""

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Collection
from concurrent.futures import Executor
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TypeVar

import structlog

from backfiller import numbers
from backfiller.difference import Why
from backfiller.extras import fetch_extras, fetch_histories
from backfiller.fetches import Fetches, Source
from backfiller.outcomes import LIES, NodeError, Outcome
from backfiller.survey import Look, Survey
from backfiller.transfer import Place, make_tombstones, no_room, sync
from common.waits import backoff, pause

log = structlog.get_logger()

T = TypeVar("T")

# Hours that are looked at while others are still being fetched, so that a long way to the node costs little.
_HOURS_AT_ONCE = 4

_FIRST_PAUSE_SECONDS = 5.0
_LONGEST_PAUSE_SECONDS = 300.0


@dataclass(slots=True)
class Pass:
    """What one pass over a node did: segments fetched and not, tombstones made, names left there by reason."""

    hours: int = 0
    fetched: int = 0
    failed: Counter[Outcome] = field(default_factory=Counter)
    tombstones: int = 0
    extras: int = 0
    passed_over: Counter[Why] = field(default_factory=Counter)


@dataclass(slots=True)
class Worker:
    """What brings what a node has into our store. `executor` is for comparing, `extras` are folders to fetch whole.

    `histories`: kept playlists are fetched, too. `reserve` bytes of the disk are left free.
    """

    source: Source
    survey: Survey
    fetches: Fetches
    executor: Executor
    every_seconds: float
    extras: tuple[str, ...] = ()
    histories: bool = False
    reserve: int = 0
    rand: Callable[[], float] = random.random
    _unread: set[Place] = field(default_factory=set)

    @property
    def name(self) -> str:
        """What the node is called."""
        return self.source.peer.name

    async def run(self, stop: asyncio.Event) -> None:
        """Go through the node until the stop."""
        failures = 0
        try:
            while not stop.is_set():
                error = await self._try_pass(failures)
                if error is None:
                    failures = 0
                    # nodes that were started together drift apart
                    await pause(stop, self.every_seconds * (0.9 + 0.2 * self.rand()))
                    continue
                failures += 1
                first = min(_FIRST_PAUSE_SECONDS, self.every_seconds)
                grown = backoff(failures, first=first, most=_LONGEST_PAUSE_SECONDS, rand=self.rand)
                await pause(stop, max(grown, self.source.standing.away_seconds))
        finally:
            self.source.peer.close()

    async def _try_pass(self, failures: int) -> NodeError | None:
        """Make a pass; give the error that ended it, which is logged once until the node is well again."""
        try:
            await self.go_through()
        except NodeError as error:
            if error.outcome is Outcome.STOPPED:
                return error
            numbers.AWAY.labels(self.name).set(1)
            if not failures:
                log.warning("node_failed", node=self.name, outcome=error.outcome.value, reason=str(error))
            return error
        numbers.AWAY.labels(self.name).set(0)
        if failures:
            log.info("node_returned", node=self.name, failures=failures)
        return None

    async def go_through(self) -> Pass:
        """Make one pass over all that the node has, newest hours first. Raises NodeError if it cannot be finished."""
        began = time.monotonic()
        done = Pass()
        result = "failed"
        try:
            await self._go_through(done)
            result = "ended"
        except NodeError as error:
            if not self.source.standing.away_seconds:
                self._has_lied(error)
            raise
        except OSError as error:
            raise no_room(error) from error
        finally:
            numbers.PASSES.labels(self.name, result).observe(time.monotonic() - began)
            if done.hours or done.extras:
                self._log(done, result)
        numbers.LAST_PASS.labels(self.name).set(datetime.now(UTC).timestamp())
        for why in Why:
            numbers.PASSED_OVER.labels(self.name, why.value).set(done.passed_over[why])
        return done

    async def _go_through(self, done: Pass) -> None:
        failed: list[NodeError] = []
        try:
            async with asyncio.TaskGroup() as group:
                await self._go_through_hours(group, done)
        except* NodeError as errors:
            failed += _leaves(errors)
        if failed:
            raise failed[0]
        await self._aside(self.survey.finish)
        if self.extras or self.histories:
            done.extras = await self._aside(self._fetch_extras)
            numbers.EXTRAS.labels(self.name).inc(done.extras)

    async def _go_through_hours(self, group: asyncio.TaskGroup, done: Pass) -> None:
        """Bring the hours that differ, the newest first.

        Where that takes long, as after days away, what has become missing meanwhile is looked for as often as else.
        """
        loop = asyncio.get_running_loop()
        running: dict[asyncio.Task[None], Place] = {}
        places = deque(await self._aside(self.survey.differing))
        again = loop.time() + self.every_seconds
        while places or running:
            while places and _may_begin(places[0], running.values()):
                place = places.popleft()
                running[group.create_task(self._hour(place, done))] = place
            waiting = max(0.0, again - loop.time())
            ended, _ = await asyncio.wait(running, timeout=waiting, return_when=asyncio.FIRST_COMPLETED)
            for task in ended:
                del running[task]
            if loop.time() >= again and (places or running):
                found, under_way = await self._aside(self.survey.differing), set(running.values())
                places = deque(place for place in found if place not in under_way)
                again = loop.time() + self.every_seconds

    async def _hour(self, place: Place, done: Pass) -> None:
        """Bring one hour to what the node has of it."""
        try:
            look = await self._aside(lambda: self._look(place))
        except NodeError as error:
            if error.outcome not in _OF_AN_HOUR or self._has_lied(error):
                raise
            log.warning("hour_not_listed", node=self.name, **place._asdict(), reason=str(error))
            done.failed[error.outcome] += 1
            return
        except OSError as error:  # such as a file in the place of the hour: no reason to leave the others
            done.failed[Outcome.NO_ROOM] += 1
            if place not in self._unread:
                self._unread.add(place)
                log.warning("hour_not_compared", **place._asdict(), reason=str(error))
            return
        if look is None:
            return
        difference = look.difference
        done.passed_over.update(difference.passed_over)
        done.tombstones += len(difference.tombstones)
        outcomes: dict[str, Outcome] = {}
        if difference.fetch:
            outcomes = await self.fetches.fetch(self.source, place, difference.fetch)
        fetched = [name for name, outcome in outcomes.items() if outcome is Outcome.FETCHED]
        await self._aside(lambda: self._settle(look, fetched))
        done.hours += bool(difference.fetch or difference.tombstones)
        done.fetched += len(fetched)
        done.failed.update(each for each in outcomes.values() if each not in (Outcome.FETCHED, Outcome.UNWANTED))
        for outcome in (Outcome.AWAY, Outcome.NO_ROOM, Outcome.STOPPED):
            if outcome in outcomes.values():
                raise NodeError(_ENDS[outcome], outcome)
        if self.source.standing.away_seconds:
            lie = next((outcome for outcome in outcomes.values() if outcome in LIES), Outcome.REFUSED)
            raise NodeError("It lies, and nothing more is asked of it for now.", lie)

    def _has_lied(self, error: NodeError) -> bool:
        """Note a lie, if it was one; tell whether the node is put away for it."""
        put_away = error.outcome in LIES and self.source.standing.lied()
        if put_away:
            log.warning("node_put_away", node=self.name, seconds=round(self.source.standing.away_seconds))
        return put_away

    def _fetch_extras(self) -> int:
        peer, store = self.source.peer, self.survey.store
        fetched = sum(fetch_extras(peer, folder, store, self.reserve) for folder in self.extras)
        if self.histories:
            fetched += sum(fetch_histories(peer, *each, store, self.reserve) for each in self.survey.qualities)
        return fetched

    def _look(self, place: Place) -> Look | None:
        look = self.survey.look(place)
        if look is not None and look.difference.tombstones:
            make_tombstones(place, look.difference.tombstones, self.survey.store, reserve=self.reserve)
            numbers.TOMBSTONES.labels(self.name).inc(len(look.difference.tombstones))
        return look

    def _settle(self, look: Look, fetched: list[str]) -> None:
        if fetched:
            sync(look.place, self.survey.store)
        self.survey.settle(look, fetched)

    async def _aside(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self.executor, work)

    def _log(self, done: Pass, result: str) -> None:
        log.info(
            "node_gone_through",
            node=self.name,
            result=result,
            hours=done.hours,
            fetched=done.fetched,
            tombstones=done.tombstones,
            extras=done.extras,
            failed={outcome.value: count for outcome, count in done.failed.items()},
            passed_over={why.value: count for why, count in done.passed_over.items() if why is not Why.HERE},
        )


_ENDS = {
    Outcome.AWAY: "It went away while it was asked for segments.",
    Outcome.NO_ROOM: "The disk here refuses what it has.",
    Outcome.STOPPED: "We are to stop.",
}


# What one hour's listing may be, while the others are as they should be.
_OF_AN_HOUR = LIES | {Outcome.REFUSED}


def _may_begin(place: Place, under_way: Collection[Place]) -> bool:
    """Tell whether an hour is looked at now: one that is newer than all others does not wait for a turn."""
    if len(under_way) < _HOURS_AT_ONCE:
        return True
    return len(under_way) < 2 * _HOURS_AT_ONCE and all(place.hour > other.hour for other in under_way)


def _leaves(group: ExceptionGroup[NodeError]) -> list[NodeError]:
    found: list[NodeError] = []
    for each in group.exceptions:
        found += _leaves(each) if isinstance(each, ExceptionGroup) else [each]
    return found
