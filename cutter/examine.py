"""Whether this node can cut an event now: what is found in its store, and what follows from that."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Final, TypeAlias

from common.coverage import ContainsHolesError, Hole
from common.cuts import CutType, NothingRecordedError
from common.cutting import Order
from common.dateutil import format_utc
from common.events import Event
from common.segments import Segment
from common.sidecar import FactsStore
from common.store import BadPathError, Store
from common.transitions import Transition, TransitionError
from cutter.locations import Settings

# What was sent just now is on disk, and here, before that long.
_STILL_COMES: Final = timedelta(seconds=30)

# Where holes are allowed, a node with some leaves the event to others for so long, and longer the more it lacks.
_STANDS_BACK: Final = timedelta(seconds=5)
_STANDS_BACK_LONGER: Final = timedelta(seconds=25)

_COPIES: Final = {CutType.ROUGH, CutType.ARCHIVE}


@dataclass(frozen=True, slots=True)
class Found:
    """What the store has of an event's ranges: `size` in bytes, how much is `missing`; `hole`: the first, if any."""

    size: int = 0
    missing: timedelta = timedelta(0)
    hole: Hole | None = None
    nothing: bool = False


@dataclass(frozen=True, slots=True)
class Take:
    """It can be cut here and now, into a file of about `size` bytes."""

    size: int


@dataclass(frozen=True, slots=True)
class StandBack:
    """It cannot be cut here now, and why; `only`: others may still do it, and this node itself before long."""

    why: str
    passing: bool = False


@dataclass(frozen=True, slots=True)
class Refuse:
    """It can be cut nowhere as it is, and what an operator is to change."""

    why: str


Decision: TypeAlias = Take | StandBack | Refuse


def kind_of(event: Event, settings: Settings) -> CutType:
    """How the event is cut. A file is checked before anyone sees it, so that `fast`, which is not, is `smart` here."""
    kind = event.cut_type or settings.cut
    return CutType.SMART if kind is CutType.FAST else kind


def order_of(event: Event) -> Order:
    """What is wanted of the store. Raises TransitionError for a transition that there is not."""
    joins = tuple(None if each is None else Transition(each.kind, each.duration) for each in event.transitions)
    return Order(event.channel, event.quality, event.ranges, event.allow_holes, joins)


def check(event: Event, settings: Settings) -> str | None:
    """Tell what is wrong with an event whatever the store has, as one sentence; None if nothing is."""
    kind = kind_of(event, settings)
    try:
        order = order_of(event)
    except TransitionError as error:
        return str(error)
    if kind in _COPIES and any(order.transitions):
        return f"A cut of type {kind.value} encodes nothing, and so has no transitions: choose smart or full."
    if kind is CutType.ARCHIVE and len(event.ranges) > 1:
        return "An archive is of one range: choose another type, or make an event of each range."
    return settings.limits.wrong_with(
        event.upload_location,
        title=event.title,
        description=event.video_description,
        tags=event.tags,
        length=event.length,
    )


def decide(event: Event, found: Found, waited: timedelta, *, alone: bool, now: datetime) -> Decision:
    """Decide whether to cut it. `waited`: for how long it could have been; `alone`: no other cutter lives."""
    end, fresh = max(each.end for each in event.ranges), now - _STILL_COMES
    if end > fresh and (found.nothing or found.missing or (found.hole is not None and found.hole.end > fresh)):
        # what goes on for long need not be looked at every few seconds
        soon = end < now + 2 * _STILL_COMES
        return StandBack(f"It ends at {format_utc(end)}, and is not all recorded yet.", passing=soon)
    if found.nothing:
        return StandBack("Nothing of it is recorded here.")
    if found.hole is not None and not event.allow_holes:
        return StandBack(f"{ContainsHolesError(found.hole)} Allow holes to leave out what is missing.")
    if found.missing and not alone:
        share = min(1.0, found.missing / max(event.length, timedelta(seconds=1)))
        if waited < _STANDS_BACK + share * _STANDS_BACK_LONGER:
            return StandBack(f"{found.missing.total_seconds():.1f} seconds of it are missing here.", passing=True)
    return Take(found.size)


def look(store: Store, facts: FactsStore, event: Event) -> Found | Refuse:
    """Find what the store has of an event: where holes are refused, up to the first one. Blocks. Raises OSError."""
    size, missing, hole = 0, timedelta(0), None
    try:
        for start, end in event.ranges:
            cover = partial(store.sequence, event.channel, event.quality, start, end)
            facts.settle(event.channel, event.quality, cover)
            sequence = cover(allow_holes=event.allow_holes)
            if not sequence.segments:
                return Found(nothing=True)
            for each in sequence.holes:
                missing += max(timedelta(0), min(each.end, end) - max(each.start, start))
                hole = hole or each
            size += sum(_size(store, event, segment) for segment in sequence.segments)
    except ContainsHolesError as error:
        return Found(hole=error.hole)
    except NothingRecordedError:
        return Found(nothing=True)
    except BadPathError as error:
        return Refuse(str(error))
    return Found(size, missing, hole)


def _size(store: Store, event: Event, segment: Segment) -> int:
    try:
        return store.segment_path(event.channel, event.quality, segment).stat().st_size
    except FileNotFoundError:
        return 0


def describe(event: Event) -> str:
    """Say what an event is cut from, for a log."""
    first, last = event.ranges[0].start, event.ranges[-1].end
    return f"{event.channel}/{event.quality} {format_utc(first)} to {format_utc(last)}"
