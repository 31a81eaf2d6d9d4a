"""Listings and segments over HTTP, from a real folder through a real socket."""

from collections.abc import Callable
from pathlib import Path

import pytest
from aiohttp import ClientSession
from prometheus_client import REGISTRY
from yarl import URL

from common.recording import SegmentWriter
from common.segments import Segment, SegmentType, tombstone_name
from common.store import Store

Put = Callable[..., Segment]

HOUR = "2026-03-01T12"
FOR_GOOD = "public, max-age=31536000, immutable"


async def listed(client: ClientSession, url: URL) -> list[str]:
    async with client.get(url) as response:
        assert (response.status, response.content_type) == (200, "application/json"), await response.text()
        names: list[str] = await response.json()
        return names


async def refusal(client: ClientSession, url: URL, status: int, **headers: str) -> str:
    """Ask for what is refused, and give the sentence; what is refused now must not be kept by caches."""
    async with client.get(url, headers=headers) as response:
        assert (response.status, response.content_type) == (status, "application/json")
        assert response.headers["Cache-Control"] == "no-store"
        answer = await response.json()
        assert list(answer) == ["error"]
        return str(answer["error"])


@pytest.fixture
def segment(put: Put) -> Segment:
    return put("12:00:00", data=bytes(range(256)) * 4)


@pytest.fixture
def address(url: URL, segment: Segment) -> URL:
    return url / "segments/chan/source" / HOUR / segment.name


# Listings -----------------------------------------------------------------------------------------------------------


async def test_the_store_is_listed_at_all_depths(url: URL, client: ClientSession, put: Put) -> None:
    """Channels, qualities, hours and names are lists, in order."""
    late, second, first = put("13:00:00"), put("12:00:02"), put("12:00:00")
    put("12:00:00", channel="Another ✓", quality="720p60")
    assert await listed(client, url / "files") == ["Another ✓", "chan"]
    assert await listed(client, url / "files/Another ✓") == ["720p60"]
    assert await listed(client, url / "files/chan/source") == ["2026-03-01T12", "2026-03-01T13"]
    assert await listed(client, url / "files/chan/source" / HOUR) == [first.name, second.name]
    assert await listed(client, url / "files/chan/source/2026-03-01T13") == [late.name]


@pytest.mark.parametrize("path", ["files", "files/no", "files/no/source", f"files/no/source/{HOUR}"])
async def test_the_unknown_is_an_empty_list(url: URL, client: ClientSession, path: str) -> None:
    """What the store does not have is an empty list, and asking for it makes nothing."""
    assert await listed(client, url / path) == []


async def test_what_is_no_hour_is_refused(url: URL, client: ClientSession) -> None:
    """The third name is an hour, or the request is wrong."""
    sentence = await refusal(client, url / "files/chan/source/noon", 400)
    assert sentence == "'noon' is not an hour such as 2026-03-01T18."


async def test_tombstones_are_listed_when_asked_for(url: URL, client: ClientSession, put: Put, store: Store) -> None:
    """A tombstone hides its segment; who asks for tombstones gets both."""
    shown, hidden = put("12:00:00"), put("12:00:02")
    tombstone = tombstone_name(hidden.name)
    (store.folder("chan", "source") / HOUR / tombstone).touch()
    at = url / "files/chan/source" / HOUR
    assert await listed(client, at) == await listed(client, at % {"tombstones": "false"}) == [shown.name]
    assert await listed(client, at % {"tombstones": "true"}) == [shown.name, tombstone, hidden.name]
    assert (
        await refusal(client, at % {"tombstones": "maybe"}, 400) == "The parameter tombstones is either true or false."
    )
    async with client.get(url / "segments/chan/source" / HOUR / tombstone) as response:
        assert (response.status, response.content_type) == (200, "application/octet-stream")
        assert await response.read() == b""


@pytest.mark.parametrize("tombstones", ["true", "false"])
async def test_what_nobody_can_fetch_is_not_listed(
    url: URL, client: ClientSession, put: Put, store: Store, segment: Segment, tombstones: str
) -> None:
    """A segment that is being written, a hidden file and a stranger are not listed."""
    writer = SegmentWriter(store, "chan", "source", segment.end, segment.duration)
    for name in (".hidden.ts", "stranger.ts"):
        (store.folder("chan", "source") / HOUR / name).touch()
    at = url / "files/chan/source" / HOUR % {"tombstones": tombstones}
    assert await listed(client, at) == [segment.name]
    writer.abandon()


async def test_names_that_are_no_text_are_passed_over(url: URL, client: ClientSession, store: Store, put: Put) -> None:
    """A folder whose name is not UTF-8 has no address; all the others are listed and served."""
    put("12:00:00")
    for folder in (b"bad\xff", b"chan/bad\xff"):
        (store.base / folder.decode(errors="surrogateescape")).mkdir()
    assert await listed(client, url / "files") == ["chan"]
    assert await listed(client, url / "files/chan") == ["source"]
    async with client.get(url / "playlist/chan.m3u8" % {"start": "2026-03-01", "end": "2026-03-02"}) as response:
        assert response.status == 200
        assert (await response.text()).count("m3u8") == 1


# Segments -----------------------------------------------------------------------------------------------------------


async def test_a_segment_is_served_whole_and_for_good(address: URL, client: ClientSession) -> None:
    """The file comes as it is, with its type, and may be kept for ever: its name tells its content."""
    async with client.get(address) as response:
        assert (response.status, response.content_type) == (200, "video/mp2t")
        assert response.headers["Cache-Control"] == FOR_GOOD
        assert response.headers["Accept-Ranges"] == "bytes"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        assert await response.read() == bytes(range(256)) * 4


async def test_a_fragmented_mp4_has_its_own_type(
    url: URL, client: ClientSession, store: Store, segment: Segment
) -> None:
    """A segment of the other kind is served with the other type."""
    writer = SegmentWriter(store, "chan", "source", segment.end, segment.duration, suffix=".mp4")
    writer.write(b"mp4")
    async with client.get(url / "segments/chan/source" / HOUR / writer.commit(SegmentType.FULL).name) as response:
        assert (response.status, response.content_type, await response.read()) == (200, "video/mp4", b"mp4")


@pytest.mark.parametrize(
    ("asked", "first", "last"),
    [
        ("0-0", 0, 0),
        ("1-9", 1, 9),
        ("1000-", 1000, 1023),
        ("-3", 1021, 1023),
        ("-9999", 0, 1023),
        ("1023-9999", 1023, 1023),
    ],
)
async def test_byte_ranges(address: URL, client: ClientSession, asked: str, first: int, last: int) -> None:
    """A range of bytes is given as RFC 9110 §14 counts them."""
    async with client.get(address, headers={"Range": f"bytes={asked}"}) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes {first}-{last}/1024"
        assert await response.read() == (bytes(range(256)) * 4)[first : last + 1]


@pytest.mark.parametrize(
    "asked", ["bytes=1024-", "bytes=9999-10000", "bytes=5-2", "bytes=0-1,3-4", "bytes=x", "seconds=1-2"]
)
async def test_impossible_ranges(address: URL, client: ClientSession, asked: str) -> None:
    """A range that the file has not is refused with its size, and no cache keeps the refusal in the file's place."""
    sentence = await refusal(client, address, 416, Range=asked)
    assert sentence == "The file has 1024 bytes; ask for one range of these, such as bytes=0-99."
    async with client.get(address, headers={"Range": asked}) as response:
        assert response.headers["Content-Range"] == "bytes */1024"


async def test_an_unchanged_segment_is_not_sent_again(address: URL, client: ClientSession) -> None:
    """Who has the file already, by its tag or its date, gets 304 and no body."""
    async with client.head(address) as response:
        tag, date = response.headers["ETag"], response.headers["Last-Modified"]
    for headers in ({"If-None-Match": tag}, {"If-None-Match": f'"other", {tag}'}, {"If-Modified-Since": date}):
        async with client.get(address, headers=headers) as response:
            assert (response.status, await response.read()) == (304, b"")
            assert response.headers["Cache-Control"] == FOR_GOOD
    async with client.get(address, headers={"If-None-Match": '"other"'}) as response:
        assert response.status == 200


async def test_an_unfinished_segment_is_not_served(
    url: URL, client: ClientSession, store: Store, segment: Segment
) -> None:
    """A segment is served only once it is complete: its bytes may not be kept before."""
    writer = SegmentWriter(store, "chan", "source", segment.end, segment.duration)
    writer.write(b"half")
    (temp,) = (store.folder("chan", "source") / HOUR).glob("*-temp-*")
    assert await refusal(client, url / "segments/chan/source" / HOUR / temp.name, 404) == (
        "This segment is still being written."
    )
    writer.abandon()


@pytest.mark.parametrize(
    "name",
    ["secret", "secret.ts", ".hidden.ts", "00:00.000000-2.0-full-x.ts", "00:00.000000-2.0-full-x.txt", "x.tombstone"],
)
async def test_nothing_but_segments_is_served(
    url: URL, client: ClientSession, store: Store, segment: Segment, name: str
) -> None:
    """What is no segment, or is not there, is a 404 even if a file of that name lies in the hour."""
    if "full" not in name:
        (store.folder("chan", "source") / HOUR / name).write_text("canary")
    assert await refusal(client, url / "segments/chan/source" / HOUR / name, 404)


async def test_a_folder_in_the_place_of_a_segment_is_a_404(url: URL, client: ClientSession, store: Store) -> None:
    """What has a segment's name and is no file is not there."""
    (store.folder("chan", "source") / HOUR / "00:00.000000-2.0-full-x.ts").mkdir(parents=True)
    await refusal(client, url / "segments/chan/source" / HOUR / "00:00.000000-2.0-full-x.ts", 404)


async def test_a_link_out_of_the_store_shows_no_other_file(
    url: URL, client: ClientSession, store: Store, segment: Segment, tmp_path: Path
) -> None:
    """Links are the operator's (a channel on another disk) and followed; behind them, too, only segments are served."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "canary").write_text("canary")
    (store.base / "link").symlink_to(elsewhere)
    (store.folder("chan", "source") / HOUR / "canary.ts").symlink_to(elsewhere / "canary")
    for path in ("segments/link/canary", "segments/link/x/y/canary", f"segments/link/x/{HOUR}/canary"):
        await refusal(client, url / path, 404)
    await refusal(client, url / "segments/chan/source" / HOUR / "canary.ts", 404)
    assert await listed(client, url / "files/link") == []


# When the store is gone ----------------------------------------------------------------------------------------------


async def test_health_tells_whether_the_store_can_be_read(url: URL, client: ClientSession, store: Store) -> None:
    """Alive and well is 200; without its folder it is 503, and says what is missing."""
    async with client.get(url / "health") as response:
        assert response.status == 200
        assert await response.json() == {"status": "ok", "store": "readable"}
    store.base.rmdir()
    async with client.get(url / "health") as response:
        assert response.status == 503
        assert response.headers["Cache-Control"] == "no-store"
        answer = await response.json()
        assert answer["status"] == "failing"
        assert str(store.base) in answer["store"]


async def test_a_store_that_has_gone_is_not_an_empty_one(url: URL, client: ClientSession, store: Store) -> None:
    """Peers are not told that there are no channels when the disk is not there."""
    store.base.rmdir()
    assert str(store.base) in await refusal(client, url / "files", 503)


@pytest.mark.parametrize(
    "path",
    [
        "files",
        "files/chan",
        "files/chan/source",
        f"files/chan/source/{HOUR}",
        f"segments/chan/source/{HOUR}/00:00.000000-2.0-full-x.ts",
        "playlist/chan.m3u8",
        "playlist/chan/source.m3u8",
        "cut/chan/source.ts?type=rough&start=2026-03-01T12:00&end=2026-03-01T12:01",
    ],
)
async def test_a_store_that_cannot_be_read_is_said_so(url: URL, client: ClientSession, store: Store, path: str) -> None:
    """When the disk answers with an error (here, a link to itself), the answer is a 503 with its reason."""
    store.base.rmdir()
    store.base.symlink_to(store.base)
    sentence = await refusal(client, URL(f"{url}/{path}"), 503)
    assert "Too many levels of symbolic links" in sentence


async def test_requests_are_counted_by_route(url: URL, client: ClientSession, put: Put) -> None:
    """The metrics count by the route's pattern and status, never by what a request names."""
    labels = {"route": "/files/{channel}", "method": "GET", "status": "200"}
    before = REGISTRY.get_sample_value("respool_http_request_seconds_count", labels) or 0
    await listed(client, url / "files/no-such-channel")
    assert REGISTRY.get_sample_value("respool_http_request_seconds_count", labels) == before + 1
    async with client.get(url / "metrics") as response:
        assert response.content_type == "text/plain"
        assert "no-such-channel" not in await response.text()
