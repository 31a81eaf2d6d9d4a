"""Recordings of which every picture and every second of sound is known: a store, and what must be found in it."""

import hashlib
import io
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av

from common.dateutil import hour_name
from common.segments import Segment, SegmentType, Suffix, content_hash, make_segment
from common.store import Store
from marked import TICKS, SourceKind, encode
from rewritten import rewrite
from ts_bytes import WRAP, renumbered

# A few seconds before an hour's end, so that every source lies in two folders.
BEGIN = datetime(2026, 3, 1, 18, 59, 55, 123_456, tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Frame:
    """One picture: `pts` in ticks that run on over a wrap, `at` to the nearest microsecond.

    `segment` is the index of that in which it lies; `key`: whether its packet is marked as a key frame.
    """

    number: int
    at: datetime
    pts: int
    segment: int
    key: bool


@dataclass(frozen=True, slots=True)
class Source:
    """A recording in a store of its own. `frames` are in the order in which they are shown.

    `reference` is all of the stream as one file, as it was before any damage.
    """

    kind: SourceKind
    base: Path
    channel: str
    quality: str
    segments: tuple[Segment, ...]
    frames: tuple[Frame, ...]
    reference: Path

    @property
    def store(self) -> Store:
        """A fresh store of it."""
        return Store(self.base)

    @property
    def start(self) -> datetime:
        """When the first picture is shown."""
        return self.frames[0].at

    @property
    def end(self) -> datetime:
        """When the last picture is over."""
        return self.segments[-1].end

    def path(self, index: int) -> Path:
        """Give a segment's file."""
        segment = self.segments[index]
        return self.base / self.channel / self.quality / segment.hour / segment.name

    def paths(self) -> list[Path]:
        """Give all files in order."""
        return [self.path(index) for index in range(len(self.segments))]

    def at(self, number: float) -> datetime:
        """Give the moment of a picture; with a fraction, one between it and the next."""
        frame = self.frames[int(number)]
        later = self.frames[int(number) + 1].at if int(number) + 1 < len(self.frames) else self.end
        return frame.at + (later - frame.at) * (number % 1)

    def between(self, start: datetime, end: datetime) -> list[int]:
        """Give the numbers of the pictures that are shown first from `start` on and before `end`."""
        return [frame.number for frame in self.frames if start <= frame.at < end]

    # Damage, done to a copy ---------------------------------------------------------------------------------------

    def copy(self, folder: Path) -> "Source":
        """Copy the store into an empty or new folder, to be damaged there."""
        shutil.copytree(self.base, folder, dirs_exist_ok=True)
        return replace(self, base=folder)

    def drop(self, index: int) -> None:
        """Take a segment away: a hole."""
        self.path(index).unlink()

    def truncate(self, index: int, share: float = 0.5) -> None:
        """Cut a segment short under its name, at no packet's end."""
        content = self.path(index).read_bytes()
        self.path(index).write_bytes(content[: int(len(content) * share) // 188 * 188 + 77])

    def break_off(self, index: int, share: float = 0.5) -> "Source":
        """Make a segment one whose transfer broke off: shorter, of type `partial`, under a new name."""
        content = self.path(index).read_bytes()
        return self.record(index, content[: int(len(content) * share)], SegmentType.PARTIAL)

    def record(
        self, index: int, content: bytes, kind: SegmentType = SegmentType.FULL, *, beside: bool = False
    ) -> "Source":
        """Let other bytes have been recorded as a segment, under their own name; `beside`: as another candidate."""
        old, before = self.path(index), self.segments[index]
        suffix: Suffix = ".mp4" if before.name.endswith(".mp4") else ".ts"
        digest = content_hash(hashlib.sha256(content).digest())
        segment = make_segment(before.start, before.duration, kind, digest, suffix)
        if not beside:
            old.unlink()
        old.with_name(segment.name).write_bytes(content)
        return replace(self, segments=(*self.segments[:index], segment, *self.segments[index + 1 :]))

    def corrupt(self, index: int, *, every: int = 997) -> None:
        """Change some bytes of a segment, but none that would make it no transport stream."""
        content = bytearray(self.path(index).read_bytes())
        for at in range(3 * 188 + 50, len(content), every):
            if at % 188 > 12:
                content[at] ^= 0x5A
        self.path(index).write_bytes(content)

    def empty(self, index: int) -> None:
        """Leave no byte of a segment."""
        self.path(index).write_bytes(b"")

    def change(self, index: int, how: Callable[[bytes], bytes]) -> None:
        """Do anything else to a segment's bytes."""
        self.path(index).write_bytes(how(self.path(index).read_bytes()))


_MADE: dict[tuple[Path, SourceKind], Source] = {}


def make_source(folder: Path, kind: SourceKind) -> Source:
    """Make a recording below a folder, once for each kind; those who damage it do so to a `copy`."""
    if (folder, kind) not in _MADE:
        own = folder / hashlib.sha256(repr(kind).encode()).hexdigest()[:12]
        _MADE[folder, kind] = _make(own, kind)
    return _MADE[folder, kind]


def _make(folder: Path, kind: SourceKind) -> Source:
    coding = folder / "coding"
    coding.mkdir(parents=True)
    parts = encode(kind, coding)
    shutil.rmtree(coding)
    # one file cannot change its PIDs midway
    steady = rewrite(replace(kind, moved=False), parts) if kind.rewritten else parts
    reference = folder / ("reference.mp4" if kind.container == "fmp4" else "reference.ts")
    reference.write_bytes(_as_one(kind, steady))
    if kind.container == "ts":
        parts = rewrite(kind, parts) if kind.rewritten else renumbered(parts, restart=kind.counters == "restart")
    source = _stored(folder, kind, parts, reference)
    assert len(source.frames) == kind.frames, f"{len(source.frames)} pictures were made of {kind.frames}"
    return source


def source_of(folder: Path, clips: list[Path], fps: Fraction) -> Source:
    """Put clips of others, in order and of one clock, into a store below an empty folder; their pictures count from 0.

    What is read of them has no numbers: `checks.identified` gives them.
    """
    container: Literal["ts", "fmp4"] = "ts" if clips[0].suffix == ".ts" else "fmp4"
    kind, parts = SourceKind(fps=fps, container=container), [clip.read_bytes() for clip in clips]
    reference = folder / f"reference{clips[0].suffix}"
    reference.write_bytes(_as_one(kind, parts))
    return _stored(folder, kind, parts, reference)


def _stored(folder: Path, kind: SourceKind, parts: list[bytes], reference: Path) -> Source:
    times = [_picture_times(part, kind) for part in parts]
    origin = times[0][0][0] % WRAP
    ordered = sorted(((pts - origin) % WRAP, key, index) for index, part in enumerate(times) for pts, key in part)
    first = ordered[0][0]
    starts = [min(time for time, _, index in ordered if index == number) - first for number in range(len(parts))]
    moments = [BEGIN + _span(start) for start in starts] + [BEGIN + _span(_whole(kind, ordered) - first)]
    segments = [
        _store(folder / "store" / "marked" / "source", part, moments[index], moments[index + 1], kind)
        for index, part in enumerate(parts)
    ]
    frames = tuple(
        Frame(number, BEGIN + _span(time - first), origin + time, index, key)
        for number, (time, key, index) in enumerate(ordered)
    )
    return Source(kind, folder / "store", "marked", "source", tuple(segments), frames, reference)


def _as_one(kind: SourceKind, parts: list[bytes]) -> bytes:
    if kind.container == "ts":
        return b"".join(renumbered(parts))
    init = parts[0].index(b"moof") - 4
    fragment = parts[0].rfind(b"styp", 0, init)
    init = init if fragment < 0 else fragment - 4
    return parts[0] + b"".join(part[init:] for part in parts[1:])


def _picture_times(part: bytes, kind: SourceKind) -> list[tuple[int, bool]]:
    """Give when the pictures of a segment are shown, in ticks, in the order in which they are coded."""
    with av.open(io.BytesIO(part), "r") as container:
        stream = container.streams.video[0]
        return [
            (round(packet.pts * packet.time_base * TICKS), packet.is_keyframe)
            for packet in container.demux(stream)
            if packet.pts is not None and packet.time_base is not None
        ]


def _whole(kind: SourceKind, ordered: list[tuple[int, bool, int]]) -> int:
    """Give when the last picture is over: it lasts as long as a usual one."""
    return ordered[-1][0] + round(TICKS / kind.fps)


def _span(ticks: int) -> timedelta:
    return timedelta(microseconds=round(Fraction(ticks * 1_000_000, TICKS)))


def _store(folder: Path, content: bytes, start: datetime, end: datetime, kind: SourceKind) -> Segment:
    suffix: Suffix = ".mp4" if kind.container == "fmp4" else ".ts"
    digest = content_hash(hashlib.sha256(content).digest())
    segment = make_segment(start, end - start, SegmentType.FULL, digest, suffix)
    path = folder / hour_name(start) / segment.name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return segment
