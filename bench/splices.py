"""What cuts that copy cost: against `cat` of the same segments and against ffmpeg's own stream copy, in one run."""

import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from statistics import median
from urllib.parse import urlencode
from urllib.request import urlopen

from bench.recording import recording
from bench.segments import running_restreamer
from bench.store import START
from common.cuts import CutType, VideoRange
from common.cutting import Order, gather, make_rough, make_smart
from common.dateutil import format_utc
from common.encoding import Container
from common.ffmpeg import find_ffmpeg
from common.sidecar import FactsStore
from common.store import Store
from common.transitions import Transition

ROUNDS = 3
MINUTE, TEN_MINUTES = timedelta(minutes=1), timedelta(minutes=10)
# Neither end lies where a GOP does.
BEGIN = START + timedelta(seconds=5.3)
SOURCES = {"no B-frames": 0, "B-frames": 3}
AROUND_A_FADE = (
    VideoRange(BEGIN, BEGIN + timedelta(seconds=10)),
    VideoRange(BEGIN + timedelta(seconds=60), BEGIN + timedelta(seconds=70)),
)
MEGABYTE = 1 << 20
SAMPLE_SECONDS = 0.02


@dataclass(frozen=True, slots=True)
class Timed:
    """What a cut took and what the floors of the same round did, in seconds."""

    ours: float
    cat: float
    copy: float


def main() -> None:
    """Print the table."""
    print("| cut | seconds | times `cat` | times ffmpeg's copy | target |\n| --- | ---: | ---: | ---: | ---: |")
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as name:
        folder = Path(name)
        stores = {kind: recording(b_frames) for kind, b_frames in SOURCES.items()}
        _row("rough, 10 min", _rounds(stores["no B-frames"], TEN_MINUTES, folder, rough), "≤ 2 times `cat`")
        for kind, base in stores.items():
            _row(f"smart, 60 s, {kind}", _rounds(base, MINUTE, folder, smart), "≤ 1.7 s")
            _row(f"smart, 10 min, {kind}", _rounds(base, TEN_MINUTES, folder, smart), "≤ 2.4 s, below the copy")
        print("\n| what | measured | target |\n| --- | ---: | ---: |")
        for kind, base in stores.items():
            for length, text in ((MINUTE, "60 s"), (TEN_MINUTES, "10 min")):
                print(f"| first byte of a fast cut, {text}, {kind} | {first_byte(base, length):.2f} s | ≤ 0.5 s |")
            memory = peak_memory(base, folder, "--range", *_spoken(VideoRange(BEGIN, BEGIN + TEN_MINUTES)))
            print(f"| peak memory of a smart cut, 10 min, {kind} | {memory:.0f} MB | ≤ 250 MB |")
            print(f"| two ranges of 10 s and a fade of one, smart, {kind} | {faded(base, folder):.2f} s | ≤ 4 s |")
            words = [word for each in AROUND_A_FADE for word in ("--range", *_spoken(each))]
            memory = peak_memory(base, folder, *words, "--transition", "fade,1")
            print(f"| peak memory of that, {kind} | {memory:.0f} MB | ≤ 500 MB |")
            begun, whole = preview(base)
            print(f"| preview of the fade, first byte / whole, {kind} | {begun:.2f} / {whole:.2f} s | ≤ 1 s |")
            print(f"| a frame as PNG, {kind} | {frame(base):.2f} s |  |")


def _row(name: str, taken: list[Timed], target: str) -> None:
    seconds = median(each.ours for each in taken)
    ratios = [median(each.ours / floor for each, floor in zip(taken, floors, strict=True)) for floors in _floors(taken)]
    print(f"| {name} | {seconds:.2f} | {ratios[0]:.1f} | {ratios[1]:.2f} | {target} |", flush=True)


def _floors(taken: list[Timed]) -> tuple[list[float], list[float]]:
    return [each.cat for each in taken], [each.copy for each in taken]


def _rounds(
    base: Path, length: timedelta, folder: Path, cut: Callable[[Path, VideoRange, Path], object]
) -> list[Timed]:
    """Take turns, so that a busy moment meets all; the first round is to warm up."""
    taken = []
    wanted = VideoRange(BEGIN, BEGIN + length)
    paths = segments(base, wanted)
    for _ in range(ROUNDS + 1):
        floors = seconds(partial(cat, paths, folder)), seconds(partial(copy, paths, folder))
        taken.append(Timed(seconds(partial(cut, base, wanted, folder / "ours.ts")), *floors))
    return taken[1:]


def seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def segments(base: Path, wanted: VideoRange) -> list[Path]:
    store = Store(base)
    found = store.sequence("chan", "source", *wanted).segments
    return [store.segment_path("chan", "source", segment) for segment in found]


def order(wanted: VideoRange) -> Order:
    return Order("chan", "source", (wanted,))


def rough(base: Path, wanted: VideoRange, output: Path) -> None:
    store = Store(base)
    asyncio.run(make_rough(gather(store, FactsStore(store), order(wanted), timedelta(0)), output))


def smart(base: Path, wanted: VideoRange, output: Path) -> None:
    store = Store(base)
    wanted_of = order(wanted)
    gathered = gather(store, FactsStore(store), wanted_of)
    made = asyncio.run(make_smart(gathered, wanted_of, Container.MPEGTS, output))
    assert made.kind is CutType.SMART, made.reason


def cat(paths: list[Path], folder: Path) -> None:
    with (folder / "cat.ts").open("wb") as output:
        subprocess.run(["/bin/cat", *map(str, paths)], stdout=output, check=True)


def copy(paths: list[Path], folder: Path) -> None:
    """Let ffmpeg put the segments together, without a look inside the pictures."""
    names = folder / "list.txt"
    names.write_text("".join(f"file '{path}'\n" for path in paths))
    command = [find_ffmpeg(), "-v", "error", "-nostdin", "-y", "-f", "concat", "-safe", "0", "-i", str(names)]
    subprocess.run([*command, "-c", "copy", str(folder / "copy.ts")], check=True)


def first_byte(base: Path, length: timedelta) -> float:
    """Give the seconds from a request to the first byte of the video, from a restreamer of its own."""
    query = urlencode({"type": "fast", "start": format_utc(BEGIN), "end": format_utc(BEGIN + length)})
    with running_restreamer(base, 1) as port:
        return median(_first_byte(f"http://127.0.0.1:{port}/cut/chan/source.ts?{query}") for _ in range(ROUNDS))


def _first_byte(url: str) -> float:
    began = time.perf_counter()
    with urlopen(url) as response:  # noqa: S310 - our own
        assert response.read(1)
        return time.perf_counter() - began


# Transitions, and pictures --------------------------------------------------------------------------------------------


def faded(base: Path, folder: Path) -> float:
    """Give the seconds that two ranges with a fade between them take, to the frame."""
    fade = Transition("fade", timedelta(seconds=1))
    wanted = Order("chan", "source", AROUND_A_FADE, transitions=(fade,))

    def cut() -> None:
        store = Store(base)
        gathered = gather(store, FactsStore(store), wanted)
        made = asyncio.run(make_smart(gathered, wanted, Container.MPEGTS, folder / "faded.ts"))
        assert made.kind is CutType.SMART, made.reason

    return median(seconds(cut) for _ in range(ROUNDS))


def preview(base: Path) -> tuple[float, float]:
    """Give the seconds from a request to the first byte of a preview, and to its last."""
    ranges = [("range", ",".join(_spoken(each))) for each in AROUND_A_FADE]
    query = urlencode([ranges[0], ("transition", "fade,1"), ranges[1]])
    with running_restreamer(base, 1) as port:
        url = f"http://127.0.0.1:{port}/preview/chan/source.mp4?{query}"
        taken = [(_first_byte(url), seconds(partial(_whole, url))) for _ in range(ROUNDS)]
    return median(begun for begun, _ in taken), median(whole for _, whole in taken)


def frame(base: Path) -> float:
    """Give the seconds that a frame in the midst of a GOP takes, another one each time."""
    moments = [BEGIN + timedelta(seconds=20.7 + 3.3 * number) for number in range(5)]
    with running_restreamer(base, 1) as port:
        url = f"http://127.0.0.1:{port}/frame/chan/source.png"
        return median(seconds(partial(_whole, f"{url}?timestamp={format_utc(moment)}")) for moment in moments)


def _whole(url: str) -> None:
    with urlopen(url) as response:  # noqa: S310 - our own
        assert response.read()


def _spoken(wanted: VideoRange) -> tuple[str, str]:
    return format_utc(wanted.start), format_utc(wanted.end)


# Memory ---------------------------------------------------------------------------------------------------------------


def peak_memory(base: Path, folder: Path, *words: str) -> float:
    """Give the most megabytes that `respool cut` and all that it starts have at once, shared ones by their share."""
    command = [sys.executable, "-m", "respool", "cut", "chan/source", *words]
    command += ["-o", str(folder / "ours.ts"), "--overwrite", "--base-dir", str(base), "--type", "smart"]
    peak = 0
    with _started(command) as process:
        while process.poll() is None:
            peak = max(peak, sum(map(_proportional, _tree(process.pid))))
            time.sleep(SAMPLE_SECONDS)
    assert process.returncode == 0
    return peak / MEGABYTE


@contextmanager
def _started(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as process:
        try:
            yield process
        finally:
            process.kill()


def _tree(pid: int) -> Iterator[int]:
    yield pid
    try:
        children = [task.read_text().split() for task in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:  # a task, or all of them, has ended
        return
    for child in {int(child) for each in children for child in each}:
        yield from _tree(child)


def _proportional(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith("Pss:"))
