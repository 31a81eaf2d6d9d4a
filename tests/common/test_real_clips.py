"""Cuts of recordings by other people's encoders, at random moments: exact, copied, and nothing to complain of."""

import random
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import pytest

from checks import (
    assert_in_sync,
    assert_numbers,
    assert_sound_copied,
    assert_steady,
    copied_numbers,
    identified,
)
from common.cuts import CutType, VideoRange
from common.cutting import Order, gather, make_smart
from common.encoding import Container
from common.sidecar import FactsStore
from common.waits import in_thread
from complaints import complaints
from seen import Seen, read, read_once
from source import Source, source_of


@dataclass(frozen=True, slots=True)
class Clips:
    """Segments of one clock: where they lie, the first few of them, their rate."""

    pattern: str
    count: int
    fps: Fraction


CLIPS = {
    "Big Buck Bunny, B-frames": Clips("a13martin-L3_video/stream_2/data*.ts", 3, Fraction(30)),
    "the easy case": Clips("shaka-player/hls-ts-muxed-aac-h264/n_*.ts", 2, Fraction(24)),
}
CUTS = 2


@pytest.mark.parametrize("clips", CLIPS.values(), ids=CLIPS)
async def test_cuts_of_real_recordings_are_exact(clips: Clips, media: Path, tmp_path: Path) -> None:
    """Whoever made the segments, a cut between any two moments has the pictures of its range and nearly all copied."""
    source = source_of(tmp_path, sorted(media.glob(clips.pattern))[: clips.count], clips.fps)
    once = read_once(source.reference)
    reference, dice = identified(once, once), random.Random(clips.pattern)
    for number in range(CUTS):
        length = timedelta(seconds=dice.uniform(3.0, 7.0))
        start = source.start + dice.random() * (source.end - source.start - length)
        seen = identified(await cut(source, VideoRange(start, start + length), tmp_path / f"{number}.ts"), reference)
        wanted = source.between(start, start + length)
        assert_numbers(seen, wanted)
        assert_steady(seen, source)
        assert_in_sync(seen, source)
        assert_sound_copied(seen, reference)
        copied = copied_numbers(seen, reference)
        assert copied == list(range(copied[0], copied[-1] + 1)), "what is copied lies in one piece"
        assert len(copied) * 2 > len(wanted) - clips.fps * 5


async def cut(source: Source, wanted: VideoRange, output: Path) -> Seen:
    order = Order(source.channel, source.quality, (wanted,))
    gathered = await in_thread(gather, source.store, FactsStore(source.store), order)
    made = await make_smart(gathered, order, Container.MPEGTS, output)
    assert (made.kind, made.reason) == (CutType.SMART, None)
    assert complaints(output.read_bytes()) == []
    return read(output)
