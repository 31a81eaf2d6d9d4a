"""What becomes of a segment that could not be fetched. Pure."""

from dataclasses import dataclass

from downloader.outcomes import FetchError, Reason

# Tries of a segment, with growing pauses in between: some two minutes in all, longer than most origins keep one.
MOST_TRIES = 12

# Some CDNs answer 404 for a moment for what they have just listed, or have no more on one of their machines.
_YOUNG_SECONDS = 10.0

# Whatever happens, after so long nobody waits for it any more.
_OLD_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Tries:
    """What is known of a segment: how many attempts have failed, how long ago it was new, and whether it is listed."""

    failed: int
    age: float
    listed: bool


def is_hopeless(error: FetchError, tries: Tries) -> bool:
    """Tell whether no further attempt at a segment can help, or none is worth it."""
    if tries.failed >= MOST_TRIES or tries.age > _OLD_SECONDS:
        return True
    if error.reason is Reason.EXPIRED:
        return not tries.listed and tries.age > _YOUNG_SECONDS
    return error.gone
