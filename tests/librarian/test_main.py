"""The librarian as a real process: it deletes, is killed, goes on, stops; and it is quiet."""

import ctypes
import os
import platform
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path

import pytest
from click.testing import CliRunner

from common.dateutil import HOUR, floor_hour, hour_name
from common.expired import Expired
from common.store import Store
from librarian.deletion import Queue
from librarian.main import cli
from librarian.quiet import be_quiet
from services import service

Fill = Callable[..., list[str]]

THIS_HOUR = floor_hour(datetime.now(UTC))


def test_quiet_threads_come_last() -> None:
    """A quiet thread has the lowest priority at the processor and the idle class at the disk; others are as before."""
    numbers = {"x86_64": 252, "aarch64": 31}
    if platform.machine() not in numbers:
        pytest.skip(f"What the system call ioprio_get is on {platform.machine()} is not known here.")

    def priorities() -> tuple[int, int]:
        disk = ctypes.CDLL(None).syscall(numbers[platform.machine()], 1, 0)
        return os.getpriority(os.PRIO_PROCESS, threading.get_native_id()), disk >> 13

    before = priorities()
    with ThreadPoolExecutor(1, initializer=be_quiet) as quiet:
        assert quiet.submit(priorities).result() == (19, 3)
    assert priorities() == before


def recorded(store: Store) -> list[str]:
    """The hours of which more is left than tombstones."""
    return [hour for hour in store.hours("chan", "source") if store.names("chan", "source", hour)]


async def test_killed_it_goes_on_where_it_was(store: Store, fill: Fill, tmp_path: Path, postgres_dsn: str) -> None:
    """Killed while it empties its queue, it finishes that when it is started again; told to stop, it ends well."""
    for ago in range(10, 30):
        fill(hour_name(THIS_HOUR - ago * HOUR), segments=40, hidden=1)
    arguments = ("--base-dir", str(store.base), "--database", postgres_dsn, "--max-age", "20h", "--max-size", "400kB")
    async with service("librarian", *arguments, folder=tmp_path) as librarian:
        await librarian.next("hour_deleted", reason="age")
        librarian.process.kill()
        assert await librarian.end() < 0
    async with service("librarian", *arguments, folder=tmp_path) as librarian:
        while len(recorded(store)) > 10 or Queue(store).entries():
            await librarian.next("hour_removed")
        librarian.process.terminate()
        assert await librarian.end() == 0
    hours, kept = store.hours("chan", "source"), recorded(store)
    assert len(hours) == 20
    assert kept == [hour_name(THIS_HOUR - each * HOUR) for each in range(19, 9, -1)]
    assert Expired(store.base).hours("chan", "source") == set(hours) - set(kept)
    assert [event["event"] for event in librarian.events if event["level"] != "info"] == []


def test_it_must_know_what_events_need() -> None:
    """Without a database it must be said that there is none."""
    result = CliRunner().invoke(cli, ["--max-age", "30d"])
    assert result.exit_code == 2
    assert "say --without-database" in result.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--max-age", "soon"), "'soon' is not an age such as 36h, 30d or 8w"),
        (("--max-age", "720p=7d"), "'720p' is not CHANNEL/QUALITY"),
        (("--max-size", "big"), "'big' is not a size such as 500GB"),
        (("--min-free", "-1"), "'-1' is not a size"),
    ],
)
def test_mistakes_are_told(arguments: tuple[str, ...], sentence: str) -> None:
    """A limit that is none is told in a sentence."""
    result = CliRunner().invoke(cli, [*arguments, "--without-database"])
    assert result.exit_code == 2
    assert sentence in result.stderr
