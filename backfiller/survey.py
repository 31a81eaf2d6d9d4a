"""What another node has and we do not: found by digests, or with a node that knows none by listings. All of it blocks.

A pass over what is alike on both sides is one request. Where something differs, the digests of the days and of the
hours of a day lead to it, and only that hour's names are listed. What was compared and left nothing to do is not
compared again while the digests of both sides stay.
"""

import hashlib
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backfiller.answers import (
    MOST_LISTING_BYTES,
    all_digests_of,
    digests_of,
    hours_of,
    names_of,
    sense,
)
from backfiller.difference import Circumstances, Difference, difference
from backfiller.memory import Memory
from backfiller.peer import Peer
from backfiller.standing import Standing
from backfiller.transfer import Place
from common.dateutil import HOUR, hour_name, is_hour, parse_hour
from common.digest_cache import Digests
from common.digests import day_digests, hour_digest, quality_digest
from common.expired import Expired
from common.recorder_state import read_state
from common.recording import sweep_copies
from common.store import BadPathError, Store, component

# A node whose clock is wrong, or that lies, has hours that are still to come.
_FUTURE = HOUR

# After so long, days with hours that are not wanted are looked into again.
_RECONSIDERED = HOUR

# With a node that knows no digests, an hour in which nothing was to be done is listed again after this part of its age.
_SELDOM = 24
_MOST_SELDOM = timedelta(hours=6)


@dataclass(frozen=True, slots=True)
class Wanted:
    """What of other nodes' recordings is wanted: `channels`, of none all; hours that are not older than `back`.

    Segments that ended less than `recent` ago are left to the downloader, if there is one at work.
    """

    channels: Collection[str] = ()
    back: timedelta | None = None
    recent: timedelta = timedelta(seconds=120)

    def has(self, channel: str, quality: str = "source") -> bool:
        """Tell whether a quality is wanted, and can be; by its name alone, whether a channel is."""
        with suppress(BadPathError):
            component(quality)
            return component(channel) in self.channels or not self.channels
        return False


@dataclass(frozen=True, slots=True)
class Look:
    """What an hour's listings showed: the difference, and what is here without it; `theirs` is their digest."""

    place: Place
    difference: Difference
    ours: Collection[str]
    theirs: str


@dataclass(slots=True)
class Survey:
    """The comparison with one node; `look` and `settle` may be called from several threads at a time.

    `qualities` are those that the node had at the last look and that are wanted, `knows_digests` whether it gives any.
    """

    peer: Peer
    store: Store
    digests: Digests
    standing: Standing
    wanted: Wanted
    now: Callable[[], datetime]
    memory: Memory = field(default_factory=Memory)
    knows_digests: bool = True
    qualities: list[tuple[str, str]] = field(default_factory=list)
    _expired: Expired = field(init=False)
    _spans: list[tuple[tuple[str, str, str], str, dict[str, str]]] = field(default_factory=list)
    _considered: dict[tuple[str, str], tuple[frozenset[str], datetime]] = field(default_factory=dict)
    _listed: dict[Place, tuple[str, str]] = field(default_factory=dict)
    _asked: dict[Place, datetime] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._expired = Expired(self.store.base)

    def differing(self) -> list[Place]:
        """Name the hours that are to be looked at, newest first. Raises NodeError."""
        self._spans.clear()
        self.qualities.clear()
        with sense():
            body = self.peer.get("digests", most=MOST_LISTING_BYTES)
            self.knows_digests = body is not None
            found = self._by_listings() if body is None else self._by_digests(all_digests_of(body))
            return sorted(found, key=lambda place: (place.hour, place), reverse=True)

    def _by_digests(self, theirs: dict[tuple[str, str], str]) -> Iterator[Place]:
        for (channel, quality), digest in theirs.items():
            if not self.wanted.has(channel, quality):
                continue
            self.qualities.append((channel, quality))
            self._reconsider(channel, quality)
            ours = self.digests.days(channel, quality)
            if self.memory.is_settled((channel, quality, ""), digest, quality_digest(ours)):
                continue
            days = self._digests(channel, quality)
            self._spans.append(((channel, quality, ""), digest, days))
            for day, each in sorted(days.items(), reverse=True):
                if self._is_day(day) and not self.memory.is_settled((channel, quality, day), each, ours.get(day)):
                    yield from self._in_day(channel, quality, day, each)

    def _reconsider(self, channel: str, quality: str) -> None:
        """Forget that days are settled when other hours than before are unwanted, and now and then.

        Marks are lifted at once; what else makes an hour wanted again is a change of what the librarian keeps to.
        """
        marks, at = self._expired.hours(channel, quality), self.now()
        known = self._considered.get((channel, quality))
        if known is None or known[0] != marks or at - known[1] > _RECONSIDERED:
            self.memory.forget_stretches(channel, quality)
            self._considered[channel, quality] = (marks, at)

    def _in_day(self, channel: str, quality: str, day: str, digest: str) -> Iterator[Place]:
        ours = self.digests.hours(channel, quality, day)
        theirs = self._digests(channel, quality, day)
        self._spans.append(((channel, quality, day), digest, theirs))
        for hour, each in theirs.items():
            place = Place(channel, quality, hour)
            known = self.memory.is_settled(place, each, ours.get(hour))
            if hour.startswith(day) and self._is_wanted(place) and not known:
                yield place

    def _digests(self, *parts: str) -> dict[str, str]:
        body = self.peer.get("digests", *parts, most=MOST_LISTING_BYTES)
        return {} if body is None else digests_of(body)

    def _by_listings(self) -> Iterator[Place]:
        for channel in self._names("files"):
            if not self.wanted.has(channel):
                continue
            for quality in self._names("files", channel):
                if not self.wanted.has(channel, quality):
                    continue
                self.qualities.append((channel, quality))
                body = self.peer.get("files", channel, quality, most=MOST_LISTING_BYTES)
                places = (Place(channel, quality, hour) for hour in hours_of(body or b"[]"))
                yield from (place for place in places if self._is_wanted(place) and self._is_due(place))

    def _names(self, *parts: str) -> list[str]:
        body = self.peer.get(*parts, most=MOST_LISTING_BYTES)
        return [] if body is None else names_of(body)

    def _is_due(self, place: Place) -> bool:
        asked = self._asked.get(place)
        now = self.now()
        return asked is None or now - asked >= min(_MOST_SELDOM, (now - parse_hour(place.hour)) / _SELDOM)

    def _is_day(self, day: str) -> bool:
        return is_hour(f"{day}T00") and (self._since is None or day >= self._since[:10])

    @property
    def _since(self) -> str | None:
        return None if self.wanted.back is None else f"{self.now() - self.wanted.back:%Y-%m-%dT%H}"

    def _is_wanted(self, place: Place) -> bool:
        """Tell whether an hour of theirs can be, is not too old, and was not deleted here."""
        if not is_hour(place.hour) or parse_hour(place.hour) > self.now() + _FUTURE:
            return False
        return not (self._since is not None and place.hour < self._since) and not self._expired.is_expired(*place)

    def look(self, place: Place) -> Look | None:
        """Compare an hour's names; None if there is nothing new in it. Raises NodeError."""
        with sense():
            body = self.peer.get("files", *place, query="tombstones=true", most=MOST_LISTING_BYTES)
            listed = hashlib.sha256(body or b"").hexdigest()
            self._asked[place] = self.now()
            known = self._listed.get(place)
            if known == (listed, self.digests.hour(*place) or ""):
                return None
            theirs = names_of(body or b"[]")
        return self._compare(place, theirs, listed)

    def _compare(self, place: Place, theirs: list[str], listed: str) -> Look:
        hour = parse_hour(place.hour)
        ours = {hour: self.store.names(*place, tombstones=True)}
        sweep_copies(self.store.folder(place.channel, place.quality) / place.hour)
        if not set(theirs) <= set(ours[hour]):
            for beside in (hour - HOUR, hour + HOUR):
                name = hour_name(beside)
                if is_hour(name):  # the first hour that can be has none before it
                    ours[beside] = self.store.names(place.channel, place.quality, name, tombstones=True)
        circumstances = Circumstances(self._recent(place), self.standing.failing(*place))
        found = difference(hour, ours, theirs, circumstances)
        return Look(place, found, ours[hour], listed if not self.knows_digests else hour_digest(hour, theirs) or "")

    def _recent(self, place: Place) -> datetime | None:
        """Give since when segments are left to the downloader here, if one lives that records this."""
        state = read_state(self.store, place.channel, place.quality)
        return self.now() - self.wanted.recent if state is not None and state[1] else None

    def settle(self, look: Look, fetched: Collection[str]) -> None:
        """Note that all of an hour was fetched, if it was: nothing is to be done there until something changes."""
        wanted = {segment.name for segment in look.difference.fetch}
        if not wanted <= set(fetched) or not Difference((), (), look.difference.passed_over).settled:
            self._asked.pop(look.place, None)
            return
        names = {*look.ours, *fetched, *look.difference.tombstones}
        ours = hour_digest(parse_hour(look.place.hour), names)
        if self.knows_digests:
            self.memory.settle(look.place, look.theirs, ours)
        else:
            self._listed[look.place] = (look.theirs, ours or "")

    def finish(self) -> None:
        """Note which days and qualities leave nothing to do, after all their hours were looked at."""
        for (channel, quality, day), theirs, parts in reversed(self._spans):
            hours = self.digests.hours(channel, quality, day)
            ours = hours if day else day_digests(hours)
            if all(self._is_done(channel, quality, part, digest, ours.get(part)) for part, digest in parts.items()):
                whole = day_digests(hours).get(day) if day else quality_digest(ours)
                self.memory.settle((channel, quality, day), theirs, whole)

    def _is_done(self, channel: str, quality: str, part: str, theirs: str, ours: str | None) -> bool:
        if self.memory.is_settled((channel, quality, part), theirs, ours):
            return True
        return not self._is_wanted(Place(channel, quality, part)) if "T" in part else not self._is_day(part)
