"""What a node has, in few bytes: the digests of its hours, days and qualities; pure.

    hour        the names of its complete segments, and of the tombstones of such
    day         a line "HOUR DIGEST" for each of its hours (UTC) that has a digest
    quality     a line "DAY DIGEST" for each of its days that has one

A digest is the first 16 bytes, in hexadecimal, of the SHA-256 of the lines, which are sorted and joined by newlines. So
nodes that have the same have the same digests, and where these differ, what differs is found in two steps.
"""

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from itertools import groupby

from common.segments import finished_names

# As many as no two things will ever share by chance, in half of what a SHA-256 takes.
DIGEST_BYTES = 16

_DAY_LETTERS = len("2026-03-01")


def digest(lines: Iterable[str]) -> str | None:
    """Give the digest of lines, in any order; None if there are none."""
    text = "\n".join(sorted(lines))
    return hashlib.sha256(text.encode()).digest()[:DIGEST_BYTES].hex() if text else None


def hour_digest(hour: datetime, names: Iterable[str]) -> str | None:
    """Give the digest of the names in the folder of `hour` (its first moment), in any order; None if none counts.

    What is no segment's, hidden or a `temp` does not count, nor does how often a name is told.
    """
    return digest(finished_names(hour, set(names)))


def day_digests(hours: Mapping[str, str]) -> dict[str, str]:
    """Give the digests of days (`2026-03-01`), oldest first, from those of their hours (`2026-03-01T18`)."""
    days = groupby(sorted(hours.items()), key=lambda item: item[0][:_DAY_LETTERS])
    return {day: found for day, each in days if (found := digest(map(" ".join, each))) is not None}


def quality_digest(days: Mapping[str, str]) -> str | None:
    """Give the digest of a quality from those of its days; None if it has none."""
    return digest(map(" ".join, days.items()))
