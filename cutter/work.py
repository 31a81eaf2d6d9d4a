"""The work of a cutter: what there is to do is found, claimed, cut, delivered and settled, whatever comes between."""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Coroutine, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final, TypeAlias

import structlog

from common import db
from common.events import Event, Spooled, State
from common.metrics import LONG_SECONDS, counter, gauge, seconds
from common.waits import backoff, begun, in_thread
from cutter.claims import Claim
from cutter.deliver import Post
from cutter.examine import Decision, Refuse, StandBack, Take, check, decide, look
from cutter.gates import Gate
from cutter.make import Workshop, make
from cutter.outcomes import NotNowError, RefusedError, UnclearError
from cutter.rows import Candidate, Claimed, ClaimLostError, Rows
from cutter.statements import CANDIDATES_AT_ONCE
from cutter.thumbnails import thumbnail

log = structlog.get_logger()

_WORKING = gauge("events_under_way", "Events that this cutter works on now.")
_CLAIMS = counter("event_claims", "Events that this cutter has claimed.")
_ENDS = counter("event_claim_ends", "How the work on claimed events ended.", "outcome")

_LAPSED = counter(
    "claims_lapsed",
    "Claims of cutters that fell silent, freed by this one; what the event is now.",
    "state",
    known=(State.EDITED, State.UNEDITED),
)
_QUEUE_WAIT = seconds("event_queue_wait", "From when an event could be claimed to its claim.", buckets=LONG_SECONDS)

# How long the last statements of a cutter that is told to stop may take.
_LAST_WORDS_SECONDS: Final = 3.0

# Not of this node alone: another one may have room, and then nothing is wrong.
_NO_ROOM: Final = "It waits for room in a spool: what lies there waits for its delivery."

# Events that cannot be cut here; of more of them those are forgotten that it is time to look at again.
_REMEMBERED: Final = 20_000


@dataclass(frozen=True, slots=True)
class Terms:
    """How a cutter works. Times that are not said are long enough for a slow database and a slow network.

    `lease`: a claim lapses so long after it was last renewed. `poll`: how often it looks for work that nobody has
    told it of; half as often while it has nothing in mind. `cuts` at once. `tries` of one event before it goes back
    to operators; pauses between them grow from `first` to `most`. `alive`: a cutter seen so recently lives;
    `silence`: after so long its spool is given up. `patience`: for so long somebody may still bring what all nodes
    lack. `stall`, `look_again`: see `cutter.deliver.Post`. `sweep`: how often the spool is looked through for what
    nobody needs.
    """

    lease: timedelta = timedelta(seconds=60)
    poll: timedelta = timedelta(seconds=5)
    cuts: int = 1
    tries: int = 5
    first: timedelta = timedelta(seconds=5)
    most: timedelta = timedelta(minutes=10)
    alive: timedelta = timedelta(seconds=60)
    silence: timedelta = timedelta(minutes=10)
    patience: timedelta = timedelta(minutes=5)
    stall: timedelta = timedelta(minutes=10)
    look_again: timedelta = timedelta(seconds=20)
    sweep: timedelta = timedelta(seconds=60)


Step: TypeAlias = Callable[[Claim], Coroutine[Any, Any, None]]


class Cutter:
    """One cutter: `run` looks for work and does it until told to stop."""

    def __init__(self, rows: Rows, shop: Workshop, gates: Mapping[str, Gate], terms: Terms) -> None:
        """Have nothing under way."""
        self._rows = rows
        self._shop = shop
        self._gates = gates
        self._terms = terms
        self._post = Post(rows, shop, gates, terms.stall, terms.look_again)
        self._jobs: dict[str, asyncio.Task[None]] = {}
        self._claims: dict[str, Claim] = {}
        self._cutting: set[str] = set()
        self._names: dict[str, str] = {}
        self._passed_over: dict[str, tuple[int, float]] = {}
        self._alone = False
        self.wake = asyncio.Event()
        self.looking = asyncio.Event()
        self.something_new = asyncio.Event()
        self.sweep_needed = asyncio.Event()

    # Being told ---------------------------------------------------------------------------------------------------

    def told(self, event: str, state: str) -> None:
        """Hear that an event has changed its state: look for work, or whether a claim is still ours."""
        self.something_new.set()
        if event in self._claims:
            self._claims[event].poked.set()
        if state in {State.EDITED, State.MODIFIED}:
            self._passed_over.pop(event, None)
            self.wake.set()

    @property
    def busy_names(self) -> set[str]:
        """The files of the spool that are being made or delivered now."""
        return {*self._names.values()}

    # The loop -----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event) -> None:
        """Look for work until told to stop; what is under way then is given back."""
        stopping = asyncio.ensure_future(stop.wait())
        woken = True
        try:
            while not stop.is_set():
                self.wake.clear()
                self.looking.set()
                try:
                    if woken or self._without() or await self._rows.something_waits():
                        self.something_new.set()
                        await self._round()
                except db.AWAY as error:
                    log.warning("database_away", reason=str(error) or type(error).__name__)
                waking = asyncio.ensure_future(self.wake.wait())
                pause = self._terms.poll.total_seconds() * random.uniform(0.75, 1.25) * (1 if self._without() else 2)
                await asyncio.wait({stopping, waking}, timeout=pause, return_when=asyncio.FIRST_COMPLETED)
                woken = waking.done()
                waking.cancel()
        finally:
            stopping.cancel()
            jobs = [*self._jobs.values()]
            for job in jobs:
                job.cancel()
            if jobs:
                await asyncio.wait(jobs)

    async def _round(self) -> None:
        """Begin all that can be begun now."""
        await self._see_to_others()
        while (candidate := await self._next()) is not None:
            claimed = None
            try:
                claimed = await self._rows.claim(candidate.event, self._terms.lease)
            finally:
                if claimed is None:
                    self._give_up_room(candidate.event.id)
            if claimed is None:
                self._pass_over(candidate.event, 1)
                continue
            log.info("event_claimed", id=claimed.event.id, attempt=claimed.event.attempts)
            _CLAIMS.inc()
            _QUEUE_WAIT.observe(max(0.0, candidate.waited))
            self._begin(claimed, self._make_and_deliver, cuts=not self._has_file(claimed.event))

    async def _see_to_others(self) -> None:
        """See to what others have left, or what waits for a location."""
        patience = self._terms.silence
        events = await self._rows.unsettled(patience=patience, without=self._without())
        if any(event.state is State.CLAIMED for event in events):
            for freed, state in (await self._rows.free_lapsed(self._terms.tries)).items():
                log.warning("claim_lapsed", id=freed, state=state)
                _LAPSED.labels(state).inc()
        if any(event.state is State.DONE for event in events) and (outdated := await self._rows.outdated()):
            log.info("videos_outdated", events=outdated)
        steps: dict[State, Step] = {
            State.FINALIZING: self._post.settle,
            State.TRANSCODING: self._post.look_after,
            State.MODIFIED: self._post.modify,
        }
        for event in events:
            if event.state not in steps:
                continue
            if event.upload_location not in self._gates:
                self._pass_over(event, None)
                await self._rows.remark(event, f"No cutter that looked at it knows {event.upload_location}.")
            elif self._gates[event.upload_location].away:
                self._pass_over(event, 1)
            else:
                claimed = await self._rows.take(event, self._terms.lease)
                if claimed is not None:
                    self._begin(claimed, steps[event.state], cuts=False)

    async def _next(self) -> Candidate | None:
        """Give the next event that can be begun here, with room for it: in the spool, or at its location."""
        while True:
            can_cut = len(self._cutting) < self._terms.cuts
            closed = [name for name, each in self._gates.items() if not each.open]
            if not can_cut and len(closed) == len(self._gates):
                return None
            asked = time.monotonic()
            found = await self._rows.candidates(
                cut=can_cut, closed=closed, silence=self._terms.silence, without=self._without()
            )
            self._tell_gates(found, closed, asked)
            for candidate in found:
                if self._has_file(candidate.event):
                    if self._gates[candidate.event.upload_location].reserve(candidate.event.id):
                        return candidate
                elif await self._examined(candidate):
                    return candidate
            if not found:
                return None

    def _tell_gates(self, found: Sequence[Candidate], closed: Collection[str], asked: float) -> None:
        """Tell the gates whether finished files wait, as far as these candidates show it."""
        waited_for = {each.event.upload_location for each in found if self._has_file(each.event)}
        for name, gate in self._gates.items():
            if name in waited_for or (name not in closed and len(found) < CANDIDATES_AT_ONCE):
                gate.looked(asked, waits=name in waited_for)

    def _has_file(self, event: Event) -> bool:
        """Tell whether the file of an event is to lie here, and can go from here."""
        here = event.spool is not None and event.spool.folder == self._shop.spool.folder
        return here and event.upload_location in self._gates

    # Whether it can be made here ----------------------------------------------------------------------------------

    async def _examined(self, candidate: Candidate) -> bool:
        """Tell whether an event can be cut here; if not, it is told why, and looked at again later."""
        event = candidate.event
        decision = await self._decided(candidate)
        if isinstance(decision, Take):
            room = await in_thread(self._shop.spool.room)
            if room >= decision.size:
                self._shop.spool.promise(event.id, decision.size)
                return True
            log.warning("spool_full", id=event.id, needed_bytes=decision.size, room_bytes=room)
            await self._rows.remark(event, _NO_ROOM)
            self._pass_over(event, 4)
            return False
        if isinstance(decision, Refuse):
            log.info("event_refused", id=event.id, reason=decision.why)
            await self._rows.refuse_examined(event, decision.why)
            self._pass_over(event, 1)
            return False
        self._pass_over(event, 1 if decision.passing else None)
        await self._rows.lacks(event, decision.why)
        if not decision.passing and await self._rows.hopeless(
            event, decision.why, alive=self._terms.alive, patience=self._terms.patience
        ):
            log.info("event_refused", id=event.id, reason=decision.why)
        return False

    async def _decided(self, candidate: Candidate) -> Decision:
        event = candidate.event
        gate = self._gates.get(event.upload_location)
        if gate is None:
            known = ", ".join(sorted(self._gates))
            return StandBack(f"There is no upload location {event.upload_location!r}; there are {known}.")
        if (wrong := check(event, gate.location.settings)) is not None:
            return Refuse(wrong)
        try:
            found = await in_thread(look, self._shop.store, self._shop.facts, event)
        except OSError as error:
            return StandBack(f"The store cannot be read: {error.strerror or error}.")
        if isinstance(found, Refuse):
            return found
        waited = timedelta(seconds=candidate.waited)
        return decide(event, found, waited, alone=self._alone, now=datetime.now(UTC))

    def _pass_over(self, event: Event, polls: int | None) -> None:
        """Look at an event again after so many polls; None: after ever longer times."""
        times = self._passed_over.get(event.id, (0, 0.0))[0] + 1
        pause = self._terms.poll.total_seconds() * (polls or min(12.0, 0.5 * 2.0 ** min(times - 1, 6)))
        self._passed_over[event.id] = (times, asyncio.get_running_loop().time() + pause)

    def _without(self) -> set[str]:
        """Give the events that are not to be looked at now."""
        now = asyncio.get_running_loop().time()
        if len(self._passed_over) > _REMEMBERED:
            self._passed_over = {event: each for event, each in self._passed_over.items() if each[1] > now}
        return {event for event, (_, until) in self._passed_over.items() if until > now} | {*self._jobs}

    # One event ----------------------------------------------------------------------------------------------------

    def _begin(self, claimed: Claimed, step: Step, *, cuts: bool) -> None:
        event = claimed.event.id
        self._passed_over.pop(event, None)
        self._claims[event] = Claim(self._rows, claimed, self._terms.lease)
        if cuts:
            self._cutting.add(event)
        self._jobs[event] = asyncio.create_task(self._job(self._claims[event], step), name=f"event {event}")
        _WORKING.set(len(self._jobs))

    async def _job(self, claim: Claim, step: Step) -> None:
        """Do a step for an event that is ours, and write how it ended."""
        event, outcome = claim.event.id, "failed"
        # of this task, and so of all that is logged for it, the runs of ffmpeg too
        structlog.contextvars.bind_contextvars(id=event, attempt=claim.event.attempts)
        try:
            outcome = await self._ended(claim, step)
        except ClaimLostError:
            outcome = "lost"
            log.warning("claim_lost", id=event)
        except asyncio.CancelledError:
            outcome = "stopped"
            await self._released(claim)
            raise
        except Exception:
            # the edge of the work on one event: the others go on; the lease lapses
            log.exception("event_failed", id=event)
        finally:
            _ENDS.labels(outcome).inc()
            self._forget(event)
            gate = self._gates.get(claim.event.upload_location)
            if gate is not None and gate.away:
                self._look_in(gate.left)

    async def _ended(self, claim: Claim, step: Step) -> str:
        """Do the step; what stops it is written to the row. Raises ClaimLostError."""
        try:
            await claim.work(step(claim))
        except NotNowError as error:
            await self._again(claim, error)
            return "again"
        except RefusedError as error:
            log.info("event_refused", id=claim.event.id, reason=str(error))
            await self._rows.refuse(claim.claimed, str(error))
            return "refused"
        except UnclearError as error:
            await self._rows.park(claim.claimed, str(error) or None, error.pause)
            self._look_in(error.pause)
            return "waits"
        except (ClaimLostError, asyncio.CancelledError):
            raise
        except Exception:
            # whatever nobody thought of must not leave an event where it is
            log.exception("event_failed", id=claim.event.id)
            await self._unforeseen(claim)
            return "failed"
        return "done"

    async def _unforeseen(self, claim: Claim) -> None:
        """Give an event back after an error that nobody thought of; of a video that may be out, ask."""
        sentence = f"It failed for a reason that nobody thought of: see the log of the cutter on {self._rows.node}."
        if claim.public or claim.event.state is not State.CLAIMED:
            await self._rows.park(claim.claimed, sentence, self._pause(claim.event.attempts))
        else:
            await self._again(claim, NotNowError(sentence))

    async def _again(self, claim: Claim, error: NotNowError) -> None:
        """Let it be tried again, unless it was tried too often."""
        event = claim.event
        if error.counts and event.attempts >= self._terms.tries:
            await self._rows.refuse(
                claim.claimed, f"{error} It was tried {event.attempts} times; edit it to try again."
            )
            return
        pause = self._pause(event.attempts) if error.pause is None else error.pause
        await self._rows.give_back(claim.claimed, str(error), pause, counts=error.counts, anew=error.anew)
        self._look_in(pause)
        if error.lacking:
            await self._rows.lacks(event, str(error))

    def _look_in(self, pause: timedelta) -> None:
        """Look for work when a pause is over, if that is before the next look."""
        if pause < 2 * self._terms.poll:
            asyncio.get_running_loop().call_later(pause.total_seconds(), self.wake.set)

    def _pause(self, attempts: int) -> timedelta:
        first, most = self._terms.first.total_seconds(), self._terms.most.total_seconds()
        return timedelta(seconds=backoff(max(1, attempts), first=first, most=most))

    async def _released(self, claim: Claim) -> None:
        """Give an event up because we stop; what cannot be said in time, its lease will say."""
        # in a task of its own, since this one has been cancelled, and a failure would be taken for that
        saying = begun(self._rows.release(claim.claimed))
        await asyncio.wait({saying}, timeout=_LAST_WORDS_SECONDS)
        saying.cancel()
        error = saying.exception() if saying.done() and not saying.cancelled() else TimeoutError("no answer")
        if error is not None:
            log.warning("claim_not_released", id=claim.event.id, reason=str(error) or type(error).__name__)

    def _forget(self, event: str) -> None:
        self._give_up_room(event)
        self._cutting.discard(event)
        for known in (self._jobs, self._claims, self._names):
            known.pop(event, None)
        _WORKING.set(len(self._jobs))
        self.sweep_needed.set()
        self.wake.set()

    def _give_up_room(self, event: str) -> None:
        self._shop.spool.forget(event)
        for gate in self._gates.values():
            gate.leave(event)

    async def _make_and_deliver(self, claim: Claim) -> None:
        """Cut an event, unless its file is here, and deliver it."""
        event = claim.event
        gate = self._gates[event.upload_location]
        spooled = event.spool if await self._is_here(event) else None
        if spooled is None:
            gate.leave(event.id)
            self._cutting.add(event.id)
            spooled = await self._made(claim, gate)
            if event.spool is not None:  # what was said when the upload was begun, if it was
                spooled = replace(spooled, said=event.spool.said)
        self._cutting.discard(event.id)
        self.wake.set()
        await self._post.deliver(claim, spooled, event.upload_session)

    async def _is_here(self, event: Event) -> bool:
        """Tell whether the file of an event lies in our spool as it was."""
        if event.spool is None or not self._has_file(event):
            return False
        self._names[event.id] = event.spool.name
        try:
            if await in_thread(self._shop.spool.holds, event.spool):
                return True
        except OSError as error:
            raise NotNowError(
                f"The finished file cannot be read: {error.strerror or error} ({self._rows.node})."
            ) from error
        log.warning("spooled_file_gone", id=event.id, name=event.spool.name)
        return False

    async def _made(self, claim: Claim, gate: Gate) -> Spooled:
        """Make the video of an event, and write that it is made."""
        event, settings = claim.event, gate.location.settings
        await thumbnail(self._rows, self._shop, event)  # what is wrong with it is said before the work is done

        def named(name: str) -> None:
            self._names[event.id] = name

        spooled = await make(self._shop, event, settings, named=named, progress=claim.show)
        if settings.most_bytes is not None and spooled.size > settings.most_bytes:
            raise RefusedError(
                f"The video has {spooled.size:,} bytes, {gate.location.name} takes {settings.most_bytes:,} at most: "
                "make its ranges shorter, or choose another type of cut."
            )
        claim.progress = None
        await self._rows.spooled(claim.claimed, spooled)
        return spooled

    # Upkeep -------------------------------------------------------------------------------------------------------

    async def announce(self) -> None:
        """Say that this cutter lives. Raises one of `db.AWAY`."""
        limits = {name: gate.location.settings.limits for name, gate in self._gates.items()}
        self._alone = await self._rows.announce(limits, self._terms.alive)

    async def sweep(self) -> None:
        """Remove the files to which no row refers any more. Raises one of `db.AWAY`, and OSError."""
        # in this order: a file that is there now and is not used now will never be referred to unless it is already
        busy = self.busy_names
        names = await in_thread(self._shop.spool.names)
        keep = await self._rows.spool_names() | busy | self.busy_names
        gone = await in_thread(self._shop.spool.remove_others, names, keep)
        if gone:
            log.info("spool_swept", files=len(gone))
