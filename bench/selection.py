"""How long the best sequence takes, first and again, against a bare listing of the same folders.

What counts is the processor's time: with the page cache warm nothing here waits, and other programs disturb it less.
"""

import gc
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from statistics import median

from bench.store import PER_HOUR, START, generated
from common import logs
from common.dateutil import HOUR
from common.service import tune
from common.store import Store

RANGES = {"1 hour": 1, "12 hours": 12, "24 hours": 24, "7 days": 7 * 24}
RUNS = 5
WARM_RUNS = 5
MEGABYTE = 1_000_000

COLUMNS = ["store", "range", "floor ms", "cold ms", "warm ms"]
COLUMNS += ["cold / floor", "target", "warm / floor", "target", "peak MB", "target"]

# Times the floor: cold, warm; megabytes for the longest range.
TARGETS = {"clean": (5.0, 0.15, 250), "messy": (5.0, 0.10, 400)}


@dataclass(frozen=True, slots=True)
class Sample:
    """One run in a process of its own: seconds, and the bytes that the process took at most."""

    floor: float
    cold: float
    warm: float
    peak: int


def main() -> None:
    """Print the table."""
    print(f"| {' | '.join(COLUMNS)} |")
    print(f"| --- | --- {'| ---: ' * (len(COLUMNS) - 2)}|")
    for kind in TARGETS:
        with generated(max(RANGES.values()), messy=kind == "messy") as base:
            for text, hours in RANGES.items():
                print(_row(kind, text, hours, [_sample(base, hours) for _ in range(RUNS)]), flush=True)


def _row(kind: str, text: str, hours: int, samples: list[Sample]) -> str:
    floor, cold, warm = (median(getattr(s, field) for s in samples) for field in ("floor", "cold", "warm"))
    peak = median(sample.peak for sample in samples) / MEGABYTE
    target_cold, target_warm, target_peak = TARGETS[kind]
    cells = [kind, text, *(f"{seconds * 1000:.2f}" for seconds in (floor, cold, warm))]
    cells += [f"{median(s.cold / s.floor for s in samples):.2f}", f"≤ {target_cold:g}"]
    cells += [f"{median(s.warm / s.floor for s in samples):.3f}", f"≤ {target_warm:g}"]
    cells += [f"{peak:.0f}", f"≤ {target_peak}" if hours == max(RANGES.values()) else ""]
    return f"| {' | '.join(cells)} |"


def _sample(base: Path, hours: int) -> Sample:
    done = subprocess.run(
        [sys.executable, "-m", "bench.selection", str(base), str(hours)], stdout=subprocess.PIPE, check=True
    )
    return Sample(**json.loads(done.stdout))


def measure(base: Path, hours: int) -> Sample:
    """Measure in this process, which should be fresh: the floor, a store that knows nothing, the same store again."""
    folders = sorted((base / "chan/source").iterdir())[:hours]
    floor = median(_list(folders) for _ in range(3))
    gc.collect()
    store = Store(base)
    cold = _choose(store, hours)
    warm = median(_choose(store, hours) for _ in range(WARM_RUNS))
    return Sample(floor, cold, warm, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)


def _list(folders: list[Path]) -> float:
    began = time.process_time()
    for folder in folders:
        with os.scandir(folder) as entries:
            for _ in entries:
                pass
    return time.process_time() - began


def _choose(store: Store, hours: int) -> float:
    began = time.process_time()
    sequence = store.sequence("chan", "source", START, START + hours * HOUR - timedelta(seconds=1))
    seconds = time.process_time() - began
    assert 0.98 * PER_HOUR * hours < len(sequence.segments) <= PER_HOUR * hours
    return seconds


if __name__ == "__main__":
    logs.configure("warning")
    tune()
    print(json.dumps(asdict(measure(Path(sys.argv[1]), int(sys.argv[2])))))
