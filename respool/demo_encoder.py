"""What the demo stream looks and sounds like, and the ffmpeg command that makes it.

The burnt-in clock and the strip of the time code are worked out from the frame number and the whole second at which a
run begins, with whole numbers only, so that the time in a frame is exactly its segment's start plus its offset.
"""

import math
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from PIL import Image, ImageDraw, ImageFont

from respool.timecode import FRAME_RATE, strip_source

SEGMENT_SECONDS: Final = 2
BEEP_SECONDS: Final = 1
SAMPLE_RATE: Final = 48_000

_AAC_FRAME: Final = 1024  # samples
_AUDIO_RATE: Final = "96k"
_GOP: Final = SEGMENT_SECONDS * FRAME_RATE
_FONT: Final = "font.ttf"
_BACKGROUND: Final = "background.png"
_MARKER: Final = "marker.png"
_TO_VIDEO: Final = "scale=out_color_matrix=bt709:out_range=tv"


@dataclass(frozen=True, slots=True)
class Rendition:
    """One quality of the demo stream, with what its line in the multivariant playlist says."""

    name: str
    width: int
    height: int
    level: str
    """The H.264 level as ffmpeg takes it."""
    codecs: str
    max_rate: int
    """Bits per second that the video's rate control keeps to."""
    bandwidth: int
    """Bits per second that no segment exceeds: sound and transport stream included."""


RENDITIONS: Final = (
    Rendition("720p30", 1280, 720, "3.1", "avc1.64001F,mp4a.40.2", 900_000, 1_100_000),
    Rendition("360p30", 640, 360, "3.0", "avc1.64001E,mp4a.40.2", 400_000, 600_000),
)
_FULL: Final = RENDITIONS[0]

# The dial: its middle and radius in pixels of the full picture; the marker goes around it once per segment.
_DIAL_X: Final = 280
_DIAL_Y: Final = 348
_DIAL_RADIUS: Final = 170
_REEL_RADIUS: Final = 104
_MARKER_SIZE: Final = 48
_TEXT_X: Final = 512
_CLOCK_SIZE: Final = 112
_INK: Final = (236, 241, 248)
_MUTED: Final = (138, 154, 181)
_ACCENT: Final = (255, 179, 92)
_SMOOTH: Final = 4  # drawn this much larger and then shrunk, since Pillow's lines have hard edges


def write_assets(folder: Path) -> None:
    """Write the pictures and the font that the command of `encoder_command` reads into the folder it runs in."""
    font = ImageFont.load_default(_CLOCK_SIZE)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise TypeError("this Pillow was built without FreeType, so it has no font to give")
    (folder / _FONT).write_bytes(font.font_bytes)
    _background(font).save(folder / _BACKGROUND)
    _marker().save(folder / _MARKER)


def encoder_command(ffmpeg: str, epoch: int, *, lead: float = 0.0, seconds: int | None = None) -> list[str]:
    """Return the command that makes every rendition, to be run in a folder with the assets and one folder each.

    `epoch` is the Unix second, on the grid of segments, that the first frame shows. A live run (no `seconds`) goes at
    the pace of the clock after a first `lead` seconds at once; with `seconds` it makes that much as fast as it can. On
    standard output comes a line of `announced` for each segment once it is whole.
    """
    if epoch % SEGMENT_SECONDS:
        raise ValueError(f"{epoch} is not on the grid of {SEGMENT_SECONDS} seconds")
    pace = [] if seconds else ["-readrate", "1", "-readrate_initial_burst", f"{lead:.3f}"]
    command = [ffmpeg, "-hide_banner", "-nostdin", "-nostats", "-loglevel", "warning", *pace]
    command += ["-f", "lavfi", "-i", _source(epoch), "-filter_complex", _renditions_graph()]
    for rendition in RENDITIONS:
        limit = [] if seconds is None else ["-t", str(seconds)]
        command += [*_coding(rendition), *limit, *_segmenting(rendition, epoch // SEGMENT_SECONDS)]
    return command


def announced(line: str) -> tuple[str, int] | None:
    """Return rendition and sequence number from a line of ffmpeg's segment list, or None if the segment is cut short.

    The last segment of a run that is stopped is cut short: it ends wherever the run did.
    """
    path, start, end = line.strip().split(",")
    if abs(float(end) - float(start) - SEGMENT_SECONDS) > 0.5 / FRAME_RATE:
        return None
    rendition, name = path.split("/")
    return rendition, int(name.removesuffix(".ts"))


def dying_with_parent(command: list[str], parent: int) -> list[str]:
    """Return a command that runs `command` and that Linux kills as soon as the process `parent`, its parent, is gone.

    ffmpeg itself would not notice: it goes on encoding when nobody reads its output any more. Elsewhere than on Linux
    the command is returned as it is.
    """
    if sys.platform != "linux":
        return command
    # PR_SET_PDEATHSIG is 1, SIGKILL is 9. A parent that died before the call is noticed by the new parent's id.
    script = (
        "import ctypes, os, sys\n"
        "ctypes.CDLL(None).prctl(1, 9)\n"
        "os.getppid() == int(sys.argv[1]) and os.execvp(sys.argv[2], sys.argv[2:])"
    )
    return [sys.executable, "-I", "-S", "-c", script, str(parent), *command]


def clock_text(epoch: int) -> str:
    """Return drawtext's text for the UTC time of day of each frame, its milliseconds rounded down."""
    frame = f"(n+{epoch * FRAME_RATE})"

    def part(frames_per_unit: int, units: int, digits: int) -> str:
        return _expansion(f"mod(floor({frame}/{frames_per_unit}),{units})", digits)

    hours, minutes, seconds = part(3600 * FRAME_RATE, 24, 2), part(60 * FRAME_RATE, 60, 2), part(FRAME_RATE, 60, 2)
    milliseconds = _expansion(f"floor(mod(n,{FRAME_RATE})*1000/{FRAME_RATE})", 3)
    return rf"{hours}\:{minutes}\:{seconds}.{milliseconds}"


def date_text(epoch: int) -> str:
    """Return drawtext's text for the UTC date of each frame."""
    # Half a millisecond keeps the date from being that of the day before at midnight, should a sum be rounded down.
    return rf"%{{pts\:gmtime\:{epoch}.0005\:%A, %d %B %Y}}"


def drawtext(text: str, *, at: tuple[str, str], size: int, colour: tuple[int, int, int]) -> str:
    """Return a drawtext filter in our font; `text` is escaped as drawtext's options ask, without single quotes."""
    x, y = at
    return f"drawtext=fontfile={_FONT}:fontsize={size}:fontcolor={_hex(colour)}:x={x}:y={y}:text='{text}'"


def _expansion(expression: str, digits: int) -> str:
    return rf"%{{eif\:{expression}\:d\:{digits}}}"


def _source(epoch: int) -> str:
    turn = f"2*PI*n/{_GOP}"
    x = f"{_DIAL_X}-w/2+{_DIAL_RADIUS}*sin({turn})"
    y = f"{_DIAL_Y}-h/2-{_DIAL_RADIUS}*cos({turn})"
    still = f"loop=loop=-1:size=1,settb=1/{FRAME_RATE},setpts=N,fps={FRAME_RATE}"
    clock = drawtext(clock_text(epoch), at=(f"{_TEXT_X}", "288"), size=_CLOCK_SIZE, colour=_INK)
    date = drawtext(date_text(epoch), at=(f"{_TEXT_X + 6}", "412"), size=34, colour=_MUTED)
    chains = [
        f"movie={_BACKGROUND},{_TO_VIDEO},format=yuv420p,{still}[background]",
        f"movie={_MARKER},{_TO_VIDEO},format=yuva420p[marker]",
        f"{strip_source(epoch * FRAME_RATE, _FULL.width, _FULL.height)}[strip]",
        f"[background][marker]overlay=x='{x}':y='{y}':eof_action=repeat,{clock},{date}[picture]",
        "[picture][strip]overlay=x=0:y=H-h[out0]",
        f"{_sound()}[out1]",
    ]
    return ";".join(chains)


def _sound() -> str:
    """Return the source of a short bell at each whole second, higher where a segment begins, on a faint hum.

    The hum makes it heard and measurable if sound is missing between two bells. The first samples, as many as the AAC
    coder puts in front, are left out so that sound and picture of the first segment start together.
    """
    pitch = f"if(mod(floor(t),{SEGMENT_SECONDS}),880,1320)"
    bell = f"0.4*exp(-18*mod(t,{BEEP_SECONDS}))*sin(2*PI*{pitch}*t)"
    return (
        f"aevalsrc='0.01*sin(2*PI*220*t)+{bell}':sample_rate={SAMPLE_RATE}:channel_layout=mono,"
        f"aformat=channel_layouts=stereo,atrim=start_sample={_AAC_FRAME}"
    )


def _renditions_graph() -> str:
    outs = "".join(f"[{number}]" for number in range(len(RENDITIONS)))
    chains = [f"[0:v]split={len(RENDITIONS)}{outs}"]
    for number, rendition in enumerate(RENDITIONS):
        scaled = f"scale={rendition.width}:{rendition.height}," if rendition is not _FULL else ""
        size = rendition.height // 30
        label = drawtext(rendition.name, at=(f"w-tw-{2 * size}", f"{2 * size}"), size=size, colour=_MUTED)
        chains.append(f"[{number}]{scaled}{label}[{rendition.name}]")
    return ";".join(chains)


def _coding(rendition: Rendition) -> list[str]:
    # Without B-frames a key frame is written when it is shown, so that sound and picture are parted at the same time.
    # One thread each: the picture is small, and more threads cost more than they give.
    return [
        *("-map", f"[{rendition.name}]", "-map", "0:a"),
        *("-c:v", "libx264", "-preset", "superfast", "-profile:v", "high", "-level", rendition.level, "-bf", "0"),
        *("-g", str(_GOP), "-keyint_min", str(_GOP), "-sc_threshold", "0", "-flags", "+cgop", "-threads", "1"),
        *("-crf", "22", "-maxrate", str(rendition.max_rate), "-bufsize", str(rendition.max_rate)),
        *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
        *("-c:a", "aac", "-aac_coder", "fast", "-b:a", _AUDIO_RATE, "-ar", str(SAMPLE_RATE), "-ac", "2"),
    ]


def _segmenting(rendition: Rendition, first: int) -> list[str]:
    # A segment is announced just before its file is closed. Without flush_packets its last write comes after that, as
    # a trace of the system calls shows; with it, all of the file is there.
    # One muxer for all segments (no header and trailer of their own) lets the continuity counters run on.
    return [
        *("-f", "segment", "-segment_format", "mpegts", "-segment_format_options", "flush_packets=1"),
        *("-individual_header_trailer", "0", "-segment_time", str(SEGMENT_SECONDS)),
        *("-segment_start_number", str(first), "-segment_list", "pipe:1", "-segment_list_type", "csv"),
        *("-segment_list_entry_prefix", f"{rendition.name}/", f"{rendition.name}/%d.ts"),
    ]


def _background(font: ImageFont.FreeTypeFont) -> Image.Image:
    size = (_FULL.width, _FULL.height)
    picture = Image.new("RGB", size, (9, 13, 27))
    for colour, (x, y), reach in (((22, 54, 92), (260, 320), 1700), ((54, 28, 80), (1130, 660), 1500)):
        glow = _fading(1.0).resize((reach, reach), Image.Resampling.BICUBIC)
        mask = Image.new("L", size)
        mask.paste(glow, (x - reach // 2, y - reach // 2))
        picture.paste(colour, mask=mask)
    picture.paste(_INK, mask=_dial())
    draw = ImageDraw.Draw(picture)
    title = font.font_variant(size=44)
    draw.text((_TEXT_X + 5, 208), "Respool", fill=_INK, font=title)
    draw.text((_TEXT_X + 5 + title.getlength("Respool "), 208), "demo", fill=_ACCENT, font=title)
    draw.text((_TEXT_X + 6, 470), "UTC, exact to the frame", fill=_MUTED, font=font.font_variant(size=24))
    return picture


def _dial() -> Image.Image:
    """Return how strongly the dial is drawn at each pixel: the marker's track, sixty ticks and a reel."""
    mask = Image.new("L", (_FULL.width * _SMOOTH, _FULL.height * _SMOOTH))
    draw = ImageDraw.Draw(mask)

    def at(angle: float, radius: float) -> tuple[float, float]:
        x, y = _DIAL_X + radius * math.sin(angle), _DIAL_Y - radius * math.cos(angle)
        return x * _SMOOTH, y * _SMOOTH

    def disc(angle: float, distance: float, radius: float, strength: int) -> None:
        draw.circle(at(angle, distance), radius * _SMOOTH, fill=strength)

    disc(0, 0, _DIAL_RADIUS + 1.5, 60)
    disc(0, 0, _DIAL_RADIUS - 1.5, 0)
    disc(0, 0, _REEL_RADIUS, 40)
    for hole in range(3):
        disc(hole * math.tau / 3, _REEL_RADIUS * 0.56, _REEL_RADIUS * 0.29, 0)
    disc(0, 0, _REEL_RADIUS * 0.12, 0)
    for tick in range(60):
        long = tick % 5 == 0
        angle, outer = tick * math.tau / 60, _DIAL_RADIUS - 14
        ends = at(angle, outer), at(angle, outer - (14 if long else 7))
        draw.line(ends, fill=150 if long else 80, width=_SMOOTH * (3 if long else 2))
    return mask.resize((_FULL.width, _FULL.height), Image.Resampling.LANCZOS)


def _marker() -> Image.Image:
    """Return the dot that goes around the dial, with a soft glow, on nothing."""
    size = _MARKER_SIZE
    strength = _fading(0.45).resize((size, size), Image.Resampling.BICUBIC)
    dot = Image.new("L", (size * _SMOOTH, size * _SMOOTH))
    ImageDraw.Draw(dot).circle((size * _SMOOTH / 2, size * _SMOOTH / 2), 9 * _SMOOTH, fill=255)
    strength.paste(255, mask=dot.resize((size, size), Image.Resampling.LANCZOS))
    picture = Image.new("RGBA", (size, size), _ACCENT)
    picture.putalpha(strength)
    return picture


def _fading(strength: float) -> Image.Image:
    """Return a round spot of 256 pixels, `strength` (0 to 1) in its middle, that fades to nothing at its edge."""
    reach = 255 / math.sqrt(2)  # Pillow's gradient reaches 255 in the corners
    fall = [round(255 * strength * max(0.0, 1 - value / reach) ** 2) for value in range(256)]
    return Image.radial_gradient("L").point(fall)


def _hex(colour: tuple[int, int, int]) -> str:
    return "0x" + "".join(f"{part:02X}" for part in colour)
