"""When a segment that failed, or came oddly, is asked for again."""

from datetime import UTC, datetime, timedelta

import pytest

from common.segments import SegmentType
from downloader.outcomes import FetchError, Reason
from downloader.playlist_values import PlaylistSegment
from downloader.retries import MOST_TRIES, Tries, is_hopeless, is_settled
from downloader.timeline import NewSegment

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("reason", "gone", "tries", "hopeless"),
    [
        (Reason.REFUSED, None, Tries(1, 1.0, listed=True), False),
        (Reason.REFUSED, None, Tries(1, 60.0, listed=False), False),
        (Reason.REFUSED, None, Tries(MOST_TRIES, 60.0, listed=True), True),
        (Reason.DISK, None, Tries(3, 599.0, listed=True), False),
        (Reason.DISK, None, Tries(3, 601.0, listed=True), True),
        # a 404 may be one machine of many, for a moment, as long as the playlist lists it
        (Reason.EXPIRED, None, Tries(1, 0.1, listed=False), False),
        (Reason.EXPIRED, None, Tries(5, 60.0, listed=True), False),
        (Reason.EXPIRED, None, Tries(5, 11.0, listed=False), True),
        (Reason.UNUSABLE, None, Tries(1, 0.1, listed=True), True),
        (Reason.UNUSABLE, False, Tries(1, 0.1, listed=True), False),
        (Reason.REFUSED, True, Tries(1, 0.1, listed=True), True),
    ],
)
def test_when_there_is_no_hope(reason: Reason, gone: bool | None, tries: Tries, hopeless: bool) -> None:  # noqa: FBT001
    """What is tried again is what may come yet."""
    assert is_hopeless(FetchError("No.", reason, gone=gone), tries) is hopeless


@pytest.mark.parametrize(
    ("kind", "after_jump", "doubts", "odd", "settled"),
    [
        (SegmentType.FULL, False, 0, 0, True),
        (SegmentType.SUSPECT, False, 0, 0, False),
        (SegmentType.SUSPECT, False, 2, 0, False),
        (SegmentType.SUSPECT, False, 3, 0, True),
        (SegmentType.SUSPECT, True, 0, 0, True),
        (SegmentType.SUSPECT, False, 0, 3, True),
    ],
)
def test_what_is_odd_is_asked_for_again(
    kind: SegmentType,
    after_jump: bool,  # noqa: FBT001
    doubts: int,
    odd: int,
    settled: bool,  # noqa: FBT001
) -> None:
    """Some times, unless its times are the oddity, or all that comes is like that."""
    new = NewSegment(
        PlaylistSegment("http://host/0.ts", timedelta(seconds=2)), NOON, guessed=False, after_jump=after_jump
    )
    assert is_settled(kind, new, doubts, odd) is settled
