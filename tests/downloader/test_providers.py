"""Providers: what an address tells of its end, and texts of other libraries without secrets."""

import base64
import json
from datetime import UTC, datetime, timedelta
from urllib.parse import quote, urlencode

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.providers import Playlists, UrlProvider, good_for, is_http, plainly

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
END = int(NOW.timestamp()) + 3600
HOUR = timedelta(hours=1)


def jwt(**claims: object) -> str:
    parts = ({"alg": "ES384"}, claims)
    encoded = (base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)
    return ".".join([*encoded, "c2lnbmF0dXJl"])


TWITCH = {"adblock": False, "channel": "x", "expires": END, "chansub": {"view_until": 1924905600}}


@pytest.mark.parametrize(
    "url",
    [
        f"https://host/x.m3u8?expire={END}&sig=1",
        f"https://host/x.m3u8?Expires={END}&Signature=a~b",
        f"https://host/x.m3u8?exp={END}",
        f"https://host/x.m3u8?hdnts=st={END - 7200}~exp={END}~acl=/*~hmac=ab",
        f"https://host/x.m3u8?hdnea=exp%3D{END}~acl%3D%2F%2A~hmac%3Dab",
        f"https://host/hdntl=exp={END}~acl=%2f*~data=hdntl~hmac=ab/x.m3u8",
        f"https://host/x.m3u8?token=id=170,bid=19,exp={END},node=a&sig=1",
        f"https://host/api/hls_variant/expire/{END}/ei/abc/ip/1.2.3.4/file/index.m3u8",
        f"https://usher.ttvnw.net/api/v2/channel/hls/x.m3u8?sig=1&token={quote(json.dumps(TWITCH))}",
        f"https://host/x.m3u8?token={jwt(sub='x', exp=END)}",
        f"https://host/x.m3u8?expire={END}&token={jwt(exp=END + 60)}",
    ],
)
def test_signed_addresses_tell_their_end(url: str) -> None:
    """A usual name, a list in a value or in the path, JSON and a JSON Web Token are read; the earliest counts."""
    assert good_for(url, NOW) == HOUR
    assert good_for(url, NOW + timedelta(minutes=59)) == timedelta(minutes=1)


@pytest.mark.parametrize(
    "url",
    [
        "https://host/x.m3u8",
        f"https://host/x.m3u8?start={END}&t={END}",
        f"https://host/x.m3u8?expire={END - 3601}",
        "https://host/x.m3u8?expire=9999999999",
        "https://host/x.m3u8?expire=soon&exp=12",
        "https://host/x.m3u8?token={&exp[]=1",
        "https://host/x.m3u8?token=" + quote("[" * 20_000),
        "https://host/x.m3u8?token=" + quote('{"expires": [1]}'),
        "https://host/x.m3u8?token=eyJh.not-base64!.x",
        f"https://host/x.m3u8?token={jwt(iss='x')}",
        "https://host/x.m3u8?" + "&".join(f"a{n}=1" for n in range(200)),
        "https://[::1/x.m3u8?expire=1",
    ],
)
def test_other_addresses_tell_nothing(url: str) -> None:
    """Without a believable moment nothing is said, whatever stands there."""
    assert good_for(url, NOW) is None


@given(st.text(), st.text(), st.text())
def test_any_address_can_be_looked_at(path: str, name: str, value: str) -> None:
    """No text makes it fail."""
    good_for(f"https://host/{path}?{name}={value}", NOW)
    good_for(f"https://host/?{urlencode({name: value})}", NOW)


def test_plain_url_is_its_own_answer() -> None:
    """An HLS address is given as it is, with what it tells of its end."""
    assert UrlProvider("https://host/x.m3u8").find() == Playlists("https://host/x.m3u8")
    moment = int(datetime.now(UTC).timestamp()) + 3600
    left = UrlProvider(f"https://host/x.m3u8?expire={moment}").find().expires_in
    assert left is not None
    assert timedelta(minutes=50) < left <= HOUR


@pytest.mark.parametrize(
    ("url", "good"),
    [
        ("http://host/x", True),
        ("https://host:8443/x?y=z", True),
        ("http://[::1]:80/", True),
        ("file:///etc/passwd", False),
        ("http://", False),
        ("http://host:0/", False),
        ("http://host:99999/", False),
        ("http://[::1", False),
        ("host/x.m3u8", False),
        ("", False),
    ],
)
def test_only_web_addresses_are_taken(url: str, good: bool) -> None:  # noqa: FBT001 - a table
    """An address has http or https, a host and a port that can be."""
    assert is_http(url) is good


def test_words_of_libraries_lose_their_secrets() -> None:
    """Addresses are cut at the question mark, lines become one, and the whole is short."""
    error = ValueError("Unable to open URL: https://u:p@host/x.m3u8?sig=SECRET\n (404 for url: 'http://host/?SECRET').")
    assert plainly(error) == "Unable to open URL: https://host/x.m3u8 (404 for url: 'http://host/')"
    assert plainly(RuntimeError()) == "RuntimeError"
    assert len(plainly(RuntimeError("x " * 10_000))) <= 300
