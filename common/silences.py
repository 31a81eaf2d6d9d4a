"""Where a cut has no sound though it has pictures: at holes, since sound lies in other segments than its pictures."""

from collections.abc import Iterator

from common.cuts import SplicePlan
from common.pieces import Piece
from common.reading import Reading
from common.samples import is_sampled
from common.sound_track import SoundTrack
from common.verify import Interval


def silences(reading: Reading, planned: SplicePlan) -> tuple[tuple[Interval, ...], ...]:
    """Tell of each sound of a cut when the recording has none of it, in ticks from the first picture. Blocks.

    Looks into no segment but those at a hole. Raises as `Reading.group` does.
    """
    sounds = range(len(planned.pieces[0].stretch.programme.audio))
    return tuple(tuple(_joined(_silences(reading, planned, index))) for index in sounds)


def _silences(reading: Reading, planned: SplicePlan, index: int) -> Iterator[Interval]:
    for piece in planned.pieces:
        if not isinstance(piece, Piece) or index >= len(piece.stretch.programme.audio):
            continue
        first, last = _heard(reading, piece, index)
        by = piece.shift - planned.begin
        if first > piece.start:
            yield piece.start + by, min(first, piece.end) + by
        if last < piece.end:
            yield max(last, piece.start) + by, piece.end + by


def _heard(reading: Reading, piece: Piece, index: int) -> tuple[int, int]:
    """Tell when a sound begins and ends in the segments of a piece, on the stretch's clock; only what is not enough."""
    stretch = piece.stretch
    spans = [(number, stretch.scans[number].sounds[index]) for number in range(piece.first, piece.last)]
    found = [(number, span) for number, span in spans if span is not None]
    if not found:
        return piece.end, piece.end
    first = stretch.on_clock(found[0][1][0], found[0][0])
    number, (_, time) = found[-1]
    last = stretch.on_clock(time, number)
    if last >= piece.end or is_sampled(stretch):  # of samples, each has its time
        return first, last
    stream = stretch.programme.audio[index]
    sound = SoundTrack.read(stream.audio, reading.group(stretch, range(number, number + 1)).streams(stream.pid))
    whole = [
        time + round(frame.duration)
        for frame, time in zip(sound.frames, sound.times, strict=True)
        if frame.end <= len(sound.data)
    ]
    return first, max(last, whole[-1] if whole else last)


def _joined(found: Iterator[Interval]) -> Iterator[Interval]:
    """Put intervals that touch together."""
    before: Interval | None = None
    for begin, end in found:
        if before is not None and begin <= before[1]:
            before = before[0], max(before[1], end)
            continue
        if before is not None:
            yield before
        before = begin, end
    if before is not None:
        yield before
