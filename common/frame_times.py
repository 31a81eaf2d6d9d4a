"""When each frame of a segment is shown, from its packets; the pictures themselves are not decoded here.

It blocks; asyncio code hands it to a thread.
"""

from bisect import bisect_right
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from io import BytesIO
from typing import Final

import av

from common.ticks import unwrap

# Times of requests have milliseconds, or were rounded on their way: a frame that begins this much later is meant, too.
_ROUNDING: Final = timedelta(microseconds=500)

# Ten seconds of 8K would fit.
_MOST_PROBED: Final = 256 << 20
_OPTIONS: Final = {
    # a decoder opens the stream, which alone tells how its colours are meant
    "codec_whitelist": "h264,hevc,mpeg2video,mpeg4,vp9,av1,libdav1d,libvpx-vp9,aac,ac3,eac3,mp3",
    "correct_ts_overflow": "0",
    "analyzeduration": "3600000000",
    "probesize": str(_MOST_PROBED),
}
_SECONDS: Final = 10.0

# Untagged pictures larger than those of standard definition are meant as ITU-R BT.709 by all who make them.
_UNTAGGED: Final = 2
_SD: Final = (1024, 576)

# FFmpeg says nothing on standard error, whatever it is given.
av.logging.set_level(None)


class NoFramesError(Exception):
    """There are no frames that could be shown; the text is one sentence."""


@dataclass(frozen=True, slots=True)
class FrameTimes:
    """The times of a segment's frames, in the order in which they are shown: counts of `base` seconds.

    They run on where the clock of MPEG-TS begins again. `entry` is the time of the first frame in decode order: frames
    that are shown before it may need the segment before. `untagged_hd`: the colours are not said, and those of HD.
    """

    times: tuple[int, ...]
    base: Fraction
    entry: int
    untagged_hd: bool

    def index_at(self, into: timedelta) -> int:
        """Which frame is on screen so long (not below zero) after the first one: the last that has begun."""
        limit = self.times[0] + (into + _ROUNDING) / timedelta(seconds=1) / float(self.base)
        return bisect_right(self.times, limit) - 1


def frame_times(content: bytes, form: str) -> FrameTimes:
    """Read the packets of the first video track; `form` is `mpegts` or `mp4`. Raises NoFramesError."""
    try:
        with av.open(BytesIO(content), "r", format=form, options=_OPTIONS, timeout=_SECONDS) as container:
            if not container.streams.video:
                raise NoFramesError("There is no picture in it.")
            stream = container.streams.video[0]
            times = [packet.pts for packet in container.demux(stream) if packet.size and packet.pts is not None]
            context, base = stream.codec_context, stream.time_base
            larger = (context.width or 0) > _SD[0] or (context.height or 0) > _SD[1]
            untagged_hd = larger and context.colorspace == _UNTAGGED
    # beside FFmpeg's own, the errors that PyAV makes of values that it did not expect
    except (av.FFmpegError, ArithmeticError, LookupError, ValueError) as error:
        raise NoFramesError("It cannot be read as video.") from error
    if not times or base is None:
        raise NoFramesError("There is no picture in it.")
    times = unwrap(times) if form == "mpegts" else times
    return FrameTimes(tuple(sorted(set(times))), base, times[0], untagged_hd)
