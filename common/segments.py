"""A segment and its file name, both ways: the only module that knows the format.

    <MM:SS.ffffff>-<duration>-<type>-<hash>.ts        in the folder <YYYY-mm-ddTHH> of its hour

The hash is the SHA-256 of the content in URL-safe base64 without padding (a `temp` has a random UUID in its place).
"""

import base64
import re
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal, NamedTuple

from common.dateutil import floor_hour, hour_name

SUFFIXES = (".ts", ".mp4")
TOMBSTONE_SUFFIX = ".tombstone"

Suffix = Literal[".ts", ".mp4"]

# Longer than any segment, and short enough that a segment that reaches into an hour began in it or in the one before.
MAX_DURATION = timedelta(hours=1)

_FORM = (
    r"([0-5][0-9]:[0-5][0-9]\.[0-9]{6})"
    r"-([0-9]{1,4}(?:\.[0-9]{1,20})?)"
    r"-(full|suspect|partial|temp)"
    r"-([A-Za-z0-9_-]{1,86})(?:\.ts|\.mp4)"
)
_NAME = re.compile(_FORM)
_LINES = re.compile(f"^{_FORM}$", re.MULTILINE)


class SegmentType(StrEnum):
    """How a segment arrived."""

    FULL = "full"
    SUSPECT = "suspect"
    PARTIAL = "partial"
    TEMP = "temp"


_TYPES = {kind.value: kind for kind in SegmentType}


class BadNameError(ValueError):
    """A file name that is no segment's."""


class Segment(NamedTuple):
    """One media file of a few seconds: `start` is aware UTC, `name` the file name that says all the rest.

    A tuple and no dataclass, since listings make hundred thousands of them: it is made in less than half the time.
    """

    start: datetime
    duration: timedelta
    type: SegmentType
    hash: str
    name: str

    @property
    def end(self) -> datetime:
        """The moment at which the next segment should start."""
        return self.start + self.duration

    @property
    def hour(self) -> str:
        """The name of the folder in which it lies."""
        return hour_name(self.start)


class Arrival(NamedTuple):
    """A segment and when it was there: both times aware UTC, `hidden` that of its tombstone, if there is one."""

    segment: Segment
    at: datetime
    hidden: datetime | None = None


def content_hash(sha256_digest: bytes) -> str:
    """Write a SHA-256 as it stands in names: URL-safe base64 without padding (RFC 4648 §5)."""
    return base64.urlsafe_b64encode(sha256_digest).rstrip(b"=").decode("ascii")


def make_segment(
    start: datetime, duration: timedelta, kind: SegmentType, content: str, suffix: Suffix = ".ts"
) -> Segment:
    """Name a segment; `content` is its hash, or for a `temp` its UUID.

    Raises ValueError for a duration below zero or above MAX_DURATION.
    """
    if not timedelta(0) <= duration <= MAX_DURATION:
        raise ValueError(f"A segment cannot last {duration}; at most {MAX_DURATION} is kept.")
    clock = f"{start.minute:02}:{start.second:02}.{start.microsecond:06}"
    return Segment(start, duration, kind, content, f"{clock}-{_decimal(duration)}-{kind.value}-{content}{suffix}")


def _decimal(duration: timedelta) -> str:
    # at least one decimal, as the names of existing stores have it: 2.0, 1.966667
    seconds = f"{duration // timedelta(seconds=1)}.{duration.microseconds:06}".rstrip("0")
    return seconds + "0" if seconds.endswith(".") else seconds


def parse_name(hour: datetime, name: str) -> Segment:
    """Read the name of a segment that lies in the folder of `hour` (its first moment, aware UTC).

    Raises BadNameError if it is no segment's name.
    """
    segments, _ = parse_names(hour, [name])
    if not segments:
        raise BadNameError(f"{name[:200]!r} is not a segment's name.")
    return segments[0]


def parse_names(hour: datetime, names: Iterable[str]) -> tuple[list[Segment], list[str]]:
    """Read the names in the folder of `hour`, in their order: the segments, and the names that are none's.

    Durations are rounded to microseconds; one above MAX_DURATION makes the name a stranger. This is the hot path of
    every listing: it works on whole columns, and hardly a step of it costs Python per name.
    """
    known, strangers = list(names), list[str]()
    parts = _split(known)
    if parts is None:
        strangers = [name for name in known if _NAME.fullmatch(name) is None]
        known = [name for name in known if _NAME.fullmatch(name) is not None]
        parts = _split(known)
    if not parts:
        return [], strangers
    prefix, lengths = hour_name(hour), parts[2::5]
    durations = {text: timedelta(seconds=float(text)) for text in set(lengths)}
    columns = zip(
        map(datetime.fromisoformat, [f"{prefix}:{clock}+00:00" for clock in parts[1::5]]),
        map(durations.__getitem__, lengths),
        map(_TYPES.__getitem__, parts[3::5]),
        parts[4::5],
        known,
        strict=True,
    )
    segments = list(map(Segment._make, columns))
    if max(durations.values()) > MAX_DURATION:
        strangers += [segment.name for segment in segments if segment.duration > MAX_DURATION]
        segments = [segment for segment in segments if segment.duration <= MAX_DURATION]
    return segments, strangers


def _split(names: list[str]) -> list[str] | None:
    """Give the parts of all names in a row, four each and what was between them; None if one is no segment's."""
    lines = "\n".join(names)
    parts = _LINES.split(lines)
    # as many lines as names, all of them matched
    whole = lines.count("\n") == len(names) - 1 and len(parts) == 5 * len(names) + 1
    return parts if whole else None


def finished_names(hour: datetime, names: Iterable[str]) -> list[str]:
    """Give, sorted, those of an hour's names that other nodes may have: complete segments, and tombstones of such."""
    listed = list(names)
    segments, _ = parse_names(hour, [name for name in listed if name.endswith(SUFFIXES)])
    # whatever a tombstone hides, its own name is no other than that of a `.ts`
    hidden, _ = parse_names(hour, [f"{stem(name)}.ts" for name in listed if name.endswith(TOMBSTONE_SUFFIX)])
    finished = [segment.name for segment in segments if segment.type is not SegmentType.TEMP]
    return sorted(finished + [tombstone_name(each.name) for each in hidden if each.type is not SegmentType.TEMP])


def tombstone_name(name: str) -> str:
    """Name the tombstone that hides the segment with this name, which ends in one of SUFFIXES."""
    return stem(name) + TOMBSTONE_SUFFIX


def stem(name: str) -> str:
    """Give what a segment's name and its tombstone's have in common."""
    # the last dot, not pathlib's suffix: the decimal point of the seconds is a dot too
    return name.rpartition(".")[0]


def hour_of(segment: Segment) -> datetime:
    """Give the first moment of the hour in whose folder a segment lies."""
    return floor_hour(segment.start)
