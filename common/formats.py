"""What pictures and sounds of a segment are, as far as those who encode their like must know. All of it blocks."""

import io
from contextlib import suppress
from dataclasses import dataclass
from fractions import Fraction

import av
from av.audio.stream import AudioStream
from av.codec.context import Flags
from av.container import InputContainer
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from common.encoding import UNSPECIFIED, Colour, EncodingError, FieldOrder, VideoFormat
from common.full_cut import Sound
from common.picture_commands import Form

# As FFmpeg counts the orders of fields (AVFieldOrder): unknown, one picture, and which field comes first.
_FIELD_ORDERS = {
    2: FieldOrder.TOP_FIRST,
    3: FieldOrder.BOTTOM_FIRST,
    4: FieldOrder.TOP_FIRST,
    5: FieldOrder.BOTTOM_FIRST,
}
_FULL_RANGE = 2


@dataclass(frozen=True, slots=True)
class Formats:
    """What a segment holds; `picture` is None if nothing is to be seen."""

    picture: VideoFormat | None
    sounds: tuple[Sound, ...]


def read_formats(content: bytes, rate: Fraction | None, form: Form = "mpegts") -> Formats:
    """Find out the formats of a segment; `rate` is that of its pictures, None if it is not constant.

    Raises EncodingError if it holds pictures or sounds that cannot be decoded, or not be encoded.
    """
    try:
        with av.open(io.BytesIO(content), "r", format=form, metadata_errors="replace") as container:
            video = next(iter(container.streams.video), None)
            sounds = tuple(map(_sound, _heard(container.streams.audio)))
            frame = None if video is None else _first_frame(container, video)
            return Formats(None if video is None or frame is None else _picture(video, frame, rate), sounds)
    except (av.FFmpegError, ArithmeticError, LookupError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise EncodingError(f"It cannot be decoded: {reason}.") from error


def _first_frame(container: InputContainer, stream: VideoStream) -> VideoFrame | None:
    """Decode until there is a picture: a segment may begin with some that need what came before.

    It need not be whole, as where pictures are refreshed bit by bit.
    """
    stream.codec_context.flags |= Flags.output_corrupt
    for packet in container.demux(stream):
        with suppress(av.InvalidDataError):
            for frame in packet.decode():
                return frame
    return None


def _sound(stream: AudioStream) -> Sound:
    return Sound(stream.codec_context.sample_rate, stream.codec_context.channels)


def _heard(streams: tuple[AudioStream, ...]) -> list[AudioStream]:
    """Leave out what is announced and not there."""
    return [stream for stream in streams if stream.codec_context.sample_rate and stream.codec_context.channels]


def _picture(stream: VideoStream, frame: VideoFrame, rate: Fraction | None) -> VideoFormat:
    context = stream.codec_context
    order = _FIELD_ORDERS.get(context.field_order, FieldOrder.PROGRESSIVE) if frame.interlaced_frame else None
    return VideoFormat(
        context.codec.canonical_name,
        context.width,
        context.height,
        frame.format.name,
        rate,
        context.profile,
        context.level,
        Colour(
            context.color_primaries or UNSPECIFIED,
            context.color_trc or UNSPECIFIED,
            int(frame.colorspace) or UNSPECIFIED,
            int(frame.color_range) == _FULL_RANGE,
        ),
        order or FieldOrder.PROGRESSIVE,
        context.sample_aspect_ratio or Fraction(1),
    )
