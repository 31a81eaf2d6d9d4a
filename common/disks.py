"""The disks on which our folders lie: what is free, and how long that lasts."""

import asyncio
import math
import shutil
import time
from collections import deque
from collections.abc import Callable, Sequence
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


@dataclass(slots=True)
class Disk:
    """The disk of a folder, by the name that metrics have for it; `written` gives the bytes that we wrote there."""

    name: str
    folder: Path
    written: Callable[[], float] | None = None
    _growth: Growth = field(default_factory=Growth)
    _away: bool = False

    def look(self, now: float) -> None:
        """Show how it stands `now` (in seconds); where that cannot be told, no numbers. Blocks."""
        try:
            found = shutil.disk_usage(self.folder)
        except OSError as error:
            if not self._away:
                log.warning("disk_unknown", folder=str(self.folder), reason=error.strerror)
            self._away = True
            self._show(math.nan, math.nan, now)
        else:
            self._away = False
            self._show(found.free, found.total, now)

    def _show(self, free: float, total: float, now: float) -> None:
        _FREE.labels(self.name).set(free)
        _TOTAL.labels(self.name).set(total)
        if self.written is not None:
            self._growth.saw(self.written(), now)
            if (rate := self._growth.per_second) is not None:
                _REMAINING.labels(self.name).set(free / rate if rate > 0 else math.inf)


async def watch_disks(disks: Sequence[Disk], stop: asyncio.Event) -> None:
    """Look at the disks now and then, until told to stop."""
    while True:
        for disk in disks:
            await asyncio.to_thread(disk.look, time.monotonic())
        if await pause(stop, _EVERY_SECONDS):
            return
