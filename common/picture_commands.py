"""Commands of ffmpeg that make pictures and sound of segments; built from checked values alone."""

from typing import Final, Literal

import ffmpeg

from common.encoding import input_url
from common.levels import RATE, Size
from common.ticks import WRAP

Form = Literal["mpegts", "mp4"]

CHANNELS: Final = 2
"""How many channels sound has once it is decoded for a waveform."""

# A gap or an overlap in the sound by more seconds than this is kept, so that what follows is at its place.
_KEPT_GAP: Final = 0.02

# Anamorphic pictures are made at most so much wider or higher: what is beyond is damage.
_MOST_STRETCH: Final = 4

# Ticks of a clock that is set anew are not smoothed; no jump is as large (seconds).
_ANY_JUMP: Final = 1_000_000


def frames_command(
    program: str, form: Form, first: int, wanted: tuple[int, int], *, bt709: bool = False, fit: Size | None = None
) -> list[str]:
    """Make PNGs of the frames of input 0 whose times, counted from `first`, lie in `wanted`, both ends included.

    Times count the video's own time base; where the clock of MPEG-TS begins again, they run on. Pixels come out square;
    the picture gets as small as it must to `fit`. `bt709`: how the colours are meant, where the video does not say.
    """
    low, high = wanted
    source = ffmpeg.input(
        input_url(0),
        format=form,
        copyts=None,
        dts_delta_threshold=_ANY_JUMP,
        dts_error_threshold=_ANY_JUMP,
        fpsprobesize=0,
    )
    chosen = source["v:0"].filter("select", f"between(mod(pts-{first},{WRAP}),{low},{high})")
    square = chosen.filter(
        "scale",
        w=f"trunc(iw*clip(sar,1,{_MOST_STRETCH})+0.5)",
        h=f"trunc(ih/clip(sar,1/{_MOST_STRETCH},1)+0.5)",
        **({"in_color_matrix": "bt709"} if bt709 else {}),
    ).filter("setsar", 1)
    if fit is not None:
        square = square.filter("scale", w=fit.width, h=fit.height, force_original_aspect_ratio="decrease")
    only_one = {"frames:v": 1} if low == high else {}
    output = square.output(
        "pipe:1", format="image2pipe", vcodec="png", pix_fmt="rgb24", compression_level=3, fps_mode="passthrough",
        **only_one,
    )  # fmt: skip
    return compiled(output, program)


def sound_command(program: str, form: Form) -> list[str]:
    """Make samples of the first sound of input 0: little-endian, 16 bits, RATE, CHANNELS, gaps filled with silence.

    They begin with the first packet: of MP4, too, whose first samples are else left out, at each place of entry anew.
    """
    source = ffmpeg.input(input_url(0), format=form, flags2="+skip_manual")
    sound = source["a:0"].filter("aresample", RATE, **{"async": 1, "min_hard_comp": _KEPT_GAP})
    return compiled(sound.output("pipe:1", format="s16le", acodec="pcm_s16le", ac=CHANNELS), program)


def compiled(output: ffmpeg.nodes.OutputStream, program: str) -> list[str]:
    """Write a graph as the command that it stands for."""
    command: list[str] = output.compile(cmd=program)
    return command
