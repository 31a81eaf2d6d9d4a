"""What must be true of a cut, each said in a sentence where it is not.

`Seen` is what is checked, `Source` is what it was cut from; times are ticks of 90 kHz.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from fractions import Fraction
from functools import partial
from itertools import groupby, pairwise, takewhile
from pathlib import Path

import numpy as np

from complaints import complaints
from marked import TICKS
from seen import Picture, Seen, Sound, Stamp, read, read_once
from source import Source

# MPEG-TS as ffmpeg writes it begins so much after zero.
_FFMPEG_BEGIN = round(1.4 * TICKS)
_BEGIN_SLACK = TICKS // 5

# So near to a join or an end a click may be cut in two.
_CLICK_SECONDS = 0.06

_SHOWN = 8

# A steady tone gives equal packets now and then; so many in a row tell where they are from.
_TOLD_BY = 60


def assert_exact(
    what: Path | bytes, source: Source, numbers: Sequence[int], *, joins: int = 0
) -> tuple[Seen, list[int]]:
    """Check all that is promised of a cut: these pictures, steady times, sound that is copied and in time, no fault.

    Gives what was read, and the numbers of the pictures that are copied.
    """
    seen, reference = read(what), read_once(source.reference)
    assert_numbers(seen, numbers)
    assert_steady(seen, source if not joins else None)
    assert_in_sync(seen, source)
    assert_sound_copied(seen, reference, joins=joins)
    copied = copied_numbers(seen, reference)
    assert_copied(seen, reference, copied)
    assert_like(seen, reference, sorted({*numbers} - {*copied}))
    assert not (said := complaints(what)), said
    return seen, copied


def assert_frames(seen: Seen, source: Source, first: int, last: int) -> None:
    """Check that it shows the pictures from `first` to `last`, both included: in order, none twice, none missing."""
    del source  # numbers are the same in all sources
    assert_numbers(seen, range(first, last + 1))


def assert_numbers(seen: Seen, numbers: Iterable[int]) -> None:
    """Check that it shows exactly these pictures in this order, and that no decoder had to complain."""
    wanted, found = list(numbers), seen.numbers
    assert not seen.errors, f"Decoding fails: {'; '.join(seen.errors[:3])}"
    if found == wanted:
        return
    faults = [f"{len(found)} pictures in place of {len(wanted)}"] if len(found) != len(wanted) else []
    twice = sorted(number for number in set(found) if found.count(number) > wanted.count(number))
    faults += [f"{_some(sorted(set(wanted) - set(found)))} missing"] if set(wanted) - set(found) else []
    faults += [f"{_some(twice)} too often"] if twice else []
    place = next((at for at, pair in enumerate(zip(found, wanted, strict=False)) if pair[0] != pair[1]), len(found))
    shown = f"from place {place} on {found[place : place + _SHOWN]} in place of {wanted[place : place + _SHOWN]}"
    raise AssertionError(f"Wrong pictures: {', '.join([*faults, shown])}.")


def _some(numbers: Sequence[int]) -> str:
    text = ", ".join(map(str, numbers[:_SHOWN]))
    return f"{text} and {len(numbers) - _SHOWN} more" if len(numbers) > _SHOWN else text


# Times ----------------------------------------------------------------------------------------------------------------


def assert_steady(seen: Seen, source: Source | None = None, *, from_zero: bool = True) -> None:
    """Check the times of a file: they begin near zero and run on without a gap, a jump or a repeat.

    Near zero is also the 1.4 s at which MPEG-TS by ffmpeg begins; not `from_zero`: a stream begins anywhere.
    Each picture is shown as long as in the source (as long as most of them, without one); each frame of sound begins
    where the one before it ends; pictures are decoded in order, and never after they are shown.
    """
    faults = _begin_faults(seen) if from_zero else []
    faults += [*_order_faults(seen.stamps, "picture"), *_picture_faults(seen, source)]
    for number, sound in enumerate(seen.sounds):
        faults += [*_order_faults(sound.stamps, f"sound {number}"), *_sound_faults(seen, sound, f"sound {number}")]
    assert not faults, f"{len(faults)} times are wrong: {'; '.join(faults[:_SHOWN])}."


def _begin_faults(seen: Seen) -> list[str]:
    begins = [picture.pts for picture in seen.pictures[:1]] + [int(sound.begin) for sound in seen.sounds if sound.rate]
    if not begins:
        return ["there is neither picture nor sound"]
    first = min(begins)
    if any(abs(first - begin) <= _BEGIN_SLACK for begin in (0, _FFMPEG_BEGIN)):
        return []
    return [f"it begins at {first / TICKS:.3f} s"]


def _order_faults(stamps: Sequence[Stamp], what: str) -> list[str]:
    faults = [
        f"{what} packet {at} is decoded at {after.dts}, after one of {before.dts}"
        for at, (before, after) in enumerate(pairwise(stamps), 1)
        if after.dts <= before.dts
    ]
    late = [f"{what} packet {at} is shown {s.dts - s.pts} early" for at, s in enumerate(stamps) if s.pts < s.dts]
    times = Counter(stamp.pts for stamp in stamps)
    twice = [f"two {what} packets have the time {time}" for time, count in times.items() if count > 1]
    return faults + late + twice


def _picture_faults(seen: Seen, source: Source | None) -> list[str]:
    gaps = [after.pts - before.pts for before, after in pairwise(seen.pictures)]
    wanted = [int(np.median(gaps))] * len(gaps) if gaps else []
    if source is not None:
        wanted = [length(source, number) for number in seen.numbers[:-1]]
    slack = max(seen.rounding, 2)
    return [
        f"the picture at {before.pts / TICKS:.4f} s (number {before.number}) lasts {gap} ticks in place of {right}"
        for before, gap, right in zip(seen.pictures, gaps, wanted, strict=False)
        if abs(gap - right) > slack
    ]


def length(source: Source, number: int) -> int:
    """Give how long a picture is shown in the source, in ticks."""
    if not 0 <= number < len(source.frames) - 1:
        return round(TICKS / source.kind.fps)
    return source.frames[number + 1].pts - source.frames[number].pts


def _sound_faults(seen: Seen, sound: Sound, what: str) -> list[str]:
    slack = max(seen.rounding, 2)
    step = sound.frame
    faults = [
        f"a frame of {what} at {before.pts / TICKS:.4f} s lasts {after.pts - before.pts} ticks in place of {int(step)}"
        for before, after in pairwise(sound.stamps)
        if abs(after.pts - before.pts - step) > slack
    ]
    if sound.stamps and not faults:
        # what is rounded in each frame must not add up
        drift = sound.stamps[-1].pts - sound.stamps[0].pts - (len(sound.stamps) - 1) * step
        faults += [f"{what} drifts by {float(drift):.1f} ticks"] if abs(drift) > slack + 1 else []
    return [*faults, *(f"in {what}, {gap}" for gap in sound.gaps)]


# Sound against picture ------------------------------------------------------------------------------------------------


def assert_in_sync(seen: Seen, source: Source, *, frames: Fraction | int = 1) -> None:
    """Check that each click is where the picture shown with it wants it, within so many frames of sound.

    No click that should be there is missing, none is there that should not; sound and picture begin and end together,
    within the same. Clicks next to a join or an end may be cut in two, and then count in no way.
    """
    reference = read_once(source.reference)
    assert len(seen.sounds) == len(reference.sounds), f"{len(seen.sounds)} sounds in place of {len(reference.sounds)}"
    faults: list[str] = []
    for number, (sound, original) in enumerate(zip(seen.sounds, reference.sounds, strict=True)):
        slack = float(original.frame * frames) + max(seen.rounding, 2)
        faults += [f"sound {number} {fault}" for fault in _click_faults(seen, source, sound, original, slack)]
        faults += [f"sound {number} {fault}" for fault in _end_faults(seen, source, sound, slack)]
    assert not faults, f"Sound and picture are apart: {'; '.join(faults[:_SHOWN])}."


def _click_faults(seen: Seen, source: Source, sound: Sound, original: Sound, slack: float) -> list[str]:
    begin = read_once(source.reference).pictures[0].pts
    wanted = [click * TICKS - begin for click in original.clicks]
    faults, heard = [], set()
    for click in sound.clicks:
        time = _source_time(seen, source, click * TICKS)
        if time is None:
            continue
        nearest = min(wanted, key=partial(_apart, time))
        heard.add(nearest)
        if abs(nearest - time) > slack and not _near_a_join(seen, click * TICKS):
            faults.append(f"clicks {(time - nearest) / 90:+.1f} ms late at {click:.3f} s")
    for right, time in _expected_clicks(seen, source, wanted):
        if right not in heard:
            faults.append(f"does not click at {time / TICKS:.3f} s")
    return faults


def _apart(one: float, other: float) -> float:
    return abs(one - other)


def _source_time(seen: Seen, source: Source, time: float) -> float | None:
    """Give what the source's clock, from its first picture on, says when the file's says `time`."""
    shown = [picture for picture in seen.pictures if picture.pts <= time] or list(seen.pictures[:1])
    if not shown or shown[-1].number is None:
        return None
    return source.frames[shown[-1].number].pts - source.frames[0].pts + time - shown[-1].pts


def _expected_clicks(seen: Seen, source: Source, wanted: Sequence[float]) -> list[tuple[float, float]]:
    """Give the clicks of the source that a file must hold, and its time of each."""
    found = []
    for picture in seen.pictures:
        if picture.number is None:
            continue
        start = source.frames[picture.number].pts - source.frames[0].pts
        for right in wanted:
            if start <= right < start + length(source, picture.number):
                time = picture.pts + right - start
                if not _near_a_join(seen, time):
                    found.append((right, time))
    return found


def joins(seen: Seen) -> list[int]:
    """Give the times of the pictures that do not follow the one before them in the source, and both ends."""
    if not seen.pictures:
        return []
    inner = [b.pts for a, b in pairwise(seen.pictures) if a.number is None or b.number != a.number + 1]
    return [seen.pictures[0].pts, *inner, seen.pictures[0].pts + seen.picture_length]


def _near_a_join(seen: Seen, time: float) -> bool:
    return any(abs(time - join) < _CLICK_SECONDS * TICKS for join in joins(seen))


def _end_faults(seen: Seen, source: Source, sound: Sound, slack: float) -> list[str]:
    if not seen.pictures:
        return []
    last = seen.pictures[-1]
    begin, end = seen.pictures[0].pts, last.pts + length(source, -1 if last.number is None else last.number)
    apart = {"begins": float(sound.begin - begin), "ends": float(sound.end - end)}
    return [f"{verb} {ticks / 90:+.1f} ms after the picture" for verb, ticks in apart.items() if abs(ticks) > slack]


# Bits -----------------------------------------------------------------------------------------------------------------


def by_number(seen: Seen) -> dict[int, Picture]:
    """Give the pictures by their number."""
    return {picture.number: picture for picture in seen.pictures if picture.number is not None}


def copied_numbers(seen: Seen, reference: Seen) -> list[int]:
    """Give the numbers of the pictures that are the same in both, bit for bit."""
    originals = by_number(reference)
    return [n for n, picture in by_number(seen).items() if n in originals and originals[n].hash == picture.hash]


def identified(seen: Seen, reference: Seen) -> Seen:
    """Give pictures that show no number the place of the same one in the reference, counted from 0.

    Those that were encoded again take the number that fits between the ones around them: forwards after a copied one,
    backwards before the first of them all.
    """
    numbers = _following([p.hash for p in seen.pictures], [p.hash for p in reference.pictures])
    known = next((at for at, number in enumerate(numbers) if number is not None), None)
    assert known is not None, "No picture is one of the reference's."
    begin = numbers[known]
    for at in range(len(numbers)):
        if numbers[at] is None and begin is not None:
            before = numbers[at - 1] if at > known else None
            numbers[at] = begin - known + at if before is None else before + 1
    pictures = tuple(replace(picture, number=number) for picture, number in zip(seen.pictures, numbers, strict=True))
    return replace(seen, pictures=pictures)


def assert_copied(seen: Seen, reference: Seen, numbers: Iterable[int]) -> None:
    """Check that these pictures decode to the same bits as in the reference."""
    same, asked = set(copied_numbers(seen, reference)), list(numbers)
    changed = [number for number in asked if number not in same]
    assert not changed, f"{len(changed)} of {len(asked)} pictures are not as in the source: {_some(changed)}."


def psnr(seen: Seen, reference: Seen, numbers: Iterable[int]) -> dict[int, float]:
    """Give how like the reference's these pictures are, in decibels over all planes; infinite for equal ones."""
    ours, originals, numbers = by_number(seen), by_number(reference), list(numbers)
    absent = [number for number in numbers if number not in ours or number not in originals]
    assert not absent, f"Pictures {_some(absent)} are not there to be compared."
    return {number: _psnr(ours[number], originals[number]) for number in numbers}


def _psnr(one: Picture, other: Picture) -> float:
    assert one.planes is not None, "Only pictures of the kit's size keep their planes."
    assert other.planes is not None, "Only pictures of the kit's size keep their planes."
    error = float(np.mean((one.planes.astype(np.int32) - other.planes) ** 2))
    return float("inf") if error == 0 else 10 * float(np.log10(255**2 / error))


def assert_like(seen: Seen, reference: Seen, numbers: Iterable[int], *, least: float = 40.0) -> None:
    """Check that these pictures are so like those of the reference."""
    worse = {number: value for number, value in psnr(seen, reference, numbers).items() if value <= least}
    text = ", ".join(f"{number}: {value:.1f} dB" for number, value in list(worse.items())[:_SHOWN])
    assert not worse, f"{len(worse)} pictures are below {least} dB: {text}."


def assert_sound_copied(seen: Seen, reference: Seen, *, joins: int = 0) -> None:
    """Check that every packet of sound is one of the reference's, in order and none twice, with so many joins."""
    for number, (sound, original) in enumerate(zip(seen.sounds, reference.sounds, strict=True)):
        found = _following([stamp.hash for stamp in sound.stamps], [stamp.hash for stamp in original.stamps])
        strange = [at for at, place in enumerate(found) if place is None]
        assert not strange, f"Sound {number}: packets {_some(strange)} of {len(found)} are not the source's."
        breaks = [at for at, (a, b) in enumerate(pairwise(found), 1) if a is None or b != a + 1]
        twice = [at for at, b in enumerate(found) if b in found[:at]]
        assert not twice, f"Sound {number}: packets {_some(twice)} were there before."
        assert len(breaks) <= joins, f"Sound {number}: it breaks at packets {_some(breaks)}; {joins} joins are allowed."


def _following(hashes: Sequence[str], originals: Sequence[str]) -> list[int | None]:
    """Tell for each hash which of the originals it is; of equal ones, that from which on most of them follow."""
    places: dict[str, list[int]] = {}
    for at, value in enumerate(originals):
        places.setdefault(value, []).append(at)
    found, last = list[int | None](), -1
    for index, value in enumerate(hashes):
        if 0 <= last < len(originals) - 1 and originals[last + 1] == value:
            place: int | None = last + 1
        else:
            rest = hashes[index : index + _TOLD_BY]
            place = max(places.get(value, []), key=partial(_alike, originals, rest), default=None)
        found.append(place)
        last = last if place is None else place
    return found


def _alike(originals: Sequence[str], rest: Sequence[str], place: int) -> int:
    """Count how many hashes are those of the originals from a place on."""
    pairs = zip(rest, originals[place:], strict=False)
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))


def runs(numbers: Iterable[int]) -> list[tuple[int, int]]:
    """Put numbers that follow each other together: the first and the last of each run."""
    grouped = groupby(enumerate(numbers), key=lambda pair: pair[1] - pair[0])
    found = [[number for _, number in group] for _, group in grouped]
    return [(run[0], run[-1]) for run in found]
