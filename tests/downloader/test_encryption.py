"""AES-128 as HLS has it: what ffmpeg has encrypted comes out clear, in whatever pieces it comes."""

import pytest
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC
from hypothesis import given
from hypothesis import strategies as st

from downloader.encryption import Decryption, Secret, key_bytes, vector, whole_blocks
from downloader.outcomes import FetchError, Reason
from downloader.playlist_values import ByteRange, Key

KEY, IV = bytes(range(16)), bytes(range(16, 32))


def encrypted(padded: bytes) -> bytes:
    encryptor = Cipher(AES128(KEY), CBC(IV)).encryptor()
    return encryptor.update(padded) + encryptor.finalize()


def padded(clear: bytes) -> bytes:
    count = 16 - len(clear) % 16
    return clear + bytes([count]) * count


def decrypted(data: bytes, cuts: list[int]) -> tuple[bytes, str]:
    decryption, clear, at = Decryption(Secret("AES-128", KEY, IV)), b"", 0
    for cut in [*sorted(cuts), len(data)]:
        clear += decryption.feed(data[at:cut])
        at = max(at, cut)
    last, fault = decryption.finish()
    return clear + last, fault


@given(clear=st.binary(max_size=100), cuts=st.lists(st.integers(0, 120), max_size=5))
def test_what_was_encrypted_comes_out_clear(clear: bytes, cuts: list[int]) -> None:
    """Padding is taken away, and nothing else, however the bytes are cut into pieces."""
    assert decrypted(encrypted(padded(clear)), cuts) == (clear, "")


@pytest.mark.parametrize(
    ("data", "fault"),
    [
        (encrypted(padded(b"a" * 40))[:-1], "what is encrypted of it is no whole number of blocks"),
        (encrypted(b"a" * 32), "its padding is wrong, so the key may be"),
        (encrypted(b"a" * 15 + b"\0"), "its padding is wrong, so the key may be"),
        (encrypted(b"a" * 15 + b"\2"), "its padding is wrong, so the key may be"),
        (encrypted(b"a" * 15 + b"\x11"), "its padding is wrong, so the key may be"),
        (b"", "its padding is wrong, so the key may be"),
    ],
)
def test_what_is_wrong_is_told_and_nothing_lost(data: bytes, fault: str) -> None:
    """Missing bytes and wrong padding are faults; what could be decrypted is given all the same."""
    clear, found = decrypted(data, [7])
    assert found == fault
    assert len(clear) == len(data) // 16 * 16


def test_without_an_iv_it_is_the_sequence_number() -> None:
    """RFC 8216 §5.2: the number of the segment, 16 bytes, big-endian."""
    assert vector(Key("AES-128", "http://k/", IV), 7) == IV
    assert vector(Key("AES-128", "http://k/"), 0x0102) == b"\0" * 14 + b"\1\2"


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        (Key("SAMPLE-AES", "http://k/"), "It is encrypted as SAMPLE-AES, which cannot be recorded."),
        (Key("SAMPLE-AES-CTR", ""), "It is encrypted as SAMPLE-AES-CTR, which cannot be recorded."),
        (Key("", "http://k/"), "It is encrypted in a way that it does not tell, so it cannot be recorded."),
        (Key("AES-128", ""), "It is encrypted, and its key is not to be had over HTTP."),
        (Key("AES-128", "http://k/", None, "com.apple.x"), "It is encrypted, and its key is not to be had over HTTP."),
    ],
)
def test_what_cannot_be_decrypted_is_unusable(key: Key, sentence: str) -> None:
    """Copy protection and keys that are not fetched over HTTP are told in one sentence, and not tried again."""
    with pytest.raises(FetchError) as raised:
        key_bytes(key)
    assert (str(raised.value), raised.value.reason, raised.value.gone) == (sentence, Reason.UNUSABLE, True)


@pytest.mark.parametrize(("method", "length"), [("AES-128", 16), ("AES-256", 32), ("AES-256-CTR", 32)])
def test_each_method_has_its_length_of_key(method: str, length: int) -> None:
    """As many bytes as the key has are asked for."""
    assert key_bytes(Key(method, "http://k/")) == length


def test_ranges_are_whole_blocks() -> None:
    """A range that is as long as its content in the clear goes on to the end of its last block."""
    assert whole_blocks(ByteRange(702_180, 7)) == ByteRange(702_192, 7)
    assert whole_blocks(ByteRange(16, 0)) == ByteRange(16, 0)
