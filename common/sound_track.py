"""A sound taken out of its stream: where its frames lie, and when each of them sounds."""

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import accumulate, pairwise

from common.pes import Pes
from common.sound import SoundFrame, sound_frames


@dataclass(frozen=True, slots=True)
class SoundTrack:
    """A sound taken apart: its bytes, where its PES begin in them, its frames, and when each of those sounds."""

    data: bytes
    pes: tuple[Pes, ...]
    offsets: tuple[int, ...]
    frames: tuple[SoundFrame, ...]
    times: tuple[int, ...]

    @classmethod
    def read(cls, form: str, found: Sequence[Pes]) -> "SoundTrack":
        """Read the frames of a form (see `sound_frames`) in PES that follow each other."""
        data = b"".join(pes.payload for pes in found)
        offsets = tuple(accumulate((len(pes.payload) for pes in found), initial=0))
        frames = tuple(sound_frames(form, data))
        timed = [(offset, pes.pts) for offset, pes in zip(offsets, found, strict=False) if pes.pts is not None]
        return cls(data, tuple(found), offsets, frames, tuple(_times(frames, timed)))

    def first_from(self, time: Fraction) -> int:
        """Give the first frame of which at least half sounds from a time on."""
        found = (at for at, frame in enumerate(self.frames) if self.times[at] + frame.duration / 2 >= time)
        return next(found, len(self.frames))

    def between(self, begin: int, stop: int, by: int) -> Iterator[Pes]:
        """Give the PES that hold these bytes, their times moved."""
        starts = [frame.start for frame in self.frames]
        for pes, (opens, closes) in zip(self.pes, pairwise(self.offsets), strict=True):
            low, high = max(opens, begin), min(closes, stop)
            if low >= high:
                continue
            at = bisect_left(starts, low)
            time = self.times[at] + by if at < len(starts) and starts[at] < high else None
            missing = pes.missing if stop == len(self.data) else 0
            yield Pes(0, pes.stream_id, time, time, self.data[low:high], missing)


def _times(frames: Iterable[SoundFrame], timed: Sequence[tuple[int, int]]) -> Iterator[int]:
    """Tell when each frame sounds: the first that begins in a PES at its time, the next ones after each other."""
    following, time = 0, Fraction(0)
    for frame in frames:
        while following < len(timed) and timed[following][0] <= frame.start:
            time = Fraction(timed[following][1])
            following += 1
        yield round(time)
        time += frame.duration
