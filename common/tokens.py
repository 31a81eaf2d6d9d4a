"""The tokens by which nodes know each other (RFC 6750): a file with one in each line, which may change at any time.

    # of all our nodes; made by: openssl rand -hex 32
    6f1d...

A node that is asked takes any of them; one that asks sends the first. So a token is replaced without a gap by adding
the new one everywhere, moving it to the top everywhere, and removing the old one.
"""

import hashlib
import hmac
import os
import re
import threading
from pathlib import Path

import structlog

from common.errors import UserError

log = structlog.get_logger()

# RFC 6750 §2.1
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*")
_MOST_BYTES = 64 << 10


class TokenFile:
    """The tokens in a file. It may be used from several threads; all of it blocks."""

    def __init__(self, path: Path) -> None:
        """Read them. Raises UserError if the file cannot be read, has none, or a line of it is none."""
        self._path = path
        self._lock = threading.Lock()
        self._stamp = _stamp(path)
        self._tokens = _read(path)
        if not self._tokens:
            raise UserError(f"There is no token in {path}; put one into it, such as openssl rand -hex 32 makes.")

    def tokens(self) -> tuple[str, ...]:
        """Read the file again if it has changed, and give its tokens: none if all were removed.

        While the file cannot be read, or a line of it is no token, those that were known before; it is logged once.
        """
        stamp = _stamp(self._path)
        with self._lock:
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._tokens = _read(self._path)
                    log.info("tokens_read", path=str(self._path), tokens=len(self._tokens))
                except UserError as error:
                    log.warning("tokens_not_read", path=str(self._path), reason=str(error))
            return self._tokens

    def admits(self, token: str) -> bool:
        """Tell whether it is one of those that were last read, in a time that tells nothing of how nearly it is.

        It does not block.
        """
        asked = hashlib.sha256(token.encode(errors="surrogateescape")).digest()
        alike = [hmac.compare_digest(asked, hashlib.sha256(each.encode()).digest()) for each in self._tokens]
        return any(alike)


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - a fifth of the time, for each request
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns, found.st_size


def _read(path: Path) -> tuple[str, ...]:
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES).decode("ascii")
    except OSError as error:
        raise UserError(f"The tokens in {path} cannot be read ({error.strerror}).") from error
    except UnicodeDecodeError as error:
        raise UserError(f"There is something in {path} that is no token.") from error
    lines = [line.strip() for line in text.splitlines()]
    tokens = tuple(line for line in lines if line and not line.startswith("#"))
    for number, line in enumerate(lines, 1):
        if line in tokens and _TOKEN.fullmatch(line) is None:
            raise UserError(f"Line {number} of {path} is no token: letters, digits and -._~+/ only.")
    return tokens
