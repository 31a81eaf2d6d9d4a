"""Providers: what turns the address that a user gives to a channel into the address of its playlists.

A provider is a small class with two members (`Provider`); docs/providers.md shows how one is written. It may block,
hang and raise what it likes: `finder` deals with that.
"""

import base64
import binascii
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Protocol
from urllib.parse import parse_qsl, unquote, urlsplit

from common.addresses import without_secrets

# Addresses that last longer than this do not matter to anybody; and nonsense such as the year 9999 is far beyond.
_LONGEST = timedelta(days=365)

# How a moment is called at which a signed address ends, case aside; the value is a Unix time in seconds.
_EXPIRY_NAMES = {"exp", "expire", "expires", "expiry"}
_MOMENT = re.compile(r"[0-9]{10}")

# Akamai's tokens are lists of their own within a query's value or a part of the path: `exp=1700000000~acl=/*~hmac=...`.
_IN_LIST = re.compile(r"(?:^|[~=,;&])exp(?:ires?)?=([0-9]{10})(?=[~,;&]|$)", re.IGNORECASE)

# Some put names and values into the path: `/expire/1700000000/`.
_IN_PATH = re.compile(r"/exp(?:ires?)?/([0-9]{10})(?=/|$)", re.IGNORECASE)

# A JSON Web Token (RFC 7519): header, claims and signature; `exp` is one of the claims.
_JWT = re.compile(r"[A-Za-z0-9_-]{2,4096}\.([A-Za-z0-9_-]{2,8192})\.[A-Za-z0-9_-]*")

_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>]+")
_LONGEST_TEXT = 300


class ProviderError(Exception):
    """A channel's playlists could not be found, which a stream that is offline counts as; one plain sentence."""


@dataclass(frozen=True, slots=True)
class Playlists:
    """Where the playlists of a channel are.

    `url` is a multivariant or a media playlist. `qualities` are media playlists by the quality's name, the best first,
    if the provider knows them itself; others are chosen from `url`. `headers` go with every request of the channel.
    `expires_in` is how long all of these addresses, and those that they lead to, are good, as far as is known.
    """

    url: str
    headers: Mapping[str, str] = field(default_factory=dict)
    expires_in: timedelta | None = None
    qualities: Mapping[str, str] = field(default_factory=dict)


class Provider(Protocol):
    """What finds the playlists of one channel."""

    @property
    def address(self) -> str:
        """What the user has named, without the provider's name; it may hold secrets."""

    def find(self) -> Playlists:
        """Find the playlists as they are now; called in a thread of its own, again and again over the years.

        Raises ProviderError with one plain sentence; anything else that it raises is made one.
        """


@dataclass(frozen=True, slots=True)
class UrlProvider:
    """Any HLS stream: the address is that of its playlist."""

    address: str

    def find(self) -> Playlists:
        """Give it as it is."""
        return Playlists(self.address, expires_in=good_for(self.address, datetime.now(UTC)))


def is_http(url: str) -> bool:
    """Tell whether this is an http or https address with a host."""
    try:
        address = urlsplit(url)
        return address.scheme in ("http", "https") and bool(address.hostname) and address.port != 0
    except ValueError:  # a port or an IPv6 address that cannot be
        return False


def good_for(url: str, now: datetime) -> timedelta | None:
    """Tell how long after `now` (aware) a signed address is good, by what stands in it; None if it does not tell.

    Known are a Unix time under a usual name in the query or the path, a list with `exp=` (as `hdnts`, `hdnea`, `hdntl`
    have it), JSON with `expires` (Twitch) and JSON Web Tokens. Of several the earliest counts; one that has passed, or
    lies more than a year ahead, is not believed.
    """
    try:
        parts = urlsplit(url)
        values = parse_qsl(parts.query, max_num_fields=100)
    except ValueError:
        return None
    path = unquote(parts.path)
    moments = [*_IN_PATH.findall(path), *_IN_LIST.findall(path)]
    for name, value in values:
        moments += _moments(name, value)
    left = [timedelta(seconds=int(moment) - now.timestamp()) for moment in moments]
    return min((time for time in left if timedelta() < time < _LONGEST), default=None)


def _moments(name: str, value: str) -> Iterator[str]:
    """Give the Unix times at which a part of the query says that the address ends."""
    if name.casefold() in _EXPIRY_NAMES and _MOMENT.fullmatch(value):
        yield value
    yield from _IN_LIST.findall(value)
    claims = value if value.startswith("{") else _claims(value)
    if claims:
        yield from _in_json(claims)


def _claims(value: str) -> str:
    token = _JWT.fullmatch(value)
    if token is None:
        return ""
    with_padding = token[1] + "=" * (-len(token[1]) % 4)
    try:
        return base64.urlsafe_b64decode(with_padding).decode()
    except (binascii.Error, UnicodeDecodeError):
        return ""


def _in_json(text: str) -> Iterator[str]:
    try:
        fields = json.loads(text)
    except (ValueError, RecursionError):
        return
    if isinstance(fields, dict):
        told = (str(value) for name, value in fields.items() if name.casefold() in _EXPIRY_NAMES)
        yield from filter(_MOMENT.fullmatch, told)


def plainly(error: BaseException) -> str:
    """Give another library's words for an error in one short line, with the secrets in its addresses left out."""
    text = " ".join(str(error).split())[: 10 * _LONGEST_TEXT]
    text = _ADDRESS.sub(lambda found: without_secrets(found[0]), text)
    return text[:_LONGEST_TEXT].rstrip(" .") or type(error).__name__
