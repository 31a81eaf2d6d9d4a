"""From what an operator asks for to a plan of what goes into the video."""

from dataclasses import dataclass
from datetime import datetime

from common.coverage import BestSequence
from common.segments import Segment


@dataclass(frozen=True, slots=True)
class CutPlan:
    """The segments that a `rough` cut puts together, whole and in order; `name` is a file name for the result."""

    segments: tuple[Segment, ...]
    name: str


class NothingRecordedError(ValueError):
    """A cut of a range of which nothing is recorded."""

    def __init__(self) -> None:
        """Say so, in one sentence."""
        super().__init__("Nothing is recorded in that range.")


def plan_rough(channel: str, quality: str, sequence: BestSequence) -> CutPlan:
    """Plan a `rough` cut: every segment that the range touches. Raises NothingRecordedError if there is none."""
    segments = tuple(sequence.segments)
    if not segments:
        raise NothingRecordedError
    return CutPlan(segments, f"{channel} {quality} {file_time(sequence.start)}.ts")


def file_time(moment: datetime) -> str:
    """Write an aware UTC time so that every file system takes it: `2026-03-01T18-30-00Z`."""
    return moment.strftime("%Y-%m-%dT%H-%M-%SZ")
