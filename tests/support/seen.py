"""What a finished file holds, read with PyAV and with nothing of ours: pictures, sounds, times."""

import hashlib
import io
from dataclasses import dataclass, field
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.plane import VideoPlane
from numpy.typing import NDArray

from marked import HEIGHT, TICKS, WIDTH, click, read_number

Samples = NDArray[np.float32]

# Times of Matroska are whole milliseconds; those of all else are exact to a tick.
_MILLISECOND = TICKS // 1000

# Two clicks are a second apart; of what answers to the filter around one, the strongest is it.
_CLICK_APART = 0.4
_CLICK_HEARD = 0.4


@dataclass(frozen=True, slots=True)
class Stamp:
    """The times of a packet in ticks, and a short hash of its payload (of AAC without the header of ADTS)."""

    dts: int
    pts: int
    duration: int
    size: int
    hash: str
    key: bool


@dataclass(frozen=True, slots=True)
class Picture:
    """A decoded picture in the order shown: `number` None if it holds none, `hash` of its planes.

    `planes`: of a picture of the kit's size, all samples in a row.
    """

    number: int | None
    pts: int
    hash: str
    key: bool
    planes: NDArray[np.uint8] | None


@dataclass(frozen=True, slots=True)
class Sound:
    """A decoded track: `frame` is the length of a coded frame in ticks; `clicks` in seconds on the file's clock.

    `begin`, `end`: of what was decoded, in ticks; `gaps`: where decoded frames do not follow each other.
    """

    stamps: tuple[Stamp, ...]
    rate: int
    frame: Fraction
    begin: Fraction
    end: Fraction
    clicks: tuple[float, ...]
    gaps: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A file as PyAV shows it; `rounding` is how far its times may be off, in ticks. `errors`: of the decoders."""

    format: str
    pixel_format: str
    stamps: tuple[Stamp, ...]
    pictures: tuple[Picture, ...]
    sounds: tuple[Sound, ...]
    errors: tuple[str, ...]
    rounding: int

    @property
    def numbers(self) -> list[int]:
        """The numbers of all pictures, in the order shown; -1 for one that cannot be read."""
        return [-1 if picture.number is None else picture.number for picture in self.pictures]

    @property
    def picture_length(self) -> int:
        """From the first picture to the end of the last, in ticks: the last is as long as the one before it."""
        times = [picture.pts for picture in self.pictures]
        return 0 if len(times) < 2 else times[-1] - times[0] + times[-1] - times[-2]


@dataclass(slots=True)
class _Track:
    stamps: list[Stamp] = field(default_factory=list)
    starts: list[Fraction] = field(default_factory=list)
    samples: list[Samples] = field(default_factory=list)
    rate: int = 0


def read(what: Path | bytes) -> Seen:
    """Read a file whole: every packet, every picture, all sound."""
    with av.open(io.BytesIO(what) if isinstance(what, bytes) else str(what), "r") as container:
        tracks = {stream.index: _Track() for stream in (*container.streams.video[:1], *container.streams.audio)}
        pictures: list[Picture] = []
        errors: list[str] = []
        pixel_format = ""
        for packet in container.demux([container.streams[index] for index in tracks]):
            track = tracks[packet.stream.index]
            if packet.size:
                track.stamps.append(_stamp(packet))
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                errors.append(f"{packet.stream.type} at {packet.pts}: {error}")
                continue
            for frame in frames:
                if isinstance(frame, av.VideoFrame):
                    pictures.append(_picture(frame))
                    pixel_format = frame.format.name
                elif isinstance(frame, av.AudioFrame):
                    _hear(track, frame)
        name = container.format.name
        sounds = tuple(_sound(tracks[stream.index]) for stream in container.streams.audio)
        stamps = tuple(tracks[stream.index].stamps for stream in container.streams.video[:1])
    rounding = _MILLISECOND if "matroska" in name else 1
    first = tuple(stamps[0]) if stamps else ()
    return Seen(name, pixel_format, first, tuple(pictures), sounds, tuple(errors), rounding)


@cache
def read_once(path: Path) -> Seen:
    """Read a file that does not change, a source's reference say, and remember it."""
    return read(path)


def _ticks(value: int | None, base: Fraction | None) -> Fraction:
    assert value is not None, "A packet or frame has no time."
    assert base is not None, "A stream has no time base."
    return Fraction(value * base.numerator * TICKS, base.denominator)


def _nearest(value: int | None, base: Fraction | None) -> int:
    """Give a time to the nearest tick; most bases are whole ticks."""
    assert value is not None, "A packet or frame has no time."
    assert base is not None, "A stream has no time base."
    ticks, rest = divmod(value * base.numerator * TICKS, base.denominator)
    return round(_ticks(value, base)) if rest else ticks


def _stamp(packet: "av.Packet[Any]") -> Stamp:
    content, base = bytes(packet), packet.time_base
    pts = _nearest(packet.pts, base)
    dts = pts if packet.dts is None else _nearest(packet.dts, base)
    duration = _nearest(packet.duration or 0, base)
    return Stamp(dts, pts, duration, len(content), _hash(_without_adts(content)), packet.is_keyframe)


def _without_adts(content: bytes) -> bytes:
    if len(content) > 7 and content[0] == 0xFF and content[1] & 0xF6 == 0xF0:
        return content[7:] if content[1] & 1 else content[9:]
    return content


def _hash(content: bytes | memoryview) -> str:
    return hashlib.sha256(content).hexdigest()[:20]  # processors help with it


def _picture(frame: av.VideoFrame) -> Picture:
    deep = frame.format.components[0].bits > 8
    planes = np.concatenate([_samples(plane, 2 if deep else 1) for plane in frame.planes])
    ours = (frame.width, frame.height) == (WIDTH, HEIGHT) and not deep
    number = read_number(planes[: WIDTH * HEIGHT].reshape(HEIGHT, WIDTH)) if ours else None
    pts = _nearest(frame.pts, frame.time_base)
    return Picture(number, pts, _hash(planes.data), bool(frame.key_frame), planes if ours else None)


def _samples(plane: VideoPlane, depth: int) -> NDArray[np.uint8]:
    """Give a plane without what pads its lines."""
    rows = np.frombuffer(bytes(plane), np.uint8).reshape(plane.height, plane.line_size)
    return np.ascontiguousarray(rows[:, : plane.width * depth]).ravel()


def _hear(track: _Track, frame: av.AudioFrame) -> None:
    track.rate = frame.sample_rate
    track.starts.append(_ticks(frame.pts, frame.time_base))
    values = np.asarray(frame.to_ndarray(), np.float32)
    if values.shape[0] == 1 and len(frame.layout.channels) > 1:  # interleaved
        values = values.reshape(-1, len(frame.layout.channels)).T
    track.samples.append(values[0] if frame.format.name.startswith(("flt", "dbl")) else values[0] / 32768)


def _sound(track: _Track) -> Sound:
    if not track.samples:
        return Sound(tuple(track.stamps), 0, Fraction(0), Fraction(0), Fraction(0), (), ())
    lengths = [Fraction(len(samples) * TICKS, track.rate) for samples in track.samples]
    ends = [start + length for start, length in zip(track.starts, lengths, strict=True)]
    gaps = tuple(
        f"after {float(end) / TICKS:.4f} s sound goes on {float(start - end) / 90:+.2f} ms later"
        for end, start in zip(ends, track.starts[1:], strict=False)
        if abs(start - end) > 1 + _MILLISECOND
    )
    stamps = tuple(track.stamps)
    return Sound(stamps, track.rate, max(lengths), track.starts[0], ends[-1], tuple(_clicks(track)), gaps)


def _clicks(track: _Track) -> list[float]:
    """Find the clicks: where the sound is like the one that was put in."""
    wanted = click(track.rate).astype(np.float32)
    heard = np.concatenate(track.samples)
    if len(heard) < len(wanted):
        return []
    likeness = np.correlate(heard, wanted, "valid") / float(wanted @ wanted)
    strong = np.flatnonzero(likeness > _CLICK_HEARD)
    bounds = np.cumsum([0, *map(len, track.samples)])
    found: list[float] = []
    while len(strong):
        group = strong[strong < strong[0] + _CLICK_APART * track.rate]
        place = int(group[np.argmax(likeness[group])])
        frame = int(np.searchsorted(bounds, place, side="right")) - 1
        found.append(float(track.starts[frame] / TICKS) + (place - int(bounds[frame])) / track.rate)
        strong = strong[len(group) :]
    return found
