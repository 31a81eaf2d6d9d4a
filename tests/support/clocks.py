"""A clock that stands until a test moves it."""

from dataclasses import dataclass
from datetime import UTC, datetime

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@dataclass(slots=True)
class Clock:
    """Tells `now`, which tests set."""

    now: datetime = NOON

    def __call__(self) -> datetime:
        return self.now
