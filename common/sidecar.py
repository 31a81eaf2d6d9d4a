"""The facts of an hour's segments, kept beside them in a hidden file, so that each segment is probed once per node.

    BASE/<channel>/<quality>/<hour>/.facts        one line per content: <hash> <facts>

The file is a cache: it may be deleted at any time. It is only appended to, by one write at a time under a lock (flock),
in place: a rename would change the folder, and with it all that is remembered of the hour. What a crash leaves of a
line, lines of other versions and lines that are none are passed over; reading waits for nobody.
"""

import fcntl
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from pathlib import Path
from types import MappingProxyType

import structlog

from common import metrics
from common.coverage import BestSequence
from common.dateutil import hour_name
from common.facts import Facts, format_facts, parse_facts
from common.media import probe
from common.segments import Segment, SegmentType, hour_of
from common.store import Store
from common.timed import timed

log = structlog.get_logger()

NAME = ".facts"

# Probed under one lock: some 50 ms, for which another process that wants to probe in the same hour waits.
_BATCH = 16

# Some 700 bytes each; a day of one quality in segments of two seconds.
_CACHED_FACTS = 50_000

# So many segments are probed for one cut or one live list, which takes some six seconds.
_MOST_DOUBTS = 2000

# What is decided may raise a doubt about what comes after it, rarely more than once.
_ROUNDS = 4

_PROBED = metrics.counter("segments_probed", "Segments whose content was looked into.", "channel", "quality")
_UNREADABLE = metrics.counter("segments_undecodable", "Segments that are no readable media.", "channel", "quality")

_NONE: Mapping[str, Facts] = MappingProxyType({})

_Key = tuple[str, str, datetime]


@dataclass(frozen=True, slots=True)
class _Hour:
    """What is known of an hour: the file as it was seen, read up to the end of its last whole line (`done`).

    `unsaved` are the facts that could not be written; they are in `facts` too.
    """

    inode: int
    size: int
    done: int
    facts: Mapping[str, Facts]
    unsaved: Mapping[str, Facts]


class FactsStore:
    """The facts of a store's segments, by their content's hash. It may be used from several threads; all of it blocks.

    In a store that cannot be written to, facts are kept in memory, which is logged once.
    """

    def __init__(self, store: Store, examine: Callable[[Path], Facts] = probe) -> None:
        """Open the facts of `store`, which from now on asks them what joins; nothing is read yet.

        `examine` raises OSError for a file that it cannot read.
        """
        self._store = store
        store.known = self.known
        self._examine = examine
        self._hours: OrderedDict[_Key, _Hour] = OrderedDict()
        self._cached_facts = 0
        self._lock = threading.Lock()
        self._unwritable = threading.Lock()
        self._warned: set[tuple[str, Path]] = set()

    def known(self, channel: str, quality: str, hour: datetime) -> Mapping[str, Facts]:
        """Give what is known of the segments in an hour (its first moment), by hash; probes nothing.

        As long as nothing is added it is the same object; one stat tells. Raises BadPathError for names that cannot be.
        """
        return self._look((channel, quality, hour)).facts

    def probe_missing(self, channel: str, quality: str, segments: Iterable[Segment]) -> dict[str, Facts]:
        """Give the facts of segments, by hash; those not known are probed here and now, and written down.

        Left out are a `temp`, and what cannot be read from disk (gone since it was listed, say).
        """
        found: dict[str, Facts] = {}
        for hour, group in groupby(segments, hour_of):
            key, wanted = (channel, quality, hour), [s for s in group if s.type is not SegmentType.TEMP]
            known = self._look(key).facts
            missing = [segment for segment in wanted if segment.hash not in known]
            for first in range(0, len(missing), _BATCH):
                self._probe(key, missing[first : first + _BATCH])
            known = self._look(key).facts
            found.update((segment.hash, known[segment.hash]) for segment in wanted if segment.hash in known)
        return found

    def settle(self, channel: str, quality: str, cover: Callable[[], BestSequence]) -> BestSequence:
        """Give what `cover` gives when those segments are probed on whose timestamps it depends.

        At most _MOST_DOUBTS are probed, the newest; of the others the names decide. `cover` asks the store what is
        known each time it is called.
        """
        left = _MOST_DOUBTS
        for _ in range(_ROUNDS):
            sequence = cover()
            known = self._store.joins(channel, quality)
            unknown = [segment for segment in sequence.doubts if known.facts(segment) is None][-left:] if left else []
            if not self.probe_missing(channel, quality, unknown):
                return sequence
            left -= len(unknown)
        return cover()

    def _probe(self, key: _Key, segments: Iterable[Segment]) -> None:
        """Probe those of `segments` that no other thread or process has probed in the meantime."""
        path = self._path(key)
        with self._claim(path) as file:
            known = self._look(key).facts
            missing = {segment.hash: segment for segment in segments if segment.hash not in known}
            fresh = {content: facts for content, s in missing.items() if (facts := self._facts_of(key, s)) is not None}
            if fresh and not (file is not None and self._append(path, file, fresh)):
                self._keep_unsaved(key, fresh)

    @timed("segment_probe", "Looking into a segment.")
    def _facts_of(self, key: _Key, segment: Segment) -> Facts | None:
        channel, quality, _ = key
        path = self._store.segment_path(channel, quality, segment)
        try:
            facts = self._examine(path)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._warn(path, "segment_unreadable", str(error))
            return None
        _PROBED.labels(channel, quality).inc()
        if facts.error is not None:
            _UNREADABLE.labels(channel, quality).inc()
            # a broken origin makes many of them: one line for an hour, and the metric counts them all
            self._warn(path, "segment_undecodable", facts.error, once=path.parent)
        return facts

    @contextmanager
    def _claim(self, path: Path) -> Iterator[int | None]:
        """Keep everybody else from probing in an hour; gives its file, open for appending, or None if there is none."""
        file = self._open(path)
        if file is None:
            with self._unwritable:
                yield None
            return
        try:
            yield file
        finally:
            os.close(file)  # and with it the lock

    def _open(self, path: Path) -> int | None:
        """Open and lock an hour's file, once more whenever it was deleted while the lock was waited for."""
        try:
            while True:
                file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
                try:
                    fcntl.flock(file, fcntl.LOCK_EX)
                    if _inode(path) == os.fstat(file).st_ino:
                        return file
                except OSError:
                    os.close(file)
                    raise
                os.close(file)
        except FileNotFoundError:  # the hour itself is gone
            return None
        except OSError as error:
            self._warn(self._store.base, "facts_not_saved", str(error))
            return None

    def _append(self, path: Path, file: int, fresh: Mapping[str, Facts]) -> bool:
        """Add lines in one write; tell whether that went well."""
        lines = "".join(f"{content} {format_facts(facts)}\n" for content, facts in fresh.items()).encode()
        try:
            size = os.fstat(file).st_size
            if size and os.pread(file, 1, size - 1) != b"\n":  # what a crash has left of a line ends here
                lines = b"\n" + lines
            if os.write(file, lines) == len(lines):
                return True
        except OSError as error:
            self._warn(self._store.base, "facts_not_saved", str(error))
            return False
        self._warn(self._store.base, "facts_not_saved", f"{path} was written in part; the disk may be full.")
        return False

    def _warn(self, path: Path, event: str, reason: str, *, once: Path | None = None) -> None:
        """Log a failure once per path, or per another one that stands for several."""
        with self._lock:
            if (event, once or path) in self._warned:
                return
            self._warned.add((event, once or path))
        log.warning(event, path=str(path), reason=reason)

    def _path(self, key: _Key) -> Path:
        channel, quality, hour = key
        return self._store.folder(channel, quality) / hour_name(hour) / NAME

    def _look(self, key: _Key) -> _Hour:
        """Read what was added to an hour's file since it was last looked at, or all of it if it is another file."""
        path = self._path(key)
        while True:
            with self._lock:
                old = self._hours.get(key, _NOTHING)
                if old is not _NOTHING:
                    self._hours.move_to_end(key)
            fresh = _read(path, old)
            with self._lock:
                if self._hours.get(key, _NOTHING) is old:  # else another thread was quicker, and may know less
                    if fresh is not old:
                        self._put(key, fresh)
                    return fresh

    def _keep_unsaved(self, key: _Key, fresh: Mapping[str, Facts]) -> None:
        with self._lock:
            now = self._hours.get(key, _NOTHING)
            unsaved = MappingProxyType({**now.unsaved, **fresh})
            facts = MappingProxyType({**now.facts, **fresh})
            self._put(key, _Hour(now.inode, now.size, now.done, facts, unsaved))

    def _put(self, key: _Key, hour: _Hour) -> None:
        old = self._hours.pop(key, _NOTHING)
        self._hours[key] = hour
        self._cached_facts += len(hour.facts) - len(old.facts)
        while self._cached_facts > _CACHED_FACTS and len(self._hours) > 1:
            _, dropped = self._hours.popitem(last=False)
            self._cached_facts -= len(dropped.facts)


_NOTHING = _Hour(0, 0, 0, _NONE, _NONE)


def _read(path: Path, old: _Hour) -> _Hour:
    """Look at an hour's file again; gives `old` itself if nothing has changed. A file that cannot be read is empty."""
    try:
        status = os.stat(path)  # noqa: PTH116 - half the time of Path.stat, for each hour of each request
        if (status.st_ino, status.st_size) == (old.inode, old.size):
            return old
        return _grown(path, old)
    except OSError:
        return _Hour(0, 0, 0, old.unsaved, old.unsaved) if old.inode else old


def _grown(path: Path, old: _Hour) -> _Hour:
    """Read an hour's file on from where its last reading ended; from its start if it is not the one read then.

    A new file with an old one's inode that is larger already is taken for the old one: then lines are missed, which
    costs a second probe, and no fact is wrong.
    """
    with path.open("rb") as file:
        status = os.fstat(file.fileno())
        same = status.st_ino == old.inode and status.st_size >= old.size
        start = old.done if same else 0
        file.seek(start)
        text = file.read()
    whole = text.rfind(b"\n") + 1
    lines = dict(_lines(text[:whole]))
    facts = old.facts if same else old.unsaved
    if lines:
        facts = MappingProxyType({**facts, **lines})
    return _Hour(status.st_ino, start + len(text), start + whole, facts, old.unsaved)


def _lines(text: bytes) -> Iterator[tuple[str, Facts]]:
    for line in text.decode("ascii", "replace").split("\n"):
        content, _, rest = line.partition(" ")
        facts = parse_facts(rest) if rest and "\ufffd" not in rest else None
        if facts is not None:
            yield content, facts


def _inode(path: Path) -> int | None:
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None
