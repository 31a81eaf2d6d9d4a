"""The routes that show the store as playlists."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from aiohttp import web

from common.coverage import BestSequence
from common.dateutil import format_utc
from common.store import Store
from common.web import RequestError
from restreamer.answers import Answer, Flights, respond
from restreamer.chunks import Chunk
from restreamer.keys import FLIGHTS, LIVE, RENDERED, STORE
from restreamer.live import Key, LiveLists
from restreamer.params import Range, implicit_range, parse_range, wants_delta
from restreamer.playlist import (
    END,
    Variant,
    live_head,
    multivariant_playlist,
    past_playlist,
    skippable,
)
from restreamer.rendered import RenderedHours

# A range is past when it ended so long ago that nothing still under way belongs to it.
PAST_AFTER = timedelta(seconds=60)

# Who has followed a range while it was live, gets its end from the same list.
_LIVE_UNTIL = timedelta(minutes=10)

# How far back a quality's bit rate is looked at.
_RATE_OVER = timedelta(minutes=1)

# A past range may still be completed by what other nodes have.
_PAST_SECONDS = 60


async def media(request: web.Request) -> web.StreamResponse:
    """Answer `GET /playlist/C/Q.m3u8`: the media playlist of a range; one without an end is live."""
    info = request.match_info
    wanted = parse_range(request.query.items())
    delta = wants_delta(request.query.items())
    asked = _Asked(request.app[STORE], info["channel"], info["quality"], wanted, datetime.now(UTC))
    lists, rendered = request.app[LIVE], request.app[RENDERED]
    flights: Flights = request.app[FLIGHTS]
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    key = (asked.channel, asked.quality, wanted, delta, packed)
    answer = await flights.share(key, lambda: _media(asked, lists, rendered, delta=delta).prepared(packed=packed))
    return await respond(request, answer)


@dataclass(frozen=True, slots=True)
class _Asked:
    """A media playlist that was asked for at `now`."""

    store: Store
    channel: str
    quality: str
    wanted: Range
    now: datetime

    @property
    def base(self) -> str:
        """Where the segments of the quality are, seen from its playlist."""
        return f"../../segments/{quote(self.channel, safe='')}/{quote(self.quality, safe='')}"

    @property
    def is_past(self) -> bool:
        """Whether the range is past and can no longer grow."""
        return self.wanted.end is not None and self.wanted.end + PAST_AFTER < self.now


def _media(asked: _Asked, lists: LiveLists, rendered: RenderedHours, *, delta: bool) -> Answer:
    key = Key(asked.channel, asked.quality, asked.wanted.start)
    end = asked.wanted.end
    if asked.is_past and not (end is not None and asked.now < end + _LIVE_UNTIL and lists.is_read(key)):
        return _past(asked, rendered)
    recorded = asked.store.span(asked.channel, asked.quality)
    if recorded is None:
        raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
    start, until = implicit_range(asked.wanted, recorded, asked.now)
    if start > until:
        raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
    with lists.reading(key, asked.base, start, asked.now) as live:
        if live is None or live.note is None:
            raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
        ledger, target = live.ledger, live.note.target
        seconds = max(1, target // 2)
        if end is not None:
            chunks = [live.until(end), *([END] if asked.is_past else [])]
            return Answer([live_head(target, ledger.first, ledger.first_break), *chunks], seconds)
        skipped = skippable(ledger.entries, target) if delta else 0
        chunks = [live.newest(skipped)] if skipped else live.chunks()
        return Answer([live_head(target, ledger.first, ledger.first_break, skipped=skipped), *chunks], seconds)


def _past(asked: _Asked, rendered: RenderedHours) -> Answer:
    sequence = _sequence(asked.store, asked.channel, asked.quality, asked.wanted, asked.now)
    if sequence is None:
        raise _nothing(f"{asked.channel}/{asked.quality}", asked.wanted)
    hours = [rendered.render(asked.base, hour) for hour in sequence.hours]
    return Answer(past_playlist(hours, sequence.gaps), _PAST_SECONDS)


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
    store = request.app[STORE]
    packed = "gzip" in request.headers.get("Accept-Encoding", "")
    key = (channel, wanted, packed)
    return await respond(
        request,
        await request.app[FLIGHTS].share(
            key, lambda: Answer([Chunk(_multivariant(store, channel, wanted, now))], 1).prepared(packed=packed)
        ),
    )


def _multivariant(store: Store, channel: str, wanted: Range, now: datetime) -> str:
    times = {name: format_utc(moment) for name, moment in (("start", wanted.start), ("end", wanted.end)) if moment}
    query = f"?{urlencode(times)}" if times else ""
    variants = [
        Variant(f"{quote(channel, safe='')}/{quote(quality, safe='')}.m3u8{query}", *rates)
        for quality in store.qualities(channel)
        if (sequence := _sequence(store, channel, quality, wanted, now)) is not None
        and (rates := _bit_rates(store, channel, quality, sequence)) is not None
    ]
    if not variants:
        raise _nothing(channel, wanted)
    return multivariant_playlist(variants)


def _bit_rates(store: Store, channel: str, quality: str, sequence: BestSequence) -> tuple[int, int] | None:
    """Measure peak and average bits per second of the newest segments of a sequence; None if they last no time."""
    last = sequence.hours[-1].segments
    newest = [segment for segment in last if segment.start > last[-1].start - _RATE_OVER and segment.duration]
    sizes = [store.segment_path(channel, quality, segment).stat().st_size for segment in newest]
    if not newest:
        return None
    peak = max(8 * size / segment.duration.total_seconds() for size, segment in zip(sizes, newest, strict=True))
    average = 8 * sum(sizes) / sum(segment.duration.total_seconds() for segment in newest)
    return round(peak), round(average)
