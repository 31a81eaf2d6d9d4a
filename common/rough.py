"""Rough cuts: the segments of a recording, whole and one after the other, as one file. All of it blocks."""

from collections.abc import Sequence
from dataclasses import dataclass

from common.encoding import Container
from common.pieces import CannotSpliceError
from common.ranges import Range
from common.reading import Reading
from common.sample_files import init_of


@dataclass(frozen=True, slots=True)
class Rough:
    """What a rough cut is; of each segment but the first, so many bytes are the init section, which comes once."""

    container: Container
    init_bytes: int = 0


def plan_rough(reading: Reading, ranges: Sequence[Range]) -> Rough:
    """Find out what a rough cut is. Raises CannotSpliceError if the segments are not one file, and OSError."""
    paths = [reading.path(segment) for wanted in ranges for segment in wanted.segments]
    kinds = {path.suffix for path in paths}
    if ".mp4" not in kinds:
        return Rough(Container.MPEGTS)
    inits = {init_of(path) for path in paths} if kinds == {".mp4"} else set()
    if len(inits) != 1:
        raise CannotSpliceError("The format changes within the range, so that segments as they are make no one file.")
    return Rough(Container.MP4, len(inits.pop()))
