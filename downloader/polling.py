"""When a playlist is asked for again: as early as the standard allows, and when something new is there. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count
from math import ceil

from downloader.playlist_values import MediaPlaylist
from downloader.timeline import View

# Whatever the playlist claims: often enough for a window of a few segments, and seldom enough for the origin.
_SOONEST = timedelta(seconds=0.5)
_LATEST = timedelta(seconds=10)

# An origin that holds its answers back is asked again at once, but not in a rush if it holds nothing.
BLOCKED_SECONDS = 0.2

# A request this much after the moment at which a segment is known to have been there finds it in spite of jitter: one
# that comes too early must wait for half a target duration.
_MARGIN = 0.1

# Knowing the moment to within this is enough, and it is worth one late segment to know it better only so often.
_WIDE = 0.3
_LATE_SHARE = 20

# So much later than planned is near enough.
_SLIP = 0.15

# Shorter segments are seen soon enough anyhow; those of different lengths cannot be foretold.
_SHORTEST = 1.0
_STEADY = 0.1
_LOOKED_AT = 4


def reload_after(playlist: MediaPlaylist, *, changed: bool) -> timedelta:
    """Give how long after a request the next may follow (draft-pantos-hls-rfc8216bis §6.3.4).

    That is the duration of the last segment (the target duration in RFC 8216 §6.3.4, which later drafts shortened to
    this), or half of the target duration if the playlist did not change; within bounds, since either may be nonsense.
    """
    wait = playlist.target_duration / 2
    if changed and playlist.segments:
        wait = min(playlist.segments[-1].duration, playlist.target_duration)
    return min(max(wait, _SOONEST), _LATEST)


def held_back(playlist: MediaPlaylist) -> float:
    """Give the seconds for which an origin may hold an answer back (§6.2.5.2: three target durations)."""
    return 3 * min(max(playlist.target_duration, _SOONEST), _LATEST).total_seconds()


def with_number(url: str, number: int) -> str:
    """Give the address at which the playlist is answered as soon as it has the segment of this number (§6.2.5.2)."""
    address, hash_, fragment = url.partition("#")
    return f"{address}{'&' if '?' in address else '?'}_HLS_msn={number}{hash_}{fragment}"


@dataclass(slots=True)
class Phase:
    """How long after its end a segment is listed: learnt from what each request finds, and shared by all sessions.

    Requests that follow each other as closely as is allowed come at the same moment between two new segments each time,
    which may be nearly a segment late. Only a longer wait moves it: one segment is found late then, and all after it
    early. Times are seconds; `asked` is the loop's clock, ends of segments are Unix times, and only their difference
    has a meaning.
    """

    _least: float = float("-inf")
    _most: float = float("inf")
    _requests: "count[int]" = field(default_factory=count)
    _next_try: int = 0

    def saw(self, view: View, asked: float, asked_before: float | None) -> None:
        """Learn from a request and what it found that was not there at the one before it (None: there was none)."""
        if view.end is None or view.first_end is None:
            return
        most = asked - view.end.timestamp()
        least = float("-inf") if asked_before is None else asked_before - view.first_end.timestamp()
        self._least, self._most = max(self._least, least), min(self._most, most)
        if self._least >= self._most:  # it has changed: only what was seen now is true
            self._least, self._most = least, most

    def due(self, playlist: MediaPlaylist, view: View, asked: float) -> float:
        """Give when to ask again (the loop's clock), never earlier than `reload_after` allows after `asked`."""
        earliest = asked + reload_after(playlist, changed=view.changed).total_seconds()
        lengths = [entry.duration.total_seconds() for entry in playlist.segments[-_LOOKED_AT:]]
        if not view.changed or view.end is None or not _is_foreseeable(lengths) or self._most == float("inf"):
            return earliest
        number, lasts = next(self._requests), lengths[-1]
        margin = _MARGIN + max(lengths) - min(lengths)
        least = max(self._least, self._most - lasts)
        may_be_late = number >= self._next_try
        is_known = self._most - least <= _WIDE + margin
        # a moment at which the next one is listed, or, to know better, one at which it may be or not
        phase = self._most + margin if is_known or not may_be_late else (least + self._most) / 2
        due = view.end.timestamp() + lasts + phase
        missed = earliest - due
        if missed <= _SLIP or (missed < lasts / 4 and not may_be_late):
            return max(earliest, due)
        self._next_try = number + (1 if number < _LOOKED_AT else _LATE_SHARE)
        return due + lasts * ceil(missed / lasts)


def _is_foreseeable(lengths: Sequence[float]) -> bool:
    """Tell whether the next segment lasts as long as these, and the window has room for one that is found late."""
    return len(lengths) == _LOOKED_AT and max(lengths) - min(lengths) <= _STEADY and min(lengths) >= _SHORTEST
