"""Retention as it happens: looking, deciding, deleting; once a minute by the librarian, once by `respool expire`."""

import asyncio
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import structlog

from common import metrics
from common.dateutil import hour_name, is_hour, parse_hour
from common.expired import Expired
from common.lifetimes import Guarded, Limits, Policy, Protection
from common.missing import FOLDER as MISSING
from common.recorder_state import known_recorders, read_state
from common.store import Store
from common.waits import in_thread, pause
from librarian.clock import SteadyClock
from librarian.deletion import Queue, delete, drop_tombstones, forget_missing
from librarian.needed import Needs
from librarian.retention import Going, Plan, Reason, Situation, StoredHour, decide, space_before, wanted_again
from librarian.sizes import Sizes

log = structlog.get_logger()

# A minute of recording is some hundred megabytes at most; a look costs a stat for each hour there is.
EVERY_SECONDS = 60.0

# How often a policy that stays as it is is written again, so that others see that it still holds.
_CONFIRM_EVERY = timedelta(minutes=10)

# Between two pieces of removing the disk is left to others for as long as the last one took, and so long at least.
_REST_SECONDS = 0.05

_DELETED_HOURS = metrics.counter("retention_deleted_hours", "Hours deleted, by reason.", "reason")
_DELETED_BYTES = metrics.counter("retention_deleted_bytes", "Bytes of hours deleted, by reason.", "reason")
_FAILED = metrics.counter("retention_failures", "Looks or deletions that failed.")
_QUEUED = metrics.gauge("retention_queue_hours", "Hours deleted whose files are still being removed.")
_QUEUED_BYTES = metrics.gauge("retention_queue_bytes", "Bytes that are still being removed.")
_STORE = metrics.gauge("retention_store_bytes", "Bytes of all hours.")
_PROTECTED = metrics.gauge("retention_protected_bytes", "Bytes of hours that events or keeps need.")
_EXCESS = metrics.gauge("retention_excess_bytes", "Bytes that should be deleted for room, and may not.")
_KNOWN = metrics.gauge(
    "retention_needs_known_timestamp_seconds", "When the database last told what is needed; 0: never."
)
_SUCCESS = metrics.gauge("retention_last_success_timestamp_seconds", "When all that was to go had gone.")


@dataclass(frozen=True, slots=True)
class Survey:
    """A store at a moment, what its policy makes of it, and the hours of which only tombstones are left."""

    situation: Situation
    policy: Policy
    plan: Plan
    graves: tuple[StoredHour, ...]
    size: int


class Expiry:
    """The retention of one store."""

    def __init__(
        self,
        store: Store,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
        elapsed: Callable[[], float] | None = None,
    ) -> None:
        """Have looked at nothing yet; `now` gives the time, aware UTC.

        With `elapsed`, seconds by a clock that nobody sets, ages are told by a SteadyClock.
        """
        self.store = store
        self.queue = Queue(store)
        self.expired = Expired(store.base, lambda: self._believe(now()))
        self._elapsed = elapsed
        self._steady: SteadyClock | None = None
        self.queued = asyncio.Event()
        self._now = now
        self._sizes = Sizes(store)
        self._excess = 0
        self._refused: set[str] = set()
        self._last: Policy | None = None
        self._written = now()

    # As a service ----------------------------------------------------------------------------------------------------

    async def run(self, limits: Limits, needs: Needs, stop: asyncio.Event, every: float = EVERY_SECONDS) -> None:
        """Keep to the limits until told to stop; what fails is tried again."""
        while not stop.is_set():
            needed = await _ask(needs, stop)
            if stop.is_set():
                break
            try:
                await in_thread(self.keep_to, limits, needed, stop.is_set)
            except OSError as error:
                _FAILED.inc()
                log.warning("retention_failed", reason=str(error))
            if await in_thread(self.queue.entries):
                self.queued.set()
            await pause(stop, every)
        await in_thread(self._sizes.save)

    async def empty_queue(self, stop: asyncio.Event) -> None:
        """Remove what is in the queue, in small pieces with rests between them, until told to stop."""
        while not stop.is_set():
            began = time.monotonic()
            try:
                found = await in_thread(self._remove_some)
            except OSError as error:
                found = False
                _FAILED.inc()
                log.warning("queue_unreadable", reason=str(error))
            if found:
                await pause(stop, max(_REST_SECONDS, time.monotonic() - began))
                continue
            self.queued.clear()
            waiting = [asyncio.ensure_future(each.wait()) for each in (self.queued, stop)]
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in waiting:
                each.cancel()

    def _remove_some(self) -> bool:
        found = self.queue.remove_some()
        self._count_queue()
        return found

    def _count_queue(self) -> None:
        _QUEUED.set(len(self.queue.entries()))
        _QUEUED_BYTES.set(self.queue.size())

    # The steps, which block ------------------------------------------------------------------------------------------

    def keep_to(
        self, limits: Limits, needed: tuple[Protection, ...] | None, enough: Callable[[], bool] = lambda: False
    ) -> bool:
        """Delete what goes by these limits; `needed` None: what was last known of it holds. False: not all was done."""
        with self.expired.writing():
            if limits == Limits():  # nothing goes, so nothing need be looked at
                policy = self._policy(limits, needed, self._now())
                self._want_again(policy)
                self._confirm(replace(policy, space_before=None))
                return True
            survey = self.survey(limits, needed, enough)
            if survey is None:
                return False
            if not self.carry_out(survey, enough):
                self._confirm(survey.policy)  # what is needed is known all the same
                return False
            before = space_before(survey.policy.space_before, survey.plan, survey.situation, limits)
            self._confirm(replace(survey.policy, space_before=before))
        _SUCCESS.set(self._now().timestamp())
        return True

    def delete_now(self, limits: Limits, needed: tuple[Protection, ...] | None) -> tuple[Plan, bool]:
        """Delete what goes by these limits, files and all, once; give what that was, and whether all of it went.

        What the librarian keeps to is left as it is.
        """
        with self.expired.writing():
            survey = self.survey(limits, needed)
            assert survey is not None, "it was not broken off"  # noqa: S101 - for the types
            done = self.carry_out(survey)
        while self.queue.remove_some():
            pass
        return survey.plan, done

    def _policy(self, limits: Limits, needed: tuple[Protection, ...] | None, now: datetime) -> Policy:
        policy = replace(self._last or self.expired.policy(), limits=limits)
        if needed is not None:
            return replace(policy, known=now, protections=needed)
        # by a clock that was ahead then: what has been recorded since is not to count as known
        is_ahead = policy.known is not None and policy.known > now
        return replace(policy, known=None) if is_ahead else policy

    def _believe(self, now: datetime) -> datetime:
        """Give the time by which ages are told."""
        if self._elapsed is None:
            return now
        if self._steady is None:
            self._steady = SteadyClock(self.expired.confirmed_at(), self._elapsed)
        return self._steady.believe(now)

    def _confirm(self, policy: Policy) -> None:
        """Have the policy in force, and on disk if it has changed or was not written for some time."""
        last, self._last = self._last, policy
        changed = last is None or replace(policy, known=None) != replace(last, known=None)
        if changed or abs(self._now() - self._written) > _CONFIRM_EVERY:
            self._written = self._now()
            self.expired.write_policy(policy)

    def survey(
        self, limits: Limits, needed: tuple[Protection, ...] | None, enough: Callable[[], bool] = lambda: False
    ) -> Survey | None:
        """Look at all hours and decide; None if there was `enough` of it before."""
        policy = self._policy(limits, needed, now := self._now())
        found = self._sizes.look(enough)
        if found is None:
            return None
        graves = tuple(hour for hour in found if not hour.files and hour.tombstones)
        hours = sorted(set(found).difference(graves))
        free = _free(self.store.base) + self.queue.size()
        recording = [
            each for each in known_recorders(self.store) if (read_state(self.store, *each) or (None, False))[1]
        ]
        situation = Situation(hours, self._believe(now), free, recording)
        plan = decide(situation, policy)
        self._show(plan, policy, situation)
        return Survey(situation, policy, plan, graves, sum(hour.size for hour in hours))

    def carry_out(self, survey: Survey, enough: Callable[[], bool] = lambda: False) -> bool:
        """Delete what goes, hour by hour, while holding `expired.writing()`; tell whether all of it was done."""
        self._want_again(survey.policy)
        done = True
        for going in survey.plan.going:
            if enough():
                return False
            done = self._delete(going) and done
        self._tend_graves(survey)
        self._forget_missing(survey)
        return done

    def _delete(self, going: Going) -> bool:
        hour = going.hour
        try:
            deleted = delete(self.store, self.expired, hour)
        except OSError as error:
            _FAILED.inc()
            if hour.name not in self._refused:  # it is tried again each minute
                self._refused.add(hour.name)
                log.warning("hour_not_deleted", hour=hour.name, reason=str(error))
            return False
        if deleted:
            _DELETED_HOURS.labels(going.reason.value).inc()
            _DELETED_BYTES.labels(going.reason.value).inc(hour.size)
            log.info("hour_deleted", hour=hour.name, bytes=hour.size, reason=going.reason.value)
        return True

    def _want_again(self, policy: Policy) -> None:
        """Take back the marks of hours that somebody has come to need, so that other nodes' copies are fetched."""
        for channel, quality in self.expired.qualities():
            hours = wanted_again(policy, self.expired.deleted(channel, quality), channel, quality)
            if hours:
                self.expired.lift(channel, quality, hours)
                log.info("hours_wanted_again", channel=channel, quality=quality, hours=len(hours))

    def _tend_graves(self, survey: Survey) -> None:
        """Remove tombstones whose time is over."""
        policy, now = survey.policy, survey.situation.now
        for hour in survey.graves:
            marked = hour_name(hour.start) in self.expired.hours(hour.channel, hour.quality)
            past = policy.known is not None and policy.is_past(hour.channel, hour.quality, hour.start, now)
            if marked or (past and hour.start not in Guarded(policy.protections, hour.channel, hour.quality)):
                try:
                    drop_tombstones(self.store, self.expired, hour, now)
                except OSError as error:
                    log.warning("hour_not_deleted", hour=hour.name, reason=str(error))

    def _forget_missing(self, survey: Survey) -> None:
        """Remove what was noted of hours of which nothing was recorded, when they are as old as what goes."""
        there = {(hour.channel, hour.quality, hour.start) for hour in survey.situation.hours}
        for folder in (self.store.base / MISSING).glob("[!.]*/[!.]*"):
            channel, quality = folder.parent.name, folder.name
            limit = survey.policy.limits.age(channel, quality)
            if limit is not None:
                oldest = hour_name(survey.situation.now - limit)
                old = [path.name for path in folder.iterdir() if path.name < oldest and is_hour(path.name)]
                gone = [name for name in old if (channel, quality, parse_hour(name)) not in there]
                forget_missing(self.store, channel, quality, gone)

    def _show(self, plan: Plan, policy: Policy, situation: Situation) -> None:
        _STORE.set(sum(hour.size for hour in situation.hours))
        _PROTECTED.set(plan.protected)
        _EXCESS.set(plan.excess)
        _KNOWN.set(policy.known.timestamp() if policy.known is not None else 0)
        self._count_queue()
        if plan.excess and not self._excess:
            why = next(
                (each.why for each in plan.staying if each.reason is not Reason.AGE), "nothing is left to delete"
            )
            log.error("store_too_full", excess_bytes=plan.excess, reason=why)
        self._excess = plan.excess


async def _ask(needs: Needs, stop: asyncio.Event) -> tuple[Protection, ...] | None:
    """Ask what is needed, for as long as that takes, or until told to stop."""
    asking, stopping = asyncio.ensure_future(needs.ask()), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({asking, stopping}, return_when=asyncio.FIRST_COMPLETED)
        return asking.result() if asking.done() else None
    finally:
        for each in (asking, stopping):
            each.cancel()
        await asyncio.wait({asking, stopping})


def _free(base: Path) -> int:
    disk = os.statvfs(base)
    return disk.f_bavail * disk.f_frsize
