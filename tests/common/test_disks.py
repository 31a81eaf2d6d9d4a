"""The disks of our folders: what is free, and how long that lasts."""

import asyncio
import math
import shutil
from pathlib import Path

from structlog.testing import capture_logs

from common import metrics
from common.disks import Disk, Growth, watch_disks


def shown(name: str, folder: str) -> float:
    (line,) = (
        line for line in metrics.render().decode().splitlines() if line.startswith(f'{name}{{folder="{folder}"}}')
    )
    return float(line.split()[-1])


def rate(growth: Growth) -> float | None:
    return growth.per_second


def test_growth_is_that_of_the_last_looks() -> None:
    """The rate is told from a minute on, and is that of the last quarter of an hour."""
    growth = Growth()
    for second in range(0, 60, 15):
        growth.saw(10.0 * second, second)
        assert rate(growth) is None
    growth.saw(600.0, 60)
    assert rate(growth) == 10.0
    for second in range(75, 60 + 901, 15):
        growth.saw(600.0 + 2.0 * (second - 60), second)
    assert rate(growth) == 2.0


async def test_the_disks_of_folders_are_shown(tmp_path: Path) -> None:
    """Free and total bytes are those that the system tells of each folder's disk."""
    stop = asyncio.Event()
    stop.set()
    await watch_disks([Disk("here", tmp_path), Disk("there", tmp_path)], stop)
    total, _, free = shutil.disk_usage(tmp_path)
    for name in ("here", "there"):
        assert shown("respool_disk_total_bytes", name) == total
        assert math.isclose(shown("respool_disk_free_bytes", name), free, rel_tol=0.5)


def test_what_is_free_lasts_as_long_as_it_is_written_to_as_now(tmp_path: Path) -> None:
    """What remains is the free bytes at the rate of our own writing; for ever, while nothing is written."""
    written = 0.0
    disk = Disk("store", tmp_path, lambda: written)
    disk.look(0.0)
    disk.look(60.0)
    assert shown("respool_disk_remaining_seconds", "store") == math.inf
    written = 120e6
    disk.look(120.0)
    free = shown("respool_disk_free_bytes", "store")
    assert shown("respool_disk_remaining_seconds", "store") == free / 1e6


def test_a_folder_that_has_gone_has_no_size(tmp_path: Path) -> None:
    """Where a folder cannot be asked there is no number, and the log says why, once."""
    disk = Disk("gone", tmp_path / "gone")
    with capture_logs() as logs:
        disk.look(0.0)
        disk.look(15.0)
    assert math.isnan(shown("respool_disk_free_bytes", "gone"))
    assert [(entry["event"], entry["reason"]) for entry in logs] == [("disk_unknown", "No such file or directory")]
