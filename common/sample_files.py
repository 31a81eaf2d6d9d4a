"""Files of samples, with PyAV: segments of MP4 are read, MP4 and Matroska are written. All of it blocks."""

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

import av
import numpy as np
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream

from common.av1 import read_unit
from common.nal import Entry, Picture
from common.samples import SPLICED, sample_programme
from common.scan import Scan
from common.ticks import TICKS
from common.transport import TransportError

_BOX_HEADER = 8


@dataclass(frozen=True, slots=True)
class Sample:
    """A sample of a segment: the number of its track, its times in ticks, and what it holds."""

    track: int
    pts: Fraction
    dts: Fraction
    duration: Fraction
    key: bool
    packet: "Packet[Stream]"


def is_cut_short(path: Path) -> bool:
    """Tell whether a file of MP4 ends within a box. Raises OSError."""
    with path.open("rb") as file:
        end = file.seek(0, io.SEEK_END)
        return max((stop for _, stop in _boxes(file, end)), default=0) != end


def init_of(path: Path) -> bytes:
    """Read the init section of a segment: all up to the end of `moov`; empty if there is none. Raises OSError."""
    with path.open("rb") as file:
        length = next((stop for kind, stop in _boxes(file, file.seek(0, io.SEEK_END)) if kind == b"moov"), 0)
        file.seek(0)
        return file.read(length)


def _boxes(file: BinaryIO, end: int) -> Iterator[tuple[bytes, int]]:
    """Give the boxes of a file and where each should end (ISO/IEC 14496-12 §4.2), up to one that makes no sense."""
    at = 0
    while at < end:
        file.seek(at)
        head = file.read(2 * _BOX_HEADER)
        length = int.from_bytes(head[:4])
        if length == 0:  # up to the end
            length = end - at
        if length == 1:
            length = int.from_bytes(head[8:16])
        if length < _BOX_HEADER:
            return
        at += length
        yield head[4:8], at


@contextmanager
def opened(content: bytes) -> Iterator[InputContainer]:
    """Open a segment. Raises TransportError if it, or what is done with it, fails as no MP4 does."""
    try:
        with av.open(io.BytesIO(content), "r", format="mp4", metadata_errors="replace") as container:
            yield container
    except (av.FFmpegError, ArithmeticError, LookupError) as error:
        raise TransportError(f"It cannot be read as MP4: {getattr(error, 'strerror', None) or error}.") from error


def tracks(container: InputContainer) -> list[Stream]:
    """Give what is cut: the first picture, and all sounds."""
    return [*container.streams.video[:1], *container.streams.audio]


def samples(container: InputContainer) -> Iterator[Sample]:
    """Give all samples that are whole, in the order of the file. Raises TransportError for one without a time."""
    wanted = tracks(container)
    numbers = {stream.index: number for number, stream in enumerate(wanted)}
    clocks = [_ticks_of(stream) for stream in wanted]
    packet: Packet[Stream]
    for packet in container.demux(wanted):
        if not packet.size or packet.is_corrupt:
            continue
        number = numbers[packet.stream_index]
        if packet.pts is None or packet.dts is None:
            raise TransportError("It holds a sample without a time.")
        clock = clocks[number]
        times = packet.pts * clock, packet.dts * clock, (packet.duration or 0) * clock
        yield Sample(number, *times, packet.is_keyframe, packet)


def _ticks_of(stream: Stream) -> Fraction:
    if stream.time_base is None:
        raise TransportError("A track has no clock.")
    return stream.time_base * TICKS


def scan_samples(content: bytes, *, broken_off: bool = False) -> Scan:
    """Read what a cut must know of a segment; as `common.scan.scan`. Raises TransportError."""
    with opened(content) as container:
        found = tracks(container)
        programme = sample_programme([
            (stream.type, stream.codec_context.codec.canonical_name, stream.codec_context.extradata or b"")
            for stream in found
        ])  # fmt: skip
        times: list[list[tuple[int, int]]] = [[] for _ in found]
        head = Picture(Entry.NONE, b"")
        for sample in samples(container):
            if not times[sample.track] and sample.track == 0 and programme.video is not None:
                head = _picture(programme.video.video, sample)
            times[sample.track].append((nearest(sample.pts), nearest(sample.dts)))
    main = times[0] if times else []
    if not main:
        raise TransportError("It holds neither picture nor sound.")
    pts, dts = np.array(main, np.int64).T
    if broken_off and len(pts) == 1:
        raise TransportError("It breaks off within its first picture.")
    sounds = times[1:] if programme.video else times
    spans = tuple((sound[0][0], sound[-1][0]) if sound else None for sound in sounds)
    # fragments hold one track after the other: of what is cut short there may be pictures, and no sound at all
    breaks = min([int(pts[-1]), *(span[1] if span else int(pts[0]) for span in spans)]) if broken_off else None
    if bool((np.diff(pts) > 0).all()):
        dts = pts  # in the order shown, so that nothing must wait
    whole = slice(None, -1 if broken_off else None)
    return Scan(programme, pts[whole], dts[whole], spans, head, None, breaks)


def nearest(time: Fraction) -> int:
    """Give the nearest whole number; of two, the greater one."""
    return (2 * time.numerator + time.denominator) // (2 * time.denominator)


def sample_pictures(content: bytes) -> list[Picture]:
    """Tell of each picture of a segment whether a decoder can begin with it. Raises TransportError."""
    with opened(content) as container:
        codec = tracks(container)[0].codec_context.codec.canonical_name
        return [_picture(codec, sample) for sample in samples(container) if sample.track == 0]


def _picture(codec: str, sample: Sample) -> Picture:
    if codec != SPLICED:
        return Picture(Entry.CLOSED if sample.key else Entry.NONE, b"")
    return read_unit(bytes(sample.packet)) if sample.key else Picture(Entry.NONE, b"")


# Writing --------------------------------------------------------------------------------------------------------------


class Layout(Enum):
    """How samples lie in a file; MP4 whole, or in fragments that can be sent while they are written."""

    MP4 = "mp4"
    FRAGMENTS = "fragments"
    MATROSKA = "matroska"
    WEBM = "webm"


_KEPT_TIMES = {"avoid_negative_ts": "disabled"}
_OPTIONS = {
    Layout.MP4: {"movflags": "faststart", **_KEPT_TIMES},
    # a fragment at each key frame, and at least one in a second
    Layout.FRAGMENTS: {
        "movflags": "empty_moov+default_base_moof+frag_keyframe+frag_discont",
        "frag_duration": "1000000",
        **_KEPT_TIMES,
    },
    # without times below zero
    Layout.MATROSKA: {},
    Layout.WEBM: {},
}


@dataclass(slots=True)
class _Sink:
    """What is written and has not been taken yet."""

    pending: bytearray = field(default_factory=bytearray)

    def write(self, data: bytes) -> int:
        self.pending += data
        return len(data)


class SampleWriter:
    """Writes samples into a file or, without one, into what `take` gives. Must be closed; that writes its end.

    Its tracks are like those `of` a segment that is open. `on_ticks`: pictures have times of whole ticks, and not of
    the source's own clock.
    """

    def __init__(
        self, layout: Layout, of: Sequence[Stream], output: Path | None = None, *, on_ticks: bool = False
    ) -> None:
        """Raises OSError if the file cannot be made."""
        self._sink = _Sink()
        form = "mp4" if layout is Layout.FRAGMENTS else layout.value
        self._closed = False
        target = self._sink if output is None else f"file:{output}"
        with _as_os_error():
            self._container = av.open(target, "w", format=form, options=_OPTIONS[layout])
        self._tracks = [self._container.add_stream_from_template(stream, opaque=True) for stream in of]
        for made, stream in zip(self._tracks, of, strict=True):
            made.time_base = Fraction(1, TICKS) if on_ticks and stream.type == "video" else stream.time_base
            made.metadata.update(stream.metadata)
        self._bases = [track.time_base or Fraction(1, TICKS) for track in self._tracks]

    def add(self, sample: Sample, pts: Fraction, dts: Fraction, content: bytes | None = None) -> None:
        """Write a sample at a time in ticks; with `content`, another in its place. Raises OSError."""
        base = self._bases[sample.track] * TICKS
        packet = sample.packet if content is None else Packet(content)
        packet.stream = self._tracks[sample.track]
        packet.time_base = base / TICKS
        packet.pts, packet.dts = nearest(pts / base), nearest(dts / base)
        packet.duration = nearest(sample.duration / base)
        if content is not None:
            packet.is_keyframe = read_unit(content).entry is Entry.CLOSED
        with _as_os_error():
            self._container.mux_one(packet)

    def take(self) -> bytes:
        """Give what has been written since it was last asked for."""
        taken = bytes(self._sink.pending)
        self._sink.pending.clear()
        return taken

    def close(self) -> None:
        """Write the end; a second time nothing happens. Raises OSError."""
        if not self._closed:
            self._closed = True
            with _as_os_error():
                self._container.close()


@contextmanager
def _as_os_error() -> Iterator[None]:
    """Let what fails in writing be what it is: a disk that is full, say."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror) from error
