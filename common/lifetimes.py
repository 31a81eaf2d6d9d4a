"""How long recordings are kept: limits of age and space, what is protected from them, and what follows for an hour."""

import re
from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase

from common.dateutil import HOUR, floor_hour

# Who edits an event may still move its ends by so much.
MARGIN = timedelta(minutes=10)

# Before and after these moments nothing is recorded, and sums with hours and margins cannot overflow between them.
EARLIEST, LATEST = datetime(1900, 1, 2, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)

_AGE = re.compile(r"([0-9]{1,6}(?:\.[0-9]{1,6})?)(h|d|w)")
_AGE_UNITS = {"h": HOUR, "d": 24 * HOUR, "w": 7 * 24 * HOUR}
_SIZE = re.compile(r"([0-9]{1,15}(?:\.[0-9]{1,6})?) ?([KMGTP]?i?)B?", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class AgeLimit:
    """Recordings whose channel and quality fit the patterns (of a shell: * ? []) go when older than `age`."""

    channel: str
    quality: str
    age: timedelta

    def __str__(self) -> str:
        """Write it as `parse_age_limit` reads it."""
        hours = self.age / HOUR
        length = f"{hours:g}h" if hours % 24 else f"{hours / 24:g}d"
        return length if (self.channel, self.quality) == ("*", "*") else f"{self.channel}/{self.quality}={length}"


@dataclass(frozen=True, slots=True)
class Limits:
    """What is to go: by age (of several that fit, the last one counts), beyond `size` bytes, below `free` bytes."""

    ages: tuple[AgeLimit, ...] = ()
    size: int | None = None
    free: int | None = None

    def age(self, channel: str, quality: str) -> timedelta | None:
        """Give how old a quality's recordings may become; None: any age."""
        fitting = (
            limit.age
            for limit in reversed(self.ages)
            if fnmatchcase(channel, limit.channel) and fnmatchcase(quality, limit.quality)
        )
        return next(fitting, None)


@dataclass(frozen=True, slots=True)
class Protection:
    """A range (aware UTC) that somebody still needs, and why, as a sentence's part; `channel`, `quality` None: all."""

    channel: str | None
    quality: str | None
    start: datetime
    end: datetime
    why: str

    @property
    def first(self) -> datetime:
        """The first hour that it protects: with a margin, and a segment of the hour before may reach in."""
        return floor_hour(max(self.start, EARLIEST) - MARGIN) - HOUR

    @property
    def last(self) -> datetime:
        """The last hour that it protects."""
        return floor_hour(min(self.end, LATEST) + MARGIN)

    def is_of(self, channel: str, quality: str) -> bool:
        """Tell whether it is one of this quality."""
        return self.channel in (None, channel) and self.quality in (None, quality)


@dataclass(frozen=True, slots=True)
class Policy:
    """What the librarian of a node keeps to.

    `space_before`: hours before this one made room for later ones. `known`: when `protections` were read; None: never.
    """

    limits: Limits = field(default_factory=Limits)
    space_before: datetime | None = None
    known: datetime | None = None
    protections: tuple[Protection, ...] = ()

    def is_past(self, channel: str, quality: str, hour: datetime, now: datetime) -> bool:
        """Tell whether an hour (its first moment) would have to go at once if it came, were it not protected."""
        age = self.limits.age(channel, quality)
        too_old = age is not None and hour + HOUR <= now - age
        return too_old or (self.space_before is not None and hour < self.space_before)


class Guarded:
    """The hours of one quality that some of the protections protect: each question costs a search, however many."""

    def __init__(self, protections: Iterable[Protection], channel: str, quality: str) -> None:
        """Merge what overlaps."""
        self._firsts: list[datetime] = []
        self._lasts: list[datetime] = []
        for first, last in sorted((each.first, each.last) for each in protections if each.is_of(channel, quality)):
            if self._lasts and first <= self._lasts[-1] + HOUR:
                self._lasts[-1] = max(self._lasts[-1], last)
            else:
                self._firsts.append(first)
                self._lasts.append(last)

    def __contains__(self, hour: datetime) -> bool:
        index = bisect_right(self._firsts, hour) - 1
        return index >= 0 and hour <= self._lasts[index]


def parse_age_limit(text: str) -> AgeLimit:
    """Read `30d`, or `CHANNEL/QUALITY=7d` with patterns. Raises ValueError, in one sentence."""
    where, equals, length = text.rpartition("=")
    channel, slash, quality = where.partition("/")
    if equals and not (slash and channel and quality and "/" not in quality):
        raise ValueError(f"{where[:100]!r} is not CHANNEL/QUALITY, such as */720p.")
    return AgeLimit(channel or "*", quality or "*", parse_age(length))


def parse_age(text: str) -> timedelta:
    """Read a number of hours, days or weeks: `36h`, `30d`, `8w`. Raises ValueError, in one sentence."""
    found = _AGE.fullmatch(text.strip())
    age = float(found[1]) * _AGE_UNITS[found[2]] if found else timedelta()
    if not HOUR <= age <= 36_500 * 24 * HOUR:
        raise ValueError(f"{text[:64]!r} is not an age such as 36h, 30d or 8w: an hour at least.")
    return age


def parse_size(text: str) -> int:
    """Read a number of bytes: `500GB`, `1.5TiB`, `20G` (powers of 1000, those with an i of 1024). Raises ValueError."""
    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text[:64]!r} is not a size such as 500GB or 1.5TiB.")
    unit = found[2].upper()
    return int(float(found[1]) * (1024 if unit.endswith("I") else 1000) ** " KMGTP".index(unit[:1] or " "))


def format_size(size: int) -> str:
    """Write bytes in the greatest unit (of powers of 1000) of which they are at least one."""
    value, units = float(size), iter(("B", "kB", "MB", "GB", "TB", "PB"))
    unit = next(units)
    while abs(value) >= 999.5 and unit != "PB":  # noqa: PLR2004 - what is rounded to 1000
        value, unit = value / 1000, next(units)
    return f"{value:.3g} {unit}" if unit != "B" else f"{size} B"
