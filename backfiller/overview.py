"""How another node stands to this one: whether it answers, and what either has that the other lacks. It blocks."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta

from backfiller.answers import MOST_LISTING_BYTES, all_digests_of, digests_of, names_of, sense
from backfiller.difference import difference
from backfiller.outcomes import NodeError, Outcome
from backfiller.peer import Peer
from backfiller.survey import Wanted
from backfiller.transfer import Place
from common.dateutil import is_hour, parse_hour
from common.digest_cache import Digests
from common.store import Store

# Of so many hours, the newest that differ, the names are compared; of the rest it is told how many there are.
MOST_HOURS = 100


@dataclass(frozen=True, slots=True)
class Lack:
    """What one side lacks of a quality: segments of which it has nothing as good, and how long they last in all."""

    segments: int = 0
    duration: timedelta = timedelta()


@dataclass(slots=True)
class Overview:
    """What was found out of one node: the `fault` that kept it from answering, if any; the lacks by quality.

    `uncounted` hours differ, too, and were not looked into. Hours that are not wanted here count as others do.
    """

    fault: str = ""
    here: dict[tuple[str, str], Lack] = field(default_factory=dict)
    there: dict[tuple[str, str], Lack] = field(default_factory=dict)
    uncounted: int = 0


def overview(peer: Peer, store: Store, digests: Digests, wanted: Wanted) -> Overview:
    """Compare a node with our store; what it answers in place of sense is its fault."""
    found = Overview()
    try:
        hours = sorted(_differing(peer, digests, wanted), key=lambda hour: hour[2], reverse=True)
        found.uncounted = max(0, len(hours) - MOST_HOURS)
        for channel, quality, hour in hours[:MOST_HOURS]:
            _compare(peer, store, found, Place(channel, quality, hour))
    except NodeError as error:
        found.fault = str(error)
    return found


def _differing(peer: Peer, digests: Digests, wanted: Wanted) -> set[tuple[str, str, str]]:
    """Give the hours (channel, quality, name) of which the two have not the same."""
    with sense():
        body = peer.get("digests", most=MOST_LISTING_BYTES)
        if body is None:
            raise NodeError("It answers, but knows no digests; the log of its backfiller tells more.", Outcome.GONE)
        theirs = all_digests_of(body)
        ours = {(channel, quality): each for channel, inner in digests.all().items() for quality, each in inner.items()}
        differing = set()
        for channel, quality in theirs.keys() | ours.keys():
            if wanted.has(channel, quality) and theirs.get((channel, quality)) != ours.get((channel, quality)):
                differing |= {(channel, quality, hour) for hour in _hours(peer, digests, channel, quality)}
        return differing


def _hours(peer: Peer, digests: Digests, channel: str, quality: str) -> set[str]:
    theirs = digests_of(peer.get("digests", channel, quality, most=MOST_LISTING_BYTES) or b"{}")
    ours = digests.days(channel, quality)
    found: set[str] = set()
    for day in theirs.keys() | ours.keys():
        if theirs.get(day) != ours.get(day) and is_hour(f"{day}T00"):
            there = digests_of(peer.get("digests", channel, quality, day, most=MOST_LISTING_BYTES) or b"{}")
            here = digests.hours(channel, quality, day)
            found |= {
                each for each in there.keys() | here.keys() if there.get(each) != here.get(each) and is_hour(each)
            }
    return found


def _compare(peer: Peer, store: Store, found: Overview, place: Place) -> None:
    with sense():
        body = peer.get("files", *place, query="tombstones=true", most=MOST_LISTING_BYTES)
        theirs = names_of(body or b"[]")
    ours, hour, quality = store.names(*place, tombstones=True), parse_hour(place.hour), (place.channel, place.quality)
    for lacks, those, these in ((found.here, ours, theirs), (found.there, theirs, ours)):
        before = lacks.get(quality, Lack())
        missing = _missing(hour, those, these)
        lacks[quality] = Lack(before.segments + missing.segments, before.duration + missing.duration)


def _missing(hour: datetime, those: list[str], these: list[str]) -> Lack:
    """Give what the one side would fetch of the other."""
    segments = difference(hour, {hour: those}, these).fetch
    return Lack(len(segments), sum((segment.duration for segment in segments), timedelta()))
