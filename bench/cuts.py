"""What cuts cost, against the same ffmpeg alone: both on this machine, in one run."""

import asyncio
import os
import resource
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from statistics import median

import structlog

from bench import splices
from common.encoding import EncodingSettings, VideoFormat, audio_options, container_options, video_options
from common.ffmpeg import find_ffmpeg, run
from common.full_cut import Sound, Source, full_command
from common.ticks import TICKS
from common.transitions import Transition

FFMPEG = find_ffmpeg()
RATE = 60
SECONDS = 4
PICTURE = VideoFormat("h264", 1920, 1080, rate=Fraction(RATE))
SOUND = Sound(48_000, 2)
ROUNDS = 3
TARGET_FULL = 1.03
# The runner lowers ffmpeg's priority, so the one that it is compared with has it lowered too.
NICE = ["nice", "-n", "10"]
READ_BYTES = 1 << 18


@dataclass(frozen=True, slots=True)
class Cost:
    """What something took: by the clock, and of the processors in all processes together."""

    seconds: float
    cpu_seconds: float


def main() -> None:
    """Print the tables."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(40))
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as name:
        folder = Path(name)
        source = make_source(folder / "source.ts")
        # in turns, so that a busy moment meets both
        runs = [(plain(source, folder), full(source, folder, None)) for _ in range(ROUNDS)]
        crossed = [full(source, folder, Transition("fade", timedelta(seconds=1))) for _ in range(ROUNDS)]
    print(f"| full cut of {SECONDS} s, 1080p60 | seconds | CPU seconds | times plain ffmpeg | CPU | target |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    print(_row("plain ffmpeg, same arguments", [one for one, _ in runs], [one for one, _ in runs], ""))
    print(_row("full", [two for _, two in runs], [one for one, _ in runs], f"≤ {TARGET_FULL}"))
    print(_row("two halves and a fade of 1 s", crossed, [one for one, _ in runs], ""))
    print()
    splices.main()
    print(f"\nLoad over the last minute: {os.getloadavg()[0]:.1f}.")


def _row(name: str, costs: list[Cost], floors: list[Cost], target: str) -> str:
    pairs = list(zip(costs, floors, strict=True))
    cells = [
        f"{median(cost.seconds for cost in costs):.2f}",
        f"{median(cost.cpu_seconds for cost in costs):.2f}",
        f"{median(cost.seconds / floor.seconds for cost, floor in pairs):.3f}",
        f"{median(cost.cpu_seconds / floor.cpu_seconds for cost, floor in pairs):.3f}",
    ]
    return f"| {name} | {' | '.join(cells)} | {target} |"


def make_source(path: Path) -> Path:
    """Encode what the targets name: 6.4 Mbit/s, a key frame every two seconds, no B-frames."""
    command = [FFMPEG, "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s=1920x1080:r={RATE}:d={SECONDS}"]
    command += ["-f", "lavfi", "-i", f"sine=440:d={SECONDS}:r=48000", "-ac", "2", "-c:a", "aac", "-b:v", "6400k"]
    command += ["-c:v", "libx264", "-preset", "superfast", "-pix_fmt", "yuv420p", "-g", str(2 * RATE), "-bf", "0"]
    subprocess.run([*command, "-muxdelay", "0", "-muxpreload", "0", "-output_ts_offset", "10", str(path)], check=True)
    return path


def plain(source: Path, folder: Path) -> Cost:
    """What ffmpeg takes that reads the file itself and has no graph of filters."""
    settings = EncodingSettings()
    options = video_options(settings, Fraction(RATE)) | audio_options(settings) | container_options(settings)
    words = [word for name, value in options.items() for word in (f"-{name}", value)]
    command = [*NICE, FFMPEG, "-v", "error", "-nostdin", "-y", "-i", str(source), *words, str(folder / "plain.mp4")]
    return measured(lambda: subprocess.run(command, check=True))


def full(source: Path, folder: Path, transition: Transition | None) -> Cost:
    """What a full cut of all of it takes, fed through a pipe, in one range or two halves."""
    marks = [0, SECONDS] if transition is None else [0, SECONDS // 2, SECONDS]
    ranges = [Source((10 + a) * TICKS, (10 + b) * TICKS, PICTURE, (SOUND,)) for a, b in pairwise(marks)]
    between = [transition] * (len(ranges) - 1)
    command = full_command(FFMPEG, ranges, between, EncodingSettings(), str(folder / "full.mp4"))
    feeds = [read(source) for _ in ranges]
    return measured(lambda: asyncio.run(run(command.arguments, inputs=feeds, timeout=3600, purpose="full")))


async def read(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(READ_BYTES):
            yield chunk


def measured(work: Callable[[], object]) -> Cost:
    """What `work` took, here and in the processes that it waited for."""
    began, before = time.perf_counter(), cpu_seconds()
    work()
    return Cost(time.perf_counter() - began, cpu_seconds() - before)


def cpu_seconds() -> float:
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(each.ru_utime + each.ru_stime for each in used)
