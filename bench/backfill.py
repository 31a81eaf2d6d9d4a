"""How fast an hour comes from another node, and what a look costs when nothing is missing.

The node that has all is a restreamer in a process of its own, on the same cores. Floors are rsync's daemon, which sends
the same files by a protocol of its own, wget, and a client of aiohttp's that only writes down what comes; the last two
fetch from that restreamer. None of them brings files to disk for good, and only we hold them against their hashes.

    python -m bench backfill [--files 1800] [--runs 3] [--days 7 30]
"""

import argparse
import asyncio
import json
import os
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from statistics import median

import aiohttp

from bench.segments import free_port, running
from bench.store import LASTS, PER_HOUR, START, generated
from common.dateutil import hour_name
from common.segments import SegmentType, content_hash, make_segment

FILE_BYTES = 1_000_000
RUNS = 3
PASSES = 5
HOUR = Path("chan/source", hour_name(START))

# Of rsync's speed; seconds of processor time for an hour, fetching and serving together; seconds of a pass, by days.
TARGET_SPEED, TARGET_CPU, TARGET_PASS = 0.65, 6.0, {7: 0.05, 30: 0.1}

# As many as we fetch at once by default.
_AT_ONCE = 4
_CHUNK_BYTES = 1 << 20

RSYNCD = """
use chroot = no
port = {port}
address = 127.0.0.1
pid file = {folder}/pid
lock file = {folder}/lock
log file = {folder}/log
[store]
path = {base}
read only = yes
{user}
"""

_TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Node:
    """A node that has all: its store, its port, and the process that serves it."""

    base: Path
    port: int
    process: "subprocess.Popen[bytes]"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """Give the seconds of processor's time that it has taken."""
        # behind the name, which may hold spaces: utime and stime are fields 14 and 15 of all (proc(5))
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / _TICKS


@dataclass(frozen=True, slots=True)
class Sample:
    """One fetch of an hour: its seconds, and the processor's time that fetching and serving took."""

    seconds: float
    fetching: float
    serving: float


def main(options: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m bench backfill")
    parser.add_argument("--files", type=int, default=PER_HOUR, help="how many segments of a megabyte the hour has")
    parser.add_argument("--runs", type=int, default=RUNS, help="how often it is fetched, by each")
    parser.add_argument("--days", type=int, nargs="*", default=[*TARGET_PASS], help="how much is gone through in vain")
    wanted = parser.parse_args(options)
    _print_hour(wanted.files, wanted.runs)
    print("\n| nothing is missing | first pass s | next, median s | target |\n| --- | ---: | ---: | ---: |", flush=True)
    for days in wanted.days:
        first, later = _passes(days)
        segments, target = (
            f"{days * 24 * PER_HOUR:,} segments",
            f"≤ {TARGET_PASS[days]:g}" if days in TARGET_PASS else "",
        )
        print(f"| {days} days ({segments}) | {first:.2f} | {later:.3f} | {target} |", flush=True)
    print(f"\nLoad over the last minute: {os.getloadavg()[0]:.1f}.")


# An hour that is all missing -----------------------------------------------------------------------------------------


def _print_hour(files: int, runs: int) -> None:
    print(f"| {files} files of 1 MB | MB/s | of rsync | target | CPU s fetching | serving | both | target |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with ExitStack() as stack:
        base = stack.enter_context(recorded(files))
        node = stack.enter_context(serving(base))
        ways: dict[str, Callable[[Path], Sample]] = {"wget": _by_wget(node), "aiohttp": _by_aiohttp(node)}
        if shutil.which("rsync") is not None:
            ways = {"rsync": stack.enter_context(_rsync(base)), **ways}
        ways["backfiller"] = _by_backfiller(node)
        rounds = [{name: _fetched(files, way) for name, way in ways.items()} for _ in range(runs)]
        for name in ways:
            print(_row(name, files, [(each[name], each.get("rsync")) for each in rounds]), flush=True)
    if "rsync" not in ways:
        print("\nThere is no rsync here to compare with (apt install rsync).")


def _row(name: str, files: int, samples: list[tuple[Sample, Sample | None]]) -> str:
    speed = median(files * FILE_BYTES / sample.seconds / 1e6 for sample, _ in samples)
    fetching, served = (median(getattr(s, field) for s, _ in samples) for field in ("fetching", "serving"))
    ratios = [floor.seconds / sample.seconds for sample, floor in samples if floor is not None]
    is_ours = name == "backfiller"
    cells = [name, f"{speed:.0f}", f"{median(ratios):.2f}" if ratios else "", f"≥ {TARGET_SPEED}" if is_ours else ""]
    cells += [f"{fetching:.1f}", f"{served:.1f}", f"{fetching + served:.1f}"]
    cells.append(f"≤ {TARGET_CPU * files / PER_HOUR:.1f}" if is_ours else "")
    return f"| {' | '.join(cells)} |"


@contextmanager
def recorded(files: int) -> Iterator[Path]:
    """A store of one hour of segments of FILE_BYTES."""
    dice = random.Random(2)
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as base:
        (Path(base) / HOUR).mkdir(parents=True)
        for index in range(files):
            data = dice.randbytes(FILE_BYTES)
            made = make_segment(START + index * LASTS, LASTS, SegmentType.FULL, content_hash(sha256(data).digest()))
            (Path(base) / HOUR / made.name).write_bytes(data)
        os.sync()  # what is still to be written would be measured with the first
        yield Path(base)


@contextmanager
def serving(base: Path) -> Iterator[Node]:
    """A restreamer of one process."""
    port = free_port()
    command = [sys.executable, "-m", "restreamer", "--base-dir", str(base), "--port", str(port)]
    with running([*command, "--log-level", "warning"], port) as process:
        yield Node(base, port, process)


def _fetched(files: int, way: Callable[[Path], Sample]) -> Sample:
    """Fetch all into an empty store, and check that it is there."""
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as base:
        sample = way(Path(base))
        found = [path.stat().st_size for path in Path(base).rglob("*.ts")]
        assert found == [FILE_BYTES] * files, len(found)
    os.sync()
    return sample


def _measured(command: list[str], served: Callable[[], float], **options: str) -> Sample:
    before, before_served, began = resource.getrusage(resource.RUSAGE_CHILDREN), served(), time.perf_counter()
    subprocess.run(command, check=True, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, **options)  # type: ignore[call-overload]
    seconds, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    fetching = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Sample(seconds, fetching, served() - before_served)


def _by_backfiller(node: Node) -> Callable[[Path], Sample]:
    command = [sys.executable, "-m", "backfiller", "--node", node.url, "--run-once", "--log-level", "warning"]
    return lambda base: _measured([*command, "--base-dir", str(base), "chan"], node.cpu)


def _by_wget(node: Node) -> Callable[[Path], Sample]:
    names = sorted(path.name for path in (node.base / HOUR).iterdir())

    def fetch(base: Path) -> Sample:
        (base / "urls").write_text("".join(f"{node.url}/segments/{HOUR}/{name}\n" for name in names))
        return _measured(["wget", "-q", "-i", str(base / "urls"), "-P", str(base)], node.cpu)

    return fetch


def _by_aiohttp(node: Node) -> Callable[[Path], Sample]:
    command = [sys.executable, "-m", "bench.backfill", "aiohttp", node.url]
    return lambda base: _measured([*command, str(base)], node.cpu)


@contextmanager
def _rsync(base: Path) -> Iterator[Callable[[Path], Sample]]:
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as folder:
        user = "uid = root\ngid = root" if os.geteuid() == 0 else ""
        config = Path(folder, "rsyncd.conf")
        config.write_text(RSYNCD.format(port=port, folder=folder, base=base, user=user))
        # it forks for each client, and what those took is its own when it has waited for them
        command = ["rsync", "--daemon", "--no-detach", f"--config={config}"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL) as daemon:
            try:
                yield lambda to: _by_rsync(port, daemon.pid, to)
            finally:
                daemon.terminate()


def _by_rsync(port: int, daemon: int, to: Path) -> Sample:
    command = ["rsync", "-r", f"rsync://127.0.0.1:{port}/store/", f"{to}/"]
    while subprocess.run([*command[:2], f"rsync://127.0.0.1:{port}/"], check=False, capture_output=True).returncode:
        continue  # it has only just been started
    return _measured(command, lambda: _with_children(daemon))


def _with_children(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / _TICKS


async def _fetch_plainly(url: str, base: Path) -> None:
    async with aiohttp.ClientSession() as session:
        async with session.get(f"{url}/files/{HOUR}") as response:
            names: list[str] = await response.json()
        names.reverse()

        async def fetch() -> None:
            while names:
                name = names.pop()
                async with session.get(f"{url}/segments/{HOUR}/{name}") as response:
                    with (base / name).open("wb") as file:
                        async for chunk in response.content.iter_chunked(_CHUNK_BYTES):
                            file.write(chunk)

        await asyncio.gather(*(fetch() for _ in range(_AT_ONCE)))


# Nothing is missing --------------------------------------------------------------------------------------------------


def _passes(days: int) -> tuple[float, float]:
    """Give the seconds of the first pass over two stores that are alike, and the median of those after it.

    Each is made by a process that has just been started, whose start does not count.
    """
    with generated(days * 24) as base, _twin(base) as other, serving(base) as node:
        first, *later = [_pass(other, node.url) for _ in range(1 + PASSES)]
    return first, median(later)


@contextmanager
def _twin(base: Path) -> Iterator[Path]:
    """A store with the same hours, which are not made twice: a million files take long enough."""
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as other:
        quality = Path(other, "chan/source")
        quality.mkdir(parents=True)
        for hour in (base / "chan/source").iterdir():
            (quality / hour.name).symlink_to(hour)
        yield Path(other)


def _pass(base: Path, url: str) -> float:
    command = [sys.executable, "-m", "bench.backfill", "pass", url, str(base)]
    done = subprocess.run(command, stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout))


def _timed_pass(url: str, base: str) -> float:
    cli = import_module("backfiller.main").cli  # the start of a process is not measured
    code: object = None
    began = time.perf_counter()
    try:
        cli.main(["--base-dir", base, "--node", url, "--run-once", "--log-level", "warning", "chan"])
    except SystemExit as ended:
        code = ended.code
    seconds = time.perf_counter() - began
    assert not code, code
    return seconds


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["aiohttp", url, base]:
            asyncio.run(_fetch_plainly(url, Path(base)))
        case ["pass", url, base]:
            print(json.dumps(_timed_pass(url, base)))
        case options:
            main(options)
