"""Times: from streams, from requests, and in names of our own making. Everything returned is aware and UTC."""

import re
from datetime import UTC, datetime, timedelta

HOUR = timedelta(hours=1)

# Outside of these years no recording can lie, and sums with an hour or a day could overflow.
_FIRST_YEAR, _LAST_YEAR = 1900, 9000
_HOUR_NAME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}")


def parse(text: str) -> datetime:
    """Read an ISO 8601 time in any zone, as streams and command lines give it; without a zone it is taken as UTC.

    Raises ValueError, in one sentence, if `text` is no such time.
    """
    moment = _from_iso(text.strip())
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def parse_utc_only(text: str) -> datetime:
    """Read an ISO 8601 time of a request: UTC, said by `Z`, by `+00:00` or by no zone at all.

    Raises ValueError, in one sentence, for anything else; another zone is refused rather than converted, since in a
    request it is more often a mistake than a wish.
    """
    moment = _from_iso(text)
    if moment.utcoffset():
        raise ValueError(f"{text[:64]!r} is not in UTC; leave the zone out or write Z.")
    return moment.replace(tzinfo=UTC)


def _from_iso(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"{text[:64]!r} is not an ISO 8601 time such as 2026-03-01T18:30:00Z.") from None
    if not _FIRST_YEAR <= moment.year <= _LAST_YEAR:
        raise ValueError(f"{text[:64]!r} lies outside of the years {_FIRST_YEAR} to {_LAST_YEAR}.")
    return moment


def format_utc(moment: datetime) -> str:
    """Write an aware time as `2026-03-01T18:30:00.000000Z`: the one form that we put into playlists, JSON and URLs."""
    return moment.astimezone(UTC).replace(tzinfo=None).isoformat(timespec="microseconds") + "Z"


def hour_name(moment: datetime) -> str:
    """Name the UTC hour in which an aware `moment` lies, as its folder is called: `2026-03-01T18`."""
    return moment.astimezone(UTC).isoformat()[:13]


def parse_hour(name: str) -> datetime:
    """Give the first moment of the hour with this folder name. Raises ValueError, in one sentence, if it is none."""
    if not _HOUR_NAME.fullmatch(name):
        raise ValueError(f"{name[:64]!r} is not an hour such as 2026-03-01T18.")
    return _from_iso(name + ":00:00+00:00")


def is_hour(name: str) -> bool:
    """Tell whether this is the name of an hour."""
    try:
        parse_hour(name)
    except ValueError:
        return False
    return True


def floor_hour(moment: datetime) -> datetime:
    """Give the first moment of the UTC hour in which an aware `moment` lies."""
    return moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hours_touching(start: datetime, end: datetime) -> list[datetime]:
    """List the first moments of all hours that hold some instant of the range, both ends included, oldest first."""
    first = floor_hour(start)
    return [first + n * HOUR for n in range((end - first) // HOUR + 1)]
