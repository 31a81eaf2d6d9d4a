"""The routes that show the store as playlists."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from aiohttp import web

from common.coverage import BestSequence, Hole
from common.dateutil import format_utc
from common.segments import Segment
from common.store import Store
from common.web import RequestError
from restreamer.disk import off_loop
from restreamer.keys import STORE
from restreamer.params import Range, implicit_range, parse_range
from restreamer.playlist import PAST_AFTER, Variant, media_playlist, multivariant_playlist, until_live_edge

_MEDIA_TYPE = "application/vnd.apple.mpegurl"

# How far back a quality's bit rate is looked at.
_RATE_OVER = timedelta(minutes=1)


async def media(request: web.Request) -> web.Response:
    """Answer `GET /playlist/C/Q.m3u8`: the media playlist of a range; one without an end is live."""
    info = request.match_info
    wanted = parse_range(request.query.items())
    now = datetime.now(UTC)
    return _playlist(
        await off_loop(lambda: _media(request.app[STORE], info["channel"], info["quality"], wanted, now).encode())
    )


def _media(store: Store, channel: str, quality: str, wanted: Range, now: datetime) -> str:
    sequence = _sequence(store, channel, quality, wanted, now)
    ended = wanted.end is not None and wanted.end + PAST_AFTER < now
    items = [] if sequence is None else list(sequence) if ended else until_live_edge(sequence, now)
    if all(isinstance(item, Hole) for item in items):
        raise _nothing(f"{channel}/{quality}", wanted)
    base = f"../../segments/{quote(channel, safe='')}/{quote(quality, safe='')}"

    def uri(segment: Segment) -> str:
        return f"{base}/{segment.hour}/{segment.name}"

    return media_playlist(items, uri, ended=ended)


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


async def multivariant(request: web.Request) -> web.Response:
    """Answer `GET /playlist/C.m3u8`: the qualities, each with its playlist for the same `start` and `end`."""
    channel = request.match_info["channel"]
    wanted = parse_range(request.query.items())
    now = datetime.now(UTC)
    return _playlist(await off_loop(lambda: _multivariant(request.app[STORE], channel, wanted, now).encode()))


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


def _playlist(body: bytes) -> web.Response:
    return web.Response(body=body, content_type=_MEDIA_TYPE, charset="utf-8", headers={"Cache-Control": "no-cache"})
