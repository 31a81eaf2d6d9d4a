"""A folder as a location: what lies there, what was left there, and what its disk refuses."""

import asyncio
import errno
import fcntl
import json
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from cutter.locations import LocationAwayError, LocationRefusedError, Video, local
from cutter.locations.config import load
from cutter.locations.local import Local
from cutter.locations.names import candidates
from delivery import Row, configured, make_video


async def opened(folder: Path, more: str = "") -> Local:
    location = load(configured(folder, f'type = "local"\nfolder = "videos"\n{more}'))["place"]
    assert isinstance(location, Local)
    return location


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Local]:
    (tmp_path / "videos").mkdir()
    async with await opened(tmp_path, "information = true") as location:
        yield location


@pytest.fixture
def video(tmp_path: Path) -> Video:
    return make_video(tmp_path, size=5000)


async def deliver(location: Local, video: Video, row: Row | None = None) -> str:
    row = row or Row()
    return (await location.deliver(video, row.session, keep=row.keep, progress=row.report)).video_id


def names(tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "videos").iterdir())


async def test_a_video_has_a_name_that_tells_it(place: Local, video: Video, tmp_path: Path) -> None:
    """The name is made of title, event and revision; beside it lies what is said of it."""
    assert await deliver(place, video) == "Run 1 2 Ärger (in) 100% event-1-3.mp4"
    assert names(tmp_path) == ["Run 1 2 Ärger (in) 100% event-1-3.json", "Run 1 2 Ärger (in) 100% event-1-3.mp4"]


async def test_the_link_leads_there(place: Local, video: Video, tmp_path: Path) -> None:
    """Without an address of its own, the link is that of the file; with one, its name is quoted."""
    found = await place.deliver(video, None, keep=Row().keep, progress=lambda _: None)
    assert found.link.startswith("file:///")
    async with await opened(tmp_path, 'url = "https://example.org/v/"') as served:
        link = (await served.deliver(video, None, keep=Row().keep, progress=lambda _: None)).link
    assert link == "https://example.org/v/Run%201%202%20%C3%84rger%20%28in%29%20100%25%20event-1-3.mp4"


async def test_a_copy_that_is_cleared_away_before_it_is_locked_is_made_anew(
    place: Local, video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What another cutter takes for abandoned in the moment before its lock is no reason to call the folder away."""
    real, videos = fcntl.flock, tmp_path / "videos"
    removed: list[Path] = []

    def flock(file: int, operation: int) -> None:
        if not removed:
            removed.extend(videos.glob(".respool-*"))
            removed[0].unlink()
        real(file, operation)

    monkeypatch.setattr(fcntl, "flock", flock)
    await deliver(place, video)
    assert removed
    assert not [name for name in names(tmp_path) if name.startswith(".")]


async def test_nothing_is_written_over(place: Local, video: Video, tmp_path: Path) -> None:
    """Another content of the same event and revision gets a name of its own, always the same one."""
    first = await deliver(place, video)
    other = make_video(tmp_path, size=5000, seed=2)
    second = await deliver(place, other)
    assert second != first
    assert await deliver(place, other) == second
    assert (tmp_path / "videos" / first).read_bytes() == video.path.read_bytes()
    third = make_video(tmp_path, size=5000, seed=3)
    name = candidates(first, third.sha256)[1]
    (tmp_path / "videos" / name).write_bytes(b"of somebody else")
    with pytest.raises(LocationRefusedError, match="Both names"):
        await deliver(place, third)


async def test_what_is_said_anew_is_beside_the_video(place: Local, video: Video, tmp_path: Path) -> None:
    """A change goes into the information beside the video, whose name stays."""
    found = await place.deliver(video, None, keep=Row().keep, progress=lambda _: None)
    await place.modify(found, replace(video, title="New", thumbnail=b"\xff\xd8 jpeg"))
    beside = tmp_path / "videos" / found.video_id
    assert json.loads(beside.with_suffix(".json").read_text())["title"] == "New"
    assert beside.with_suffix(".jpg").read_bytes() == b"\xff\xd8 jpeg"
    beside.unlink()
    with pytest.raises(LocationRefusedError, match="is no more at place"):
        await place.modify(found, video)


async def test_what_died_here_is_cleared_away(place: Local, video: Video, tmp_path: Path) -> None:
    """A copy whose writer is gone is removed, one that is being written is not."""
    (tmp_path / "videos" / ".respool-dead").write_bytes(b"half")
    with (tmp_path / "videos" / ".respool-alive").open("wb") as alive:
        fcntl.flock(alive, fcntl.LOCK_EX)
        await deliver(place, video)
        assert [name for name in names(tmp_path) if name.startswith(".")] == [".respool-alive"]


@pytest.mark.parametrize("step", ["sync", "replace", "write"])
async def test_a_full_disk_makes_it_wait(
    place: Local, video: Video, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A disk that is full at any step is told, leaves nothing, and is as good as new when it has room."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        match step:
            case "sync":
                patch.setattr(local, "_sync", full)
            case "write":
                patch.setattr(Local, "_write_companions", full)
            case _:
                patch.setattr(Path, "replace", full)
        with pytest.raises(LocationAwayError, match=r"place cannot be used \(No space left on device\)"):
            await deliver(place, video)
    assert [name for name in names(tmp_path) if not name.endswith(".json")] == []
    assert await deliver(place, video)


async def test_a_file_that_no_disk_takes_is_refused(
    place: Local, video: Video, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file that is too large for the file system is no reason to wait."""

    def too_large(*_: object) -> None:
        raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))

    monkeypatch.setattr(local, "_sync", too_large)
    with pytest.raises(LocationRefusedError, match="does not take this file"):
        await deliver(place, video)


async def test_a_missing_folder_is_made_only_if_told(tmp_path: Path, video: Video) -> None:
    """A folder that is not there may be a disk that is not mounted; `create` says that it is not."""
    async with await opened(tmp_path) as strict:
        with pytest.raises(LocationAwayError, match="is not there: make it, mount it, or set `create`"):
            await deliver(strict, video)
    async with await opened(tmp_path, "create = true") as willing:
        await deliver(willing, video)
    assert len(names(tmp_path)) == 1


async def test_folders_are_made_of_templates(tmp_path: Path, video: Video) -> None:
    """A template may have folders."""
    async with await opened(tmp_path, 'create = true\ntemplate = "{year}/{month}/{event}-{revision}"') as location:
        assert await deliver(location, video) == "2026/03/event-1-3.mp4"
        assert await location.find(video, None) is not None
    assert (tmp_path / "videos/2026/03/event-1-3.mp4").read_bytes() == video.path.read_bytes()


@pytest.mark.parametrize("name", ["../../etc/cron.d/x", "/etc/cron.d/x", "a/../../x"])
async def test_a_row_leads_nowhere_else(place: Local, video: Video, name: str) -> None:
    """A name on the row that leads out of the folder is refused: others can write rows."""
    with pytest.raises(LocationRefusedError, match="leads out"):
        await deliver(place, video, Row(session={"name": name}))


async def test_two_cutters_deliver_the_same_at_once(place: Local, video: Video, tmp_path: Path) -> None:
    """Two that deliver the same at the same time leave one video."""
    found = await asyncio.gather(*(deliver(place, video) for _ in range(4)))
    assert len({*found}) == 1
    assert len(names(tmp_path)) == 2
