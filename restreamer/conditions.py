"""What a request gets of a file: all, a part, or word that it has it already (RFC 9110 §13 and §14); pure."""

import re
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus
from typing import NamedTuple, Protocol


class Headers(Protocol):
    """The headers of a request, whose names know no case."""

    def getall(self, key: str, default: Sequence[str], /) -> Sequence[str]:
        """Give all values of a header."""
        ...


class Part(NamedTuple):
    """The answer: a status, and the bytes that go with it (none but for 200 and 206)."""

    status: HTTPStatus
    first: int = 0
    length: int = 0


_TAG = re.compile(r'(W/)?"([^"]*)"')
# One range; no file has more bytes than fit into these digits.
_RANGE = re.compile(r"bytes=\s*(?:([0-9]{1,18})-([0-9]{0,18})|-([0-9]{1,18}))\s*", re.IGNORECASE | re.ASCII)


def choose(method: str, headers: Headers, *, size: int, tag: str, modified: datetime) -> Part:
    """Decide in the order of RFC 9110 §13.2.2, for a file with a strong `tag` (without its quotes).

    `modified` is aware, in whole seconds. What is no single range of bytes that the file has is a 416; ranges are for
    GET alone.
    """
    if _has_failed(headers, tag, modified):
        return Part(HTTPStatus.PRECONDITION_FAILED)
    if _is_known(headers, tag, modified):
        return Part(HTTPStatus.NOT_MODIFIED)
    asked = ", ".join(headers.getall("Range", ()))
    if method != "GET" or not asked or not _is_same(headers, tag, modified):
        return Part(HTTPStatus.OK, 0, size)
    return _part(asked, size)


def _has_failed(headers: Headers, tag: str, modified: datetime) -> bool:
    match = ", ".join(headers.getall("If-Match", ()))
    if match:
        return not _names(match, tag, weakly=False)
    since = _date(headers, "If-Unmodified-Since")
    return since is not None and modified > since


def _is_known(headers: Headers, tag: str, modified: datetime) -> bool:
    match = ", ".join(headers.getall("If-None-Match", ()))
    if match:
        return _names(match, tag, weakly=True)
    since = _date(headers, "If-Modified-Since")
    return since is not None and modified <= since


def _is_same(headers: Headers, tag: str, modified: datetime) -> bool:
    """Tell whether If-Range, if it is there, names what the file is now."""
    asked = ", ".join(headers.getall("If-Range", ()))
    if not asked or '"' in asked:
        return not asked or _names(asked, tag, weakly=False)
    return _date(headers, "If-Range") == modified


def _names(tags: str, tag: str, *, weakly: bool) -> bool:
    return tags.strip() == "*" or any(known == tag and (weakly or not weak) for weak, known in _TAG.findall(tags))


def _date(headers: Headers, name: str) -> datetime | None:
    """Read a date; what is none counts as not given (§13.1.3)."""
    try:
        date = parsedate_to_datetime(", ".join(headers.getall(name, ())))
    except (ValueError, OverflowError):
        return None
    return date if date.tzinfo is not None else date.replace(tzinfo=UTC)


def _part(asked: str, size: int) -> Part:
    found = _RANGE.fullmatch(asked)
    if found is None:
        return Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    if found[3]:
        first, last = max(0, size - int(found[3])), size - 1
    else:
        first, last = int(found[1]), min(size - 1, int(found[2]) if found[2] else size)
    if first > last:
        return Part(HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE)
    return Part(HTTPStatus.PARTIAL_CONTENT, first, last - first + 1)
