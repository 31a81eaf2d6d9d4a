"""The routes that show the store as playlists."""

import asyncio
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import groupby
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from common.coverage import HourCoverage
from common.dateutil import format_utc
from common.facts import Facts, variant_attributes
from common.segments import Segment, hour_of
from common.sidecar import FactsStore
from common.store import Store
from common.timed import timed
from common.web import RequestError
from restreamer.answers import Answer, Prepared, respond, takes_gzip
from restreamer.chunks import Chunk
from restreamer.keys import FACTS, FLIGHTS, LIVE, PROBER, RATES, RENDERED, STORE
from restreamer.live import LiveList, LiveLists
from restreamer.notes import Key
from restreamer.params import Range, implicit_range, parse_range, wants_delta
from restreamer.playlist import (
    END,
    RenderedHour,
    Variant,
    is_fragmented,
    live_head,
    media_breaks,
    multivariant_playlist,
    past_playlist,
    skippable,
    version_for,
)
from restreamer.rates import Measured, MeasuredHours
from restreamer.rendered import RenderedHours

# Asks for segments of one hour to be probed in the background, given what is known of them.
Wish = Callable[[str, str, tuple[Segment, ...], Mapping[str, Facts]], object]

# A range is past when it ended so long ago that nothing still under way belongs to it.
PAST_AFTER = timedelta(seconds=60)

# Who has followed a range while it was live, gets its end from the same list.
_LIVE_UNTIL = timedelta(minutes=10)

# How far back a quality's codecs, sizes and frame rates are looked at.
_ATTRIBUTES_OVER = timedelta(minutes=1)

# For so long, at most, a multivariant playlist is kept waiting for hours that were not measured before.
_MEASURE_SECONDS = 0.3

# A player asks again after a segment's length; whoever asks in between may get what a cache has.
_LIVE_SECONDS = 1

# A past range may still be completed by what other nodes have.
_PAST_SECONDS = 60


async def media(request: web.Request) -> web.StreamResponse:
    """Answer `GET /playlist/C/Q.m3u8`: the media playlist of a range; one without an end is live."""
    info = request.match_info
    wanted = parse_range(request.query.items())
    delta = wants_delta(request.query.items())
    asked = _Asked(request.app[STORE], request.app[FACTS], info["channel"], info["quality"], wanted, datetime.now(UTC))
    lists, rendered = request.app[LIVE], request.app[RENDERED]
    flights = request.app[FLIGHTS]
    loop, prober = asyncio.get_running_loop(), request.app[PROBER]

    def wish(*wanted: Any) -> None:  # noqa: ANN401 - as Prober.wish has it
        loop.call_soon_threadsafe(prober.wish, *wanted)

    packed = takes_gzip(request)
    key = (asked.channel, asked.quality, wanted, delta, packed)

    def work() -> Prepared:
        return _media(asked, lists, rendered, wish, delta=delta).prepared(packed=packed)

    kind = "past" if asked.is_past else "delta" if delta else "live"
    answer = await flights.share(key, lambda: _make(kind, work))
    return await respond(request, answer)


@timed("playlist", "Making a playlist.", labels={"kind": "kind"})
def _make(kind: str, work: Callable[[], Prepared]) -> Prepared:  # noqa: ARG001 - for the metric
    return work()


@dataclass(frozen=True, slots=True)
class _Asked:
    """A media playlist that was asked for at `now`."""

    store: Store
    facts: FactsStore
    channel: str
    quality: str
    wanted: Range
    now: datetime

    @property
    def base(self) -> str:
        """Where the segments of the quality are, seen from its playlist."""
        return f"../../segments/{_quoted(self.channel)}/{_quoted(self.quality)}"

    @property
    def is_past(self) -> bool:
        """Whether the range is past and can no longer grow."""
        return self.wanted.end is not None and self.wanted.end + PAST_AFTER < self.now


def _media(asked: _Asked, lists: LiveLists, rendered: RenderedHours, wish: Wish, *, delta: bool) -> Answer:
    key = Key(asked.channel, asked.quality, asked.wanted.start)
    end = asked.wanted.end
    if asked.is_past and not (end is not None and asked.now < end + _LIVE_UNTIL and lists.is_read(key)):
        return _past(asked, rendered, wish)
    first = asked.wanted.start or asked.store.first_start(asked.channel, asked.quality)
    if first is None:
        raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
    start, until = implicit_range(asked.wanted, (first, asked.now), asked.now)
    if start > until:
        raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
    with lists.reading(key, asked.base, start, asked.now) as live:
        if live is None or live.note is None:
            raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
        chunks = _live_chunks(live, live.note.target, end, delta=delta)
        return Answer([*chunks, END] if asked.is_past else chunks, _LIVE_SECONDS)


def _live_chunks(live: LiveList, target: int, end: datetime | None, *, delta: bool) -> list[Chunk]:
    ledger, listed = live.ledger, live.listed(end)
    skipped = skippable(ledger.entries[:listed], target) if delta else 0
    version = version_for(fragmented=live.fragmented)
    head = live_head(target, ledger.first, ledger.first_break, version=version, skipped=skipped)
    return [head, live.newest(skipped, listed)] if skipped else [head, *live.chunks(listed)]


def _past(asked: _Asked, rendered: RenderedHours, wish: Wish) -> Answer:
    span = _span(asked)
    sequence = span and asked.store.sequence(asked.channel, asked.quality, *span)
    if not sequence or not sequence.hours:
        raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
    hours, breaks = [], []
    last: Segment | None = None
    before: Mapping[str, Facts] = {}
    doubts = {hour: tuple(group) for hour, group in groupby(sequence.doubts, hour_of)}
    for hour, gap in zip(sequence.hours, sequence.gaps, strict=False):
        found, facts = _rendered(asked, hour, doubts.get(hour_of(hour.segments[0]), ()), rendered, wish)
        first = hour.segments[0]
        broken = gap is not None or (
            last is not None and media_breaks({**_only(before, last), **_only(facts, first)}, last, first)
        )
        hours.append(found)
        breaks.append(broken)
        last, before = hour.segments[-1], facts
    return Answer(past_playlist(hours, breaks), _PAST_SECONDS)


def _rendered(
    asked: _Asked, hour: HourCoverage, doubts: tuple[Segment, ...], rendered: RenderedHours, wish: Wish
) -> tuple[RenderedHour, Mapping[str, Facts]]:
    """Give an hour as text, and what is known of it. What is not is probed later, but of fragmented MP4 now.

    `doubts` are segments of the hour, chosen or not, that may change what is chosen when more is known of them.
    """
    segments, name = hour.segments, hour_of(hour.segments[0])
    facts = asked.facts.known(asked.channel, asked.quality, name)
    found = rendered.find(asked.base, hour, facts)
    if found is None:
        if is_fragmented(segments) and asked.facts.probe_missing(asked.channel, asked.quality, segments):
            facts = asked.facts.known(asked.channel, asked.quality, name)
        whole = asked.store.candidates(asked.channel, asked.quality, name).alone is hour
        found = rendered.render(asked.base, hour, facts, keep=whole)
    unknown = tuple(segment for segment in doubts if segment.hash not in facts)
    if unknown or not found.complete:
        wish(asked.channel, asked.quality, (*segments, *unknown), facts)
    return found, facts


def _only(facts: Mapping[str, Facts], segment: Segment) -> dict[str, Facts]:
    return {segment.hash: facts[segment.hash]} if segment.hash in facts else {}


def _span(asked: _Asked) -> tuple[datetime, datetime] | None:
    """Give a range of which ends may be left out; None if it lies before or after all that is recorded."""
    recorded = asked.store.span(asked.channel, asked.quality)
    if recorded is None:
        return None
    start, end = implicit_range(asked.wanted, recorded, asked.now)
    return (start, end) if start <= end else None


def _nothing(what: str, wanted: Range) -> RequestError:
    where = "" if wanted == Range(None, None) else " in that range"
    return RequestError(f"Nothing is recorded of {what}{where}.", status=404)


async def multivariant(request: web.Request) -> web.StreamResponse:
    """Answer `GET /playlist/C.m3u8`: the qualities, each with its playlist for the same `start` and `end`."""
    channel = request.match_info["channel"]
    wanted = parse_range(request.query.items())
    now = datetime.now(UTC)
    store, facts, hours = request.app[STORE], request.app[FACTS], request.app[RATES]
    packed = takes_gzip(request)

    def work() -> Prepared:
        qualities = [_Asked(store, facts, channel, quality, wanted, now) for quality in store.qualities(channel)]
        return _multivariant(channel, qualities, hours).prepared(packed=packed)

    return await respond(
        request, await request.app[FLIGHTS].share((channel, wanted, packed), lambda: _make("multivariant", work))
    )


def _multivariant(channel: str, qualities: list[_Asked], hours: MeasuredHours) -> Answer:
    variants, settled = [], True
    for asked in qualities:
        span = _span(asked)
        seconds = _MEASURE_SECONDS / len(qualities)
        found = span and hours.measure(asked.channel, asked.quality, *span, seconds=seconds)
        if found and found.rates.seconds:
            variants.append(_variant(asked, found))
            settled = settled and asked.is_past and found.complete
    if not variants:
        raise _nothing(channel, qualities[0].wanted if qualities else Range(None, None))
    return Answer([Chunk(multivariant_playlist(variants))], _PAST_SECONDS if settled else _LIVE_SECONDS)


def _variant(asked: _Asked, found: Measured) -> Variant:
    wanted, rates = asked.wanted, found.rates
    times = {name: format_utc(moment) for name, moment in (("start", wanted.start), ("end", wanted.end)) if moment}
    newest = [segment for segment in found.newest if segment.start > found.newest[-1].start - _ATTRIBUTES_OVER]
    known = asked.facts.probe_missing(asked.channel, asked.quality, newest)
    return Variant(
        f"{_quoted(asked.channel)}/{_quoted(asked.quality)}.m3u8{f'?{urlencode(times)}' if times else ''}",
        math.ceil(rates.peak),
        round(rates.bits / rates.seconds),
        variant_attributes(known.values()),
    )


def _quoted(name: str) -> str:
    return quote(name, safe="")
