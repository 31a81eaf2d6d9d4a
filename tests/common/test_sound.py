"""Frames of coded sound, found where the real decoder finds them."""

import io
import subprocess
from collections.abc import Sequence
from itertools import pairwise

import av
import imageio_ffmpeg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.sound import sound_frames
from common.ticks import TICKS

# As ffmpeg's encoder and container are called, the options, and as we call the form.
FORMS = [
    ("aac", "adts", ["-ar", "48000"], "adts"),
    ("aac", "adts", ["-ar", "44100", "-b:a", "48k"], "adts"),
    ("aac", "latm", ["-ar", "48000"], "latm"),
    ("mp2", "mp2", ["-ar", "48000"], "mpeg"),
    ("libmp3lame", "mp3", ["-ar", "22050", "-id3v2_version", "0", "-write_xing", "0"], "mpeg"),
    ("ac3", "ac3", ["-ar", "44100"], "ac3"),
    ("ac3", "ac3", ["-ar", "48000", "-b:a", "640k"], "ac3"),
    ("eac3", "eac3", ["-ar", "48000"], "eac3"),
]


def coded(codec: str, container: str, options: Sequence[str]) -> bytes:
    source = ["-f", "lavfi", "-i", "anoisesrc=a=0.1:d=1.5:seed=7", "-ac", "2", "-c:a", codec, *options]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, "-f", container, "-"]
    return subprocess.run(command, capture_output=True, check=True).stdout


@pytest.mark.parametrize(("codec", "container", "options", "form"), FORMS)
def test_frames_are_where_they_are(codec: str, container: str, options: list[str], form: str) -> None:
    """Frames lie one behind the other from the first byte to the last, as long as FFmpeg finds them."""
    data = coded(codec, container, options)
    found = [*sound_frames(form, data)]
    assert [frame.start for frame in found] == [0, *(frame.end for frame in found[:-1])]
    assert found[-1].end == len(data)
    if form == "latm":
        return  # FFmpeg reads it in pieces of its own
    with av.open(io.BytesIO(data), "r", format=container) as opened:
        packets = [packet for packet in opened.demux(audio=0) if packet.size]
        assert [frame.length for frame in found] == [packet.size for packet in packets]
        assert all(
            abs(float(frame.duration) - packet.duration * packet.time_base * TICKS) < 1
            for frame, packet in zip(found, packets, strict=True)
            if packet.duration
        )


@pytest.mark.parametrize(("codec", "container", "options", "form"), FORMS[:1] + FORMS[3:4] + FORMS[5:6])
def test_a_cut_through_a_frame_is_passed_over(codec: str, container: str, options: list[str], form: str) -> None:
    """From the middle of a frame on, what is left of it is passed over; the last may reach beyond the end."""
    data = coded(codec, container, options)
    whole = [*sound_frames(form, data)]
    into, out = whole[2].start + 7, whole[9].start + 11
    found = [*sound_frames(form, data[into:out])]
    assert [frame.start + into for frame in found] == [frame.start for frame in whole[3:10]]
    assert found[-1].end + into == whole[9].end


@given(st.sampled_from(["adts", "latm", "mpeg", "ac3", "eac3"]), st.binary(max_size=400))
def test_any_bytes_are_gone_through(form: str, data: bytes) -> None:
    """Whatever comes, frames are in order and begin within it."""
    found = [*sound_frames(form, data)]
    assert all(0 <= frame.start < len(data) for frame in found)
    assert all(one.end <= other.start for one, other in pairwise(found))
