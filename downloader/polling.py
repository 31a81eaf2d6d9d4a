"""When a playlist is asked for again: as early as the standard allows, and when something new is there. Pure."""

from dataclasses import dataclass, field
from datetime import timedelta
from itertools import count

from downloader.playlist_values import MediaPlaylist
from downloader.timeline import View

# Whatever the playlist claims: often enough for a window of a few segments, and seldom enough for the origin.
_SOONEST = timedelta(seconds=0.5)
_LATEST = timedelta(seconds=10)

# A request this much after the moment at which a segment is known to have been there finds it in spite of jitter: one
# that comes too early must wait for half a target duration.
_MARGIN = 0.1

# Knowing the moment to within this is enough, and it is worth one late segment to know it better only so often.
_WIDE = 0.3
_LATE_SHARE = 20

# Shorter segments are seen soon enough anyhow; those of different lengths cannot be foretold.
_SHORTEST = 1.0
_STEADY = 0.3
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
        changed = view.changed
        earliest = asked + reload_after(playlist, changed=changed).total_seconds()
        lasts = _steady_length(playlist)
        if not changed or view.end is None or lasts is None or self._most == float("inf"):
            return earliest
        number, end = next(self._requests), view.end.timestamp()
        least = max(self._least, self._most - lasts)
        if self._most - least > _WIDE and number >= self._next_try:
            self._next_try = number + (_LATE_SHARE if number > _LOOKED_AT else 2)
            # beyond the next one, somewhere before the moment at which the one after it is known to be there
            return max(earliest, end + 2 * lasts + (least + self._most) / 2)
        return max(earliest, end + lasts + self._most + _MARGIN)


def _steady_length(playlist: MediaPlaylist) -> float | None:
    """Give the seconds that a segment lasts, if all last alike and the window has room for one that is found late."""
    lengths = [entry.duration.total_seconds() for entry in playlist.segments[-_LOOKED_AT:]]
    if len(lengths) < _LOOKED_AT or max(lengths) - min(lengths) > _STEADY or min(lengths) < _SHORTEST:
        return None
    return lengths[-1]
