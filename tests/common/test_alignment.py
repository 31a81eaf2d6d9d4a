"""Pictures that are encoded so that one that is no IDR can follow: their places."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from x264 import encoded, of_kind, parameters, place_of

from common.alignment import align, picture_orders, stands_alone
from common.avc import Sps
from common.nal import Entry, Picture, read_picture, units


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


def test_a_picture_stands_alone_if_nothing_else_is_spoken_of() -> None:
    """It does if it leads none that are referred to and nothing from before it is dropped later."""
    following, sets = open_gop()
    assert not stands_alone(following, sets, [2, 1, 3])
    assert not stands_alone(following[:1], b"", [])
    assert stands_alone(following[:1], sets, [])
    assert not stands_alone(following[:2], sets, [])  # which drops two from before


def test_where_nothing_can_be_aligned_that_is_said() -> None:
    """With too few pictures before, without parameters or a slice, there is no place for them."""
    following, sets = open_gop()
    assert align(following, sets, [2, 1, 3], 3) is None
    assert align(following, b"", [2, 1, 3], 40) is None
    assert align([Picture(Entry.OPEN, b"")], sets, [], 40) is None
