"""An S3-compatible store as a location: parts, checksums, answers that are lost, and what the store refuses."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
from aiohttp import ClientSession

from breaking_proxy import BreakingProxy
from cutter.locations import LocationAwayError, LocationRefusedError, Video, s3
from cutter.locations.config import load
from cutter.locations.names import candidates
from cutter.locations.s3 import S3
from delivery import MIB, Place, Row, make_video, s3_place


@pytest.fixture
async def place(tmp_path: Path, moto: int, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Place]:
    monkeypatch.setattr(s3, "_PART_BYTES", 5 * MIB)
    monkeypatch.setattr(s3, "_PARTS_AT_ONCE", 1)
    async with s3_place(tmp_path, moto) as place:
        yield place


@pytest.fixture
def proxy(place: Place) -> BreakingProxy:
    assert place.proxy is not None
    return place.proxy


@pytest.fixture
def video(place: Place, tmp_path: Path) -> Video:
    return make_video(tmp_path, size=6000)


async def deliver(place: Place, video: Video, row: Row) -> str:
    return (await place.location.deliver(video, row.session, keep=row.keep, progress=row.report)).video_id


def bucket_of(place: Place) -> str:
    return place.config.read_text().partition('bucket = "')[2].partition('"')[0]


async def test_an_answer_lost_after_the_last_byte_leaves_no_doubt(
    place: Place, proxy: BreakingProxy, video: Video
) -> None:
    """When the store has completed an upload and cannot say so, the video is found, and not sent again."""
    row = Row(session=await place.location.begin(video))
    proxy.lose_answer_to = b"<CompleteMultipartUpload"
    with pytest.raises(LocationAwayError, match="place cannot be reached or is busy"):
        await deliver(place, video, row)
    assert proxy.lost == 1
    found = await place.location.find(video, row.session)
    assert found is not None
    assert await deliver(place, video, row) == found.video_id
    assert await place.digests() == [video.sha256]


async def test_a_cancelled_upload_leaves_no_parts(place: Place, moto: int, tmp_path: Path) -> None:
    """An upload that is cancelled is given up at the store, too."""
    long = make_video(tmp_path, size=place.size)
    row = Row()
    delivery = asyncio.create_task(deliver(place, long, row))
    row.at = lambda _: (delivery.cancel(), None)[1]
    with pytest.raises(asyncio.CancelledError):
        await delivery
    uploads = f"http://127.0.0.1:{moto}/{bucket_of(place)}?uploads"
    async with ClientSession() as session, session.get(uploads) as answer:
        assert "<UploadId>" not in await answer.text()
    assert await place.contents() == {}


async def test_the_object_tells_what_it_is(place: Place, moto: int, video: Video) -> None:
    """Its metadata has the checksum and the event, its type is that of its ending."""
    name = await deliver(place, video, Row())
    url = f"http://127.0.0.1:{moto}/{bucket_of(place)}/{quote(name)}"
    async with ClientSession() as session, session.get(url) as answer:
        headers = answer.headers
    assert headers["x-amz-meta-respool-sha256"] == video.sha256
    assert headers["x-amz-meta-respool-event"] == "event-1"
    assert headers["Content-Type"] == "video/mp4"


async def test_nothing_is_written_over(place: Place, video: Video, tmp_path: Path) -> None:
    """Another content of the same event and revision gets a key of its own, always the same one."""
    first = await deliver(place, video, Row())
    other = make_video(tmp_path, size=1000, seed=2)
    second = await deliver(place, other, Row())
    assert second == candidates(first, other.sha256)[1]
    assert await deliver(place, other, Row()) == second
    assert sorted(await place.digests()) == sorted([video.sha256, other.sha256])


async def test_a_foreign_object_is_left_alone(place: Place, video: Video, tmp_path: Path) -> None:
    """If both keys are taken by what is not the video, it is refused, and they stay as they are."""
    location = place.location
    assert isinstance(location, S3)
    name = await deliver(place, video, Row())
    third = make_video(tmp_path, size=1000, seed=3)
    blocker = make_video(tmp_path, size=1000, seed=4)
    await deliver(place, blocker, Row(session={"name": candidates(name, third.sha256)[1]}))
    with pytest.raises(LocationRefusedError, match="Both names"):
        await deliver(place, third, Row())


async def test_a_missing_bucket_is_told(place: Place, video: Video, tmp_path: Path) -> None:
    """A bucket that is not there makes videos wait, with a sentence."""
    config = tmp_path / "locations.toml"
    config.write_text(config.read_text().replace('bucket = "', 'bucket = "not-'))
    async with load(config)["place"] as location:
        with pytest.raises(LocationAwayError, match=r"place has no bucket not-bucket-\w+: make it"):
            await location.deliver(video, None, keep=Row().keep, progress=lambda _: None)


async def test_surroundings_say_nothing(place: Place, video: Video, monkeypatch: pytest.MonkeyPatch) -> None:
    """Variables of the environment that S3's own tools read change nothing."""
    monkeypatch.setenv("AWS_ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_SKIP_SIGNATURE", "true")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "another")
    async with load(place.config)["place"] as location:
        assert await location.find(video, None) is None


@pytest.mark.parametrize("size", [1, 100 << 30, 5 << 40])
def test_large_files_go_in_larger_parts(size: int) -> None:
    """No file needs more parts than S3 takes, nor larger ones."""
    parts = s3.part_bytes(size)
    assert size / parts <= 10_000
    assert 5 * MIB <= parts <= 5 << 30


async def test_information_lies_beside_the_video(place: Place, video: Video, tmp_path: Path) -> None:
    """What is said of a video is an object beside it, if that is wanted."""
    config = tmp_path / "locations.toml"
    config.write_text(config.read_text() + "information = true\n")
    async with load(config)["place"] as location:
        assert isinstance(location, S3)
        found = await location.deliver(video, None, keep=Row().keep, progress=lambda _: None)
        await location.modify(found, video)
        assert await location._held(found.video_id.removesuffix(".mp4") + ".json") == ""
