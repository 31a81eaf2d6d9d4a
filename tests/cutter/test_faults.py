"""What fails around a cutter: the database, the location, the disk; and operators who act at the worst moment."""

import asyncio
import errno
import io
import os
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta

import asyncpg
import pytest
from PIL import Image

from common.errors import UserError
from cutter import deliver
from cutters import PNG, QUICK, House
from db_proxy import proxied
from fate import Fate
from log_events import LogEvents

# The location -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", ["away", "away after", "hang", "hang after", "lost", "crash after"])
async def test_delivery_that_fails_is_tried_again_until_it_is_out_once(house: House, fault: str) -> None:
    """However a location fails, before or after the last byte, the video is out once in the end, and cut once."""
    house.place.faults = [fault, fault, ""]
    async with house.cutter(terms=replace(QUICK, stall=timedelta(seconds=0.1))):
        await house.add()
        row = await house.until(state="DONE")
        await house.until_empty()
    assert (len(house.place.videos), row["error"]) == (1, None)


async def test_location_that_is_away_is_waited_for(house: House, logged: LogEvents) -> None:
    """Finished files wait in their queue, visibly, without trying one by one, and go out in order when it is back."""
    house.place.away = True
    terms = replace(QUICK, most=timedelta(seconds=0.3))
    async with house.cutter(terms=terms):
        for event, priority in [("a", 0), ("b", 1), ("c", 2)]:
            await house.add(event, priority=priority)
        for event in "abc":
            row = await house.until(event, state="EDITED", error="The place is away.")
            assert (row["attempts"], row["spool"]["node"]) == (0, "node")
        assert len(house.spooled()) == 3
    tries = [(await house.path(event)).count("CLAIMED") for event in "abc"]
    house.place.away = False
    async with house.cutter(terms=terms):
        await house.until("a", state="DONE")
        await house.until_empty()
    assert [event for event, _, _ in house.place.videos] == ["c", "b", "a"]
    # each was claimed when it was its turn, and not before
    assert [(await house.path(event)).count("CLAIMED") for event in "abc"] == [each + 1 for each in tries]
    assert len(logged.of("event_cut")) == 3


async def test_location_that_cannot_be_asked_is_asked_again(house: House) -> None:
    """As long as it is not known whether a video is out, it stays FINALIZING and says why; then it is found."""
    house.place.faults, house.place.find_away = ["away after"], True
    async with house.cutter():
        await house.add()
        row = await house.until(state="FINALIZING", claim_token=None)
        assert row["error"].startswith("The place cannot be asked. It is not known whether the video is out")
        house.place.find_away = False
        await house.until(state="DONE")
    assert len(house.place.videos) == 1


async def test_file_for_a_location_that_is_no_more_goes_back(house: House) -> None:
    """A finished file whose location is gone from the configuration is told to operators."""
    house.place.away = True
    async with house.cutter():
        await house.add()
        await house.until(state="EDITED", error="The place is away.")
    async with house.cutter(location="other"):
        row = await house.until(state="UNEDITED")
        await house.until_empty()
    assert row["error"] == "There is no upload location 'fake'; there are other."


async def test_what_nobody_can_see_to_keeps_nobody_else_waiting(house: House) -> None:
    """Any number of changes for a location that nobody knows delays none for one that is known."""
    published = {"uploader": "gone", "video_link": "https://x", "upload_time": house.recording.start}
    for number in range(12):
        await house.add(f"lost {number}", state="MODIFIED", upload_location="moon", **published)
    await house.add("wanted", state="MODIFIED", **published)
    async with house.cutter():
        await house.until("wanted", state="DONE")
        row = await house.until("lost 11", error="No cutter that looked at it knows moon.")
    assert row["state"] == "MODIFIED"


# The database -----------------------------------------------------------------------------------------------------


async def test_database_that_is_away_during_a_cut(house: House) -> None:
    """A cut goes on while the database is away, and its video is delivered when that is back."""
    reached, back = asyncio.Event(), asyncio.Event()

    async def at(name: str) -> None:
        if name == "SPOOLED before" and not back.is_set():
            reached.set()
            await back.wait()

    async with proxied(house.dsn) as way, house.cutter(database=way.dsn, fate=Fate(at)):
        await house.add()
        await reached.wait()
        way.cut()
        back.set()
        await house.row()
        way.mend()
        await house.until(state="DONE")
        await house.until_empty()
    assert len(house.place.videos) == 1
    assert (await house.path()).count("CLAIMED") == 1


@pytest.mark.parametrize("moment", ["SPOOLED after", "FINALIZE after", "DELIVERED after", "CLAIM after"])
async def test_answer_that_is_lost(house: House, moment: str) -> None:
    """A statement whose answer is lost with its connection has its effect once."""
    lost: list[str] = []

    async def at(name: str) -> None:
        if name == moment and not lost:
            lost.append(name)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    async with house.cutter(fate=Fate(at), terms=replace(QUICK, lease=timedelta(seconds=1))):
        await house.add()
        await house.until(state="DONE")
        await house.until_empty()
    assert len(house.place.videos) == 1


async def test_database_that_is_away_when_the_thumbnail_is_made(house: House) -> None:
    """What a thumbnail needs of the database is waited for; it costs no try."""
    lost: list[str] = []

    async def at(name: str) -> None:
        if name in {"IMAGE before", "TEMPLATE before"} and name not in lost:
            lost.append(name)
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")

    image = io.BytesIO()
    Image.new("RGBA", (320, 180)).save(image, "PNG")
    await house.sql.execute("INSERT INTO templates (name, image) VALUES ('frame', $1)", image.getvalue())
    time = house.recording.start + timedelta(seconds=1)
    await house.add("custom", thumbnail_mode="CUSTOM", thumbnail_image=PNG)
    await house.add("framed", thumbnail_mode="TEMPLATE", thumbnail_time=time, thumbnail_template="frame")
    async with house.cutter(fate=Fate(at)):
        for event in ("custom", "framed"):
            await house.until(event, state="DONE")
            assert await house.path(event) == ["EDITED", "CLAIMED", "FINALIZING", "DONE"]
    assert len(lost) == 2


async def test_delivery_ends_before_its_lease_does(house: House, logged: LogEvents) -> None:
    """Cut off from the database, a cutter stops its delivery before its lease lapses; another cutter takes over."""
    house.place.faults = ["hang"] * 100  # on a slow machine the claim may be lost before, too
    terms = replace(QUICK, lease=timedelta(seconds=0.8), silence=timedelta(seconds=0.8), alive=timedelta(seconds=0.1))
    async with proxied(house.dsn) as way, house.cutter("far", database=way.dsn, terms=terms):
        await house.add()
        await house.place.reach("hangs").wait()
        way.stall()
        await logged.wait("claim_lost", id="one", count=len(logged.of("claim_lost", id="one")) + 1)
        house.place.faults.clear()
        async with house.cutter("near", terms=replace(terms, lease=QUICK.lease)):
            row = await house.until(state="DONE")
            way.mend()
            await house.until_empty("far")
    assert (row["uploader"], len(house.place.videos)) == ("near", 1)


async def test_database_that_breaks_connections(house: House) -> None:
    """A cutter whose connections break does its work all the same, and hears of events again."""
    async with proxied(house.dsn) as way, house.cutter(database=way.dsn):
        for number in range(5):
            await house.add(str(number))
            way.break_off()
            await house.until(str(number), state="DONE")
    assert len(house.place.videos) == 5


# The lease --------------------------------------------------------------------------------------------------------


async def test_owner_that_comes_back_from_the_dead_writes_nothing(house: House, logged: LogEvents) -> None:
    """A cutter whose claim another one has taken over changes nothing any more, and its file is removed."""
    asleep, awake = asyncio.Event(), asyncio.Event()

    async def at(name: str) -> None:
        if name in {"RENEW before", "SPOOLED before"}:
            asleep.set()
            await awake.wait()

    terms = replace(QUICK, lease=timedelta(seconds=0.3))
    async with house.cutter("slow", fate=Fate(at), terms=replace(terms, poll=timedelta(seconds=60))):
        await house.add()
        await asleep.wait()
        async with house.cutter("quick"):
            row = await house.until(state="DONE")
            awake.set()
            await logged.wait("claim_lost", id="one")
            await house.until_empty("slow")
    assert (row["uploader"], len(house.place.videos)) == ("quick", 1)
    assert await house.row() == row


# Operators --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", ["CLAIM after", "SPOOLED before", "SPOOLED after", "begin after", "FINALIZE before"])
async def test_operator_who_cancels(house: House, moment: str) -> None:
    """An event that is cancelled before it is being published is not published, and its file is removed."""

    async def at(name: str) -> None:
        if name == moment and (await house.row())["state"] == "CLAIMED":
            await house.sql.execute("UPDATE events SET state = 'UNEDITED'")

    await house.add()
    async with house.cutter(fate=Fate(at)):
        await house.until(state="UNEDITED")
        await house.until_empty()
    assert house.place.videos == []
    assert (await house.row())["error"] is None


@pytest.mark.parametrize("moment", ["CLAIM before", "CLAIM after", "SPOOLED after", "FINALIZE before"])
async def test_operator_who_edits_anew(house: House, moment: str) -> None:
    """An event that is edited anew while it is cut is cut anew; the video is that of the last edit."""
    done: list[str] = []

    async def at(name: str) -> None:
        if name == moment and not done:
            done.append(name)
            start = house.recording.start
            await house.sql.execute(
                "UPDATE events SET state = 'EDITED',"
                " ranges = ARRAY[ROW($1::timestamptz, $2::timestamptz)::video_range]",
                start + timedelta(seconds=4.5),
                start + timedelta(seconds=5),
            )

    await house.add()
    async with house.cutter(fate=Fate(at)):
        await house.until(state="DONE")
        await house.until_empty()
    assert house.stored() == [house.recording.path(2).read_bytes()]


# The disk ---------------------------------------------------------------------------------------------------------


async def test_full_spool_stops_claiming(house: House, logged: LogEvents) -> None:
    """With no room in the spool nothing is claimed; finished files go on being delivered, which makes room."""
    house.place.away = True
    async with house.cutter(spool_limit=700_000):
        await house.add("first", range=(0.5, 3.5))
        await house.until("first", state="EDITED", error="The place is away.")
        await house.add("second", range=(0.5, 3.5))
        await logged.wait("spool_full", id="second") if not logged.of("spool_full") else None
        await house.until("second", error="It waits for room in a spool: what lies there waits for its delivery.")
        assert await house.path("second") == ["EDITED"]
        house.place.away = False
        await house.until("second", state="DONE")
    assert len(house.place.videos) == 2


async def test_room_for_an_event_that_was_not_claimed_is_free_again(house: House) -> None:
    """The room in the spool that was meant for an event which an operator then took back is given to the next."""

    async def at(name: str) -> None:
        if name == "CLAIM before":
            await house.sql.execute("UPDATE events SET state = 'UNEDITED' WHERE id = 'first'")

    async with house.cutter(spool_limit=700_000, fate=Fate(at)):
        await house.add("first")
        await house.until("first", state="UNEDITED")
        await house.add("second")
        await house.until("second", state="DONE")


async def test_disk_that_fills_up_during_a_cut(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A cut for which the disk has no room leaves nothing behind, and is tried again."""
    full = [True, True]

    def fsync(descriptor: int, real: Callable[[int], None] = os.fsync) -> None:
        if full and full.pop():
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    async with house.cutter():
        monkeypatch.setattr(os, "fsync", fsync)
        await house.add()
        row = await house.until(state="DONE")
        await house.until_empty()
    assert (len(house.place.videos), row["attempts"]) == (1, 3)


async def test_location_may_read_a_video_to_tell_whether_it_is_there(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A question for which a long video must be read may take longer than any other."""
    monkeypatch.setattr(deliver, "_ANSWER_SECONDS", 0.0)
    monkeypatch.setattr(deliver, "_READ_BYTES_A_SECOND", 1.0)
    house.place.faults = ["away after"]
    async with house.cutter():
        await house.add()
        row = await house.until(state="DONE")
    assert (row["attempts"], house.place.calls["find"]) == (1, 1)


async def test_file_that_changed_in_the_spool_is_cut_again(house: House, logged: LogEvents) -> None:
    """A finished file that is not what it was is not delivered but made again."""
    house.place.away = True
    async with house.cutter():
        await house.add()
        await house.until(state="EDITED", error="The place is away.")
    (name,) = house.spooled()
    content = (house.folder / "node" / name).read_bytes()
    (house.folder / "node" / name).write_bytes(content[:-1] + b"\0")
    house.place.away = False
    async with house.cutter():
        await house.until(state="DONE")
        await house.until_empty()
    assert house.stored() == [content]
    await logged.wait("spooled_file_gone")


async def test_segment_that_is_damaged_is_told(house: House) -> None:
    """A segment whose bytes are not its own stops the cut after some tries, with its name."""
    damaged = house.recording.copy(house.folder / "store")
    damaged.corrupt(1)
    async with house.cutter(base_dir=damaged.base, terms=replace(QUICK, tries=2)):
        await house.add()
        row = await house.until(state="UNEDITED")
    assert "Its bytes are not those that were recorded." in row["error"]
    assert row["error"].endswith("It was tried 2 times; edit it to try again.")


# Namesakes --------------------------------------------------------------------------------------------------------


async def test_two_cutters_share_no_spool(house: House) -> None:
    """A second cutter with the same spool refuses to start, and says what to do."""
    async with house.cutter():
        with pytest.raises(UserError, match="Another cutter uses the spool"):
            async with house.cutter():
                pass


async def test_two_cutters_of_one_name(house: House) -> None:
    """A second cutter of the same name with another spool refuses to start while the first one lives."""
    async with house.cutter():
        await house.add()
        await house.until(state="DONE")
        with pytest.raises(UserError, match="Another cutter of the name node"):
            async with house.cutter(spool=house.folder / "other"):
                await asyncio.gather(*house.running[1:])


async def test_many_cutters_make_each_event_once(house: House) -> None:
    """Several cutters share the work, and no event is made twice."""
    async with house.cutter("a"), house.cutter("b"), house.cutter("c"):
        for number in range(8):
            await house.add(str(number))
        for number in range(8):
            await house.until(str(number), state="DONE")
    assert sorted(event for event, _, _ in house.place.videos) == [str(number) for number in range(8)]
