"""Cutters as real processes that are killed or stopped, with all kinds of locations and a real spool."""

import hashlib
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest

from cutters import House
from delivery import Place, local_place, s3_place, youtube_place
from mortal_cutters import SMALL_DISK, mortal_cutters
from seen import read
from services import service

LOCATIONS = """
[locations.videos]
type = "local"
folder = "videos"
create = true
cut = "rough"
"""

KINDS = ("rough", "full")  # one is written by us, one by ffmpeg

# What is done for a delivery, in its order; the try after the fourth is the last.
STEPS = {
    "local": ("begin after", "FINALIZE after", "deliver progress", "deliver after"),
    "s3": ("begin after", "FINALIZE after", "deliver progress", "deliver after"),
    "youtube": ("begin after", "deliver progress", "SESSION after", "deliver after", "finished after"),
}


def arguments(house: House) -> tuple[str, ...]:
    (house.folder / "locations.toml").write_text(LOCATIONS)
    options = {
        "--base-dir": house.recording.base,
        "--database": house.dsn,
        "--locations": house.folder / "locations.toml",
        "--spool": house.folder / "node",
        "--spool-reserve": 0,
        "--name": "node",
    }
    return ("cutter", *(str(each) for option in options.items() for each in option))


async def lapse(house: House) -> None:
    """Let the time pass after which somebody else may see to what a cutter has left."""
    await house.sql.execute("UPDATE events SET lease_until = now()")


def videos(house: House) -> list[Path]:
    return [path for path in (house.folder / "videos").rglob("*") if path.is_file()]


@pytest.fixture(params=STEPS)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    """A location of each kind that cutters come with."""
    match request.param:
        case "local":
            made = local_place(tmp_path)
        case "s3":
            monkeypatch.setattr("moto.s3.models.S3_UPLOAD_PART_MIN_SIZE", 0)
            made = s3_place(tmp_path, request.getfixturevalue("moto"))
        case _:
            made = youtube_place(tmp_path)
    async with made as opened:
        yield opened


async def test_cutter_that_is_killed_within_its_delivery(house: House, place: Place) -> None:
    """Killed anywhere between cut and DONE, the next process settles it by itself: one video, the whole one."""
    kind = place.config.read_text().split('"')[1]
    async with mortal_cutters(house, place.config) as cutters:
        await house.add(upload_location="place")
        for moment in STEPS[kind]:
            await cutters.die_at(moment)
            if moment == "finished after":
                await lapse(house)
        async with cutters.live():
            row = await house.until(state="DONE", spool=None)
            await house.until_empty()
    wanted = b"".join(house.recording.path(index).read_bytes() for index in (0, 1))
    assert await place.digests() == [hashlib.sha256(wanted).hexdigest()]
    assert row["error"] is None


async def test_cutter_that_is_killed_within_its_cut(house: House) -> None:
    """Killed anywhere between claim and upload, it leaves what the next process makes anew, or goes on with."""
    (house.folder / "locations.toml").write_text(LOCATIONS)
    async with mortal_cutters(house, house.folder / "locations.toml") as cutters:
        await house.add(upload_location="videos", cut_type="full", range=(1.0, 2.0))
        for moment in ("CLAIM after", "ffmpeg started", "SPOOLED before", "SPOOLED after"):
            await cutters.die_at(moment)
        (spooled,) = house.spooled()
        content = (house.folder / "node" / spooled).read_bytes()
        async with cutters.live():
            await house.until(state="DONE")
            await house.until_empty()
    (video,) = videos(house)
    assert video.read_bytes() == content
    wanted = house.recording.between(*(house.recording.start + timedelta(seconds=each) for each in (1, 2)))
    assert [picture.number for picture in read(video).pictures] == wanted


async def test_cutter_that_is_killed_while_it_tells_of_a_change(house: House, tmp_path: Path) -> None:
    """Killed before or after it has told the location of a change, the next process tells it."""
    async with youtube_place(tmp_path) as place, mortal_cutters(house, place.config) as cutters:
        await house.add(upload_location="place")
        async with cutters.live():
            row = await house.until(state="DONE", spool=None)
        await house.sql.execute("UPDATE events SET state = 'MODIFIED', title = 'Better'")
        await cutters.die_at("modify after")
        await lapse(house)
        async with cutters.live():
            await house.until(state="DONE")
        assert place.youtube is not None
        (video,) = place.youtube.videos.values()
    assert (video.resource["snippet"]["title"], row["title"]) == ("Better", "The title of one")


async def test_disk_that_is_really_full(house: House) -> None:
    """Where nothing more can be written, a cut fails with a sentence that says so, and leaves nothing behind."""
    (house.folder / "locations.toml").write_text(LOCATIONS)
    async with mortal_cutters(house, house.folder / "locations.toml") as cutters:
        for kind in KINDS:
            await house.add(kind, upload_location="videos", cut_type=kind, range=(1.0, 2.5))
        async with cutters.live(SMALL_DISK):
            for kind in KINDS:
                row = await house.until(kind, state="UNEDITED")
                assert row["error"].startswith("The video could not be made")
            await house.until_empty()
        await house.sql.execute("UPDATE events SET state = 'EDITED'")
        async with cutters.live():
            for kind in KINDS:
                await house.until(kind, state="DONE")
    assert len(videos(house)) == len(KINDS)


async def test_killed_cutter_leaves_nothing_undone_and_nothing_twice(house: House) -> None:
    """After kill -9 during delivery the next process goes on, as started by hand: one whole video, an empty spool."""
    await house.add(upload_location="videos", cut_type=None)
    async with service(*arguments(house), folder=house.folder) as cutter:
        await cutter.next("event_cut")
        cutter.process.kill()
        assert await cutter.end() < 0
    async with service(*arguments(house), folder=house.folder) as cutter:
        row = await house.until(state="DONE")
        await house.until_empty()
        cutter.process.terminate()
        assert await cutter.end() == 0
    (video,) = videos(house)
    wanted = b"".join(house.recording.path(index).read_bytes() for index in (0, 1))
    assert hashlib.sha256(video.read_bytes()).digest() == hashlib.sha256(wanted).digest()
    assert (row["video_link"], row["error"]) == (video.as_uri(), None)
    assert [event for event in cutter.events if event["level"] == "error"] == []


async def test_terminated_cutter_gives_back_and_ends_soon(house: House) -> None:
    """SIGTERM in the middle of an encode ends the process and its ffmpeg; the event is EDITED, and no try counts."""
    await house.add(upload_location="videos", cut_type="full", range=(0.0, 6.0))
    async with service(*arguments(house), folder=house.folder) as cutter:
        await cutter.next("event_claimed")
        cutter.process.terminate()
        assert await cutter.end() == 0
    row = await house.row()
    assert row["state"] in {"EDITED", "DONE"}  # a fast machine may have been done
    assert row["state"] == "DONE" or (row["attempts"], row["claim_token"], house.spooled()) == (0, None, set())
    assert {event["event"] for event in cutter.events} & {"stop_forced", "failed", "event_failed"} == set()


async def test_spool_and_name_are_checked_at_the_start(house: House) -> None:
    """A second process on the same spool, and one without a locations file, refuse in one sentence."""
    async with service(*arguments(house), folder=house.folder) as cutter:
        await cutter.next("cutter_ready")
        async with service(*arguments(house), folder=house.folder) as second:
            refusal = await second.next("cannot_run")
            assert refusal["reason"].startswith(f"Another cutter uses the spool {house.folder / 'node'}")
            assert await second.end() == 1
