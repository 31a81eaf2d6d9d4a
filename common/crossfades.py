"""The sound of a transition, the only one that a cut to the frame encodes again.

It is made of whole frames in the form of the source and on the grid of those that are copied before and after it, so
that it starts where one of them ends and ends where one begins. Some frames more on both sides are decoded and encoded
along and then dropped: with them decoder and encoder know what sounds across the joins, and nothing clicks.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any, Final

import ffmpeg

from common.encoding import input_url
from common.pes import Pes
from common.pieces import CannotSpliceError
from common.sound import SoundFrame, sound_frames
from common.sound_track import SoundTrack
from common.ticks import TICKS

# A frame of AAC overlaps with its neighbours, one of AC-3 too; the second frame is decoded as it should be.
_PRIMING, _WARMING, _TRAILING = 4, 3, 3

# A stream of ffmpeg-python, which has no types.
_Stream = Any


@dataclass(frozen=True, slots=True)
class _Coder:
    """How ffmpeg calls a form of sound: its demuxer, encoder and muxer; and by how many samples a coded sound is late.

    That is the delay of encoder and decoder together, as ffmpeg's encoders state it (`initial_padding`).
    """

    demuxer: str
    encoder: str
    muxer: str
    delay: int


_CODERS: Final = {
    "adts": _Coder("aac", "aac", "adts", 1024),
    "mpeg": _Coder("mp3", "mp2", "mp2", 481),
    "ac3": _Coder("ac3", "ac3", "ac3", 256),
    "eac3": _Coder("eac3", "eac3", "eac3", 256),
}

# As many samples has a frame that these encoders make (of AC-3 and E-AC-3, too).
_SAMPLES: Final = {"adts": 1024, "mpeg": 1152, "ac3": 1536, "eac3": 1536}
_MPEG_LAYER_2 = 2

# So many PES hold a whole frame.
_LOOKED_AT: Final = 4


@dataclass(frozen=True, slots=True)
class Crossfade:
    """One sound of a transition, coded in a `form` (see `common.sound`), as frames of `samples` at `rate` Hz.

    `before` and `after` hold frames of both ranges. Of what is encoded, `count` frames from number `primed` on are for
    the video; the first sounds at `begin`, a tick of its clock. In `before` it is frame `primed` too, in `after` frame
    `warmed`. The fade lasts from sample `opens` to before `closes`, counted from there. `resume` is where, on the clock
    of its own stretch, the sound of the second range goes on; `stream_id` that of its PES.
    """

    form: str
    rate: int
    samples: int
    bit_rate: int
    before: bytes
    after: bytes
    primed: int
    warmed: int
    count: int
    begin: int
    opens: int
    closes: int
    resume: int
    stream_id: int

    @property
    def end(self) -> int:
        """When it is over, a tick of the video's clock."""
        return self.begin + round(Fraction(self.count * self.samples * TICKS, self.rate))

    def time(self, index: int) -> int:
        """Give when a frame of it sounds, on the video's clock."""
        return self.begin + round(Fraction(index * self.samples * TICKS, self.rate))


def coded_rate(form: str, found: Sequence[Pes]) -> int | None:
    """Give the samples per second that the frames of a sound tell; None if there are none."""
    frame = next(iter(SoundTrack.read(form, found[:_LOOKED_AT]).frames), None)
    return None if frame is None else round(_SAMPLES[form] * TICKS / frame.duration)


def plan_crossfade(
    form: str, before: tuple[SoundTrack, int], after: tuple[SoundTrack, int], begin: int, span: tuple[int, int]
) -> Crossfade:
    """Plan the sound of a transition that is seen in `span` (ticks of the video's clock).

    `before`, `after`: the sound of each range, and which of its frames sounds first; that is at `begin`. Raises
    CannotSpliceError if there is no sound to go by, or it is none that could be encoded as it is.
    """
    (ending, first), (beginning, second) = before, after
    if first >= len(ending.frames) or second >= len(beginning.frames):
        raise CannotSpliceError("There is no sound at a transition.")
    frame = ending.frames[first]
    samples = _SAMPLES[form]
    rate = Fraction(samples * TICKS) / frame.duration
    if rate.denominator != 1 or beginning.frames[second].duration != frame.duration:
        raise CannotSpliceError("The sounds on both sides of a transition are coded differently.")
    count = max(1, round((span[1] - begin) / frame.duration))
    opens, closes = (round(Fraction((moment - begin) * int(rate), TICKS)) for moment in span)
    primed, warmed = min(_PRIMING, first), min(_WARMING, second)
    if not primed:
        raise CannotSpliceError("A transition begins where the sound does.")
    heard = _between(ending, first - primed, first + count + 1)
    coming = _between(beginning, second - warmed, second + count + _TRAILING)
    _check_layer(form, ending.data[frame.start : frame.start + 4])
    return Crossfade(
        form=form,
        rate=int(rate),
        samples=samples,
        bit_rate=_bit_rate(form, ending.frames[first - primed : first + count + 1]),
        before=heard,
        after=coming,
        primed=primed,
        warmed=warmed,
        count=count,
        begin=begin,
        opens=max(opens, -warmed * samples),
        closes=closes,
        resume=beginning.times[second] + round(count * frame.duration),
        stream_id=next((pes.stream_id for pes in ending.pes if pes.stream_id), 0xC0),
    )


def _between(sound: SoundTrack, first: int, stop: int) -> bytes:
    """Give the bytes of some frames that must follow each other."""
    frames, times = sound.frames[first:stop], sound.times[first:stop]
    for (one, time), (_, following) in pairwise(zip(frames, times, strict=True)):
        if abs(following - time - one.duration) > one.duration / 2:
            raise CannotSpliceError("The sound breaks off within a transition.")
    return b"".join(sound.data[frame.start : frame.end] for frame in frames)


def _bit_rate(form: str, frames: Sequence[SoundFrame]) -> int:
    """Give the bits per second to encode with: a constant rate as it is, of AAC somewhat more than on average."""
    average = sum(frame.length for frame in frames) * 8 * TICKS / sum(frame.duration for frame in frames)
    return int(average * Fraction(5, 4)) if form == "adts" else round(average / 8000) * 8000


def _check_layer(form: str, head: bytes) -> None:
    if form == "mpeg" and 4 - (head[1] >> 1 & 3) != _MPEG_LAYER_2:
        raise CannotSpliceError("The sound of a transition cannot be encoded in the form that it has.")


def crossfade_command(program: str, fade: Crossfade) -> list[str]:
    """The command that encodes it: both sides as they are into it, coded frames out of it."""
    coder = _CODERS[fade.form]
    primed, warmed = fade.primed * fade.samples, fade.warmed * fade.samples
    # so that the frames of the result, which all come so much later, lie on the grid of the source's
    heard = _exactly(_decoded(0, coder), coder.delay, primed + fade.closes)
    coming = _exactly(_decoded(1, coder), warmed + fade.opens, warmed + (fade.count + _TRAILING) * fade.samples)
    faded = ffmpeg.filter(
        # of equal power: the two have nothing in common
        [heard, coming], "acrossfade", nb_samples=fade.closes - fade.opens, curve1="qsin", curve2="qsin"
    )  # fmt: skip
    options = {"c:a": coder.encoder, "b:a": str(fade.bit_rate), "f": coder.muxer}
    arguments: list[str] = ffmpeg.output(faded, "pipe:1", **options).compile(cmd=program)
    return arguments


def _decoded(number: int, coder: _Coder) -> _Stream:
    # what the source says of its loudness is for players
    options = {"drc_scale": "0"} if coder.demuxer in {"ac3", "eac3"} else {}
    return ffmpeg.input(input_url(number), format=coder.demuxer, **options)["a:0"]


def _exactly(sound: _Stream, first: int, stop: int) -> _Stream:
    """Give these samples, silence where there are none."""
    whole = sound.filter("asetpts", "N").filter("apad", whole_len=stop)
    return whole.filter("atrim", start_sample=first, end_sample=stop).filter("asetpts", "PTS-STARTPTS")


def kept_frames(fade: Crossfade, coded: bytes) -> list[bytes]:
    """Give the frames for the video of those that were encoded. Raises CannotSpliceError if they are not there."""
    frames = [coded[frame.start : frame.end] for frame in sound_frames(fade.form, coded)]
    kept = frames[fade.primed : fade.primed + fade.count]
    if len(kept) != fade.count:
        raise CannotSpliceError("The sound of a transition cannot be encoded in the form that it has.")
    return kept
