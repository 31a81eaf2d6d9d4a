"""Times: what is read, what is written, and which hours a range touches."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common import dateutil
from common.dateutil import HOUR

MOMENT = datetime(2026, 3, 1, 18, 30, tzinfo=UTC)
zones = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
moments = st.datetimes(datetime(1901, 1, 1), datetime(8999, 12, 31), timezones=st.just(UTC))  # noqa: DTZ001 - bounds


@given(moments, zones)
def test_parse_reads_what_any_zone_writes(moment: datetime, zone: timezone) -> None:
    """A time is read as the same instant in whatever zone it is written, and comes back in UTC."""
    read = dateutil.parse(moment.astimezone(zone).isoformat())
    assert read == moment
    assert read.tzinfo is UTC


@given(moments)
def test_format_and_parse_are_inverse(moment: datetime) -> None:
    """What `format_utc` writes, both parsers read back as the same instant."""
    text = dateutil.format_utc(moment)
    assert dateutil.parse(text) == dateutil.parse_utc_only(text) == moment
    assert len(text) == len("2026-03-01T18:30:00.000000Z")


@given(moments, zones)
def test_format_is_utc_whatever_the_zone(moment: datetime, zone: timezone) -> None:
    """The zone that a time carries does not show in what is written."""
    assert dateutil.format_utc(moment.astimezone(zone)) == dateutil.format_utc(moment)


@pytest.mark.parametrize(
    "text",
    ["2026-03-01T18:30:00Z", "2026-03-01T18:30", "2026-03-01T18:30:00.000+00:00", "2026-03-01 18:30", "20260301T1830Z"],
)
def test_utc_times_of_requests(text: str) -> None:
    """A request's time may be written in any ISO 8601 form that is UTC, and without a zone is UTC."""
    assert dateutil.parse_utc_only(text) == MOMENT
    assert dateutil.parse(f" {text}\n") == MOMENT


def test_zones_of_requests_are_refused() -> None:
    """A request's time in another zone is refused, though the other parser converts it."""
    with pytest.raises(ValueError, match="is not in UTC"):
        dateutil.parse_utc_only("2026-03-01T20:30:00+02:00")
    assert dateutil.parse("2026-03-01T20:30:00+02:00") == MOMENT


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-02-30T00:00:00Z",
        "2026-03-01T25:00Z",
        "2026-03-01T18:30:00 00:00",
        "\0",
        "\ud800" * 10,
        "1" * 999,
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1899-12-31T00:00Z",
        "\N{FULLWIDTH DIGIT TWO}026-03-01",
    ],
)
def test_what_is_no_time_is_refused_in_a_sentence(text: str) -> None:
    """What is no time, or one that no recording can have, raises ValueError with a short sentence."""
    for parse in (dateutil.parse, dateutil.parse_utc_only):
        with pytest.raises(ValueError, match=r"\.$") as caught:
            parse(text)
        assert type(caught.value) is ValueError
        assert len(str(caught.value)) < 500


@given(st.text("0123456789-:.,TZWz+ ", max_size=40))
def test_parsers_raise_nothing_but_value_errors(text: str) -> None:
    """Whatever the text, it is a time in UTC or a ValueError."""
    for parse in (dateutil.parse, dateutil.parse_utc_only):
        try:
            assert parse(text).tzinfo is UTC
        except ValueError:
            continue


@given(moments, zones)
def test_hours_and_their_names_are_inverse(moment: datetime, zone: timezone) -> None:
    """The name of an instant's hour is read back as the hour's first moment, less than an hour before the instant."""
    hour = dateutil.floor_hour(moment.astimezone(zone))
    assert dateutil.parse_hour(dateutil.hour_name(moment.astimezone(zone))) == hour
    assert timedelta(0) <= moment - hour < HOUR


@pytest.mark.parametrize(
    "name", ["", "2026-03-01", "2026-03-01T24", "2026-02-29T00", "2026-03-01T1", "2026-03-01T18\n", "2026-03-01t18"]
)
def test_what_names_no_hour_is_refused(name: str) -> None:
    """A folder's name that is no hour raises ValueError."""
    with pytest.raises(ValueError, match=r"2026|not an hour"):
        dateutil.parse_hour(name)


@given(moments, st.timedeltas(timedelta(0), timedelta(days=2)), st.floats(0, 1))
def test_hours_touching_a_range(start: datetime, length: timedelta, part: float) -> None:
    """Every instant of a range lies in one of its hours, each hour holds one, and they follow each other."""
    hours = dateutil.hours_touching(start, start + length)
    assert dateutil.floor_hour(start + part * length) in hours
    assert hours[0] <= start < hours[0] + HOUR
    assert hours[-1] <= start + length < hours[-1] + HOUR
    assert hours == [hours[0] + n * HOUR for n in range(len(hours))]


def test_both_ends_of_a_range_are_included() -> None:
    """A range that ends on the hour touches the hour that begins there, and one of no length touches its own."""
    six = datetime(2026, 3, 1, 18, tzinfo=UTC)
    assert dateutil.hours_touching(MOMENT, six + HOUR) == [six, six + HOUR]
    assert dateutil.hours_touching(six, six) == [six]
