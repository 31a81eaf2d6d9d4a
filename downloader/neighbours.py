"""Whether a segment is likely to be all there, told by the segments before it and by its own timestamps. Pure.

A transfer that hangs and then ends early may look complete: all that shows it is what the media lacks. Bytes alone
prove nothing, since a still picture costs next to none; so a low bit rate is where one looks, and timestamps decide.
"""

from collections import deque
from datetime import timedelta
from itertools import chain
from statistics import median

import numpy as np

from common.pes import read_pes
from common.scan import Scan, scan
from common.ticks import TICKS, distance
from common.transport import Packets, TransportError, as_packets, read_headers

REMEMBERED = 20
_ENOUGH = 5

# Below this share of its neighbours' bit rate a segment's timestamps are looked at.
_LOW = 0.6

# The media may be shorter than its playlist says by so much: of its duration, and in seconds, whichever is more.
_SHARE, _SECONDS = 0.2, 0.5


class Neighbours:
    """The bit rates of the last complete segments of a quality."""

    def __init__(self) -> None:
        self._rates: deque[float] = deque(maxlen=REMEMBERED)

    def add(self, size: int, duration: timedelta) -> None:
        """Take in a complete segment, of so many bytes."""
        if duration:
            self._rates.append(size / duration.total_seconds())

    def is_low(self, size: int, duration: timedelta) -> bool:
        """Tell whether so many bytes are few for this duration; never before there is enough to compare with."""
        return len(self._rates) >= _ENOUGH and size < median(self._rates) * _LOW * duration.total_seconds()


def lack(data: bytes, duration: timedelta) -> str | None:
    """Say what shows that a transport stream ends too early: empty if nothing does, None if it cannot be told."""
    try:
        packets = as_packets(data)
        found = scan(packets)
        if _breaks_off(packets, found):
            return "its sound ends within a packet"
    except TransportError:
        return None
    missing = duration.total_seconds() - _covered(found)
    if missing > max(_SECONDS, _SHARE * duration.total_seconds()):
        return f"its timestamps end {missing:.1f} s too early"
    return ""


def _breaks_off(packets: Packets, found: Scan) -> bool:
    """Tell whether the last PES of a sound has fewer bytes than it says (ISO 13818-1 §2.4.3.7)."""
    headers = read_headers(packets)
    last = (read_pes(packets, headers, sound.pid)[-1:] for sound in found.programme.audio)
    return any(pes.missing for pes in chain.from_iterable(last))


def _covered(found: Scan) -> float:
    """Give the seconds from the first timestamp to the end of the last frame, of picture or sound, the longer."""
    steps = np.diff(np.sort(found.pts))
    step = int(np.median(steps)) if len(steps) else 0
    spans = [int(found.pts.max() - found.pts.min()) + step]
    spans += [distance(*sound) for sound in found.sounds if sound is not None]
    return max(spans) / TICKS
