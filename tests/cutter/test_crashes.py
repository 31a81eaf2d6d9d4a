"""Cutters that die between and inside their steps: whoever comes next finishes what they began, once."""

import asyncio
from dataclasses import replace
from datetime import timedelta

import pytest

from cutters import QUICK, House
from fate import dies_at
from log_events import PATIENCE_SECONDS, LogEvents

STEPS = ("CLAIM", "SPOOLED", "begin", "FINALIZE", "deliver", "DELIVERED")
MOMENTS = [f"{step} {when}" for step in STEPS for when in ("before", "after")]


async def die(house: House, moment: str, node: str = "node") -> None:
    """Let a cutter die at a moment."""
    fate = dies_at(moment)
    async with house.cutter(node, fate=fate), asyncio.timeout(PATIENCE_SECONDS):
        await fate.dead.wait()


async def test_next_process_finishes_what_one_that_died_began(house: House) -> None:
    """Wherever a cutter dies, the next one with its spool delivers the video, once, and leaves nothing behind."""
    for moment in MOMENTS:
        await house.add(moment)
        await die(house, moment)
        async with house.cutter():
            row = await house.until(moment, state="DONE")
            await house.until_empty()
        assert (len(house.place.of(moment)), row["error"]) == (1, None), moment
        assert row["attempts"] <= 2, moment


async def test_what_was_cut_is_not_cut_again(house: House, logged: LogEvents) -> None:
    """A cutter that dies after the cut has its file delivered by the next one, with the same spool."""
    for number, moment in enumerate(["SPOOLED after", "begin after", "deliver before", "deliver after"], 1):
        await house.add(moment)
        await die(house, moment)
        async with house.cutter():
            await house.until(moment, state="DONE")
        assert len(logged.of("event_cut", outcome="done")) == number


async def test_death_while_another_death_is_settled(house: House) -> None:
    """A cutter that dies while it settles what an earlier one has left is no worse than the first."""
    for moment in ["find before", "find after", "GIVE_BACK before", "GIVE_BACK after"]:
        await house.add(moment)
        await die(house, "deliver before")
        await die(house, moment)
        async with house.cutter():
            await house.until(moment, state="DONE")
            await house.until_empty()
        assert len(house.place.of(moment)) == 1, moment


@pytest.mark.parametrize("moment", ["SPOOLED after", "FINALIZE after", "deliver after"])
async def test_another_node_takes_over_when_one_is_gone_for_good(house: House, moment: str) -> None:
    """When a node does not come back, another one makes or finds the video."""
    gone = replace(QUICK, silence=timedelta(seconds=0.2), alive=timedelta(seconds=0.2), lease=timedelta(seconds=1))
    await house.add()
    fate = dies_at(moment)
    async with house.cutter("gone", fate=fate, terms=gone), asyncio.timeout(PATIENCE_SECONDS):
        await fate.dead.wait()
    async with house.cutter("other", terms=gone):
        await house.until(state="DONE")
        await house.until_empty("other")
    assert len(house.place.videos) == 1
    async with house.cutter("gone"):
        await house.until_empty("gone")


async def test_event_at_which_cutters_die_goes_back(house: House) -> None:
    """An event that costs a cutter its life again and again goes back to operators."""
    await house.add()
    terms = replace(QUICK, tries=2)
    for _ in range(2):
        fate = dies_at("SPOOLED before")
        async with house.cutter(fate=fate, terms=terms), asyncio.timeout(PATIENCE_SECONDS):
            await fate.dead.wait()
    async with house.cutter(terms=terms):
        row = await house.until(state="UNEDITED")
        await house.until_empty()
    assert row["error"].startswith("Tried 2 times, and the cutter of node has died")


async def test_stop_gives_back_what_is_under_way(house: House) -> None:
    """A cutter that is told to stop gives its events back; that is no try, and its finished file is not cut again."""
    house.place.faults = ["hang"]
    async with house.cutter():
        await house.add()
        await house.place.reach("hangs").wait()
    row = await house.row()
    assert (row["state"], row["claim_token"], row["attempts"], len(house.spooled())) == ("FINALIZING", None, 0, 1)
    async with house.cutter():
        row = await house.until(state="DONE")
        await house.until_empty()
    assert (len(house.place.videos), row["made_as"]) == (1, "rough")


async def test_upload_that_was_begun_is_gone_on_with_after_another_cut(house: House) -> None:
    """A file that is lost is cut again, and goes where the upload of the first one was begun: only that can tell."""
    house.place.faults = ["hang"]
    async with house.cutter():
        await house.add()
        await house.place.reach("hangs").wait()
    (name,) = house.spooled()
    (house.folder / "node" / name).unlink()
    async with house.cutter():
        await house.until(state="DONE")
        await house.until_empty()
    assert (len(house.place.videos), len(house.place.sessions)) == (1, 1)


async def test_thumbnail_is_told_after_a_crash(house: House) -> None:
    """What is found to be out is told its thumbnail, of which nobody knows whether it was set."""
    house.place.faults = ["hang after"]
    async with house.cutter():
        await house.add(thumbnail_mode="BARE", thumbnail_time=house.recording.start + timedelta(seconds=1))
        await house.place.reach("hangs").wait()
    house.place.told.clear()
    async with house.cutter():
        async with asyncio.timeout(PATIENCE_SECONDS):
            await house.place.reach("modify").wait()
        await house.until(state="DONE")
    (told,) = house.place.told.values()
    assert told.thumbnail is not None
    assert len(house.place.videos) == 1


async def test_stop_in_the_middle_of_a_cut(house: House) -> None:
    """A cut that is stopped leaves its event EDITED, without a try and without a file."""
    begun = asyncio.Event()

    async def at(name: str) -> None:
        if name == "SPOOLED before":
            begun.set()
            await asyncio.Event().wait()

    fate = dies_at("never")
    fate.at = at
    async with house.cutter(fate=fate):
        await house.add()
        await begun.wait()
    row = await house.row()
    assert (row["state"], row["attempts"], row["error"], row["claim_token"]) == ("EDITED", 0, None, None)
    async with house.cutter():
        await house.until(state="DONE")
        await house.until_empty()
    assert len(house.place.videos) == 1
