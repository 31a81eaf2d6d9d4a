"""The small forms that an HLS playlist's text is made of: lines, attribute lists, numbers, durations, times, addresses.

Pure, and as tolerant as real playlists ask for; what cannot be read is None. Every function is linear in its text.
"""

import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from io import StringIO
from urllib.parse import urljoin, urlsplit

from common import dateutil
from common.segments import MAX_DURATION

# always consumes what it stands on, so that a megabyte without `=` is not looked at again from each of its letters
_ATTRIBUTE = re.compile(r'([^=,]*)=?\s*("[^"]*"|[^,]*),?')
_LEADING_NUMBER = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)")
_INTEGER = re.compile(r'\s*"?([0-9]{1,20})"?\s*')
_RESOLUTION = re.compile(r"\s*([0-9]{1,5})\s*[xX]\s*([0-9]{1,5})\s*")
_BYTERANGE = re.compile(r'\s*"?([0-9]{1,18})(?:@([0-9]{0,18}))?"?\s*')
_IV = re.compile(r"0[xX]([0-9A-Fa-f]{1,32})")
_OLDEST_YEAR, _LATEST_YEAR = 1900, 2900
_USER = re.compile(r"//[^/@]*@")
# The two ordinary forms of an address, for which the way through urllib would change nothing and cost the most time.
_ABSOLUTE = re.compile(r"https?://[A-Za-z0-9][A-Za-z0-9.-]*(?::[1-9][0-9]{0,3})?[/?]")
_FILE_NAME = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_~%=&+,@!()*-]|[./](?!\.))*(?:\?[A-Za-z0-9_.~%=&+,@!()*/-]+)?")


def lines(text: str) -> Iterator[str]:
    """Give the lines that are not blank, stripped, one at a time (a list of them could be many times the text).

    Only CR and LF end a line (RFC 8216 §4.1): a title may hold any other line separator of Unicode.
    """
    return filter(None, map(str.strip, StringIO(text, newline=None)))


def quote(text: str) -> str:
    """Put a stranger's text into a sentence: short, in quotes, control characters escaped, secrets left out.

    Those stand in addresses, after a question mark or before the host.
    """
    text, query, _ = text[:1000].partition("?")
    return repr((_USER.sub("//", text) + query)[:80])


def read_attributes(text: str) -> dict[str, str]:
    """Read an attribute list (RFC 8216 §4.2): names in upper case, values without quotes; commas may be quoted."""
    found = (match.groups() for match in _ATTRIBUTE.finditer(text))
    return {key.upper(): value.strip().strip('"') for name, value in found if (key := name.strip())}


def read_integer(text: str) -> int | None:
    """Read a decimal-integer: 0 to 2^64-1 (RFC 8216 §4.2)."""
    match = _INTEGER.fullmatch(text)
    return int(match[1]) if match and int(match[1]) < 2**64 else None


def read_number(text: str) -> float | None:
    """Read the decimal number with which the text begins, if it is not negative."""
    match = _LEADING_NUMBER.match(text[:40])
    return float(match[1]) if match else None


def read_duration(text: str) -> timedelta | None:
    """Read a duration in seconds; a negative one, and one longer than any segment, is none."""
    try:
        seconds = float(text[:40])
    except ValueError:
        leading = read_number(text)
        if leading is None:
            return None
        seconds = leading
    # written so that NaN is refused too
    return timedelta(seconds=seconds) if 0 <= seconds <= MAX_DURATION.total_seconds() else None


def read_extinf(text: str) -> tuple[timedelta | None, str]:
    """Read a duration and a title, as RFC 8216 §4.3.2.1 has them."""
    seconds, _, title = text.partition(",")
    return read_duration(seconds), title.strip()


def read_time(text: str) -> datetime | None:
    """Read a time in any zone, as aware UTC; without a zone it is UTC.

    A day without a time of day is none, and neither is one of another age, to which no duration could be added.
    """
    text = text[:64].strip(' "').upper()
    if ":" not in text and "T" not in text:
        return None
    try:
        found = dateutil.parse(text.replace("UTC", "Z").replace("GMT", "Z"))
    except ValueError:
        return None
    return found if _OLDEST_YEAR <= found.year <= _LATEST_YEAR else None


def read_byterange(text: str) -> tuple[int, int | None] | None:
    """Read `length[@offset]`, in bytes."""
    match = _BYTERANGE.fullmatch(text)
    return (int(match[1]), int(match[2]) if match[2] else None) if match else None


def read_resolution(text: str) -> tuple[int, int] | None:
    """Read `WIDTHxHEIGHT`, in pixels."""
    match = _RESOLUTION.fullmatch(text)
    return (int(match[1]), int(match[2])) if match else None


def read_iv(text: str) -> bytes | None:
    """Read a hexadecimal-sequence of at most 128 bits, as 16 bytes."""
    match = _IV.fullmatch(text)
    return int(match[1], 16).to_bytes(16) if match else None


def _is_plain(uri: str) -> bool:
    return _ABSOLUTE.match(uri) is not None and uri.isascii() and uri.isprintable() and " " not in uri


class Base:
    """The address of a playlist, against which the addresses in it are resolved."""

    def __init__(self, url: str) -> None:
        """Take the address from which the playlist came, after redirects."""
        self._url = url
        folder = url.partition("#")[0].partition("?")[0].rpartition("/")[0] if _is_plain(url) else ""
        self._folder = folder if folder.count("/") > 1 and "/." not in folder else ""

    def resolve(self, uri: str) -> str | None:
        """Give the absolute address of `uri` if it is an http or https one with a host."""
        if _is_plain(uri):
            return uri
        if self._folder and _FILE_NAME.fullmatch(uri):
            return f"{self._folder}/{uri}"
        try:
            given, address = urlsplit(uri), urlsplit(urljoin(self._url, uri))
            usable = address.scheme in {"http", "https"} and address.hostname and address.port != 0
        except ValueError:  # a port or an IPv6 address that cannot be
            return None
        # urllib takes `https:a.ts` and `https:///a.ts` for relative ones
        return address.geturl() if usable and uri and (given.netloc or not given.scheme) else None
