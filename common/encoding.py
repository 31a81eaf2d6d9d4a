"""How pictures and sound are encoded: for publishing, with settings that are checked, or like their source.

Nothing gets into a command but what is made here from enumerations, numbers and names of ffmpeg's that were checked.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from typing import Final

_NAME = re.compile(r"[a-z0-9_-]{1,32}", re.ASCII)
_LARGEST_SIDE: Final = 16_384
_HIGHEST_RATE: Final = 1000
_BIT_RATES: Final = range(8_000, 1_000_000_001)
_CODE_POINTS: Final = range(256)
UNSPECIFIED: Final = 2


def input_url(number: int) -> str:
    """The name in a command of the stream number `number` (from 0) that the runner feeds into ffmpeg.

    It stands as an argument of its own, in place of a file; the runner puts the pipe there.
    """
    return f"input:{number}"


class EncodingError(ValueError):
    """Settings or facts with which nothing can be encoded; its text is one plain sentence."""


class Codec(StrEnum):
    """A codec of pictures."""

    H264 = "h264"
    HEVC = "hevc"
    AV1 = "av1"
    VP9 = "vp9"


class AudioCodec(StrEnum):
    """A codec of sound."""

    AAC = "aac"
    OPUS = "opus"


class Container(StrEnum):
    """A format of files."""

    MP4 = "mp4"
    WEBM = "webm"
    MATROSKA = "matroska"
    MPEGTS = "mpegts"


class FieldOrder(StrEnum):
    """Whether a picture is one, or two fields of which either is the first."""

    PROGRESSIVE = "progressive"
    TOP_FIRST = "tff"
    BOTTOM_FIRST = "bff"


@dataclass(frozen=True, slots=True)
class Colour:
    """What the numbers of a picture mean, as the code points of ITU-T H.273, UNSPECIFIED where that is not known."""

    primaries: int = UNSPECIFIED
    transfer: int = UNSPECIFIED
    matrix: int = UNSPECIFIED
    full_range: bool | None = None

    def __post_init__(self) -> None:
        for code in (self.primaries, self.transfer, self.matrix):
            if code not in _CODE_POINTS:
                raise EncodingError(f"{code} is no code point of a colour description.")


@dataclass(frozen=True, slots=True)
class VideoFormat:
    """What is known of a track of pictures.

    `codec` and `pixel_format` are ffmpeg's names. `profile` is ffmpeg's, as of H.264 `High` or `Constrained Baseline`;
    `level` is the codec's own number (42 for H.264's 4.2, 123 for HEVC's 4.1). `rate` is None if it is not constant.
    """

    codec: str
    width: int
    height: int
    pixel_format: str = "yuv420p"
    rate: Fraction | None = None
    profile: str | None = None
    level: int | None = None
    colour: Colour = Colour()
    field_order: FieldOrder = FieldOrder.PROGRESSIVE
    sample_aspect: Fraction = Fraction(1)

    def __post_init__(self) -> None:
        if not (0 < self.width <= _LARGEST_SIDE and 0 < self.height <= _LARGEST_SIDE):
            raise EncodingError(f"A picture of {self.width}x{self.height} cannot be encoded.")
        if not (_NAME.fullmatch(self.codec) and _NAME.fullmatch(self.pixel_format)):
            raise EncodingError(f"{self.codec!r} and {self.pixel_format!r} are no names of a codec and a pixel format.")
        if self.rate is not None and not 0 < self.rate <= _HIGHEST_RATE:
            raise EncodingError(f"{self.rate} is no rate of pictures.")
        if self.sample_aspect <= 0:
            raise EncodingError(f"{self.sample_aspect} is no shape of a pixel.")

    @property
    def bits(self) -> int:
        """Bits per sample."""
        found = re.search(r"p(9|10|12|14|16)(le|be)?$|^p0(10|12|16)", self.pixel_format)
        return int(found[1] or found[3]) if found else 8


# For publishing ---------------------------------------------------------------------------------------------------

_X26_PRESETS: Final = (
    "ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Encoder:
    """An encoder of ffmpeg: its name, the quality (lower is better) and preset by default, and what it takes."""

    name: str
    quality: int
    worst: int
    preset: str
    presets: tuple[str, ...]
    preset_option: str = "preset"


_ENCODERS: Final = {
    Codec.H264: _Encoder("libx264", 20, 51, "veryfast", _X26_PRESETS),
    Codec.HEVC: _Encoder("libx265", 23, 51, "fast", _X26_PRESETS),
    Codec.AV1: _Encoder("libsvtav1", 30, 63, "8", tuple(map(str, range(14)))),
    Codec.VP9: _Encoder("libvpx-vp9", 31, 63, "5", tuple(map(str, range(9))), "cpu-used"),
}
_HOLDS: Final[dict[Container, tuple[set[Codec], set[AudioCodec]]]] = {
    Container.MP4: ({*Codec}, {*AudioCodec}),
    Container.WEBM: ({Codec.AV1, Codec.VP9}, {AudioCodec.OPUS}),
    Container.MATROSKA: ({*Codec}, {*AudioCodec}),
    Container.MPEGTS: ({Codec.H264, Codec.HEVC}, {AudioCodec.AAC}),
}


def streamable(container: Container) -> bool:
    """Tell whether a file of that format can be written to a pipe; else it needs a file that can be sought in."""
    return container is not Container.MP4


@dataclass(frozen=True, slots=True)
class EncodingSettings:
    """How a `full` cut is encoded; what is not said is right for publishing.

    `audio_codec`: Opus for WebM, else AAC. `quality`: constant quality on the codec's own scale, lower is better; or
    `bitrate`, bits per second on average. `preset`: the encoder's, faster or smaller. `ten_bits`: per sample, for
    sources that have them. Raises EncodingError for what does not fit together.
    """

    codec: Codec = Codec.H264
    container: Container = Container.MP4
    audio_codec: AudioCodec | None = None
    quality: int | None = None
    bitrate: int | None = None
    preset: str | None = None
    audio_bitrate: int = 160_000
    ten_bits: bool = False

    def __post_init__(self) -> None:
        encoder = _ENCODERS[self.codec]
        videos, sounds = _HOLDS[self.container]
        if self.codec not in videos:
            raise EncodingError(f"{self.container} cannot hold {self.codec}; it holds {_names(videos)}.")
        if self.audio_codec is not None and self.audio_codec not in sounds:
            raise EncodingError(f"{self.container} cannot hold {self.audio_codec}; it holds {_names(sounds)}.")
        if self.quality is not None and self.bitrate is not None:
            raise EncodingError("Give a quality or a bit rate, not both.")
        if self.quality is not None and not 0 <= self.quality <= encoder.worst:
            raise EncodingError(f"The quality of {self.codec} lies between 0, the best, and {encoder.worst}.")
        if self.preset is not None and self.preset not in encoder.presets:
            raise EncodingError(f"The presets of {self.codec} are {', '.join(encoder.presets)}.")
        for rate in (self.bitrate, self.audio_bitrate):
            if rate is not None and rate not in _BIT_RATES:
                raise EncodingError(f"{rate} is no bit rate; bits per second are asked for.")
        if self.ten_bits and self.codec is Codec.H264:
            raise EncodingError("H.264 of 10 bits plays nearly nowhere; take HEVC, AV1 or VP9.")

    @property
    def pixel_format(self) -> str:
        """The form of the samples, in ffmpeg's name."""
        return "yuv420p10le" if self.ten_bits else "yuv420p"


def _names(codecs: set[Codec] | set[AudioCodec]) -> str:
    return ", ".join(sorted(codecs))


def video_options(settings: EncodingSettings, rate: Fraction) -> dict[str, str]:
    """The options of the encoder of pictures; their timestamps are kept as they are, `rate` is what levels go by."""
    encoder = _ENCODERS[settings.codec]
    options = {
        "c:v": encoder.name,
        encoder.preset_option: settings.preset or encoder.preset,
        "pix_fmt": settings.pixel_format,
        "fps_mode": "passthrough",
        "enc_time_base:v": "1:90000",
    }
    if settings.bitrate is None:
        options["crf"] = str(encoder.quality if settings.quality is None else settings.quality)
    if settings.bitrate is not None or settings.codec is Codec.VP9:
        options["b:v"] = str(settings.bitrate or 0)  # without it, VP9's quality is an upper limit
    if settings.codec is Codec.VP9:
        options |= {"deadline": "good", "row-mt": "1"}
    if settings.codec is Codec.HEVC and settings.container is Container.MP4:
        options["tag:v"] = "hvc1"  # what Apple's players ask for
    # where ranges are joined, ffmpeg knows the clock of the pictures and not their rate, and takes that for it
    fps = f"{rate.numerator}/{rate.denominator}"
    match settings.codec:
        case Codec.H264:
            options["x264-params"] = f"fps={fps}"
        case Codec.HEVC:
            options["x265-params"] = f"log-level=warning:fps={fps}"
        case Codec.AV1:
            options["svtav1-params"] = f"fps-num={rate.numerator}:fps-denom={rate.denominator}"
    return options


def audio_options(settings: EncodingSettings) -> dict[str, str]:
    """The options of the encoder of sound."""
    usual = AudioCodec.OPUS if settings.container is Container.WEBM else AudioCodec.AAC
    encoder = {AudioCodec.AAC: "aac", AudioCodec.OPUS: "libopus"}[settings.audio_codec or usual]
    return {"c:a": encoder, "b:a": str(settings.audio_bitrate)}


def container_options(settings: EncodingSettings) -> dict[str, str]:
    """The options of the file's format."""
    faststart = {"movflags": "+faststart"} if settings.container is Container.MP4 else {}
    return {"f": str(settings.container), **faststart}


# Like the source --------------------------------------------------------------------------------------------------

# Constant, so that no picture is worse than asked for: 46 to 49 dB of PSNR on natural pictures, above 41 dB on noise.
_QP: Final = {Codec.H264: 20, Codec.HEVC: 18, Codec.AV1: 14}
_NEVER: Final = "9999"
# The indices of the levels that AV1 defines (§A.3): 2.0 is 0, and there are four to each whole number.
_AV1_LEVELS: Final = {0, 1, 4, 5, 8, 9, *range(12, 20)}
_SVT_FORMATS: Final = {"yuv420p", "yuv420p10le"}

_X264_PROFILES: Final = {
    "constrained baseline": "baseline",
    "baseline": "baseline",
    "main": "main",
    "high": "high",
    "progressive high": "high",
    "constrained high": "high",
    "high 10": "high10",
    "high 4:2:2": "high422",
    "high 4:4:4 predictive": "high444",
}


# The encoders of AV1 that can follow a source, the better one first.
AV1_ENCODERS: Final = ("libsvtav1", "libaom-av1")


def av1_encoder(source: VideoFormat, available: Collection[str]) -> str | None:
    """Tell which encoder of an ffmpeg can encode pictures of AV1 like their source; None if there is none."""
    fitting = AV1_ENCODERS if source.pixel_format in _SVT_FORMATS else AV1_ENCODERS[1:]
    return next((encoder for encoder in fitting if encoder in available), None)


def like_source(
    source: VideoFormat, *, threads: int = 1, parameter_set_id: int | None = None, encoder: str = AV1_ENCODERS[0]
) -> list[str]:
    """The arguments of an output whose pictures can stand among those of the source: an IDR, then no B-frames.

    Profile, level (of H.264 and AV1), pixel format, field order and timestamps are those of the source; its colour
    comes with the decoded pictures, as do captions, which x264 and x265 keep. Every picture comes out as soon as it is
    in. `parameter_set_id` (0 to 31, H.264 alone) is that of SPS and PPS, so that the source's own stay valid.
    `encoder`: of AV1, as `av1_encoder` gives it. Raises EncodingError for what cannot be encoded.
    """
    if source.codec == Codec.H264:
        own = _like_h264(source, threads, parameter_set_id)
    elif source.codec == Codec.HEVC:
        own = _like_hevc(source, threads)
    elif source.codec == Codec.AV1:
        own = _like_av1(source, threads, encoder)
    else:
        raise EncodingError(f"Pictures of {source.codec} cannot be encoded like their source.")
    return [
        *own,
        *("-pix_fmt", source.pixel_format),
        *("-fps_mode", "passthrough", "-enc_time_base", "1:90000"),
    ]


def _like_h264(source: VideoFormat, threads: int, parameter_set_id: int | None) -> list[str]:
    profile = _X264_PROFILES.get((source.profile or "high").lower(), "high")
    # the preset is the fastest; its profile would be the lowest
    tools = {"cabac": int(profile != "baseline"), "8x8dct": int(profile not in {"baseline", "main"})}
    parameters = {**tools, "aud": 1, "scenecut": 0, "open-gop": 0}
    if parameter_set_id is not None:
        parameters["sps-id"] = parameter_set_id
    if source.field_order is not FieldOrder.PROGRESSIVE:
        parameters[source.field_order.value] = 1
    spoken = [f"{name}={value}" for name, value in parameters.items()]
    if source.rate is not None:
        # the timing in the SPS is then the rate, not the clock of the timestamps
        spoken += ["force-cfr=1", f"fps={source.rate.numerator}/{source.rate.denominator}"]
    level = [] if source.level is None else ["-level", str(int(source.level))]
    return [
        *("-c:v", "libx264", "-preset", "ultrafast", "-tune", "zerolatency", "-profile:v", profile, *level),
        # x264 counts from where 8 bits begin
        *(
            "-qp",
            str(_QP[Codec.H264] + 6 * (source.bits - 8)),
            "-bf",
            "0",
            "-g",
            _NEVER,
            "-a53cc",
            "1",
            "-threads",
            str(threads),
        ),
        *("-x264-params", ":".join(spoken)),
    ]


def _like_hevc(source: VideoFormat, threads: int) -> list[str]:
    # x265 refuses a level together with a constant quantiser
    parameters = [
        f"qp={_QP[Codec.HEVC]}", "bframes=0", "keyint=-1", "scenecut=0", "open-gop=0", "repeat-headers=1", "aud=1",
        "info=0", "rc-lookahead=0", "lookahead-slices=0", "frame-threads=1", f"pools={threads}", "log-level=warning",
    ]  # fmt: skip
    if source.field_order is not FieldOrder.PROGRESSIVE:
        parameters.append(f"interlace={source.field_order}")
    return [
        *("-c:v", "libx265", "-preset", "ultrafast", "-tune", "zerolatency", "-forced-idr", "1", "-a53cc", "1"),
        *("-x265-params", ":".join(parameters)),
    ]


def _like_av1(source: VideoFormat, threads: int, encoder: str) -> list[str]:
    level = source.level if source.level in _AV1_LEVELS else None
    if encoder == AV1_ENCODERS[1]:
        index = [] if level is None else ["-aom-params", f"target-seq-level-idx={int(level)}"]
        speed = ["-usage", "good", "-cpu-used", "6", "-lag-in-frames", "0", "-g", _NEVER, "-threads", str(threads)]
        return ["-c:v", encoder, *speed, "-crf", "8", "-b:v", "0", *index]
    named = [] if level is None else ["-level", str(20 + 10 * (level >> 2) + (level & 3))]
    parameters = f"pred-struct=1:keyint=-1:scd=0:lookahead=0:rc=0:aq-mode=0:enable-tf=0:lp={threads}"
    # faster presets let single pictures fall below 35 dB
    return ["-c:v", encoder, "-preset", "8", "-qp", str(_QP[Codec.AV1]), *named, "-svtav1-params", parameters]
