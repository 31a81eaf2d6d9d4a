"""How pictures are encoded: settings that are checked, and pictures like their source."""

import re
import subprocess
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from av.sidedata.sidedata import SideData
from av.video.codeccontext import VideoCodecContext

from common.encoding import (
    AudioCodec,
    Codec,
    Colour,
    Container,
    EncodingError,
    EncodingSettings,
    FieldOrder,
    VideoFormat,
    like_source,
    streamable,
)
from common.ffmpeg import find_ffmpeg

FFMPEG = find_ffmpeg()
RATE = Fraction(30_000, 1001)
BT709 = "setparams=color_primaries=1:color_trc=1:colorspace=1:range=tv"
# Noise is the worst there is: no picture tells anything about the next.
HALF_NOISE = f"testsrc2=s=320x180:r={RATE},noise=alls=40:allf=t,trim=end_frame=12,{BT709}"
H264 = VideoFormat("h264", 320, 180, rate=RATE, profile="High", level=31, colour=Colour(1, 1, 1, full_range=False))


def encoded_like(source: VideoFormat, folder: Path, *, parameter_set_id: int | None = None) -> tuple[Path, Path]:
    """Encode something without loss in the source's format, and that again like the source."""
    original, made = folder / "original.mkv", folder / "made.mkv"
    fields = [] if source.field_order is FieldOrder.PROGRESSIVE else [f"setfield={source.field_order}"]
    graph = ",".join([HALF_NOISE, f"format={source.pixel_format}", *fields])
    subprocess.run([FFMPEG, "-v", "error", "-f", "lavfi", "-i", graph, "-c:v", "ffv1", original], check=True)
    arguments = like_source(source, parameter_set_id=parameter_set_id)
    subprocess.run([FFMPEG, "-v", "error", "-i", original, *arguments, made], check=True)
    return original, made


def worst_psnr(original: Path, made: Path, pixel_format: str) -> float:
    worst = np.inf
    with av.open(original) as left, av.open(made) as right:
        pairs = zip(left.decode(video=0), right.decode(video=0), strict=True)
        for before, after in pairs:
            old, new = (frame.to_ndarray(format=pixel_format).astype(np.int64) for frame in (before, after))
            assert before.time == after.time
            peak = 1023 if "10" in pixel_format else 255
            worst = min(worst, 10 * np.log10(peak**2 / max(1e-9, float(((old - new) ** 2).mean()))))
    return float(worst)


@pytest.mark.parametrize(
    ("source", "profile"),
    [
        (H264, "High"),
        (replace(H264, profile="Main"), "Main"),
        (replace(H264, profile="Constrained Baseline", rate=None), "Constrained Baseline"),
        (replace(H264, profile="High 10", pixel_format="yuv420p10le"), "High 10"),
        (replace(H264, profile="High 4:2:2", pixel_format="yuv422p10le"), "High 4:2:2"),
        (replace(H264, codec="hevc", profile="Main", level=93), "Main"),
        (replace(H264, codec="hevc", profile="Main 10", level=None, pixel_format="yuv420p10le"), "Main 10"),
        (replace(H264, codec="av1", profile="Main", level=None), "Main"),
    ],
    ids=lambda value: f"{value.codec} {value.profile}" if isinstance(value, VideoFormat) else "",
)
def test_pictures_like_their_source(source: VideoFormat, profile: str, tmp_path: Path) -> None:
    """Profile, format, colour and times are the source's; one key frame, no B-frames, and above 40 dB of PSNR."""
    original, made = encoded_like(source, tmp_path)
    with av.open(made) as container:
        found = container.streams.video[0].codec_context
        assert isinstance(found, VideoCodecContext)
        assert (found.codec.canonical_name, found.profile, found.pix_fmt) == (
            source.codec,
            profile,
            source.pixel_format,
        )
        assert (found.color_primaries, found.color_trc, found.colorspace, found.color_range) == (1, 1, 1, 1)
        packets = [packet for packet in container.demux(video=0) if packet.size]
    assert [packet.is_keyframe for packet in packets] == [True] + [False] * 11
    assert [packet.pts for packet in packets] == sorted(packet.pts or 0 for packet in packets)
    assert worst_psnr(original, made, source.pixel_format) > 40


def captions(path: Path) -> list[bytes]:
    """The captions in each picture, in the order in which they are shown."""
    with av.open(path) as container:
        found = [frame.side_data.get("A53_CC") for frame in container.decode(video=0)]
    return [bytes(each) for each in found if isinstance(each, SideData)]


@pytest.mark.parametrize("codec", ["h264", "hevc"])
def test_captions_stay(codec: str, media: Path, tmp_path: Path) -> None:
    """Captions within the pictures are there again, byte for byte."""
    original, made = media / "http-streaming/test/segments/caption.ts", tmp_path / "made.ts"
    arguments = like_source(VideoFormat(codec, 320, 180))
    cut = ["-i", str(original), "-map", "0:v", "-t", "0.4"]
    subprocess.run([FFMPEG, "-v", "error", *cut, *arguments, str(made)], check=True)
    kept = captions(made)
    assert len(kept) >= 8
    assert kept == captions(original)[: len(kept)]


def parameter_sets(made: Path) -> str:
    command = [FFMPEG, "-v", "info", "-i", str(made), "-c", "copy", "-bsf:v", "trace_headers", "-f", "null", "-"]
    return subprocess.run(command, capture_output=True, check=True, text=True).stderr


def test_parameter_sets_keep_out_of_the_way(tmp_path: Path) -> None:
    """SPS and PPS have the number that was asked for, the source's level, and its rate as their timing."""
    _, made = encoded_like(H264, tmp_path, parameter_set_id=7)
    told = dict(re.findall(r"\] \d+ +(\w+) +\S+ = (\d+)", parameter_sets(made)))
    assert (told["seq_parameter_set_id"], told["pic_parameter_set_id"], told["level_idc"]) == ("7", "7", "31")
    assert Fraction(int(told["time_scale"]), 2 * int(told["num_units_in_tick"])) == RATE
    assert told["max_num_reorder_frames"] == "0"


@pytest.mark.parametrize(("order", "top"), [(FieldOrder.TOP_FIRST, True), (FieldOrder.BOTTOM_FIRST, False)])
def test_fields_stay_fields(order: FieldOrder, top: bool, tmp_path: Path) -> None:  # noqa: FBT001 - a column
    """Pictures of two fields are encoded as such, in the same order."""
    _, made = encoded_like(replace(H264, height=180, field_order=order), tmp_path)
    told = re.findall(r"frame_mbs_only_flag +\S+ = (\d)", parameter_sets(made))
    assert {*told} == {"0"}
    shown = subprocess.run(
        [FFMPEG, "-i", made, "-vf", "showinfo", "-f", "null", "-"], capture_output=True, text=True, check=True
    )
    assert {*re.findall(r" i:(\w) ", shown.stderr)} == {"T" if top else "B"}


def test_pictures_of_other_codecs_are_not_imitated() -> None:
    """A codec that cannot be encoded like its source is refused with a sentence."""
    with pytest.raises(EncodingError, match="Pictures of mpeg2video cannot"):
        like_source(VideoFormat("mpeg2video", 320, 180))


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"width": 0}, "0x180"),
        ({"height": 20_000}, "320x20000"),
        ({"codec": "h264 -i x"}, "no names"),
        ({"pixel_format": "yuv420p,drawtext"}, "no names"),
        ({"rate": Fraction(0)}, "no rate"),
        ({"sample_aspect": Fraction(0)}, "no shape"),
    ],
)
def test_formats_are_checked(fields: dict[str, object], sentence: str) -> None:
    """Facts that no picture has are refused before they get into a command."""
    with pytest.raises(EncodingError, match=sentence):
        replace(H264, **fields)  # type: ignore[arg-type]  # a row of the table


def test_code_points_are_checked() -> None:
    """A number that no table of colours has is refused."""
    with pytest.raises(EncodingError, match="300 is no code point"):
        Colour(matrix=300)


@pytest.mark.parametrize(
    ("form", "bits"),
    [("yuv420p", 8), ("yuv420p10le", 10), ("p010le", 10), ("yuv422p12le", 12), ("nv12", 8), ("gray", 8)],
)
def test_bits_are_read_from_the_format(form: str, bits: int) -> None:
    """The bits per sample are those that the name of the format tells."""
    assert replace(H264, pixel_format=form).bits == bits


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"codec": Codec.H264, "container": Container.WEBM}, "webm cannot hold h264; it holds av1, vp9"),
        ({"codec": Codec.AV1, "container": Container.MPEGTS}, "mpegts cannot hold av1; it holds h264, hevc"),
        ({"container": Container.MPEGTS, "audio_codec": AudioCodec.OPUS}, "cannot hold opus; it holds aac"),
        ({"quality": 20, "bitrate": 4_000_000}, "not both"),
        ({"quality": 52}, "between 0, the best, and 51"),
        ({"quality": -1}, "between 0"),
        ({"preset": "fastest"}, "presets of h264 are ultrafast, "),
        ({"codec": Codec.AV1, "preset": "veryfast"}, "presets of av1 are 0, 1"),
        ({"bitrate": 4000}, "bits per second"),
        ({"audio_bitrate": 10**12}, "bits per second"),
        ({"ten_bits": True}, "take HEVC"),
    ],
)
def test_settings_that_do_not_fit_are_refused(fields: dict[str, object], sentence: str) -> None:
    """Settings that do not fit together are refused with a sentence that says what does."""
    with pytest.raises(EncodingError, match=sentence):
        EncodingSettings(**fields)  # type: ignore[arg-type]  # a row of the table


def test_only_mp4_needs_a_file() -> None:
    """All formats but MP4 can be written to a pipe."""
    assert [container for container in Container if not streamable(container)] == [Container.MP4]
