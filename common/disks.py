"""The disks on which our folders lie: what is free, and how long that lasts."""

import asyncio
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from common import metrics
from common.waits import pause

log = structlog.get_logger()

_EVERY_SECONDS: Final = 15.0

# The rate is that of so many looks, which is a quarter of an hour; what is told of less than a minute would be chance.
_LOOKS: Final = 61
_LEAST_SECONDS: Final = 60.0

_FREE = metrics.gauge("disk_free_bytes", "What is free for us on the disk of a folder.", "folder", together="livemin")
_TOTAL = metrics.gauge("disk_total_bytes", "The size of the disk of a folder.", "folder", together="livemin")
_REMAINING = metrics.gauge(
    "disk_remaining_seconds",
    "How long what is free lasts for what this service alone writes there, by the last quarter of an hour.",
    "folder",
    together="livemin",
)


@dataclass(slots=True)
class Growth:
    """How fast something grows that is looked at now and then."""

    _looks: deque[tuple[float, float]] = field(default_factory=lambda: deque(maxlen=_LOOKS))

    def saw(self, amount: float, now: float) -> None:
        """Take note of how much there is (`now` in seconds)."""
        self._looks.append((now, amount))

    @property
    def per_second(self) -> float | None:
        """The rate of the last looks; None while there are too few."""
        if not self._looks:
            return None
        (began, before), (ended, after) = self._looks[0], self._looks[-1]
        return (after - before) / (ended - began) if ended - began >= _LEAST_SECONDS else None


async def watch_disks(
    folders: Mapping[str, Path], stop: asyncio.Event, written: Mapping[str, Callable[[], float]] | None = None
) -> None:
    """Show the disks of folders, by the name that metrics have for each, until told to stop.

    `written` tells of a folder how many bytes this service has written there since its start.
    """
    growths = {name: (Growth(), amount) for name, amount in (written or {}).items()}
    away: set[str] = set()
    while True:
        for name, folder in folders.items():
            growth, amount = growths.get(name, (None, None))
            if growth is not None and amount is not None:
                growth.saw(amount(), time.monotonic())
            try:
                found = await asyncio.to_thread(shutil.disk_usage, folder)
            except OSError as error:
                if name not in away:
                    log.warning("disk_unknown", folder=str(folder), reason=error.strerror)
                away.add(name)
                _show(name, math.nan, math.nan, growth)
            else:
                away.discard(name)
                _show(name, found.free, found.total, growth)
        if await pause(stop, _EVERY_SECONDS):
            return


def _show(name: str, free: float, total: float, growth: Growth | None) -> None:
    _FREE.labels(name).set(free)
    _TOTAL.labels(name).set(total)
    if growth is not None and (rate := growth.per_second) is not None:
        _REMAINING.labels(name).set(free / rate if rate > 0 else math.inf)
