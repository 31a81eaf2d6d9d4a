"""A node's store into ours, over real HTTP."""

from datetime import UTC, datetime

import pytest

from backfiller.difference import Why
from backfiller.worker import Worker
from common.expired import Expired
from common.recorder_state import RecorderFile, RecorderState
from common.recording import SegmentWriter, sweep_temps
from common.segments import SegmentType
from other_nodes import NOON, SECOND, Fill, Hire, Node


async def test_missing_segments_are_fetched(here: Node, other: Node, fill: Fill) -> None:
    """What the other node has and we have not is here after a pass, under the same names, with the same bytes."""
    both = here.record(0)
    other.record(0)
    missing = [other.record(seconds) for seconds in (2, 4, 3600)]
    done = await fill(other)
    assert (done.fetched, done.failed.total()) == (3, 0)
    assert here.names() == other.names()
    for segment in (both, *missing):
        assert (here.folder(segment) / segment.name).read_bytes() == (other.folder(segment) / segment.name).read_bytes()


async def test_nothing_missing_costs_one_request(here: Node, other: Node, hire: Hire) -> None:
    """Where both nodes hold the same, a pass asks for one answer, and lists no hour."""
    for node in (here, other):
        node.record(0)
    worker = hire(other)
    assert await asked(worker) == ["digests"]


async def test_what_is_to_stay_different_is_not_compared_again(here: Node, other: Node, hire: Hire) -> None:
    """Nodes that differ in what nobody wants cost one request too, from the second pass on, until one changes."""
    here.record(0)
    here.record(3600)
    other.record(3600, kind=SegmentType.PARTIAL)
    other.record(7200)
    worker = hire(other)
    await asked(worker)
    assert await asked(worker) == ["digests"]
    other.record(4, kind=SegmentType.PARTIAL)
    first = await asked(worker)
    assert ["files/chan/source/2026-03-01T12" in first, "files/chan/source/2026-03-01T13" in first] == [True, False]
    assert await asked(worker) == ["digests"]


async def asked(worker: Worker) -> list[str]:
    """Make a pass and give the paths that were asked for, but those of segments."""
    paths: list[str] = []
    get = worker.source.peer.get

    def note(*parts: str, query: str = "", most: int) -> bytes | None:
        paths.append("/".join(parts))
        return get(*parts, query=query, most=most)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(worker.source.peer, "get", note)
        await worker.go_through()
    return paths


async def test_tombstones_are_taken_over_and_what_they_hide_is_not(here: Node, other: Node, fill: Fill) -> None:
    """A segment that is hidden there is hidden here, whoever has it; one that only they have is not fetched."""
    ours, theirs = here.record(0), other.record(2)
    other.record(0)
    other.hide(ours)
    other.hide(theirs)
    before = here.names()
    done = await fill(other)
    assert (done.fetched, done.tombstones, done.passed_over[Why.HIDDEN]) == (0, 2, 1)
    assert here.names() - before == {name for name in other.names() if name.endswith(".tombstone")}
    assert here.store.names("chan", "source", ours.hour) == []


async def test_fragmented_mp4_is_fetched(here: Node, other: Node, fill: Fill) -> None:
    """Segments that end with .mp4 are fetched like others."""
    other.record(0, suffix=".mp4")
    await fill(other)
    assert here.names() == other.names() != set()


async def test_temps_are_never_copied(here: Node, other: Node, fill: Fill) -> None:
    """What is still being written there is not fetched, and neither is what a dead process left."""
    segment = other.record(0)
    (other.folder(segment) / "00:02.000000-2.0-temp-5b1f.ts").write_bytes(b"half")
    await fill(other)
    assert here.names() == {f"chan/source/{segment.hour}/{segment.name}"}


async def test_copies_that_a_dead_process_left_are_removed(here: Node, other: Node, fill: Fill) -> None:
    """Temps of copies are gone after the next pass over their hour."""
    segment = other.record(0)
    left = SegmentWriter(here.store, "chan", "source", NOON, 2 * SECOND, is_copy=True)
    left.write(b"half")
    left._file.close()  # and with it its lock, as when the process dies
    await fill(other)
    assert here.names() == {f"chan/source/{segment.hour}/{segment.name}"}


def test_sweep_of_the_downloader_keeps_no_copy(here: Node) -> None:
    """A `temp` of a copy is removed where one of a recording is kept."""
    left = SegmentWriter(here.store, "chan", "source", NOON, 2 * SECOND, is_copy=True)
    left.write(b"half")
    left._file.close()
    assert sweep_temps(here.store, "chan", "source") == []
    assert here.names() == set()


@pytest.mark.parametrize("recorder_lives", [True, False])
async def test_recent_segments_are_left_to_the_downloader(
    here: Node, other: Node, fill: Fill, *, recorder_lives: bool
) -> None:
    """What is new is not fetched where a downloader records the same, and at once where none does."""
    now = datetime.now(UTC)
    other.record((now - NOON).total_seconds() - 10)
    other.record((now - NOON).total_seconds() - 600)
    recorder = RecorderFile(here.store, "chan", "source")
    if recorder_lives:
        recorder.write(RecorderState(recording=True, since=now))
    done = await fill(other)
    recorder.close()
    assert (done.fetched, done.passed_over[Why.RECENT]) == ((1, 1) if recorder_lives else (2, 0))
    assert (await fill(other)).fetched == (1 if recorder_lives else 0)


async def test_hours_that_were_deleted_here_are_not_fetched(here: Node, other: Node, hire: Hire) -> None:
    """An hour that this node has deleted stays away, and costs no listing."""
    gone, kept = other.record(0), other.record(3600)
    expired = Expired(here.store.base)
    with expired.writing():
        expired.mark("chan", "source", [gone.hour])
    worker = hire(other)
    await asked(worker)
    assert here.names() == {f"chan/source/{kept.hour}/{kept.name}"}
    assert await asked(worker) == ["digests"]
    with expired.writing():
        expired.lift("chan", "source", [gone.hour])
    await asked(worker)
    assert here.names() == other.names()
