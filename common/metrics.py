"""Metrics: how ours are named (Prometheus' conventions, a `respool_` prefix) and how they are shown."""

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

CONTENT_TYPE = CONTENT_TYPE_LATEST

# A series more for each counter and histogram, of which Prometheus makes nothing.
disable_created_metrics()  # type: ignore[no-untyped-call]  # it has no types

# Names the folder in which the processes of one service add up their metrics. prometheus_client reads it when it is
# imported: it must be set before a process starts.
SHARED = "PROMETHEUS_MULTIPROC_DIR"

# What several processes show together: the sum of the living, or the greatest or least of them.
Together = Literal["livesum", "livemax", "livemin"]

Durations: TypeAlias = Histogram
"""What `seconds` makes."""

# From a cached answer to a cut of hours.
SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)

# From a look into memory to an upload of hours.
WIDE_SECONDS = (1e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0, 300.0, 1000.0, 10000.0)

# What one of many things costs: from a line of a playlist to a second of video of which all is encoded.
UNIT_SECONDS = (1e-6, 3e-6, 1e-5, 3e-5, 1e-4, 3e-4, 1e-3, 3e-3, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)

# For what takes seconds at best: work on whole videos, and waiting for it.
LONG_SECONDS = (1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 7200.0, 14400.0, 43200.0, 86400.0)

# From a hundredth to a hundred times as long as something else.
_RATIOS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 100.0)


@dataclass(frozen=True, slots=True, order=True)
class Metric:
    """A metric as it was made: the name under which it is shown, its kind, its labels and what it says."""

    name: str
    kind: Literal["counter", "gauge", "histogram"]
    labels: tuple[str, ...]
    text: str


_made: list[Metric] = []


def made() -> list[Metric]:
    """Give all metrics that this process has made so far, by name."""
    return sorted(_made)


def counter(name: str, text: str, *labels: str, known: Iterable[str] = ()) -> Counter:
    """Make the counter `respool_<name>_total`; what it counts is said by `text`. Labels must be bounded.

    The `known` values of its one label are shown as 0 before there is anything to count. To Prometheus a counter that
    comes into being as 1 has not grown: without them, an alert would miss the first of what it is about.
    """
    _made.append(Metric(f"respool_{name}_total", "counter", labels, text))
    made = Counter(f"respool_{name}", text, labels)
    for value in known:
        made.labels(value)
    return made


def gauge(name: str, text: str, *labels: str, together: Together = "livesum") -> Gauge:
    """Make the gauge `respool_<name>`; a unit, in base units, ends the name."""
    _made.append(Metric(f"respool_{name}", "gauge", labels, text))
    return Gauge(f"respool_{name}", text, labels, multiprocess_mode=together)


def seconds(name: str, text: str, *labels: str, buckets: Sequence[float] = SECONDS) -> Histogram:
    """Make the histogram of durations `respool_<name>_seconds`."""
    return _histogram(f"respool_{name}_seconds", text, labels, buckets)


def ratio(name: str, text: str, *labels: str) -> Histogram:
    """Make the histogram `respool_<name>_ratio` of how much of one thing there is for one of another."""
    return _histogram(f"respool_{name}_ratio", text, labels, _RATIOS)


def _histogram(name: str, text: str, labels: tuple[str, ...], buckets: Sequence[float]) -> Histogram:
    _made.append(Metric(name, "histogram", labels, text))
    return Histogram(name, text, labels, buckets=buckets)


def total(counted: Counter) -> float:
    """Give what a counter has counted in this process, over all its labels."""
    samples = (sample for metric in counted.collect() for sample in metric.samples)
    return sum(sample.value for sample in samples if sample.name.endswith("_total"))


def forget(process: int, folder: str) -> None:
    """Drop the gauges of a process that has ended from a SHARED folder; what it has counted stays."""
    mark_process_dead(process, folder)  # type: ignore[no-untyped-call]  # likewise


def render() -> bytes:
    """Write all metrics of this process, or of all that share theirs with it, in Prometheus' text format."""
    if SHARED not in os.environ:
        return generate_latest()
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # likewise
    return generate_latest(registry)
