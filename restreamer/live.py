"""The live playlists that are being read: each a ledger, kept as long as it is asked for.

When a ledger opened, and which numbers its hours had when they went by, is noted in a hidden folder of the store, so
that several processes, and one that is started again, go on with the same list. Where that folder cannot be written, a
list lives in this process alone.
"""

import hashlib
import json
import os
import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import groupby
from pathlib import Path

import structlog

from common.coverage import BestSequence, HourCandidates, MediaJoins, best_sequence, cover_hour
from common.dateutil import HOUR, floor_hour, format_utc, hours_touching, parse_utc_only
from common.facts import Facts, joins
from common.segments import Arrival, Segment, hour_of
from common.sidecar import FactsStore
from common.store import HourWatch, Store, size_of
from restreamer.chunks import Chunk
from restreamer.ledger import LONG_AGO, Entry, Ledger, open_ledger
from restreamer.playlist import entries_chunk, live_target_duration, media_breaks, target_duration

log = structlog.get_logger()

# A segment has its time a moment before it has its name; what should have come until then is waited for so long.
_NAMING = timedelta(milliseconds=100)

# Entries are rendered in groups by the time of day, so that lists which begin at different times share them.
_GROUP = timedelta(minutes=10)
_SHARED_GROUPS = 4096

# Each holds some megabytes at most; one that is dropped is worked out again when it is asked for.
_LISTS = 64

# A note whose list was not asked for so long is removed.
_NOTE_SECONDS = 2 * 24 * 3600.0
_TOUCH_SECONDS = 600.0
_NOTES = ".live"


@dataclass(frozen=True, slots=True)
class Key:
    """Which list: a quality of a channel, from a moment on (None: from the first segment on)."""

    channel: str
    quality: str
    start: datetime | None

    @property
    def note(self) -> str:
        """A file name for it."""
        text = json.dumps([self.channel, self.quality, self.start and format_utc(self.start)])
        return hashlib.sha256(text.encode()).hexdigest()[:40]


@dataclass(slots=True)
class Note:
    """What must outlive the process: when the list opened, its target duration, and the numbers its hours began with.

    `marks`: for the first entry of an hour its Media Sequence Number, the breaks before it, and whether it has one.
    """

    opened: datetime
    target: int
    marks: dict[str, tuple[int, int, bool]] = field(default_factory=dict)

    def to_json(self) -> str:
        """Write it."""
        return json.dumps({"opened": format_utc(self.opened), "target": self.target, "marks": self.marks})

    @classmethod
    def from_json(cls, text: str) -> "Note":
        """Read it. Raises ValueError, KeyError or TypeError if it is none."""
        found = json.loads(text)
        marks = {str(hour): (int(mark[0]), int(mark[1]), bool(mark[2])) for hour, mark in found["marks"].items()}
        return cls(parse_utc_only(found["opened"]), int(found["target"]), marks)


class LiveList:
    """One live playlist as it is now. To be used under its `lock`; it blocks."""

    def __init__(self, store: Store, facts: FactsStore, key: Key, base: str, groups: "SharedGroups") -> None:
        """Have nothing yet; `base` is the address below which the hours' segments are."""
        self.lock = threading.Lock()
        self.ledger = Ledger(self._breaks, self._joins)
        self.facts: dict[str, Facts] = {}
        self.note: Note | None = None
        self._store = store
        self._probed = facts
        self._key = key
        self._base = base
        self._shared = groups
        self._watches: dict[datetime, HourWatch] = {}
        self._rendered: list[Chunk] = []
        self._rendered_entries = 0

    def open(self, start: datetime, note: Note) -> None:
        """Work out what the list had when it opened; `start` is what it begins with."""
        self._watches = {}
        channel, quality, until = self._key.channel, self._key.quality, note.opened + HOUR
        hours = self._store.hours_for(channel, quality, start, until)
        arrivals: list[Arrival] = []
        there: dict[datetime, list[Segment]] = {}
        for hour in hours:
            if self._store.changed_since(channel, quality, hour, note.opened - HOUR):
                news = self._watch(hour).news()
                there[hour] = [arrival.segment for arrival in news if _was_there(arrival, note.opened)]
                arrivals += news

        def cover() -> BestSequence:
            known = self._store.joins(channel, quality)
            candidates = (self._candidates(hour, there.get(hour), known) for hour in hours)
            return best_sequence(candidates, start, until, joins=known)

        # what joins is told now and once for all: a list that is opened again must not become another one
        sequence = self._probed.settle(channel, quality, cover)
        self._learn(sequence)
        times = {arrival.segment: arrival.at for arrival in arrivals}
        self.ledger = open_ledger(
            sequence, lambda segment: times.get(segment, segment.end), note.opened, self._breaks, self._joins
        )
        if self.ledger.entries:
            self._number(note)
            self.note = note
            self._advance([arrival for arrival in arrivals if arrival.at > note.opened], note.opened)

    def update(self, now: datetime) -> bool:
        """Take in what has come, leave out what was deleted; tell whether the note has something new to keep."""
        if self.note is None:
            return False
        edge = floor_hour(self.ledger.entries[-1].segment.end if self.ledger.entries else self.note.opened)
        for hour in hours_touching(edge, now + HOUR):
            self._watch(hour)
        self._watches = {hour: watch for hour, watch in self._watches.items() if hour >= edge}
        news = [arrival for watch in self._watches.values() for arrival in watch.news()]
        self._advance([arrival._replace(at=min(arrival.at, now)) for arrival in news], now - _NAMING)
        self._forget_deleted()
        return self._mark(self.note)

    def _learn(self, sequence: BestSequence) -> None:
        """Gather what is known of the segments; fragmented MP4 cannot be listed without, so that is probed now."""
        for hour in sequence.hours:
            self.facts.update(self._probed.known(self._key.channel, self._key.quality, hour_of(hour.segments[0])))
            unknown = [s for s in hour.segments if s.name.endswith(".mp4") and s.hash not in self.facts]
            self._probe(unknown)

    def _probe(self, segments: list[Segment]) -> None:
        if segments:
            self.facts.update(self._probed.probe_missing(self._key.channel, self._key.quality, segments))

    def _candidates(self, hour: datetime, there: list[Segment] | None, joins: MediaJoins) -> HourCandidates:
        if there is None:
            return self._store.candidates(self._key.channel, self._key.quality, hour)
        return cover_hour(there, self._size, joins)

    def _joins(self, earlier: Segment, later: Segment) -> bool | None:
        before, after = self.facts.get(earlier.hash), self.facts.get(later.hash)
        return None if before is None or after is None else joins(before, after)

    def _breaks(self, earlier: Segment, later: Segment) -> bool:
        return media_breaks(self.facts, earlier, later)

    def _advance(self, arrivals: list[Arrival], now: datetime) -> None:
        arrivals.sort(key=_order)
        # probed before they can be listed: whether they break from what is before them is then told once and for all
        last = [entry.segment for entry in self.ledger.entries[-1:]]
        edge = last[0].start if last else LONG_AGO
        # what starts before the edge came too late to be listed, and may be all of an hour that is newly watched
        ahead = [arrival.segment for arrival in arrivals if arrival.segment.start >= edge]
        self._probe([segment for segment in [*last, *ahead] if segment.hash not in self.facts])
        self.ledger.advance(arrivals, max([now, *(arrival.at for arrival in arrivals[-1:])]))

    def chunks(self) -> list[Chunk]:
        """Give the entries as text, in chunks that stay the same as long as they can."""
        entries = self.ledger.entries
        groups = [list(group) for _, group in groupby(entries[self._rendered_entries :], _group)]
        for group in groups[:-1]:
            self._rendered.append(self._shared.chunk(self._base, group, self.facts))
            self._rendered_entries += len(group)
        return [*self._rendered, *(entries_chunk(self._base, group, self.facts) for group in groups[-1:])]

    def newest(self, skipped: int) -> Chunk:
        """Give the entries but the first so many."""
        return entries_chunk(self._base, self.ledger.entries[skipped:], self.facts)

    def until(self, end: datetime) -> Chunk:
        """Give the entries that start by a moment."""
        listed = [entry for entry in self.ledger.entries if entry.segment.start <= end]
        return entries_chunk(self._base, listed, self.facts)

    def _watch(self, hour: datetime) -> HourWatch:
        if hour not in self._watches:
            self._watches[hour] = self._store.watch(self._key.channel, self._key.quality, hour)
        return self._watches[hour]

    def _size(self, segment: Segment) -> int:
        return size_of(str(self._store.segment_path(self._key.channel, self._key.quality, segment)))

    def _number(self, note: Note) -> None:
        """Go on with the numbers that the first entry's hour had when there were others before it."""
        first, breaks, broken = note.marks.get(self.ledger.entries[0].segment.hour, (0, 0, False))
        self.ledger.first, self.ledger.first_break = first, breaks
        self.ledger.entries[0] = Entry(self.ledger.entries[0].segment, broken)

    def _forget_deleted(self) -> None:
        folder = self._store.folder(self._key.channel, self._key.quality)
        entries = self.ledger.entries
        if not entries or (folder / entries[0].segment.hour).exists():
            return
        left = next((entry for entry in entries if (folder / entry.segment.hour).exists()), None)
        self.ledger.forget(left.segment.start if left is not None else entries[-1].segment.end)
        self._rendered, self._rendered_entries = [], 0

    def _mark(self, note: Note) -> bool:
        """Note the numbers of hours that have begun, and a target duration that had to grow."""
        entries = self.ledger.entries
        last = max(note.marks, default="")
        grown = False
        breaks = self.ledger.first_break
        if entries and entries[-1].segment.hour > last:
            for number, entry in enumerate(entries, start=self.ledger.first):
                hour = entry.segment.hour
                if hour > last:
                    note.marks[hour] = (number, breaks, entry.broken)
                    last, grown = hour, True
                breaks += entry.broken
        needed = target_duration(entry.segment.duration for entry in entries[-1:])
        if needed > note.target:
            # against RFC 8216 §6.2.1, and still better than to leave out all that an encoder sends from now on
            log.warning("target_duration_grew", channel=self._key.channel, quality=self._key.quality, seconds=needed)
            note.target, grown = needed, True
        return grown


def _was_there(arrival: Arrival, moment: datetime) -> bool:
    return arrival.at <= moment and not (arrival.hidden is not None and arrival.hidden <= moment)


def _order(arrival: Arrival) -> tuple[datetime, str]:
    return arrival.at, arrival.segment.name


def _group(entry: Entry) -> tuple[datetime, int]:
    return floor_hour(entry.segment.start), entry.segment.start.minute // 10


class SharedGroups:
    """Rendered groups of entries, by what is in them: lists of the same quality have most of them in common."""

    def __init__(self) -> None:
        """Hold none yet."""
        self._chunks: OrderedDict[tuple[str, tuple[Entry, ...]], Chunk] = OrderedDict()
        self._lock = threading.Lock()

    def chunk(self, base: str, entries: Sequence[Entry], facts: Mapping[str, Facts]) -> Chunk:
        """Give the chunk of these entries."""
        key = (base, tuple(entries))
        with self._lock:
            found = self._chunks.get(key)
            if found is None:
                found = self._chunks[key] = entries_chunk(base, entries, facts)
                if len(self._chunks) > _SHARED_GROUPS:
                    self._chunks.popitem(last=False)
            self._chunks.move_to_end(key)
            return found


class Notes:
    """The notes on disk; where they cannot be written they are not, which is said once."""

    def __init__(self, folder: Path) -> None:
        """Use this folder; it is made when the first note is."""
        self._folder = folder
        self._touched: dict[Key, float] = {}
        self._told = False

    def read(self, key: Key) -> Note | None:
        """Give the note of a list, if there is one that can be read."""
        try:
            return Note.from_json((self._folder / key.note).read_text(encoding="utf-8"))
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def decide(self, key: Key, note: Note) -> Note:
        """Write a note unless another process has written one just now; give the one that holds."""
        temp = self._temp(key, note)
        if temp is None:
            return note
        try:
            (self._folder / key.note).hardlink_to(temp)
        except FileExistsError:
            return self.read(key) or note
        except OSError as error:
            self._tell(error)
        finally:
            temp.unlink(missing_ok=True)
        self._remove_old()
        return note

    def write(self, key: Key, note: Note) -> None:
        """Write what has been added to a note."""
        temp = self._temp(key, note)
        if temp is not None:
            temp.replace(self._folder / key.note)

    def touch(self, key: Key) -> None:
        """Note, now and then, that a list is still read."""
        now = time.monotonic()
        if now - self._touched.get(key, 0.0) > _TOUCH_SECONDS:
            self._touched[key] = now
            with suppress(OSError):
                os.utime(self._folder / key.note)

    def _temp(self, key: Key, note: Note) -> Path | None:
        temp = self._folder / f".{key.note}.{os.getpid()}.{threading.get_ident()}"
        try:
            self._folder.mkdir(exist_ok=True)
            temp.write_text(note.to_json(), encoding="utf-8")
        except OSError as error:
            self._tell(error)
            return None
        return temp

    def _remove_old(self) -> None:
        oldest = time.time() - _NOTE_SECONDS
        with suppress(OSError):
            for path in self._folder.iterdir():
                if path.stat().st_mtime < oldest:
                    path.unlink(missing_ok=True)

    def _tell(self, error: OSError) -> None:
        if not self._told:
            self._told = True
            log.warning("live_lists_not_noted", folder=str(self._folder), reason=error.strerror)


class LiveLists:
    """All live playlists of a store."""

    def __init__(self, store: Store, facts: FactsStore) -> None:
        """Hold none yet."""
        self._store = store
        self._facts = facts
        self._lists: OrderedDict[Key, LiveList] = OrderedDict()
        self._lock = threading.Lock()
        self._groups = SharedGroups()
        self._notes = Notes(store.base / _NOTES)

    @contextmanager
    def reading(self, key: Key, base: str, start: datetime, now: datetime) -> Iterator[LiveList | None]:
        """Have a list as it is `now` for oneself; None if there is nothing to list yet. It blocks."""
        with self._lock:
            live = self._lists.setdefault(key, LiveList(self._store, self._facts, key, base, self._groups))
            self._lists.move_to_end(key)
            if len(self._lists) > _LISTS:
                self._lists.popitem(last=False)
        with live.lock:
            if live.note is None:
                self._open(live, key, start, now)
            if live.note is None:
                yield None
                return
            if live.update(now):
                self._notes.write(key, live.note)
            self._notes.touch(key)
            yield live

    def is_read(self, key: Key) -> bool:
        """Tell whether this process is serving a list."""
        return key in self._lists

    def _open(self, live: LiveList, key: Key, start: datetime, now: datetime) -> None:
        noted = self._notes.read(key)
        live.open(start, noted if noted is not None else Note(now, 0))
        if noted is None and live.note is not None:
            live.note.target = live_target_duration([entry.segment.duration for entry in live.ledger.entries])
            decided = self._notes.decide(key, live.note)
            if decided != live.note:  # another process was a moment faster
                live.open(start, decided)
