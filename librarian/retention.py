"""Which hours go, and why the others stay: a pure decision, by age, by size and by what is free on the disk.

The oldest go first. Never goes what is being recorded, what somebody still needs, and what was recorded after it was
last known what is needed.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from common.dateutil import HOUR, floor_hour
from common.lifetimes import Limits, Policy, Protection

# With so much room no earlier hour has to make room any more: as shares of what is allowed, and of what is to be free.
_ROOMY_SIZE, _ROOMY_FREE = 0.9, 1.25


@dataclass(frozen=True, slots=True, order=True)
class StoredHour:
    """An hour as it lies on disk: `start` its first moment, `size` in bytes, `files` without tombstones.

    `on_disk`: it lies on the disk whose room is short, and its deletion makes room there.
    """

    start: datetime
    channel: str
    quality: str
    size: int = 0
    files: int = 1
    tombstones: int = 0
    on_disk: bool = True

    @property
    def name(self) -> str:
        """Write it as C/Q/H."""
        return f"{self.channel}/{self.quality}/{self.start:%Y-%m-%dT%H}"


class Reason(StrEnum):
    """Why an hour goes."""

    AGE = "age"
    SIZE = "size"
    DISK = "disk"


@dataclass(frozen=True, slots=True)
class Going:
    """An hour that goes, and why."""

    hour: StoredHour
    reason: Reason


@dataclass(frozen=True, slots=True)
class Staying:
    """An hour that would go for a reason, and `why` it may not, as a part of a sentence."""

    hour: StoredHour
    reason: Reason
    why: str


@dataclass(frozen=True, slots=True)
class Plan:
    """What goes, oldest first, and what stays for a reason of its own.

    `excess` are the bytes that should go besides and may not. `protected` are those of all hours that somebody needs.
    """

    going: tuple[Going, ...]
    staying: tuple[Staying, ...]
    excess: int
    protected: int

    def freed(self, *reasons: Reason) -> int:
        """Add up the bytes of what goes for one of these reasons, or for any."""
        return sum(each.hour.size for each in self.going if not reasons or each.reason in reasons)


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known at a moment `now` (aware UTC).

    `free`: bytes that are free on the store's disk, with those that are being freed. `recording`: qualities (channel,
    quality) whose recorders live.
    """

    hours: Sequence[StoredHour]
    now: datetime
    free: int
    recording: Collection[tuple[str, str]] = ()


def decide(situation: Situation, policy: Policy) -> Plan:
    """Say what goes."""
    hours, limits = sorted(situation.hours), policy.limits
    needed = _needed(hours, policy.protections)
    guards = {**_guards(hours, situation, policy.known), **{hour: each.why for hour, each in needed.items()}}
    going: dict[StoredHour, Reason] = {}
    staying: dict[StoredHour, Staying] = {}
    excess = 0

    def take(candidates: Iterable[StoredHour], reason: Reason, bytes_over: int | None) -> int:
        """Have candidates go until so many bytes are freed (None: all); give how many are not."""
        for hour in candidates:
            if bytes_over is not None and bytes_over <= 0:
                break
            if hour in guards:
                staying.setdefault(hour, Staying(hour, reason, guards[hour]))
            elif hour not in going:
                going[hour] = reason
                bytes_over = None if bytes_over is None else bytes_over - hour.size
        return max(0, bytes_over or 0)

    take(_too_old(hours, limits, situation.now), Reason.AGE, None)
    with_size = [hour for hour in hours if hour.size]
    if limits.size is not None:
        left = sum(hour.size for hour in hours if hour not in going)
        excess = take(with_size, Reason.SIZE, left - limits.size)
    if limits.free is not None:
        free = situation.free + sum(hour.size for hour in going if hour.on_disk)
        on_disk = (hour for hour in with_size if hour.on_disk)
        excess = max(excess, take(on_disk, Reason.DISK, limits.free - free))
    return Plan(
        tuple(Going(hour, reason) for hour, reason in sorted(going.items())),
        tuple(staying[hour] for hour in sorted(staying)),
        excess,
        sum(hour.size for hour in needed),
    )


def _too_old(hours: Iterable[StoredHour], limits: Limits, now: datetime) -> Iterator[StoredHour]:
    for hour in hours:
        age = limits.age(hour.channel, hour.quality)
        if age is not None and hour.start + HOUR <= now - age:
            yield hour


def _needed(hours: Sequence[StoredHour], protections: Iterable[Protection]) -> dict[StoredHour, Protection]:
    """Give the hours (sorted) that somebody needs, each with one protection."""
    starts = [hour.start for hour in hours]
    found: dict[StoredHour, Protection] = {}
    for each in protections:
        for hour in hours[bisect_left(starts, each.first) : bisect_right(starts, each.last)]:
            if each.is_of(hour.channel, hour.quality):
                found.setdefault(hour, each)
    return found


def _guards(hours: Sequence[StoredHour], situation: Situation, known: datetime | None) -> dict[StoredHour, str]:
    """Give the hours that must stay whatever anybody needs, and why."""
    found: dict[StoredHour, str] = {}
    newest: dict[tuple[str, str], list[StoredHour]] = {}
    for hour in hours:
        newest[hour.channel, hour.quality] = [*newest.get((hour.channel, hour.quality), [])[-1:], hour]
        if known is None:
            found[hour] = "it was never known what events need"
        elif hour.start + HOUR > known:
            found[hour] = f"it is not known since {known:%Y-%m-%d %H:%M} what events need"
        if hour.start >= floor_hour(situation.now) - HOUR:
            found[hour] = "it is being recorded"
    for quality in newest.keys() & set(situation.recording):
        found |= dict.fromkeys(newest[quality], "it is being recorded")
    return found


def space_before(before: datetime | None, plan: Plan, situation: Situation, limits: Limits) -> datetime | None:
    """Say before which hour nothing is wanted that is not there, since it would only take the room that was made.

    `before` is what was said the last time. It is taken back when there is plenty of room.
    """
    freed = [each.hour.start for each in plan.going if each.reason is not Reason.AGE]
    if freed:
        return max([before, freed[-1]] if before else [freed[-1]])
    size = sum(hour.size for hour in situation.hours) - plan.freed()
    fits = limits.size is None or size <= limits.size * _ROOMY_SIZE
    return None if fits and (limits.free is None or situation.free >= limits.free * _ROOMY_FREE) else before


def wanted_again(policy: Policy, deleted: Mapping[str, datetime], channel: str, quality: str) -> list[str]:
    """Name the hours, of those that were deleted, that somebody needs after all.

    `deleted` has their names, as folders have them.
    """
    names = sorted(deleted)
    found: set[str] = set()
    for each in policy.protections:
        if each.is_of(channel, quality):
            first, last = (f"{hour:%Y-%m-%dT%H}" for hour in (each.first, each.last))
            found.update(names[bisect_left(names, first) : bisect_right(names, last)])
    return sorted(found)
