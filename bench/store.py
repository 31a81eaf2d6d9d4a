"""Stores to measure with: empty files under the names that recordings have."""

import os
import random
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

from common.dateutil import HOUR, hour_name
from common.segments import SegmentType, content_hash, make_segment

START = datetime(2026, 3, 1, tzinfo=UTC)
LASTS = timedelta(seconds=2)
PER_HOUR = HOUR // LASTS

# What several nodes on a bad network leave: for each start time the best that any of them got, and what two others did.
# Two that are `full` are rarely two files: they mostly have the same bytes, and so the same name.
HOLES = 0.01
BEST = {SegmentType.FULL: 0.95, SegmentType.SUSPECT: 0.05}
OTHERS = {SegmentType.FULL: 0.05, SegmentType.SUSPECT: 0.15, SegmentType.PARTIAL: 0.80}


@contextmanager
def generated(hours: int, *, messy: bool = False) -> Iterator[Path]:
    """A store with the quality `chan/source`, as many hours from START on; gone afterwards.

    Clean: one `full` segment every two seconds. Messy: three candidates for each start time, and one start time in a
    hundred without any.
    """
    dice = random.Random(2)
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as base:
        for number in range(hours):
            hour = START + number * HOUR
            folder = Path(base, "chan/source", hour_name(hour))
            folder.mkdir(parents=True)
            for name in _names(hour, dice, messy=messy):
                os.mknod(folder / name)
        yield Path(base)


def _names(hour: datetime, dice: random.Random, *, messy: bool) -> Iterator[str]:
    for index in range(PER_HOUR):
        if messy and dice.random() < HOLES:
            continue
        kinds = [SegmentType.FULL]
        if messy:
            kinds = [
                *dice.choices(list(BEST), list(BEST.values())),
                *dice.choices(list(OTHERS), list(OTHERS.values()), k=2),
            ]
        for kind in kinds:
            yield make_segment(hour + index * LASTS, LASTS, kind, content_hash(dice.randbytes(32))).name
