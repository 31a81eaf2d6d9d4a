"""Slices of H.264 in other places: real ones of x264, whose headers are read and written."""

import subprocess
from dataclasses import replace
from functools import cache
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from imageio_ffmpeg import get_ffmpeg_exe

from common.avc import (
    AvcError,
    Place,
    Pps,
    Sps,
    align,
    escape,
    move_slice,
    picture_orders,
    read_header,
    read_pps,
    read_sps,
    renumber_pps,
)
from common.nal import Entry, Picture, read_picture, unescape, units

ALONE = "bframes=0:ref=1:weightp=0:aud=1:slices=2:keyint=8"
CODINGS = ("cabac=1", "cabac=0", "cabac=1:8x8dct=1", "cabac=0:constrained-intra=1:deblock=1,1")


@cache
def encoded(parameters: str, count: int = 10) -> list[bytes]:
    """Give the units that x264 makes of a few pictures."""
    command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s=160x96:r=25,trim=end_frame={count}"]
    command += ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-threads", "1", "-x264-params", parameters]
    done = subprocess.run([*command, "-f", "h264", "-"], check=True, capture_output=True)
    return list(units(done.stdout))


def of_kind(found: list[bytes], *kinds: int) -> list[bytes]:
    return [unit for unit in found if unit[0] & 31 in kinds]


def parameters(found: list[bytes]) -> tuple[Sps, Pps]:
    return read_sps(of_kind(found, 7)[0]), read_pps(of_kind(found, 8)[0])


def place_of(unit: bytes, theirs: tuple[Sps, Pps]) -> Place:
    return read_header(unit, {theirs[0].number: theirs[0]}, {theirs[1].number: theirs[1]}).place


@pytest.mark.parametrize("coding", CODINGS)
def test_a_slice_that_stays_in_its_place_keeps_its_bits(coding: str) -> None:
    """What is read of a header and written again is the same to the bit."""
    found = encoded(f"{ALONE}:{coding}")
    theirs = parameters(found)
    slices = of_kind(found, 1, 5)
    assert len(slices) == 20
    for unit in slices:
        assert move_slice(unit, theirs, theirs[0], theirs[1].number, place_of(unit, theirs)) == unit


@given(
    coding=st.sampled_from(CODINGS),
    index=st.integers(0, 19),
    bits=st.tuples(st.integers(4, 16), st.sampled_from([0, *range(4, 17)])),
    numbers=st.tuples(st.integers(0, 31), st.integers(0, 255)),
    place=st.builds(Place, st.integers(0, 15), st.integers(0, 15), drops=st.lists(st.integers(1, 9)).map(tuple)),
)
def test_a_slice_goes_to_any_place_and_back(
    coding: str, index: int, bits: tuple[int, int], numbers: tuple[int, int], place: Place
) -> None:
    """In a new place a slice says that place, and back in its own it is what it was."""
    found = encoded(f"{ALONE}:{coding}")
    theirs = parameters(found)
    unit = of_kind(found, 1, 5)[index]
    own = place_of(unit, theirs)
    place = replace(place, idr=own.idr, drops=() if own.idr else place.drops, lsb=place.lsb if bits[1] else 0)
    ours = replace(theirs[0], number=numbers[0], frame_num_bits=bits[0], lsb_bits=bits[1])
    pps = replace(theirs[1], number=numbers[1], sps=numbers[0])
    moved = move_slice(unit, theirs, ours, pps.number, place)
    assert b"\0\0\1" not in moved
    assert place_of(moved, (ours, pps)) == place
    assert move_slice(moved, (ours, pps), theirs[0], theirs[1].number, own) == unit


def test_an_idr_becomes_a_picture_that_is_none() -> None:
    """A key frame can stand after others, and as one that none refers to; no other picture becomes an IDR."""
    found = encoded(f"{ALONE}:cabac=1")
    theirs = parameters(found)
    idr, other = of_kind(found, 5)[0], of_kind(found, 1)[0]
    for place in (Place(3, 0), Place(3, 0, reference=False)):
        moved = move_slice(idr, theirs, theirs[0], 0, place)
        assert (moved[0] & 31, place_of(moved, theirs)) == (1, place)
    with pytest.raises(AvcError):
        move_slice(other, theirs, theirs[0], 0, Place(0, 0, idr=True))


@pytest.mark.parametrize("coding", ["ref=4:weightp=2:bframes=3:b-pyramid=normal", "ref=2:bframes=2:weightb=1:cabac=0"])
def test_headers_of_all_kinds_of_slices_are_read(coding: str) -> None:
    """With several references, weights and B-frames, the numbers run on as they should."""
    found = encoded(f"{coding}:scenecut=0:aud=1", 24)
    theirs = parameters(found)
    places = [place_of(unit, theirs) for unit in of_kind(found, 1, 5)]
    number = 0
    for before, after in pairwise(places):
        number += before.reference
        assert after.frame_num == number % (1 << theirs[0].frame_num_bits)
    assert len({place.lsb for place in places}) == len(places)


def test_a_pps_belongs_to_another_sps() -> None:
    """A PPS under another number says all else as before."""
    pps = of_kind(encoded(f"{ALONE}:cabac=1"), 8)[0]
    for number in (0, 5, 31, 255):
        moved = read_pps(renumber_pps(pps, number, 3))
        assert replace(moved, rest=0) == replace(read_pps(pps), number=number, sps=3, rest=0)
    assert renumber_pps(renumber_pps(pps, 77, 9), 0, 0) == pps


@given(st.lists(st.sampled_from([0, 0, 0, 1, 2, 3, 255])).map(bytes))
def test_escaping_hides_start_codes_and_nothing_else(unit: bytes) -> None:
    """An escaped unit holds no start code, and comes back as it was."""
    hidden = escape(unit + b"\x80")
    assert not any(code in hidden for code in (b"\0\0\0", b"\0\0\1", b"\0\0\2"))
    assert unescape(hidden) == unit + b"\x80"


def test_fields_are_refused() -> None:
    """Of an SPS for fields nothing is promised."""
    with pytest.raises(AvcError):
        read_sps(of_kind(encoded("tff=1:bframes=0"), 7)[0])


@given(st.integers(1, 300), st.integers(4, 16), st.integers(0, 65535), st.lists(st.integers(1, 20), max_size=4))
def test_orders_lead_from_an_idr_to_any_picture(count: int, bits: int, key: int, ahead: list[int]) -> None:
    """Orders begin at zero, rise by no more than a decoder can tell, and end just before what follows."""
    most = 1 << bits
    key, ahead = key % most, [each % most for each in ahead]
    sps = Sps(0, 100, (1, 0, 0), 4, bits, 4, (10, 6))
    orders = picture_orders(count, key, [(key - each) % most for each in ahead], sps)
    if orders is None:
        assert count < 4 or max(ahead, default=0) + 2 > most // 2
        return
    assert orders[0] == 0
    assert len(orders) == count
    assert all(0 < after - before <= most // 2 for before, after in pairwise(orders))
    assert (key - max(ahead, default=0) - orders[-1]) % most == 2


def open_gop() -> tuple[list[Picture], bytes]:
    """Give a picture that is no IDR, those that follow it, and the parameters that hold."""
    found = encoded("open-gop=1:keyint=20:bframes=3:b-adapt=0:scenecut=0:aud=1", 60)
    stream = b"".join(b"\0\0\1" + unit for unit in found)
    pictures = [read_picture("h264", b"\0\0\1\x09" + part) for part in stream.split(b"\0\0\1\x09")[1:]]
    key = next(at for at, picture in enumerate(pictures) if picture.entry is Entry.OPEN)
    return pictures[key : key + 16], b"\0\0\1".join([b"", *of_kind(found, 7, 8)])


def test_pictures_end_where_another_goes_on() -> None:
    """The last picture before has the number before, and only what is spoken of later is kept."""
    following, sets = open_gop()
    theirs = parameters(list(units(sets)))
    sps, key = theirs[0], place_of(following[0].slice, theirs)
    found = align(following, sets, [2, 1, 3], 40)
    assert found is not None
    assert (found.places[39].frame_num + 1) % (1 << sps.frame_num_bits) == key.frame_num
    assert found.keys[0] == 0
    assert found.keys[-3:] == (40, 41, 42)
    assert len(found.places) == 43
    # the pictures that come next drop those that stand 5 and 2, and 4 and 1, before them
    assert [place_of(picture.slice, theirs).drops for picture in following if picture.slice[0] >> 5][1:3] == [
        (5, 2),
        (4, 1),
    ]
    assert [at for at in range(30, 39) if not found.places[at + 1].drops] == [36, 38]


def test_where_nothing_can_be_aligned_that_is_said() -> None:
    """With too few pictures before, without parameters or a slice, there is no place for them."""
    following, sets = open_gop()
    assert align(following, sets, [2, 1, 3], 3) is None
    assert align(following, b"", [2, 1, 3], 40) is None
    assert align([Picture(Entry.OPEN, b"")], sets, [], 40) is None
