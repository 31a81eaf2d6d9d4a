"""The live playlists that are being read: each a ledger, kept as long as it is asked for.

When a ledger opened, and which numbers its hours had when they went by, is noted on disk (`restreamer.notes`), so that
several processes, and one that is started again, go on with the same list.
"""

import math
import threading
import time
from bisect import bisect_left, bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import groupby
from operator import attrgetter

import structlog

from common.coverage import SAME_MOMENT, BestSequence, HourCandidates, MediaJoins, best_sequence, cover_hour
from common.dateutil import HOUR, floor_hour, hours_touching, parse_hour
from common.facts import Facts, joins
from common.segments import Arrival, Segment, hour_of
from common.sidecar import FactsStore
from common.store import HourWatch, Store, size_of
from restreamer.chunks import Chunk
from restreamer.ledger import LONG_AGO, Entry, Ledger, open_ledger
from restreamer.notes import TOUCH_SECONDS, Key, Note, Notes
from restreamer.playlist import entries_chunk, is_fragmented, live_target_duration, media_breaks, target_duration

log = structlog.get_logger()

# A segment has its time a moment before it has its name; what should have come until then is waited for so long.
_NAMING = timedelta(milliseconds=100)

# Entries are rendered in groups by the time of day, so that lists which begin at different times share them: those of
# a week of one quality, some 100 kB each.
_GROUP_MINUTES = 10
_SHARED_GROUPS = 1024

# Lists, and entries of them all, of some hundred bytes each. What is dropped is worked out again when it is asked for.
_LISTS = 64
_MOST_ENTRIES = 1_500_000

# When a ledger opens, more than it wants to know the times of arrival of.
_RECENT = timedelta(minutes=10)

# More entries, and breaks, than there can have been after the first one of an hour.
_MOST_IN_HOUR = 100_000

_start = attrgetter("segment.start")


class LiveList:
    """One live playlist as it is now. To be used under its `lock`; it blocks."""

    def __init__(self, store: Store, facts: FactsStore, key: Key, base: str, groups: "SharedGroups") -> None:
        """Have nothing yet; `base` is the address below which the hours' segments are."""
        self.lock = threading.Lock()
        self.ledger = Ledger(self._breaks, self._joins)
        self.facts: dict[str, Facts] = {}
        # `ready` is not, before it has opened and after something went wrong: then it is opened (again) from the note
        self.note: Note | None = None
        self.ready = False
        self.fragmented = False
        self.touched = -math.inf
        self._store = store
        self._probed = facts
        self._key = key
        self._base = base
        self._shared = groups
        self._watches: dict[datetime, HourWatch] = {}
        self._seen = 0
        self._rendered: list[tuple[int, Chunk]] = []

    def open(self, start: datetime, note: Note, now: datetime) -> None:
        """Work out what the list had when it opened; `start` is what it begins with."""
        self.ready = self.fragmented = False
        self._watches, self._seen, self._rendered = {}, 0, []
        if start > note.opened + HOUR:
            return
        has_opened = note.breaks is not None  # then it goes on, even if all that it had has been deleted
        sequence, arrivals = self._recorded(start, note, now)
        self._learn(sequence)
        recent = note.opened - _RECENT
        times = {arrival.segment: arrival.at for arrival in arrivals if arrival.segment.end >= recent}
        breaks = self._opening_breaks(note)
        self.ledger = open_ledger(
            sequence, lambda segment: times.get(segment, segment.end), note.opened, breaks, self._joins
        )
        if self.ledger.entries or has_opened:
            self.ledger.breaks = self._breaks
            self._advance([arrival for arrival in arrivals if arrival.at > note.opened], note.opened)
            self._number(note)
            self.note, self.ready = note, True

    def _recorded(self, start: datetime, note: Note, now: datetime) -> tuple[BestSequence, list[Arrival]]:
        """Give what there was when the list opened, and all arrivals in the hours that have changed lately, or since.

        What joins is told then and once for all: a list that is opened again must not become another one.
        """
        channel, quality, until = self._key.channel, self._key.quality, note.opened + HOUR
        hours = self._store.hours_for(channel, quality, start, until)
        arrivals: list[Arrival] = []
        there: dict[datetime, list[Segment]] = {}
        for hour in hours:
            # of what a list that opens only now finds in old hours, it does not matter when it came
            if (note.breaks is not None or hour + HOUR >= note.opened - _RECENT) and self._store.changed_since(
                channel, quality, hour, note.opened - HOUR
            ):
                news = _told_by(now, self._watch(hour).news())
                there[hour] = [arrival.segment for arrival in news if _was_there(arrival, note.opened)]
                arrivals += news

        def cover() -> BestSequence:
            known = self._store.joins(channel, quality)
            candidates = (self._candidates(hour, there.get(hour), known) for hour in hours)
            return best_sequence(candidates, start, until, joins=known)

        return self._probed.settle(channel, quality, cover), arrivals

    def update(self, now: datetime) -> bool:
        """Take in what has come, leave out what was deleted; tell whether the note has something new to keep."""
        if self.note is None or not self.ready:
            return False
        self.ready = False  # what watches have told and then got lost in an error is not told again
        # what follows the last one may be dated a moment before its end, and so in the hour before
        edge = floor_hour(self.ledger.last.end - SAME_MOMENT if self.ledger.last is not None else self.note.opened)
        for hour in hours_touching(edge, now + HOUR):
            self._watch(hour)
        self._watches = {hour: watch for hour, watch in self._watches.items() if hour >= edge}
        news = [arrival for watch in self._watches.values() for arrival in watch.news()]
        self._advance(_told_by(now, news), now - _NAMING)
        self._forget_deleted()
        self.ready = True
        grown = self._grow_target(self.note)
        return self._mark(self.note) or grown

    def _learn(self, sequence: BestSequence) -> None:
        """Gather what is known of the segments; fragmented MP4 cannot be listed without, so that is probed now."""
        for hour in sequence.hours:
            self.facts.update(self._probed.known(self._key.channel, self._key.quality, hour_of(hour.segments[0])))
            self._probe([segment for segment in hour.segments if segment.name.endswith(".mp4")])

    def _probe(self, segments: Sequence[Segment]) -> None:
        missing = [segment for segment in segments if segment.hash not in self.facts]
        if missing:
            self.facts.update(self._probed.probe_missing(self._key.channel, self._key.quality, missing))

    def _candidates(self, hour: datetime, there: list[Segment] | None, joins: MediaJoins) -> HourCandidates:
        if there is None:
            return self._store.candidates(self._key.channel, self._key.quality, hour)
        return cover_hour(there, self._size, joins)

    def _joins(self, earlier: Segment, later: Segment) -> bool | None:
        self._probe([earlier, later])
        before, after = self.facts.get(earlier.hash), self.facts.get(later.hash)
        return None if before is None or after is None else joins(before, after)

    def _breaks(self, earlier: Segment, later: Segment) -> bool:
        self._probe([earlier, later])
        return media_breaks(self.facts, earlier, later)

    def _opening_breaks(self, note: Note) -> Callable[[Segment, Segment], bool]:
        """Tell where the media breaks in what a list opens with: what is known of that now, and is noted from then on.

        It is not probed, which would take too long; but who opens the list after us, and may know more, must agree.
        """
        if note.breaks is not None:
            known = note.breaks
            return lambda _, later: later.start in known
        found = note.breaks = set()

        def breaks(earlier: Segment, later: Segment) -> bool:
            if self.facts and media_breaks(self.facts, earlier, later):
                found.add(later.start)
            return later.start in found

        return breaks

    def _advance(self, arrivals: list[Arrival], now: datetime) -> None:
        arrivals.sort(key=_order)
        # probed before they can be listed: whether they break from what is before them is then told once and for all;
        # what starts before the edge came too late to be listed, and may be all of an hour that is newly watched
        edge = self.ledger.last.start if self.ledger.last is not None else LONG_AGO
        self._probe([arrival.segment for arrival in arrivals if arrival.segment.start >= edge])
        self.ledger.advance(arrivals, max([now, *(arrival.at for arrival in arrivals[-1:])]))

    def listed(self, end: datetime | None) -> int:
        """Count the entries that start by a moment, or all."""
        entries = self.ledger.entries
        return len(entries) if end is None else bisect_right(entries, end, key=_start)

    def chunks(self, count: int) -> list[Chunk]:
        """Give the first so many entries as text, in chunks that stay the same as long as they can."""
        entries = self.ledger.entries
        done = self._rendered[-1][0] if self._rendered else 0
        groups = [list(group) for _, group in groupby(entries[done:], _group)]
        for group in groups[:-1]:
            done += len(group)
            self._rendered.append((done, self._shared.chunk(self._base, group, self.facts)))
        whole = self._rendered[: bisect_right(self._rendered, count, key=lambda group: group[0])]
        rest = entries[whole[-1][0] if whole else 0 : count]
        return [*(chunk for _, chunk in whole), *([entries_chunk(self._base, rest, self.facts)] if rest else [])]

    def newest(self, skipped: int, count: int) -> Chunk:
        """Give of the first so many entries all but the first `skipped`."""
        return entries_chunk(self._base, self.ledger.entries[skipped:count], self.facts)

    def _watch(self, hour: datetime) -> HourWatch:
        if hour not in self._watches:
            self._watches[hour] = self._store.watch(self._key.channel, self._key.quality, hour)
        return self._watches[hour]

    def _size(self, segment: Segment) -> int:
        return size_of(str(self._store.segment_path(self._key.channel, self._key.quality, segment)))

    def _number(self, note: Note) -> None:
        """Go on with the numbers that the newest hour had, whatever has become of those before it."""
        ledger, entries = self.ledger, self.ledger.entries
        for hour in sorted(note.marks, reverse=True):
            index = bisect_left(entries, parse_hour(hour), key=_start)
            if index < len(entries) and entries[index].segment.hour == hour:
                number, breaks, broken = note.marks[hour]
                entries[index] = Entry(entries[index].segment, broken)
                surplus = max(0, index - number)  # more than there were: what players have not seen
                ledger.first = number - (index - surplus)
                ledger.first_break = max(0, breaks - sum(entry.broken for entry in entries[surplus:index]))
                del entries[:surplus]
                return
        if note.marks:  # of all hours that were marked there is nothing left; numbers must not go back
            number, gone, _ = note.marks[max(note.marks)]
            ledger.first, ledger.first_break = number + _MOST_IN_HOUR, gone + _MOST_IN_HOUR

    def _forget_deleted(self) -> None:
        entries = self.ledger.entries
        # an hour that was deleted may leave tombstones behind, and so a folder: its segments tell
        if not entries or self._store.segment_path(self._key.channel, self._key.quality, entries[0].segment).exists():
            return
        hours = groupby(entries, lambda entry: entry.segment.hour)
        left = next((next(group) for hour, group in hours if self._has_segments(hour)), None)
        if left is entries[0]:
            return
        before = len(entries)
        self.ledger.forget(left.segment.start if left is not None else entries[-1].segment.end)
        self._seen -= before - len(entries)
        self._rendered = []

    def _has_segments(self, hour: str) -> bool:
        return bool(self._store.candidates(self._key.channel, self._key.quality, parse_hour(hour)).segments)

    def _grow_target(self, note: Note) -> bool:
        """Look at the entries that are new; tell whether the target duration had to grow for them."""
        new = [entry.segment for entry in self.ledger.entries[self._seen :]]
        self._seen = len(self.ledger.entries)
        self.fragmented = self.fragmented or is_fragmented(new)
        needed = target_duration(segment.duration for segment in new)
        if needed <= note.target:
            return False
        # against RFC 8216 §6.2.1, and still better than to leave out all that an encoder sends from now on
        log.warning("target_duration_grew", channel=self._key.channel, quality=self._key.quality, seconds=needed)
        note.target = needed
        return True

    def _mark(self, note: Note) -> bool:
        """Note the numbers of hours that have begun; tell whether there are such."""
        entries = self.ledger.entries
        last = max(note.marks, default="")
        if not entries or entries[-1].segment.hour <= last:
            return False
        index = bisect_left(entries, parse_hour(last) + HOUR, key=_start) if last else 0
        breaks = self.ledger.first_break + sum(entry.broken for entry in entries[:index])
        while index < len(entries):
            first = entries[index]
            note.marks[first.segment.hour] = (self.ledger.first + index, breaks, first.broken)
            following = bisect_left(entries, floor_hour(first.segment.start) + HOUR, key=_start)
            breaks += sum(entry.broken for entry in entries[index:following])
            index = following
        return True


def _told_by(now: datetime, arrivals: list[Arrival]) -> list[Arrival]:
    """Take what seems to come from the future, since a clock was wrong, as having come when it ended."""
    return [a if a.at <= now else a._replace(at=min(now, a.segment.end)) for a in arrivals]


def _was_there(arrival: Arrival, moment: datetime) -> bool:
    return arrival.at <= moment and not (arrival.hidden is not None and arrival.hidden <= moment)


def _order(arrival: Arrival) -> tuple[datetime, str]:
    return arrival.at, arrival.segment.name


def _group(entry: Entry) -> tuple[int, int, int]:
    start = entry.segment.start
    return start.day, start.hour, start.minute // _GROUP_MINUTES


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


class LiveLists:
    """All live playlists of a store."""

    def __init__(self, store: Store, facts: FactsStore) -> None:
        """Hold none yet."""
        self._store = store
        self._facts = facts
        self._lists: OrderedDict[Key, LiveList] = OrderedDict()
        self._lock = threading.Lock()
        self._groups = SharedGroups()
        self._notes = Notes(store.base)

    @contextmanager
    def reading(self, key: Key, base: str, start: datetime, now: datetime) -> Iterator[LiveList | None]:
        """Have a list as it is `now` for oneself; None if there is nothing to list yet. It blocks."""
        with self._lock:
            live = self._lists.setdefault(key, LiveList(self._store, self._facts, key, base, self._groups))
        with live.lock:
            try:
                if not live.ready:
                    self._open(live, key, start, now)
                if live.note is not None and live.update(now):
                    self._notes.add(key, live.note)
            finally:
                self._keep(key, live)
            if live.ready and time.monotonic() - live.touched > TOUCH_SECONDS:
                live.touched = time.monotonic()
                self._notes.touch(key)
            yield live if live.ready else None

    def is_read(self, key: Key) -> bool:
        """Tell whether a list is being served, by this process or another one."""
        return key in self._lists or self._notes.exists(key)

    def _keep(self, key: Key, live: LiveList) -> None:
        """Keep a list that is ready for the next time, and others as long as there is room; one that is not, is not."""
        with self._lock:
            self._lists.pop(key, None)
            if live.ready:
                self._lists[key] = live
            entries = sum(len(other.ledger.entries) for other in self._lists.values())
            while len(self._lists) > 1 and (len(self._lists) > _LISTS or entries > _MOST_ENTRIES):
                _, dropped = self._lists.popitem(last=False)
                entries -= len(dropped.ledger.entries)

    def _open(self, live: LiveList, key: Key, start: datetime, now: datetime) -> None:
        noted = live.note or self._notes.read(key)
        live.open(start, noted if noted is not None else Note(now), now)
        if noted is None and live.note is not None:
            live.note.target = live_target_duration([entry.segment.duration for entry in live.ledger.entries])
            decided = self._notes.decide(key, live.note)
            if decided != live.note:  # another process was a moment faster
                live.open(start, decided, now)
