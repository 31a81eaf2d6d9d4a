"""The sizes of hours: right, and cheap where nothing has changed."""

from collections.abc import Callable
from pathlib import Path

import pytest

from common.store import Store
from common.tombstones import put
from librarian import sizes as module
from librarian.sizes import Sizes

Fill = Callable[..., list[str]]


def age(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let what was just written count as written some time ago."""
    monkeypatch.setattr(module, "_CLOCK_TICK_NS", -1)


def test_hours_are_added_up(store: Store, fill: Fill) -> None:
    """An hour has all bytes below its folder; its files are those that are no tombstones and not hidden."""
    fill("2026-02-01T10", segments=3, size=1000, hidden=1)
    fill("2026-02-01T11", quality="720p", segments=0)
    folder = store.folder("chan", "source") / "2026-02-01T10"
    (folder / ".facts").write_text("12345")
    (folder / ".playlists").mkdir()
    (folder / ".playlists" / "x.m3u8").write_text("123")
    found = Sizes(store).look()
    assert found is not None
    assert {(hour.name, hour.size, hour.files, hour.tombstones, hour.on_disk) for hour in found} == {
        ("chan/source/2026-02-01T10", 3008, 3, 1, True),
        ("chan/720p/2026-02-01T11", 0, 0, 0, True),
    }


def test_unchanged_hours_are_not_walked_again(store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only changed hours are added up again, by this process or by one that comes after it."""
    age(monkeypatch)
    for hour in range(10, 20):
        fill(f"2026-02-01T{hour}")
    sizes = Sizes(store)
    first = sizes.look()
    sizes.save()
    walked: list[str] = []
    count = module._count

    def counted(folder: Path) -> object:
        walked.append(folder.name)
        return count(folder)

    monkeypatch.setattr(module, "_count", counted)
    assert sizes.look() == first
    assert Sizes(store).look() == first
    assert walked == []
    put(store.folder("chan", "source") / "2026-02-01T12", ["x.tombstone"])
    assert sizes.look() != first
    assert walked == ["2026-02-01T12"]


def test_folder_that_may_change_within_the_tick_is_not_trusted(store: Store, fill: Fill) -> None:
    """What was added up in the very moment of a change is added up again."""
    fill("2026-02-01T10")
    sizes = Sizes(store)
    sizes.look()
    fill("2026-02-01T10", segments=4)
    found = sizes.look()
    assert found is not None
    assert found[0].files == 4


@pytest.mark.parametrize("text", ["", "[]", '{"chan/source/2026-02-01T10": [1]}', "{"])
def test_file_of_sizes_may_hold_anything(store: Store, fill: Fill, text: str) -> None:
    """What is no such file counts as none."""
    fill("2026-02-01T10")
    (store.base / ".expired").mkdir()
    (store.base / ".expired" / ".sizes").write_text(text)
    found = Sizes(store).look()
    assert found is not None
    assert [hour.size for hour in found] == [3000]


def test_looking_can_be_broken_off(store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """A look at a large store ends when it is to, and what it has found out is kept."""
    age(monkeypatch)
    fill("2026-02-01T10")
    fill("2026-02-01T11")
    answers = iter([False, True])
    assert Sizes(store).look(lambda: next(answers)) is None
    assert "2026-02-01T10" in (store.base / ".expired" / ".sizes").read_text()


def test_hour_that_cannot_be_read_hides_no_other(store: Store, fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """An hour whose folder cannot be read is left out and told; the others are added up."""
    fill("2026-02-01T10")
    fill("2026-02-01T11")
    count = module._count

    def refuse(folder: Path) -> object:
        if folder.name == "2026-02-01T10":
            raise PermissionError(13, "Permission denied", str(folder))
        return count(folder)

    monkeypatch.setattr(module, "_count", refuse)
    found = Sizes(store).look()
    assert found is not None
    assert [hour.name for hour in found] == ["chan/source/2026-02-01T11"]
