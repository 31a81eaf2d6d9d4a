"""What we think of a node: whether it lies, and what it could not give us a while ago."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field

# So many lies that no sound answers outweigh, and nothing is asked of a node for a while; a disk that has rotted in one
# place makes a few, in a segment each.
_MOST_LIES = 3.0
_FORGIVEN = 0.05  # of a lie, by each sound segment

_FIRST_AWAY_SECONDS = 60.0
_LONGEST_AWAY_SECONDS = 3600.0

# After this a segment that could not be had is asked for again, then after four times as long, up to a day.
_FIRST_RETRY_SECONDS = 60.0
_LONGEST_RETRY_SECONDS = 86400.0
_MOST_REMEMBERED = 20_000

# A segment: the channel, quality and hour, and its name.
Key = tuple[str, str, str, str]


@dataclass(slots=True)
class Standing:
    """The standing of one node; its times are those of `clock`, in seconds."""

    clock: Callable[[], float] = time.monotonic
    _lies: float = 0.0
    _times: int = 0
    _until: float = 0.0
    _failed: dict[Key, tuple[int, float]] = field(default_factory=dict)

    @property
    def away_seconds(self) -> float:
        """For how long nothing is to be asked of it."""
        return max(0.0, self._until - self.clock())

    def gave(self, key: Key) -> None:
        """It gave a segment as it should."""
        self._lies = max(0.0, self._lies - _FORGIVEN)
        self._failed.pop(key, None)

    def lied(self) -> bool:
        """It gave what no sound node does; tell whether that was once too often, so that it is put away now."""
        if self.away_seconds:  # what was under way when it was put away
            return False
        self._lies += 1.0
        if self._lies < _MOST_LIES:
            return False
        self._lies = 0.0
        self._until = self.clock() + min(_LONGEST_AWAY_SECONDS, _FIRST_AWAY_SECONDS * 2.0 ** min(self._times, 16))
        self._times += 1
        return True

    def failed(self, key: Key) -> None:
        """It could not give a segment: it is not asked for that for a while."""
        count = self._failed.pop(key, (0, 0.0))[0]
        pause = min(_LONGEST_RETRY_SECONDS, _FIRST_RETRY_SECONDS * 4.0 ** min(count, 16))
        self._failed[key] = (count + 1, self.clock() + pause)
        if len(self._failed) > _MOST_REMEMBERED:
            del self._failed[next(iter(self._failed))]

    def failing(self, channel: str, quality: str, hour: str) -> set[str]:
        """Name the segments of an hour that are not to be asked for now."""
        now, place = self.clock(), (channel, quality, hour)
        # a copy, made in one step: it is asked for in one thread while others fail in another
        failed = list(self._failed.items())
        return {key[3] for key, (_, until) in failed if key[:3] == place and until > now}
