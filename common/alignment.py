"""Pictures of H.264 that are encoded so that one that is no IDR can follow them.

That is without a fault only if they end where it goes on: the parameters that hold are its own, its frame_num comes
next (Rec. ITU-T H.264 §7.4.3), it is shown after them (§8.2.1), and those that are dropped later are there. They come
from x264, and all but the forced key frames are predicted from the one before alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from common.avc import (
    DELIMITER,
    IDR,
    PPS,
    SEI,
    SLICE,
    SPS,
    AvcError,
    Place,
    Pps,
    Sps,
    move_slice,
    read_header,
    read_pps,
    read_sps,
    renumber_pps,
)
from common.nal import Picture, units

_START_CODE: Final = b"\0\0\1"
_CAPTIONS: Final = 4  # SEI: user_data_registered_itu_t_t35

# Those that x264 keeps to if asked.
_IMITABLE: Final = frozenset({66, 77, 100, 110, 122, 244})

# From an IDR on, so many pictures at least are needed to get from its place to any other.
_FEWEST: Final = 4


@dataclass(frozen=True, slots=True)
class Alignment:
    """How pictures are placed so that one that is no IDR, and those that it leads, can follow.

    `places` of all that are encoded, in the order in which they are shown: those `before` it first, then those of
    `leading` ones, which are coded after it. `sps` is the unit that holds for it, `pps` a number that is free.
    """

    sps: bytes
    pps: int
    places: tuple[Place, ...]
    before: int

    @property
    def keys(self) -> tuple[int, ...]:
        """The pictures that must be encoded as key frames, by their number: IDRs, and all that are coded after it."""
        idrs = (at for at, place in enumerate(self.places) if place.idr)
        return *idrs, *range(self.before, len(self.places))


def align(following: Sequence[Picture], parameters: bytes, leading: Sequence[int], before: int) -> Alignment | None:
    """Find places for `before` pictures ahead of the first of `following`, and for those of these that it leads.

    `following` are in the order in which they are coded; `leading` says which it leads, in the order shown.
    `parameters` are the sets that hold for the first. None if it cannot be: too few pictures, or a kind of coding that
    is not known here.
    """
    try:
        return _align(following, parameters, leading, before)
    except AvcError:
        return None


def stands_alone(following: Sequence[Picture], parameters: bytes, leading: Sequence[int]) -> bool:
    """Tell whether nothing is missed if a video begins with the first of some pictures, without those that it leads.

    As for `align`. What cannot be read is taken for missed.
    """
    try:
        unit, _ = _parameter_sets(parameters)
        places = _places(following, parameters)
    except AvcError:
        return False
    left = [place for at, place in enumerate(places) if at not in leading]
    return len(_needed(left, read_sps(unit))) == 1 and not any(places[at].reference for at in leading)


def _parameter_sets(parameters: bytes) -> tuple[bytes, dict[int, Pps]]:
    """Take apart the one SPS that holds, and the PPS by their numbers."""
    known = list(units(parameters))
    found = {unit for unit in known if unit[0] & 31 == SPS}
    if len(found) != 1:
        raise AvcError("It is not known which parameters hold.")
    all_pps = (read_pps(unit) for unit in known if unit[0] & 31 == PPS)
    return found.pop(), {pps.number: pps for pps in all_pps}


def _places(following: Sequence[Picture], parameters: bytes) -> list[Place]:
    unit, all_pps = _parameter_sets(parameters)
    sps = read_sps(unit)
    return [read_header(picture.slice, {sps.number: sps}, all_pps).place for picture in following]


def _align(following: Sequence[Picture], parameters: bytes, leading: Sequence[int], before: int) -> Alignment | None:
    unit, all_pps = _parameter_sets(parameters)
    sps = read_sps(unit)
    if sps.profile not in _IMITABLE:
        return None
    places = _places(following, parameters)
    key, led = places[0], [places[at] for at in leading]
    needed = _needed(places, sps)
    counted = before - (before - key.frame_num) % (1 << sps.frame_num_bits)
    orders = picture_orders(counted, key.lsb, [each.lsb for each in led], sps)
    if orders is None or counted < max(_FEWEST, *needed) or not key.reference:
        return None
    first = [Place(at, 2 * at, idr=at == 0) for at in range(before - counted)]
    second = [
        Place(at, order, idr=at == 0, drops=(1,) if at and counted - at + 1 not in needed else ())
        for at, order in enumerate(orders)
    ]
    free = next(number for number in range(31, 256) if number not in all_pps)
    return Alignment(unit, free, (*first, *second, *led), before)


def _needed(places: Sequence[Place], sps: Sps) -> set[int]:
    """Tell which pictures before the first one are spoken of later: so many references before it they stand."""
    needed, number = {1}, 0
    last = places[0].frame_num
    for place in places:
        number += (place.frame_num - last) % (1 << sps.frame_num_bits)
        last = place.frame_num
        needed |= {drop - number for drop in place.drops if drop > number}
    return needed


def picture_orders(count: int, key: int, leading: Sequence[int], sps: Sps) -> list[int] | None:
    """Give picture order counts from zero at an IDR to just before those of the key and the ones that it leads.

    None of the steps is so long that it would be taken for one back (§8.2.1.1).
    """
    if count < _FEWEST:
        return None
    if not sps.lsb_bits:
        return [0] * count
    most = 1 << sps.lsb_bits
    ahead = max(((key - lsb) % most for lsb in leading), default=0)
    limit = 2 * count + (key - ahead - 2 * count) % most
    orders = [min(at * most // 2, limit - 2 * (count - at)) for at in range(count)]
    if orders[-1] != limit - 2 or ahead + 2 > most // 2:
        return None
    return orders


@dataclass(slots=True)
class Aligner:
    """Puts pictures, as x264 has encoded them, in their places; it knows the parameters that they were coded with."""

    alignment: Alignment
    _sps: Sps = field(init=False)
    _theirs: tuple[Sps, Pps] | None = None

    def __post_init__(self) -> None:
        self._sps = read_sps(self.alignment.sps)

    def picture(self, index: int, data: bytes) -> bytes:
        """Give the picture that is shown at `index`, in its place. Raises AvcError if it does not fit."""
        place = self.alignment.places[index]
        found = list(units(data))
        parameters = self._parameters(found)
        kept = [unit for unit in found if unit[0] & 31 == DELIMITER] + (parameters if place.idr else [])
        # what else x264 says would be read by the parameters of others
        kept += [unit for unit in found if unit[0] & 31 == SEI and unit[1] == _CAPTIONS]
        kept += [self._slice(unit, place) for unit in found if unit[0] & 31 in {SLICE, IDR}]
        return b"".join(b"\0" + _START_CODE + unit for unit in kept)

    def _parameters(self, found: Sequence[bytes]) -> list[bytes]:
        """Look for the parameters with a picture, and give those that stand in for them."""
        sps = next((unit for unit in found if unit[0] & 31 == SPS), None)
        pps = next((unit for unit in found if unit[0] & 31 == PPS), None)
        if sps is None or pps is None:
            return []
        self._theirs = theirs = read_sps(sps), read_pps(pps)
        ours = self._sps
        if (theirs[0].samples, theirs[0].macroblocks) != (ours.samples, ours.macroblocks):
            raise AvcError("The pictures were encoded in another format.")
        if theirs[0].profile > ours.profile:
            raise AvcError("The pictures were encoded in a higher profile.")
        return [self.alignment.sps, renumber_pps(pps, self.alignment.pps, ours.number)]

    def _slice(self, unit: bytes, place: Place) -> bytes:
        if self._theirs is None:
            raise AvcError("The pictures begin without parameters.")
        return move_slice(unit, self._theirs, self._sps, self.alignment.pps, place)
