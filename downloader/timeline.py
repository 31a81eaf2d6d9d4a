"""Which entries of a playlist are new, and when each of them starts. Pure."""

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from downloader.playlist import start_times
from downloader.playlist_values import MediaPlaylist, PlaylistSegment

# Numbers alone do not tell entries apart, since an encoder that restarts counts from nought; names alone do not, since
# some encoders use a few in turn. What stands around the name may change: hosts take turns, tokens are renewed.
_Key = tuple[int, str]

# An encoder that restarts may use the same numbers and names again; then the time has moved by more than this. By less,
# it is an origin that corrects its clock or dates anew at each request.
_ANOTHER_MOMENT = timedelta(seconds=15)

# Whatever the playlist claims: often enough for a window of a few segments, and seldom enough for the origin.
_SOONEST = timedelta(seconds=0.5)
_LATEST = timedelta(seconds=10)


@dataclass(frozen=True, slots=True)
class NewSegment:
    """An entry that was not there before, and its `start` (aware UTC); `guessed` if the stream does not tell it.

    `after_jump`: the stream's times have jumped right before it, so that nobody can tell what it is of.
    """

    entry: PlaylistSegment
    start: datetime
    guessed: bool
    after_jump: bool = False


@dataclass(slots=True)
class Timeline:
    """What has been seen of one media playlist so far: it dates each entry once, when it first appears."""

    _starts: dict[_Key, datetime] = field(default_factory=dict)
    _end: datetime | None = None

    def advance(self, playlist: MediaPlaylist, now: datetime) -> list[NewSegment]:
        """Take in the playlist as it is `now` (aware UTC) and give its new entries, oldest first, gaps left out.

        Where the stream tells no times, those of the first entries are worked out from `now`, at which the newest
        entry is taken to end; later ones follow from the entries before them.
        """
        told = start_times(playlist)
        guessed = None in told
        starts = start_times(self._continued(playlist, now)) if guessed else told
        dated = [(entry, start) for entry, start in zip(playlist.segments, starts, strict=True) if start is not None]
        new = [NewSegment(entry, start, guessed) for entry, start in dated if self._is_new(entry, start)]
        if dated:  # a playlist that is empty for a moment makes nothing new that was not
            entry, start = dated[-1]
            self._end = start + entry.duration
            # what has left the playlist can be forgotten: if it came back, it would be dated and stored as before
            self._starts = {_key(entry): start for entry, start in dated}
        return [segment for segment in new if not segment.entry.gap]

    def _is_new(self, entry: PlaylistSegment, start: datetime) -> bool:
        before = self._starts.get(_key(entry))
        return before is None or abs(start - before) > _ANOTHER_MOMENT

    def _continued(self, playlist: MediaPlaylist, now: datetime) -> MediaPlaylist:
        """Give the playlist as if it told the starts of the entries seen before, or else that of its first entry."""
        starts = [self._starts.get(_key(entry)) for entry in playlist.segments]
        if not any(starts):
            first = now - sum((entry.duration for entry in playlist.segments), timedelta())
            # what was recorded keeps its place, also if it was dated a little late
            starts[0] = max(first, self._end) if self._end else first
        dated = (replace(e, program_date_time=start) for e, start in zip(playlist.segments, starts, strict=True))
        return replace(playlist, segments=tuple(dated))


def _key(entry: PlaylistSegment) -> _Key:
    return entry.sequence, entry.uri.partition("?")[0].rpartition("/")[2]


def reload_after(playlist: MediaPlaylist, *, changed: bool) -> timedelta:
    """Give how long after a request the next may follow (draft-pantos-hls-rfc8216bis §6.3.4).

    That is the duration of the last segment (the target duration in RFC 8216 §6.3.4, which later drafts shortened to
    this), or half of the target duration if the playlist did not change; within bounds, since either may be nonsense.
    """
    wait = playlist.target_duration / 2
    if changed and playlist.segments:
        wait = min(playlist.segments[-1].duration, playlist.target_duration)
    return min(max(wait, _SOONEST), _LATEST)
