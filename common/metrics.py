"""Metrics: how ours are named (Prometheus' conventions, a `respool_` prefix) and how they are shown."""

import os
from typing import Literal

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_LATEST

# Names the folder in which the processes of one service add up their metrics. prometheus_client reads it when it is
# imported: it must be set before a process starts.
SHARED = "PROMETHEUS_MULTIPROC_DIR"

# What several processes show together: the sum of the living, or the greatest or least of them.
Together = Literal["livesum", "livemax", "livemin"]

# From a cached answer to a cut of hours.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


def counter(name: str, text: str, *labels: str) -> Counter:
    """Make the counter `respool_<name>_total`; what it counts is said by `text`. Labels must be bounded."""
    return Counter(f"respool_{name}", text, labels)


def gauge(name: str, text: str, *labels: str, together: Together = "livesum") -> Gauge:
    """Make the gauge `respool_<name>`; a unit, in base units, ends the name."""
    return Gauge(f"respool_{name}", text, labels, multiprocess_mode=together)


def seconds(name: str, text: str, *labels: str) -> Histogram:
    """Make the histogram of durations `respool_<name>_seconds`."""
    return Histogram(f"respool_{name}_seconds", text, labels, buckets=_SECONDS)


def forget(process: int, folder: str) -> None:
    """Drop the gauges of a process that has ended from a SHARED folder; what it has counted stays."""
    mark_process_dead(process, folder)  # type: ignore[no-untyped-call]  # it has no types


def render() -> bytes:
    """Write all metrics of this process, or of all that share theirs with it, in Prometheus' text format."""
    if SHARED not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # likewise
    return generate_latest(registry)
