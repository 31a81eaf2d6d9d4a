"""How metrics are named and shown."""

import os
import subprocess
import sys
from pathlib import Path

from common import metrics

COUNTING = """
import os
from common import metrics
metrics.counter("test_things", "Things.").inc(3)
metrics.gauge("test_open", "Open now.").set(5)
metrics.gauge("test_newest_seconds", "The newest.", together="livemax").set({newest})
print(os.getpid(), flush=True)
input()
print(metrics.render().decode())
"""


def test_names_and_texts() -> None:
    """A metric is named and shown as Prometheus has it: our prefix, the kind's or the unit's ending, its labels."""
    metrics.counter("test_things", "Things counted.", "channel").labels("chan").inc(3)
    metrics.gauge("test_level_bytes", "How much there is.").set(7)
    metrics.seconds("test_work", "Time to work.").observe(0.02)
    text = metrics.render().decode()
    for line in (
        "# HELP respool_test_things_total Things counted.",
        'respool_test_things_total{channel="chan"} 3.0',
        "respool_test_level_bytes 7.0",
        'respool_test_work_seconds_bucket{le="0.01"} 0.0',
        'respool_test_work_seconds_bucket{le="0.025"} 1.0',
    ):
        assert f"{line}\n" in text


def test_several_processes_show_the_same(tmp_path: Path) -> None:
    """Processes that share their metrics show their sum, or for a gauge what was chosen; one that died counts on."""
    environment = os.environ | {metrics.SHARED: str(tmp_path)}
    processes = []
    for newest in (7, 8, 6):
        command = [sys.executable, "-c", COUNTING.format(newest=newest)]
        pipe = subprocess.PIPE
        processes.append(subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment))
    numbers = [int(process.stdout.readline()) for process in processes if process.stdout]
    processes[1].kill()
    processes[1].communicate()
    metrics.forget(numbers[1], str(tmp_path))
    shown = processes[0].communicate("\n")[0]
    processes[2].communicate("\n")
    for line in ("respool_test_things_total 9.0", "respool_test_open 10.0", "respool_test_newest_seconds 7.0"):
        assert f"{line}\n" in shown
