"""What the backfiller counts. A node is called by its address, without what is secret in it."""

from common import metrics

FETCHES = metrics.counter("backfill_fetches", "Segments asked for, by what became of them.", "node", "result")
BYTES = metrics.counter("backfill_bytes", "Bytes of segments that were fetched.", "node")
TOMBSTONES = metrics.counter("backfill_tombstones", "Tombstones that were taken over.", "node")
EXTRAS = metrics.counter("backfill_extras", "Files of extra folders that were fetched.", "node")
PASSED_OVER = metrics.gauge(
    "backfill_passed_over", "Names that a node has and that its last pass left there, by reason.", "node", "reason"
)
PASSES = metrics.seconds("backfill_pass", "Time to go through all that a node has.", "node", "result")
LAST_PASS = metrics.gauge(
    "backfill_last_pass_timestamp_seconds", "When a node was last gone through to the end.", "node", together="livemax"
)
AWAY = metrics.gauge("backfill_node_away", "1 while a node cannot be asked or is put away.", "node", together="livemax")


def forget(node: str) -> None:
    """Drop what is told of a node that is no longer one of ours; its counts stay."""
    for gauge in (LAST_PASS, AWAY):
        gauge.remove(node)
    PASSED_OVER.remove_by_labels({"node": node})
