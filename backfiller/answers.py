"""What other nodes answer, as values; pure. Whatever is none raises BadAnswerError."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from backfiller.outcomes import NodeError, Outcome
from common.dateutil import is_hour

# No more channels, qualities, days or hours are believed: ten years of hours, and of names as many as segments of a
# fifth of a second with four candidates each.
MOST_PARTS = 100_000
MOST_NAMES = 72_000

# As many as those take.
MOST_LISTING_BYTES = 8 << 20


class BadAnswerError(ValueError):
    """An answer that is no list of names, or no digests; its text is one sentence."""


def names_of(body: bytes, most: int = MOST_NAMES) -> list[str]:
    """Read a listing: a JSON list of at most so many texts."""
    found = _read(body)
    if not isinstance(found, list) or not all(isinstance(name, str) for name in found):
        raise BadAnswerError("It lists no names.")
    if len(found) > most:
        raise BadAnswerError(f"It lists {len(found)} names, where {most} are the most that can be.")
    return found


def hours_of(body: bytes) -> list[str]:
    """Read a listing of hours; what is none is left out."""
    return [name for name in names_of(body, MOST_PARTS) if is_hour(name)]


def digests_of(body: bytes) -> dict[str, str]:
    """Read digests by what they are of: an object of texts."""
    return dict(_texts(_read(body)))


def all_digests_of(body: bytes) -> dict[tuple[str, str], str]:
    """Read digests by channel and quality: an object of objects of texts."""
    found = _read(body)
    if not isinstance(found, Mapping):
        raise BadAnswerError("It gives no digests.")
    digests = {(channel, quality): each for channel, inner in found.items() for quality, each in _texts(inner)}
    if len(digests) > MOST_PARTS:
        raise BadAnswerError("It gives more digests than can be.")
    return digests


def _texts(found: object) -> Iterator[tuple[str, str]]:
    if not isinstance(found, Mapping) or len(found) > MOST_PARTS:
        raise BadAnswerError("It gives no digests.")
    for name, each in found.items():
        if not isinstance(each, str):
            raise BadAnswerError("It gives no digests.")
        yield name, each


def _read(body: bytes) -> object:
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise BadAnswerError("It is no JSON.") from None


@contextmanager
def sense() -> Iterator[None]:
    """Make a NodeError of what is no sensible answer."""
    try:
        yield
    except BadAnswerError as error:
        raise NodeError(str(error), Outcome.NONSENSE) from error
