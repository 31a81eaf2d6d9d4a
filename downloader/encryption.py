"""Segments encrypted as a whole, in the clear again: METHOD=AES-128 of RFC 8216 §5.2, and its longer relatives. Pure.

AES-CBC with padding of PKCS7, from OpenSSL by the package `cryptography`; with a byte range it is the range that is
encrypted. AES-256 and AES-256-CTR, in no RFC but in players, are the same with a longer key, and without padding.
"""

from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CBC, CTR

from downloader.outcomes import FetchError, Reason
from downloader.playlist_values import ByteRange, Key

BLOCK_BYTES = 16

# The length of the key that each method has, in bytes.
_KEY_BYTES = {"AES-128": 16, "AES-256": 32, "AES-256-CTR": 32}
_UNPADDED = frozenset({"AES-256-CTR"})


@dataclass(frozen=True, slots=True)
class Secret:
    """All that it takes to decrypt: `key` and `iv` are bytes, as many as the method asks for."""

    method: str
    key: bytes
    iv: bytes

    @property
    def padded(self) -> bool:
        """Whether what is encrypted is whole blocks, the last of them filled up."""
        return self.method not in _UNPADDED


def key_bytes(key: Key) -> int:
    """Give how long the key is. Raises FetchError if nothing encrypted so can be recorded."""
    if key.method not in _KEY_BYTES:
        how = f"as {key.method}, which cannot" if key.method else "in a way that it does not tell, so it cannot"
        raise FetchError(f"It is encrypted {how} be recorded.", Reason.UNUSABLE)
    if key.keyformat != "identity" or not key.uri:
        raise FetchError("It is encrypted, and its key is not to be had over HTTP.", Reason.UNUSABLE)
    return _KEY_BYTES[key.method]


def vector(key: Key, sequence: int) -> bytes:
    """Give the initialisation vector of a segment: the key's, or the segment's sequence number."""
    return key.iv if key.iv is not None else sequence.to_bytes(BLOCK_BYTES)


def whole_blocks(byterange: ByteRange) -> ByteRange:
    """Give the range that is encrypted: some packagers write how long it is when it is clear."""
    return ByteRange(-(-byterange.length // BLOCK_BYTES) * BLOCK_BYTES, byterange.start)


class Decryption:
    """Encrypted bytes in, clear bytes out, as they come; the last block waits for the end."""

    def __init__(self, secret: Secret) -> None:
        """Take what it takes."""
        mode = CBC(secret.iv) if secret.padded else CTR(secret.iv)
        self._decryptor = Cipher(AES(secret.key), mode).decryptor()
        self._padded = secret.padded
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Give what is clear so far, but for the last block, which may be padding."""
        clear = self._held + self._decryptor.update(data)
        if not self._padded:
            return clear
        self._held = clear[-BLOCK_BYTES:]
        return clear[:-BLOCK_BYTES]

    def finish(self) -> tuple[bytes, str]:
        """Give the rest without its padding, and what is wrong: empty if nothing is."""
        last, self._held = self._held, b""
        try:
            self._decryptor.finalize()
        except ValueError:
            return last, "what is encrypted of it is no whole number of blocks"
        if not self._padded:
            return last, ""
        count = last[-1] if last else 0
        if not 1 <= count <= len(last) or last[-count:] != bytes([count]) * count:
            return last, "its padding is wrong, so the key may be"
        return last[:-count], ""
