"""The routes that show the store as playlists."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote, urlencode

from aiohttp import web

from common.coverage import BestSequence, HourCoverage
from common.dateutil import format_utc
from common.facts import Facts, variant_attributes
from common.segments import Segment, hour_of
from common.sidecar import FactsStore
from common.store import Store
from common.web import RequestError
from restreamer.answers import Answer, respond, takes_gzip
from restreamer.chunks import Chunk
from restreamer.keys import FACTS, FLIGHTS, LIVE, PROBER, RENDERED, STORE
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
from restreamer.rendered import RenderedHours

# Asks for segments of one hour to be probed in the background, given what is known of them.
Wish = Callable[[str, str, tuple[Segment, ...], Mapping[str, Facts]], object]

# A range is past when it ended so long ago that nothing still under way belongs to it.
PAST_AFTER = timedelta(seconds=60)

# Who has followed a range while it was live, gets its end from the same list.
_LIVE_UNTIL = timedelta(minutes=10)

# How far back a quality's bit rate is looked at.
_RATE_OVER = timedelta(minutes=1)

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
    answer = await flights.share(key, lambda: _media(asked, lists, rendered, wish, delta=delta).prepared(packed=packed))
    return await respond(request, answer)


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
    sequence = _sequence(asked.store, asked.channel, asked.quality, asked.wanted, asked.now)
    if sequence is None:
        raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
    hours, breaks = [], []
    last: Segment | None = None
    before: Mapping[str, Facts] = {}
    for hour, gap in zip(sequence.hours, sequence.gaps, strict=False):
        found, facts = _rendered(asked, hour, rendered, wish)
        first = hour.segments[0]
        broken = gap is not None or (
            last is not None and media_breaks({**_only(before, last), **_only(facts, first)}, last, first)
        )
        hours.append(found)
        breaks.append(broken)
        last, before = hour.segments[-1], facts
    return Answer(past_playlist(hours, breaks), _PAST_SECONDS)


def _rendered(
    asked: _Asked, hour: HourCoverage, rendered: RenderedHours, wish: Wish
) -> tuple[RenderedHour, Mapping[str, Facts]]:
    """Give an hour as text, and what is known of it. What is not is probed later, but of fragmented MP4 now."""
    segments, name = hour.segments, hour_of(hour.segments[0])
    facts = asked.facts.known(asked.channel, asked.quality, name)
    found = rendered.find(asked.base, hour, facts)
    if found is None:
        if is_fragmented(segments) and asked.facts.probe_missing(asked.channel, asked.quality, segments):
            facts = asked.facts.known(asked.channel, asked.quality, name)
        whole = asked.store.candidates(asked.channel, asked.quality, name).alone is hour
        found = rendered.render(asked.base, hour, facts, keep=whole)
    if not found.complete:
        wish(asked.channel, asked.quality, segments, facts)
    return found, facts


def _only(facts: Mapping[str, Facts], segment: Segment) -> dict[str, Facts]:
    return {segment.hash: facts[segment.hash]} if segment.hash in facts else {}


def _sequence(store: Store, channel: str, quality: str, wanted: Range, now: datetime) -> BestSequence | None:
    """Give what covers a range of which ends may be left out; None if nothing is recorded in it."""
    recorded = store.span(channel, quality)
    if recorded is None:
        return None
    start, end = implicit_range(wanted, recorded, now)
    if start > end:
        return None
    sequence = store.sequence(channel, quality, start, end)
    return sequence if sequence.hours else None


def _nothing(what: str, wanted: Range) -> RequestError:
    where = "" if wanted == Range(None, None) else " in that range"
    return RequestError(f"Nothing is recorded of {what}{where}.", status=404)


async def multivariant(request: web.Request) -> web.StreamResponse:
    """Answer `GET /playlist/C.m3u8`: the qualities, each with its playlist for the same `start` and `end`."""
    channel = request.match_info["channel"]
    wanted = parse_range(request.query.items())
    now = datetime.now(UTC)
    store, facts = request.app[STORE], request.app[FACTS]
    packed = takes_gzip(request)
    key = (channel, wanted, packed)
    return await respond(
        request,
        await request.app[FLIGHTS].share(
            key, lambda: Answer([Chunk(_multivariant(store, facts, channel, wanted, now))], 1).prepared(packed=packed)
        ),
    )


def _multivariant(store: Store, facts: FactsStore, channel: str, wanted: Range, now: datetime) -> str:
    times = {name: format_utc(moment) for name, moment in (("start", wanted.start), ("end", wanted.end)) if moment}
    query = f"?{urlencode(times)}" if times else ""
    variants = [
        Variant(
            f"{_quoted(channel)}/{_quoted(quality)}.m3u8{query}",
            *rates,
            variant_attributes(known.values()),
        )
        for quality in store.qualities(channel)
        if (sequence := _sequence(store, channel, quality, wanted, now)) is not None
        and (newest := _newest(sequence))
        and (known := facts.probe_missing(channel, quality, newest))
        and (rates := _bit_rates(newest, known)) is not None
    ]
    if not variants:
        raise _nothing(channel, wanted)
    return multivariant_playlist(variants)


def _quoted(name: str) -> str:
    return quote(name, safe="")


def _newest(sequence: BestSequence) -> list[Segment]:
    last = sequence.hours[-1].segments
    return [segment for segment in last if segment.start > last[-1].start - _RATE_OVER]


def _bit_rates(newest: list[Segment], known: Mapping[str, Facts]) -> tuple[int, int] | None:
    """Give peak and average bits per second of segments; None if they last no time."""
    measured = [(8 * known[s.hash].bytes, s.duration.total_seconds()) for s in newest if s.duration and s.hash in known]
    if not measured:
        return None
    peak = max(bits / seconds for bits, seconds in measured)
    return round(peak), round(sum(bits for bits, _ in measured) / sum(seconds for _, seconds in measured))
