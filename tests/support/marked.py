"""Pictures that tell their number and sounds that tell the time, coded by the real ffmpeg.

A picture's number is written as black and white blocks of 24 pixels, 16 bits and a check of 8, over a background that
moves. Each sound is a low tone that rises, another for each track, with a click at each whole second since the first
picture.
"""

import subprocess
import tempfile
import wave
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Literal

import imageio_ffmpeg
import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 320, 180
TICKS = 90_000
BLOCK, COLUMNS, BITS, CHECKS = 24, 12, 16, 8

CLICK_SECONDS = 0.004
CLICK_HZ = 6000.0
TONE, CLICK = 0.05, 0.5

# Of a clip that is made so that the 33 bits of its clock overflow after so many seconds.
WRAP_AFTER = 3

Plane = NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class SourceKind:
    """What a stream is like. Lengths are seconds; `gop` is in pictures, 0 for one segment's length.

    `refresh`: in place of key frames but the first, pictures are refreshed bit by bit, of H.264 alone.
    `cabac`: False for the entropy coding that was there before, of H.264 alone.
    `variable`: pictures come at uneven times, `fps` of them per second. `sound`: the codec, None for none; `tracks` of
    it. `skew`: so much before the pictures of each segment do its sounds begin. `cut_at_keys`: False for segments of
    even length wherever the key frames are. `counters`: TS continuity counters begin at zero in each segment, or run
    on. `moved`: PIDs and version of the PMT change halfway. `straddling`: the last PES of sound of each segment ends
    in the next one, and frames of AAC begin anywhere in a PES. `id3`: a timed ID3 tag each second. `captions`: CEA-708
    (A/53) with each picture of H.264. `wraps`: the clock overflows after WRAP_AFTER seconds.
    """

    fps: Fraction = Fraction(30)
    seconds: int = 14
    segment: int = 2
    codec: Literal["h264", "hevc", "av1"] = "h264"
    container: Literal["ts", "fmp4"] = "ts"
    b_frames: int = 0
    open_gop: bool = False
    refresh: bool = False
    gop: int = 0
    variable: bool = False
    interlaced: bool = False
    baseline: bool = False
    cabac: bool = True
    sound: Literal["aac", "mp2", "ac3"] | None = "aac"
    rate: int = 48_000
    channels: int = 2
    tracks: int = 1
    skew: float = 0.0
    cut_at_keys: bool = True
    counters: Literal["restart", "run on"] = "restart"
    moved: bool = False
    straddling: bool = False
    id3: bool = False
    captions: bool = False
    wraps: bool = False

    @property
    def frames(self) -> int:
        """The number of pictures."""
        return int(self.seconds * self.fps)

    @property
    def gop_frames(self) -> int:
        """The number of pictures from one key frame to the next."""
        return self.gop or round(self.segment * self.fps)

    @property
    def rewritten(self) -> bool:
        """Whether ffmpeg cannot write it so that its packets are written anew by the tests."""
        return bool(self.skew or self.moved or self.straddling or self.id3 or self.captions)


# Pictures -------------------------------------------------------------------------------------------------------------


@cache
def _background() -> tuple[Plane, Plane, Plane]:
    """Waves with some grain, wider than a picture, of which each picture shows another part."""
    y, x = np.mgrid[0:HEIGHT, 0 : 2 * WIDTH].astype(np.float32)
    turn = 2 * np.pi / WIDTH  # periodic, so that it can be rolled
    luma = 118 + 40 * np.sin(3 * turn * x + y / 23) + 25 * np.cos(5 * turn * x - y / 17)
    # without detail even the coarsest coding would be like the original
    luma += np.random.default_rng(1).normal(0, 9, luma.shape)
    blue = 128 + 45 * np.sin(2 * turn * x[::2, ::2] + y[::2, ::2] / 31)
    red = 128 + 45 * np.cos(turn * x[::2, ::2] - y[::2, ::2] / 19)
    planes = [np.ascontiguousarray(plane.round().astype(np.uint8)) for plane in (luma, blue, red)]
    return planes[0], planes[1], planes[2]


def draw(number: int) -> bytes:
    """Draw a picture as planes of yuv420p in a row."""
    luma, blue, red = _background()
    shift = number * 4 % WIDTH
    picture = luma[:, shift : shift + WIDTH].copy()
    ball_x, ball_y = 16 + abs(number * 5 % 520 - 260), 64 + abs(number * 3 % 160 - 80)
    picture[ball_y : ball_y + 24, ball_x : ball_x + 40] = 200
    bits = np.array(list(f"{_word(number):0{BITS + CHECKS}b}"), np.uint8).reshape(-1, COLUMNS)
    blocks = np.kron(np.where(bits == 1, 235, 16).astype(np.uint8), np.ones((BLOCK, BLOCK), np.uint8))
    picture[: blocks.shape[0], : blocks.shape[1]] = blocks
    half = shift // 2
    chroma = [plane[:, half : half + WIDTH // 2] for plane in (blue, red)]
    return b"".join(np.ascontiguousarray(plane).tobytes() for plane in (picture, *chroma))


def _word(number: int) -> int:
    number &= (1 << BITS) - 1
    return number << CHECKS | (number * 167 + (number >> 8) * 59 + 0x5A) & 0xFF


def read_number(luma: Plane) -> int | None:
    """Read the number from a picture's brightness, None if its check is wrong."""
    rows = (BITS + CHECKS) // COLUMNS
    blocks = luma[: rows * BLOCK, : COLUMNS * BLOCK].reshape(rows, BLOCK, COLUMNS, BLOCK)
    # the middle of each block, where no neighbour shines in
    means = blocks[:, 6:-6, :, 6:-6].mean(axis=(1, 3)).ravel()
    word = int("".join("1" if mean > 125 else "0" for mean in means), 2)
    number = word >> CHECKS
    return number if _word(number) == word else None


# Sounds ---------------------------------------------------------------------------------------------------------------


def click(rate: int) -> NDArray[np.float64]:
    """A click: it begins with its loudest part."""
    at = np.arange(round(CLICK_SECONDS * rate)) / rate
    return np.asarray(CLICK * np.cos(2 * np.pi * CLICK_HZ * at) * (1 - at / CLICK_SECONDS), np.float64)


def tone_hz(track: int) -> float:
    """The pitch with which a track's tone begins."""
    return 180.0 + 70.0 * track


def _write_sound(path: Path, kind: SourceKind, track: int) -> None:
    count = round(kind.rate * kind.frames / kind.fps)
    at = np.arange(count) / kind.rate
    # it rises, so that no two packets are alike
    samples = TONE * np.sin(2 * np.pi * (tone_hz(track) * at + 1.7 * at**2))
    burst = click(kind.rate)
    for second in range(kind.seconds):
        samples[second * kind.rate : second * kind.rate + len(burst)] += burst
    with wave.open(str(path), "wb") as file:
        file.setnchannels(kind.channels)
        file.setsampwidth(2)
        file.setframerate(kind.rate)
        file.writeframes(np.repeat((samples * 32_000).astype("<i2"), kind.channels).tobytes())


# Coding ---------------------------------------------------------------------------------------------------------------


def encode(kind: SourceKind, folder: Path) -> list[bytes]:
    """Code a stream into segments in an empty folder, and give them in order; fragmented MP4 with the init section."""
    sounds = range(kind.tracks if kind.sound else 0)
    inputs = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{WIDTH}x{HEIGHT}", "-r", str(kind.fps), "-i", "-"]
    for track in sounds:
        path = folder / f"{track}.wav"
        _write_sound(path, kind, track)
        inputs += ["-i", str(path)]
    maps = [part for track in range(len(sounds) + 1) for part in ("-map", str(track))]
    coding = [*maps, *_video_options(kind), *_sound_options(kind), *_mux_options(kind, folder)]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-threads", "2", *inputs, *coding]
    with tempfile.TemporaryFile() as said:
        with subprocess.Popen(command, stdin=subprocess.PIPE, stderr=said, cwd=folder) as process:
            assert process.stdin is not None
            for number in range(kind.frames):
                process.stdin.write(draw(number))
            process.stdin.close()
        said.seek(0)
        assert process.returncode == 0, said.read().decode()
    init = (folder / "init.mp4").read_bytes() if kind.container == "fmp4" else b""
    return [init + path.read_bytes() for path in sorted(folder.glob("part*"))]


def _video_options(kind: SourceKind) -> list[str]:
    filters = ["setparams=color_primaries=bt709:color_trc=bt709:colorspace=bt709:range=tv"]
    options = ["-g", str(kind.gop_frames), "-pix_fmt", "yuv420p", "-fps_mode", "passthrough"]
    if kind.variable:
        filters.append("settb=1/90000,setpts='N*3000+600*mod(N*7,5)'")
        options += ["-enc_time_base", "1:90000"]
    elif kind.interlaced:
        filters.append("setfield=tff")
        options += ["-flags", "+ildct+ilme"]
    return [*options, "-vf", ",".join(filters), *_codec_options(kind)]


def _codec_options(kind: SourceKind) -> list[str]:
    b_frames = ["-bf", str(kind.b_frames)]
    if kind.codec == "av1":
        parameters = f"lp=2:log=0:scd=0:irefresh-type={1 if kind.open_gop else 2}"
        return ["-c:v", "libsvtav1", "-preset", "8", "-crf", "12", "-svtav1-params", parameters]
    if kind.codec == "hevc":
        parameters = f"log-level=error:scenecut=0:open-gop={int(kind.open_gop)}:b-adapt=0:pools=2"
        tag = ["-tag:v", "hvc1"] if kind.container == "fmp4" else []
        return ["-c:v", "libx265", "-preset", "ultrafast", "-crf", "16", *b_frames, *tag, "-x265-params", parameters]
    parameters = f"scenecut=0:open-gop={int(kind.open_gop)}:b-adapt=0:b-pyramid=normal:tff={int(kind.interlaced)}"
    parameters += ("" if kind.cabac else ":cabac=0") + (":intra-refresh=1" if kind.refresh else "")
    repeated = ["-flags", "+global_header", "-bsf:v", "dump_extra=freq=keyframe"] if kind.refresh else []
    profile = ["-profile:v", "baseline"] if kind.baseline else []
    return [
        "-c:v",
        "libx264",
        "-preset",
        "superfast",
        "-crf",
        "14",
        *profile,
        *b_frames,
        *repeated,
        "-x264-params",
        parameters,
    ]


def _sound_options(kind: SourceKind) -> list[str]:
    if kind.sound is None:
        return []
    options = ["-c:a", kind.sound, "-b:a", "96k" if kind.sound == "aac" else "192k"]
    for track in range(kind.tracks):
        options += [f"-metadata:s:a:{track}", f"language={('eng', 'deu', 'fra', 'spa')[track]}"]
    return options


def _mux_options(kind: SourceKind, folder: Path) -> list[str]:
    start = (1 << 33) / TICKS - WRAP_AFTER if kind.wraps else 10.0
    options = ["-output_ts_offset", f"{start:.3f}"] if kind.container == "ts" else []
    flags = [] if kind.cut_at_keys else ["-hls_flags", "split_by_time"]
    options += ["-f", "hls", "-hls_time", str(kind.segment), "-hls_list_size", "0", *flags]
    if kind.container == "fmp4":
        return [
            *options,
            "-hls_segment_type",
            "fmp4",
            "-hls_segment_filename",
            "part%03d.m4s",
            str(folder / "list.m3u8"),
        ]
    if kind.rewritten:
        # one frame to each PES
        options += ["-hls_segment_options", "pes_payload_size=0"]
    return [*options, "-hls_segment_filename", str(folder / "part%03d.ts"), str(folder / "list.m3u8")]
