"""Cuts of samples in the making: what MPEG-TS does not carry goes, by the sample, into MP4 and Matroska.

Pictures before the first key frame of a piece are encoded again; all else is copied. A tail is never encoded, since
samples stand in the order in which they are shown.
"""

import os
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from fractions import Fraction
from functools import partial
from pathlib import Path

import numpy as np

from common.av1 import ivf_frames, with_sequence_header
from common.cuts import SplicePlan
from common.encode_slots import encode_slot
from common.encoding import AV1_ENCODERS, Container, EncodingError, av1_encoder, input_url, like_source
from common.encodings import PATIENCE_SECONDS, once
from common.ffmpeg import find_ffmpeg, stream
from common.formats import read_formats
from common.pieces import CannotSpliceError, Encode, Piece
from common.ranges import UnreadableSegmentError
from common.reading import Reading
from common.sample_files import Layout, Sample, SampleWriter, nearest, opened, samples, tracks
from common.samples import Retimer
from common.scan import Stretch
from common.transport import TransportError
from common.waits import in_thread

_LAYOUTS = {Container.MP4: Layout.MP4, Container.MATROSKA: Layout.MATROSKA, Container.WEBM: Layout.WEBM}
_HELD_BY_WEBM = {"av1", "vp8", "vp9", "opus", "vorbis"}

_MOST_THREADS = 4

# Of each ffmpeg that was asked, the encoders that it has.
_known: dict[str, frozenset[str]] = {}


def layout_of(container: Container, planned: SplicePlan) -> Layout:
    """Tell how a file of such a container is written. Raises CannotSpliceError for one that cannot hold the samples."""
    streams = planned.pieces[0].stretch.programme.streams
    codecs = [stream.video or stream.audio for stream in streams]
    if container not in _LAYOUTS or (container is Container.WEBM and not _HELD_BY_WEBM.issuperset(codecs)):
        raise CannotSpliceError(f"A file of {container} cannot hold {' and '.join(codecs)}; MP4 and Matroska can.")
    return _LAYOUTS[container]


async def splice_samples(
    reading: Reading,
    planned: SplicePlan,
    layout: Layout,
    output: Path | None = None,
    progress: Callable[[float], None] | None = None,
) -> AsyncGenerator[bytes, None]:
    """Make the video of a plan that was checked, in parts as they become ready.

    With an `output` it is there when all is done, and there are no parts. Raises FfmpegError, UnreadableSegmentError
    or OSError, and CannotSpliceError if pictures turn out to be damaged or cannot be encoded.
    """
    await _check_encoder(planned)
    video, placing = _Video(reading, layout, output), _Placing()
    pieces = [piece for piece in planned.pieces if isinstance(piece, Piece)]
    done, whole = 0, sum(piece.last - piece.first for piece in pieces)
    try:
        for piece in pieces:
            placing.begin(piece, await _head(reading, piece))
            for number in range(piece.first, piece.last):
                if part := await in_thread(video.segment, piece.stretch, number, placing.put):
                    yield part
                done += 1
                if progress is not None:
                    progress(done / whole)
        if part := await in_thread(video.finish):
            yield part
    finally:
        await in_thread(video.close)


async def copied(
    reading: Reading, piece: Piece, layout: Layout, output: Path | None = None, *, on_ticks: bool = False
) -> AsyncGenerator[bytes, None]:
    """Give all segments of a piece as one video, as they are but for their times, which its `shift` moves.

    All is as for `splice_samples`; `on_ticks` as for a SampleWriter.
    """
    video = _Video(reading, layout, output, on_ticks=on_ticks)
    try:
        for number in piece.whole:
            yield await in_thread(video.segment, piece.stretch, number, partial(_move, piece.shift))
        yield await in_thread(video.finish)
    finally:
        await in_thread(video.close)


# Puts a sample into a file; of a picture it is told the index in the stretch.
_Put = Callable[[SampleWriter, int | None, Sample], None]


def _move(shift: int, writer: SampleWriter, _: int | None, sample: Sample) -> None:
    """Write a sample at its time, to the tick."""
    writer.add(sample, Fraction(nearest(sample.pts) + shift), Fraction(nearest(sample.dts) + shift))


class _Video:
    """A file on its way, whose tracks are like those of the first segment."""

    def __init__(self, reading: Reading, layout: Layout, output: Path | None, *, on_ticks: bool = False) -> None:
        self._reading, self._layout, self._output, self._on_ticks = reading, layout, output, on_ticks
        self._writer: SampleWriter | None = None

    def segment(self, stretch: Stretch, number: int, put: _Put) -> bytes:
        """Put all samples of a segment, and give what is ready to be sent."""
        segment = stretch.segments[number]
        try:
            with opened(self._reading.path(segment).read_bytes()) as container:
                writer = self._writer = self._writer or SampleWriter(
                    self._layout, tracks(container), self._output, on_ticks=self._on_ticks
                )
                for index, sample in _numbered(stretch, number, samples(container)):
                    put(writer, index, sample)
        except TransportError as error:
            raise UnreadableSegmentError(segment, str(error)) from error
        return writer.take()

    def finish(self) -> bytes:
        """Write the end, and give what is left."""
        self.close()
        return b"" if self._writer is None else self._writer.take()

    def close(self) -> None:
        """Let go of the file; a second time nothing happens."""
        if self._writer is not None:
            self._writer.close()


class _Placing:
    """Where the samples of a cut go: it knows which piece is at hand, and what the tracks have come to."""

    def __init__(self) -> None:
        self._retimer = Retimer()
        self._piece: Piece | None = None
        self._head: list[bytes] = []
        self._first = 0

    def begin(self, piece: Piece, head: list[bytes]) -> None:
        """Begin a piece, of which these first pictures were encoded again."""
        self._piece, self._head = piece, head
        self._first = int(np.searchsorted(piece.stretch.pts, piece.head.pts[0])) if piece.head else 0
        self._retimer.begin()

    def put(self, writer: SampleWriter, index: int | None, sample: Sample) -> None:
        """Write a sample, if the piece has it."""
        piece = self._piece
        if piece is None:
            raise AssertionError("no piece has begun")
        if index is None:
            time = self._retimer.sound(piece, sample.track, sample.pts, sample.duration)
            if time is not None:
                writer.add(sample, time, time)
            return
        content: bytes | None = None
        if 0 <= index - self._first < len(self._head):
            content = self._head[index - self._first]
        elif index not in piece.copied:
            return
        elif index == piece.copied.start:
            content = _beginning(piece, sample)
        time = self._retimer.picture(piece, sample.pts, sample.duration or Fraction(piece.stretch.step))
        writer.add(sample, time, time, content)


def _beginning(piece: Piece, sample: Sample) -> bytes | None:
    """Give the first picture that is copied with what a decoder must know of it; None if it brings that along."""
    video = piece.stretch.programme.video
    own = bytes(sample.packet)
    content = with_sequence_header(own, video.descriptors if video else b"")
    return None if content == own else content


def _numbered(stretch: Stretch, number: int, found: Iterator[Sample]) -> Iterator[tuple[int | None, Sample]]:
    """Give each sample of a segment, and of pictures their index in the stretch; those beyond its end are left out."""
    index, stop = stretch.bounds[number], stretch.bounds[number + 1]
    for sample in found:
        if sample.track > 0 or stretch.programme.video is None:
            yield None, sample
        elif index < stop:
            yield index, sample
            index += 1


# Pictures that are encoded again --------------------------------------------------------------------------------------


async def _head(reading: Reading, piece: Piece) -> list[bytes]:
    """Encode the first pictures of a piece again, and give them in order."""
    part = piece.head
    if part is None:
        return []
    available = await _encoders(find_ffmpeg())
    command, content = await in_thread(_prepare, reading, piece.stretch, part, available)
    made = bytearray()
    chunks = stream(command, inputs=[once(content)], timeout=PATIENCE_SECONDS, purpose="splice")
    async with encode_slot("splice"), aclosing(chunks):
        async for chunk in chunks:
            made += chunk
    pictures = ivf_frames(bytes(made))
    if len(pictures) != len(part.pts):
        raise CannotSpliceError("Near an end there are pictures that cannot be decoded.")
    return pictures


async def _check_encoder(planned: SplicePlan) -> None:
    """See that what must be encoded can be. Raises CannotSpliceError, and FfmpegError."""
    needed = any(isinstance(piece, Piece) and piece.head for piece in planned.pieces)
    if needed and not (await _encoders(find_ffmpeg())).intersection(AV1_ENCODERS):
        raise CannotSpliceError("The ffmpeg at hand cannot encode AV1.")


async def _encoders(program: str) -> frozenset[str]:
    """Give the names of all encoders of an ffmpeg."""
    if program not in _known:
        listed = b""
        async with aclosing(stream([program, "-encoders"], timeout=PATIENCE_SECONDS, purpose="encoders")) as chunks:
            async for chunk in chunks:
                listed += chunk
        lines = [line.split() for line in listed.decode(errors="replace").splitlines()]
        _known[program] = frozenset(line[1] for line in lines if len(line) > 1)
    return _known[program]


def _prepare(reading: Reading, stretch: Stretch, part: Encode, available: frozenset[str]) -> tuple[list[str], bytes]:
    """Give the command that encodes a part again, and what it is fed: the pictures that a decoder needs for it."""
    content = _decodable(reading, stretch, part)
    picture = read_formats(content, None, "mp4").picture
    if picture is None:
        raise EncodingError("There is no picture that can be decoded.")
    encoder = av1_encoder(picture, available)
    if encoder is None:
        raise CannotSpliceError(f"The ffmpeg at hand cannot encode AV1 in {picture.pixel_format}.")
    base = int(stretch.pts[part.opened])
    first, last = int(part.pts[0]) - base, int(part.pts[-1]) - base
    threads = min(_MOST_THREADS, len(os.sched_getaffinity(0)))
    command = [
        *(find_ffmpeg(), "-copyts", "-f", "mp4", "-i", input_url(0), "-map", "0:v:0"),
        *("-vf", f"select=between(pts\\,{first}\\,{last})", *like_source(picture, threads=threads, encoder=encoder)),
        *("-f", "ivf", "pipe:1"),
    ]
    return command, content


def _decodable(reading: Reading, stretch: Stretch, part: Encode) -> bytes:
    """Write the pictures that a decoder needs for a part, alone; their times are ticks from the first one on."""
    base = int(stretch.pts[part.opened])
    writer: SampleWriter | None = None
    for number in range(stretch.segment_of(part.opened), stretch.segment_of(part.closed - 1) + 1):
        with opened(reading.path(stretch.segments[number]).read_bytes()) as container:
            writer = writer or SampleWriter(Layout.FRAGMENTS, tracks(container)[:1], on_ticks=True)
            for index, sample in _numbered(stretch, number, samples(container)):
                if index is not None and part.opened <= index < part.closed:
                    time = Fraction(int(stretch.pts[index]) - base)
                    writer.add(sample, time, time)
    if writer is None:
        raise AssertionError("no picture is needed")
    writer.close()
    return writer.take()
