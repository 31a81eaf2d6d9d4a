"""Commands that make whole videos: `full` cuts, everything encoded by one ffmpeg, and `archive` cuts, nothing encoded.

A full cut is exact by construction. Pictures are joined by the times that they have in the result, worked out here from
whole ticks, and not by the lengths that a filter would guess; sound is cut to whole samples, as many as lie between the
same two times. Where there are transitions the pictures have a constant rate and are counted.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import Any, Final

import ffmpeg

from common.encoding import (
    UNSPECIFIED,
    Container,
    EncodingError,
    EncodingSettings,
    FieldOrder,
    VideoFormat,
    audio_options,
    container_options,
    input_url,
    video_options,
)
from common.picture_commands import Form
from common.ticks import TICKS
from common.transitions import Transition, TransitionError, xfade_options

# A stream of ffmpeg-python, which has no types.
_Stream = Any

# Of a transition between sources without a constant rate.
_RATE_OF_VARIABLE: Final = Fraction(60)

_SAMPLE_RATES: Final = range(1, 768_001)
_CHANNELS: Final = range(1, 65)
_LAYOUTS: Final = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}

# Shorter gaps between the timestamps of sound are rounding; longer ones are lost packets, and filled with silence.
_SHORTEST_GAP: Final = "0.015"


@dataclass(frozen=True, slots=True)
class Sound:
    """What is known of a track of sound."""

    sample_rate: int
    channels: int

    def __post_init__(self) -> None:
        if self.sample_rate not in _SAMPLE_RATES or self.channels not in _CHANNELS:
            raise EncodingError(f"Sound of {self.channels} channels at {self.sample_rate} Hz cannot be encoded.")


@dataclass(frozen=True, slots=True)
class Pictures:
    """How many pictures there are, and for how many ticks one of them is shown, at least and at most.

    `count` is None where it cannot be told, since pairs of fields may be one picture or two.
    """

    count: int | None
    shortest: int
    longest: int


@dataclass(frozen=True, slots=True)
class Source:
    """One range, as a stream of MPEG-TS or MP4 whose timestamps run without a gap or a wrap, all of one format.

    Of it goes into the video what is shown from `start` to before `end`, in ticks of 90 kHz on the stream's own clock;
    the stream may hold more on both sides, and begins with a key frame. A range whose format changes is several
    sources. `shown`: what is known of the pictures of the range.
    """

    start: int
    end: int
    picture: VideoFormat | None
    sound: tuple[Sound, ...] = ()
    shown: Pictures | None = None
    form: Form = "mpegts"

    def __post_init__(self) -> None:
        if not 0 <= self.start < self.end:
            raise EncodingError(f"A range from tick {self.start} to {self.end} is empty.")


@dataclass(frozen=True, slots=True)
class Command:
    """A command for the runner, which feeds it one stream per source, and what the result will be.

    `shown`: its pictures, as far as that is known. `joins`: when one source follows another, in ticks from the start.
    `sounds`: how many tracks can be heard.
    """

    arguments: list[str]
    duration: timedelta
    shown: Pictures | None = None
    joins: tuple[int, ...] = ()
    sounds: int = 0


def full_command(
    program: str,
    sources: Sequence[Source],
    transitions: Sequence[Transition | None],
    settings: EncodingSettings,
    output: str,
) -> Command:
    """The command of a full cut of the sources in order; `transitions` has one less, None for a hard join.

    `program` is the path of ffmpeg, `output` `pipe:1` or the path of a file that may be overwritten. Size, rate of
    sound and channels are those of the first source that has them. There are as many tracks of sound as all sources
    with sound have; one without is silent. Raises TransitionError if a transition is longer than a range leaves room
    for, and EncodingError if there is nothing to encode.
    """
    if not sources or len(transitions) != len(sources) - 1:
        raise EncodingError("A cut needs ranges, and one transition less than ranges.")
    pictures = [source.picture for source in sources if source.picture]
    if pictures and len(pictures) < len(sources):
        raise EncodingError("A range has no picture, while others have.")
    inputs = [ffmpeg.input(input_url(number), format=source.form) for number, source in enumerate(sources)]
    groups = list(_groups(sources, transitions))
    tracks = [_sound(groups, inputs, track) for track in range(_tracks(sources))]
    streams = [*([_picture(groups, inputs, pictures[0])] if pictures else []), *tracks]
    if not streams:
        raise EncodingError("The ranges have neither picture nor sound.")
    rates = [picture.rate for picture in pictures if picture.rate]
    options = {
        **(video_options(settings, max(rates, default=_RATE_OF_VARIABLE)) if pictures else {}),
        **(audio_options(settings) if tracks else {}),
        **container_options(settings),
    }
    made = ffmpeg.output(*streams, _file(output), **options).global_args("-copyts")
    arguments: list[str] = made.compile(cmd=program, overwrite_output=True)
    joins = tuple(round(part.start * TICKS) for group in groups for part in group.parts)[1:]
    duration = timedelta(seconds=float(groups[-1].end))
    return Command(arguments, duration, _shown(groups) if pictures else None, joins, len(tracks))


@dataclass(frozen=True, slots=True)
class _Part:
    """A source and its place in the result, in seconds; where pictures are counted, also how many there are.

    `head`, `tail`: as many of them lie in the transition before and after it.
    """

    number: int
    source: Source
    start: Fraction
    end: Fraction
    frames: int = 0
    head: int = 0
    tail: int = 0


@dataclass(frozen=True, slots=True)
class _Group:
    """Sources that transitions hold together, counted at a constant `rate`; or a single one, whose rate is None."""

    parts: tuple[_Part, ...]
    transitions: tuple[Transition, ...] = ()
    rate: Fraction | None = None

    @property
    def start(self) -> Fraction:
        """When it begins in the result, in seconds."""
        return self.parts[0].start

    @property
    def end(self) -> Fraction:
        """When it ends in the result, in seconds."""
        return self.parts[-1].end


def _groups(sources: Sequence[Source], transitions: Sequence[Transition | None]) -> Iterator[_Group]:
    """Put sources that transitions join into groups, one after the other on the clock of the result."""
    first, clock = 0, Fraction(0)
    for last in range(len(sources)):
        if last < len(transitions) and transitions[last] is not None:
            continue
        between = tuple(each for each in transitions[first:last] if each is not None)
        group = _group(sources[first : last + 1], between, first, clock)
        yield group
        first, clock = last + 1, group.end


def _group(sources: Sequence[Source], transitions: tuple[Transition, ...], number: int, clock: Fraction) -> _Group:
    if not transitions:
        (source,) = sources
        return _Group((_Part(number, source, clock, clock + _seconds(source)),))
    known = (source.picture.rate for source in sources if source.picture and source.picture.rate)
    rate = next(known, _RATE_OF_VARIABLE)
    overlaps = [0, *(max(1, round(_exact(each.duration) * rate)) for each in transitions), 0]
    parts, at = list[_Part](), 0
    for index, source in enumerate(sources):
        frames = max(1, round(_seconds(source) * rate))
        head, tail = overlaps[index : index + 2]
        if head + tail > frames:
            longest = max(transitions[max(0, index - 1) : index + 1], key=lambda each: each.duration)
            raise TransitionError(
                f"A transition of {longest.duration.total_seconds():g} seconds does not fit into a range of"
                f" {float(_seconds(source)):g} seconds."
            )
        at -= head
        start, end = clock + at / rate, clock + (at + frames) / rate
        parts.append(_Part(number + index, source, start, end, frames, head, tail))
        at += frames
    return _Group(tuple(parts), transitions, rate)


def _shown(groups: Sequence[_Group]) -> Pictures | None:
    """Tell what the result shows, if that is known of all sources."""
    found = [_shown_in(group) for group in groups]
    known = [each for each in found if each is not None]
    if len(known) < len(found):
        return None
    counts = [each.count for each in known if each.count is not None]
    count = sum(counts) if len(counts) == len(known) else None
    return Pictures(count, min(each.shortest for each in known), max(each.longest for each in known))


def _shown_in(group: _Group) -> Pictures | None:
    if group.rate is None:
        return group.parts[0].source.shown
    step = TICKS / group.rate
    return Pictures(round((group.end - group.start) * group.rate), floor(step), ceil(step))


def _seconds(source: Source) -> Fraction:
    return Fraction(source.end - source.start, TICKS)


def _exact(duration: timedelta) -> Fraction:
    return Fraction(duration // timedelta(microseconds=1), 1_000_000)


# Pictures ---------------------------------------------------------------------------------------------------------


def _picture(groups: Sequence[_Group], inputs: Sequence[_Stream], first: VideoFormat) -> _Stream:
    made = [
        _counted_picture(group, group.rate, inputs, first)
        if group.rate
        else _own_picture(group.parts[0], inputs, first, round(group.start * TICKS))
        for group in groups
    ]
    if len(made) == 1:
        return made[0]
    # concat would guess how long the last picture is shown; here each has its time already. interleave counts in
    # microseconds, and converts times but no durations: so it is given such.
    counted = [each.filter("settb", expr="1/1000000") for each in made]
    joined = ffmpeg.filter(counted, "interleave", nb_inputs=len(made), duration="longest")
    return joined.filter("settb", expr=f"1/{TICKS}")


def _own_picture(part: _Part, inputs: Sequence[_Stream], first: VideoFormat, at: int) -> _Stream:
    """The pictures of a source, each at its own time; the range begins at tick `at`."""
    source, picture = part.source, part.source.picture
    if picture is None:
        raise AssertionError("there is no picture")
    stream = inputs[part.number]["v:0"]
    if picture.field_order is not FieldOrder.PROGRESSIVE:
        stream = stream.filter("bwdif", mode="send_frame", deint="all")
    stream = (
        stream.filter("settb", expr=f"1/{TICKS}")
        .filter("trim", start_pts=source.start, end_pts=source.end)
        .filter("setpts", f"PTS{at - source.start:+d}")
    )
    return _fit(stream, picture, first)


def _fit(stream: _Stream, picture: VideoFormat, first: VideoFormat) -> _Stream:
    """Bring pictures to the size, form and colour of the first ones; encoders want even sides."""
    width, height = first.width - first.width % 2, first.height - first.height % 2
    if (picture.width, picture.height, picture.sample_aspect) != (first.width, first.height, first.sample_aspect):
        shape = Fraction(picture.width, picture.height) * picture.sample_aspect / first.sample_aspect
        inner_width, inner_height = min(width, round(height * shape)), min(height, round(width / shape))
        stream = stream.filter("scale", max(2, inner_width), max(2, inner_height)).filter(
            "pad", width, height, "(ow-iw)/2", "(oh-ih)/2"
        )
    elif (width, height) != (first.width, first.height):
        stream = stream.filter("crop", width, height, 0, 0)
    # also where it is the same: a shape that is not known and one that is square are not the same to filters
    aspect = f"{first.sample_aspect.numerator}/{first.sample_aspect.denominator}"
    return _recolour(stream.filter("setsar", aspect), picture, first)


def _recolour(stream: _Stream, picture: VideoFormat, first: VideoFormat) -> _Stream:
    given, wanted = picture.colour, first.colour
    if given != wanted and UNSPECIFIED not in {given.matrix, wanted.matrix}:
        stream = stream.filter(
            "scale", out_color_matrix=wanted.matrix, out_range="full" if wanted.full_range else "limited"
        ).filter("setparams", color_primaries=wanted.primaries, color_trc=wanted.transfer)
    if picture.pixel_format != first.pixel_format:
        stream = stream.filter("format", first.pixel_format)
    return stream


def _counted_picture(group: _Group, rate: Fraction, inputs: Sequence[_Stream], first: VideoFormat) -> _Stream:
    """The pictures of a group at its constant rate; only those within a transition go through xfade."""
    heads, bodies, tails = zip(*(_three(part, rate, inputs, first) for part in group.parts), strict=True)
    pieces = [bodies[0]]
    for index, transition in enumerate(group.transitions):
        seconds = group.parts[index].tail / rate
        crossed = ffmpeg.filter(
            [tails[index], heads[index + 1]],
            "xfade",
            duration=f"{float(seconds):.6f}",
            offset=0,
            **xfade_options(transition),
        )
        # xfade may have chosen another format
        pieces += [crossed.filter("format", first.pixel_format), bodies[index + 1]]
    pieces = [piece for piece in pieces if piece is not None]
    joined = ffmpeg.filter(pieces, "concat", n=len(pieces), v=1, a=0) if len(pieces) > 1 else pieces[0]
    # counted: what concat makes of the length of a last picture does not matter
    return (
        joined.filter("settb", expr=f"{rate.denominator}/{rate.numerator}")
        .filter("setpts", "N")
        .filter("settb", expr=f"1/{TICKS}")
        .filter("setpts", f"PTS{round(group.start * TICKS):+d}")
    )


def _three(part: _Part, rate: Fraction, inputs: Sequence[_Stream], first: VideoFormat) -> tuple[_Stream, ...]:
    """The pictures of a source before, between and after its transitions; None where there are none."""
    steady = (
        _own_picture(part, inputs, first, 0)
        .filter("fps", fps=f"{rate.numerator}/{rate.denominator}", start_time=0, round="near")
        .filter("tpad", stop=-1, stop_mode="clone")
        .filter("trim", end_frame=part.frames)
    )
    marks = [0, part.head, part.frames - part.tail, part.frames]
    wanted = list(pairwise(marks))
    branches = steady.filter_multi_output("split", sum(begin < end for begin, end in wanted))
    pieces, used = list[_Stream](), 0
    for begin, end in wanted:
        if begin == end:
            pieces.append(None)
            continue
        cut = branches.stream(used).filter("trim", start_frame=begin, end_frame=end)
        pieces.append(cut.filter("setpts", "PTS-STARTPTS"))
        used += 1
    return tuple(pieces)


# Sound ------------------------------------------------------------------------------------------------------------


def _tracks(sources: Sequence[Source]) -> int:
    return min((len(source.sound) for source in sources if source.sound), default=0)


def _sound(groups: Sequence[_Group], inputs: Sequence[_Stream], track: int) -> _Stream:
    """One track of sound: of each range as many samples as lie between its start and its end in the result."""
    form = next(part.source.sound[track] for group in groups for part in group.parts if part.source.sound)
    made = [_group_sound(group, inputs, track, form) for group in groups]
    return ffmpeg.filter(made, "concat", n=len(made), v=0, a=1) if len(made) > 1 else made[0]


def _group_sound(group: _Group, inputs: Sequence[_Stream], track: int, form: Sound) -> _Stream:
    joined = _part_sound(group.parts[0], inputs, track, form)
    for before, after in pairwise(group.parts):
        shared = round(before.end * form.sample_rate) - round(after.start * form.sample_rate)
        sound = _part_sound(after, inputs, track, form)
        # of equal power: the two have nothing in common
        joined = ffmpeg.filter([joined, sound], "acrossfade", nb_samples=shared, curve1="qsin", curve2="qsin")
    return joined


def _part_sound(part: _Part, inputs: Sequence[_Stream], track: int, form: Sound) -> _Stream:
    source, rate = part.source, form.sample_rate
    samples = round(part.end * rate) - round(part.start * rate)
    layout = _LAYOUTS.get(form.channels, f"{form.channels}c")
    if source.sound:
        own = source.sound[track].sample_rate
        begin, end = round(Fraction(source.start * own, TICKS)), round(Fraction(source.end * own, TICKS))
        stream = (
            inputs[part.number][f"a:{track}"]
            .filter("asettb", expr=f"1/{own}")
            .filter("atrim", start_pts=begin, end_pts=end)
            .filter("asetpts", f"PTS{-begin:+d}")
            .filter("aresample", rate, first_pts=0, min_hard_comp=_SHORTEST_GAP, **{"async": 1})
            .filter("aformat", sample_fmts="fltp", channel_layouts=layout)
            .filter("apad", whole_len=samples)
        )
    else:
        # named, since two of the same would be one to ffmpeg-python, whose sound then waits for both
        silence = f"anullsrc@{part.number}x{track}=sample_rate={rate}:channel_layout={layout}"
        stream = ffmpeg.input(silence, format="lavfi").filter("aformat", sample_fmts="fltp")
    return stream.filter("atrim", end_sample=samples)


# Archive ----------------------------------------------------------------------------------------------------------


def archive_command(program: str, output: str, *, subtitles: Sequence[int] = ()) -> list[str]:
    """The command that puts one stretch, a stream of MPEG-TS fed by the runner, into a Matroska file as it is.

    All pictures and sound are copied; of the subtitles those whose number is given, since Matroska takes DVB's and no
    teletext; data is left out. Matroska's clock counts milliseconds.
    """
    source = ffmpeg.input(input_url(0), format="mpegts")
    kept = [source["v?"], source["a?"], *(source[f"s:{int(number)}"] for number in subtitles)]
    made = ffmpeg.output(*kept, _file(output), c="copy", f="matroska")
    arguments: list[str] = made.compile(cmd=program, overwrite_output=True)
    return arguments


def remux_command(program: str, path: str, container: Container, output: str) -> list[str]:
    """The command that puts a finished video of MPEG-TS into another container, picture and sound as they are."""
    source = ffmpeg.input(_file(path), format="mpegts")
    options = {**container_options(EncodingSettings(container=container)), "c": "copy"}
    arguments: list[str] = ffmpeg.output(source["v?"], source["a?"], _file(output), **options).compile(
        cmd=program, overwrite_output=True
    )
    return arguments


def _file(output: str) -> str:
    """The path as ffmpeg takes it for nothing but a path."""
    return output if output == "pipe:1" else f"file:{output}"
