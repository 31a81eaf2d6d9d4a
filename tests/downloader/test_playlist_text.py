from urllib.parse import urljoin

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.playlist_text import Base, lines, quote, read_attributes

BASE = "https://origin.example/live/x/list.m3u8?a=/b/../c"


@given(st.text("a1./?%_-=&", min_size=1, max_size=12))
def test_the_short_way_gives_the_address_that_urllib_gives(uri: str) -> None:
    """What is joined by hand, for speed, is joined as RFC 3986 says."""
    # urllib drops empty path segments ("a//b"), which RFC 3986 keeps and some origins need
    if "//" not in uri:
        assert Base(BASE).resolve(uri) == urljoin(BASE, uri)


def test_empty_path_segments_and_signatures_are_kept() -> None:
    """An address that an origin signed is not tidied up."""
    assert Base("http://h/a//b/list.m3u8").resolve("c//d.ts?s=%2f&&") == "http://h/a//b/c//d.ts?s=%2f&&"
    assert Base(BASE).resolve("https://cdn.example/a/../b?") == "https://cdn.example/a/../b?"


@pytest.mark.parametrize(
    ("base", "uri", "address"),
    [
        ("http://h", "a.ts", "http://h/a.ts"),
        ("http://h?x=/y/", "a.ts", "http://h/a.ts"),
        ("http://h/", "a.ts", "http://h/a.ts"),
        ("http://h/x/l.m3u8", "../a.ts", "http://h/a.ts"),
        ("http://h/x/l.m3u8", "//g/a.ts", "http://g/a.ts"),
        ("http://h/x/l.m3u8", "?n=1", "http://h/x/l.m3u8?n=1"),
        ("http://h/x/l.m3u8", "HTTPS://g:8443/a b.ts", "https://g:8443/a b.ts"),
        ("http://h/x/l.m3u8", "http://user:secret@g/a.ts", "http://user:secret@g/a.ts"),
        ("http://[::1]:8000/x/l.m3u8", "a.ts", "http://[::1]:8000/x/a.ts"),
        ("http://h/x/l.m3u8", "a:b.ts", None),
        ("http://h/x/l.m3u8", "http://g:0/a.ts", None),
        ("http://h/x/l.m3u8", "", None),
    ],
)
def test_addresses_are_resolved_or_refused(base: str, uri: str, address: str | None) -> None:
    """Whatever has no http or https host in the end is none."""
    assert Base(base).resolve(uri) == address


def test_attribute_lists_as_they_are_written() -> None:
    """Quotes hold commas and equals signs; blanks, case, a missing value and a last comma do no harm."""
    text = 'A="x,y=z", b = "c" ,EMPTY=,FLAG,N=1.5,OPEN="no end,'
    assert read_attributes(text) == {"A": "x,y=z", "B": "c", "EMPTY": "", "FLAG": "", "N": "1.5", "OPEN": "no end"}


quotable = st.text(st.characters(exclude_characters='"\r\n', exclude_categories=["Cs"]), max_size=9).map(str.strip)


@given(st.dictionaries(st.text("ABC-", min_size=1), quotable))
def test_attribute_lists_are_read_back(attributes: dict[str, str]) -> None:
    """Reading is the inverse of writing, whatever stands in the quotes."""
    assert read_attributes(",".join(f'{name}="{value}"' for name, value in attributes.items())) == attributes


def test_only_cr_and_lf_end_a_line() -> None:
    """Other separators of Unicode belong to the line."""
    assert list(lines("a\u2028b\r\n\n  c\x0bd\x85e \rf")) == ["a\u2028b", "c\x0bd\x85e", "f"]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("a.ts", "'a.ts'"),
        ("https://user:secret@host/a.ts?token=secret", "'https://host/a.ts?'"),
        ("//user@host/a.ts", "'//host/a.ts'"),
        ("https://host/@user/a.ts", "'https://host/@user/a.ts'"),
        ("x" * 99, repr("x" * 80)),
        ("a\nb\x1b", r"'a\nb\x1b'"),
    ],
)
def test_a_stranger_s_text_is_quoted_without_secrets(text: str, shown: str) -> None:
    """What a sentence quotes is short, printable, and has neither the user nor the query of an address."""
    assert quote(text) == shown
