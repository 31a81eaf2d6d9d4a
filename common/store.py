"""The store on disk: safe paths, listings, and the coverage of each hour, kept until its folder changes.

All of it is synchronous and may be called from several threads; asyncio code hands it to a thread.
"""

import os
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

import structlog

from common import metrics
from common.coverage import SAME_MOMENT, BestSequence, HourCandidates, best_sequence, cover_hour
from common.dateutil import HOUR, floor_hour, hour_name, hours_touching, is_hour, parse_hour
from common.errors import UserError
from common.facts import Facts, joins
from common.segments import (
    SUFFIXES,
    TOMBSTONE_SUFFIX,
    Arrival,
    Segment,
    SegmentType,
    finished_names,
    hour_of,
    parse_names,
    stem,
    tombstone_name,
)
from common.timed import timed

log = structlog.get_logger()

# A folder can change twice within one tick of the kernel's clock and show the same time for both. What was read so
# soon after a change is not trusted again; the coarsest tick of a local file system that we know of is 10 ms.
_CLOCK_TICK_NS = 50_000_000

# In a longer range the hours that exist are listed; in a shorter one each that could exist is asked for.
_LONG_RANGE = timedelta(days=31)

# What Linux' file systems allow for one part of a path.
_NAME_BYTES = 255

# Some 400 bytes each; two weeks of one quality in segments of two seconds.
_CACHED_SEGMENTS = 600_000

_OVERLAPPED = metrics.counter(
    "segments_overlapped", "Segments passed over: they overlap another.", "channel", "quality"
)
_SKEWED = metrics.counter(
    "segments_skewed", "Segments passed over: same content, other start time.", "channel", "quality"
)
_STRANGERS = metrics.counter("store_strangers", "Names in the store that are no segment's.", "channel", "quality")


class BadPathError(ValueError):
    """A channel, quality, hour or file name that cannot be one; its text is one sentence."""


class Stamp(NamedTuple):
    """What changes when a folder does: told by one stat.

    Not the time of modification, since rsync and restored backups set that one back.
    """

    inode: int
    changed_ns: int

    def settled(self, looked_ns: int) -> bool:
        """Tell whether any change after a look (nanoseconds since 1970, taken before the stat) makes another stamp."""
        return looked_ns - self.changed_ns > _CLOCK_TICK_NS


# Gives what is known of the segments in an hour (channel, quality, first moment), by hash.
Known = Callable[[str, str, datetime], Mapping[str, Facts]]

_NOTHING_KNOWN: Mapping[str, Facts] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _CachedHour:
    """What an hour held at its last reading; no `stamp` if its folder may have changed since without showing it.

    `unknown` are the contents of which nothing was known then, and whose timestamps would have had a say.
    """

    stamp: Stamp | None
    candidates: HourCandidates
    unknown: frozenset[str]


class Store:
    """The recordings below one base folder: BASE/<channel>/<quality>/<hour>/<segment>.

    `known` is asked where names leave it open whether segments join; whoever has facts of the segments sets it, as a
    FactsStore does.
    """

    def __init__(self, base: Path, *, cached_segments: int = _CACHED_SEGMENTS) -> None:
        """Open the store; nothing is read or made yet. Hours with so many segments are remembered, at least one."""
        self.base = base
        self._most_cached = cached_segments
        self.known: Known = lambda _channel, _quality, _hour: _NOTHING_KNOWN
        self._hours: OrderedDict[tuple[str, str, datetime], _CachedHour] = OrderedDict()
        self._cached_segments = 0
        self._lock = threading.Lock()
        self._warned: set[Path] = set()

    def channels(self) -> list[str]:
        """Name the channels, sorted."""
        return _folders(self.base)

    def qualities(self, channel: str) -> list[str]:
        """Name a channel's qualities, sorted; none if it is unknown."""
        return _folders(self.base / component(channel))

    def hours(self, channel: str, quality: str) -> list[str]:
        """Name the hours recorded, oldest first; none if channel or quality is unknown."""
        return [name for name in _folders(self.folder(channel, quality)) if is_hour(name)]

    def names(self, channel: str, quality: str, hour: str, *, tombstones: bool = False) -> list[str]:
        """List an hour's segment names, sorted; none if it is unknown.

        With `tombstones`, what other nodes may want of it: those too, and the segments that they hide, but no `temp`.
        """
        folder = self.hour_folder(channel, quality, hour)
        if tombstones:
            return finished_names(parse_hour(hour), _listing(folder))
        return [segment.name for segment in self._visible(folder, channel, quality)]

    def folder(self, channel: str, quality: str) -> Path:
        """Give the folder of a quality's hours. Raises BadPathError for a name that would lead elsewhere."""
        return self.base / component(channel) / component(quality)

    def hour_folder(self, channel: str, quality: str, hour: str) -> Path:
        """Give the folder of an hour. Raises BadPathError for a name that would lead elsewhere."""
        return self.folder(channel, quality) / _hour_component(hour)

    def path(self, channel: str, quality: str, hour: str, name: str) -> Path:
        """Give a file's path. Raises BadPathError for a name that would lead elsewhere."""
        return self.hour_folder(channel, quality, hour) / component(name)

    def segment_path(self, channel: str, quality: str, segment: Segment) -> Path:
        """Give the path of a segment that this store has listed."""
        return self.folder(channel, quality) / segment.hour / segment.name

    def candidates(self, channel: str, quality: str, hour: datetime) -> HourCandidates:
        """Give what an hour (its first moment) holds; as long as its folder does not change, the same object.

        If it left a doubt, it is another one as soon as more is known of the segments concerned.
        """
        folder = self.folder(channel, quality) / hour_name(hour)
        key = (channel, quality, hour)
        looked_ns = time.time_ns()
        stamp = stamp_of(folder)
        if stamp is None:
            return _EMPTY
        with self._lock:
            cached = self._hours.get(key)
            if cached is not None and cached.stamp == stamp:
                self._hours.move_to_end(key)
        if cached is not None and cached.stamp == stamp and not self._has_learnt(key, cached.unknown):
            return cached.candidates
        joins = self.joins(channel, quality)
        fresh = self._read(folder, channel, quality, joins)
        _count_passed_over(channel, quality, fresh, cached)
        unknown = frozenset(segment.hash for segment in fresh.alone.doubts if joins.facts(segment) is None)
        return self._keep(key, _CachedHour(stamp if stamp.settled(looked_ns) else None, fresh, unknown))

    @timed("store_hour", "Reading an hour of the store.", per=("segment", lambda hour, *_: len(hour.segments)))
    def _read(self, folder: Path, channel: str, quality: str, joins: "KnownJoins") -> HourCandidates:
        visible = self._visible(folder, channel, quality)
        return cover_hour(visible, lambda segment: size_of(f"{folder}/{segment.name}"), joins)

    def _has_learnt(self, key: tuple[str, str, datetime], unknown: frozenset[str]) -> bool:
        return bool(unknown) and not unknown.isdisjoint(self.known(*key))

    def joins(self, channel: str, quality: str) -> "KnownJoins":
        """Tell, by what is known now, whether the media of two segments runs on; for one piece of work."""
        return KnownJoins(lambda hour: self.known(channel, quality, hour))

    def _keep(self, key: tuple[str, str, datetime], entry: _CachedHour) -> HourCandidates:
        """Remember an hour; if another thread has read the same in the meantime, its object stays the one for all."""
        with self._lock:
            old = self._hours.pop(key, None)
            if old is not None and old.stamp is not None and (old.stamp, old.unknown) == (entry.stamp, entry.unknown):
                entry = old
            self._cached_segments += len(entry.candidates.segments) - (len(old.candidates.segments) if old else 0)
            self._hours[key] = entry
            while self._cached_segments > self._most_cached and len(self._hours) > 1:
                _, dropped = self._hours.popitem(last=False)
                self._cached_segments -= len(dropped.candidates.segments)
        return entry.candidates

    def _visible(self, folder: Path, channel: str, quality: str) -> list[Segment]:
        """List an hour's segments, by name, without those that a tombstone hides; what is none is said once."""
        segments, others = parse_names(parse_hour(folder.name), sorted(_listing(folder)))
        hidden = {stem(name) for name in others if name.endswith(TOMBSTONE_SUFFIX)}
        for name in others:
            path = folder / name
            if not name.endswith(TOMBSTONE_SUFFIX) and path not in self._warned:
                self._warned.add(path)
                _STRANGERS.labels(channel, quality).inc()
                log.warning("name_skipped", path=str(path), reason="This is not the name of a segment.")
        return [segment for segment in segments if stem(segment.name) not in hidden] if hidden else segments

    @timed("store_sequence", "Finding what covers a range.")
    def sequence(
        self,
        channel: str,
        quality: str,
        start: datetime,
        end: datetime,
        *,
        allow_holes: bool = True,
        without: Collection[Segment] = (),
    ) -> BestSequence:
        """Give what covers the range, both ends aware and included; `without` are as if they were not there.

        Raises ContainsHolesError at the first hole if holes are refused, BadPathError for names that cannot be,
        ValueError if the range ends before it starts.
        """
        hours = self.hours_for(channel, quality, start, end)
        fewer = set(map(hour_of, without))
        covered = (
            self._cover_without(channel, quality, hour, without)
            if hour in fewer
            else self.candidates(channel, quality, hour)
            for hour in hours
        )
        return best_sequence(covered, start, end, allow_holes=allow_holes, joins=self.joins(channel, quality))

    def _cover_without(
        self, channel: str, quality: str, hour: datetime, without: Collection[Segment]
    ) -> HourCandidates:
        folder = self.folder(channel, quality) / hour_name(hour)
        left = [segment for segment in self._visible(folder, channel, quality) if segment not in without]
        return cover_hour(left, lambda segment: size_of(f"{folder}/{segment.name}"), self.joins(channel, quality))

    def hours_for(self, channel: str, quality: str, start: datetime, end: datetime) -> list[datetime]:
        """Give the hours on which a range may depend: those that exist, or all if they are few.

        They are those that it touches, the one before it, and that of the segment which follows it closely.
        """
        first, last = floor_hour(start) - HOUR, end + SAME_MOMENT
        if end - start <= _LONG_RANGE:
            return [first, *hours_touching(start, last)]
        return [hour for hour in map(parse_hour, self.hours(channel, quality)) if first <= hour <= last]

    def changed_since(self, channel: str, quality: str, hour: datetime, moment: datetime) -> bool:
        """Tell whether an hour's folder may have changed since a moment (aware UTC); False if there is none."""
        stamp = stamp_of(self.folder(channel, quality) / hour_name(hour))
        return stamp is not None and stamp.changed_ns / 1e9 >= moment.timestamp()

    def watch(self, channel: str, quality: str, hour: datetime) -> "HourWatch":
        """Begin to watch what arrives in an hour (its first moment)."""
        return HourWatch(self.folder(channel, quality) / hour_name(hour), hour)

    def span(self, channel: str, quality: str) -> tuple[datetime, datetime] | None:
        """Give the start of the first segment and the end of the last, or None if nothing is recorded."""
        names = self.hours(channel, quality)
        first = next(self._some(channel, quality, names), None)
        last = next(self._some(channel, quality, reversed(names)), None)
        return None if first is None or last is None else (first[0].start, last[-1].end)

    def first_start(self, channel: str, quality: str) -> datetime | None:
        """Give the start of the first segment, or None if nothing is recorded; the last hours are not looked at."""
        first = next(self._some(channel, quality, self.hours(channel, quality)), None)
        return None if first is None else first[0].start

    def _some(self, channel: str, quality: str, hours: Iterable[str]) -> Iterator[tuple[Segment, ...]]:
        covered = (self.candidates(channel, quality, parse_hour(name)) for name in hours)
        return (hour.segments for hour in covered if hour.segments)

    def check_writable(self) -> None:
        """Make the base folder if need be. Raises UserError if it cannot be made or written to."""
        try:
            self.base.mkdir(parents=True, exist_ok=True)
            probe = self.base / f".writable-{os.getpid()}"
            probe.touch()
            probe.unlink()
        except OSError as error:
            raise UserError(
                f"The folder {self.base} cannot be written to ({error.strerror}); "
                "change its rights or name another one with --base-dir."
            ) from error

    def check_readable(self) -> None:
        """Raise UserError if there is no base folder that can be listed."""
        try:
            os.scandir(self.base).close()
        except OSError as error:
            raise UserError(
                f"The folder {self.base} cannot be read ({error.strerror}); name the store's folder with --base-dir."
            ) from error


_EMPTY = cover_hour((), lambda _: 0)


class KnownJoins:
    """Tells by the facts known whether the media of two segments runs on: a MediaJoins. Each hour is looked up once."""

    def __init__(self, known: Callable[[datetime], Mapping[str, Facts]]) -> None:
        """Have looked at nothing yet; `known` gives the facts of an hour (its first moment)."""
        self._known = known
        self._hours: dict[datetime, Mapping[str, Facts]] = {}

    def __call__(self, earlier: Segment, later: Segment) -> bool | None:
        """Answer; None if either is not known."""
        before, after = self.facts(earlier), self.facts(later)
        return None if before is None or after is None else joins(before, after)

    def facts(self, segment: Segment) -> Facts | None:
        """Give the facts of a segment as they were when its hour was first asked for."""
        hour = hour_of(segment)
        if hour not in self._hours:
            self._hours[hour] = self._known(hour)
        return self._hours[hour].get(segment.hash)


class HourWatch:
    """What arrives in the folder of one hour, told once; its times are those of the files' last modification."""

    def __init__(self, folder: Path, hour: datetime) -> None:
        """Have seen nothing yet."""
        self._folder = folder
        self._hour = hour
        self._stamp: Stamp | None = None
        self._seen: set[str] = set()

    def news(self) -> list[Arrival]:
        """Give the segments that have come since the last time, and again those that have since been hidden.

        In the order in which they came. An unchanged folder costs one stat.
        """
        looked_ns = time.time_ns()
        stamp = stamp_of(self._folder)
        if stamp is None or stamp == self._stamp:
            return []
        names = set(_listing(self._folder))
        new = names - self._seen
        hidden = {stem(name) for name in names if name.endswith(TOMBSTONE_SUFFIX)}
        newly_hidden = {stem(name) for name in new if name.endswith(TOMBSTONE_SUFFIX)}
        again = {name for name in names if stem(name) in newly_hidden} if newly_hidden else set()
        told = sorted(new | again)
        segments, _ = parse_names(self._hour, [name for name in told if name.endswith(SUFFIXES)])
        arrivals = [self._arrival(s, s.name in new, hidden) for s in segments if s.type is not SegmentType.TEMP]
        # a folder that can change again within the same tick of the clock is looked at once more
        self._stamp = stamp if stamp.settled(looked_ns) else None
        self._seen = names
        return sorted(filter(None, arrivals), key=lambda arrival: (arrival.at, arrival.segment.name))

    def _arrival(self, segment: Segment, is_new: bool, hidden: set[str]) -> Arrival | None:  # noqa: FBT001 - private
        came = _modified(f"{self._folder}/{segment.name}")
        gone = _modified(f"{self._folder}/{tombstone_name(segment.name)}") if stem(segment.name) in hidden else None
        if came is None:
            return None
        return Arrival(segment, came if is_new else max(came, gone or came), gone)


def _modified(path: str) -> datetime | None:
    try:
        return datetime.fromtimestamp(os.stat(path).st_mtime, UTC)  # noqa: PTH116 - as for `size_of`
    except FileNotFoundError:
        return None


def component(name: str) -> str:
    """Check one part of a path: no way out of its folder, nothing hidden. Raises BadPathError."""
    try:
        size = len(name.encode())
    except UnicodeEncodeError:  # a lone surrogate: it has no place in a path
        size = 0
    if not 0 < size <= _NAME_BYTES or name.startswith(".") or "/" in name or "\0" in name:
        raise BadPathError(f"{name[:200]!r} cannot be the name of something recorded.")
    return name


def _is_component(name: str) -> bool:
    try:
        component(name)
    except BadPathError:
        return False
    return True


def _hour_component(name: str) -> str:
    try:
        parse_hour(name)
    except ValueError as error:
        raise BadPathError(str(error)) from error
    return name


def stamp_of(folder: Path | str) -> Stamp | None:
    """Look when a folder last changed; None if it is not there."""
    try:
        found = os.stat(folder)  # noqa: PTH116 - half the time of Path.stat, for each hour of each request
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stamp(found.st_ino, found.st_ctime_ns)


def size_of(path: str) -> int:
    """Give a file's bytes, or -1 if it has gone since its folder was listed."""
    try:
        return os.stat(path).st_size  # noqa: PTH116 - a fifth of the time of a Path, where two candidates are alike
    except FileNotFoundError:
        return -1


def _listing(folder: Path) -> list[str]:
    try:
        return [name for name in os.listdir(folder) if not name.startswith(".")]  # noqa: PTH208 - the hot path
    except (FileNotFoundError, NotADirectoryError):
        return []


def _folders(parent: Path) -> list[str]:
    try:
        with os.scandir(parent) as entries:
            return sorted(entry.name for entry in entries if _is_component(entry.name) and entry.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def _count_passed_over(channel: str, quality: str, fresh: HourCandidates, before: _CachedHour | None) -> None:
    """Count and log what an hour newly passes over, not what it passed over at its last reading already."""
    old = before.candidates.alone if before is not None else _EMPTY.alone
    overlapped, skewed = fresh.alone.overlapped - old.overlapped, fresh.alone.skewed - old.skewed
    if overlapped > 0 or skewed > 0:
        _OVERLAPPED.labels(channel, quality).inc(max(0, overlapped))
        _SKEWED.labels(channel, quality).inc(max(0, skewed))
        where = {"channel": channel, "quality": quality, "hour": fresh.segments[0].hour}
        log.info("segments_passed_over", **where, overlapped=overlapped, skewed=skewed)
