"""The digests of a store on a real disk: when they are worked out again, and what is kept of them."""

import fcntl
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from common import digest_cache
from common import store as store_module
from common.dateutil import parse_hour
from common.digest_cache import NAME, Digests
from common.digests import day_digests, hour_digest, quality_digest
from common.segments import SegmentType, make_segment, tombstone_name
from common.store import BadPathError, Store

HOUR = "2026-03-01T12"
NEXT = "2026-03-01T13"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def put(store: Store, second: int, quality: str = "source", content: str = "hash") -> Path:
    segment = make_segment(NOON + timedelta(seconds=second), timedelta(seconds=2), SegmentType.FULL, content)
    path = store.segment_path("chan", quality, segment)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def truth(store: Store, hour: str = HOUR) -> str | None:
    """What the digest of an hour is, whatever was remembered."""
    return hour_digest(parse_hour(hour), (path.name for path in store.hour_folder("chan", "source", hour).iterdir()))


@pytest.fixture
def store(tmp_path: Path) -> Store:
    made = Store(tmp_path / "base")
    put(made, 0)
    put(made, 3600)
    return made


@pytest.fixture
def settle(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was just written count as written long ago."""
    monkeypatch.setattr(store_module, "_CLOCK_TICK_NS", -(10**18))


@pytest.fixture
def worked_out(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The hours whose digests were worked out from their names."""
    hours: list[str] = []
    names = Store.names

    def note(store: Store, channel: str, quality: str, hour: str, *, tombstones: bool = False) -> list[str]:
        hours.append(hour)
        return names(store, channel, quality, hour, tombstones=tombstones)

    monkeypatch.setattr(Store, "names", note)
    return hours


def test_a_store_is_told_at_all_depths(store: Store) -> None:
    """Hours, days, qualities and channels have digests; what holds nothing, or is unknown, has none."""
    put(store, 24 * 3600, "720p60")
    (store.base / "empty/source/2026-03-01T12").mkdir(parents=True)
    digests = Digests(store)
    hours = {HOUR: truth(store), NEXT: truth(store, NEXT)}
    assert digests.hours("chan", "source") == digests.hours("chan", "source", "2026-03-01") == hours
    assert {hour: digests.hour("chan", "source", hour) for hour in hours} == hours
    days = day_digests(digests.hours("chan", "source"))
    assert digests.days("chan", "source") == days
    assert digests.quality("chan", "source") == quality_digest(days)
    assert digests.all() == {
        "chan": {"720p60": digests.quality("chan", "720p60"), "source": digests.quality("chan", "source")}
    }
    assert digests.hours("chan", "source", "2026-03-02") == digests.hours("no", "source") == {}
    assert digests.hour("chan", "source", "2026-03-02T12") is None
    assert digests.quality("empty", "source") is None


def test_the_difference_is_a_name(store: Store) -> None:
    """A new segment and a new tombstone are new digests; a `temp`, a hidden file and a stranger are none."""
    digests = Digests(store)
    seen = [digests.quality("chan", "source")]
    path = put(store, 2)
    seen.append(digests.quality("chan", "source"))
    path.with_name(tombstone_name(path.name)).touch()
    seen.append(digests.quality("chan", "source"))
    assert len({*seen}) == 3
    temp = make_segment(NOON, timedelta(seconds=2), SegmentType.TEMP, "uuid")
    for name in (temp.name, tombstone_name(temp.name), ".facts", "stranger.ts", "stranger.tombstone"):
        path.with_name(name).touch()
    assert digests.quality("chan", "source") == seen[-1]


@pytest.mark.usefixtures("settle")
def test_an_unchanged_hour_is_worked_out_once(store: Store, worked_out: list[str]) -> None:
    """What stands in memory, and what a service before has left on disk, is not worked out again."""
    digests = Digests(store)
    first = digests.quality("chan", "source")
    assert digests.quality("chan", "source") == first
    assert len(worked_out) == 2
    digests.flush()
    put(store, 3602)
    again = Digests(store)
    assert again.hour("chan", "source", HOUR) == digests.hour("chan", "source", HOUR)
    assert len(worked_out) == 2
    assert again.quality("chan", "source") == Digests(store).quality("chan", "source") != first
    assert worked_out[2:] == [NEXT]


def test_no_change_within_the_tick_is_missed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though a coarse clock shows the same time for several changes, no digest is older than its folder."""
    digests, path = Digests(store), store.hour_folder("chan", "source", HOUR)
    real = store_module.stamp_of

    def coarse(folder: Path | str) -> store_module.Stamp | None:
        stamp = real(folder)
        return stamp and stamp._replace(changed_ns=stamp.changed_ns // 10_000_000 * 10_000_000)

    monkeypatch.setattr(digest_cache, "stamp_of", coarse)
    for second in range(2, 400, 2):
        put(store, second)
        assert digests.hour("chan", "source", HOUR) == truth(store), path
        digests.flush()
        assert Digests(store).hour("chan", "source", HOUR) == truth(store), path


@pytest.mark.usefixtures("settle")
def test_a_change_amid_the_listing_is_seen_the_next_time(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that comes after the look at the folder, before or after its listing, is not passed over."""
    names: Callable[..., list[str]] = store.names

    def listed(*args: str, **options: bool) -> list[str]:
        before = names(*args, **options)
        put(store, 100)
        return before

    digests = Digests(store)
    monkeypatch.setattr(store, "names", listed)
    digests.hour("chan", "source", HOUR)
    monkeypatch.setattr(store, "names", names)
    assert digests.hour("chan", "source", HOUR) == truth(store)


@pytest.mark.usefixtures("settle")
@pytest.mark.parametrize(
    "damage",
    [
        lambda _: b"",
        lambda text: text[:-1],
        lambda text: text.replace(b"full", b"half").replace(b"a", b"b"),
        lambda text: text.partition(b"\n")[2],
        lambda text: b"\xff\x00" * 100 + text,
        lambda text: text.replace(b"digests 1", b"digests 2"),
    ],
)
def test_a_damaged_file_counts_as_none(store: Store, worked_out: list[str], damage: Callable[[bytes], bytes]) -> None:
    """Whatever has become of the file, the digests are right, and it is replaced by a good one."""
    Digests(store).quality("chan", "source")
    kept = store.folder("chan", "source") / NAME
    text = kept.read_bytes()
    kept.write_bytes(damage(text))
    digests = Digests(store)
    assert digests.hours("chan", "source") == {HOUR: truth(store), NEXT: truth(store, NEXT)}
    assert len(worked_out) == 4
    assert kept.read_bytes() == text


@pytest.mark.usefixtures("settle")
def test_a_folder_in_the_place_of_the_file_is_in_nobodys_way(store: Store) -> None:
    """What cannot be replaced is said once, and digests are kept in memory."""
    (store.folder("chan", "source") / NAME / "x").mkdir(parents=True)
    with capture_logs() as logs:
        digests = Digests(store, clock=time.monotonic_ns)
        for second in (2, 4):
            put(store, second)
            assert digests.hour("chan", "source", HOUR) == truth(store)
            digests.flush()
    assert [entry["event"] for entry in logs] == ["digests_not_kept"]


@pytest.mark.usefixtures("settle")
def test_a_store_that_cannot_be_written_to_is_told_all_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch, worked_out: list[str]
) -> None:
    """Where no file can be made, digests live in memory, which is said once."""

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(digest_cache, "_write", refuse)
    digests = Digests(store, clock=time.monotonic_ns)
    with capture_logs() as logs:
        first = digests.quality("chan", "source")
        assert digests.quality("chan", "source") == first
        digests.flush()
    assert [entry["event"] for entry in logs] == ["digests_not_kept"]
    assert len(worked_out) == 2


@pytest.mark.usefixtures("settle")
def test_a_removed_hour_is_forgotten(store: Store) -> None:
    """An hour that is gone has no digest, wherever it stood, nor the one it had when it comes back as another."""
    digests = Digests(store)
    before = digests.quality("chan", "source")
    digests.flush()
    path = put(store, 3600)
    path.unlink()
    path.parent.rmdir()
    for each in (digests, Digests(store)):
        assert each.hours("chan", "source") == {HOUR: truth(store)}
        assert each.hour("chan", "source", NEXT) is None
        each.flush()
    assert NEXT.encode() not in (store.folder("chan", "source") / NAME).read_bytes()
    put(store, 3602)
    assert digests.hours("chan", "source") == {HOUR: truth(store), NEXT: truth(store, NEXT)}
    assert digests.quality("chan", "source") != before


@pytest.mark.usefixtures("settle")
def test_the_file_is_written_at_most_once_a_minute(store: Store) -> None:
    """While a service runs, what it works out waits for its turn to be written; its stop does not wait."""
    now = [0.0]
    digests = Digests(store, clock=lambda: now[0])
    kept = store.folder("chan", "source") / NAME

    def written() -> int:
        return kept.stat().st_mtime_ns

    digests.quality("chan", "source")
    first = written()
    put(store, 2)
    digests.quality("chan", "source")
    assert written() == first
    now[0] = 61.0
    digests.quality("chan", "source")
    second = written()
    assert second > first
    digests.flush()
    assert written() == second
    put(store, 4)
    digests.quality("chan", "source")
    digests.flush()
    assert written() > second


@pytest.mark.usefixtures("settle")
def test_processes_use_what_the_others_have_written(store: Store, worked_out: list[str]) -> None:
    """What one has worked out and written, another that runs already does not work out again, and neither loses it."""
    one, other = Digests(store), Digests(store)
    other.hour("chan", "source", HOUR)
    one.quality("chan", "source")
    kept = store.folder("chan", "source") / NAME
    written = (kept.stat().st_ino, kept.stat().st_mtime_ns)
    assert other.quality("chan", "source") == one.quality("chan", "source")
    other.flush()
    assert (kept.stat().st_ino, kept.stat().st_mtime_ns) == written
    assert len(worked_out) == 3
    assert Digests(store).quality("chan", "source") == one.quality("chan", "source")
    assert len(worked_out) == 3


@pytest.mark.usefixtures("settle")
def test_who_writes_is_not_disturbed(store: Store) -> None:
    """While another process writes the file nothing is written; it is the next time."""
    folder = store.folder("chan", "source")
    digests = Digests(store)
    with (folder / digest_cache._NEW).open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        other.write(b"half")
        other.flush()
        digests.quality("chan", "source")
        digests.flush()
        assert (folder / digest_cache._NEW).read_bytes() == b"half"
        assert not (folder / NAME).exists()
    digests.flush()
    assert digest_cache._read(folder / NAME).keys() == {HOUR, NEXT}


@pytest.mark.usefixtures("settle")
def test_what_another_has_just_written_stays_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that got its name while its lock was waited for is not written to any more."""
    folder = store.folder("chan", "source")
    Digests(store).quality("chan", "source")
    text = (folder / NAME).read_bytes()
    lock = fcntl.flock

    def late(file: int, operation: int) -> None:
        (folder / digest_cache._NEW).write_bytes(text)
        (folder / digest_cache._NEW).replace(folder / NAME)
        lock(file, operation)

    monkeypatch.setattr(fcntl, "flock", late)
    put(store, 2)
    Digests(store).quality("chan", "source")
    assert (folder / NAME).read_bytes() == text


@pytest.mark.usefixtures("settle")
def test_many_may_write_at_once(store: Store, worked_out: list[str]) -> None:
    """However many write the file at the same time, it is always a whole one, and says what is right."""
    stop, expected = threading.Event(), {HOUR: truth(store), NEXT: truth(store, NEXT)}
    kept = store.folder("chan", "source") / NAME

    def write() -> int:
        rounds = 0
        while not stop.is_set() or rounds < 3:
            digests = Digests(store)
            kept.unlink(missing_ok=True)
            assert digests.hours("chan", "source") == expected
            digests.flush()
            rounds += 1
        return rounds

    with ThreadPoolExecutor(4) as pool:
        writers = [pool.submit(write) for _ in range(4)]
        for _ in range(200):
            assert digest_cache._read(kept).keys() <= expected.keys()
        stop.set()
        assert all(writer.result() >= 3 for writer in writers)
    Digests(store).quality("chan", "source")
    count = len(worked_out)
    assert Digests(store).hours("chan", "source") == expected
    assert len(worked_out) == count
    assert [path.name for path in kept.parent.glob(".digests*")] == [NAME]


def test_one_hour_that_cannot_be_read_takes_nothing_from_the_others(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk error in an hour leaves that one out, which is logged once; who asks for it alone is told."""
    names: Callable[..., list[str]] = store.names

    def failing(channel: str, quality: str, hour: str, *, tombstones: bool = False) -> list[str]:
        if hour == NEXT:
            raise OSError(5, "Input/output error")
        return names(channel, quality, hour, tombstones=tombstones)

    monkeypatch.setattr(store, "names", failing)
    digests = Digests(store)
    with capture_logs() as logs:
        assert digests.hours("chan", "source") == digests.hours("chan", "source") == {HOUR: truth(store)}
    assert [entry["event"] for entry in logs] == ["hour_unreadable"]
    with pytest.raises(OSError, match="Input/output"):
        digests.hour("chan", "source", NEXT)


@pytest.mark.parametrize("place", [("..", "source", HOUR), ("chan", "a/b", HOUR), ("chan", "source", "../..")])
def test_names_that_lead_elsewhere_are_refused(store: Store, place: tuple[str, str, str]) -> None:
    """No name of a channel, quality or hour leads out of the store."""
    with pytest.raises(BadPathError):
        Digests(store).hour(*place)
