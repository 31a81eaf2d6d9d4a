"""What every upload location promises, shown of each of them."""

import asyncio
import json
import os
import random
import signal
import sys
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from cutter.locations import DamagedSpoolError, Delivered, LocationAwayError, Video
from delivery import Place, Row, make_video


@pytest.fixture
def video(place: Place, tmp_path: Path) -> Video:
    return make_video(tmp_path)


@pytest.fixture
def long(place: Place, tmp_path: Path) -> Video:
    """A video that goes in several pieces."""
    return make_video(tmp_path, size=place.size)


async def deliver(place: Place, video: Video, row: Row) -> Delivered:
    return await place.location.deliver(video, row.session, keep=row.keep, progress=row.report)


async def begin(place: Place, video: Video) -> Row:
    return Row(session=await place.location.begin(video))


async def test_what_is_delivered_is_there(place: Place, video: Video) -> None:
    """A delivered video has an id and a link, and lies there once, with its content."""
    row = await begin(place, video)
    assert await place.location.find(video, row.session) is None
    delivered = await deliver(place, video, row)
    assert delivered.video_id
    assert delivered.link.partition(":")[0] in {"http", "https", "file"}
    assert await place.digests() == [video.sha256]


async def test_progress_only_grows(place: Place, long: Video) -> None:
    """Progress begins below the end, grows step by step and ends with all."""
    row = await begin(place, long)
    await deliver(place, long, row)
    assert row.progress == sorted(set(row.progress))
    assert 0 < row.progress[0] < 1
    assert row.progress[-1] == 1
    assert len(row.progress) > 1


async def test_no_session_is_needed(place: Place, video: Video) -> None:
    """Without a session, a delivery begins one if it needs it, and the video is found with what was kept."""
    row = Row()
    delivered = await deliver(place, video, row)
    assert await place.location.find(video, row.session) == delivered


async def test_sending_twice_is_harmless(place: Place, video: Video) -> None:
    """What is delivered again is the same video."""
    row = await begin(place, video)
    first = await deliver(place, video, row)
    assert await deliver(place, video, row) == first
    assert await place.digests() == [video.sha256]


async def test_a_video_is_found_without_its_file(place: Place, video: Video) -> None:
    """A node that has not got the spooled file can tell whether the video is out."""
    row = await begin(place, video)
    delivered = await deliver(place, video, row)
    video.path.unlink()
    assert await place.location.find(video, row.session) == delivered


async def test_a_new_title_makes_no_second_video(place: Place, video: Video) -> None:
    """A title that is changed during a delivery does not hide what was delivered."""
    row = await begin(place, video)
    first = await deliver(place, video, row)
    renamed = replace(video, title="Another")
    assert await place.location.find(renamed, row.session) == first
    assert await deliver(place, renamed, row) == first
    assert await place.digests() == [video.sha256]


@pytest.mark.parametrize("point", [1, 2, -1])
async def test_nothing_is_in_doubt_after_an_end(place: Place, long: Video, point: int) -> None:
    """Wherever a delivery ends, the video is afterwards certainly out or certainly not, and goes out once."""
    row = await begin(place, long)
    delivery = asyncio.create_task(deliver(place, long, row))

    def end(number: int) -> None:
        if number == point or (point < 0 and row.progress[-1] == 1):
            delivery.cancel()

    row.at = end
    with suppress(asyncio.CancelledError):
        await delivery
    assert delivery.cancelled() or row.progress[-1] == 1
    await check_once(place, long, row)


@pytest.mark.parametrize("seed", range(2))
async def test_a_cancelled_delivery_leaves_no_half(place: Place, long: Video, seed: int) -> None:
    """Cancelled at any moment, a delivery leaves the whole video or none, and goes on later."""
    row = await begin(place, long)
    delivery = asyncio.create_task(deliver(place, long, row))
    for _ in range(random.Random(seed).randrange(3, 60)):
        await asyncio.wait({delivery}, timeout=0.001)
    delivery.cancel()
    with suppress(asyncio.CancelledError):
        await delivery
    await check_once(place, long, row)


async def check_once(place: Place, video: Video, row: Row) -> None:
    """Hold the location against its word: what it finds is there, and in the end the video is there once."""
    there = await place.digests()
    found = await place.location.find(video, row.session)
    assert there in ([], [video.sha256])
    assert found is not None or not there
    row.at = lambda _: None
    delivered = await deliver(place, video, row)
    assert found is None or found == delivered
    assert await place.digests() == [video.sha256]


async def test_a_killed_cutter_leaves_no_doubt(place: Place, long: Video, tmp_path: Path, root: Path) -> None:
    """A process that is killed in the middle of a delivery leaves no half, and another one ends its work."""
    if place.config.read_text().count("webdav"):
        return  # it is registered in this process alone
    session = tmp_path / "session.json"
    script = root / "tests" / "support" / "deliver_and_die.py"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, str(script), str(place.config), str(tmp_path), str(place.size), str(session)),
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert await process.wait() == -signal.SIGKILL
    await check_once(place, long, Row(session=json.loads(session.read_text())))


async def test_a_place_that_is_away_comes_back(place: Place, video: Video) -> None:
    """While a location is away it says so, whatever it is asked; when it is back, the delivery goes on."""
    row = await begin(place, video)
    await place.leave()
    with pytest.raises(LocationAwayError):
        await deliver(place, video, row)
    with pytest.raises(LocationAwayError):
        await place.location.find(video, row.session)
    await place.come_back()
    await check_once(place, video, row)


async def test_a_damaged_file_does_not_go_out(place: Place, video: Video) -> None:
    """A spooled file that is not what it was is told from trouble at the location, and nothing of it is seen."""
    row = await begin(place, video)
    content = bytearray(video.path.read_bytes())
    content[-1] ^= 1
    video.path.write_bytes(content)
    with pytest.raises(DamagedSpoolError):
        await deliver(place, video, row)
    assert await place.contents() == {}


async def test_a_missing_file_is_no_trouble_of_the_place(place: Place, video: Video) -> None:
    """A spooled file that is gone is an OSError."""
    row = await begin(place, video)
    video.path.unlink()
    with pytest.raises(FileNotFoundError):
        await deliver(place, video, row)


async def test_several_go_at_once(place: Place, video: Video, tmp_path: Path) -> None:
    """Deliveries side by side do not disturb each other."""
    other = make_video(tmp_path, event="two/../words", seed=2)
    await asyncio.gather(*(deliver(place, each, Row()) for each in (video, other)))
    assert sorted(await place.digests()) == sorted([video.sha256, other.sha256])


async def test_what_is_said_can_change(place: Place, video: Video) -> None:
    """A change of what is said leaves the video, its id and its content as they are."""
    row = await begin(place, video)
    delivered = await deliver(place, video, row)
    await place.location.modify(delivered, replace(video, title="New", public=False))
    assert await place.location.find(video, row.session) == delivered
    assert await place.digests() == [video.sha256]


async def test_its_own_work_ends(place: Place, video: Video) -> None:
    """A location says when it has finished its own work on a video."""
    delivered = await deliver(place, video, Row())
    assert await place.location.finished(delivered)
