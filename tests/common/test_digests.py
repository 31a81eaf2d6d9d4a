"""Digests: they are the same where the names are, and differ where a name does."""

import hashlib
from datetime import UTC, datetime, timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from common.dateutil import hour_name
from common.digests import day_digests, hour_digest, quality_digest
from common.segments import SegmentType, make_segment, tombstone_name

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def name(second: int, kind: SegmentType, content: str, suffix: str) -> str:
    made = make_segment(NOON + timedelta(seconds=second), timedelta(seconds=2), kind, content)
    return tombstone_name(made.name) if suffix == ".tombstone" else made.name.removesuffix(".ts") + suffix


def names_of(kinds: list[SegmentType]) -> st.SearchStrategy[str]:
    contents, suffixes = st.sampled_from("abc"), st.sampled_from([".ts", ".mp4", ".tombstone"])
    return st.builds(name, st.integers(0, 5), st.sampled_from(kinds), contents, suffixes)


FINISHED = names_of([kind for kind in SegmentType if kind is not SegmentType.TEMP])
IGNORED = names_of([SegmentType.TEMP]) | st.sampled_from(
    [".facts", ".playlists", "", "x.ts", "x.tombstone", "00:00.000000-9999.0-full-a.ts", "60:00.000000-2.0-full-a.ts"]
)
DIGEST = st.text("0123456789abcdef", min_size=32, max_size=32)
HOURS = st.dictionaries(st.integers(-100, 100).map(lambda hours: hour_name(NOON + timedelta(hours=hours))), DIGEST)


def test_a_digest_is_what_is_promised() -> None:
    """Other programs can work it out: SHA-256 of the sorted lines, 16 bytes of it, hours into days into a quality."""
    names = ["00:02.000000-2.0-full-b.ts", "00:00.000000-2.0-partial-a.ts", "00:02.000000-2.0-full-b.tombstone"]

    def of(*lines: str) -> str:
        return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:32]

    hour = hour_digest(NOON, names)
    assert hour == of(names[1], names[2], names[0])
    days = day_digests({"2026-03-01T12": hour, "2026-03-02T00": hour, "2026-03-01T11": hour})
    assert days == {
        "2026-03-01": of(f"2026-03-01T11 {hour}", f"2026-03-01T12 {hour}"),
        "2026-03-02": of(f"2026-03-02T00 {hour}"),
    }
    assert quality_digest(days) == of(*(f"{day} {digest}" for day, digest in days.items()))


@settings(derandomize=True, deadline=None)
@given(st.sets(FINISHED), st.sets(FINISHED), st.lists(IGNORED), st.randoms())
def test_hours_differ_exactly_where_names_do(
    ours: set[str], theirs: set[str], ignored: list[str], dice: Random
) -> None:
    """Two hours have one digest if and only if they have the same finished names, whatever lies beside."""
    listed = [*ours, *ignored]
    dice.shuffle(listed)
    assert hour_digest(NOON, listed) == hour_digest(NOON, ours)
    assert (hour_digest(NOON, ours) == hour_digest(NOON, theirs)) == (ours == theirs)
    assert (hour_digest(NOON, ours) is None) == (not ours)


@settings(derandomize=True, deadline=None)
@given(HOURS, HOURS)
def test_what_differs_is_found_in_two_steps(ours: dict[str, str], theirs: dict[str, str]) -> None:
    """Qualities differ if and only if some days do, and these if and only if some of their hours do."""
    our_days, their_days = day_digests(ours), day_digests(theirs)
    assert (quality_digest(our_days) == quality_digest(their_days)) == (ours == theirs)
    for day in {*our_days, *their_days}:
        same = {h: d for h, d in ours.items() if h.startswith(day)} == {
            h: d for h, d in theirs.items() if h.startswith(day)
        }
        assert (our_days.get(day) == their_days.get(day)) == same
    assert (quality_digest(our_days) is None) == (not ours)
