"""Limits and protections: how they are written, and which hours they mean."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.lifetimes import (
    AgeLimit,
    Guarded,
    Limits,
    Policy,
    Protection,
    format_size,
    parse_age,
    parse_age_limit,
    parse_size,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)
DAY = 24 * HOUR


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("30d", AgeLimit("*", "*", 30 * DAY)),
        ("36h", AgeLimit("*", "*", 36 * HOUR)),
        ("*/720p=1w", AgeLimit("*", "720p", 7 * DAY)),
        ("council/*=1.5d", AgeLimit("council", "*", 36 * HOUR)),
    ],
)
def test_age_limits_are_read_and_written(text: str, limit: AgeLimit) -> None:
    """An age, or patterns and an age, are read, and what is written of them means the same."""
    assert parse_age_limit(text) == limit
    assert parse_age_limit(str(limit)) == limit


@pytest.mark.parametrize("text", ["", "30", "d", "0d", "10m", "-1d", "720p=7d", "a/b/c=7d", "/x=7d", "999999w", "30d="])
def test_what_is_no_age_limit_is_refused(text: str) -> None:
    """Ages of less than an hour, without a unit, or of something that is no channel and quality, are refused."""
    with pytest.raises(ValueError, match=r"^'.*' is not .*\.$"):
        parse_age_limit(text)


def test_last_fitting_limit_counts() -> None:
    """Of several age limits that fit, the last one counts; what none fits may become any age."""
    limits = Limits(tuple(map(parse_age_limit, ["c*/*=30d", "*/720p=7d"])))
    assert limits.age("chan", "source") == 30 * DAY
    assert limits.age("chan", "720p") == limits.age("other", "720p") == 7 * DAY
    assert limits.age("other", "source") is None


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("500GB", 500 * 10**9), ("1.5 TiB", 3 * 2**39), ("20g", 20 * 10**9), ("10kB", 10**4)]
)
def test_sizes_are_read(text: str, size: int) -> None:
    """A number of bytes has any of the usual units, or none."""
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "GB", "-1GB", "1e9", "1 XB", "nan"])
def test_what_is_no_size_is_refused(text: str) -> None:
    """Anything else is refused in a sentence."""
    with pytest.raises(ValueError, match=r"is not a size such as"):
        parse_size(text)


def test_sizes_are_written_with_three_digits() -> None:
    """A size is shown in the greatest unit of which it is at least one."""
    assert [format_size(size) for size in (0, 999, 1000, 999_499, 999_600, 2_714_000_000)] == [
        *("0 B", "999 B", "1 kB", "999 kB", "1 MB", "2.71 GB")
    ]


def test_age_is_told_in_words() -> None:
    """Hours, days and weeks are the units."""
    assert (parse_age("2w"), parse_age("1.5h")) == (14 * DAY, 1.5 * HOUR)


def protection(start: datetime, end: datetime, channel: str | None = "chan", quality: str | None = None) -> Protection:
    return Protection(channel, quality, start, end, "it is needed")


def test_protection_reaches_beyond_its_range() -> None:
    """It has the hours that its range touches with a margin at both ends, and the hour before."""
    inner = protection(NOON + timedelta(minutes=20), NOON + timedelta(minutes=40))
    assert (inner.first, inner.last) == (NOON - HOUR, NOON)
    edges = protection(NOON + timedelta(minutes=5), NOON + timedelta(minutes=55))
    assert (edges.first, edges.last) == (NOON - 2 * HOUR, NOON + HOUR)


def test_protection_of_all_time_can_be_reckoned_with() -> None:
    """The ends of the calendar do not overflow."""
    whole = protection(datetime.min.replace(tzinfo=UTC), datetime.max.replace(tzinfo=UTC))
    assert whole.first < NOON < whole.last


def test_hour_is_past_by_age_or_for_space() -> None:
    """An hour is too old when all of it is; and what lies before what made room would have to make room, too."""
    policy = Policy(Limits((AgeLimit("*", "*", DAY),)), space_before=NOON - 10 * HOUR)
    assert policy.is_past("chan", "source", NOON - 25 * HOUR, NOON)
    assert policy.is_past("chan", "source", NOON - 11 * HOUR, NOON)
    assert not policy.is_past("chan", "source", NOON - 10 * HOUR, NOON)
    assert not Policy(policy.limits).is_past("chan", "source", NOON - 24 * HOUR, NOON)


moments = st.integers(0, 60 * 200).map(lambda minutes: NOON + timedelta(minutes=minutes))
ranges = st.lists(st.tuples(moments, moments).map(sorted), max_size=8)


@given(ranges, st.integers(-3, 210))
def test_guarded_hours_are_those_of_any_protection(found: list[list[datetime]], hours: int) -> None:
    """However protections overlap, an hour is guarded exactly if one of them has it."""
    protections = [protection(start, end) for start, end in found]
    hour = NOON + hours * HOUR
    assert (hour in Guarded(protections, "chan", "source")) == any(p.first <= hour <= p.last for p in protections)
    assert hour not in Guarded(protections, "other", "source")
