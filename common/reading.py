"""What a cut reads: its segments, as packets of MPEG-TS or as samples of MP4. All of it blocks."""

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from common.nal import Picture
from common.picture_commands import Form
from common.ranges import Instead, Range, UnreadableSegmentError, check_content, scan_range
from common.remux import NotCarriedError, as_transport
from common.sample_files import is_cut_short, sample_pictures, scan_samples
from common.samples import is_sampled
from common.scan import Scan, Stretch, scan, stretches
from common.segments import Segment, SegmentType
from common.splice import Group, open_group, read_pictures
from common.transport import PACKET_BYTES, Packets, TransportError, as_packets

# What lies around a range is looked at too: pictures that those in it need, and sound that runs ahead or lags behind.
CONTEXT = timedelta(seconds=20)

# An end is taken apart once for the encoder and once for the splice, while the one after it is being encoded.
_KEPT_GROUPS = 3


@dataclass(frozen=True, slots=True)
class Reading:
    """Where the segments of a cut lie: `path` gives the file of one, `instead` others where some cannot be read.

    `proved` are those whose bytes were held against their names: each is once.
    """

    path: Callable[[Segment], Path]
    instead: Instead
    proved: set[Segment] = field(default_factory=set, compare=False)
    _groups: OrderedDict[tuple[int, range], Group] = field(default_factory=OrderedDict, init=False, compare=False)

    def content(self, segment: Segment) -> NDArray[np.uint8]:
        """Read the bytes of a segment. Raises OSError, or UnreadableSegmentError if they are not those of its name."""
        content = np.fromfile(self.path(segment), np.uint8)
        if segment not in self.proved:
            check_content(segment, content)
            self.proved.add(segment)
        return content

    def packets(self, segment: Segment) -> Packets:
        """Read a segment as MPEG-TS. Raises OSError, or UnreadableSegmentError if it is none."""
        try:
            return _packets(segment, np.fromfile(self.path(segment), np.uint8))
        except TransportError as error:
            raise UnreadableSegmentError(segment, str(error)) from error

    def coded(self, segment: Segment) -> tuple[bytes, Form]:
        """Give a segment as decoders take it, and what it is then. Raises as `packets` does."""
        content = np.fromfile(self.path(segment), np.uint8)
        try:
            return _packets(segment, content).tobytes(), "mpegts"
        except NotCarriedError:
            return content.tobytes(), "mp4"
        except TransportError as error:
            raise UnreadableSegmentError(segment, str(error)) from error

    def stretches(self, wanted: Range) -> list[Stretch]:
        """Look at the segments of a range: what of them runs on. Raises as `scan_range` does."""
        return list(stretches(scan_range(wanted, self._scan, self.instead)))

    def _scan(self, segment: Segment, whole: bool) -> Scan:  # noqa: FBT001 - a ScanSegment
        path = self.path(segment)
        cut_short = is_cut_short(path) if path.suffix == ".mp4" else _ends_within_packet(path)
        if whole and cut_short:
            raise UnreadableSegmentError(segment, "It is cut short.")
        # of what is cut short nothing can be proved
        content = np.fromfile(path, np.uint8) if cut_short else self.content(segment)
        broken_off = cut_short or segment.type is SegmentType.PARTIAL
        try:
            try:
                return scan(_packets(segment, content), broken_off=broken_off)
            except NotCarriedError:
                return scan_samples(content.tobytes(), broken_off=broken_off)
        except TransportError as error:
            raise UnreadableSegmentError(segment, str(error)) from error

    def group(self, stretch: Stretch, numbers: range) -> Group:
        """Take segments of a stretch apart; the last few that were asked for are kept."""
        # a group keeps its stretch, so that no other one has the same id
        key = id(stretch), numbers
        found = self._groups.pop(key, None) or self._open(stretch, numbers)
        self._groups[key] = found
        while len(self._groups) > _KEPT_GROUPS:
            self._groups.popitem(last=False)
        return found

    def _open(self, stretch: Stretch, numbers: range) -> Group:
        return open_group(stretch, numbers, [self.packets(stretch.segments[number]) for number in numbers])

    def pictures(self, stretch: Stretch, number: int) -> Sequence[Picture]:
        """Tell of each picture of a segment whether a decoder can begin with it."""
        if is_sampled(stretch):
            segment = stretch.segments[number]
            try:
                return sample_pictures(self.path(segment).read_bytes())
            except TransportError as error:
                raise UnreadableSegmentError(segment, str(error)) from error
        return read_pictures(self._open(stretch, range(number, number + 1)))


def _packets(segment: Segment, content: NDArray[np.uint8]) -> Packets:
    if segment.name.endswith(".mp4"):
        return as_packets(bytearray(as_transport(content.tobytes())))
    return as_packets(content)


def _ends_within_packet(path: Path) -> bool:
    with path.open("rb") as file:
        begins = file.read(1) == b"G"  # else there is something before the first packet
        return begins and file.seek(0, os.SEEK_END) % PACKET_BYTES > 0
