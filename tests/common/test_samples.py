"""Samples get the times that their own clock gives them, and sounds go on where those before them end."""

from fractions import Fraction
from itertools import pairwise
from typing import cast

from common.pieces import Piece
from common.samples import Retimer
from common.scan import Stretch

# Of 59.94 Hz, which is no whole number of ticks, and of AAC at 44.1 kHz.
PICTURE, SOUND = Fraction(90_000 * 1001, 60_000), Fraction(90_000 * 1024, 44_100)


def piece(stretch: object, start: int, end: int, shift: int) -> Piece:
    return Piece(cast(Stretch, stretch), start, end, shift, None, range(0), frozenset(), None, 0, 1, range(0))


def test_pictures_follow_each_other_exactly() -> None:
    """However many pieces there are, rounded as they are planned, each picture comes as long after the other."""
    retimer, times, moment = Retimer(), list[Fraction](), 0
    for number in range(40):
        first = 7 + 100 * number
        shown = [index * PICTURE for index in range(first, first + 3)]
        start, end = round(shown[0]), round(shown[-1] + PICTURE)
        retimer.begin()
        one = piece(object(), start, end, moment - start)
        times += [retimer.picture(one, time, PICTURE) for time in shown]
        moment += end - start
    assert times == [index * PICTURE for index in range(120)]


def test_what_is_far_from_its_plan_keeps_to_that() -> None:
    """Where a source is wrong about how long its last picture lasts, what comes after it is where it should be."""
    retimer = Retimer()
    retimer.begin()
    assert retimer.picture(piece(object(), 3000, 6000, -3000), Fraction(3000), Fraction(90_000)) == 0
    retimer.begin()
    assert retimer.picture(piece(object(), 9000, 12_000, -6000), Fraction(9000), Fraction(3000)) == 3000


def test_sound_is_whole_frames_without_a_gap() -> None:
    """A piece has the frames of which more than half lies in it, and the next one goes on where those end."""
    retimer, heard = Retimer(), list[Fraction]()
    for start, end, moment in ((90_000, 180_000, 0), (450_000, 500_000, 90_000)):
        one = piece(object(), start, end, moment - start)
        retimer.begin()
        for index in range(300):
            time = retimer.sound(one, 1, index * SOUND, SOUND)
            heard += [] if time is None else [time]
    steps = {later - earlier for earlier, later in pairwise(heard)}
    assert steps == {SOUND}
    assert 0 <= heard[0] <= SOUND
    assert abs(heard[-1] + SOUND - 140_000) <= SOUND


def test_sound_of_ranges_that_abut_runs_on() -> None:
    """Cut in two at a moment and joined again, it has each of its frames once."""
    retimer, stretch = Retimer(), object()
    heard = []
    for start, end, shift in ((120_000, 150_000, -120_000), (0, 50_000, 30_000), (50_000, 100_000, 30_000)):
        retimer.begin()
        one = piece(stretch, start, end, shift)
        heard.append([index for index in range(100) if retimer.sound(one, 1, index * SOUND, SOUND) is not None])
    assert heard[1][-1] + 1 == heard[2][0]
    assert heard[1] + heard[2] == list(range(heard[1][0], heard[2][-1] + 1))
