"""Slices of H.264, and how they are given another place in the order of pictures (Rec. ITU-T H.264 §7.3).

Only their headers are read, and only these change.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from common.nal import unescape

# Kinds of units.
SLICE, IDR, SEI, SPS, PPS, DELIMITER = 1, 5, 6, 7, 8, 9

# Profiles whose SPS tells of the samples (§7.3.2.1.1).
_HIGH: Final = frozenset({100, 110, 122, 244, 44, 83, 86, 118, 128, 138, 139, 134, 135})

_FULL_CHROMA: Final = 3
_OWN_ASPECT: Final = 255

_P, _B, _I = 0, 1, 2

_END_OF_LIST: Final = 3
_DROP: Final = 1  # memory_management_control_operation

# More than the longest header of a slice.
_HEADER_BYTES: Final = 512

_NEEDS_ESCAPE: Final = re.compile(rb"\0\0(?=[\0-\3])")


class AvcError(ValueError):
    """Units of H.264 that cannot be read, or not be given another place."""


# Bits -------------------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class Bits:
    """Reads bits one after the other, as §7.2 and §9.1 name them. Raises AvcError where there are none."""

    data: bytes
    at: int = 0

    def u(self, count: int) -> int:
        """Read an unsigned number of so many bits."""
        end = self.at + count
        if end > 8 * len(self.data):
            raise AvcError("It ends too early.")
        last = -(-end // 8)
        value = int.from_bytes(self.data[self.at // 8 : last]) >> 8 * last - end
        self.at = end
        return value & (1 << count) - 1

    def flag(self) -> bool:
        """Read a flag."""
        return bool(self.u(1))

    def ue(self) -> int:
        """Read an unsigned number of a length that depends on it."""
        zeros = 0
        while not self.u(1):
            zeros += 1
        return (1 << zeros) - 1 + self.u(zeros)

    def se(self) -> int:
        """Read a signed number of a length that depends on it."""
        value = self.ue()
        return (value + 1) // 2 if value & 1 else -(value // 2)


def _u(value: int, count: int) -> str:
    return f"{value:0{count}b}" if count else ""


def _ue(value: int) -> str:
    return "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"


def _between(data: bytes, begin: int, end: int) -> str:
    """Give some bits as ones and zeros."""
    return _u(Bits(data, begin).u(end - begin), end - begin)


def _packed(bits: str) -> bytes:
    """Pack ones and zeros, whole bytes of them."""
    return int(bits, 2).to_bytes(len(bits) // 8)


def _followed(bits: str, data: bytes, at: int) -> bytes:
    """Let bits be followed by what stands in `data` from bit `at` on, up to the last that is one, wherever it lies."""
    whole = int.from_bytes(data)
    stray = (whole & -whole).bit_length() - 1
    count = 8 * len(data) - stray - at
    rest = whole >> stray & (1 << count) - 1
    pad = -(len(bits) + count) % 8
    return ((int("1" + bits, 2) << count | rest) << pad).to_bytes((len(bits) + count + pad) // 8 + 1)[1:]


def escape(unit: bytes) -> bytes:
    """Put in the bytes that keep start codes from appearing in a unit (§7.4.1)."""
    return _NEEDS_ESCAPE.sub(b"\0\0\3", unit)


# Parameter sets ---------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Sps:
    """A sequence parameter set, as far as slices depend on it; `lsb_bits` is 0 where the order is that of coding.

    `samples`: chroma format, bits of luma and chroma less 8. `macroblocks`: per line, and lines.
    """

    number: int
    profile: int
    samples: tuple[int, int, int]
    frame_num_bits: int
    lsb_bits: int
    references: int
    macroblocks: tuple[int, int]


@dataclass(frozen=True, slots=True)
class Pps:
    """A picture parameter set, as far as headers of slices depend on it; `rest` is the bit after its numbers.

    `references`: how many there are by default, of each list. `weighted`: the kinds of slices with weights.
    """

    number: int
    sps: int
    cabac: bool
    both_orders: bool
    references: tuple[int, int]
    weighted: frozenset[int]
    deblocking: bool
    redundant: bool
    rest: int


def read_sps(unit: bytes) -> Sps:
    """Read a set for whole pictures. Raises AvcError for one with fields, scaling lists or an order of its own kind."""
    return _read_sps(Bits(unescape(unit), 8))


def _read_sps(bits: Bits) -> Sps:
    """Read a set up to frame_mbs_only_flag."""
    profile = bits.u(8)
    bits.u(16)
    number = bits.ue()
    samples = (1, 0, 0)
    if profile in _HIGH:
        chroma = bits.ue()
        if chroma == _FULL_CHROMA and bits.u(1):
            raise AvcError("Its colours are coded apart.")
        samples = chroma, bits.ue(), bits.ue()
        bits.u(1)
        if bits.u(1):
            raise AvcError("It has scaling lists.")
    frame_num_bits = bits.ue() + 4
    order = bits.ue()
    if order == 1:
        raise AvcError("The order of its pictures follows a pattern.")
    lsb_bits = bits.ue() + 4 if order == 0 else 0
    references = bits.ue()
    bits.u(1)
    size = bits.ue() + 1, bits.ue() + 1
    if not bits.u(1):
        raise AvcError("It has fields.")
    return Sps(number, profile, samples, frame_num_bits, lsb_bits, references, size)


@dataclass(frozen=True, slots=True)
class Reordering:
    """What a set says of the order of its pictures (§E.2.1): how many may come before one that is shown before them.

    `buffered` is how many a decoder keeps; `at` is the bit at which both stand.
    """

    frames: int
    buffered: int
    at: int


def read_reordering(unit: bytes) -> Reordering | None:
    """Read what a set says at its end; None if it does not say so. Raises AvcError as `read_sps` does."""
    bits = Bits(unescape(unit), 8)
    _read_sps(bits)
    bits.u(1)
    if bits.flag():  # cropping
        bits.ue(), bits.ue(), bits.ue(), bits.ue()
    if not bits.flag():
        return None
    _pass_vui(bits)
    if not bits.flag():
        return None
    bits.u(1)
    bits.ue(), bits.ue(), bits.ue(), bits.ue()
    at = bits.at
    return Reordering(bits.ue(), bits.ue(), at)


def _pass_vui(bits: Bits) -> None:
    """Pass vui_parameters up to bitstream_restriction_flag (§E.1.1)."""
    if bits.flag() and bits.u(8) == _OWN_ASPECT:
        bits.u(32)
    if bits.flag():  # overscan
        bits.u(1)
    if bits.flag():  # the signal
        bits.u(4)
        if bits.flag():
            bits.u(24)
    if bits.flag():  # places of chroma samples
        bits.ue(), bits.ue()
    if bits.flag():  # timing
        bits.u(65)
    told = [_pass_hrd(bits) if bits.flag() else False for _ in ("NAL", "VCL")]
    if any(told):
        bits.u(1)
    bits.u(1)


def _pass_hrd(bits: Bits) -> bool:
    """Pass hrd_parameters (§E.1.2)."""
    count = bits.ue() + 1
    bits.u(8)
    for _ in range(count):
        bits.ue(), bits.ue(), bits.u(1)
    bits.u(20)
    return True


def reordered(unit: bytes, like: bytes) -> bytes:
    """Let a set say of the order of its pictures what another one says, where both say anything. Raises AvcError."""
    ours, theirs = read_reordering(unit), read_reordering(like)
    if ours is None or theirs is None or theirs.frames <= ours.frames:
        return unit
    plain = unescape(unit)
    bits = _between(plain, 8, ours.at) + _ue(theirs.frames) + _ue(max(theirs.buffered, ours.buffered)) + "1"
    return unit[:1] + escape(_packed(bits + "0" * (-len(bits) % 8)))


def read_pps(unit: bytes) -> Pps:
    """Read a set. Raises AvcError for one with slice groups."""
    bits = Bits(unescape(unit), 8)
    number, sps = bits.ue(), bits.ue()
    rest = bits.at
    cabac, both_orders = bits.flag(), bits.flag()
    if bits.ue():
        raise AvcError("It has groups of slices.")
    references = bits.ue() + 1, bits.ue() + 1
    weighted = [_P] * bits.u(1) + [_B] * (bits.u(2) == 1)
    bits.se(), bits.se(), bits.se()
    deblocking = bits.flag()
    bits.u(1)
    return Pps(number, sps, cabac, both_orders, references, frozenset(weighted), deblocking, bits.flag(), rest)


def renumber_pps(unit: bytes, number: int, sps: int) -> bytes:
    """Give a set another number, and let it belong to another SPS."""
    plain = unescape(unit)
    return unit[:1] + escape(_followed(_ue(number) + _ue(sps), plain, read_pps(unit).rest))


# Slices -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Place:
    """Where a picture stands: its frame_num and pic_order_cnt_lsb, and whether others may refer to it or it is an IDR.

    Both numbers are as they are written, less what is too long for their bits. `drops`: to which pictures none will
    refer any more, as differences of their frame_num; all others stay as long as there is room.
    """

    frame_num: int
    lsb: int
    reference: bool = True
    idr: bool = False
    drops: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Header:
    """The header of a slice: its first macroblock, its kind, its PPS, its place.

    The bits from `lists` to before `marking`, and from `coding` to before `end`, do not depend on its place.
    """

    first: int
    kind: int
    pps: int
    place: Place
    idr_number: int
    lists: int
    marking: int
    coding: int
    end: int


def read_header(unit: bytes, all_sps: Mapping[int, Sps], all_pps: Mapping[int, Pps]) -> Header:
    """Read the header of a slice, of which `unit` is at least the beginning (§7.3.3). Raises AvcError."""
    bits = Bits(unescape(unit[:_HEADER_BYTES]), 8)
    first, kind, number = bits.ue(), bits.ue(), bits.ue()
    pps = all_pps.get(number)
    sps = all_sps.get(pps.sps) if pps else None
    if pps is None or sps is None:
        raise AvcError("Its parameters are not known.")
    idr, reference = unit[0] & 31 == IDR, bool(unit[0] >> 5 & 3)
    frame_num = bits.u(sps.frame_num_bits)
    idr_number = bits.ue() if idr else 0
    lsb = bits.u(sps.lsb_bits)
    if sps.lsb_bits and pps.both_orders:
        bits.se()
    if pps.redundant:
        bits.ue()
    lists = bits.at
    _pass_lists(bits, kind % 5, sps, pps)
    marking = bits.at
    drops = _read_marking(bits, idr=idr) if reference else ()
    coding = bits.at
    if pps.cabac and kind % 5 != _I:
        bits.ue()
    bits.se()
    if pps.deblocking and bits.ue() != 1:
        bits.se(), bits.se()
    place = Place(frame_num, lsb, reference, idr, drops)
    return Header(first, kind, number, place, idr_number, lists, marking, coding, bits.at)


def _pass_lists(bits: Bits, kind: int, sps: Sps, pps: Pps) -> None:
    """Pass what a slice says of the pictures that it refers to."""
    if kind == _I:
        return
    if kind not in {_P, _B}:
        raise AvcError("It has slices for switching.")
    counts = list(pps.references[: kind + 1])
    if kind == _B:
        bits.u(1)
    if bits.u(1):
        counts = [bits.ue() + 1 for _ in counts]
    for _ in counts:
        if bits.u(1):
            while bits.ue() != _END_OF_LIST:
                bits.ue()
    if kind in pps.weighted:
        _pass_weights(bits, counts, colour=sps.samples[0] != 0)


def _pass_weights(bits: Bits, counts: Sequence[int], *, colour: bool) -> None:
    """Pass pred_weight_table (§7.3.3.2)."""
    bits.ue()
    if colour:
        bits.ue()
    for _ in range(sum(counts)):
        if bits.u(1):
            bits.se(), bits.se()
        if colour and bits.u(1):
            bits.se(), bits.se(), bits.se(), bits.se()


def _read_marking(bits: Bits, *, idr: bool) -> tuple[int, ...]:
    """Read dec_ref_pic_marking (§7.3.3.3). Raises AvcError if it does more than to drop pictures."""
    drops: list[int] = []
    if idr:
        if bits.u(2) & 1:
            raise AvcError("It keeps pictures for long.")
    elif bits.u(1):
        while operation := bits.ue():
            if operation != _DROP:
                raise AvcError("It keeps pictures for long.")
            drops.append(bits.ue() + 1)
    return tuple(drops)


def _marking(place: Place) -> str:
    if not place.reference:
        return ""
    if place.idr:
        return "00"
    return "1" + "".join(_ue(_DROP) + _ue(drop - 1) for drop in place.drops) + _ue(0) if place.drops else "0"


def move_slice(unit: bytes, theirs: tuple[Sps, Pps], ours: Sps, pps: int, place: Place) -> bytes:
    """Give a slice of whole I and P pictures another place, SPS and number of its PPS; all else stays as it is.

    An IDR can become a picture that is none, but not the other way round. Raises AvcError for what is not expected.
    """
    header = read_header(unit, {theirs[0].number: theirs[0]}, {theirs[1].number: theirs[1]})
    if header.kind % 5 == _B or theirs[1].both_orders or theirs[1].redundant or place.idr > header.place.idr:
        raise AvcError("Such a slice cannot be given another place.")
    plain = unescape(unit)
    bits = "".join([
        _ue(header.first),
        _ue(header.kind),
        _ue(pps),
        _u(place.frame_num & (1 << ours.frame_num_bits) - 1, ours.frame_num_bits),
        _ue(header.idr_number) if place.idr else "",
        _u(place.lsb & (1 << ours.lsb_bits) - 1, ours.lsb_bits),
        _between(plain, header.lists, header.marking),
        _marking(place),
    ])  # fmt: skip
    first = bytes([(unit[0] & 0x60 if place.reference else 0) | (IDR if place.idr else SLICE)])
    if not theirs[1].cabac:
        return first + escape(_followed(bits, plain, header.coding))
    bits += _between(plain, header.coding, header.end)
    bits += "1" * (-len(bits) % 8)  # cabac_alignment_one_bit
    return first + escape(_packed(bits) + plain[-(-header.end // 8) :])
