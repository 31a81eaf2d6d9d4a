"""A segment on its way to disk, from its first bytes on; all of it blocks and is for a thread.

What comes is decrypted, looked at, hashed and written in the same pass. The end decides the type: `full` if all of it
is as it should be, else `suspect`, with the reasons in words.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from common.recording import SegmentWriter
from common.segments import Segment, SegmentType, Suffix
from common.store import Store
from common.ticks import TICKS
from common.timed import timed
from downloader.encryption import Decryption, Secret
from downloader.neighbours import lack
from downloader.outcomes import FetchError, Reason
from downloader.packed_audio import PackedAudioError, as_transport
from downloader.structure import HEAD_BYTES, BoxCheck, Form, TransportCheck, form_of
from downloader.timeline import NewSegment

# Ten seconds of the dearest sound are less than one of them.
_MOST_PACKED = 4 << 20

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# A segment is read again to see where its timestamps end; no longer one is.
_MOST_READ_AGAIN = 16 << 20


@dataclass(frozen=True, slots=True)
class Target:
    """Where a segment belongs."""

    store: Store
    channel: str
    quality: str

    def where(self) -> dict[str, str]:
        """Give what each line of the log says of it."""
        return {"channel": self.channel, "quality": self.quality}


@dataclass(frozen=True, slots=True)
class Order:
    """A segment to be fetched, with what is needed to read it, if anything is: its init section, its key."""

    new: NewSegment
    init: bytes = b""
    secret: Secret | None = None

    @property
    def duration(self) -> timedelta:
        """How long the playlist says that it lasts."""
        return self.new.entry.duration


@dataclass(frozen=True, slots=True)
class Circumstances:
    """How a transfer ended: `framed` if the answer told where it ends, `low` if few bytes came for its duration.

    `remarks` are faults that are known already.
    """

    framed: bool
    low: bool
    remarks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Committed:
    """A segment in the store, its bytes, and what is odd about it; `full` if nothing is."""

    segment: Segment
    size: int
    remarks: tuple[str, ...]


class Arrival:
    """`write` what comes, then `commit` it; or `keep` what there is of it, or `discard` it."""

    def __init__(self, target: Target, order: Order) -> None:
        self.content_type = ""
        self._target, self._order = target, order
        self._decryption = Decryption(order.secret) if order.secret else None
        self._any = False
        self._form: Form | None = None
        self._head = b""
        self._packed = bytearray()
        self._check: TransportCheck | BoxCheck = TransportCheck()
        self._writer: SegmentWriter | None = None
        self._remarks: list[str] = []
        self._finished = False
        self.closed = False

    @timed(
        "segment_write",
        "Decrypting, checking, hashing and writing a part of a segment.",
        per=("mebibyte", lambda _, __, data: len(data) / (1 << 20)),
    )
    def write(self, data: bytes) -> None:
        """Take in what came next. Raises FetchError if it is no media, and OSError if the disk refuses it."""
        self._any = self._any or bool(data)
        self._take(self._decryption.feed(data) if self._decryption else data)

    def refuse_nothing(self, rest: bytes | bytearray) -> None:
        """Raise FetchError if all that came, these last bytes and what was written, is nothing or a page of text."""
        if not self._any and not rest:
            raise FetchError("The segment is empty.", Reason.REFUSED)
        if not self._any and not self._decryption:
            _refuse_text(form_of(bytes(rest[:HEAD_BYTES]), self.content_type))

    def commit(self, rest: bytes, circumstances: Circumstances) -> Committed:
        """Take in the last bytes and give it its final name; raises as `write` does, and for a segment of no bytes."""
        self._finish(rest)
        if self._form is None:
            raise FetchError("The segment is empty.", Reason.REFUSED)
        if self._form is Form.PACKED:
            self._unpack()
        writer = self._open(".ts") if self._writer is None else self._writer
        remarks = (*self._faults(circumstances, writer), *self._remarks, *circumstances.remarks)
        self.closed = True
        segment = writer.commit(SegmentType.SUSPECT if remarks else SegmentType.FULL)
        return Committed(segment, writer.size, remarks)

    def keep(self, rest: bytes) -> Segment | None:
        """Keep as `partial` what was not committed, if that is anything."""
        if self.closed:
            return None
        self.closed = True
        with suppress(OSError, FetchError):
            self._finish(rest)
            if self._packed:
                self._unpack()
        return self._writer.abandon() if self._writer else None

    def discard(self) -> None:
        """Leave nothing of it."""
        self.closed = True
        if self._writer:
            self._writer.discard()

    def _finish(self, rest: bytes) -> None:
        if self._finished:  # a commit was tried, and failed on the way
            return
        self._finished = True
        self.write(rest)
        if self._decryption and self._any:
            last, fault = self._decryption.finish()
            # some packagers leave the padding out of a byte range; what is missing then, the structure shows
            self._remarks += [fault] if fault and self._order.new.entry.byterange is None else []
            self._take(last, last=True)
        self._take(b"", last=True)

    def _take(self, data: bytes, *, last: bool = False) -> None:
        if self._form is None:
            self._head += data
            if len(self._head) < HEAD_BYTES and not (last and self._head):
                return
            data, self._head = self._head, b""
            self._begin(data)
        if self._form is Form.PACKED:
            self._packed += data
            if len(self._packed) > _MOST_PACKED:
                raise FetchError("It is longer than any packed audio.", Reason.REFUSED, gone=True)
        elif data:
            self._put(data)

    def _begin(self, head: bytes) -> None:
        form = form_of(head, self.content_type)
        self.closed = form is Form.TEXT or (form is Form.UNKNOWN and self._decryption is not None)
        if self.closed and self._decryption:
            raise WrongKeyError
        _refuse_text(form)
        self._form = form
        if form is Form.PACKED:
            return
        self._check = BoxCheck() if form is Form.MP4 else TransportCheck()
        self._open(".mp4" if form is Form.MP4 else ".ts")
        init = self._order.init
        if init and form_of(init) is form:
            self._put(init)
        elif init:
            self._remarks.append("its init section is of another form than itself")

    def _open(self, suffix: Suffix) -> SegmentWriter:
        target, new = self._target, self._order.new
        self._writer = SegmentWriter(
            target.store, target.channel, target.quality, new.start, new.entry.duration, suffix=suffix
        )
        return self._writer

    def _put(self, data: bytes) -> None:
        assert self._writer is not None, "it was opened when its form was known"  # noqa: S101 - for the types
        self._check.feed(data)
        self._writer.write(data)

    def _unpack(self) -> None:
        data = bytes(self._packed)
        self._packed.clear()
        try:
            data, fault = as_transport(data, _clock(self._order.new))
            self._remarks += [fault] if fault else []
        except PackedAudioError:
            if self._decryption:
                self.closed = True
                raise WrongKeyError from None
            # kept as it came, and its structure says that it is none
        self._open(".ts")
        self._put(data)

    def _faults(self, circumstances: Circumstances, writer: SegmentWriter) -> list[str]:
        if fault := self._check.fault():
            return [fault]
        if circumstances.framed and not circumstances.low:
            return []
        # boxes and frames of sound may end anywhere; only transport streams have timestamps that are read here
        looked_at = self._form is Form.TRANSPORT and writer.size <= _MOST_READ_AGAIN
        missing = lack(writer.path.read_bytes(), self._order.duration) if looked_at else None
        if missing is not None:
            return [missing] if missing else []
        if not circumstances.framed:
            return ["nothing tells that it is complete"]
        return ["it has few bytes, and no timestamps that can be read"] if looked_at else []


def _clock(new: NewSegment) -> int:
    """Give the time of a segment that does not tell any, in ticks: that of its place in the playlist.

    It is part of the content, which two nodes must store alike; so it never depends on when they saw it.
    """
    if new.guessed:
        return new.entry.sequence * (new.entry.duration // timedelta(microseconds=1)) * TICKS // 1_000_000
    return (new.start - _EPOCH) // timedelta(microseconds=1) * TICKS // 1_000_000


def _refuse_text(form: Form) -> None:
    if form is Form.TEXT:
        raise FetchError("The origin answers with a page or a text in place of media.", Reason.REFUSED)


class WrongKeyError(FetchError):
    """What was decrypted is no media: the key may have changed under its address."""

    def __init__(self) -> None:
        super().__init__("It cannot be decrypted with the key that the origin gives.", Reason.UNUSABLE, gone=False)
