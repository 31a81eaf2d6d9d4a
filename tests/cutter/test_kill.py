"""Cutters as real processes that are killed or stopped, with real folders as location and spool."""

import hashlib
from pathlib import Path

from cutters import House
from services import Service, service

LOCATIONS = """
[locations.videos]
type = "local"
folder = "videos"
create = true
cut = "rough"
"""


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


def videos(house: House) -> list[Path]:
    return [path for path in (house.folder / "videos").rglob("*") if path.is_file()]


async def claimed(cutter: Service) -> None:
    await cutter.next("event_claimed")


async def cut(cutter: Service) -> None:
    await cutter.next("event_cut")


async def test_killed_cutter_leaves_nothing_undone_and_nothing_twice(house: House) -> None:
    """After kill -9 during cut and delivery the next process goes on: one whole video, an empty spool."""
    await house.add(upload_location="videos", cut_type=None)
    for moment in (claimed, cut):
        async with service(*arguments(house), folder=house.folder) as cutter:
            await moment(cutter)
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
        await claimed(cutter)
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
