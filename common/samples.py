"""What MPEG-TS does not carry, as samples of MP4: its tracks, and the times that samples get in a video.

A plan is made of them like that of any cut, in ticks; here each sample goes to the place that its own clock gives it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction

import numpy as np

from common.cuts import SplicePlan
from common.pieces import CannotSpliceError, Piece
from common.programme import Elementary, Programme
from common.scan import Stretch

_PRIVATE = 0x06

# Of the clock of a video and that of a source, both rounded to ticks.
_ROUNDING = 2

# Of which samples stand in the order in which they are shown, and pictures can be encoded to go before key frames.
SPLICED = "av1"


@dataclass(frozen=True, slots=True)
class SampleTrack(Elementary):
    """A track of MP4 in the place of a stream: `pid` is its number, `descriptors` its decoder's configuration.

    `picture`, `sound`: FFmpeg's name of the codec, one of them empty.
    """

    picture: str = ""
    sound: str = ""

    @property
    def video(self) -> str:
        """The codec of a picture; empty for a sound."""
        return self.picture

    @property
    def audio(self) -> str:
        """The codec of a sound; empty for a picture."""
        return self.sound


def sample_programme(tracks: Sequence[tuple[str, str, bytes]]) -> Programme:
    """Describe the tracks of a file: of each its kind (`video` or `audio`), codec and configuration."""
    found = [
        SampleTrack(number, _PRIVATE, config, *((codec, "") if kind == "video" else ("", codec)))
        for number, (kind, codec, config) in enumerate(tracks)
    ]
    return Programme(1, 0, None, tuple(found))


def is_sampled(stretch: Stretch) -> bool:
    """Tell whether a stretch is made of samples of MP4, and not of packets of MPEG-TS."""
    return any(isinstance(stream, SampleTrack) for stream in stretch.programme.streams)


def check_samples(planned: SplicePlan) -> None:
    """See that a plan can be made of samples: one codec, copied and encoded alike. Raises CannotSpliceError."""
    heard: list[list[bytes]] = []
    for piece in planned.pieces:
        video = piece.stretch.programme.video
        if not isinstance(piece, Piece):
            raise CannotSpliceError("A transition is encoded, and what is copied around it does not allow for that.")
        if video is not None and video.video != SPLICED:
            raise CannotSpliceError(f"Pictures of {video.video} in MP4 are not copied by the frame.")
        if bool((np.diff(piece.stretch.pts) <= 0).any()):
            raise CannotSpliceError("The pictures do not stand in the order in which they are shown.")
        scans = piece.stretch.scans[piece.first : piece.last]
        heard += [[sound.descriptors for sound in scanned.programme.audio] for scanned in scans]
    if any(configs != heard[0] for configs in heard):
        raise CannotSpliceError("The sound changes within the video.")


@dataclass(slots=True)
class _Line:
    """A track of the video: what takes the piece at hand to its place, and when what is written of it ends."""

    shift: Fraction = Fraction(0)
    ends: Fraction | None = None
    begun: bool = False


@dataclass(slots=True)
class Retimer:
    """Gives samples, which come in order, their times in a video. All are in ticks, of sources and of the video."""

    _picture: _Line = field(default_factory=_Line)
    _sounds: dict[int, _Line] = field(default_factory=dict)
    _pieces: int = 0

    def begin(self) -> None:
        """Begin a piece."""
        self._pieces += 1
        for line in (self._picture, *self._sounds.values()):
            line.begun = False

    def picture(self, piece: Piece, time: Fraction, duration: Fraction) -> Fraction:
        """Place a picture of a piece: where the one before it ends, so that nothing that is rounded adds up."""
        line = self._picture
        if not line.begun:
            planned = Fraction(piece.start + piece.shift)
            due = planned if line.ends is None or abs(line.ends - planned) > _ROUNDING * self._pieces else line.ends
            line.shift = Fraction(piece.shift)
            if abs(time + piece.shift - due) <= _ROUNDING * (self._pieces + 1):
                line.shift = due - time
            line.begun = True
        line.ends = time + line.shift + duration
        return time + line.shift

    def sound(self, piece: Piece, number: int, time: Fraction, duration: Fraction) -> Fraction | None:
        """Place a frame of sound, or tell with None that it is left out: a piece has whole frames, the nearest ones.

        It goes on where what is written ends, moved by less than a frame.
        """
        line = self._sounds.setdefault(number, _Line())
        if not line.begun:
            # never before zero of the video
            due = max(Fraction(piece.start + piece.shift), duration / 2) if line.ends is None else line.ends
            if time + duration / 2 < due - piece.shift:
                return None
            line.shift, line.begun = Fraction(piece.shift), True
            off = Fraction(0) if line.ends is None else line.ends - time - piece.shift
            line.shift += off if abs(off) <= duration else 0
        if time + duration / 2 + line.shift >= piece.end + piece.shift:
            return None
        line.ends = time + line.shift + duration
        return time + line.shift
