"""What the packets of a segment tell for a cut, and which segments run on into each other on the media's own clock."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from common.nal import Entry, Picture, read_picture
from common.programme import Programme, read_programme
from common.segments import Segment
from common.ticks import TICKS, distance
from common.transport import (
    Headers,
    Packets,
    PesStarts,
    Times,
    TransportError,
    distances,
    pcr_rows,
    pes_starts,
    read_headers,
    read_pcr,
)

# Parameter sets and an encoder's remarks come before the picture itself; this many packets hold them.
_HEAD_PACKETS = 24

# The longest step between two pictures that is no break: what a still picture in a slide show of a stream may take.
_LONGEST_STEP = TICKS

# Live encoders round to milliseconds.
_ROUNDING = TICKS // 1000

# If a stretch has a single picture, it is shown as long as one of the slowest rate in common use.
_SLOWEST_STEP = TICKS // 24


@dataclass(frozen=True, slots=True, eq=False)
class Scan:
    """The times in one segment: `pts` and `dts` of its pictures in decode order, ticks that run on over a wrap.

    Without a picture they are those of the first sound's PES. `sounds` has the first and the last time of each sound
    stream, None where it is silent. `head` is the first picture, as far as it tells how to begin. `lag`: how long
    before its time the first of `dts` arrives, by the programme's clock; None if there is no clock. `breaks`: from when
    on pictures or sound are missing, of a segment that is not all there.
    """

    programme: Programme
    pts: Times
    dts: Times
    sounds: tuple[tuple[int, int] | None, ...]
    head: Picture
    lag: int | None
    breaks: int | None = None


def scan(packets: Packets, *, broken_off: bool = False) -> Scan:
    """Read what a cut must know of a segment. Raises TransportError if that cannot be read.

    Of one that is `broken_off` the last picture, which goes on where the segment does not, is left out.
    """
    headers = read_headers(packets)
    programme = read_programme(packets, headers)
    sounds = [pes_starts(packets, headers, sound.pid) for sound in programme.audio]
    video = programme.video
    main = pes_starts(packets, headers, video.pid) if video else next(iter(sounds), None)
    if main is None or not len(main.pts):
        raise TransportError("It holds neither picture nor sound.")
    begins = new_pictures(main.dts) if video else main.pts >= 0
    if not begins.any():
        raise TransportError("It holds nothing that has a time.")
    head = read_picture(video.video, _first_payload(packets, headers, main)) if video else Picture(Entry.CLOSED, b"")
    dts = _run_on(main.dts[begins])
    pts = dts + distances(main.dts[begins], main.pts[begins])
    lag = _lag(packets, headers, programme, int(dts[0]))
    if broken_off and len(pts) == 1:
        raise TransportError("It breaks off within its first picture.")
    breaks = min([int(pts[-1]), *_last_sounds(sounds, int(dts[0]))]) if broken_off else None
    whole = slice(None, -1 if broken_off else None)
    return Scan(programme, pts[whole], dts[whole], tuple(map(_span, sounds)), head, lag, breaks)


def _last_sounds(sounds: Iterable[PesStarts], near: int) -> Iterator[int]:
    """Give the time of the last PES of each sound, which may not be all there."""
    spans = (_span(sound) for sound in sounds)
    return (near + distance(near, span[1]) for span in spans if span is not None)


def _lag(packets: Packets, headers: Headers, programme: Programme, first: int) -> int | None:
    if programme.pcr_pid is None:
        return None
    rows = pcr_rows(packets, headers, programme.pcr_pid)[:1]
    return distance(int(read_pcr(packets, rows)[0]), first) if len(rows) else None


def new_pictures(dts: Times) -> NDArray[np.bool_]:
    """Tell with which PES a picture begins; one without a time, or with that before it, goes on with the same."""
    last = np.maximum.accumulate(np.where(dts >= 0, np.arange(len(dts)), -1))
    before = np.append(-1, last[:-1])
    begins: NDArray[np.bool_] = (dts >= 0) & ((before < 0) | (dts != dts[before]))
    return begins


def _first_payload(packets: Packets, headers: Headers, starts: PesStarts) -> bytes:
    row = starts.rows[0]
    rows = row + np.flatnonzero(headers.pid[row:] == headers.pid[row])[:_HEAD_PACKETS]
    until = starts.rows[1] if len(starts.rows) > 1 else len(packets)
    return b"".join(packets[at, headers.payload[at] :].tobytes() for at in rows.tolist() if at < until)


def _run_on(times: Times) -> Times:
    return np.concatenate([times[:1], times[0] + np.cumsum(distances(times[:-1], times[1:]))])


def _span(starts: PesStarts) -> tuple[int, int] | None:
    timed = starts.pts[starts.pts >= 0]
    return (int(timed[0]), int(timed[-1])) if len(timed) else None


@dataclass(frozen=True, slots=True, eq=False)
class Stretch:
    """Segments that run on into each other, and the times of all their pictures in decode order, on one clock.

    `bounds[i]` is the index of the first picture of segment `i`; one more at the end. `step` is the usual time from
    one picture to the next. `breaks`: from when on there is not all, if the last
    segment breaks off.
    """

    segments: tuple[Segment, ...]
    scans: tuple[Scan, ...]
    pts: Times
    dts: Times
    bounds: tuple[int, ...]
    step: int
    breaks: int | None = None

    @property
    def programme(self) -> Programme:
        """That of the first segment."""
        return self.scans[0].programme

    def segment_of(self, index: int) -> int:
        """Give the segment in which a picture begins."""
        return int(np.searchsorted(self.bounds, index, side="right")) - 1

    def first_pts(self, number: int) -> int:
        """Give the time of the picture of a segment that is shown first."""
        return int(self.pts[self.bounds[number] : self.bounds[number + 1]].min())

    def at(self, moment: datetime) -> int:
        """Give the media's time for a moment: counted from the start of the segment in which it lies."""
        number = max(0, sum(segment.start <= moment for segment in self.segments) - 1)
        return self.first_pts(number) + (moment - self.segments[number].start) * TICKS // timedelta(seconds=1)

    def on_clock(self, time: int, number: int) -> int:
        """Put a time of 33 bits that occurs in a segment on the clock of the stretch."""
        near = int(self.dts[self.bounds[number]])
        return near + distance(near, time)


def stretches(scanned: Iterable[tuple[Segment, Scan]]) -> Iterator[Stretch]:
    """Put together what runs on: the clock without a jump, the programme alike. Nothing joins what broke off."""
    run: list[tuple[Segment, Scan]] = []
    for segment, found in scanned:
        if run and not _runs_on(run[-1][1], found):
            yield _stretch(run)
            run = []
        run.append((segment, found))
    if run:
        yield _stretch(run)


def _runs_on(before: Scan, after: Scan) -> bool:
    if before.breaks is not None or kinds(before.programme) != kinds(after.programme):
        return False
    gap = distance(int(before.dts[-1]), int(after.dts[0]))
    longest = max(_steps(before.dts).max(initial=0), _steps(after.dts).max(initial=0))
    return 0 < gap <= min(int(longest) * 2 or _LONGEST_STEP, _LONGEST_STEP) + _ROUNDING


def kinds(programme: Programme) -> tuple[list[str], list[str]]:
    """Tell what is to be seen and to be heard, and in which forms."""
    video = programme.video
    return [video.video] if video else [], [sound.audio for sound in programme.audio]


def _steps(times: Times) -> Times:
    return np.diff(times)


def _stretch(run: Sequence[tuple[Segment, Scan]]) -> Stretch:
    scans = tuple(found for _, found in run)
    pts, dts = [scans[0].pts], [scans[0].dts]
    for found in scans[1:]:
        last = int(dts[-1][-1])
        moved = last + distance(last, int(found.dts[0])) - int(found.dts[0])
        pts.append(found.pts + moved)
        dts.append(found.dts + moved)
    bounds = tuple(np.cumsum([0, *map(len, pts)]).tolist())
    all_pts = np.concatenate(pts)
    steps = np.diff(np.sort(all_pts))
    step = int(np.median(steps)) if len(steps) else _SLOWEST_STEP
    ends = scans[-1]
    breaks = None if ends.breaks is None else ends.breaks + int(pts[-1][0] - ends.pts[0])
    segments = tuple(segment for segment, _ in run)
    return Stretch(segments, scans, all_pts, np.concatenate(dts), bounds, step, breaks)
