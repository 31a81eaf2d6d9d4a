"""The facts beside their segments: probed once, whoever asks, and lost without harm."""

import fcntl
import os
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from common import sidecar
from common.coverage import BestSequence
from common.dateutil import HOUR
from common.facts import Facts, Format, Track, TrackKind, format_facts
from common.segments import Segment, SegmentType, make_segment
from common.sidecar import FactsStore
from common.store import BadPathError, Store

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def seg(seconds: float, kind: SegmentType = SegmentType.FULL, content: str = "") -> Segment:
    return make_segment(NOON + timedelta(seconds=seconds), timedelta(seconds=2), kind, content or f"h{seconds:g}")


def fact(size: int) -> Facts:
    return Facts(size, (Track(Format(TrackKind.VIDEO, "avc1.64001f"), 0, size),), key_frame=True)


class Place:
    """A store with segments of different sizes, and a probe that tells them and what it was asked."""

    def __init__(self, base: Path) -> None:
        self.store = Store(base)
        self.probed: list[str] = []
        self.file = base / "chan/source/2026-03-01T12/.facts"

    def put(self, *segments: Segment) -> None:
        for number, segment in enumerate(segments, 1):
            path = self.store.segment_path("chan", "source", segment)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x" * number)

    def open(self) -> FactsStore:
        return FactsStore(self.store, self.examine)

    def examine(self, path: Path) -> Facts:
        size = len(path.read_bytes())
        self.probed.append(path.name)
        return fact(size)


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path / "base")


@pytest.fixture
def sealed(place: Place, monkeypatch: pytest.MonkeyPatch) -> Place:
    """A store whose sidecars cannot be opened for writing, as on a disk that is mounted read-only."""
    really_open = os.open

    def refuse(path: str | Path, flags: int, *more: int) -> int:
        if flags & os.O_RDWR and Path(path).name == sidecar.NAME:
            raise OSError(30, "Read-only file system")
        return really_open(path, flags, *more)

    monkeypatch.setattr(os, "open", refuse)
    return place


def probe(facts: FactsStore, *segments: Segment) -> dict[str, Facts]:
    return facts.probe_missing("chan", "source", segments)


def known(facts: FactsStore, hour: datetime = NOON) -> dict[str, Facts]:
    return dict(facts.known("chan", "source", hour))


def test_a_segment_is_probed_once(place: Place) -> None:
    """What was probed is known from then on, to others and after a restart, and never probed again."""
    segments = [seg(0), seg(2, SegmentType.SUSPECT), seg(4, SegmentType.PARTIAL)]
    place.put(*segments)
    facts, other = place.open(), place.open()
    assert known(facts) == known(other) == {}
    expected = {"h0": fact(1), "h2": fact(2), "h4": fact(3)}
    assert probe(facts, *segments[:2]) == {"h0": fact(1), "h2": fact(2)}
    assert probe(other, *segments) == probe(facts, *segments) == expected
    assert known(facts) == known(other) == known(place.open()) == expected
    assert place.probed == [segment.name for segment in segments]


def test_hours_have_their_own_file(place: Place) -> None:
    """Segments of several hours are noted where they lie."""
    place.put(seg(3598), seg(3600))
    facts = place.open()
    assert probe(facts, seg(3598), seg(3600)) == {"h3598": fact(1), "h3600": fact(2)}
    assert known(facts) == {"h3598": fact(1)}
    assert known(facts, NOON + HOUR) == {"h3600": fact(2)}


def test_the_same_content_is_probed_once(place: Place) -> None:
    """Two names of one content in an hour share their facts."""
    place.put(seg(0, content="same"), seg(0.3, content="same"))
    assert len(probe(place.open(), seg(0, content="same"), seg(0.3, content="same"))) == 1
    assert len(place.probed) == 1


def test_what_is_not_there_is_left_out(place: Place) -> None:
    """A temp is never probed, and a segment that has gone has no facts; nothing is made where no hour is."""
    temp = seg(0, SegmentType.TEMP)
    assert probe(place.open(), temp, seg(2)) == {}
    assert not place.store.base.exists()
    place.put(temp)
    assert probe(place.open(), temp) == {}
    assert not place.file.exists()
    assert probe(place.open(), temp, seg(2)) == {}
    assert place.probed == []


def test_a_segment_that_the_disk_withholds_is_said_once(place: Place) -> None:
    """An error of the disk costs that segment its facts, now; it is logged once and tried again."""
    place.put(seg(0), seg(2))
    bad = True

    def examine(path: Path) -> Facts:
        if bad and path.name == seg(0).name:
            raise PermissionError(13, "Permission denied", str(path))
        return place.examine(path)

    facts = FactsStore(place.store, examine)
    with capture_logs() as logs:
        assert probe(facts, seg(0), seg(2)) == probe(facts, seg(0), seg(2)) == {"h2": fact(2)}
    assert [entry["event"] for entry in logs] == ["segment_unreadable"]
    bad = False
    assert probe(facts, seg(0), seg(2)) == {"h0": fact(1), "h2": fact(2)}


def test_a_segment_that_is_no_media_is_probed_once_too(place: Place) -> None:
    """That a segment cannot be read as media is a fact as well, kept and logged once."""
    place.put(seg(0))
    broken = Facts(1, error="It is empty.")
    facts = FactsStore(place.store, lambda path: broken)
    with capture_logs() as logs:
        assert probe(facts, seg(0)) == probe(facts, seg(0)) == probe(place.open(), seg(0)) == {"h0": broken}
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("segment_undecodable", "It is empty.")]
    assert place.probed == []


def test_many_that_are_no_media_are_one_line_an_hour(place: Place) -> None:
    """A stream of segments that cannot be read does not fill the log; another hour, or quality, is said again."""
    segments = [seg(n) for n in range(5)]
    for segment in segments:
        place.put(segment)
    facts = FactsStore(place.store, lambda path: Facts(1, error="It is empty."))
    with capture_logs() as logs:
        assert len(facts.probe_missing("chan", "source", segments)) == 5
        later = segments[0]._replace(start=segments[0].start + timedelta(hours=1))
        place.put(later)
        facts.probe_missing("chan", "source", [later])
    assert [entry["event"] for entry in logs] == ["segment_undecodable"] * 2


def test_nothing_new_is_the_same_object(place: Place) -> None:
    """As long as nothing is added what is known is one object, so that what follows from it can be kept, too."""
    place.put(seg(0), seg(2))
    facts = place.open()
    probe(facts, seg(0))
    first = facts.known("chan", "source", NOON)
    assert facts.known("chan", "source", NOON) is first
    probe(place.open(), seg(2))
    second = facts.known("chan", "source", NOON)
    assert second is facts.known("chan", "source", NOON)
    assert (dict(first), dict(second)) == ({"h0": fact(1)}, {"h0": fact(1), "h2": fact(2)})


def test_only_growth_is_read(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a file that has grown only the new lines are read, of one that has not, nothing."""
    place.put(seg(0), seg(2))
    facts, read = place.open(), []

    def parse(text: str) -> Facts:
        read.append(text)
        return fact(7)

    probe(facts, seg(0))
    monkeypatch.setattr(sidecar, "parse_facts", parse)
    assert known(facts)["h0"] == fact(1)
    probe(place.open(), seg(2))
    read.clear()
    assert known(facts) == known(facts) == {"h0": fact(1), "h2": fact(7)}
    assert read == [format_facts(fact(2))]


def test_the_folder_changes_once(place: Place) -> None:
    """Facts that are added later leave the folder as it is, so that the hour need not be listed again."""
    place.put(seg(0), seg(2))
    probe(place.open(), seg(0))
    before = place.file.parent.stat().st_ctime_ns
    probe(place.open(), seg(2))
    assert place.file.parent.stat().st_ctime_ns == before
    assert len(place.file.read_text().splitlines()) == 2


@pytest.mark.parametrize("rest", ["h9 [1,9,nu", "h", "h9 ", '"'])
def test_a_torn_line_is_passed_over(place: Place, rest: str) -> None:
    """What a crash left of a line is no fact, and spoils neither those before nor those after it."""
    place.put(seg(0), seg(2), seg(9))
    facts = place.open()
    probe(facts, seg(0))
    with place.file.open("a") as file:
        file.write(rest)
    assert known(facts) == known(place.open()) == {"h0": fact(1)}
    assert probe(facts, seg(2), seg(9)) == {"h2": fact(2), "h9": fact(3)}
    assert known(facts) == known(place.open()) == {"h0": fact(1), "h2": fact(2), "h9": fact(3)}


def test_a_line_is_read_when_it_is_whole(place: Place) -> None:
    """A line that is seen in two halves is read once it has ended."""
    facts, line = place.open(), f"h0 {format_facts(fact(1))}\n"
    place.file.parent.mkdir(parents=True)
    for text, expected in ((line[:20], {}), (line[:-1], {}), (line, {"h0": fact(1)})):
        place.file.write_text(text)
        assert known(facts) == expected


@given(st.binary() | st.text().map(str.encode), st.booleans())
def test_any_file_is_survived(tmp_path_factory: pytest.TempPathFactory, content: bytes, behind: bool) -> None:  # noqa: FBT001 - a property
    """Whatever the file holds, the good lines count, and new facts are added."""
    place = Place(tmp_path_factory.mktemp("any"))
    place.put(seg(0), seg(2))
    good = f"h2 {format_facts(fact(9))}\n".encode()
    place.file.write_bytes(content + b"\n" + good if behind else good + content)
    assert probe(place.open(), seg(0), seg(2)) == {"h0": fact(1), "h2": fact(9)}
    assert {"h0", "h2"} <= known(place.open()).keys()


def test_lines_of_other_versions_are_passed_over(place: Place) -> None:
    """What a newer version has written is probed again."""
    place.put(seg(0))
    place.file.write_text("h0 " + format_facts(fact(5)).replace("[1,", "[99,", 1) + "\n")
    assert known(place.open()) == {}
    assert probe(place.open(), seg(0)) == {"h0": fact(1)}


@pytest.mark.parametrize("instead", [None, b"", f"h2 {format_facts(fact(5))}\n".encode()])
def test_a_deleted_file_is_made_again(place: Place, instead: bytes | None) -> None:
    """The file may be deleted, emptied or replaced at any time: what it held is probed again."""
    place.put(seg(0), seg(2))
    facts = place.open()
    probe(facts, seg(0), seg(2))
    if instead is None:
        place.file.unlink()
    else:
        place.file.write_bytes(instead)
    assert known(facts) == ({"h2": fact(5)} if instead else {})
    expected = {"h0": fact(1), "h2": fact(5 if instead else 2)}
    assert probe(facts, seg(0), seg(2)) == expected
    assert known(place.open()) == expected


def test_a_file_deleted_while_its_lock_is_awaited_is_made_again(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Facts are not written to a file that has no name any more."""
    place.put(seg(0))
    really_lock, once = fcntl.flock, iter([True])

    def lock(file: int, how: int) -> None:
        really_lock(file, how)
        if next(once, False):
            place.file.unlink()

    monkeypatch.setattr(fcntl, "flock", lock)
    assert probe(place.open(), seg(0)) == {"h0": fact(1)}
    assert known(place.open()) == {"h0": fact(1)}


def test_a_folder_in_its_place_is_survived(place: Place) -> None:
    """Where the file's name is taken by a folder, facts are kept in memory."""
    place.put(seg(0))
    place.file.mkdir()
    facts = place.open()
    assert known(facts) == {}
    assert probe(facts, seg(0)) == known(facts) == {"h0": fact(1)}


# A store that cannot be written to ----------------------------------------------------------------------------------


def test_facts_are_kept_in_memory(sealed: Place) -> None:
    """In a store that cannot be written to, segments are probed once per process, which is said once."""
    sealed.put(seg(0), seg(2))
    facts = sealed.open()
    with capture_logs() as logs:
        assert probe(facts, seg(0)) == {"h0": fact(1)}
        assert probe(facts, seg(0), seg(2)) == known(facts) == {"h0": fact(1), "h2": fact(2)}
    assert [entry["event"] for entry in logs] == ["facts_not_saved"]
    assert facts.known("chan", "source", NOON) is facts.known("chan", "source", NOON)
    assert sealed.probed == [seg(0).name, seg(2).name]
    assert not sealed.file.exists()


def test_memory_and_file_go_together(sealed: Place) -> None:
    """What another writes into the file is added to what is kept in memory, and its loss takes only that away."""
    sealed.put(seg(0), seg(2))
    facts = sealed.open()
    probe(facts, seg(0))
    sealed.file.write_text(f"h2 {format_facts(fact(2))}\n")
    assert known(facts) == {"h0": fact(1), "h2": fact(2)}
    sealed.file.unlink()
    assert known(facts) == {"h0": fact(1)}


@pytest.mark.parametrize("room", [0, 10])
def test_a_full_disk_costs_nothing_but_the_file(place: Place, monkeypatch: pytest.MonkeyPatch, room: int) -> None:
    """On a disk that is full, even in the middle of a line, facts are kept in memory; later ones are written again."""
    place.put(seg(0), seg(2))
    facts = place.open()
    really_write = os.write

    def write(file: int, data: bytes) -> int:
        if not room:
            raise OSError(28, "No space left on device")
        return really_write(file, data[:room])

    with monkeypatch.context() as patch, capture_logs() as logs:
        patch.setattr(os, "write", write)
        assert probe(facts, seg(0)) == known(facts) == {"h0": fact(1)}
    assert [entry["event"] for entry in logs] == ["facts_not_saved"]
    assert probe(facts, seg(0), seg(2)) == {"h0": fact(1), "h2": fact(2)}
    assert known(place.open()) == {"h2": fact(2)}
    assert len(place.probed) == 2


# Many at a time -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("writable", [True, False])
def test_threads_probe_a_segment_once(request: pytest.FixtureRequest, writable: bool) -> None:  # noqa: FBT001 - a case
    """However many threads ask at the same time, each segment is probed once, and all get all facts."""
    place: Place = request.getfixturevalue("place" if writable else "sealed")
    segments = [seg(number) for number in range(40)]
    place.put(*segments)
    facts, together = place.open(), threading.Barrier(4)

    def ask() -> dict[str, Facts]:
        together.wait()
        return probe(facts, *segments)

    with ThreadPoolExecutor(4) as pool:
        answers = [answer.result() for answer in [pool.submit(ask) for _ in range(4)]]
    assert sorted(place.probed) == sorted(segment.name for segment in segments)
    expected = {segment.hash: fact(number) for number, segment in enumerate(segments, 1)}
    assert all(answer == expected for answer in answers)


ASK = """
import sys
from pathlib import Path
from common.dateutil import parse_hour
from common.facts import Facts
from common.segments import parse_names
from common.sidecar import FactsStore
from common.store import Store

def examine(path):
    print(path.name)
    return Facts(len(path.read_bytes()))

store, hour = Store(Path(sys.argv[1])), "2026-03-01T12"
segments, _ = parse_names(parse_hour(hour), store.names("chan", "source", hour))
assert len(FactsStore(store, examine).probe_missing("chan", "source", segments)) == len(segments)
"""


def test_processes_probe_a_segment_once(place: Place) -> None:
    """Of several processes only one probes a segment, and their lines do not mix."""
    segments = [seg(number) for number in range(200)]
    place.put(*segments)
    command = [sys.executable, "-c", ASK, str(place.store.base)]
    asking = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    said = [process.communicate()[0].splitlines() for process in asking]
    assert [process.returncode for process in asking] == [0, 0, 0]
    names = [line for lines in said for line in lines if line.endswith(".ts")]
    assert sorted(names) == sorted(segment.name for segment in segments)
    assert len(known(place.open())) == 200


def test_reading_waits_for_nobody(place: Place) -> None:
    """While a segment is being probed, what is known can be read."""
    place.put(seg(0), seg(2))
    seen: list[dict[str, Facts]] = []
    reader = place.open()

    def examine(path: Path) -> Facts:
        seen.append(known(facts) | known(reader))
        return place.examine(path)

    facts = FactsStore(place.store, examine)
    probe(facts, seg(0))
    probe(facts, seg(2))
    assert seen == [{}, {"h0": fact(1)}]


def test_memory_is_bounded(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of many hours only those asked for last are kept in memory; the others are read again."""
    monkeypatch.setattr(sidecar, "_CACHED_FACTS", 2)
    facts = place.open()
    for number in range(3):
        segment = seg(number * 3600)
        place.put(segment)
        probe(facts, segment)
    assert len(facts._hours) == 2
    assert [len(known(facts, NOON + number * HOUR)) for number in range(3)] == [1, 1, 1]
    assert len(place.probed) == 3


def test_names_lead_nowhere_else(place: Place) -> None:
    """A channel or quality that cannot be one is refused."""
    with pytest.raises(BadPathError):
        place.open().known("..", "source", NOON)
    with pytest.raises(BadPathError):
        place.open().probe_missing("chan", "a/b", [seg(0)])


# What the media decides ---------------------------------------------------------------------------------------------


def chained(place: Place, *starts: float) -> tuple[FactsStore, list[Segment]]:
    """A store with segments under these start times, whose media runs on from each to the next; nothing is known."""
    segments = [seg(start, content=f"h{start * 1000:.0f}") for start in starts]
    place.put(*segments)

    def examine(path: Path) -> Facts:
        number = path.stat().st_size
        place.probed.append(path.name)
        return Facts(number, (Track(Format(TrackKind.VIDEO), number * 180_000, (number + 1) * 180_000),))

    return FactsStore(place.store, examine), segments


def settled(place: Place, facts: FactsStore, end: datetime) -> BestSequence:
    return facts.settle("chan", "source", lambda: place.store.sequence("chan", "source", NOON, end))


def test_what_names_leave_in_doubt_is_probed(place: Place) -> None:
    """After a range was settled its sequence is the media's: no hole where the clock stepped, nothing dropped."""
    facts, segments = chained(place, 0, 2, 4.3, 6.3, 8, 10, 12)
    start, end = NOON, segments[-1].end
    assert len(place.store.sequence("chan", "source", start, end).holes) == 2
    found = settled(place, facts, end)
    assert (found.segments, found.holes, found.doubts) == (segments, [], [])
    assert sorted(place.probed) == [segments[n].name for n in (1, 2, 3, 4, 5)]
    assert list(settled(place, facts, end)) == list(place.store.sequence("chan", "source", start, end)) == segments
    assert len(place.probed) == 5


def test_a_range_without_doubts_is_not_probed(place: Place) -> None:
    """Where names join, or leave more than the media could explain, nothing is probed."""
    facts, segments = chained(place, 0, 2, 4, 30, 32)
    assert len(settled(place, facts, segments[-1].end).holes) == 1
    assert place.probed == []


def test_only_so_many_are_probed(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of very many doubts the newest are settled; of the others the names decide."""
    monkeypatch.setattr(sidecar, "_MOST_DOUBTS", 3)
    facts, segments = chained(place, 0, 2.3, 4.6, 6.9)
    found = settled(place, facts, segments[-1].end)
    assert sorted(place.probed) == [segment.name for segment in segments[1:]]
    assert [hole.end for hole in found.holes] == [segments[1].start]


def test_what_cannot_be_probed_is_left_to_the_names(place: Place) -> None:
    """Segments that the disk withholds leave the doubt as it was, and settling ends."""
    facts, segments = chained(place, 0, 2.3)
    for segment in segments:
        place.store.segment_path("chan", "source", segment).unlink()
        place.store.segment_path("chan", "source", segment).mkdir()
    assert len(settled(place, FactsStore(place.store), segments[-1].end).holes) == 1
    assert known(facts) == {}
