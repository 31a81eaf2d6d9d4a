"""The slots of encodes: real locks, two processes."""

import asyncio
import subprocess
import sys
from pathlib import Path

import pytest

from common.encode_slots import encode_limit, encode_slot
from common.errors import UserError
from log_events import PATIENCE_SECONDS, log_events

HOLDER = """
import asyncio, sys
from pathlib import Path
from common.encode_slots import encode_slot

async def hold():
    async with encode_slot("test", limit=1, folder=Path(sys.argv[1])):
        print("held", flush=True)
        await asyncio.Event().wait()

asyncio.run(hold())
"""


async def test_another_process_holds_a_slot_until_it_is_killed(tmp_path: Path) -> None:
    """While another process has the only slot we wait, and get it when that process is killed."""
    folder = tmp_path / "slots"
    holder = await asyncio.create_subprocess_exec(sys.executable, "-c", HOLDER, str(folder), stdout=subprocess.PIPE)
    assert holder.stdout is not None
    assert await asyncio.wait_for(holder.stdout.readline(), PATIENCE_SECONDS) == b"held\n"

    async def encode() -> int | None:
        async with encode_slot("test", limit=1, folder=folder):
            return holder.returncode

    with log_events() as events:
        waiting = asyncio.create_task(encode())
        await events.wait("encode_waits")
    assert not waiting.done()
    holder.kill()
    await holder.communicate()
    assert await asyncio.wait_for(waiting, PATIENCE_SECONDS) == -9


async def test_as_many_run_at_once_as_there_are_slots(tmp_path: Path) -> None:
    """Of many, no more than the limit hold a slot at once, and all have their turn."""
    running = most = 0

    async def encode() -> None:
        nonlocal running, most
        async with encode_slot("test", limit=2, folder=tmp_path / "slots"):
            running += 1
            most = max(most, running)
            await asyncio.sleep(0)
            running -= 1

    async with asyncio.timeout(PATIENCE_SECONDS):
        await asyncio.gather(*(encode() for _ in range(7)))
    assert (most, running) == (2, 0)


async def test_who_stops_waiting_holds_nothing(tmp_path: Path) -> None:
    """A wait that is cancelled leaves the slot to others, and so does a block that fails."""
    folder = tmp_path / "slots"

    async def encode() -> None:
        async with encode_slot("test", limit=1, folder=folder):
            raise LookupError

    async with encode_slot("test", limit=1, folder=folder):
        waiting = asyncio.create_task(encode())
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.wait({waiting})
    with pytest.raises(LookupError):
        await encode()
    async with asyncio.timeout(PATIENCE_SECONDS), encode_slot("test", limit=1, folder=folder):
        pass


async def test_a_folder_of_others_is_refused(tmp_path: Path) -> None:
    """A folder that others can write to, and a link to elsewhere, are refused with a sentence."""
    (tmp_path / "open").mkdir()
    (tmp_path / "open").chmod(0o777)
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    for name in ("open", "link", "file"):
        with pytest.raises(UserError, match=name):
            async with encode_slot("test", limit=1, folder=tmp_path / name):
                pass


async def test_slots_are_the_users_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By default the slots lie in a folder of the user's own among the temporary files."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    async with encode_slot("test"):
        (folder,) = tmp_path.iterdir()
        assert folder.stat().st_mode & 0o777 == 0o700
        assert [slot.name for slot in folder.iterdir()] == ["encode-0"]


def test_the_limit_is_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    """RESPOOL_ENCODES is the limit, if it is a whole number from 1; without it, there is at least one slot."""
    monkeypatch.delenv("RESPOOL_ENCODES", raising=False)
    assert encode_limit() >= 1
    monkeypatch.setenv("RESPOOL_ENCODES", "3")
    assert encode_limit() == 3
    for wrong in ("0", "-1", "many", "", "1.5"):
        monkeypatch.setenv("RESPOOL_ENCODES", wrong)
        with pytest.raises(UserError, match="whole number from 1"):
            encode_limit()
