"""What a request gets of a file, by RFC 9110 §13 and §14."""

from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from restreamer.conditions import Part, choose

MODIFIED = datetime(2026, 3, 1, 12, tzinfo=UTC)
THEN = format_datetime(MODIFIED, usegmt=True)
BEFORE = format_datetime(MODIFIED - timedelta(seconds=1), usegmt=True)
AFTER = format_datetime(MODIFIED + timedelta(seconds=1), usegmt=True)
OURS, OTHER = '"ours"', '"other"'

WHOLE = Part(HTTPStatus.OK, 0, 1000)
KNOWN = Part(HTTPStatus.NOT_MODIFIED)
FAILED = Part(HTTPStatus.PRECONDITION_FAILED)
IMPOSSIBLE = Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
START = Part(HTTPStatus.PARTIAL_CONTENT, 0, 10)


def choice(headers: dict[str, str], method: str = "GET", size: int = 1000) -> Part:
    return choose(method, CIMultiDict(headers), size=size, tag="ours", modified=MODIFIED)


@pytest.mark.parametrize(
    ("headers", "part"),
    [
        ({}, WHOLE),
        ({"If-Match": OURS}, WHOLE),
        ({"If-Match": "*"}, WHOLE),
        ({"If-Match": OTHER}, FAILED),
        ({"If-Match": "W/" + OURS}, FAILED),
        ({"If-Match": OURS, "If-Unmodified-Since": BEFORE}, WHOLE),
        ({"If-Unmodified-Since": BEFORE}, FAILED),
        ({"If-Unmodified-Since": THEN}, WHOLE),
        ({"If-None-Match": OURS}, KNOWN),
        ({"If-None-Match": "W/" + OURS}, KNOWN),
        ({"If-None-Match": f"{OTHER}, {OURS}"}, KNOWN),
        ({"If-None-Match": "*"}, KNOWN),
        ({"If-None-Match": OTHER, "If-Modified-Since": AFTER}, WHOLE),
        ({"If-Modified-Since": THEN}, KNOWN),
        ({"If-Modified-Since": BEFORE}, WHOLE),
        ({"If-Modified-Since": "yesterday"}, WHOLE),
        ({"If-Modified-Since": "Sun, 99 Mar 99999999999 12:00:00 GMT"}, WHOLE),
        ({"If-None-Match": OURS, "Range": "bytes=0-9"}, KNOWN),
        ({"Range": "bytes=0-9", "If-Range": OURS}, START),
        ({"Range": "bytes=0-9", "If-Range": "W/" + OURS}, WHOLE),
        ({"Range": "bytes=0-9", "If-Range": OTHER}, WHOLE),
        ({"Range": "bytes=0-9", "If-Range": THEN}, START),
        ({"Range": "bytes=0-9", "If-Range": AFTER}, WHOLE),
        ({"Range": "bytes=9999-", "If-Range": OTHER}, WHOLE),
        ({"Range": "BYTES=0-9"}, START),
        ({"Range": "bytes=-0"}, IMPOSSIBLE),
        ({"Range": "bytes=" + "9" * 5000 + "-"}, IMPOSSIBLE),
        ({"Range": "bytes=0-4,5-9"}, IMPOSSIBLE),
    ],
    ids=str,
)
def test_conditions_and_ranges(headers: dict[str, str], part: Part) -> None:
    """The conditions are looked at in the order of §13.2.2, and a range only where they leave one."""
    assert choice(headers) == part


def test_ranges_are_for_get() -> None:
    """HEAD tells of the whole file, whatever range it asks for (§14.2)."""
    assert choice({"Range": "bytes=0-9"}, "HEAD") == WHOLE


def test_an_empty_file_has_no_range() -> None:
    """Of nothing there is no part."""
    assert choice({}, size=0) == Part(HTTPStatus.OK, 0, 0)
    for wanted in ("bytes=0-", "bytes=-1", "bytes=0-0"):
        assert choice({"Range": wanted}, size=0) == IMPOSSIBLE


@given(st.integers(0, 50), st.integers(0, 60), st.integers(0, 60))
def test_a_range_is_what_a_slice_would_be(size: int, first: int, last: int) -> None:
    """Whatever is asked for, the part is that of the bytes which are there, and a 416 if there are none of them."""
    data = bytes(range(size))
    for text, wanted in ((f"{first}-{last}", data[first : last + 1]), (f"{first}-", data[first:])):
        status, begin, length = choice({"Range": f"bytes={text}"}, size=size)
        assert data[begin : begin + length] == wanted
        assert (status is HTTPStatus.PARTIAL_CONTENT) == bool(wanted)
    _, begin, length = choice({"Range": f"bytes=-{last}"}, size=size)
    assert data[begin : begin + length] == (data[-last:] if last else b"")
