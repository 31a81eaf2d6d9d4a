"""The check of a finished cut, before anyone sees it: what was promised is there, and decoders take it.

It reads the file anew and shares nothing with what wrote it. All of it blocks; asyncio code hands it to a thread.
"""

import io
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import partial
from itertools import accumulate, pairwise
from pathlib import Path

import av
import numpy as np
from av.container import InputContainer

from common.blends import Part
from common.cuts import SplicePlan
from common.finished import Finished, TrackTimes, UnsoundError, read_finished
from common.pes import read_pes
from common.programme import Elementary
from common.sound import sound_frames
from common.ticks import TICKS, distance
from common.timed import timed
from common.transport import Times, as_packets, read_headers

# Around a join so many pictures are decoded: as many as refer to each other across one, and some more.
_PICTURES_AROUND = 24

# A decoder that begins here has long found its way when it comes to the join.
_LONGEST_APPROACH = 20 * TICKS

# Encoders round the times of sound, to milliseconds say; what is more than this share of a frame is a jump.
_JITTER = Fraction(1, 4)

# What decoders are to refuse: all that they would otherwise conceal. Nobody sees the pictures, so none is smoothed.
_STRICT = {"err_detect": "+crccheck+bitstream+buffer+careful+explode", "skip_loop_filter": "all"}

# Joins are decoded side by side; each takes memory for some pictures.
_DECODERS = 2


class VerificationError(Exception):
    """A finished cut that is not what it should be; its text is one sentence."""


# From one time to before another, in ticks from the first picture.
Interval = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Expected:
    """What a cut must be. All times are ticks.

    `frames`: the number of pictures, None if it is not known; `duration`: from the first picture to the end of the
    last. `shortest`, `longest`: the least and the most for which a picture is shown anywhere in it, so that no gap
    comes in that the source did not have. `joins`: where something joins that was apart, counted from the first
    picture. `sounds`: how many tracks can be heard; `longest_sound`: the most from one time of a sound to the next, of
    which MPEG-TS has one for some frames. `primed`: sounds begin with what an encoder puts before them, a frame at
    most. `damaged`: pictures may be missing, since not all of the source need be decodable.
    `silences`: of each sound, when it need not be heard.
    """

    frames: int | None
    duration: int
    shortest: int
    longest: int
    joins: tuple[int, ...] = ()
    sounds: int = 1
    longest_sound: int = TICKS
    primed: bool = False
    damaged: bool = False
    silences: tuple[tuple[Interval, ...], ...] = ()

    def may_be_silent(self, number: int, begin: int, end: int, tolerance: int) -> bool:
        """Tell whether a sound (counted from 1) need not be heard from one time to another, give or take.

        The times are on the clock of `silences`.
        """
        known = self.silences[number - 1] if number <= len(self.silences) else ()
        return any(first - tolerance <= begin and end <= last + tolerance for first, last in known)


def expected_of(plan: SplicePlan) -> Expected:
    """Tell what a cut must be that was planned so."""
    steps = np.concatenate([_steps(piece) for piece in plan.pieces])
    heard = {
        number
        for piece in plan.pieces
        for scanned in piece.stretch.scans[piece.first : piece.last]
        for number, span in enumerate(scanned.sounds)
        if span is not None
    }
    joins = tuple(join - plan.begin for join in plan.joins)
    shortest, longest = int(steps.min(initial=plan.duration)), int(steps.max(initial=0))
    return Expected(plan.frames, plan.duration, shortest, longest, joins, len(heard))


def _steps(piece: Part) -> Times:
    """Give how long each picture of a piece is shown."""
    if not piece.frames:
        return np.empty(0, np.int64)
    times = piece.stretch.pts
    shown = np.sort(times[(times >= piece.start) & (times < piece.end)])
    return np.diff(shown, append=piece.end)


@timed("cut_check", "Checking a finished cut.", per=("media_second", lambda _, __, cut: cut.duration / TICKS))
def verify(path: Path, expected: Expected) -> None:
    """Check a finished cut. Raises VerificationError with the first fault found, and OSError. Blocks."""
    try:
        found = read_finished(path)
    except UnsoundError as error:
        raise VerificationError(str(error)) from error
    begin, end = _check_picture(found, expected)
    silences = tuple(tuple((first + begin, last + begin) for first, last in each) for each in expected.silences)
    expected = replace(expected, joins=tuple(begin + join for join in expected.joins), silences=silences)
    _check_sounds(found, begin, end, expected)
    if found.picture is not None and expected.joins:
        _check_joins(path, found, found.picture, expected)


def _check_picture(found: Finished, expected: Expected) -> tuple[int, int]:
    """Check the times of the pictures, and give when the first begins and the last ends."""
    track = found.picture
    count = 0 if track is None else len(track.pts)
    _check_count(count, expected)
    heard = [sound for sound in found.sounds if len(sound.pts)]
    sounds = [int(sound.pts.min()) + (sound.frame if expected.primed else 0) for sound in heard]
    if track is None or not count:
        begin = min(sounds, default=0)
        return begin, begin + expected.duration
    _check_order(track, "pictures")
    times = np.sort(track.pts)
    # where its first pictures could not be decoded, the sound tells when it begins
    begin = min([int(times[0]), *(sounds if expected.damaged else [])])
    end = begin + expected.duration
    _check_steps(times - begin, np.diff(times, append=end), expected, found.rounding)
    return begin, end


def _check_count(count: int, expected: Expected) -> None:
    most = count if expected.frames is None else expected.frames
    least = most if expected.frames is not None and not expected.damaged else min(1, most)
    if not least <= count <= most or (expected.frames is None and not count):
        raise VerificationError(f"It has {count} pictures in place of {expected.frames or 'some'}.")


def _check_order(track: TrackTimes, what: str) -> None:
    """Check that a track is decoded in its order, and nothing after it is due or twice."""
    back = np.flatnonzero(np.diff(track.dts) <= 0)
    if len(back):
        raise VerificationError(f"The {what} go back in time {_at(track.dts, int(back[0]) + 1)}.")
    late = np.flatnonzero(track.dts > track.pts)
    if len(late):
        raise VerificationError(f"The {what} are decoded after they are due {_at(track.dts, int(late[0]))}.")
    times = np.sort(track.pts)
    twice = np.flatnonzero(np.diff(times) == 0)
    if len(twice):
        raise VerificationError(f"Two {what} are due at once {_at(times, int(twice[0]))}.")


def _at(times: Times, index: int) -> str:
    return f"at {(times[index] - times.min()) / TICKS:.3f} s"


def _check_steps(times: Times, steps: Times, expected: Expected, rounding: int) -> None:
    longest = expected.duration if expected.damaged else expected.longest
    wrong = np.flatnonzero((steps < expected.shortest - rounding) | (steps > longest + rounding))
    if not len(wrong):
        return
    index = int(wrong[0])
    if index == len(steps) - 1:
        off = (int(times[-1]) + expected.longest - expected.duration) / TICKS
        raise VerificationError(f"The pictures last {abs(off):.3f} s too {'long' if off > 0 else 'short'}.")
    milliseconds = steps[index] * 1000 / TICKS
    raise VerificationError(f"A picture is shown for {milliseconds:.1f} ms {_at(times, index)}.")


def _check_sounds(found: Finished, begin: int, end: int, expected: Expected) -> None:
    """Check that each sound begins and ends with the picture, within one of its frames, and is nowhere silent."""
    heard = [(number, sound) for number, sound in enumerate(found.sounds, 1) if len(sound.pts)]
    if len(heard) != expected.sounds:
        raise VerificationError(f"It has {len(heard)} sounds in place of {expected.sounds}.")
    for number, sound in heard:
        _check_order(sound, f"frames of sound {number}")
        longest, tolerance = expected.longest_sound, sound.frame + found.rounding
        for gap in np.flatnonzero(np.diff(sound.pts) > longest).tolist():
            if not expected.may_be_silent(number, int(sound.pts[gap]) + longest, int(sound.pts[gap + 1]), tolerance):
                raise VerificationError(f"The sound {number} is silent {_at(sound.pts, gap)}.")
        first, last = int(sound.pts[0]), sound.end
        ends = ("begins", first - begin, begin, first), ("ends", last - end, last, end)
        for verb, late, silent, heard_again in ends:
            missing = silent < heard_again and expected.may_be_silent(number, silent, heard_again, tolerance)
            if abs(late) > tolerance and not missing:
                when = f"{abs(late) * 1000 / TICKS:.0f} ms {'after' if late > 0 else 'before'}"
                raise VerificationError(f"The sound {number} {verb} {when} the picture.")


# Decoding -------------------------------------------------------------------------------------------------------------


def _check_joins(path: Path, found: Finished, track: TrackTimes, expected: Expected) -> None:
    """Decode what lies around the joins, at times of the file, side by side."""
    numbers = [range(first, last + 1) for first, last in _stretches(track, expected.joins)]
    with ThreadPoolExecutor(_DECODERS, "verify") as threads:
        for _ in threads.map(partial(_check_join, path, found, track, expected), numbers):
            pass


def _stretches(track: TrackTimes, joins: Iterable[int]) -> Iterator[tuple[int, int]]:
    """Give the first and the last picture (in decode order) of what must be decoded to see all joins; no overlaps."""
    done: tuple[int, int] | None = None
    for join in sorted(joins):
        place = int(np.searchsorted(track.dts, join))
        first = _entry_before(track, max(0, place - _PICTURES_AROUND))
        last = min(len(track.dts) - 1, place + _PICTURES_AROUND)
        if done is not None and first <= done[1]:
            done = done[0], last
            continue
        if done is not None:
            yield done
        done = first, last
    if done is not None:
        yield done


def _entry_before(track: TrackTimes, index: int) -> int:
    """Find the last picture up to `index` with which a decoder can begin; the marks of that may be missing."""
    entries = np.flatnonzero(track.entries[: index + 1])
    if len(entries) and track.dts[index] - track.dts[entries[-1]] <= _LONGEST_APPROACH:
        return int(entries[-1])
    return int(np.searchsorted(track.dts, track.dts[index] - _LONGEST_APPROACH))


def _check_join(path: Path, found: Finished, track: TrackTimes, expected: Expected, numbers: range) -> None:
    """Decode pictures from the first on that a decoder can begin with; see that the sound among them runs on."""
    if found.head is None:
        if not expected.primed:
            span = int(track.dts[numbers.start]), int(track.dts[numbers.stop - 1])
            for number, sound in enumerate(found.sounds, 1):
                _check_sound_goes_on(number, sound, span, found.rounding, expected)
        with av.open(str(path), "r") as container:
            stream = container.streams.video[0]
            # by the time at which it is shown: those of decoding, Matroska has not
            container.seek(_in_base(int(track.pts[numbers.start]), stream), stream=stream, backward=True)
            _decode(container, stream, len(numbers))
        return
    # MPEG-TS has no index: a part of it is as good a file
    part = _read_part(path, track, numbers)
    for number, sound in enumerate(found.sounds, 1):
        if sound.stream is not None:
            _check_sound_runs_on(part, number, sound.stream, expected)
    with av.open(io.BytesIO(found.head + part), "r", format="mpegts") as container:
        _decode(container, container.streams.video[0], len(numbers))


def _check_sound_goes_on(
    number: int, sound: TrackTimes, span: tuple[int, int], rounding: int, expected: Expected
) -> None:
    """Check that nothing is missing between two frames of a sound, each of which has a time of its own."""
    near = sound.pts[(sound.pts >= span[0]) & (sound.pts <= span[1])]
    usual = int(np.median(np.diff(sound.pts))) if len(sound.pts) > 1 else 0
    late = np.diff(near) - usual
    for gap in np.flatnonzero(late > usual * _JITTER + 2 * rounding).tolist():
        if not expected.may_be_silent(number, int(near[gap]) + usual, int(near[gap + 1]), usual + rounding):
            raise VerificationError(f"The sound {number} jumps by {late[gap] * 1000 / TICKS:.1f} ms near a join.")


def _read_part(path: Path, track: TrackTimes, numbers: range) -> bytes:
    begin = int(track.places[numbers.start])
    with path.open("rb") as file:
        file.seek(begin)
        return file.read(int(track.places[numbers.stop]) - begin if numbers.stop < len(track.places) else -1)


def _check_sound_runs_on(part: bytes, number: int, stream: Elementary, expected: Expected) -> None:
    """Check that each PES of a sound begins when all frames before it are over, unless there is nothing to be heard."""
    packets = as_packets(part)
    units = [pes for pes in read_pes(packets, read_headers(packets), stream.pid) if pes.stream_id]
    frames = list(sound_frames(stream.audio, b"".join(pes.payload for pes in units)))
    begins = [frame.start for frame in frames]
    sounded = [Fraction(0), *accumulate(frame.duration for frame in frames)]
    bounds = [0, *accumulate(len(pes.payload) for pes in units)]
    # a PES has the time of the first frame that begins in it; one in which none does, none that could be checked
    firsts = [bisect_left(begins, bound) for bound in bounds]
    timed = [(pes.pts, at) for pes, at, after in zip(units, firsts, firsts[1:], strict=False) if after > at]
    for (before, first), (after, second) in pairwise(timed):
        if before is None or after is None:
            continue
        jump = distance(before, after) - (sounded[second] - sounded[first])
        longest = round(frames[first].duration)
        if jump > 0 and expected.may_be_silent(number, after - round(jump), after, longest):
            continue
        if abs(jump) > longest * _JITTER:
            raise VerificationError(f"The sound {number} jumps by {float(jump) * 1000 / TICKS:.1f} ms near a join.")


def _in_base(time: int, stream: av.VideoStream) -> int:
    return int(Fraction(time, TICKS) / (stream.time_base or Fraction(1, TICKS)))


def _decode(container: InputContainer, stream: av.VideoStream, count: int) -> None:
    """Decode so many pictures. Raises VerificationError at the first that a decoder refuses."""
    stream.codec_context.options = _STRICT
    stream.codec_context.thread_count = 1
    key: int | None = None
    packets = 0
    for packet in container.demux(stream):
        if key is None:
            if not packet.is_keyframe or packet.pts is None:
                continue
            key = packet.pts
        try:
            frames = packet.decode()
        except av.FFmpegError as error:
            # what is shown before the key frame may refer to what was decoded before it
            if packet.pts is not None and packet.pts < key:
                continue
            raise VerificationError(_refused(packet.pts, stream)) from error
        damaged = next((frame.pts for frame in frames if frame.is_corrupt and (frame.pts or key) >= key), None)
        if damaged is not None:
            raise VerificationError(_refused(damaged, stream))
        packets += 1
        if packets > count:
            return
    if key is None:
        raise VerificationError("Near a join there is no picture with which a decoder can begin.")


def _refused(time: int | None, stream: av.VideoStream) -> str:
    where = f" at {float(time * stream.time_base):.3f} s" if time is not None and stream.time_base is not None else ""
    return f"A decoder finds fault with a picture near a join{where}."
