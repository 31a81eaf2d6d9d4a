"""The store on a real disk: what it lists, what it refuses, and when it reads an hour again."""

import os
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from prometheus_client import REGISTRY
from structlog.testing import capture_logs

from common import store as store_module
from common.coverage import ContainsHolesError, Hole
from common.dateutil import HOUR
from common.errors import UserError
from common.facts import Facts, Format, Track, TrackKind
from common.segments import Segment, SegmentType, make_segment, parse_names, tombstone_name
from common.store import BadPathError, Store, component

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def at(clock: str) -> datetime:
    return datetime.fromisoformat(f"2026-03-01T{clock}+00:00")


def seg(clock: str, seconds: float, kind: SegmentType = SegmentType.FULL, content: str = "") -> Segment:
    return make_segment(at(clock), timedelta(seconds=seconds), kind, content or "h" + clock.replace(":", "")[:6])


def put(store: Store, *segments: Segment, data: bytes = b"") -> None:
    for segment in segments:
        path = store.segment_path("chan", "source", segment)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def settle(store: Store) -> None:
    """Wait, by asking, until the hour of noon was last changed so long ago that what is read of it is kept."""
    while store.candidates("chan", "source", NOON) is not store.candidates("chan", "source", NOON):
        pass


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "base")


# Listings -----------------------------------------------------------------------------------------------------------


def test_what_is_recorded_is_listed(store: Store) -> None:
    """Channels, qualities, hours and names are listed in order; what is none of these is not."""
    put(store, seg("13:00:00", 2.0), seg("12:00:02", 2.0), seg("12:00:00", 2.0))
    (store.base / "another").mkdir()
    (store.base / ".hidden").mkdir()
    (store.base / "file").touch()
    (store.base / "chan/source/extras").mkdir()
    assert store.channels() == ["another", "chan"]
    assert store.qualities("chan") == ["source"]
    assert store.hours("chan", "source") == ["2026-03-01T12", "2026-03-01T13"]
    assert store.names("chan", "source", "2026-03-01T12") == [seg("12:00:00", 2.0).name, seg("12:00:02", 2.0).name]
    assert store.span("chan", "source") == (at("12:00:00"), at("13:00:02"))
    assert store.first_start("chan", "source") == at("12:00:00")


def test_the_unknown_is_empty(store: Store) -> None:
    """A channel, quality or hour that does not exist has nothing in it, and reading it makes nothing."""
    for _ in range(2):
        assert store.channels() == store.qualities("chan") == store.hours("chan", "source") == []
        assert store.names("chan", "source", "2026-03-01T12") == []
        assert store.span("chan", "source") is None
        assert list(store.sequence("chan", "source", NOON, NOON + HOUR)) == [Hole(NOON, NOON + HOUR)]
        assert not store.base.exists()
        (store.base.parent / "base").touch()
        store.base.unlink()


def test_a_file_in_the_place_of_a_folder_is_empty(store: Store) -> None:
    """A file where a channel, quality or hour should be holds nothing."""
    (store.base / "chan/source").mkdir(parents=True)
    (store.base / "chan/source/2026-03-01T12").touch()
    (store.base / "other").touch()
    assert store.hours("chan", "source") == store.qualities("other") == store.hours("other", "source") == []
    assert store.names("chan", "source", "2026-03-01T12") == []
    assert store.candidates("chan", "source", NOON).segments == ()


def test_a_tombstone_hides_its_segment(store: Store) -> None:
    """A tombstone hides one segment from all listings but the one that asks for tombstones."""
    hidden, seen = seg("12:00:00", 2.0), seg("12:00:02", 2.0)
    put(store, hidden, seen)
    tombstone = store.path("chan", "source", "2026-03-01T12", tombstone_name(hidden.name))
    tombstone.touch()
    assert store.names("chan", "source", "2026-03-01T12") == [seen.name]
    assert store.names("chan", "source", "2026-03-01T12", tombstones=True) == [tombstone.name, hidden.name, seen.name]
    assert store.candidates("chan", "source", NOON).segments == (seen,)
    tombstone.unlink()
    assert store.candidates("chan", "source", NOON).segments == (hidden, seen)


def test_a_tombstone_hides_one_candidate_only(store: Store) -> None:
    """Where the best of two candidates is hidden, the other one is chosen."""
    best, other = seg("12:00:00", 2.0, content="z"), seg("12:00:00", 2.0, content="a")
    put(store, best, other)
    store.path("chan", "source", best.hour, tombstone_name(best.name)).touch()
    assert store.candidates("chan", "source", NOON).segments == (other,)


def test_what_starts_with_a_dot_is_hidden(store: Store) -> None:
    """Hidden files are neither listed nor complained about."""
    shown = seg("12:00:00", 2.0)
    put(store, shown)
    folder = store.segment_path("chan", "source", shown).parent
    for name in (".sidecar", f".{shown.name}", "." + tombstone_name(shown.name)):
        (folder / name).touch()
    with capture_logs() as logs:
        assert store.names("chan", "source", shown.hour, tombstones=True) == [shown.name]
        assert store.names("chan", "source", shown.hour) == [shown.name]
    assert logs == []


def test_strangers_are_skipped_and_logged_once(store: Store) -> None:
    """A name that is no segment's is skipped with one warning, however often it is met."""
    shown = seg("12:00:00", 2.0)
    put(store, shown)
    for name in ("notes.txt", f"line\n{shown.name}", f"{shown.name}.part"):
        store.segment_path("chan", "source", shown).with_name(name).touch()
    with capture_logs() as logs:
        for _ in range(3):
            assert store.names("chan", "source", shown.hour) == [shown.name]
            assert store.candidates("chan", "source", NOON).segments == (shown,)
    assert [entry["event"] for entry in logs] == ["name_skipped"] * 3
    assert {Path(entry["path"]).name for entry in logs} == {"notes.txt", f"line\n{shown.name}", f"{shown.name}.part"}


# Paths --------------------------------------------------------------------------------------------------------------

BAD = ["", ".", "..", ".git", "/", "/etc", "a/b", "../chan", "a\0b", "\ud800", "x\udcff", "x" * 256, "é" * 128]


@pytest.mark.parametrize("bad", BAD)
def test_names_that_lead_elsewhere_are_refused(store: Store, bad: str) -> None:
    """No part of a path can leave its folder, be hidden, or be what no file can be called."""
    calls: list[Callable[[], object]] = [
        lambda: component(bad),
        lambda: store.qualities(bad),
        lambda: store.hours(bad, "source"),
        lambda: store.hours("chan", bad),
        lambda: store.names("chan", bad, "2026-03-01T12"),
        lambda: store.names("chan", "source", bad),
        lambda: store.path("chan", "source", "2026-03-01T12", bad),
        lambda: store.sequence(bad, "source", NOON, NOON),
        lambda: store.span("chan", bad),
    ]
    for call in calls:
        with pytest.raises(BadPathError, match=r"\.$") as caught:
            call()
        assert len(str(caught.value)) < 1500


def test_names_of_other_scripts_are_allowed(store: Store) -> None:
    """What a file system allows and does not lead elsewhere is a name: spaces, umlauts, two dots within."""
    for good in ("a b", "Käse", "a..b", "x" * 255, "a.", "%2e%2e"):
        assert store.path(good, "source", "2026-03-01T12", good).is_relative_to(store.base)
        assert store.hours(good, "source") == []


# The cache ----------------------------------------------------------------------------------------------------------


def test_an_hour_is_read_once_until_it_changes(store: Store) -> None:
    """As long as its folder does not change, an hour is the same object; then it shows the change."""
    first, second = seg("12:00:00", 2.0), seg("12:00:02", 2.0)
    put(store, first)
    settle(store)
    kept = store.candidates("chan", "source", NOON)
    assert store.candidates("chan", "source", NOON) is kept
    put(store, second)
    assert store.candidates("chan", "source", NOON).segments == (first, second)
    settle(store)
    store.segment_path("chan", "source", first).unlink()
    assert store.candidates("chan", "source", NOON).segments == (second,)


def test_a_quick_change_is_never_missed(store: Store) -> None:
    """What is written right after an hour was read is in the next reading, however coarse the kernel's clock is."""
    expected = []
    for number in range(300):
        added = seg(f"12:{number // 60:02}:{number % 60:02}", 1.0)
        put(store, added)
        expected.append(added)
        assert store.candidates("chan", "source", NOON).segments == tuple(expected)


@pytest.mark.parametrize(("age_ns", "seen"), [(0, True), (3_600_000_000_000, False)])
def test_what_was_read_within_the_tick_is_not_trusted(
    store: Store, monkeypatch: pytest.MonkeyPatch, age_ns: int, *, seen: bool
) -> None:
    """A second change that shows the same time as the first is seen if the first reading was soon after it."""
    stamp = store_module.Stamp(1, time.time_ns() - age_ns)
    monkeypatch.setattr(store_module, "stamp_of", lambda _: stamp)
    put(store, seg("12:00:00", 2.0))
    assert len(store.candidates("chan", "source", NOON).segments) == 1
    put(store, seg("12:00:02", 2.0))
    assert len(store.candidates("chan", "source", NOON).segments) == (2 if seen else 1)


def test_a_change_is_seen_though_the_folders_time_is_set_back(store: Store) -> None:
    """Tools that set a folder's time of modification back, as rsync does, do not hide what they brought."""
    first, second = seg("12:00:00", 2.0), seg("12:00:02", 2.0)
    put(store, first)
    folder = store.segment_path("chan", "source", first).parent
    os.utime(folder, ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
    settle(store)
    put(store, second)
    os.utime(folder, ns=(1_700_000_000_000_000_000, 1_700_000_000_000_000_000))
    assert store.candidates("chan", "source", NOON).segments == (first, second)


def test_a_removed_hour_is_empty(store: Store) -> None:
    """An hour whose folder was removed holds nothing, whatever it held before."""
    only = seg("12:00:00", 2.0)
    put(store, only)
    settle(store)
    store.segment_path("chan", "source", only).unlink()
    store.segment_path("chan", "source", only).parent.rmdir()
    assert store.candidates("chan", "source", NOON).segments == ()


def test_the_cache_is_bounded(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The hours that were not used for the longest time are forgotten when there are too many segments."""
    store = Store(store.base, cached_segments=4)
    monkeypatch.setattr(store_module, "_CLOCK_TICK_NS", -1)
    for hour in (12, 13, 14):
        put(store, seg(f"{hour}:00:00", 2.0), seg(f"{hour}:00:02", 2.0))
    noon, one = (store.candidates("chan", "source", NOON + n * HOUR) for n in (0, 1))
    assert store.candidates("chan", "source", NOON) is noon
    store.candidates("chan", "source", NOON + 2 * HOUR)
    assert store.candidates("chan", "source", NOON) is noon
    assert store.candidates("chan", "source", NOON + HOUR) is not one
    assert store._cached_segments == sum(len(entry.candidates.segments) for entry in store._hours.values()) == 4


def test_one_hour_is_kept_whatever_its_size(store: Store) -> None:
    """An hour that is larger than all that may be kept is kept nevertheless, alone."""
    store = Store(store.base, cached_segments=1)
    put(store, seg("12:00:00", 2.0), seg("12:00:02", 2.0), seg("13:00:00", 2.0))
    settle(store)
    kept = store.candidates("chan", "source", NOON)
    assert store.candidates("chan", "source", NOON) is kept
    assert len(store._hours) == 1


def test_threads_get_one_object(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads that read the same hour for the first time at the same time get the same object."""
    put(store, *(seg(f"12:00:{n:02}", 2.0) for n in range(0, 60, 2)))
    settle(store)
    fresh, meeting = Store(store.base), threading.Barrier(4)
    listing = store_module._listing

    def meet(folder: Path) -> list[str]:
        meeting.wait(10)
        return listing(folder)

    monkeypatch.setattr(store_module, "_listing", meet)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda _: fresh.candidates("chan", "source", NOON), range(4)))
    assert len({id(hour) for hour in found}) == 1
    assert fresh._cached_segments == 30


def test_threads_read_while_others_write(store: Store) -> None:
    """Readers in many threads see each segment once it is written, and nothing else, while a writer goes on."""
    written = [seg(f"12:{n // 60:02}:{n % 60:02}", 1.0) for n in range(200)]
    done = threading.Event()

    def read(_: int) -> bool:
        seen = 0
        while not done.is_set():
            found = store.candidates("chan", "source", NOON).segments
            if found != tuple(written[: len(found)]) or len(found) < seen:
                return False
            seen = len(found)
        return store.candidates("chan", "source", NOON).segments == tuple(written)

    with ThreadPoolExecutor(3) as pool:
        readers = pool.map(read, range(3))
        for segment in written:
            put(store, segment)
        done.set()
        assert all(readers)


# What is known of the media -----------------------------------------------------------------------------------------


class Knowledge:
    """Facts of the segments of one hour, as they become known; it counts how often it is asked."""

    def __init__(self, store: Store) -> None:
        self.facts: dict[str, Facts] = {}
        self.asked = 0
        store.known = self.known

    def known(self, channel: str, quality: str, hour: datetime) -> dict[str, Facts]:
        self.asked += 1
        return self.facts if hour == NOON else {}

    def learn(self, *segments: Segment) -> None:
        """Know of segments that their media runs on from one to the next, two seconds each."""
        for number, segment in enumerate(segments, start=len(self.facts)):
            times = (number * 180_000, (number + 1) * 180_000)
            self.facts[segment.hash] = Facts(1, (Track(Format(TrackKind.VIDEO), *times),), key_frame=True)


def test_what_becomes_known_of_the_media_is_taken_up(store: Store) -> None:
    """An hour with a doubt is the same object until more is known of what the doubt is about, and then another."""
    knowledge = Knowledge(store)
    segments = [seg("12:00:00", 2.0), seg("12:00:02.300", 2.0, content="x"), seg("12:00:04", 2.0)]
    put(store, *segments)
    settle(store)
    doubtful = store.candidates("chan", "source", NOON)
    assert [hole for _, hole in doubtful.alone.holes] == [Hole(at("12:00:02"), at("12:00:02.300"))]
    assert doubtful.alone.overlapped == 1
    knowledge.learn(seg("12:59:58", 2.0))
    assert store.candidates("chan", "source", NOON) is doubtful
    knowledge.learn(*segments)
    told = store.candidates("chan", "source", NOON)
    assert told.alone.segments == tuple(segments)
    assert (told.alone.holes, told.alone.doubts) == ((), ())
    assert store.sequence("chan", "source", NOON, at("12:00:06")).holes == []
    asked = knowledge.asked
    assert store.candidates("chan", "source", NOON) is told
    assert knowledge.asked == asked


def test_a_clean_hour_does_not_ask_what_is_known(store: Store) -> None:
    """An hour that left no doubt is neither worked out again nor asked about, whatever becomes known of it."""
    knowledge = Knowledge(store)
    segments = [seg(f"12:00:{n:02}", 2.0) for n in range(0, 10, 2)]
    put(store, *segments)
    settle(store)
    clean = store.candidates("chan", "source", NOON)
    knowledge.learn(*segments)
    assert store.candidates("chan", "source", NOON) is clean
    assert store.sequence("chan", "source", NOON, at("12:00:09")).hours[0] is clean.alone
    assert knowledge.asked == 0


def test_what_cannot_be_read_as_media_is_not_asked_about_again(store: Store) -> None:
    """Segments that are known to be no media leave the names to decide, once and for all."""
    knowledge = Knowledge(store)
    segments = [seg("12:00:00", 2.0), seg("12:00:02.300", 2.0, content="x")]
    put(store, *segments)
    knowledge.facts = {segment.hash: Facts(1, error="It is empty.") for segment in segments}
    settle(store)
    asked, kept = knowledge.asked, store.candidates("chan", "source", NOON)
    assert len(kept.alone.holes) == 1
    assert store.candidates("chan", "source", NOON) is kept
    assert knowledge.asked == asked


def test_the_seam_of_two_hours_asks_what_is_known(store: Store) -> None:
    """Facts of both hours tell whether the last segment of one joins the first of the next."""
    last, first = seg("11:59:57.700", 2.0), seg("12:00:00", 2.0)
    put(store, last, first)
    start, end = at("11:59:57.700"), at("12:00:02")
    facts = [Facts(1, (Track(Format(TrackKind.VIDEO), *times),)) for times in ((0, 180_000), (180_000, 360_000))]
    assert len(store.sequence("chan", "source", start, end).holes) == 1
    known = {last.hour: {last.hash: facts[0]}, first.hour: {first.hash: facts[1]}}
    store.known = lambda channel, quality, hour: known.get(f"{hour:%Y-%m-%dT%H}", {})
    assert store.sequence("chan", "source", start, end, allow_holes=False).segments == [last, first]
    assert store.sequence("chan", "source", start, at("11:59:59.900"), allow_holes=False).segments == [last]


# Sequences ----------------------------------------------------------------------------------------------------------


def test_a_sequence_over_hours(store: Store) -> None:
    """A sequence goes over the full hour, and begins with what reaches in from the hour before."""
    segments = [seg(clock, 2.0) for clock in ("11:59:59", "12:00:01", "12:00:03")]
    put(store, *segments)
    found = store.sequence("chan", "source", at("12:00:00"), at("12:00:05"), allow_holes=False)
    assert list(found) == segments


def test_refused_holes_end_the_work(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """With holes refused, the hours after the one with the first hole are not read."""
    put(store, seg("12:00:00", 2.0), seg("12:00:06", 2.0), seg("13:00:00", 2.0))
    read: list[str] = []
    listing = store_module._listing

    def note(folder: Path) -> list[str]:
        read.append(folder.name)
        return listing(folder)

    monkeypatch.setattr(store_module, "_listing", note)
    with pytest.raises(ContainsHolesError, match="12:00:02"):
        store.sequence("chan", "source", at("12:00:00"), at("15:00:00"), allow_holes=False)
    assert read == ["2026-03-01T12"]


def test_a_range_of_millennia(store: Store) -> None:
    """The longest range that a request can name is answered from the hours that exist."""
    put(store, seg("11:59:59", 2.0), seg("12:00:01", 2.0))
    first, last = datetime(1900, 1, 1, tzinfo=UTC), datetime(9000, 12, 31, tzinfo=UTC)
    found = store.sequence("chan", "source", first, last)
    assert found.holes == [Hole(first, at("11:59:59")), Hole(at("12:00:03"), last)]
    assert found.segments == store.sequence("chan", "source", at("11:00:00"), at("13:00:00")).segments
    assert store.sequence("chan", "source", at("12:00:00"), last).segments == found.segments


def test_a_range_that_ends_before_it_starts(store: Store) -> None:
    """A range that ends before it starts raises ValueError."""
    with pytest.raises(ValueError, match="ends before it starts"):
        store.sequence("chan", "source", NOON, NOON - 100 * HOUR)


def test_the_larger_file_is_chosen(store: Store) -> None:
    """Of two candidates alike in type and duration the larger file is chosen."""
    small, large = seg("12:00:00", 2.0, content="z"), seg("12:00:00", 2.0, content="a")
    put(store, small, data=b"1")
    put(store, large, data=b"22")
    assert store.sequence("chan", "source", NOON, NOON).segments == [large]


def test_a_file_that_goes_while_its_hour_is_read(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A candidate that is deleted between the listing and the look at its size loses, and nothing fails."""
    gone, stays = seg("12:00:00", 2.0, content="z"), seg("12:00:00", 2.0, content="a")
    put(store, gone, stays)
    listing = store_module._listing

    def list_and_remove(folder: Path) -> list[str]:
        names = listing(folder)
        (folder / gone.name).unlink(missing_ok=True)
        return names

    monkeypatch.setattr(store_module, "_listing", list_and_remove)
    assert store.candidates("chan", "source", NOON).segments == (stays,)


def counted(name: str) -> float:
    labels = {"channel": "counted", "quality": "source"}
    return REGISTRY.get_sample_value(f"respool_{name}_total", labels) or 0.0


def test_what_is_passed_over_is_counted_once(store: Store) -> None:
    """Overlapping segments and skewed copies are counted when they are first met, not at each reading."""
    folder = store.path("counted", "source", "2026-03-01T12", "x").parent
    folder.mkdir(parents=True)
    segments = [seg("12:00:00", 2.0), seg("12:00:01", 2.0), seg("12:00:02", 2.0, content="x")]
    segments += [seg("12:00:02.300", 2.0, content="x"), seg("12:00:04", 2.0)]
    for segment in segments:
        (folder / segment.name).touch()
        store.candidates("counted", "source", NOON)
    for _ in range(5):
        store.candidates("counted", "source", NOON)
    assert (counted("segments_overlapped"), counted("segments_skewed")) == (1, 1)


# Writable or not ----------------------------------------------------------------------------------------------------


def test_the_base_folder_is_made(store: Store) -> None:
    """The check makes the base folder and leaves nothing in it."""
    store.check_writable()
    assert store.base.is_dir()
    assert list(store.base.iterdir()) == []


def test_a_base_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    """A base that cannot be a folder is told in one sentence that names the option."""
    (tmp_path / "file").touch()
    for base in (tmp_path / "file", tmp_path / "file/below", Path("/proc/nothing")):
        with pytest.raises(UserError, match=r"cannot be written to .* --base-dir\.$"):
            Store(base).check_writable()


def test_listing_and_parsing_agree(store: Store) -> None:
    """What the store lists are names that parse to what the store covers."""
    put(store, *(seg(f"12:00:{n:02}", 2.0) for n in range(0, 60, 2)))
    segments, strangers = parse_names(NOON, store.names("chan", "source", "2026-03-01T12"))
    assert strangers == []
    assert tuple(segments) == store.candidates("chan", "source", NOON).segments
