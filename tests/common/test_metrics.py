"""How metrics are named and shown."""

from common import metrics


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
