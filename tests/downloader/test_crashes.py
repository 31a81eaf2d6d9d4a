"""The downloader dies again and again, at every step that it takes on disk: in the end the store is complete.

On a virtual clock a death is that of the disk: from one step on nothing is written any more, whatever still runs. Real
processes are killed too.
"""

import asyncio
import os
import random
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import pytest

from broadcast import Script
from common import recording
from common.segments import SegmentType
from common.store import Store
from downloader.main import Config, parse_channels, run
from downloads import stored
from faults import SEGMENTS, trickles
from log_events import log_events
from origin import Fault, serving_broadcasts
from reckoning import Reckoning
from services import service
from virtual_recording import until, use_virtual_times
from virtual_time import START, run_virtually, virtual_loop

SEEDS = range(3)


class DiedError(BaseException):
    """Nobody handles a death."""


class Disk:
    """The steps that are taken on disk, and the one at which the downloader dies: before, amid or after it."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.steps_left = 0
        self.amid = False
        self.died = asyncio.Event()
        self._opened: list[IO[bytes]] = []
        self._loop = virtual_loop()
        self._dead = False
        for owner, name in (
            *((Path, name) for name in ("mkdir", "open", "rename", "unlink")),
            *((os, name) for name in ("utime", "fsync")),
            (recording.SegmentWriter, "write"),
        ):
            monkeypatch.setattr(owner, name, self._step(name, getattr(owner, name)))

    def live(self, steps: int, *, amid: bool) -> None:
        """Live on, for so many steps."""
        self.steps_left, self.amid, self._dead = steps, amid, False
        self.died.clear()

    def bury(self) -> None:
        """Close the files of a process that is dead, as the kernel does, and let go of its locks."""
        for file in self._opened:
            file.close()
        self._opened.clear()

    def _act(self, name: str, act: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - any step
        done = act(*args, **kwargs)
        if name == "open":
            self._opened.append(done)
        return done

    def _step(self, name: str, act: Callable[..., Any]) -> Callable[..., Any]:
        def stepped(*args: Any, **kwargs: Any) -> Any:  # noqa: ANN401 - whatever it takes and gives
            if self._dead:
                raise DiedError
            self.steps_left -= 1
            if self.steps_left > 0:
                return None if name == "fsync" else self._act(name, act, *args, **kwargs)
            if self.amid and name == "write":
                writer, data = args
                act(writer, data[: len(data) // 2])
            elif self.amid and name != "fsync":
                self._act(name, act, *args, **kwargs)
            self._dead = True
            self._loop.call_soon_threadsafe(self.died.set)
            raise DiedError

        return stepped


@pytest.mark.parametrize("seed", SEEDS)
def test_a_death_at_any_step_on_disk_costs_nothing(store: Store, monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    """However often it dies, at whatever steps: what is full is whole, and what was under way is fetched again."""
    use_virtual_times(monkeypatch)
    dice = random.Random(seed)
    script = Script(count=80, window=20, every_map=(0, 0, 12)[seed])

    async def main() -> None:
        lives = 0
        # nobody is left to hear of how things ended
        virtual_loop().set_exception_handler(lambda *_: None)
        with log_events():
            async with serving_broadcasts(virtual_loop().time, START) as origin:
                show = origin.show("chan", script)
                config = Config(store.base, parse_channels((f"chan={origin.url('chan')}",)), ("source",), "", None)
                disk = Disk(monkeypatch)
                while virtual_loop().time() < show.over:
                    lives += 1
                    disk.live(dice.randint(10, 70), amid=dice.random() < 0.5)
                    await die(config, disk, show.over)
                    await until(virtual_loop().time() + dice.uniform(0, 2))
                disk.live(1_000_000, amid=False)
                await die(config, disk, show.over + 30)
        assert lives > 10
        reckoning = Reckoning(show, stored(store))
        check(reckoning)
        assert any(segment.type is SegmentType.PARTIAL for segment in reckoning.stored)

    run_virtually(main())


async def die(config: Config, disk: Disk, end: float) -> None:
    """Run a downloader until it dies, or until the end."""
    stop = asyncio.Event()
    running = asyncio.create_task(run(config, stop))
    with suppress(TimeoutError):
        async with asyncio.timeout_at(end):
            await disk.died.wait()
    if disk.died.is_set():
        running.cancel()
    stop.set()
    with suppress(DiedError, BaseExceptionGroup, asyncio.CancelledError):
        await running
    disk.bury()


def check(reckoning: Reckoning) -> None:
    """Hold the store against the origin: all of it is there, and nothing is left half-written."""
    faults = [fault for fault in reckoning.faults() if "a temp is left" not in fault]
    assert faults == []
    programme = {item.number for item in reckoning.show.items}
    assert {n for n, found in reckoning.whole().items() if any(s.type is SegmentType.FULL for s in found)} == programme
    # one that is empty may be just there: it is left alone for a minute
    left = {segment: data for segment, data in reckoning.stored.items() if segment.type is SegmentType.TEMP}
    assert not any(left.values())


async def test_real_processes_are_killed_again_and_again(store: Store, tmp_path: Path) -> None:
    """After each kill -9 the next process goes on: all is there in the end, and each segment once."""
    loop = asyncio.get_running_loop()
    began = loop.time()
    slow = Fault("slow", SEGMENTS, trickles(0.2, pieces=4), lets_through=True)
    async with serving_broadcasts(lambda: loop.time() - began, START) as origin:
        # all of it is listed from the start
        show = origin.show("chan", Script(count=24, window=40, lead=60, packets=400), [slow])
        for kills in (3, 5, 0):
            arguments = ("--base-dir", str(store.base), f"chan={origin.url('chan')}")
            async with service("downloader", *arguments, folder=tmp_path) as downloader:
                for _ in range(kills or 24 - len(Reckoning(show, stored(store)).whole())):
                    await downloader.next("segment_committed")
                if kills:
                    downloader.process.kill()
                else:
                    downloader.process.terminate()
                await downloader.end()
    check(Reckoning(show, stored(store)))
