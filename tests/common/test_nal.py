"""Coded pictures, told by their units."""

import subprocess

import imageio_ffmpeg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.nal import Entry, begin_of_picture, free_parameter_set, read_picture, unescape, units, with_parameters
from common.pes import read_pes
from common.transport import as_packets, read_headers

CODERS = {
    "h264": ["libx264", "-x264-params", "keyint=12:min-keyint=12:scenecut=0:open-gop={}:bframes=2:b-adapt=0:aud=1"],
    "hevc": [
        "libx265",
        "-x265-params",
        "keyint=12:min-keyint=12:scenecut=0:open-gop={}:bframes=2:b-adapt=0:aud=1:log-level=0",
    ],
}


def coded(codec: str, *, open_gop: bool) -> list[bytes]:
    """Give 36 real pictures in decode order, a key picture among each twelve."""
    name, option, value = CODERS[codec]
    source = ["-f", "lavfi", "-i", "testsrc2=s=128x96:r=24", "-frames:v", "36", "-pix_fmt", "yuv420p"]
    command = [
        imageio_ffmpeg.get_ffmpeg_exe(),
        "-v",
        "error",
        *source,
        "-c:v",
        name,
        option,
        value.format(int(open_gop)),
    ]
    done = subprocess.run([*command, "-f", "mpegts", "-"], capture_output=True, check=True)
    packets = as_packets(bytearray(done.stdout))
    return [pes.payload for pes in read_pes(packets, read_headers(packets), 0x100)]


@pytest.mark.parametrize("codec", CODERS)
@pytest.mark.parametrize("open_gop", [False, True])
def test_entries_are_told_from_real_pictures(codec: str, *, open_gop: bool) -> None:
    """The first picture is a clean beginning; later key pictures are too, or are marked as open; no other is any."""
    pictures = [read_picture(codec, picture) for picture in coded(codec, open_gop=open_gop)]
    entries = [picture.entry for picture in pictures if picture.entry is not Entry.NONE]
    assert entries == [Entry.CLOSED, *[Entry.OPEN if open_gop else Entry.CLOSED] * (len(entries) - 1)]
    assert len(entries) == 3
    assert all(picture.parameters for picture in pictures if picture.entry is not Entry.NONE)
    assert any(picture.leading for picture in pictures) is (open_gop and codec == "hevc")


@pytest.mark.parametrize("codec", CODERS)
def test_parameters_go_behind_the_delimiter(codec: str) -> None:
    """What is put before a picture leaves its delimiter in front, and the picture as it was."""
    first, second, *_ = coded(codec, open_gop=False)
    parameters = read_picture(codec, first).parameters
    joined = with_parameters(codec, second, parameters)
    assert next(iter(units(joined))) == next(iter(units(second)))
    assert read_picture(codec, joined).parameters == parameters
    assert [*units(joined)][-1] == [*units(second)][-1]


def test_a_picture_begins_at_its_delimiter() -> None:
    """Bytes before the first delimiter belong to the picture before; without one nothing begins."""
    picture = b"\0\0\0\1\x09\xf0\0\0\1\x65abc"
    assert begin_of_picture("h264", picture) == 0
    assert begin_of_picture("h264", b"rest" + picture) == 4
    assert begin_of_picture("h264", b"rest of one") == len(b"rest of one")


def test_an_id_that_is_free_is_found() -> None:
    """Ids of parameter sets that a stream has are not taken."""
    sets = read_picture("h264", coded("h264", open_gop=False)[0]).parameters
    assert free_parameter_set(sets) == 31
    taken = b"\0\0\1\x68" + bytes([0b00000100, 0b00010000])  # a picture parameter set with the id 31
    assert free_parameter_set(sets + taken) == 30


@given(st.lists(st.binary(min_size=1, max_size=30).map(lambda unit: unit.replace(b"\0", b"\1")), max_size=6))
def test_units_are_taken_apart(found: list[bytes]) -> None:
    """Units come out as they went in, whatever zeros lie around them."""
    stream = b"".join(b"\0" * (index % 3) + b"\0\0\1" + unit for index, unit in enumerate(found))
    assert [*units(stream + b"\0\0")] == found
    assert unescape(b"\0\0\3\1") == b"\0\0\1"
