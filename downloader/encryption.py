"""Segments encrypted as a whole, in the clear again: METHOD=AES-128 of RFC 8216 §5.2. Pure.

AES-CBC with padding of PKCS7, from OpenSSL by the package `cryptography`; with a byte range it is the range that is
encrypted.
"""

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC

from downloader.outcomes import FetchError, Reason
from downloader.playlist_values import Key

BLOCK_BYTES = KEY_BYTES = 16


def check_usable(key: Key) -> None:
    """Raise FetchError if nothing encrypted so can be recorded."""
    if key.method != "AES-128":
        how = f"as {key.method}, which cannot" if key.method else "in a way that it does not tell, so it cannot"
        raise FetchError(f"It is encrypted {how} be recorded.", Reason.UNUSABLE)
    if key.keyformat != "identity" or not key.uri:
        raise FetchError("It is encrypted, and its key is not to be had over HTTP.", Reason.UNUSABLE)


class Decryption:
    """Encrypted bytes in, clear bytes out, as they come; the last block waits for the end."""

    def __init__(self, key: bytes, iv: bytes) -> None:
        """Take a key and an initialisation vector of 16 bytes each."""
        self._decryptor = Cipher(AES128(key), CBC(iv)).decryptor()
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Give what is clear so far, but for the last block, which may be padding."""
        clear = self._held + self._decryptor.update(data)
        self._held = clear[-BLOCK_BYTES:]
        return clear[:-BLOCK_BYTES]

    def finish(self) -> tuple[bytes, str]:
        """Give the rest without its padding, and what is wrong: empty if nothing is."""
        last, self._held = self._held, b""
        try:
            self._decryptor.finalize()
        except ValueError:
            return last, "what is encrypted of it is no whole number of blocks"
        count = last[-1] if last else 0
        if not 1 <= count <= len(last) or last[-count:] != bytes([count]) * count:
            return last, "its padding is wrong, so the key may be"
        return last[:-count], ""


def vector(key: Key, sequence: int) -> bytes:
    """Give the initialisation vector of a segment: the key's, or the segment's sequence number."""
    return key.iv if key.iv is not None else sequence.to_bytes(BLOCK_BYTES)
