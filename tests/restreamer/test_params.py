"""What requests ask for, and the one sentence for each mistake."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.cuts import CutType, VideoRange
from common.web import RequestError
from restreamer.params import (
    LONGEST_IMPLICIT_RANGE,
    CutRequest,
    Range,
    implicit_range,
    parse_cut,
    parse_range,
    parse_tombstones,
)

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
ONE, TWO = NOON + timedelta(hours=1), NOON + timedelta(hours=2)
RECORDED = (NOON, ONE)
CUT = {"start": "2026-03-01T12:00:00Z", "end": "2026-03-01T13:00:00Z", "type": "rough"}


def refused(status: int, sentence: str) -> "pytest.RaisesExc[RequestError]":
    return pytest.RaisesExc(RequestError, match=f"^{re.escape(sentence)}$", check=lambda error: error.status == status)


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ([], Range(None, None)),
        ([("start", "2026-03-01T12:00:00Z")], Range(NOON, None)),
        ([("end", "2026-03-01T12:00:00+00:00")], Range(None, NOON)),
        ([("end", "2026-03-01T13"), ("start", "2026-03-01T12:00")], Range(NOON, ONE)),
        ([("_HLS_msn", "7"), ("_HLS_msn", "8"), ("_", "x")], Range(None, None)),
    ],
)
def test_ranges_are_read(query: list[tuple[str, str]], wanted: Range) -> None:
    """Either end may be left out, in either order; what players and caches add for themselves is let pass."""
    assert parse_range(query) == wanted


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        ([("begin", "x")], "There is no parameter 'begin' here; there are end, start."),
        ([("start", "x"), ("start", "y")], "The parameter start is given twice."),
        (
            [("start", "noon")],
            "The parameter start is wrong: 'noon' is not an ISO 8601 time such as 2026-03-01T18:30:00Z.",
        ),
        ([("end", "")], "The parameter end is wrong: '' is not an ISO 8601 time such as 2026-03-01T18:30:00Z."),
        (
            [("end", "2026-03-01T12:00:00+01:00")],
            "The parameter end is wrong: '2026-03-01T12:00:00+01:00' is not in UTC; leave the zone out or write Z.",
        ),
        (
            [("start", "0001-01-01")],
            "The parameter start is wrong: '0001-01-01' lies outside of the years 1900 to 9000.",
        ),
        (
            [("start", "2026-03-01T12:00"), ("end", "2026-03-01T12:00")],
            "The range is empty: start must be before end.",
        ),
        (
            [("start", "2026-03-01T13:00"), ("end", "2026-03-01T12:00")],
            "The range is empty: start must be before end.",
        ),
    ],
)
def test_wrong_ranges_are_refused(query: list[tuple[str, str]], sentence: str) -> None:
    """Each mistake in a range gets a 400 and the sentence that says what it is."""
    with refused(400, sentence):
        parse_range(query)


@pytest.mark.parametrize(("said", "allow_holes"), [({}, False), ({"allow_holes": "true"}, True)])
def test_cuts_are_read(said: dict[str, str], allow_holes: bool) -> None:  # noqa: FBT001 - the table's column
    """A cut has a start, an end and a type; holes are refused unless they are allowed."""
    assert parse_cut((CUT | said).items()) == CutRequest((VideoRange(NOON, ONE),), CutType.ROUGH, allow_holes)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"start": None}, "A cut needs both start and end, for example start=2026-03-01T18:30:00Z."),
        ({"end": None}, "A cut needs both start and end, for example start=2026-03-01T18:30:00Z."),
        ({"type": None}, "Say which type of cut: type=rough, type=fast, type=smart, type=mpegts, type=webm."),
        ({"type": "rough "}, "Say which type of cut: type=rough, type=fast, type=smart, type=mpegts, type=webm."),
        ({"allow_holes": "1"}, "The parameter allow_holes is either true or false."),
        ({"end": CUT["start"]}, "The range is empty: start must be before end."),
        (
            {"size": "1x1"},
            "There is no parameter 'size' here; there are allow_holes, end, range, start, transition, type.",
        ),
    ],
)
def test_wrong_cuts_are_refused(change: dict[str, str | None], sentence: str) -> None:
    """Each mistake in a cut gets a 400 and the sentence that says what it is."""
    query = [(name, value) for name, value in (CUT | change).items() if value is not None]
    with refused(400, sentence):
        parse_cut(query)


def test_a_cut_may_have_several_ranges() -> None:
    """They are given as range=START,END, in the order in which they follow each other in the video."""
    query = [
        ("type", "smart"),
        ("range", f"{ONE.isoformat()},{TWO.isoformat()}"),
        ("range", f"{NOON.isoformat()},{ONE.isoformat()}"),
    ]
    assert parse_cut(query) == CutRequest(
        (VideoRange(ONE, TWO), VideoRange(NOON, ONE)), CutType.SMART, allow_holes=False
    )


@pytest.mark.parametrize(
    ("ranges", "more", "sentence"),
    [
        (
            ["2026-03-01T12:00"],
            {},
            "A range is START,END, for example range=2026-03-01T18:30:00Z,2026-03-01T18:35:00Z.",
        ),
        (["2026-03-01T12:00,x"], {}, "The parameter end is wrong: "),
        (["2026-03-01T12:00,2026-03-01T12:00"], {}, "The range is empty: start must be before end."),
        (["2026-03-01T12:00,2026-03-01T13:00"], {"start": "2026-03-01T12:00"}, "A cut has either start and end, or "),
        (["2026-03-01T12:00,2026-03-01T13:00"] * 101, {}, "A cut has at most 100 ranges."),
        (["2026-03-01,2026-03-30"] * 2, {}, "The ranges are longer than 31 days; ask for them in parts."),
    ],
)
def test_wrong_ranges_of_a_cut_are_refused(ranges: list[str], more: dict[str, str], sentence: str) -> None:
    """Each mistake in the ranges of a cut gets a 400 and a sentence that says what it is."""
    query = [("type", "fast"), *more.items(), *(("range", each) for each in ranges)]
    with pytest.raises(RequestError, match=f"^{re.escape(sentence)}") as caught:
        parse_cut(query)
    assert caught.value.status == 400


@pytest.mark.parametrize(("values", "shown"), [([], False), (["false"], False), (["true"], True), (["True"], True)])
def test_tombstones_are_read(values: list[str], shown: bool) -> None:  # noqa: FBT001 - the table's column
    """Tombstones are listed when asked for, in whatever case; other parameters of a peer are let pass."""
    assert parse_tombstones([("x", "y"), *(("tombstones", value) for value in values)]) is shown


@pytest.mark.parametrize("values", [["1"], [""], ["true", "true"], ["true", "false"]])
def test_wrong_tombstones_are_refused(values: list[str]) -> None:
    """What is neither true nor false, or is both, is refused."""
    with refused(400, "The parameter tombstones is either true or false."):
        parse_tombstones([("tombstones", value) for value in values])


@pytest.mark.parametrize(
    ("wanted", "now", "filled"),
    [
        (Range(None, None), ONE, (NOON, ONE)),
        (Range(None, None), ONE + timedelta(hours=2), (NOON, ONE + timedelta(hours=2))),
        (Range(None, None), NOON, (NOON, ONE)),
        (Range(ONE, None), ONE + timedelta(hours=2), (ONE, ONE + timedelta(hours=2))),
        (Range(None, ONE), ONE + timedelta(days=9), (NOON, ONE)),
        (Range(NOON - timedelta(days=900), ONE), ONE, (NOON - timedelta(days=900), ONE)),
    ],
)
def test_open_ends_are_filled_in(wanted: Range, now: datetime, filled: tuple[datetime, datetime]) -> None:
    """An open start is the first segment's; an open end is now, or the last segment's end where that is later."""
    assert implicit_range(wanted, RECORDED, now) == filled


def test_a_range_outside_of_the_recording_comes_out_empty() -> None:
    """What ends before the first segment, or starts after now, has its start after its end."""
    for wanted in (Range(None, NOON - timedelta(hours=1)), Range(ONE + timedelta(hours=1), None)):
        start, end = implicit_range(wanted, RECORDED, ONE)
        assert start > end


def test_long_ranges_are_asked_for_by_name() -> None:
    """A range with an open end is at most twelve hours long, to the microsecond; the sentence says which."""
    most = NOON + LONGEST_IMPLICIT_RANGE
    assert implicit_range(Range(None, None), RECORDED, most) == (NOON, most)
    sentence = "From 2026-03-01 12:00 to 2026-03-02 00:00 is more than 12 hours; name both start and end for so much."
    for wanted in (Range(None, None), Range(NOON, None), Range(None, most + timedelta(microseconds=1))):
        with refused(400, sentence):
            implicit_range(wanted, RECORDED, most + timedelta(microseconds=1))


names = st.sampled_from(["start", "end", "type", "allow_holes", "tombstones", "_HLS_skip"]) | st.text(max_size=9)
times = st.datetimes().map(datetime.isoformat)
queries = st.lists(st.tuples(names, times | st.sampled_from(["rough", "true", "false"]) | st.text()), max_size=6)


def read_or_refuse(parse: Callable[[list[tuple[str, str]]], object], query: list[tuple[str, str]]) -> object:
    try:
        return parse(query)
    except RequestError as error:
        return error


@given(queries)
def test_any_query_is_read_or_refused(query: list[tuple[str, str]]) -> None:
    """Whatever is asked, the result is a value that keeps its promises, or an error of one sentence with a 4xx."""
    for parse in (parse_range, parse_cut, parse_tombstones):
        found = read_or_refuse(parse, query)
        if isinstance(found, RequestError):
            assert found.status == 400
            assert str(found).endswith(".")
            assert len(str(found)) < 400
            continue
        ranges = found.ranges if isinstance(found, CutRequest) else [found] if isinstance(found, Range) else []
        for wanted in ranges:
            if wanted.start is not None and wanted.end is not None:
                assert wanted.start < wanted.end
                assert wanted.start.tzinfo == wanted.end.tzinfo == UTC
