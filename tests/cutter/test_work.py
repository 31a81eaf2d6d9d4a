"""Events that become videos: the whole way with all that is real, and what stops them on it."""

import hashlib
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from common.cuts import CutType
from common.encoding import Container, EncodingSettings
from common.limits import Limits
from cutter.locations import Settings
from cutters import PNG, QUICK, House
from log_events import LogEvents
from seen import read


async def test_edited_event_becomes_a_video(house: House) -> None:
    """An event that is edited is cut, delivered, and done; nothing is left of it in the spool."""
    async with house.cutter():
        await house.add()
        row = await house.until(state="DONE")
    assert len(house.place.of("one")) == 1
    assert (row["video_link"], row["made_as"]) == ("https://place/0", "rough")
    assert (row["uploader"], row["error"], row["upload_time"] is not None) == ("node", None, True)
    assert (row["spool"], row["upload_session"], row["claim_token"], row["progress"]) == (None, None, None, None)
    assert await house.path() == ["EDITED", "CLAIMED", "FINALIZING", "DONE"]
    assert house.spooled() == set()


async def test_video_is_the_cut_that_was_asked_for(house: House, tmp_path: object) -> None:
    """What is delivered holds the pictures of the ranges, in the location's container and with what is said of it."""
    settings = Settings(encoding=EncodingSettings(container=Container.MATROSKA))
    async with house.cutter(settings=settings):
        await house.add(cut_type=None, range=(1.0, 2.0), tags=["a", "b"], video_description="Said", public=False)
        row = await house.until(state="DONE")
    assert row["made_as"] == "smart"
    ((_, _, sha256),) = house.place.videos
    video = house.folder / "seen.mkv"
    video.write_bytes(house.place.contents[sha256])
    wanted = house.recording.between(*(house.recording.start + timedelta(seconds=each) for each in (1, 2)))
    assert [picture.number for picture in read(video).pictures] == wanted
    told = house.place.told["0"]
    assert (told.title, told.description, told.tags, told.public) == ("The title of one", "Said", ("a", "b"), False)
    assert told.recorded == house.recording.start + timedelta(seconds=1)


@pytest.mark.parametrize("kind", ["full", "archive", "fast"])
async def test_each_type_of_cut_is_made(house: House, logged: LogEvents, kind: str) -> None:
    """Each type is made; a fast one is checked, which makes it smart. Runs of ffmpeg are logged with the event."""
    async with house.cutter():
        await house.add(cut_type=kind, range=(0.1, 0.6))
        row = await house.until(state="DONE")
    assert row["made_as"] == {"fast": "smart"}.get(kind, kind)
    runs = logged.of("ffmpeg_ended")
    assert runs or kind == "fast"
    assert all((run["id"], run["attempt"]) == ("one", 1) for run in runs)


async def test_events_are_made_in_order_of_priority(house: House) -> None:
    """The greater priority goes first, then who was edited first."""
    for event, priority in [("low", -1), ("first", 0), ("second", 0), ("high", 5)]:
        await house.add(event, priority=priority)
    async with house.cutter():
        await house.until("low", state="DONE")
    assert [event for event, _, _ in house.place.videos] == ["high", "first", "second", "low"]


async def test_event_for_nodes_that_do_not_run_says_so(house: House) -> None:
    """An event that only absent nodes may cut tells of them, until one of them is there."""
    await house.add(uploader_allowlist=["ghost", "50%s"])
    async with house.cutter():
        row = await house.until_lacking("ghost")
        assert row["lacking"] == {each: f"No cutter of the name {each} runs." for each in ("ghost", "50%s")}
        async with house.cutter("ghost", spool_limit=1):
            await house.until(lacking={})
        async with house.cutter("ghost"):
            row = await house.until(state="DONE")
    assert (row["uploader"], row["lacking"]) == ("ghost", {})


# What goes back to operators ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("columns", "error"),
    [
        ({"range": (0.5, 60.0)}, "Nothing complete is recorded from 2026-03-01T19:00:01.123456Z"),
        ({"range": (600.0, 660.0)}, "Nothing complete is recorded from"),
        ({"range": (600.0, 660.0), "allow_holes": True}, "Nothing of it is recorded here."),
        ({"upload_location": "moon"}, "There is no upload location 'moon'; there are fake."),
        ({"channel": "../etc"}, "cannot be the name of something recorded"),
        ({"thumbnail_mode": "CUSTOM", "thumbnail_image": b"no image"}, "The image is no PNG or JPEG"),
        ({"thumbnail_mode": "TEMPLATE", "thumbnail_time": None, "thumbnail_template": "x"}, "There is no template 'x'"),
    ],
)
async def test_what_only_an_operator_can_cure_goes_back(house: House, columns: dict[str, Any], error: str) -> None:
    """An event that nobody can make goes back with one sentence that says why."""
    if columns.get("thumbnail_mode"):
        columns = columns | {"thumbnail_time": house.recording.start}
    await house.add(**columns)
    async with house.cutter():
        row = await house.until(state="UNEDITED")
    assert error in row["error"]
    assert house.place.videos == []
    assert house.spooled() == set()


async def test_limits_of_a_location_are_kept(house: House) -> None:
    """What is longer or larger than a location takes goes back."""
    async with house.cutter(settings=Settings(CutType.ROUGH, limits=Limits(seconds=2))):
        await house.add("long")
        row = await house.until("long", state="UNEDITED")
        assert "fake takes at most 0:00:02" in row["error"]
        assert await house.path("long") == ["EDITED", "UNEDITED"]
    async with house.cutter(settings=Settings(CutType.ROUGH, limits=Limits(title_characters=5))):
        await house.add("said")
        row = await house.until("said", state="UNEDITED")
        assert row["error"] == "The title has 17 characters, and fake takes 5: make it shorter."
        assert await house.path("said") == ["EDITED", "UNEDITED"]
    async with house.cutter(settings=Settings(CutType.ROUGH, most_bytes=1000)):
        await house.add("large")
        row = await house.until("large", state="UNEDITED")
        assert "fake takes 1,000 at most" in row["error"]
        await house.until_empty()


async def test_transitions_are_looked_at_before_anything_is_cut(house: House) -> None:
    """A transition that there is not, or a type that cannot have one, goes back unclaimed."""
    await house.add(state="UNEDITED")
    start = house.recording.start
    two = "ARRAY[ROW($1::timestamptz, $2::timestamptz)::video_range, ROW($1, $2)::video_range]"
    change = f"UPDATE events SET state = 'EDITED', ranges = {two}, transitions = ARRAY[ROW($3, 0.5)::video_transition]"  # noqa: S608
    async with house.cutter():
        for kind, error in [("fadde", "There is no transition 'fadde'"), ("fade", "encodes nothing")]:
            await house.sql.execute(change, start, start + timedelta(seconds=2), kind)
            row = await house.until(state="UNEDITED")
            assert error in row["error"]
            await house.sql.execute("UPDATE events SET error = NULL")
    assert "CLAIMED" not in await house.path()


async def test_location_that_refuses_sends_it_back(house: House) -> None:
    """A video that its location refuses, before or while it is sent, goes back with the location's sentence."""
    house.place.faults = ["refuse at begin", "refuse"]
    async with house.cutter():
        await house.add("early")
        assert (await house.until("early", state="UNEDITED"))["error"] == "refuse at begin."
        await house.add("late")
        assert (await house.until("late", state="UNEDITED"))["error"] == "The place does not take this."
    assert house.place.videos == []
    assert house.spooled() == set()


async def test_manual_retry_begins_anew(house: House) -> None:
    """What went back can be edited again, and is then made."""
    house.place.faults = ["refuse"]
    async with house.cutter():
        await house.add()
        await house.until(state="UNEDITED")
        await house.sql.execute("UPDATE events SET state = 'EDITED'")
        assert (await house.until(state="DONE"))["attempts"] == 1
    assert len(house.place.videos) == 1


# Holes and nodes ------------------------------------------------------------------------------------------------------


async def test_node_with_the_segments_makes_it(house: House) -> None:
    """A node that lacks a segment says so on the row and leaves the event to one that has it."""
    lacking = house.recording.copy(house.folder / "store")
    lacking.drop(1)
    terms = replace(QUICK, patience=timedelta(hours=1))
    async with house.cutter("poor", base_dir=lacking.base, terms=terms):
        await house.add()
        row = await house.until_lacking("poor")
        assert "Nothing complete is recorded" in row["lacking"]["poor"]
        async with house.cutter("rich", terms=terms):
            row = await house.until(state="DONE")
    assert (row["uploader"], row["attempts"]) == ("rich", 1)


async def test_event_is_made_once_its_segments_are_there(house: House) -> None:
    """An event whose segments are late waits for them."""
    late = house.recording.copy(house.folder / "store")
    content = late.path(1).read_bytes()
    late.drop(1)
    async with house.cutter(base_dir=late.base, terms=replace(QUICK, patience=timedelta(hours=1))):
        await house.add()
        await house.until_lacking("node")
        late.path(1).write_bytes(content)
        row = await house.until(state="DONE")
    assert row["lacking"] == {}


async def test_holes_that_are_allowed_are_left_out(house: House) -> None:
    """With holes allowed, and nobody else to make it, it is made of what is there."""
    lacking = house.recording.copy(house.folder / "store")
    lacking.drop(1)
    async with house.cutter(base_dir=lacking.base):
        await house.add(allow_holes=True, range=(0.0, 5.9))
        await house.until(state="DONE")
    ((_, _, sha256),) = house.place.videos
    content = b"".join(lacking.path(index).read_bytes() for index in (0, 2))
    assert sha256 == hashlib.sha256(content).hexdigest()


async def test_allow_list_is_kept(house: House) -> None:
    """Only the nodes that an operator has named cut an event."""
    await house.add(uploader_allowlist=["other"])
    async with house.cutter("one of many"):
        await house.add("free")
        await house.until("free", state="DONE")
        async with house.cutter("other"):
            assert (await house.until(state="DONE"))["uploader"] == "other"


# What is said of a video ----------------------------------------------------------------------------------------------


async def test_change_of_what_is_said_reaches_the_location(house: House) -> None:
    """A video that is MODIFIED becomes DONE when its location has been told, or has refused, which is then said."""
    async with house.cutter():
        await house.add()
        await house.until(state="DONE")
        await house.sql.execute("UPDATE events SET state = 'MODIFIED', title = 'Better'")
        await house.until(state="DONE")
        assert house.place.told["0"].title == "Better"
        house.place.faults = ["refuse modify"]
        await house.sql.execute("UPDATE events SET state = 'MODIFIED', title = 'Worse'")
        assert (await house.until(state="DONE"))["error"] == "refuse modify."
    assert len(house.place.videos) == 1


async def test_title_that_changes_during_the_delivery_is_told_later(house: House) -> None:
    """What is said of a video while it is delivered is told to the location when it is out."""
    house.place.faults = ["hang"]
    async with house.cutter(terms=replace(QUICK, stall=timedelta(seconds=0.5))):
        await house.add()
        await house.place.reach("hangs").wait()
        await house.sql.execute("UPDATE events SET title = 'Better'")
        await house.until(state="DONE")
    assert house.place.told["0"].title == "Better"


async def test_location_that_works_on_a_video_is_asked_until_it_is_done(house: House) -> None:
    """TRANSCODING lasts until the location is finished; a failure there goes back to operators."""
    house.place.processing = 3
    async with house.cutter():
        await house.add()
        await house.until(state="DONE")
        assert await house.path() == ["EDITED", "CLAIMED", "FINALIZING", "TRANSCODING", "DONE"]
        house.place.processing, house.place.faults = 3, ["", "transcoding fails"]
        await house.add("two")
        row = await house.until("two", state="UNEDITED")
    assert row["error"] == "transcoding fails"
    assert house.spooled() == set()


async def test_thumbnail_is_sent_along(house: House) -> None:
    """A frame of the recording, or an image of one's own, goes with the video."""
    start = house.recording.start
    async with house.cutter():
        await house.add("bare", thumbnail_mode="BARE", thumbnail_time=start + timedelta(seconds=1))
        await house.add("custom", thumbnail_mode="CUSTOM", thumbnail_image=PNG)
        await house.until("bare", state="DONE")
        await house.until("custom", state="DONE")
    bare, custom = house.place.told["0"].thumbnail, house.place.told["1"].thumbnail
    assert bare is not None
    assert bare.startswith(b"\x89PNG")
    assert custom == PNG


async def test_one_line_tells_of_each_cut_and_each_delivery(house: House, logged: LogEvents) -> None:
    """The log has one line for a cut and one for a delivery, with what they took."""
    async with house.cutter():
        await house.add()
        await house.until(state="DONE")
        (cut,) = await logged.wait("event_cut", outcome="done")
        (delivery,) = await logged.wait("event_delivered", outcome="done")
    assert (cut["id"], cut["type"], cut["bytes"]) == ("one", "rough", delivery["bytes"])
