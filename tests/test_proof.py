"""The kit with which cuts are proved: that it sees what is there, and every fault that it is there to see."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from marked import HEIGHT, SourceKind, read_number
from source import Source, make_source


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sources")


KINDS = {
    "b-frames": SourceKind(b_frames=3),
    "skewed, moved, straddling": SourceKind(skew=0.064, moved=True, straddling=True, counters="run on"),
}


def numbers(source: Source) -> list[int | None]:
    with av.open(str(source.reference), "r") as container:
        return [
            read_number(np.asarray(frame.to_ndarray()[:HEIGHT], np.uint8))
            for frame in container.decode(container.streams.video[0])
        ]


@pytest.mark.parametrize("kind", KINDS.values(), ids=KINDS)
def test_sources_hold_each_picture_once(folder: Path, kind: SourceKind) -> None:
    """Every picture of a source can be told by its number, in order, and its segments join without a hole."""
    source = make_source(folder, kind)
    assert numbers(source) == list(range(kind.frames))
    assert [frame.number for frame in source.frames] == list(range(kind.frames))
    sequence = source.store.sequence(source.channel, source.quality, source.start, source.end, allow_holes=False)
    assert sequence.segments == list(source.segments)
    assert abs((source.end - source.start).total_seconds() - kind.frames / kind.fps) < Fraction(1, 1000)
