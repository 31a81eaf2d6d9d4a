"""What an origin offered and the store does not have: a hidden file per hour, so that no service need run to tell it.

    BASE/.missing/<channel>/<quality>/<hour>        one JSON object per line: start, seconds, reason

It is only appended to, by one write at a time; what a crash leaves of a line is passed over. Of two lines with one
start the later counts. That something is in here says that it could not be recorded then: if it is in the store after
all, because a later attempt or another node brought it, that is what holds (see `lacking`). It is not beside the
segments, since an hour or a quality of which nothing is recorded is to be in no listing.
"""

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import groupby, islice
from operator import attrgetter
from pathlib import Path

from common.coverage import JOIN_TOLERANCE, Hole
from common.dateutil import HOUR, floor_hour, format_utc, hour_name, hours_touching, parse
from common.segments import MAX_DURATION
from common.store import Store, component

FOLDER = ".missing"

# Two reasons that are no segment's: nothing was offered while the stream was away; and it was under way at a stop.
AWAY = "away"
STOPPED = "stopped"

# Some ten thousand lines: an hour of segments of a third of a second, all of them missing.
_MOST_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Missing:
    """A stretch of time that is not recorded, from `start` (aware UTC) on, and why, in one word."""

    start: datetime
    duration: timedelta
    reason: str

    @property
    def end(self) -> datetime:
        """The moment at which what is missing ends."""
        return self.start + self.duration


def note(store: Store, channel: str, quality: str, missing: Iterable[Missing]) -> int:
    """Write down what is missing, and give how many lines found no room; an hour takes only so many.

    Raises OSError if the disk refuses it.
    """
    left_out = 0
    folder = _folder(store, channel, quality)
    folder.mkdir(parents=True, exist_ok=True)
    for hour, group in groupby(sorted(missing, key=attrgetter("start")), lambda each: hour_name(each.start)):
        lines = list(group)
        left_out += 0 if _append(folder / hour, lines) else len(lines)
    return left_out


def _append(path: Path, missing: Iterable[Missing]) -> bool:
    """Add lines in one write; tell whether there was room for them."""
    text = "".join(map(_line, missing)).encode()
    with path.open("a+b", buffering=0) as file:
        size = file.seek(0, os.SEEK_END)
        if size + len(text) > _MOST_BYTES:
            return False
        if size and os.pread(file.fileno(), 1, size - 1) != b"\n":  # what a crash has left of a line ends here
            text = b"\n" + text
        file.write(text)
    return True


def _line(missing: Missing) -> str:
    fields = {"start": format_utc(missing.start), "seconds": missing.duration.total_seconds(), "reason": missing.reason}
    return json.dumps(fields, separators=(",", ":")) + "\n"


def read(store: Store, channel: str, quality: str, start: datetime, end: datetime) -> list[Missing]:
    """Give what was noted of a range, by start; what reaches into it from the hour before too. Unreadable is empty."""
    folder = _folder(store, channel, quality)
    found: dict[datetime, Missing] = {}
    for hour in hours_touching(floor_hour(start) - HOUR, end):
        try:
            with (folder / hour_name(hour)).open("rb") as file:
                text = file.read(_MOST_BYTES)
        except OSError:
            continue
        found |= {each.start: each for each in _lines(text)}
    return sorted((each for each in found.values() if each.start < end and each.end > start), key=attrgetter("start"))


def _folder(store: Store, channel: str, quality: str) -> Path:
    return store.base / FOLDER / component(channel) / component(quality)


def _lines(text: bytes) -> Iterator[Missing]:
    for line in text.decode("utf-8", "replace").splitlines():
        try:
            fields = json.loads(line)
            duration = timedelta(seconds=float(fields["seconds"]))
            missing = Missing(parse(fields["start"]), duration, str(fields["reason"])[:40])
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError):
            continue
        if timedelta() <= duration <= MAX_DURATION:
            yield missing


def lacking(missing: Iterable[Missing], holes: Iterable[Hole]) -> list[Missing]:
    """Give what of `missing` (by start) lies in holes: stretches of one reason in a row are one.

    What is recorded wins: outside of the holes nothing is missing, whatever was noted. Where several reasons claim a
    moment, the first one has it.
    """
    stretches: list[Missing] = []
    noted, past = list(missing), 0
    for hole in holes:
        reached = hole.start
        while past < len(noted) and noted[past].end <= hole.start:
            past += 1
        for each in islice(noted, past, None):
            if each.start >= hole.end:
                break
            start, end = max(each.start, reached), min(each.end, hole.end)
            if start >= end:
                continue
            reached = end
            last = stretches[-1] if stretches else None
            if last and last.reason == each.reason and start - last.end <= JOIN_TOLERANCE:
                stretches[-1] = Missing(last.start, end - last.start, last.reason)
            else:
                stretches.append(Missing(start, end - start, each.reason))
    return stretches
