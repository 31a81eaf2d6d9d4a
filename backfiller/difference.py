"""What of another node's hour is to be fetched, in which order, and why the rest is not. Pure.

The rules stand in docs/nodes.md. Whatever two nodes hold: what is fetched was not here, and once it is, there is
nothing more to fetch. So nodes that fetch from each other come to rest.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from common.coverage import SAME_MOMENT
from common.segments import TOMBSTONE_SUFFIX, Segment, SegmentType, parse_names, stem

_RANKS = {SegmentType.FULL: 0, SegmentType.SUSPECT: 1, SegmentType.PARTIAL: 2}


class Why(StrEnum):
    """Why something that another node has is not fetched."""

    HERE = "here"  # under the same name
    HIDDEN = "hidden"  # a tombstone hides it, there or here
    SAME = "same"  # its content is here, at this start time or one a moment beside it
    WORSE = "worse"  # a `partial`, where something better is here or fetched
    RECENT = "recent"  # the downloader here has it soon, or has just failed to
    FAILED = "failed"  # that node could not give it, a short while ago
    TEMP = "temp"  # it is still being written
    STRANGER = "stranger"  # it is no segment's name


# What is passed over now and may be fetched later though neither node's names change.
_PASSING = (Why.RECENT, Why.FAILED)


@dataclass(frozen=True, slots=True)
class Difference:
    """What to `fetch`, the first first; the tombstones to make; of the rest, how many names for which reason."""

    fetch: tuple[Segment, ...]
    tombstones: tuple[str, ...]
    passed_over: Mapping[Why, int]

    @property
    def settled(self) -> bool:
        """Whether there is nothing to do, and will not be while both nodes hold the same names."""
        return not (self.fetch or self.tombstones or any(why in self.passed_over for why in _PASSING))


@dataclass(frozen=True, slots=True)
class Circumstances:
    """What beside the names has a say: segments that end after `recent` are left alone, those in `failed` too."""

    recent: datetime | None = None
    failed: Collection[str] = ()


def difference(
    hour: datetime,
    ours: Mapping[datetime, Sequence[str]],
    theirs: Sequence[str],
    circumstances: Circumstances | None = None,
) -> Difference:
    """Compare what another node has in an hour (its first moment) with what is here.

    `ours` are the names here, tombstones included, of this hour and, by their first moments, of those beside it.
    """
    here = set(ours.get(hour, ()))
    new = sorted(set(theirs) - here)
    passed_over = Counter({Why.HERE: len(set(theirs)) - len(new)})
    segments, others = parse_names(hour, new)
    tombstones = _tombstones(hour, others)
    passed_over[Why.STRANGER] = len(others) - len(tombstones)
    held = _Held.of(hour, ours, theirs)
    chosen = []
    for segment in sorted(segments, key=_preference):
        why = _why_not(segment, held, circumstances or Circumstances())
        if why is None:
            chosen.append(segment)
            held.add(segment)
        else:
            passed_over[why] += 1
    # newest first, since that is what somebody may be watching; what can hardly be chosen comes last
    chosen.sort(
        key=lambda segment: (segment.type is not SegmentType.PARTIAL, segment.start, segment.name), reverse=True
    )
    return Difference(tuple(chosen), tuple(tombstones), +passed_over)


def _why_not(segment: Segment, held: "_Held", circumstances: Circumstances) -> Why | None:
    if segment.type is SegmentType.TEMP:
        return Why.TEMP
    if held.hides(segment):
        return Why.HIDDEN
    if held.has_content(segment):
        return Why.SAME
    if segment.type is SegmentType.PARTIAL and held.has_better(segment):
        return Why.WORSE
    if circumstances.recent is not None and segment.end > circumstances.recent:
        return Why.RECENT
    return Why.FAILED if segment.name in circumstances.failed else None


def _preference(segment: Segment) -> tuple[int, datetime, str]:
    return (_RANKS.get(segment.type, len(_RANKS)), segment.start, segment.name)


def _tombstones(hour: datetime, names: Iterable[str]) -> list[str]:
    """Give those names that are a tombstone's of a segment that could be here."""
    stems = {f"{stem(name)}.ts": name for name in names if name.endswith(TOMBSTONE_SUFFIX)}
    segments, _ = parse_names(hour, list(stems))
    return [stems[each.name] for each in segments if each.type is not SegmentType.TEMP]


class _Held:
    """What is here or has been chosen, by content and by start time, and what tombstones hide."""

    def __init__(self) -> None:
        self._contents: dict[str, list[Segment]] = {}
        self._starts: dict[datetime, int] = {}
        self._hidden: dict[str, list[datetime]] = {}
        self._theirs: set[tuple[str, datetime]] = set()

    @classmethod
    def of(cls, hour: datetime, ours: Mapping[datetime, Sequence[str]], theirs: Sequence[str]) -> "_Held":
        """Gather what is here and hidden; `theirs` is asked which contents they have at which times."""
        held = cls()
        for beside, names in (*ours.items(), (hour, theirs)):
            held._hide(beside, names)
        for beside, names in ours.items():
            for segment in parse_names(beside, names)[0]:
                if segment.type is not SegmentType.TEMP and not held.hides(segment):
                    held.add(segment)
        held._theirs = {(each.hash, each.start) for each in parse_names(hour, theirs)[0]}
        return held

    def _hide(self, hour: datetime, names: Iterable[str]) -> None:
        stems = [f"{stem(name)}.ts" for name in names if name.endswith(TOMBSTONE_SUFFIX)]
        for hidden in parse_names(hour, stems)[0]:
            self._hidden.setdefault(hidden.hash, []).append(hidden.start)

    def add(self, segment: Segment) -> None:
        """Have it here from now on."""
        self._contents.setdefault(segment.hash, []).append(segment)
        rank = _RANKS[segment.type]
        self._starts[segment.start] = min(rank, self._starts.get(segment.start, rank))

    def hides(self, segment: Segment) -> bool:
        """Tell whether a tombstone hides this content at this time, or at one that can only be another date of it."""
        starts = self._hidden.get(segment.hash, ())
        return any(start == segment.start or abs(start - segment.start) < segment.duration for start in starts)

    def has_content(self, segment: Segment) -> bool:
        """Tell whether its content is here as the same moment, and as nothing worse."""
        known = self._contents.get(segment.hash, ())
        return any(_RANKS[each.type] <= _RANKS[segment.type] and self._is_same(each, segment) for each in known)

    def _is_same(self, ours: Segment, theirs: Segment) -> bool:
        """Tell whether two segments of one content are one moment that two nodes have dated differently.

        They are no more than a few seconds apart. A slate that an encoder repeats is too, but comes after the one
        before it; and the node that has both shows that they are two.
        """
        apart = abs(ours.start - theirs.start)
        if ours.start == theirs.start or apart < theirs.duration:
            return True
        return apart <= SAME_MOMENT and (ours.hash, ours.start) not in self._theirs

    def has_better(self, segment: Segment) -> bool:
        """Tell whether something of a better type starts at the same time."""
        return self._starts.get(segment.start, len(_RANKS)) < _RANKS[segment.type]
