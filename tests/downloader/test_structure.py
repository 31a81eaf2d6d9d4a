"""What bytes are, and whether all of them are in their place, however they are cut into pieces."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from downloader.structure import HEAD_BYTES, BoxCheck, Form, TransportCheck, form_of
from hls_origin import PACKET, box, fragment, init_section, ts

MP4 = init_section() + fragment(1)


@pytest.mark.parametrize(
    ("head", "content_type", "form"),
    [
        (ts(1), "", Form.TRANSPORT),
        (ts(1), "text/html", Form.TRANSPORT),
        (ts(1)[:PACKET], "", Form.TRANSPORT),
        (ts(1)[:PACKET] + b"\0" * PACKET, "", Form.UNKNOWN),
        (fragment(1), "", Form.MP4),
        (init_section(), "text/plain", Form.MP4),
        (b"ID3\4\0\0\0\0\0\0", "", Form.PACKED),
        (b"\xff\xf1\x50\x80", "audio/aac", Form.PACKED),
        (b"\x0b\x77\0\0", "", Form.PACKED),
        (b"<!DOCTYPE html><html>", "", Form.TEXT),
        (b'\xef\xbb\xbf  {"error": 404}', "application/octet-stream", Form.TEXT),
        (b"#EXTM3U\n", "", Form.TEXT),
        (b"WEBVTT\n", "", Form.TEXT),
        (b"Not here.", "text/html; charset=utf-8", Form.TEXT),
        (b"Not here.", "video/mp2t", Form.UNKNOWN),
        (b"\0" * 800, "", Form.UNKNOWN),
    ],
)
def test_forms_are_told_by_their_beginning(head: bytes, content_type: str, form: Form) -> None:
    """Media is known by its first bytes whatever its type says; a type of texts counts where the bytes say nothing."""
    assert form_of(head[:HEAD_BYTES], content_type) is form


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (ts(1), ""),
        (ts(1, packets=1), ""),
        (ts(1)[:-1], "it ends within a packet"),
        (ts(1) + b"x", "it ends within a packet"),
        (ts(1)[:PACKET] + b"x" + ts(1)[PACKET:-1], "its packets do not follow each other"),
        (ts(1)[PACKET:], "it has no programme association table"),
        (b"\x47\x1f\xff\x10" + b"\xff" * 184 + ts(1), ""),
        (b"", "it has no programme association table"),
    ],
)
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 20 * PACKET), max_size=6))
def test_transport_streams_are_checked_to_the_last_packet(data: bytes, fault: str, cuts: list[int]) -> None:
    """Each packet begins with its sync byte, the last is whole, and the association is among them."""
    assert checked(TransportCheck(), data, cuts) == fault


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (MP4, ""),
        (MP4 + fragment(2) + box(b"emsg", b"x"), ""),
        (init_section() + box(b"styp", b"") + fragment(1, wide=True), ""),
        (MP4[:-1], "it ends within a box"),
        (MP4 + b"\0\0\0", "it ends within a box"),
        (MP4 + b"\0\0\0\0mdat", "it ends within a box"),
        (MP4 + b"\0\0\0\7free", "it ends within a box"),
        (fragment(1), "it is MP4 without an init section"),
        (fragment(1) + init_section(), "it is MP4 without an init section"),
        (init_section(), "it is MP4 without media"),
        (b"", "it is MP4 without an init section"),
    ],
)
@settings(max_examples=20)
@given(cuts=st.lists(st.integers(0, 400), max_size=6))
def test_fragmented_mp4_is_checked_to_the_last_box(data: bytes, fault: str, cuts: list[int]) -> None:
    """Boxes fill all of it, with an init section before the fragments."""
    assert checked(BoxCheck(), data, cuts) == fault


def checked(check: TransportCheck | BoxCheck, data: bytes, cuts: list[int]) -> str:
    at = 0
    for cut in [*sorted(cuts), len(data)]:
        check.feed(data[at:cut])
        at = max(at, cut)
    return check.fault()
