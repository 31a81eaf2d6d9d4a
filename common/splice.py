"""The pieces of a cut as transport packets: whole segments retimed, those at the ends taken apart and trimmed.

All goes under the PIDs of the first piece, on one clock that begins at zero, with counters that run on.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from fractions import Fraction
from functools import cached_property
from itertools import chain

import numpy as np

from common.alignment import Aligner
from common.avc import SPS, AvcError, reordered
from common.blends import Blend, Part
from common.crossfades import Crossfade, plan_crossfade
from common.nal import HEVC_END_OF_SEQUENCE, Entry, Picture, begin_of_picture, read_picture, units, with_parameters
from common.pes import Pes, pcr_packet, read_pes, write_pes
from common.pieces import CannotSpliceError, Encode, Piece
from common.programme import Elementary, Programme, programme_packets
from common.scan import Stretch
from common.sound_track import SoundTrack
from common.ticks import TICKS, WRAP
from common.transport import (
    Headers,
    Packets,
    PesStarts,
    Rows,
    clear_discontinuities,
    distances,
    pcr_rows,
    pes_starts,
    read_headers,
    read_pcr,
    redirect,
    renumber,
    shift,
    write_pcr,
)

# So often a decoder that has just come is told what there is.
_TABLES_EVERY = TICKS // 2

# At least so often does the clock come (ISO/IEC 13818-1 §2.7.2: every 100 ms).
_CLOCK_EVERY = TICKS * 9 // 100

# There is no time before the beginning in which what is due there could arrive. So the clock hardly moves at first, by
# a tick in so many, until all arrives as early as it should.
_AT_FIRST = 500

# So much sound from before a range is hardly heard, where that before it ends early; a gap were.
_LONGEST_FILL = TICKS // 10

# Before all that has a time: the rest of what began before.
_FIRST = -(1 << 62)


@dataclass(frozen=True, slots=True)
class Unit:
    """A PES on its way into the video, on the video's clock; `time` is that by which units are put in order.

    `entry`: a decoder can begin with it.
    """

    time: int
    pid: int
    pes: Pes
    entry: bool = False


@dataclass(frozen=True, eq=False)
class Group:
    """Neighbouring segments of a stretch that are taken apart: their packets in a row.

    `rows` says where each segment begins.
    """

    stretch: Stretch
    numbers: range
    packets: Packets
    headers: Headers
    rows: tuple[int, ...]

    def streams(self, pid: int) -> list[Pes]:
        """Take a stream apart; its times are on the clock of the stretch."""
        return [self._on_clock(pes) for pes in read_pes(self.packets, self.headers, pid)]

    def _on_clock(self, pes: Pes) -> Pes:
        if pes.pts is None or pes.dts is None:
            return pes
        number = self.numbers.start + int(np.searchsorted(self.rows, pes.row, side="right")) - 1
        return replace(pes, pts=self.stretch.on_clock(pes.pts, number), dts=self.stretch.on_clock(pes.dts, number))

    def pictures(self) -> dict[int, Pes]:
        """Give the coded pictures by their index in the stretch."""
        return dict(enumerate(self._coded[1], self.stretch.bounds[self.numbers.start]))

    def carried(self) -> bytes:
        """Give the rest of a picture that began in an earlier segment."""
        return self._coded[0]

    @cached_property
    def _coded(self) -> tuple[bytes, list[Pes]]:
        video = self.stretch.programme.video
        rest, coded = b"", list[Pes]()
        for pes in self.streams(video.pid) if video else []:
            at = begin_of_picture(video.video, pes.payload) if video and pes.dts is not None else len(pes.payload)
            if coded and pes.dts == coded[-1].dts:  # a picture in more than one PES
                at = len(pes.payload)
            if coded:
                coded[-1] = replace(coded[-1], payload=coded[-1].payload + pes.payload[:at])
            else:
                rest += pes.payload[:at]
            if at < len(pes.payload):
                coded.append(replace(pes, payload=pes.payload[at:]))
        return rest, coded


def open_group(stretch: Stretch, numbers: range, contents: Sequence[Packets]) -> Group:
    """Put the packets of some segments of a stretch in a row, all under the PIDs of its first one."""
    alike = [
        _under(stretch.programme, stretch.scans[at].programme, content)
        for at, content in zip(numbers, contents, strict=True)
    ]
    packets = np.concatenate(alike)
    rows = tuple(np.cumsum([0, *map(len, alike)]).tolist())[:-1]
    return Group(stretch, numbers, packets, read_headers(packets), rows)


def _under(ours: Programme, theirs: Programme, packets: Packets) -> Packets:
    pids = _pids(ours, theirs)
    if all(old == new for old, new in pids.items()):
        return packets
    return redirect(packets, read_headers(packets), pids, 0)[0]


def read_pictures(group: Group) -> list[Picture]:
    """Tell of each picture of a group whether a decoder can begin with it."""
    video = group.stretch.programme.video
    return [read_picture(video.video, pes.payload) for pes in group.pictures().values()] if video else []


def decodable(group: Group, part: Encode) -> Packets:
    """Write the pictures that a decoder needs for a part, alone, as they are in the stretch but for their PIDs.

    Their times are those of the stretch less that at which the first is decoded.
    """
    video = group.stretch.programme.video
    if video is None:
        raise ValueError("There is no picture to decode.")
    counters: dict[int, int] = {}
    alone = Programme(1, 0x20, video.pid, (video,))
    pictures = group.pictures()
    first = pictures[part.opened]
    known = read_picture(video.video, first.payload)
    pictures[part.opened] = replace(first, payload=with_known_parameters(group, part.opened, known, first.payload))
    base = int(group.stretch.dts[part.opened])
    codes = [
        write_pes(video.pid, pictures[index].moved(-base), counters, pcr=int(group.stretch.dts[index]) - base)
        for index in range(part.opened, part.closed)
    ]
    return np.concatenate([programme_packets(alone), *codes])


def with_known_parameters(group: Group, index: int, known: Picture, payload: bytes) -> bytes:
    """Put the parameter sets that hold for a picture before it, unless it brings them along."""
    video = group.stretch.programme.video
    if known.parameters or video is None:
        return payload
    pictures = group.pictures()
    earlier = (pictures[at].payload for at in range(index - 1, group.stretch.bounds[group.numbers.start] - 1, -1))
    found = (read_picture(video.video, picture).parameters for picture in earlier)
    heads = (scan.head.parameters for scan in group.stretch.scans[group.numbers.start :: -1])
    return with_parameters(video.video, payload, next(filter(None, chain(found, heads)), b""))


@dataclass(slots=True)
class _Track:
    """A sound of the video: when what is written of it ends, and the shift of the piece at hand.

    `resume`: where, on the clock of a stretch, what is written of it ends; the frame there can go on without a join.
    """

    ends: int | None = None
    shift: int = 0
    resume: tuple[Stretch, int] | None = None


@dataclass(slots=True)
class Splicer:
    """Writes one video as transport packets, piece after piece: it knows what counters and sounds have come to.

    `programme`: what the first piece begins with. `lead`: by how many ticks all arrives before it is due, at most.
    """

    programme: Programme
    lead: int
    _counters: dict[int, int] = field(default_factory=dict)
    _tracks: dict[int, _Track] = field(default_factory=dict)
    _lag: int | None = None
    _tables_due: int = 0
    _clock: int | None = None
    _aligner: Aligner | None = None

    def __post_init__(self) -> None:
        kept = tuple(stream for stream in self.programme.streams if not stream.sections)
        self.programme = replace(self.programme, pcr_pid=_main(self.programme).pid, streams=kept)

    def tables(self) -> Packets:
        """Write what the video says of itself; it is due at every start of a segment."""
        packets = programme_packets(self.programme)
        renumber(packets, read_headers(packets), self._counters)
        return packets

    def begin(self) -> None:
        """Begin a piece."""
        self._lag = None

    # Whole segments -----------------------------------------------------------------------------------------------

    def whole(self, piece: Piece, number: int, packets: Packets) -> Packets:
        """Retime a segment that goes through as it is; `packets` are written to."""
        self._clock = None
        source = piece.stretch.scans[number].programme
        headers, pids = read_headers(packets), _pids(self.programme, source)
        for pid, new in pids.items():
            track = self._tracks.get(new)
            shift(packets, pes_starts(packets, headers, pid), piece.shift if track is None else track.shift)
        clear_discontinuities(packets)
        main = _main(source).pid
        starts = pes_starts(packets, headers, main)
        if source.pcr_pid == main:
            self._set_clock(packets, pcr_rows(packets, headers, main), starts, piece.stretch.step)
        tables = self.tables()
        kept, headers = redirect(packets, headers, pids, len(tables))
        renumber(kept[len(tables) :], headers, self._counters)
        kept[: len(tables)] = tables
        return kept if source.pcr_pid == main else self._with_clock(kept)

    def _set_clock(self, packets: Packets, rows: Rows, starts: PesStarts, step: int) -> None:
        """Let the clock of a segment, retimed already, lead as at the start of the piece, and never lag behind."""
        timed = starts.pts >= 0
        if not len(rows) or not timed.any():
            return
        following = np.searchsorted(starts.rows[timed], rows)
        due = np.append(starts.dts[timed], starts.dts[timed][-1] + step)[following]
        lags = (due - read_pcr(packets, rows)) % WRAP
        if self._lag is None:
            self._lag = int(lags[0])
        ahead = np.maximum(distances(np.int64(self._lag), lags) + self.lead, 0)
        write_pcr(packets, rows, np.maximum(due - ahead, due // _AT_FIRST))

    def _with_clock(self, packets: Packets) -> Packets:
        """Give packets a clock of their own, where it came in a stream of its own before: at each picture."""
        main = _main(self.programme).pid
        starts = pes_starts(packets, read_headers(packets), main)
        timed = starts.pts >= 0
        counters = packets[starts.rows[timed], 3] - 1 & 0x0F
        clock = np.concatenate([pcr_packet(main, 0, {})] * int(timed.sum()))
        clock[:, 3] |= counters
        due = starts.dts[timed]
        write_pcr(clock, np.arange(len(clock)), np.maximum(due - self.lead, due // _AT_FIRST))
        return np.insert(packets, starts.rows[timed], clock, axis=0)

    # Segments that are taken apart --------------------------------------------------------------------------------

    def apart(self, piece: Piece, group: Group) -> list[Unit]:
        """Give what is copied of a group at an end of a piece (or at both, if none goes through whole), in order."""
        first = not piece.whole or group.numbers.stop <= piece.whole.start
        last = not piece.whole or group.numbers.start >= piece.whole.stop
        roles, ours = _roles(piece.stretch.programme), _roles(self.programme)
        units = self._pictures(piece, group)
        for role, pid in roles.items():
            stream = piece.stretch.programme.stream(pid)
            if role not in ours or role == _VIDEO:
                continue
            if stream.audio:
                units += self._sound(piece, group, stream, ours[role], ends=(first, last))
            else:
                units += _others(piece, group.streams(pid), ours[role])
        return sorted(units, key=lambda unit: unit.time)

    def _pictures(self, piece: Piece, group: Group) -> list[Unit]:
        video = piece.stretch.programme.video
        if video is None:
            return []
        pictures = group.pictures()
        indices = [index for index in pictures if index in piece.copied and index not in piece.skipped]
        pid = _roles(self.programme)[_VIDEO]
        units = []
        if indices and indices[0] != piece.copied.start and (rest := group.carried()):
            units.append(Unit(_FIRST, pid, Pes(0, 0, None, None, rest)))
        for index in indices:
            pes = pictures[index].moved(piece.shift)
            known = read_picture(video.video, pes.payload)
            if index == piece.copied.start:
                pes = replace(pes, payload=self._beginning(piece, group, known, pes.payload))
            units.append(Unit(pes.dts or 0, pid, pes, known.entry is not Entry.NONE))
        return units

    def _beginning(self, piece: Piece, group: Group, known: Picture, payload: bytes) -> bytes:
        """Make a picture, with which copying begins, one that a decoder can begin with."""
        payload = with_known_parameters(group, piece.copied.start, known, payload)
        video = piece.stretch.programme.video
        if known.entry is Entry.OPEN and video is not None and video.video == "hevc":
            payload = HEVC_END_OF_SEQUENCE + payload
        return payload

    def encoded(self, piece: Piece, part: Encode, index: int, picture: bytes) -> Unit:
        """Take in a picture that was encoded again: that of a part that is shown at its `index`.

        Raises CannotSpliceError if it does not fit what is copied after it.
        """
        if part.alignment is not None:
            if index == 0 or self._aligner is None:
                self._aligner = Aligner(part.alignment)
            try:
                picture = self._aligner.picture(index, picture)
            except AvcError as error:
                raise CannotSpliceError(f"What is encoded does not fit what is copied. {error}") from error
        elif index == 0:
            picture = _ordered_like(piece.stretch, picture)
        pts, dts = int(part.pts[index]) + piece.shift, int(part.dts[index]) + piece.shift
        return Unit(dts, _roles(self.programme)[_VIDEO], Pes(0, _VIDEO_STREAM, pts, dts, picture), entry=index == 0)

    def _sound(
        self, piece: Piece, group: Group, stream: Elementary, pid: int, *, ends: tuple[bool, bool]
    ) -> list[Unit]:
        """Trim a sound to whole frames: at the start to go on from what is written, at the end to the nearest."""
        sound = SoundTrack.read(stream.audio, group.streams(stream.pid))
        track = self._tracks.setdefault(pid, _Track())
        begin, stop = 0, len(sound.data)
        if ends[0]:
            track.shift = piece.shift
            at = _first_due(piece.stretch, piece.start, piece.shift, track, sound)
            begin = sound.frames[at].start if at < len(sound.frames) else stop
            if track.ends is not None and at < len(sound.frames):
                off = track.ends - sound.times[at] - piece.shift
                track.shift += off if abs(off) <= sound.frames[at].duration else 0
        if ends[1]:
            at = sound.first_from(Fraction(piece.end + piece.shift - track.shift)) - 1
            at -= at >= 0 and sound.frames[at].end > stop  # the rest of it is not there
            stop = sound.frames[at].end if at >= 0 else 0
            if at >= 0 and stop > begin:
                over = round(sound.times[at] + sound.frames[at].duration)
                track.ends, track.resume = over + track.shift, (piece.stretch, over)
        units, time = [], _FIRST
        for pes in sound.between(begin, stop, track.shift):
            time = pes.pts if pes.pts is not None and pes.stream_id else time
            units.append(Unit(time, pid, pes))
        return units

    # Transitions --------------------------------------------------------------------------------------------------

    def crossfades(self, blend: Blend, before: Group, after: Group) -> list[tuple[int, Crossfade]]:
        """Plan all sounds of a transition, by PID, and see to it that those behind it go on from them.

        The groups hold the segments of its sides. Raises as `plan_crossfade` does.
        """
        roles, found = _roles(self.programme), list[tuple[int, Crossfade]]()
        theirs = {role: pid for role, pid in _roles(blend.after.stretch.programme).items() if role in roles}
        for stream in blend.stretch.programme.audio:
            role = next(role for role, pid in _roles(blend.stretch.programme).items() if pid == stream.pid)
            if role not in theirs:
                continue
            ending = SoundTrack.read(stream.audio, before.streams(stream.pid))
            beginning = SoundTrack.read(stream.audio, after.streams(theirs[role]))
            if not ending.frames and not beginning.frames:
                continue
            track = self._tracks.setdefault(roles[role], _Track())
            fade = _fade(blend, track, stream.audio, ending, beginning)
            track.ends, track.resume = fade.end, (blend.after.stretch, fade.resume)
            track.shift = fade.end - fade.resume
            found.append((roles[role], fade))
        return found

    def around(
        self, blend: Blend, before: Group, sounds: Iterable[tuple[int, Crossfade, Sequence[bytes]]]
    ) -> list[Unit]:
        """Give in order what a transition has besides pictures: these sounds, and the rest from the first range."""
        roles, ours = _roles(blend.stretch.programme), _roles(self.programme)
        others = {role: pid for role, pid in roles.items() if role.startswith(_OTHER) and role in ours}
        units = [unit for role, pid in others.items() for unit in _others(blend, before.streams(pid), ours[role])]
        for pid, fade, frames in sounds:
            for index, frame in enumerate(frames):
                time = fade.time(index)
                units.append(Unit(time, pid, Pes(0, fade.stream_id, time, time, frame)))
        return sorted(units, key=lambda unit: unit.time)

    def blended(self, blend: Blend, index: int, picture: bytes) -> Unit:
        """Take in a picture of a transition: that which is shown at its `index`."""
        picture = _ordered_like(blend.stretch, picture) if index == 0 else picture
        pts, dts = int(blend.pts[index]), int(blend.dts[index])
        return Unit(dts, _roles(self.programme)[_VIDEO], Pes(0, _VIDEO_STREAM, pts, dts, picture), entry=index == 0)

    def write(self, unit: Unit) -> Packets:
        """Write a unit, with the video's clock where that belongs."""
        if unit.pid != self.programme.pcr_pid or unit.pes.dts is None:
            return write_pes(unit.pid, unit.pes, self._counters, random_access=unit.entry)
        pcr = max(unit.pes.dts - self.lead, unit.pes.dts // _AT_FIRST)
        parts = list(self._clock_until(unit.pid, pcr))
        if unit.time >= self._tables_due:
            self._tables_due = unit.time + _TABLES_EVERY
            parts.append(self.tables())
        parts.append(write_pes(unit.pid, unit.pes, self._counters, pcr=pcr, random_access=unit.entry))
        return np.concatenate(parts)

    def _clock_until(self, pid: int, time: int) -> Iterator[Packets]:
        """Let the clock come often enough before it says a time, where the pictures that carry it come too seldom."""
        while self._clock is not None and self._clock + _CLOCK_EVERY < time:
            self._clock += _CLOCK_EVERY
            yield pcr_packet(pid, self._clock, self._counters)
        self._clock = time


def _ordered_like(stretch: Stretch, picture: bytes) -> bytes:
    """Let pictures that are encoded tell what their source does of the order in which pictures come.

    Who knows no times of decoding, as in Matroska, guesses them by the first that is told.
    """
    video = stretch.programme.video
    if video is None or video.video != "h264":
        return picture
    heads = filter(None, (scanned.head.parameters for scanned in stretch.scans))
    theirs = next((unit for unit in units(next(heads, b"")) if unit[0] & 31 == SPS), None)
    ours = next((unit for unit in units(picture) if unit[0] & 31 == SPS), None)
    if ours is None or theirs is None:
        return picture
    try:
        return picture.replace(ours, reordered(ours, theirs), 1)
    except AvcError:  # of fields, say; it is no more than a help
        return picture


def _first_due(stretch: Stretch, start: int, shift: int, track: _Track, sound: SoundTrack) -> int:
    """Find the frame with which the sound of a part is to begin: where that before it ends, and never before zero.

    Where that breaks off early, what is heard at the end of a hole fills the gap, but not what was cut away.
    """
    longest = sound.frames[0].duration if sound.frames else Fraction(0)
    if track.resume is not None and track.resume[0] is stretch and abs(track.resume[1] - start) <= 2 * longest:
        return sound.first_from(Fraction(track.resume[1]))
    due = Fraction(start + shift)
    if track.ends is None:
        due = max(due, longest / 2)
    elif track.ends > due - _LONGEST_FILL or start == stretch.first_pts(0):
        due = Fraction(track.ends)
    return sound.first_from(due - shift)


def _fade(blend: Blend, track: _Track, form: str, ending: SoundTrack, beginning: SoundTrack) -> Crossfade:
    """Plan a sound of a transition to go on from what is written of it."""
    first = _first_due(blend.stretch, blend.start, blend.shift, track, ending)
    begin = track.ends
    if first < len(ending.frames):
        own = ending.times[first] + blend.shift
        begin = own if begin is None or begin < own - ending.frames[first].duration else begin
    after, span = blend.after, (blend.start + blend.shift, blend.end + blend.shift)
    second = beginning.first_from(Fraction((begin or 0) - after.shift))
    return plan_crossfade(form, (ending, first), (beginning, second), begin or 0, span)


def _others(piece: Part, found: Iterable[Pes], pid: int) -> Iterator[Unit]:
    """Keep of a stream that is neither picture nor sound what belongs to the time of the piece."""
    for pes in found:
        if pes.pts is not None and piece.start <= pes.pts < piece.end:
            yield Unit(pes.pts + piece.shift, pid, pes.moved(piece.shift))


# Which stream is which ---------------------------------------------------------------------------------------------

_VIDEO = "video"
_VIDEO_STREAM = 0xE0
_OTHER = "other"


def _main(programme: Programme) -> Elementary:
    """Give the stream that carries the clock: the picture, or else the first sound."""
    return programme.video or programme.audio[0]


def _roles(programme: Programme) -> dict[str, int]:
    """Tell what each stream is to the video, by its PID: streams of several segments with one role are one."""
    found = {_VIDEO: programme.video.pid} if programme.video else {}
    found |= {f"sound {index} {stream.audio}": stream.pid for index, stream in enumerate(programme.audio)}
    kinds: Counter[int] = Counter()
    for stream in programme.other:
        found[f"{_OTHER} {stream.stream_type} {kinds[stream.stream_type]}"] = stream.pid
        kinds[stream.stream_type] += 1
    return found


def _pids(ours: Programme, theirs: Programme) -> dict[int, int]:
    """Tell which PID of ours each stream has the role of; those without one are left out."""
    roles = _roles(ours)
    return {pid: roles[role] for role, pid in _roles(theirs).items() if role in roles}
