"""Slices of H.264 in other places: real ones of x264, whose headers are read and written."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from x264 import encoded, of_kind, parameters, place_of

from common.avc import (
    AvcError,
    Place,
    escape,
    move_slice,
    read_pps,
    read_reordering,
    read_sps,
    renumber_pps,
    reordered,
)
from common.nal import unescape

ALONE = "bframes=0:ref=1:weightp=0:aud=1:slices=2:keyint=8"
CODINGS = ("cabac=1", "cabac=0", "cabac=1:8x8dct=1", "cabac=0:constrained-intra=1:deblock=1,1")


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


@pytest.mark.parametrize(
    "told",
    [
        "aud=1",
        "sar=4/3:overscan=show:videoformat=pal:range=pc:chromaloc=2:pic-struct=1",
        "sar=1000/999:colorprim=bt709:transfer=bt709:colormatrix=bt709:force-cfr=1",
        "nal-hrd=vbr:vbv-maxrate=900:vbv-bufsize=900:bitrate=500",
    ],
)
def test_a_set_says_of_the_order_what_another_one_says(told: str) -> None:
    """Whatever else it tells, how many pictures change places is what the other says, and all else is its own."""
    ours = of_kind(encoded(f"{ALONE}:{told}"), 7)[0]
    theirs = of_kind(encoded("bframes=3:b-pyramid=normal:ref=4:keyint=8"), 7)[0]
    before, wanted = read_reordering(ours), read_reordering(theirs)
    assert before is not None
    assert wanted is not None
    assert (before.frames, wanted.frames) == (0, 2)
    made = reordered(ours, theirs)
    now = read_reordering(made)
    assert now is not None
    assert (now.frames, now.buffered, now.at) == (2, wanted.buffered, before.at)
    assert read_sps(made) == read_sps(ours)
    assert unescape(made)[: before.at // 8] == unescape(ours)[: before.at // 8]
    assert reordered(made, ours) == made
