"""Delivery: a finished file to its location, and what is to be found out where it is not known whether it is out."""

import asyncio
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Final

import structlog

from common import db
from common.events import Event, Spooled, State, Thumbnail, ThumbnailMode
from common.metrics import LONG_SECONDS, counter
from common.timed import timed
from common.waits import backoff, begun, in_thread
from cutter.claims import Claim
from cutter.gates import Gate
from cutter.locations import (
    Delivered,
    Keep,
    Location,
    LocationAwayError,
    LocationError,
    LocationRefusedError,
    Session,
    SessionLostError,
    Video,
)
from cutter.make import Workshop
from cutter.outcomes import NotNowError, RefusedError, UnclearError
from cutter.rows import Rows
from cutter.thumbnails import thumbnail

log = structlog.get_logger()

# How long a location may take to answer a question that is no upload; if it has to read a video for it, so much longer.
_ANSWER_SECONDS: Final = 60.0
_READ_BYTES_A_SECOND: Final = 10e6

# Stands for what a location was told of a video, where that is not all: no hash of what is to be said equals it.
_NOT_ALL: Final = "not all"

# The gate decides when: a time on the row would let others go before this one.
_AT_ONCE: Final = timedelta(0)

_DELIVERIES = counter("event_deliveries", "Deliveries of videos, by how they ended.", "location", "outcome")
_BYTES = counter("delivered_bytes", "Bytes of the videos that were delivered.", "location")


@dataclass(frozen=True, slots=True)
class Post:
    """What delivers.

    For as long as `stall` a location may take no byte of a video; as long as `look_again` it is left to its own work.
    """

    rows: Rows
    shop: Workshop
    gates: Mapping[str, Gate]
    stall: timedelta
    look_again: timedelta

    async def deliver(self, claim: Claim, spooled: Spooled, session: Session | None) -> None:
        """Deliver a finished file, from CLAIMED to DONE or TRANSCODING. Logs one line, however it ends.

        Raises NotNowError if it is certainly not out, UnclearError if it cannot be told; RefusedError, ClaimLostError.
        """
        event, gate = claim.event, self.gates[claim.event.upload_location]
        if not gate.enter(event.id):
            reason = f"{event.upload_location} is away; the finished file waits." if gate.away else ""
            raise NotNowError(reason, counts=False, pause=_AT_ONCE)
        began, outcome = time.monotonic(), "stopped"
        try:
            video = await self.video(event, spooled)
            # an upload that is gone on with was begun with what was to be said then
            spooled = replace(spooled, said=(spooled.said if session else "") or claim.claimed.said)
            delivered = await self._delivered(claim, gate, video, session, said=spooled.said)
            await self._settled(claim, delivered, spooled)
            outcome = "done"
            _BYTES.labels(gate.location.name).inc(spooled.size)
        except (NotNowError, UnclearError, RefusedError) as error:
            outcome = {NotNowError: "failed", UnclearError: "unclear"}.get(type(error), "refused")
            raise
        finally:
            took = time.monotonic() - began
            _DELIVERIES.labels(gate.location.name, outcome).inc()
            log.info(
                "event_delivered",
                id=event.id,
                location=gate.location.name,
                outcome=outcome,
                bytes=spooled.size,
                seconds=round(took, 3),
            )

    async def video(self, event: Event, spooled: Spooled | None) -> Video:
        """Describe what is delivered; without a file only what is said of it. Raises as `thumbnail` does."""
        spooled = spooled or Spooled("", "", "none", 0, "", "")
        return Video(
            event=event.id,
            revision=event.revision,
            path=self.shop.spool.file(spooled.name),
            size=spooled.size,
            sha256=spooled.sha256,
            title=event.title,
            description=event.video_description,
            tags=event.tags,
            public=event.public,
            recorded=event.ranges[0].start,
            thumbnail=await thumbnail(self.rows, self.shop, event),
        )

    @timed(
        "event_delivery",
        "Delivering a video.",
        labels={"location": "gate.location.name"},
        buckets=LONG_SECONDS,
    )
    async def _delivered(
        self, claim: Claim, gate: Gate, video: Video, session: Session | None, *, said: str
    ) -> Delivered:
        """Send it; what goes wrong becomes what follows from it."""
        location = gate.location
        if session is None:
            session = await self._begun(gate, location, video)
        await self._finalize(claim, session, said)
        kept = session

        async def keep(new: Session) -> None:
            nonlocal kept
            await self.rows.session(claim.claimed, json.dumps(new))
            kept = new

        try:
            return await self._sent(claim, location, video, session, keep)
        except LocationRefusedError as error:
            raise RefusedError(str(error)) from error
        except SessionLostError as error:
            raise NotNowError(str(error), anew=True) from error
        except LocationAwayError as error:
            gate.failed(error)
            await self._tell_waiting(gate, str(error))
            return await self._found(gate, location, video, kept, str(error), counts=False)
        except OSError as error:
            reason = f"The finished file could not be sent: {error.strerror or error} ({self.shop.node})."
            return await self._found(gate, location, video, kept, reason, counts=True)

    async def _begun(self, gate: Gate, location: Location, video: Video) -> Session | None:
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                return await location.begin(video)
        except LocationRefusedError as error:
            raise RefusedError(str(error)) from error
        except (LocationError, TimeoutError) as error:
            away = _as_away(error, location)
            gate.failed(away)
            await self._tell_waiting(gate, str(away))
            raise NotNowError(str(away), counts=False, pause=_AT_ONCE) from error
        except OSError as error:
            raise NotNowError(f"The finished file could not be sent: {error.strerror or error}.") from error

    async def _finalize(self, claim: Claim, session: Session | None, said: str) -> None:
        """Say that the video may be out, and hold on to the lease from then on."""
        attempt = 0
        while True:
            asked = time.monotonic()
            try:
                known = None if session is None else json.dumps(session)
                await self.rows.finalize(claim.claimed, known, claim.lease, said)
            except db.AWAY as error:
                if isinstance(error, ValueError):
                    raise
                attempt += 1
                log.warning("database_away", id=claim.event.id, reason=str(error) or type(error).__name__)
                await asyncio.sleep(backoff(attempt, first=0.2, most=5.0))
            else:
                claim.renewed, claim.public = asked, True
                return

    async def _sent(
        self, claim: Claim, location: Location, video: Video, session: Session | None, keep: Keep
    ) -> Delivered:
        """Let the location take it; one that takes no byte for long is away."""
        moved = time.monotonic()

        def progress(share: float) -> None:
            nonlocal moved
            moved = time.monotonic()
            claim.show(share)

        sending = begun(location.deliver(video, session, keep=keep, progress=progress))
        try:
            while not sending.done():
                left = moved + self.stall.total_seconds() - time.monotonic()
                if left <= 0:
                    raise LocationAwayError(f"{location.name} has not taken a byte for {self.stall}.")
                await asyncio.wait({sending}, timeout=left)
        finally:
            sending.cancel()
            await asyncio.wait({sending})
        return await sending

    async def _found(
        self, gate: Gate, location: Location, video: Video, session: Session | None, reason: str, *, counts: bool
    ) -> Delivered:
        """Ask whether it is there; raises NotNowError with the reason if it certainly is not, else UnclearError."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS + video.size / _READ_BYTES_A_SECOND):
                found = await location.find(video, session)
        except (LocationError, TimeoutError) as error:
            away = _as_away(error, location)
            gate.failed(away)
            raise UnclearError(
                f"{away} It is not known whether the video is out; it is asked again.", gate.left
            ) from error
        if found is None:
            raise NotNowError(reason, counts=counts, pause=_AT_ONCE if gate.away else None)
        return found

    async def _settled(self, claim: Claim, delivered: Delivered, spooled: Spooled | None) -> None:
        """Write that it is out, and let go of the file."""
        claim.public, claim.settling = False, True
        self.gates[claim.event.upload_location].answered()
        state = State.TRANSCODING if delivered.processing else State.DONE
        said = (spooled.said if spooled is not None else "") or claim.claimed.said
        if not delivered.told:
            said = _NOT_ALL
        await self.rows.delivered(claim.claimed, state, delivered.video_id, delivered.link, said)
        if spooled is not None and spooled.folder == self.shop.spool.folder:
            await in_thread(self.shop.spool.remove, spooled.name)

    async def _tell_waiting(self, gate: Gate, reason: str) -> None:
        """Let operators see why the finished files wait; that is worth no trouble of its own."""
        try:
            await self.rows.waiting(gate.location.name, reason)
        except db.AWAY as error:
            log.info("database_away", reason=str(error) or type(error).__name__)

    # What somebody else has left ----------------------------------------------------------------------------------

    async def settle(self, claim: Claim) -> None:
        """Find out what has become of a video whose delivery broke off. Raises as `deliver` does."""
        event, gate = claim.event, self.gates[claim.event.upload_location]
        video = await self._described(event)
        reason = f"The delivery to {event.upload_location} broke off; it is tried again."
        found = await self._found(gate, gate.location, video, event.upload_session, reason, counts=True)
        if event.thumbnail.mode is not ThumbnailMode.NONE:  # which we have not told, nor perhaps who was here before
            found = replace(found, told=False)
        log.info("event_found", id=event.id, location=gate.location.name)
        await self._settled(claim, found, event.spool)

    async def look_after(self, claim: Claim) -> None:
        """Ask whether the location has finished its own work. Raises as `deliver` does."""
        event, gate = claim.event, self.gates[claim.event.upload_location]
        delivered = Delivered(event.video_id or "", event.video_link or "", processing=True)
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                finished = await gate.location.finished(delivered)
        except LocationRefusedError as error:
            raise RefusedError(str(error)) from error
        except (LocationError, TimeoutError) as error:
            gate.failed(away := _as_away(error, gate.location))
            raise UnclearError(str(away), gate.left) from error
        if not finished:
            raise UnclearError("", self.look_again)
        await self._settled(claim, Delivered(delivered.video_id, delivered.link), event.spool)

    async def modify(self, claim: Claim) -> None:
        """Tell the location what is said of its video by now. Raises UnclearError if that must wait."""
        event, gate = claim.event, self.gates[claim.event.upload_location]
        error = await self._modified(event, gate)
        claim.settling = True
        if not await self.rows.modified(claim.claimed, error):
            raise UnclearError("", timedelta(0))
        log.info("event_modified", id=event.id, location=gate.location.name, error=error)

    async def _modified(self, event: Event, gate: Gate) -> str | None:
        """Tell it; gives why it did not take it."""
        if event.video_id is None:
            return f"This video was not delivered by a cutter: change it at {event.upload_location} by hand."
        try:
            video = await self.video(event, None)
            async with asyncio.timeout(_ANSWER_SECONDS):
                await gate.location.modify(Delivered(event.video_id, event.video_link or ""), video)
        except (LocationRefusedError, RefusedError, NotNowError) as error:
            return str(error)
        except (LocationError, TimeoutError) as error:
            gate.failed(away := _as_away(error, gate.location))
            raise UnclearError(str(away), gate.left) from error
        return None

    async def _described(self, event: Event) -> Video:
        """Describe a video that may be out, whose thumbnail is of no importance."""
        return await self.video(replace(event, thumbnail=Thumbnail()), event.spool)


def _as_away(error: LocationError | TimeoutError, location: Location) -> LocationAwayError:
    if isinstance(error, LocationAwayError):
        return error
    return LocationAwayError(str(error) or f"{location.name} does not answer.")
