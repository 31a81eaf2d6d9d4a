"""Packed audio (RFC 8216 §3.4) as MPEG-TS: bare frames, behind an ID3 tag that tells when the first one sounds. Pure.

The store knows MPEG-TS and MP4. Nothing is encoded: the frames are put into packets as they are, and the same bytes in
give the same bytes out on every machine.
"""

from bisect import bisect_right
from collections.abc import Iterator
from fractions import Fraction
from itertools import accumulate

import numpy as np

from common.pes import Pes, write_pes
from common.programme import Elementary, Programme, programme_packets
from common.sound import SoundFrame, sound_frames
from common.ticks import WRAP

# ID3v2.4 §3.1, §4.27: the private frame that Apple has defined for it.
_TAG_HEADER, _TAG_FOOTER, _FRAME_HEADER = 10, 10, 10
_OWNER = b"com.apple.streaming.transportStreamTimestamp\0"

# The forms of frames by their sync words, and the stream types of programme maps.
_AC3_NEWEST = 10
_FORMS = {"adts": 0x0F, "mpeg": 0x03, "ac3": 0x81, "eac3": 0x87}
_PID, _MAP_PID, _STREAM_ID, _PRIVATE_ID = 0x101, 0x1000, 0xC0, 0xBD

# Frames share a PES for so long, in ticks: each tells the clock, which may be silent for 0.1 s (ISO 13818-1 §2.7.2).
_LONGEST_PES = 9_000

# So long before its time the sound arrives.
_LEAD = 9_000


class PackedAudioError(ValueError):
    """No packed audio that could be put into MPEG-TS; the text is one plain sentence."""


def as_transport(data: bytes, otherwise: int) -> tuple[bytes, str]:
    """Give packed audio as MPEG-TS, and what is wrong with it: empty if nothing is. Raises PackedAudioError.

    `otherwise` is the time of its first frame, in ticks, if the tag that must tell it is missing.
    """
    begin, first = _read_tags(data)
    sound = data[begin:]
    form = _form(sound)
    frames = list(sound_frames(form, sound))
    whole = [frame for frame in frames if frame.end <= len(sound)]
    if not whole:
        raise PackedAudioError("It holds no whole frame of sound.")
    all_there = sum(frame.length for frame in whole) == len(sound)
    programme = Programme(1, _MAP_PID, _PID, (Elementary(_PID, _FORMS[form]),))
    counters: dict[int, int] = {}
    stream_id = _STREAM_ID if form in {"adts", "mpeg"} else _PRIVATE_ID
    parts = (
        write_pes(_PID, pes, counters, pcr=((pes.pts or 0) - _LEAD) % WRAP, random_access=True)
        for pes in _pes(sound, whole, otherwise if first is None else first, stream_id)
    )
    fault = "" if all_there else "its sound is damaged, or ends within a frame"
    return np.concatenate([programme_packets(programme), *parts]).tobytes(), fault


def _form(sound: bytes) -> str:
    for form in _FORMS:
        first = next(sound_frames(form, sound[: 1 << 16]), None)
        if first is not None and first.start == 0:
            # their sync words are the same; bsid tells them apart (ETSI TS 102 366 §4.4.2.1, §E.1.3.1.6)
            return "eac3" if form == "ac3" and sound[5] >> 3 > _AC3_NEWEST else form
    raise PackedAudioError("It is neither AAC nor MPEG audio nor AC-3.")


def _pes(sound: bytes, frames: list[SoundFrame], first: int, stream_id: int) -> Iterator[Pes]:
    begins = list(accumulate((frame.duration for frame in frames), initial=Fraction(0)))
    at = 0
    while at < len(frames):
        until = max(at + 1, bisect_right(begins, begins[at] + _LONGEST_PES) - 1)
        pts = (first + round(begins[at])) % WRAP
        yield Pes(0, stream_id, pts, pts, b"".join(sound[frame.start : frame.end] for frame in frames[at:until]))
        at = until


def _read_tags(data: bytes) -> tuple[int, int | None]:
    """Give where the sound begins, and the time of its first frame, if the tags tell one."""
    at, first = 0, None
    while data[at : at + 3] == b"ID3" and len(data) >= at + _TAG_HEADER:
        size = _synchsafe(data[at + 6 : at + 10])
        end = at + _TAG_HEADER + size + (_TAG_FOOTER if data[at + 5] & 0x10 else 0)
        content = data[at + _TAG_HEADER : at + _TAG_HEADER + size]
        owner = content.find(_OWNER)
        stamp = content[owner + len(_OWNER) :][:8] if owner >= 0 else b""
        if len(stamp) == 8:  # noqa: PLR2004 - of RFC 8216 §3.4
            first = int.from_bytes(stamp) % WRAP
        at = end
    return at, first


def _synchsafe(field: bytes) -> int:
    """Read a number of ID3: seven bits in each byte."""
    value = 0
    for byte in field:
        value = value << 7 | byte & 0x7F
    return value
