"""Packed audio becomes MPEG-TS: the same frames, at the times that its tag tells."""

import io
import subprocess

import av
import imageio_ffmpeg
import pytest

from common.media import examine
from common.ticks import TICKS
from complaints import transport_complaints
from downloader.packed_audio import PackedAudioError, as_transport
from downloader.structure import TransportCheck

FIRST = (1 << 33) - 9000


def coded(codec: str, container: str, *options: str) -> bytes:
    source = ["-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=2", "-c:a", codec, *options]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", *source, "-f", container, "-"]
    return subprocess.run(command, capture_output=True, check=True, timeout=60).stdout


def tag(time: int, *, footer: bool = False) -> bytes:
    """An ID3 tag with the time of the first frame (RFC 8216 §3.4)."""
    content = b"com.apple.streaming.transportStreamTimestamp\0" + time.to_bytes(8)
    frame = b"PRIV" + bytes([0, 0, len(content) >> 7, len(content) & 0x7F]) + b"\0\0" + content
    size = bytes([0, 0, len(frame) >> 7, len(frame) & 0x7F])
    return b"ID3\4\0" + (b"\x10" if footer else b"\0") + size + frame + (b"3DI\4\0\x10" + size if footer else b"")


FORMS = [
    ("aac", "adts", "aac"),
    ("libmp3lame", "mp3", "mp3float"),
    ("ac3", "ac3", "ac3"),
    ("eac3", "eac3", "eac3"),
]


@pytest.mark.parametrize(("codec", "container", "decoder"), FORMS)
def test_frames_keep_their_bytes_and_get_their_times(codec: str, container: str, decoder: str) -> None:
    """All frames are in the transport stream as they were, from the time of the tag on, over a wrap of the clock."""
    sound = coded(codec, container, *(("-id3v2_version", "0", "-write_xing", "0") if container == "mp3" else ()))
    data, fault = as_transport(tag(FIRST) + sound, 7)
    assert not fault
    check = TransportCheck()
    check.feed(data)
    assert not check.fault()
    assert not transport_complaints(data)
    facts = examine(data)
    (track,) = facts.tracks
    assert track.first == FIRST
    assert track.end - track.first == pytest.approx(2 * TICKS, abs=TICKS / 10)
    with av.open(io.BytesIO(data), "r", format="mpegts") as container_:
        (stream,) = container_.streams.audio
        assert stream.codec_context.name in {decoder, codec}
        assert b"".join(bytes(packet) for packet in container_.demux(stream) if packet.size) == sound


def test_the_same_bytes_give_the_same_file() -> None:
    """Two nodes that fetch the same segment store the same content."""
    sound = tag(90_000, footer=True) + coded("aac", "adts")
    assert as_transport(sound, 0) == as_transport(sound, 0)


def test_what_is_odd_about_it_is_told() -> None:
    """What ends within a frame, or has something between, is not whole."""
    sound = coded("aac", "adts")
    for broken in (sound[:-1], sound[:1000] + b"\0" * 20 + sound[1000:]):
        data, fault = as_transport(tag(0) + broken, 7)
        assert fault == "its sound is damaged, or ends within a frame"
        assert examine(data).tracks


@pytest.mark.parametrize("data", [b"", b"ID3", tag(0), tag(0) + b"\xff\xff" * 500, b"\xff\xf1" + b"\0" * 500])
def test_what_is_no_sound_is_refused(data: bytes) -> None:
    """Without a whole frame there is nothing to put into packets."""
    with pytest.raises(PackedAudioError):
        as_transport(data, 0)


def test_sound_without_a_time_gets_one() -> None:
    """Without the tag, which many encoders leave out, the playlist's time is taken."""
    data, fault = as_transport(coded("aac", "adts"), (1 << 40) + 90_000)
    assert (fault, examine(data).tracks[0].first) == ("", 90_000)
