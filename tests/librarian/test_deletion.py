"""How an hour goes: at once for readers, for good whatever dies, and with its tombstones left behind."""

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from common import missing
from common.dateutil import HOUR, parse_hour
from common.expired import Expired
from common.missing import Missing
from common.segments import tombstone_name
from common.store import Store
from librarian.deletion import QUEUE, TOMBSTONES_STAY, Queue, delete, drop_tombstones
from librarian.retention import StoredHour

HOUR_NAME = "2026-02-01T10"
STORED = StoredHour(parse_hour(HOUR_NAME), "chan", "source", 3000)
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)

Fill = Callable[..., list[str]]


class DiedError(BaseException):
    """Nobody handles a death."""


@pytest.fixture
def expired(store: Store) -> Expired:
    return Expired(store.base, lambda: NOON)


def empty(store: Store) -> None:
    queue = Queue(store)
    while queue.remove_some():
        pass


def left(store: Store) -> list[str]:
    """All files below the quality, but for the folder of marks."""
    folder = store.folder("chan", "source")
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def test_deleted_hour_is_gone_at_once_and_its_files_soon(store: Store, expired: Expired, fill: Fill) -> None:
    """Nothing of the hour is listed from then on; its files, hidden ones too, wait in the queue until they go."""
    fill(HOUR_NAME)
    fill("2026-02-01T11")
    folder = store.folder("chan", "source") / HOUR_NAME
    (folder / ".facts").write_text("x")
    (folder / ".playlists").mkdir()
    (folder / ".playlists" / "one.m3u8").write_text("x")
    missing.note(store, "chan", "source", [Missing(STORED.start, timedelta(seconds=2), "expired")])
    assert delete(store, expired, STORED)
    assert store.hours("chan", "source") == ["2026-02-01T11"]
    assert expired.hours("chan", "source") == {HOUR_NAME}
    assert missing.read(store, "chan", "source", STORED.start, STORED.start + HOUR) == []
    queue = Queue(store)
    assert queue.size() == 3002
    empty(store)
    assert queue.size() == 0
    assert all(name.startswith("2026-02-01T11/") for name in left(store))
    assert not delete(store, expired, STORED)


def test_tombstones_outlive_what_they_hide(store: Store, expired: Expired, fill: Fill) -> None:
    """What was hidden stays hidden for nodes that were away, until all of them have had time to learn it."""
    names = fill(HOUR_NAME, hidden=2)
    delete(store, expired, STORED)
    empty(store)
    tombstones = [tombstone_name(name) for name in names[:2]]
    assert store.names("chan", "source", HOUR_NAME, tombstones=True) == tombstones
    assert store.names("chan", "source", HOUR_NAME) == []
    assert not drop_tombstones(store, expired, STORED, NOON + TOMBSTONES_STAY - HOUR)
    assert store.names("chan", "source", HOUR_NAME, tombstones=True) == tombstones
    assert drop_tombstones(store, expired, STORED, NOON + TOMBSTONES_STAY)
    assert store.hours("chan", "source") == []
    assert expired.is_expired("chan", "source", HOUR_NAME)


def test_tombstones_whose_segments_somebody_removed_have_their_time_too(
    store: Store, expired: Expired, fill: Fill
) -> None:
    """The time of tombstones of which nobody knows how old they are begins when they are found."""
    for name in fill(HOUR_NAME, segments=1, hidden=1):
        (store.folder("chan", "source") / HOUR_NAME / name).unlink()
    assert not drop_tombstones(store, expired, STORED, NOON + 2 * TOMBSTONES_STAY)
    assert expired.deleted("chan", "source") == {HOUR_NAME: NOON}


STEPS = [(Path, "mkdir"), (Path, "rename"), (Path, "unlink"), (Path, "rmdir"), (os, "fsync"), (os, "open")]


def die_at(step: int, monkeypatch: pytest.MonkeyPatch, *, amid: bool) -> None:
    """Have the process die before or after its step on disk of this number; a counter of all kinds of steps."""
    count = 0

    def dying(act: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any step
            nonlocal count
            count += 1
            if count < step:
                return act(*args, **kwargs)
            if amid and count == step:
                act(*args, **kwargs)
            raise DiedError

        return stepped

    for owner, name in STEPS:
        monkeypatch.setattr(owner, name, dying(getattr(owner, name)))


@pytest.mark.parametrize("amid", [False, True])
def test_whatever_dies_nothing_comes_back(
    store: Store, expired: Expired, fill: Fill, monkeypatch: pytest.MonkeyPatch, *, amid: bool
) -> None:
    """At each step of deleting and removing: the hour is whole or gone, marked before it goes, its tombstone kept."""
    steps = 0
    while True:
        steps += 1
        names = fill(HOUR_NAME, hidden=1)
        before = store.names("chan", "source", HOUR_NAME, tombstones=True)
        died = False
        with monkeypatch.context() as dying:
            die_at(steps, dying, amid=amid)
            try:
                delete(store, expired, STORED)
                empty(store)
            except DiedError:
                died = True
        now = store.names("chan", "source", HOUR_NAME, tombstones=True)
        assert now in (before, [], [tombstone_name(names[0])]), steps
        if now != before:
            assert HOUR_NAME in Expired(store.base).hours("chan", "source"), steps
        # a new process: it empties the queue, and decides anew
        if now == before:
            delete(store, Expired(store.base), STORED)
        empty(store)
        assert left(store) == [f"{HOUR_NAME}/{tombstone_name(names[0])}"], steps
        assert HOUR_NAME in Expired(store.base).hours("chan", "source")
        expired.lift("chan", "source", [HOUR_NAME])
        for path in (store.folder("chan", "source") / HOUR_NAME).iterdir():
            path.unlink()
        if not died:
            break
    assert steps > 15


def test_removing_comes_in_small_pieces(store: Store, expired: Expired, fill: Fill) -> None:
    """A piece of work is a few files, so that others have their turn between two of them."""
    fill(HOUR_NAME, segments=50)
    delete(store, expired, STORED)
    queue = Queue(store)
    sizes = [queue.size()]
    while queue.remove_some():
        sizes.append(queue.size())
    assert sizes[0] == 50_000
    assert all(0 <= before - after <= 32_000 for before, after in pairwise(sizes))
    assert sizes[-1] == 0


def test_what_the_disk_refuses_to_remove_keeps_nobody_waiting(
    store: Store, expired: Expired, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An hour that cannot be removed is left, the next ones are removed; a new process tries it again."""
    fill(HOUR_NAME)
    fill("2026-02-01T11")
    delete(store, expired, STORED)
    delete(store, expired, StoredHour(STORED.start + HOUR, "chan", "source"))
    unlink = Path.unlink

    def refuse(path: Path, *, missing_ok: bool = False) -> None:
        if HOUR_NAME in str(path):
            raise PermissionError(1, "Operation not permitted", str(path))
        unlink(path, missing_ok=missing_ok)

    with monkeypatch.context() as context:
        context.setattr(Path, "unlink", refuse)
        queue = Queue(store)
        while queue.remove_some():
            pass
        assert len(queue.entries()) == 1
        assert queue.size() == 0
    empty(store)
    assert left(store) == []


def test_links_are_not_followed(store: Store, expired: Expired, fill: Fill, tmp_path: Path) -> None:
    """What lies elsewhere stays, whatever in the store points to it."""
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "file").write_text("x")
    fill(HOUR_NAME)
    (store.folder("chan", "source") / HOUR_NAME / ".link").symlink_to(precious)
    (store.folder("chan", "source") / "2026-02-01T11").symlink_to(precious)
    delete(store, expired, STORED)
    delete(store, expired, StoredHour(STORED.start + HOUR, "chan", "source"))
    empty(store)
    assert (precious / "file").read_text() == "x"
    assert not list((store.folder("chan", "source") / QUEUE).iterdir())


def test_full_disk_makes_room_for_its_mark(
    store: Store, expired: Expired, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where not even a mark finds room, some of the hour goes first, since all of it goes anyway; no tombstone does."""
    names = fill(HOUR_NAME, segments=5, size=1 << 20, hidden=1)
    folder = store.folder("chan", "source") / HOUR_NAME
    mark = Expired.mark

    def mark_if_there_is_room(self: Expired, *args: Any) -> None:  # noqa: ANN401 - those of mark
        if sum(path.stat().st_size for path in folder.glob("*.ts")) > 1 << 20:
            raise OSError(28, "No space left on device")
        mark(self, *args)

    monkeypatch.setattr(Expired, "mark", mark_if_there_is_room)
    assert delete(store, expired, STORED)
    assert expired.hours("chan", "source") == {HOUR_NAME}
    assert store.names("chan", "source", HOUR_NAME, tombstones=True) == [tombstone_name(names[0])]


def test_hour_that_cannot_be_marked_stays(
    store: Store, expired: Expired, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without its mark on disk nothing of an hour goes."""
    names = fill(HOUR_NAME)

    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Expired, "mark", refuse)
    with pytest.raises(PermissionError):
        delete(store, expired, STORED)
    assert store.names("chan", "source", HOUR_NAME) == names
    assert not (store.folder("chan", "source") / QUEUE).exists()


def test_each_step_is_on_disk_before_the_next(
    store: Store, expired: Expired, fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mark is synced before the hour is renamed, and the rename and the tombstone before anything is removed."""
    (tombstone,) = (tombstone_name(name) for name in fill(HOUR_NAME, hidden=1)[:1])
    fill("2026-02-01T11")
    delete(store, expired, StoredHour(STORED.start + HOUR, "chan", "source"))
    steps: list[str] = []
    fsync, rename = os.fsync, Path.rename

    def synced(file: int) -> None:
        path = Path(f"/proc/self/fd/{file}").readlink().relative_to(store.base)
        steps.append(
            "sync a temp" if path.name.startswith(".") and path.suffix == "" and "-" in path.name else f"sync {path}"
        )
        fsync(file)

    def renamed(path: Path, target: Path) -> Path:
        steps.append(f"rename {path.name if path.name == HOUR_NAME else 'a temp'}")
        return rename(path, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(Path, "rename", renamed)
    delete(store, expired, STORED)
    assert steps == [
        *("sync a temp", "rename a temp", "sync .expired/chan"),
        *(f"rename {HOUR_NAME}", "sync chan/source/.deleted", "sync chan/source"),
        *("sync chan/source", f"sync chan/source/{HOUR_NAME}"),
    ]
    assert store.names("chan", "source", HOUR_NAME, tombstones=True) == [tombstone]
