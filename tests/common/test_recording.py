"""Writing segments: what is on disk whenever and however a writer ends. Crashes are real: a child kills itself."""

import errno
import fcntl
import hashlib
import os
import resource
import signal
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from common import recording
from common.recording import SegmentWriter, sweep_temps
from common.segments import Segment, SegmentType, content_hash
from common.store import Store

START = datetime(2026, 3, 1, 12, 0, 2, tzinfo=UTC)
HOUR = "2026-03-01T12"
LASTS = timedelta(seconds=2)
DATA = [b"one " * 1000, b"two " * 1000, b"three " * 1000]


def sha(data: bytes) -> str:
    return content_hash(hashlib.sha256(data).digest())


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


def begin(store: Store, *chunks: bytes) -> SegmentWriter:
    writer = SegmentWriter(store, "chan", "source", START, LASTS)
    for chunk in chunks:
        writer.write(chunk)
    return writer


def files(store: Store) -> dict[str, bytes]:
    """What lies in the hour, by name."""
    folder = store.path("chan", "source", HOUR, "x").parent
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


def temps(store: Store) -> list[str]:
    return [name for name in files(store) if "-temp-" in name]


def check_final_files(store: Store) -> None:
    """Every file under a final name has the content that its name tells."""
    for name, data in files(store).items():
        if "-temp-" not in name:
            assert name.endswith(f"-{sha(data)}.ts")


def leave(store: Store, *chunks: bytes) -> Path:
    """Leave a temp as a writer does that was killed; the lock goes with the process."""
    writer = begin(store, *chunks)
    writer._file.close()
    return writer._path


def age(path: Path, seconds: float) -> None:
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


# One writer ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", [SegmentType.FULL, SegmentType.SUSPECT, SegmentType.PARTIAL])
def test_a_segment_is_written(store: Store, kind: SegmentType) -> None:
    """What was written lies under the name that tells its type and content, and nothing else is left."""
    writer = begin(store, *DATA)
    segment = writer.commit(kind)
    whole = b"".join(DATA)
    assert writer.size == len(whole)
    assert (segment.start, segment.duration, segment.type, segment.hash) == (START, LASTS, kind, sha(whole))
    assert files(store) == {segment.name: whole}
    assert store.names("chan", "source", HOUR) == [segment.name]


def test_nothing_final_before_the_commit(store: Store) -> None:
    """Until its commit a segment is a temp, which listings show and no sequence chooses."""
    with closing(begin(store, *DATA)._file):
        assert temps(store) == list(files(store)) == store.names("chan", "source", HOUR)
        assert store.sequence("chan", "source", START, START).segments == []


def test_an_abandoned_segment_is_kept_as_partial(store: Store) -> None:
    """What had arrived of an abandoned segment is a `partial`, under its own hash."""
    kept = begin(store, *DATA).abandon()
    assert kept is not None
    assert kept.type is SegmentType.PARTIAL
    assert list(files(store)) == [kept.name]


def test_an_abandoned_segment_of_nothing_leaves_nothing(store: Store) -> None:
    """An abandoned segment of which nothing had arrived is gone, at once."""
    begin(store).abandon()
    assert files(store) == {}


def test_to_abandon_after_the_commit_takes_nothing_away(store: Store) -> None:
    """To abandon what is committed is harmless, so that it may stand in a `finally`."""
    writer = begin(store, *DATA)
    segment = writer.commit(SegmentType.FULL)
    writer.abandon()
    assert list(files(store)) == [segment.name]


def test_an_empty_segment(store: Store) -> None:
    """A segment without content is one too."""
    segment = begin(store).commit(SegmentType.PARTIAL)
    assert files(store) == {segment.name: b""}


def test_fragmented_mp4_keeps_its_ending(store: Store) -> None:
    """The ending of the name is kept, by the commit and by the sweep."""
    committed, left = (SegmentWriter(store, "chan", "source", START, LASTS, suffix=".mp4") for _ in range(2))
    for writer in (committed, left):
        writer.write(b"moov")
    final = committed.commit(SegmentType.FULL)
    left._file.close()
    [kept] = sweep_temps(store, "chan", "source")
    assert set(files(store)) == {final.name, kept.name}
    assert final.name.endswith(f"-full-{sha(b'moov')}.mp4")
    assert kept.name.endswith(f"-partial-{sha(b'moov')}.mp4")


def test_two_writers_of_the_same(store: Store) -> None:
    """Two writers of the same content at the same time end with one file, whole."""
    one, two = begin(store, *DATA), begin(store, *DATA)
    assert len(temps(store)) == 2
    assert one.commit(SegmentType.FULL) == two.commit(SegmentType.FULL)
    assert list(files(store).values()) == [b"".join(DATA)]


def test_the_disk_has_it_before_its_name(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """The content is brought to disk before the rename, and the folder after it."""
    steps: list[str] = []
    sync, rename = os.fsync, Path.rename

    def noting_fsync(handle: int) -> None:
        steps.append("folder" if Path(f"/proc/self/fd/{handle}").is_dir() else "file")
        sync(handle)

    def noting_rename(path: Path, target: Path) -> Path:
        steps.append("rename")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", noting_fsync)
    monkeypatch.setattr(Path, "rename", noting_rename)
    begin(store, *DATA).commit(SegmentType.FULL)
    leave(store, b"left")
    sweep_temps(store, "chan", "source")
    assert steps == ["file", "rename", "folder"] * 2


# Writers that die ---------------------------------------------------------------------------------------------------

# Forks one writer after the other; each kills itself one step later, where a step is the moment before or after a call
# that touches the disk. Ends with the first that survives, and prints how many did not.
CRASHER = textwrap.dedent(
    """
    import fcntl, os, signal, sys
    from datetime import UTC, datetime, timedelta
    from itertools import count
    from pathlib import Path
    from common import recording
    from common.segments import SegmentType
    from common.store import Store

    left = 0

    def step():
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(owner, name):
        real = getattr(owner, name)
        def call(*args, **keywords):
            step()
            result = real(*args, **keywords)
            step()
            return result
        setattr(owner, name, call)

    def record(base):
        writer = recording.SegmentWriter(
            Store(base), "chan", "source", datetime(2026, 3, 1, 12, 0, 2, tzinfo=UTC), timedelta(seconds=2)
        )
        for data in (b"one " * 1000, b"two " * 1000, b"three " * 1000):
            step()
            writer.write(data)
        step()
        writer.commit(SegmentType.FULL)

    for owner, name in [(Path, "mkdir"), (Path, "open"), (fcntl, "flock"), (os, "fsync"), (Path, "rename")]:
        watch(owner, name)
    for number in count(1):
        child = os.fork()
        if child == 0:
            left = number
            record(Path(sys.argv[1]) / str(number))
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL:
            break
    print(number - 1)
    """
)


def test_a_kill_between_any_two_steps(tmp_path: Path) -> None:
    """Killed before or after any step of its work: final files are right, and a sweep keeps what was written."""
    done = subprocess.run([sys.executable, "-c", CRASHER, str(tmp_path)], capture_output=True, check=True, timeout=60)
    crashes, outcomes = int(done.stdout), set[str]()
    assert crashes > 12
    for number in range(1, crashes + 1):
        store = Store(tmp_path / str(number))
        check_final_files(store)
        before = files(store)
        kept = sweep_temps(store, "chan", "source")
        check_final_files(store)
        left = [data for name, data in before.items() if "-temp-" in name and data]
        assert [segment.hash for segment in kept] == [sha(data) for data in left]
        assert [segment.type for segment in kept] == [SegmentType.PARTIAL] * len(left)
        assert sorted(files(store).values()) == sorted(before.values())
        outcomes.update(name.split("-")[2] for name in files(store))
    assert outcomes == {"temp", "partial", "full"}


# A disk that is full ------------------------------------------------------------------------------------------------


@contextmanager
def room_for(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size`: the kernel then writes a part and fails, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)


def test_a_full_disk_leaves_a_temp(store: Store) -> None:
    """A disk that is full raises OSError and leaves at most a temp, of which the sweep keeps what is there."""
    writer = begin(store, DATA[0])
    with room_for(6000), pytest.raises(OSError, match="large") as caught:
        writer.write(DATA[1])
    assert caught.value.errno == errno.EFBIG
    assert list(files(store)) == temps(store)
    writer._file.close()
    [kept] = sweep_temps(store, "chan", "source")
    assert files(store) == {kept.name: (DATA[0] + DATA[1])[:6000]}
    check_final_files(store)


def test_what_went_onto_a_full_disk_can_be_kept(store: Store) -> None:
    """After a write that failed halfway, a commit as `partial` names exactly what is on disk."""
    writer = begin(store, DATA[0])
    with room_for(6000), pytest.raises(OSError, match="large"):
        writer.write(DATA[1])
    segment = writer.commit(SegmentType.PARTIAL)
    assert writer.size == 6000
    assert files(store) == {segment.name: (DATA[0] + DATA[1])[:6000]}
    check_final_files(store)


def test_a_commit_that_fails_leaves_a_temp(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that refuses to sync raises, and the segment stays a temp, not locked any more."""

    def refuse(_: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    writer = begin(store, *DATA)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", refuse)
        with pytest.raises(OSError, match="Input/output"):
            writer.commit(SegmentType.FULL)
    assert list(files(store)) == temps(store)
    assert [segment.hash for segment in sweep_temps(store, "chan", "source")] == [sha(b"".join(DATA))]


# The sweep ----------------------------------------------------------------------------------------------------------


def test_a_living_writer_is_left_alone(store: Store) -> None:
    """A temp to which a process still writes is not touched, not even an empty one of old age."""
    empty, writer = begin(store), begin(store, DATA[0])
    age(empty._path, 3600)
    assert sweep_temps(store, "chan", "source") == []
    assert len(temps(store)) == 2
    writer.write(DATA[1])
    segment = writer.commit(SegmentType.FULL)
    empty.abandon()
    assert files(store) == {segment.name: DATA[0] + DATA[1]}


def test_empty_temps_are_removed_once_they_are_old(store: Store) -> None:
    """An empty temp without a writer is removed, but not in the instant after it was made."""
    path = leave(store)
    assert sweep_temps(store, "chan", "source") == []
    assert path.exists()
    age(path, 61)
    assert sweep_temps(store, "chan", "source") == []
    assert files(store) == {}


def test_the_sweep_goes_through_all_hours(store: Store) -> None:
    """Temps of all hours are kept; what is final, and what is a stranger, stays as it is."""
    final = begin(store, b"final").commit(SegmentType.FULL)
    for hours in (0, 1, 30):
        writer = SegmentWriter(store, "chan", "source", START + timedelta(hours=hours), LASTS)
        writer.write(b"%d" % hours)
        writer._file.close()
    store.path("chan", "source", HOUR, "x").touch()
    kept = sweep_temps(store, "chan", "source")
    assert [(segment.start, segment.hash) for segment in kept] == [
        (START + timedelta(hours=hours), sha(b"%d" % hours)) for hours in (0, 1, 30)
    ]
    assert set(files(store)) == {final.name, kept[0].name, "x"}
    assert sweep_temps(store, "chan", "source") == []


def test_a_sweep_can_be_ended_early(store: Store) -> None:
    """Between two hours, the newest first, the sweep asks whether it was enough; the rest waits for the next one."""
    for hours in (0, 1, 30):
        writer = SegmentWriter(store, "chan", "source", START + timedelta(hours=hours), LASTS)
        writer.write(b"data")
        writer._file.close()
    asked = iter([False, False, True])
    kept = sweep_temps(store, "chan", "source", enough=lambda: next(asked))
    assert [segment.start - START for segment in kept] == [timedelta(hours=1), timedelta(hours=30)]
    assert [segment.start for segment in sweep_temps(store, "chan", "source")] == [START]


def test_a_sweep_of_what_is_there_already(store: Store) -> None:
    """A temp of a content that was kept before becomes the same file, not a second one."""
    for _ in range(2):
        leave(store, *DATA)
        [kept] = sweep_temps(store, "chan", "source")
        assert files(store) == {kept.name: b"".join(DATA)}


def test_a_commit_between_listing_and_sweep(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temp that is committed after the sweep has listed it is neither missed nor made twice."""
    writer = begin(store, *DATA)
    committed: list[Segment] = []
    sweep = recording._sweep

    def commit_first(path: Path, temp: Segment) -> list[Segment]:
        committed.append(writer.commit(SegmentType.FULL))
        return sweep(path, temp)

    monkeypatch.setattr(recording, "_sweep", commit_first)
    assert sweep_temps(store, "chan", "source") == []
    assert list(files(store)) == [committed[0].name]


def test_a_commit_between_opening_and_locking(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """A temp that is committed after the sweep has opened it, and before it has the lock, stays as it was committed."""
    writer = begin(store, *DATA)
    committed: list[Segment] = []
    flock = fcntl.flock

    def commit_first(handle: int, operation: int) -> None:
        committed.append(writer.commit(SegmentType.FULL))
        flock(handle, operation)

    monkeypatch.setattr(fcntl, "flock", commit_first)
    assert sweep_temps(store, "chan", "source") == []
    assert list(files(store)) == [committed[0].name]


def test_two_sweeps_at_once(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one sweep works on a temp another one leaves it alone, and both end well."""
    leave(store, *DATA)
    inner: list[list[Segment]] = []
    sync = os.fsync

    def sweep_again(handle: int) -> None:
        monkeypatch.setattr(os, "fsync", sync)
        inner.append(sweep_temps(store, "chan", "source"))
        sync(handle)

    monkeypatch.setattr(os, "fsync", sweep_again)
    outer = sweep_temps(store, "chan", "source")
    assert inner == [[]]
    assert list(files(store)) == [segment.name for segment in outer]


def test_readers_beside_writers(store: Store) -> None:
    """A reader that lists all the time while another process writes sees only whole files under final names."""
    script = textwrap.dedent(
        """
        import sys
        from datetime import UTC, datetime, timedelta
        from pathlib import Path
        from common.recording import SegmentWriter
        from common.segments import SegmentType
        from common.store import Store
        store = Store(Path(sys.argv[1]))
        for number in range(60):
            start = datetime(2026, 3, 1, 12, 0, tzinfo=UTC) + number * timedelta(seconds=2)
            writer = SegmentWriter(store, "chan", "source", start, timedelta(seconds=2))
            for _ in range(20):
                writer.write(b"%d" % number * 1000)
            writer.commit(SegmentType.FULL)
        """
    )
    with subprocess.Popen([sys.executable, "-c", script, str(store.base)]) as writing:
        while writing.poll() is None:
            check_final_names(store)
    assert writing.returncode == 0
    check_final_names(store)
    assert len(files(store)) == 60
    assert temps(store) == []


def check_final_names(store: Store) -> None:
    for segment in store.sequence("chan", "source", START.replace(second=0), START + timedelta(minutes=10)).segments:
        assert segment.hash == sha(store.segment_path("chan", "source", segment).read_bytes())


def test_sweep_passes_over_an_hour_that_goes(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour that is deleted between its listing and the look into it costs the others nothing."""
    monkeypatch.setattr(Store, "hours", lambda *_: ["2026-03-01T12"])
    assert sweep_temps(store, "chan", "source") == []
