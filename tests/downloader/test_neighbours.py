"""When a segment is suspected to have ended early: its neighbours make one look, its timestamps decide."""

from datetime import timedelta

import pytest

from downloader.neighbours import Neighbours, lack
from ts_bytes import Pes, Programme, Stream, Writer

TWO = timedelta(seconds=2)
VIDEO, SOUND = 0x100, 0x101
BOTH = Programme(0x1000, 0, VIDEO, (Stream(VIDEO, 0x1B), Stream(SOUND, 0x0F)))
STILL = Programme(0x1000, 0, VIDEO, (Stream(VIDEO, 0x1B),))
PICTURE = b"\0\0\0\1\x09\xf0\0\0\0\1\x65" + b"p" * 500


def made(pictures: int, *, step: int = 3600, sounds: int = 0, cut_sound: bool = False) -> bytes:
    """Pictures every `step` ticks, and sounds of 0.1 s each; the last sound may lack its second half."""
    writer = Writer()
    writer.tables(BOTH if sounds else STILL)
    for number in range(pictures):
        time = 90_000 + number * step
        writer.pes(Pes(VIDEO, 0xE0, time, time, PICTURE, random_access=not number, pcr=time * 300))
    for number in range(sounds):
        time = 90_000 + number * 9000
        first = 1 if cut_sound and number == sounds - 1 else None
        writer.pes(Pes(SOUND, 0xC0, time, time, b"s" * 400), first=first)
    return writer.take()


@pytest.mark.parametrize(
    ("rates", "size", "low"),
    [
        ([], 1, False),
        ([1000] * 4, 1, False),
        ([1000] * 5, 1199, True),
        ([1000] * 5, 1200, False),
        ([10] * 30 + [1000] * 20, 1199, True),
        ([1000] * 30 + [10] * 20, 13, False),
        ([1000] * 8 + [1] * 2, 1199, True),
    ],
)
def test_few_bytes_are_few_beside_their_neighbours(rates: list[int], size: int, low: bool) -> None:  # noqa: FBT001
    """Less than three fifths of the median of the last twenty, once there are five to compare with."""
    neighbours = Neighbours()
    for rate in rates:
        neighbours.add(rate, timedelta(seconds=1))
    neighbours.add(0, timedelta(0))
    assert neighbours.is_low(size, TWO) is low


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (made(50), ""),
        (made(50, sounds=20), ""),
        (made(2, step=90_000), ""),
        (made(1, sounds=20), ""),
        (made(38), ""),
        (made(25), "its timestamps end 1.0 s too early"),
        (made(25, sounds=10), "its timestamps end 1.0 s too early"),
        (made(50, sounds=20, cut_sound=True), "its sound ends within a packet"),
        (b"\x47" + b"\0" * 187, None),
        (b"no packets", None),
    ],
)
def test_timestamps_tell_whether_the_end_is_missing(data: bytes, reason: str | None) -> None:
    """A still picture, slow pictures and half a second less are no fault; half of the media is, or a broken packet."""
    assert lack(data, TWO) == reason
