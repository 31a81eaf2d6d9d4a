"""How many bytes a second all transfers together may take."""

import threading
import time
from collections.abc import Callable

# What may come at once, in seconds of the rate; no more is read at a time, so that transfers take turns.
_AT_ONCE_SECONDS = 0.05

# Less at a time would cost more in calls than it evens out.
_LEAST_BYTES = 4 << 10


class Rate:
    """A limit that several threads share: whoever has taken bytes waits as long as they take at the rate."""

    def __init__(self, bytes_per_second: float | None, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Begin with nothing taken; None is no limit."""
        self._rate = bytes_per_second
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    @property
    def at_once(self) -> int | None:
        """How many bytes may be read at a time; None for as many as there are."""
        return None if self._rate is None else max(_LEAST_BYTES, int(self._rate * _AT_ONCE_SECONDS))

    def take(self, count: int) -> float:
        """Account for bytes that came, and give the seconds to wait before more are read."""
        if self._rate is None:
            return 0.0
        with self._lock:
            now = self._clock()
            self._free_at = max(self._free_at, now) + count / self._rate
            return self._free_at - now
