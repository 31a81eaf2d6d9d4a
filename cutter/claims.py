"""Claims: an event is ours as long as we renew its lease, and what we do for it ends as soon as it is not."""

import asyncio
import time
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final

import structlog

from common import db
from common.events import Event
from common.metrics import counter
from common.waits import begun
from cutter.rows import Claimed, ClaimLostError, Rows

log = structlog.get_logger()

# A lease is renewed so often in its time; nothing that may make a video public goes on after so much of it has passed.
_RENEWALS: Final = 4
_SAFE_SHARE: Final = 0.75

# Operators want to see it move; the database has other things to do.
_PROGRESS_SECONDS: Final = 1.0

_LOST = counter("claims_lost", "Events that were taken from us while we worked on them.")


@dataclass(slots=True)
class Claim:
    """An event that is ours. `public`: what is done now may make its video public, and must end when the lease does.

    `settling`: its last statement is on its way, after which it is not ours any more; that tells whether it was.
    `progress` may be set at any time; it reaches the row within a second or two.
    """

    rows: Rows
    claimed: Claimed
    lease: timedelta
    public: bool = False
    settling: bool = False
    progress: float | None = None
    renewed: float = field(default_factory=time.monotonic)
    poked: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def event(self) -> Event:
        """The event as it was when it was claimed."""
        return self.claimed.event

    def show(self, share: float) -> None:
        """Let operators see how much of the present step is done."""
        self.progress = share

    async def work(self, job: Coroutine[Any, Any, None]) -> None:
        """Do a job for the event. Raises what it raises; ClaimLostError as soon as the event is not ours any more.

        The job has then ended, as it has when this is cancelled.
        """
        tasks = [begun(each) for each in (job, self._keep(), self._tell())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            ended = tasks[0].done()
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        for task in tasks[:1] if ended else tasks[1:]:
            if not task.cancelled():
                await task  # raises what it raised
        if not ended:
            _LOST.inc()
            raise ClaimLostError

    @property
    def _pause(self) -> float:
        return self.lease.total_seconds() / _RENEWALS

    async def _keep(self) -> None:
        """Renew the lease until that is no longer possible."""
        pause = self._pause
        while True:
            await self._rest(pause)
            try:
                pause = self._pause if await self._renew() else self._pause / 4
            except ClaimLostError:
                if not self.settling:
                    return
            if self.public and time.monotonic() - self.renewed > _SAFE_SHARE * self.lease.total_seconds():
                log.warning("lease_not_renewed", id=self.event.id)
                return

    async def _renew(self) -> bool:
        """Try once; tells whether the database has heard it. Raises ClaimLostError."""
        asked = time.monotonic()
        try:
            if not await _within(self._pause, self.rows.renew(self.claimed, self.lease)):
                log.warning("lease_not_heard", id=self.event.id, reason="no answer")
                return False
        except db.AWAY as error:
            log.warning("lease_not_heard", id=self.event.id, reason=str(error) or type(error).__name__)
            return False
        self.renewed = asked
        return True

    async def _rest(self, seconds: float) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.poked.wait()
        self.poked.clear()

    async def _tell(self) -> None:
        """Write the progress to the row. Never ends: what cannot be written is of no importance."""
        told = None
        while True:
            await asyncio.sleep(_PROGRESS_SECONDS)
            if (share := self.progress) != told and share is not None:
                with suppress(*db.AWAY, ClaimLostError):
                    await self.rows.progress(self.claimed, share)
                told = share


async def _within(seconds: float, work: Coroutine[Any, Any, None]) -> bool:
    """Do something for so many seconds at most; tells whether it was done.

    What takes longer is cancelled and not waited for: a connection on which nothing moves is let go of only slowly.
    """
    doing = begun(work)
    try:
        await asyncio.wait({doing}, timeout=seconds)
    finally:
        doing.cancel()
    if not doing.done():
        return False
    await doing
    return True
