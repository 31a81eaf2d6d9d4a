"""Playlists over HTTP: of which range, with which addresses, and when there is none."""

import asyncio
import os
import shutil
import threading
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any
from unittest.mock import ANY
from urllib.parse import urljoin

import m3u8
import pytest
from aiohttp import ClientSession
from yarl import URL

from common.coverage import HourCoverage
from common.dateutil import format_utc
from common.segments import Segment, SegmentType
from common.store import Store
from common.web import serving
from restreamer.answers import Flights
from restreamer.ledger import EDGE_HELD
from restreamer.main import make_app
from restreamer.playlist import RenderedHour, render_hour
from restreamer.playlists import PAST_AFTER

Put = Callable[..., Segment]

PAST = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T12:01:00Z"}


async def playlist(client: ClientSession, url: URL) -> Any:  # noqa: ANN401 - m3u8 has no types
    async with client.get(url) as response:
        assert response.status == 200, await response.text()
        assert response.content_type == "application/vnd.apple.mpegurl"
        assert response.headers["Cache-Control"].startswith("public, max-age=")
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        return m3u8.loads(await response.text(), uri=str(url))


async def refusal(client: ClientSession, url: URL) -> tuple[int, str]:
    async with client.get(url) as response:
        answer = await response.json()
        assert list(answer) == ["error"]
        return response.status, answer["error"]


def times(found: Any) -> list[datetime]:  # noqa: ANN401
    return [entry.program_date_time for entry in found.segments]


# Media playlists ----------------------------------------------------------------------------------------------------


async def test_a_past_range_is_a_recording(url: URL, client: ClientSession, put: Put) -> None:
    """A range that is past lists what touches it, is closed, and gives each segment's bytes under its address."""
    put("11:59:50")
    recorded = [put("11:59:59"), put("12:00:01"), put("12:00:05"), put("12:01:00")]
    put("12:01:02")
    found = await playlist(client, url / "playlist/chan/source.m3u8" % PAST)
    assert times(found) == [segment.start for segment in recorded]
    assert [entry.discontinuity for entry in found.segments] == [False, False, True, True]
    assert found.is_endlist
    for entry, segment in zip(found.segments, recorded, strict=True):
        async with client.get(
            URL(urljoin(str(url / "playlist/chan/source.m3u8"), entry.uri), encoded=True)
        ) as response:
            assert (response.status, await response.read()) == (200, segment.start.isoformat().encode())


async def test_without_an_end_it_is_live(url: URL, client: ClientSession, put: Put, now: datetime) -> None:
    """What has no end goes up to now and stays open; what has no start begins with the first segment."""
    recorded = [put(now - timedelta(seconds=30 - 2 * n)) for n in range(15)]
    for query in ({}, {"start": format_utc(recorded[0].start)}):
        found = await playlist(client, url / "playlist/chan/source.m3u8" % query)
        assert times(found) == [segment.start for segment in recorded]
        assert not found.is_endlist
        assert found.playlist_type is None


async def test_a_range_is_closed_when_nothing_can_come(
    url: URL, client: ClientSession, put: Put, now: datetime
) -> None:
    """A range that ended only just is still open for what is late."""
    put(now - 2 * PAST_AFTER, 60.0)
    at = url / "playlist/chan/source.m3u8"
    assert not (await playlist(client, at % {"end": format_utc(now - PAST_AFTER / 2)})).is_endlist
    assert (await playlist(client, at % {"end": format_utc(now - PAST_AFTER * 1.5)})).is_endlist


async def test_a_young_hole_holds_the_live_edge(url: URL, client: ClientSession, put: Put, now: datetime) -> None:
    """What comes after a young hole is listed only when the hole is filled, and then without a break."""
    first = put(now - timedelta(seconds=8))
    third = put(now - timedelta(seconds=4))
    at = url / "playlist/chan/source.m3u8"
    assert times(await playlist(client, at)) == [first.start]
    second = put(now - timedelta(seconds=6))
    found = await playlist(client, at)
    assert times(found) == [first.start, second.start, third.start]
    assert not any(entry.discontinuity for entry in found.segments)


async def test_an_old_hole_stands(url: URL, client: ClientSession, put: Put, now: datetime) -> None:
    """A hole that is no longer young is a discontinuity of the live playlist."""
    put(now - EDGE_HELD - timedelta(seconds=10))
    put(now - EDGE_HELD - timedelta(seconds=4))
    found = await playlist(client, url / "playlist/chan/source.m3u8")
    assert [entry.discontinuity for entry in found.segments] == [False, True]


async def test_long_ranges_are_asked_for_by_name(url: URL, client: ClientSession, put: Put) -> None:
    """A range with an open end over twelve hours is refused with a sentence, by both kinds of playlist."""
    first = put("12:00:00")
    for path in ("playlist/chan/source.m3u8", "playlist/chan.m3u8"):
        for query in ({}, {"start": "2026-03-01T12:00"}):
            status, sentence = await refusal(client, url / path % query)
            assert status == 400
            assert sentence.startswith("From 2026-03-01 12:00 to ")
            assert sentence.endswith(" is more than 12 hours; name both start and end for so much.")
    everything = {"start": "2026-02-20", "end": "2026-03-20"}
    assert times(await playlist(client, url / "playlist/chan/source.m3u8" % everything)) == [first.start]


@pytest.mark.parametrize(
    ("path", "query", "sentence"),
    [
        ("no/source.m3u8", {}, "Nothing is recorded of no/source."),
        ("chan/no.m3u8", PAST, "Nothing is recorded of chan/no in that range."),
        ("no.m3u8", {}, "Nothing is recorded of no."),
        ("chan/source.m3u8", {"end": "2026-03-01T11:00"}, "Nothing is recorded of chan/source in that range."),
        ("chan/source.m3u8", {"start": "2999-03-01"}, "Nothing is recorded of chan/source in that range."),
        (
            "chan/source.m3u8",
            {"start": "2999-03-01", "end": "2999-03-02"},
            "Nothing is recorded of chan/source in that range.",
        ),
        ("chan.m3u8", {"end": "2026-03-01T11:00"}, "Nothing is recorded of chan in that range."),
        (
            "chan/source.m3u8",
            {"start": "2026-03-01T12:01", "end": "2026-03-01T12:02"},
            "Nothing is recorded of chan/source in that range.",
        ),
    ],
)
async def test_nothing_recorded_is_a_404(
    url: URL, client: ClientSession, put: Put, path: str, query: dict[str, str], sentence: str
) -> None:
    """What is unknown, or empty in the range asked for, is a 404 with a sentence."""
    put("12:00:00")
    put("12:03:00")
    assert await refusal(client, url / "playlist" / path % query) == (404, sentence)


async def test_what_is_not_complete_is_listed_and_then_broken(url: URL, client: ClientSession, put: Put) -> None:
    """A partial segment is better than none; after it there is a discontinuity."""
    put("12:00:00", kind=SegmentType.PARTIAL)
    put("12:00:02")
    found = await playlist(client, url / "playlist/chan/source.m3u8" % PAST)
    assert [entry.discontinuity for entry in found.segments] == [False, True]


async def test_what_has_not_changed_is_not_sent_again(url: URL, client: ClientSession, put: Put) -> None:
    """With the tag of what it has, a client gets a 304; with another one, or after a change, the playlist."""
    at = url / "playlist/chan/source.m3u8" % PAST
    put("12:00:00")
    async with client.get(at) as response:
        tag = response.headers["ETag"]
        assert response.headers["Vary"] == "Accept-Encoding"
    async with client.get(at, headers={"If-None-Match": f'"other", {tag}'}) as response:
        assert (response.status, await response.read(), response.headers["ETag"]) == (304, b"", tag)
    put("12:00:02")
    async with client.get(at, headers={"If-None-Match": tag}) as response:
        assert response.status == 200
        assert response.headers["ETag"] != tag


async def test_compressed_or_not_it_is_the_same(url: URL, client: ClientSession, put: Put, now: datetime) -> None:
    """A client that takes gzip gets that, another one plain text; both read the same, and HEAD has the same headers."""
    for n in range(400):
        put(now - timedelta(seconds=2 * n + 2))
    at = url / "playlist/chan/source.m3u8" % {"start": format_utc(now - timedelta(minutes=20))}
    async with client.get(at, headers={"Accept-Encoding": "identity"}) as plain, client.get(at) as packed:
        assert "Content-Encoding" not in plain.headers
        assert packed.headers["Content-Encoding"] == "gzip"
        assert int(packed.headers["Content-Length"]) < int(plain.headers["Content-Length"]) / 3
        assert packed.headers["ETag"] != plain.headers["ETag"]
        assert await plain.text() == await packed.text()
    async with client.head(at) as head:
        assert head.headers["Content-Length"] == packed.headers["Content-Length"]
        assert await head.read() == b""


@pytest.mark.parametrize(
    ("accepted", "packed"),
    [
        ("gzip", True),
        ("br, GZIP;q=0.5", True),
        ("x-gzip", True),
        ("*", True),
        ("identity;q=0.5, *;q=0.1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000, identity", False),
        ("*, gzip;q=0", False),
        ("gzipped", False),
        ("", False),
    ],
)
async def test_a_client_gets_what_it_takes(
    url: URL,
    client: ClientSession,
    put: Put,
    accepted: str,
    packed: bool,  # noqa: FBT001 - pytest's
) -> None:
    """What a client says that it does not take, it does not get (RFC 9110 §12.5.3)."""
    put("12:00:00")
    async with client.get(url / "playlist/chan/source.m3u8" % PAST, headers={"Accept-Encoding": accepted}) as response:
        assert response.headers.get("Content-Encoding") == ("gzip" if packed else None)
        assert (await response.text()).startswith("#EXTM3U")


async def test_a_whole_hour_is_rendered_once(
    url: URL, client: ClientSession, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many ask for parts of hours, a whole one stays rendered."""
    rendered: list[int] = []
    monkeypatch.setattr("restreamer.rendered._HOURS", 2)

    def noted(base: str, hour: HourCoverage, facts: Any) -> RenderedHour:  # noqa: ANN401 - as the function's
        rendered.append(len(hour.segments))
        return render_hour(base, hour, facts)

    monkeypatch.setattr("restreamer.rendered.render_hour", noted)
    for minute in range(4):
        put(f"12:0{minute}:00", data=b"x")
    at = url / "playlist/chan/source.m3u8"
    whole = at % {"start": "2026-03-01T11:00", "end": "2026-03-01T14:00"}
    # what is known of the segments is rendered, too: by and by, since it is probed when it was asked for
    rendered.append(4)
    while 4 in rendered:
        rendered.clear()
        await playlist(client, whole)
    rendered.clear()
    for minute in range(3):
        await playlist(client, at % {"start": "2026-03-01T12:00", "end": f"2026-03-01T12:0{minute}:30"})
    await playlist(client, whole)
    assert 4 not in rendered


async def test_a_delta_update_is_short(url: URL, client: ClientSession, put: Put, now: datetime) -> None:
    """Who asks for a delta update of a long list gets its end only, and how much was left out."""
    for n in range(100):
        put(now - timedelta(seconds=2 * n + 2))
    query = {"start": format_utc(now - timedelta(minutes=5))}
    at = url / "playlist/chan/source.m3u8"
    whole = await playlist(client, at % query)
    async with client.get(at % (query | {"_HLS_skip": "YES"})) as response:
        update = await response.text()
    left = update.count("#EXTINF")
    assert f"#EXT-X-SKIP:SKIPPED-SEGMENTS={len(whole.segments) - left}\n" in update
    assert 6 <= left < 10
    assert update.rstrip().endswith(whole.segments[-1].uri)


async def test_a_new_server_goes_on_with_the_same_list(
    url: URL, client: ClientSession, put: Put, store: Store, now: datetime
) -> None:
    """What a live list has left out stays out, and its target duration stays, after a restart too."""
    first, third = put(now - timedelta(seconds=60)), put(now - timedelta(seconds=56))
    at = url / "playlist/chan/source.m3u8" % {"start": format_utc(now - timedelta(minutes=2))}
    before = await playlist(client, at)
    assert times(before) == [first.start, third.start]
    second = put(now - timedelta(seconds=58))
    os.utime(store.segment_path("chan", "source", second))
    fourth = put(now - timedelta(seconds=54))
    os.utime(store.segment_path("chan", "source", fourth))
    async with serving(make_app(Store(store.base)), "127.0.0.1", 0) as port:
        for server in (url, URL(f"http://127.0.0.1:{port}")):
            after = await playlist(client, server.join(at.relative()))
            assert times(after) == [first.start, third.start, fourth.start]
            assert after.target_duration == before.target_duration


async def test_deleted_hours_leave_at_the_head(
    url: URL, client: ClientSession, put: Put, store: Store, now: datetime
) -> None:
    """When an hour is deleted, a live list loses its entries at the head and counts them; a restart knows the count."""
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    old = [put(this_hour - timedelta(seconds=seconds)) for seconds in (60, 58, 50, 48)]
    new = [put(this_hour + timedelta(seconds=seconds)) for seconds in (10, 12)]
    at = url / "playlist/chan/source.m3u8" % {"start": format_utc(this_hour - timedelta(minutes=2))}
    assert times(await playlist(client, at)) == [segment.start for segment in old + new]
    shutil.rmtree(store.folder("chan", "source") / old[0].hour)
    async with serving(make_app(Store(store.base)), "127.0.0.1", 0) as port:
        for server in (url, URL(f"http://127.0.0.1:{port}")):
            async with client.get(server.join(at.relative())) as response:
                text = await response.text()
            assert "#EXT-X-MEDIA-SEQUENCE:4\n#EXT-X-DISCONTINUITY-SEQUENCE:1\n#EXT-X-DISCONTINUITY\n" in text
            assert text.count("#EXTINF") == len(new)


async def test_identical_requests_share_their_work(
    url: URL, client: ClientSession, put: Put, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ten who ask for the same at the same time cause one look at the store."""
    put("12:00:00")
    looks = []
    real = Store.sequence

    def counted(*args: Any, **options: Any) -> Any:  # noqa: ANN401
        looks.append(args)
        gate.wait(60)
        return real(*args, **options)

    async def joining(*args: Any) -> Any:  # noqa: ANN401 - as the method's
        joined.append(args)
        if len(joined) == 10:
            gate.set()
        return await share(*args)

    gate, joined, share = threading.Event(), list[object](), Flights.share
    monkeypatch.setattr(Store, "sequence", counted)
    monkeypatch.setattr(Flights, "share", joining)
    at = url / "playlist/chan/source.m3u8" % PAST
    found = await asyncio.gather(*(playlist(client, at) for _ in range(10)))
    assert [len(one.segments) for one in found] == [1] * 10
    assert len(looks) == 1


# Multivariant playlists ---------------------------------------------------------------------------------------------


async def test_qualities_are_variants(url: URL, client: ClientSession, put: Put) -> None:
    """Each quality is a variant with its measured rates, the best first; the range is passed on."""
    put("12:00:00", 2.0, b"x" * 1000, quality="low")
    put("12:00:00", 2.0, b"x" * 3000)
    put("12:00:02", 1.0, b"x" * 3000)
    put("13:00:00", 1.0, b"x" * 9000)
    found = await playlist(client, url / "playlist/chan.m3u8" % PAST)
    assert [(v.stream_info.bandwidth, v.stream_info.average_bandwidth) for v in found.playlists] == [
        (24000, 16000),
        (4000, 4000),
    ]
    for variant, listed in zip(found.playlists, (2, 1), strict=True):
        inner = await playlist(client, URL(urljoin(str(url / "playlist/chan.m3u8"), variant.uri), encoded=True))
        assert len(inner.segments) == listed


async def test_a_variant_without_recordings_is_left_out(
    url: URL, client: ClientSession, put: Put, now: datetime
) -> None:
    """A quality that has nothing in the range is no variant; the others are."""
    put(now - timedelta(days=1), quality="given-up")
    put(now - timedelta(seconds=4))
    found = await playlist(client, url / "playlist/chan.m3u8" % {"start": format_utc(now - timedelta(minutes=1))})
    assert [variant.uri for variant in found.playlists] == [ANY]
    assert found.playlists[0].uri.startswith("chan/source.m3u8?start=")


async def test_the_rates_are_those_of_the_whole_range(url: URL, client: ClientSession, put: Put) -> None:
    """The peak of hours ago counts, and so does what was sent then for the average (RFC 8216 §4.3.4.2)."""
    put("09:00:00", 2.0, b"x" * 8000)
    put("12:00:00", 2.0, b"x" * 1000)
    put("12:00:30", 2.0, b"x" * 9000)
    found = await playlist(
        client, url / "playlist/chan.m3u8" % {"start": "2026-03-01T09:00", "end": "2026-03-01T12:00:10"}
    )
    rates = [(v.stream_info.bandwidth, v.stream_info.average_bandwidth) for v in found.playlists]
    assert rates == [(32000, 18000)]


async def test_a_range_that_ends_in_a_hole_has_variants(url: URL, client: ClientSession, put: Put) -> None:
    """There are variants however long before the end of the range their newest segments lie."""
    put("12:00:00", 2.0, b"x" * 1000)
    put("15:00:00", 2.0, b"x" * 9000)
    found = await playlist(
        client, url / "playlist/chan.m3u8" % {"start": "2026-03-01T10:00", "end": "2026-03-01T14:00"}
    )
    assert [variant.stream_info.bandwidth for variant in found.playlists] == [4000]


# Names --------------------------------------------------------------------------------------------------------------

NAMES = [
    "a b",
    "a#b?c",
    "100%",
    "%2F",
    "q'\"q",
    "ünï✓",
    "new\nline",
    "tab\t",
    "br{a}ce",
    "a+b&c=d;e",
    "a:b",
    "back\\slash",
    "x..",
    "a.m3u8",
]


@pytest.mark.parametrize("name", NAMES)
async def test_all_names_can_be_fetched(url: URL, client: ClientSession, put: Put, name: str) -> None:
    """Whatever channel and quality are called, addresses are plain ASCII, and a strict client follows them."""
    segment = put("12:00:00", channel=name, quality=name)
    at = url / "playlist" / f"{name}.m3u8" % PAST
    for _ in range(2):
        async with client.get(at) as response:
            text = await response.text()
            assert response.status == 200, text
        (address,) = [line for line in text.splitlines() if not line.startswith("#")]
        assert address.isascii()
        assert not set(address) & set(" \"'<>\\^`{|}")
        at = URL(urljoin(str(at), address), encoded=True)
    async with client.get(at) as response:
        assert (response.status, await response.read()) == (200, segment.start.isoformat().encode())
    for depth in ("files", "files/" + URL.build(path="/" + name).raw_path[1:]):
        async with client.get(URL(f"{url}/{depth}", encoded=True)) as response:
            assert await response.json() == [name]


async def test_what_is_deleted_meanwhile_is_no_failure(
    url: URL, client: ClientSession, put: Put, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A segment that goes between the listing and the look at its size makes the answer one to ask again for."""
    segment = put("12:00:00")
    sequence = store.sequence("chan", "source", segment.start, segment.end)
    monkeypatch.setattr(Store, "sequence", lambda *_, **__: sequence)
    store.segment_path("chan", "source", segment).unlink()
    monkeypatch.setattr(Store, "span", lambda *_: (segment.start, segment.end))
    assert await refusal(client, url / "cut/chan/source.ts" % (PAST | {"type": "rough", "allow_holes": "true"})) == (
        503,
        "A part of this was just deleted; ask again.",
    )
    assert (await refusal(client, url / "playlist/chan.m3u8" % PAST))[0] == 404
