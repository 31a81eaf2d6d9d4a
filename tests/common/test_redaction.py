"""Secrets in what is logged, in the forms in which they have been seen in logs."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from yarl import URL

from common.redaction import HIDDEN, hide, hide_in

# What must not be there afterwards, however it was written.
SECRET = "Zm9vYmFyYmF6cXV4Y29ycmdl"
LONG = SECRET * 5
JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U"
KEY = "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\nBKcwggSjAgEAAoIBAQC7\n-----END PRIVATE KEY-----"


@pytest.mark.parametrize(
    "text",
    [
        # addresses
        f"GET https://usher.example/api/channel/hls/name.m3u8?sig=1&token={SECRET}",
        f"https://user:{SECRET}@host.example/path",
        f"https://{SECRET}@host.example",
        f"rtmp://a.example/live?x={SECRET}",
        f"https://bucket.s3.amazonaws.com/k?X-Amz-Credential=AKIDEXAMPLE&X-Amz-Signature={SECRET}",
        f"https://www.example/upload?upload_id={SECRET}",
        f"https://host.example/page#access_token={SECRET}",
        f"URL('http://host.example/x?nauthsig={SECRET}')",
        f"https://video-weaver.example/v1/playlist/{LONG}.m3u8",
        f"https://live.example/hls/exp=1790000000~acl=/*~hmac={SECRET}/1.ts",
        f"https://live.example/hls;token={SECRET}/1.ts",
        f"/cut/chan/source.ts?start=2026-03-01T12:00:00Z&access_token={SECRET}&end=2026-03-01T12:00:01Z",
        f"Cannot connect to host api.example:443 (https://api.example/v1?key={SECRET})",
        # databases
        f"postgresql://respool:{SECRET}@db:5432/respool",
        f"postgres://respool:a/b@c#d?{SECRET}@db/respool",
        f"postgresql://db/respool?user=respool&password={SECRET}",
        f"host=db user=respool password={SECRET} dbname=respool",
        f"password='it''s {SECRET}' host=db",
        # headers
        f"Authorization: Bearer {SECRET}",
        f"authorization: Basic {SECRET}=",
        f"Authorization: AWS4-HMAC-SHA256 Credential=AKID/2026/s3, Signature={SECRET}",
        f"Cookie: theme=dark; session={SECRET}; more={SECRET}",
        f"{{'Authorization': 'OAuth {SECRET}', 'Accept': '*/*'}}",
        f"{{'Cookie': 'a=b; c={SECRET}'}}",
        f"<CIMultiDict('Set-Cookie': 'sid={SECRET}; Path=/')>",
        f"X-Auth-Token: {SECRET}",
        f"b'Proxy-Authorization: Basic {SECRET}'",
        f"sent with bearer {SECRET}",
        # JSON, TOML, reprs
        f'{{"client_secret": "{SECRET}", "a": 1}}',
        f'{{\\"refresh_token\\":\\"{SECRET}\\"}}',
        f"Credentials(refresh_token='{SECRET}', scopes=None)",
        f'secret_access_key = "{SECRET}"',
        f"aws_secret_access_key={SECRET}",
        f"apiKey={SECRET}",
        f"passphrase: {SECRET}",
        # by form alone
        f"the answer was ya29.{SECRET}",
        f"refresh with 1//0{SECRET}",
    ],
)
def test_secrets_are_hidden(text: str) -> None:
    """A secret is hidden in a text, and that there was one is seen."""
    hidden = hide_in(text)
    assert SECRET not in hidden
    assert HIDDEN in hidden
    assert hide_in(hidden) == hidden


@pytest.mark.parametrize("text", [JWT, f"rejected: {JWT}", f"told {KEY} here", "AKIAIOSFODNN7EXAMPLE is away"])
def test_known_forms_are_hidden(text: str) -> None:
    """What is a secret by its form is hidden wherever it stands."""
    hidden = hide_in(text)
    assert HIDDEN in hidden
    assert not any(part in hidden for part in ("dozjg", "MIIE", "BKcw", "IOSFODNN"))


@pytest.mark.parametrize(
    "text",
    [
        "segment_committed",
        "2026-03-01T12:00:00.000000Z",
        "chan/source 2026-03-01T12:00:00Z to 2026-03-01T12:00:10Z",
        "/srv/respool/segments/chan/source/2026-03-01T12/00:00.000000-2.0-full-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.ts",
        "https://live.example:8443/hls/chan/playlist.m3u8",
        "http://127.0.0.1:8000/segments/chan/source/2026-03-01T12/00:00.000000-2.0-full-47DEQpj8HBSa-_TImW-5JCeuQeRkm5NMpJWZG3hSuFU.ts",
        "/cut/chan/source.ts?start=2026-03-01T12:00:00Z&type=smart&allow_holes=true",
        "The disk is full; make room in /srv/respool.",
        "No key frame comes: it begins at 3.2 s, with codec=h264.",
        "[Errno 111] Connect call failed ('127.0.0.1', 5432)",
        "ffmpeg (full) failed with exit code 1: Invalid data found when processing input",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    """What operators need of a line is left as it is."""
    assert hide_in(text) == text


def test_what_is_around_a_secret_stays() -> None:
    """Of an address, host and path are left, so that it can be told what was asked for."""
    assert hide_in(f"https://me:{SECRET}@a.example:8443/b/c.m3u8?token={SECRET} failed.") == (
        "https://***@a.example:8443/b/c.m3u8?*** failed."
    )
    assert hide_in(f"postgresql://me:{SECRET}@db:5432/respool") == "postgresql://***@db:5432/respool"
    assert (
        hide_in(f'{{"client_secret": "{SECRET}", "client_id": "me"}}') == '{"client_secret": "***", "client_id": "me"}'
    )


def test_events_are_looked_through() -> None:
    """Fields are hidden by their name, and in whatever they hold; numbers and times stay."""
    event: dict[str, Any] = {
        "event": "asked",
        "token": SECRET,
        "headers": {"Authorization": f"Bearer {SECRET}", "Accept": "*/*", "nested": [f"sig={SECRET}", 3]},
        "url": URL(f"https://a.example/x?token={SECRET}"),
        "path": Path("/srv/respool"),
        "error": ValueError(f"password={SECRET}"),
        "tokens": 3,
        "when": datetime(2026, 3, 1, tzinfo=UTC),
        "none": None,
    }
    assert SECRET not in repr(hide(event))
    assert event["headers"]["Accept"] == "*/*"
    assert event["headers"]["nested"][1] == 3
    assert (event["event"], event["tokens"], event["none"]) == ("asked", 3, None)
    assert event["path"] == "PosixPath('/srv/respool')"
    assert event["url"] == "URL('https://a.example/x?***')"


def test_a_long_text_takes_no_long_time() -> None:
    """Texts made to keep an expression busy are read through once, more or less."""
    parts = [
        "token",
        "a=",
        "://",
        "a",
        "-----BEGIN PRIVATE KEY-----",
        '"',
        "postgres://",
        "eyJ-",
        "cookie: ",
        "token = '",
    ]
    for text in ("a=" + part * 5000 for part in parts):
        hide_in(text)
