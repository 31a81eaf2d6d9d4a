"""Where the frames of coded sound lie in a stream of bytes, told by their headers.

AAC in ADTS (ISO/IEC 14496-3 §1.A.2.2) and in LATM (§1.7.2), MPEG audio (ISO/IEC 11172-3 §2.4.1.3), AC-3 and E-AC-3
(ETSI TS 102 366 §4.3 and annex E).
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from fractions import Fraction

from common.ticks import TICKS

_ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000, 7_350)
_ADTS_HEADER, _AAC_SAMPLES = 7, 1024

_MPEG_RATES = (44_100, 48_000, 32_000)
_MPEG_KBITS = {
    # by version 1 or not, and layer
    (True, 1): (0, 32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (0, 32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}

_AC3_RATES = (48_000, 44_100, 32_000)
_AC3_KBITS = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640)
_AC3_SAMPLES, _AC3_NEWEST = 1536, 10
_EAC3_BLOCKS = (1, 2, 3, 6)
_BLOCK_SAMPLES = 256


@dataclass(frozen=True, slots=True)
class SoundFrame:
    """One frame: its first byte, its length in bytes (it may reach beyond the end), how long it sounds in ticks."""

    start: int
    length: int
    duration: Fraction

    @property
    def end(self) -> int:
        """The byte behind it."""
        return self.start + self.length


# A header's length in bytes and duration in ticks; None where there is none.
_Header = tuple[int, Fraction] | None


def sound_frames(form: str, data: bytes) -> Iterator[SoundFrame]:
    """Go through the frames that begin in `data`; what lies between them is passed over.

    `form`: see `common.programme.Elementary.audio`. A frame counts if another one follows it, or the end.
    """
    read = _READERS[form]
    at = _next(read, data, 0)
    while at is not None:
        header = read(data, at)
        if header is None:
            at = _next(read, data, at)
            continue
        length, duration = header
        yield SoundFrame(at, length, duration)
        at += length
        if at >= len(data):
            return


def _next(read: Callable[[bytes, int], _Header], data: bytes, at: int) -> int | None:
    """Find the next header that another one, or the end of the data, follows."""
    for start in range(at, len(data)):
        header = read(data, start)
        if header is not None:
            after = start + header[0]
            if after + _ADTS_HEADER > len(data) or read(data, after) is not None:
                return start
    return None


def _duration(samples: int, rate: int) -> Fraction:
    return Fraction(samples * TICKS, rate)


def _adts(data: bytes, at: int) -> _Header:
    head = data[at : at + _ADTS_HEADER]
    if len(head) < _ADTS_HEADER or head[0] != 0xFF or head[1] & 0xF6 != 0xF0:
        return None
    index, length = head[2] >> 2 & 0x0F, (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    if index >= len(_ADTS_RATES) or length < _ADTS_HEADER:
        return None
    return length, _duration(_AAC_SAMPLES * ((head[6] & 3) + 1), _ADTS_RATES[index])


def _latm(data: bytes, at: int) -> _Header:
    head = data[at : at + 3]
    if len(head) < 3 or head[0] != 0x56 or head[1] & 0xE0 != 0xE0:
        return None
    # the rate stands deep in a configuration that not every frame repeats; 48 kHz is television's
    return 3 + ((head[1] & 0x1F) << 8 | head[2]), _duration(_AAC_SAMPLES, 48_000)


def _mpeg(data: bytes, at: int) -> _Header:
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bits, rate_index = head[2] >> 4, head[2] >> 2 & 3
    if version == 1 or layer == 4 or bits in {0, 15} or rate_index == 3:
        return None
    first = version == 3
    rate = _MPEG_RATES[rate_index] >> (0 if first else 1 if version == 2 else 2)
    kbits, padding = _MPEG_KBITS[first, layer][bits], head[2] >> 1 & 1
    samples = 384 if layer == 1 else 576 if layer == 3 and not first else 1152
    slot = 4 if layer == 1 else 1
    return (samples // 8 * kbits * 1000 // rate // slot + padding) * slot, _duration(samples, rate)


def _ac3(data: bytes, at: int) -> _Header:
    head = data[at : at + 6]
    if len(head) < 6 or head[:2] != b"\x0b\x77":
        return None
    if head[5] >> 3 > _AC3_NEWEST:
        return _eac3(head)
    rate_index, code = head[4] >> 6, head[4] & 0x3F
    if rate_index == 3 or code >> 1 >= len(_AC3_KBITS):
        return None
    rate = _AC3_RATES[rate_index]
    words = _AC3_KBITS[code >> 1] * 1000 * _AC3_SAMPLES // rate // 16
    return 2 * (words + (code & 1 if rate == 44_100 else 0)), _duration(_AC3_SAMPLES, rate)


def _eac3(head: bytes) -> _Header:
    rate_index, blocks = head[4] >> 6, 6
    if rate_index == 3:
        half = head[4] >> 4 & 3
        if half == 3:
            return None
        rate = _AC3_RATES[half] // 2
    else:
        rate, blocks = _AC3_RATES[rate_index], _EAC3_BLOCKS[head[4] >> 4 & 3]
    # frames of dependent streams (type 1) add channels to what sounds already
    samples = 0 if head[2] >> 6 == 1 else blocks * _BLOCK_SAMPLES
    return 2 * (((head[2] & 7) << 8 | head[3]) + 1), _duration(samples, rate)


_READERS: dict[str, Callable[[bytes, int], _Header]] = {
    "adts": _adts,
    "latm": _latm,
    "mpeg": _mpeg,
    "ac3": _ac3,
    "eac3": _ac3,
}
