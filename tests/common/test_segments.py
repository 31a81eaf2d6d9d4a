"""A segment's name, both ways."""

import hashlib
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import segments
from common.segments import MAX_DURATION, BadNameError, Segment, SegmentType

HOUR = datetime(2026, 3, 1, 18, tzinfo=UTC)
HASH = segments.content_hash(hashlib.sha256(b"content").digest())

within_hour = st.timedeltas(timedelta(0), timedelta(hours=1) - timedelta(microseconds=1))
durations = st.timedeltas(timedelta(0), MAX_DURATION)
hashes = st.binary(min_size=32, max_size=32).map(segments.content_hash)


@given(within_hour, durations, st.sampled_from(SegmentType), hashes, st.sampled_from(segments.SUFFIXES))
def test_names_are_made_and_read_inversely(
    since: timedelta, duration: timedelta, kind: SegmentType, content: str, suffix: segments.Suffix
) -> None:
    """Reading the name that was made for a segment gives the same segment."""
    made = segments.make_segment(HOUR + since, duration, kind, content, suffix)
    assert segments.parse_name(HOUR, made.name) == made
    assert made.name.endswith(suffix)
    assert made.hour == "2026-03-01T18"
    assert segments.hour_of(made) == HOUR


def test_the_form_of_a_name() -> None:
    """A name is written exactly as the stores of older deployments have it."""
    start = HOUR + timedelta(minutes=5, seconds=4, microseconds=30)
    made = segments.make_segment(start, timedelta(seconds=2), SegmentType.FULL, HASH)
    assert made.name == "05:04.000030-2.0-full-7XACtDnprIRfIjV9giusFERzD722AW0-yUMil7nsn3M.ts"
    assert made.end == start + timedelta(seconds=2)


@pytest.mark.parametrize(
    ("lasts", "microseconds"),
    [
        ("2", 2_000_000),
        ("2.0", 2_000_000),
        ("1.966667", 1_966_667),
        ("1.9666666666666", 1_966_667),
        ("0.00000049", 0),
        ("0.0", 0),
        ("0002.50", 2_500_000),
        ("3600", 3_600_000_000),
    ],
)
def test_durations_are_read_to_the_microsecond(lasts: str, microseconds: int) -> None:
    """A duration is a decimal of any precision, rounded to microseconds."""
    read = segments.parse_name(HOUR, f"00:00.000000-{lasts}-full-{HASH}.ts")
    assert read.duration == timedelta(microseconds=microseconds)


def test_durations_are_written_shortest_with_one_decimal() -> None:
    """A duration is written with as many decimals as it needs, and at least one."""
    made = [
        segments.make_segment(HOUR, timedelta(microseconds=n), SegmentType.FULL, HASH).name.split("-")[1]
        for n in (0, 1, 10, 1_500_000, 10_000_000, 1_966_667)
    ]
    assert made == ["0.0", "0.000001", "0.00001", "1.5", "10.0", "1.966667"]


@pytest.mark.parametrize(
    "name",
    [
        "",
        "notes.txt",
        f"05:04.000030-2.0-full-{HASH}.tombstone",
        f"05:04.000030-2.0-full-{HASH}",
        f"05:04.000030-2.0-full-{HASH}.ts\n",
        f"05:04.000030-2.0-full-{HASH}.ts.part",
        f"65:04.000030-2.0-full-{HASH}.ts",
        f"05:60.000030-2.0-full-{HASH}.ts",
        f"05:04.00003-2.0-full-{HASH}.ts",
        f"05:04-2.0-full-{HASH}.ts",
        f"05:04.000030--2.0-full-{HASH}.ts",
        f"05:04.000030-2e3-full-{HASH}.ts",
        f"05:04.000030-3600.000001-full-{HASH}.ts",
        f"05:04.000030-99999-full-{HASH}.ts",
        f"05:04.000030-nan-full-{HASH}.ts",
        f"05:04.000030-2.0-FULL-{HASH}.ts",
        f"05:04.000030-2.0-other-{HASH}.ts",
        "05:04.000030-2.0-full-.ts",
        "05:04.000030-2.0-full-a/b.ts",
        "05:04.000030-2.0-full-ab=.ts",
        f"\N{ARABIC-INDIC DIGIT ZERO}5:04.000030-2.0-full-{HASH}.ts",
    ],
)
def test_what_is_no_segments_name_is_told(name: str) -> None:
    """A name of another form is refused alone, and set apart among others."""
    with pytest.raises(BadNameError):
        segments.parse_name(HOUR, name)
    good = segments.make_segment(HOUR, timedelta(seconds=2), SegmentType.FULL, HASH)
    assert segments.parse_names(HOUR, [name, good.name, name]) == ([good], [name, name])


@given(st.text("0123456789-:.fultspai\n", max_size=120))
def test_reading_names_never_fails(name: str) -> None:
    """Whatever a file is called, it is a segment or a stranger."""
    found, strangers = segments.parse_names(HOUR, [name])
    assert [segment.name for segment in found] + strangers == [name]


@pytest.mark.parametrize("duration", [timedelta(microseconds=-1), MAX_DURATION + timedelta(microseconds=1)])
def test_durations_that_cannot_be_are_refused(duration: timedelta) -> None:
    """No segment is made with a negative duration or one that a name may not have."""
    with pytest.raises(ValueError, match="cannot last"):
        segments.make_segment(HOUR, duration, SegmentType.FULL, HASH)


def test_starts_are_aware_and_utc() -> None:
    """What is read from a name starts in UTC, in the hour of its folder."""
    read = segments.parse_name(HOUR, f"59:59.999999-2.0-full-{HASH}.ts")
    assert read.start.tzinfo is UTC
    assert read.start == HOUR + timedelta(hours=1) - timedelta(microseconds=1)


def test_tombstones_share_the_stem() -> None:
    """A tombstone is called as the segment that it hides, but for the ending; dots in the seconds are no ending."""
    made: Segment = segments.make_segment(HOUR, timedelta(seconds=2), SegmentType.FULL, HASH, ".mp4")
    assert segments.tombstone_name(made.name) == f"00:00.000000-2.0-full-{HASH}.tombstone"
    assert segments.stem(segments.tombstone_name(made.name)) == segments.stem(made.name)
