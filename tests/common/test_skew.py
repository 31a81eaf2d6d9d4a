"""By how much two nodes' times differ."""

from datetime import UTC, datetime, timedelta

from common.segments import Segment, SegmentType, make_segment
from common.skew import skew_between

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def seg(seconds: float, content: str, kind: SegmentType = SegmentType.FULL) -> Segment:
    return make_segment(NOON + timedelta(seconds=seconds), timedelta(seconds=2), kind, content)


def test_same_content_tells_the_skew() -> None:
    """It is the middle of the differences, so that a few odd ones do no harm, and has the sign of the later node."""
    ours = [seg(2 * n, f"h{n}") for n in range(5)]
    theirs = [*(seg(2 * n + 0.4, f"h{n}") for n in range(4)), seg(60, "h4"), seg(100, "other")]
    assert skew_between(ours, theirs) == timedelta(seconds=0.4)
    assert skew_between(theirs, ours) == timedelta(seconds=-0.4)
    assert skew_between(ours, ours) == timedelta()


def test_without_common_content_nothing_is_told() -> None:
    """Nothing in common, nothing complete in common, or only a slate of another hour says nothing."""
    assert skew_between([], []) is None
    assert skew_between([seg(0, "a")], [seg(0, "b")]) is None
    assert skew_between([seg(0, "a", SegmentType.PARTIAL)], [seg(1, "a", SegmentType.PARTIAL)]) is None
    assert skew_between([seg(0, "a")], [seg(1000, "a")]) is None


def test_repeated_content_is_the_nearest() -> None:
    """A slate that is shown again and again is compared with its nearest showing."""
    slate = [seg(2 * n, "slate") for n in range(10)]
    assert skew_between(slate, [seg(7.9, "slate"), seg(11.9, "slate")]) == timedelta(seconds=-0.1)
