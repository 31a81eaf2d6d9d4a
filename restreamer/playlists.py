"""The routes that show the store as playlists."""

from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

from aiohttp import web

from common.coverage import Hole
from common.dateutil import format_utc
from common.segments import Segment
from common.store import Store
from common.web import RequestError
from restreamer.keys import STORE
from restreamer.listings import off_loop
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
    text = await off_loop(lambda: _media(request.app[STORE], info["channel"], info["quality"], wanted, now))
    return _playlist(text)


def _media(store: Store, channel: str, quality: str, wanted: Range, now: datetime) -> str:
    recorded = store.span(channel, quality)
    if recorded is None:
        raise RequestError(f"Nothing is recorded of {channel}/{quality}.", status=404)
    start, end = implicit_range(wanted, recorded, now)
    ended = wanted.end is not None and wanted.end + PAST_AFTER < now
    sequence = store.sequence(channel, quality, start, end)
    items = list(sequence) if ended else until_live_edge(sequence, now)
    if all(isinstance(item, Hole) for item in items):
        raise RequestError(
            f"Nothing is recorded of {channel}/{quality} from {format_utc(start)} to {format_utc(end)}.", status=404
        )
    base = f"../../segments/{quote(channel, safe='')}/{quote(quality, safe='')}"

    def uri(segment: Segment) -> str:
        return f"{base}/{segment.hour}/{segment.name}"

    return media_playlist(items, uri, ended=ended)


async def multivariant(request: web.Request) -> web.Response:
    """Answer `GET /playlist/C.m3u8`: the qualities, each with its playlist for the same `start` and `end`."""
    channel = request.match_info["channel"]
    wanted = parse_range(request.query.items())
    return _playlist(await off_loop(lambda: _multivariant(request.app[STORE], channel, wanted)))


def _multivariant(store: Store, channel: str, wanted: Range) -> str:
    times = {name: format_utc(moment) for name, moment in (("start", wanted.start), ("end", wanted.end)) if moment}
    query = f"?{urlencode(times)}" if times else ""
    variants = [
        Variant(f"{quote(channel, safe='')}/{quote(quality, safe='')}.m3u8{query}", *rates)
        for quality in store.qualities(channel)
        if (rates := _bit_rates(store, channel, quality, wanted)) is not None
    ]
    if not variants:
        raise RequestError(f"Nothing is recorded of {channel}.", status=404)
    return multivariant_playlist(variants)


def _bit_rates(store: Store, channel: str, quality: str, wanted: Range) -> tuple[int, int] | None:
    """Measure peak and average bits per second of the newest segments of what is wanted; None if there are none."""
    recorded = store.span(channel, quality)
    if recorded is None:
        return None
    end = min(wanted.end or recorded[1], recorded[1])
    newest = [s for s in store.sequence(channel, quality, end - _RATE_OVER, end).segments if s.duration]
    sizes = [store.segment_path(channel, quality, segment).stat().st_size for segment in newest]
    if not newest:
        return None
    peak = max(8 * size / segment.duration.total_seconds() for size, segment in zip(sizes, newest, strict=True))
    average = 8 * sum(sizes) / sum(segment.duration.total_seconds() for segment in newest)
    return round(peak), round(average)


def _playlist(text: str) -> web.Response:
    return web.Response(text=text, content_type=_MEDIA_TYPE, charset="utf-8", headers={"Cache-Control": "no-cache"})
