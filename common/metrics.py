"""Metrics: how ours are named (Prometheus' conventions, a `respool_` prefix) and how they are shown."""

from prometheus_client import CONTENT_TYPE_LATEST, Counter, Gauge, Histogram, generate_latest

CONTENT_TYPE = CONTENT_TYPE_LATEST

# From a cached answer to a cut of hours.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 120.0)


def counter(name: str, text: str, *labels: str) -> Counter:
    """Make the counter `respool_<name>_total`; what it counts is said by `text`. Labels must be bounded."""
    return Counter(f"respool_{name}", text, labels)


def gauge(name: str, text: str, *labels: str) -> Gauge:
    """Make the gauge `respool_<name>`; a unit, in base units, ends the name."""
    return Gauge(f"respool_{name}", text, labels)


def seconds(name: str, text: str, *labels: str) -> Histogram:
    """Make the histogram of durations `respool_<name>_seconds`."""
    return Histogram(f"respool_{name}_seconds", text, labels, buckets=_SECONDS)


def render() -> bytes:
    """Write all metrics of this process in Prometheus' text format."""
    return generate_latest()
