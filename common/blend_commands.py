"""Commands that make pictures for a cut to the frame, those of transitions among them; and quick previews of these."""

from collections.abc import Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Any, Final

import ffmpeg

from common.blends import Blend, Side
from common.encoding import input_url
from common.full_cut import Source
from common.ticks import TICKS
from common.transitions import CUSTOM, Transition, TransitionError, xfade_options

# A stream of ffmpeg-python, which has no types.
_Stream = Any

# A preview is small and quick to make: what a page shows beside other things.
_PREVIEW_RATE: Final = 30
_PREVIEW_WIDTH: Final = 640
# Expressions of our own take their time for each sample, so they get a quarter of them.
_EXPRESSED_WIDTH: Final = 320
_PREVIEW_SOUND_RATE: Final = 48_000


# For a cut ------------------------------------------------------------------------------------------------------------


def encode_command(program: str, first: int, last: int, like: Sequence[str]) -> list[str]:
    """The command of which the pictures come again that are shown from tick `first` to `last` of its input, in MPEG-TS.

    The input is what `common.splice.decodable` gives, `like` the arguments of an encoder as `like_source` gives them.
    """
    source = ffmpeg.input(input_url(0), format="mpegts")
    return _coded(program, source["v:0"].filter("select", f"between(pts,{first},{last})"), like)


def blend_command(program: str, blend: Blend, pixel_format: str, like: Sequence[str]) -> list[str]:
    """The command of which a transition's pictures come, coded like their source, in MPEG-TS.

    Its inputs are what `common.splice.decodable` gives of each side. `pixel_format` is that of both sides, `like` is as
    for `encode_command`.
    """
    sides = [_side(number, side, blend.rate) for number, side in enumerate(blend.sides)]
    # xfade may have chosen another format
    made = _crossed(sides, blend.transition, blend.frames / blend.rate).filter("format", pixel_format)
    return _coded(program, made, like)


def _coded(program: str, made: _Stream, like: Sequence[str]) -> list[str]:
    """Let pictures come out one by one as soon as they are coded."""
    options = {"f": "mpegts", "muxdelay": 0, "muxpreload": 0, "flush_packets": 1}
    plain: list[str] = ffmpeg.output(made, "pipe:1", **options).compile(cmd=program)
    return [program, "-copyts", *plain[1:-1], *like, plain[-1]]


def _side(number: int, side: Side, rate: Fraction) -> _Stream:
    """The pictures of a side, counted."""
    base = int(side.stretch.dts[side.pictures.opened])
    first, last = int(side.pictures.pts[0]) - base, int(side.pictures.pts[-1]) - base
    shown = ffmpeg.input(input_url(number), format="mpegts")["v:0"].filter("select", f"between(pts,{first},{last})")
    return _counted(shown, rate)


def _counted(stream: _Stream, rate: Fraction) -> _Stream:
    rated = stream.filter("settb", expr=f"{rate.denominator}/{rate.numerator}").filter("setpts", "N")
    # xfade wants to be told that the rate is constant
    return rated.filter("fps", fps=f"{rate.numerator}/{rate.denominator}", start_time=0)


def _crossed(sides: list[_Stream], transition: Transition, seconds: Fraction, offset: float = 0) -> _Stream:
    options = xfade_options(transition)
    return ffmpeg.filter(sides, "xfade", duration=f"{float(seconds):.6f}", offset=f"{offset:.6f}", **options)


# For a page -----------------------------------------------------------------------------------------------------------


def preview_command(
    program: str, before: Source, after: Source, transition: Transition, lengths: tuple[Fraction, Fraction]
) -> list[str]:
    """The command of a quick preview of the end of one source and the start of another, as fragmented MP4.

    Of each source it shows all from its start to its end, `lengths` in seconds. Raises TransitionError if the
    transition is longer than one of them.
    """
    seconds = Fraction(transition.duration // timedelta(microseconds=1), 1_000_000)
    if seconds > min(lengths):
        raise TransitionError(f"A transition of {float(seconds):g} seconds does not fit into what its ranges have.")
    inputs = [_quickly(number, source) for number, source in enumerate((before, after))]
    width = _EXPRESSED_WIDTH if transition.kind in CUSTOM else _PREVIEW_WIDTH
    sides = [_small(opened, source, width) for opened, source in zip(inputs, (before, after), strict=True)]
    crossed = _crossed(sides, transition, seconds, float(lengths[0] - seconds))
    pictures = crossed.filter("format", "yuv420p")
    if width != _PREVIEW_WIDTH:
        pictures = pictures.filter("scale", _PREVIEW_WIDTH, -2, flags="fast_bilinear")
    options = {
        "c:v": "libx264",
        "preset": "ultrafast",
        "tune": "zerolatency",
        "crf": 26,
        "g": _PREVIEW_RATE,
        "f": "mp4",
        "movflags": "frag_keyframe+empty_moov+default_base_moof",
    }
    streams = [pictures]
    if before.sound and after.sound:
        sounds = [_heard(opened, source) for opened, source in zip(inputs, (before, after), strict=True)]
        count = max(1, round(seconds * _PREVIEW_SOUND_RATE))
        streams.append(ffmpeg.filter(sounds, "acrossfade", nb_samples=count, curve1="qsin", curve2="qsin"))
        options |= {"c:a": "aac", "b:a": "96k"}
    plain: list[str] = ffmpeg.output(*streams, "pipe:1", **options).compile(cmd=program)
    return [program, "-copyts", *plain[1:]]


def _quickly(number: int, source: Source) -> _Stream:
    """An input of which little care is taken: no deblocking, and of a high rate only what others refer to."""
    high = source.picture is not None and (source.picture.rate or 0) > _PREVIEW_RATE
    skipped = {"skip_frame": "noref"} if high else {}
    return ffmpeg.input(input_url(number), format=source.form, skip_loop_filter="all", **skipped)


def _small(opened: _Stream, source: Source, width: int) -> _Stream:
    shown = opened["v:0"].filter("settb", expr=f"1/{TICKS}").filter("trim", start_pts=source.start, end_pts=source.end)
    frames = max(1, round(Fraction((source.end - source.start) * _PREVIEW_RATE, TICKS)))
    return (
        shown.filter("setpts", f"PTS-{source.start}")
        .filter("fps", fps=_PREVIEW_RATE, start_time=0)
        .filter("scale", width, -2, flags="fast_bilinear")
        .filter("setsar", 1)
        .filter("tpad", stop=-1, stop_mode="clone")
        .filter("trim", end_frame=frames)
        .filter("fps", fps=_PREVIEW_RATE, start_time=0)
    )


def _heard(opened: _Stream, source: Source) -> _Stream:
    rate = _PREVIEW_SOUND_RATE
    samples = round(Fraction((source.end - source.start) * rate, TICKS))
    return (
        opened["a:0"]
        .filter("asettb", expr=f"1/{TICKS}")
        .filter("atrim", start_pts=source.start, end_pts=source.end)
        .filter("asetpts", f"PTS-{source.start}")
        .filter("aresample", rate, first_pts=0)
        .filter("aformat", sample_fmts="fltp", channel_layouts="stereo")
        .filter("apad", whole_len=samples)
        .filter("atrim", end_sample=samples)
    )
