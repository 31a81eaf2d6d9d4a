"""Which entries of a playlist are new, and when each of them starts. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from downloader.playlist import start_times
from downloader.playlist_values import MediaPlaylist, PlaylistSegment

# Numbers alone do not tell entries apart, since an encoder that restarts counts from nought; addresses alone do not,
# since some encoders use a few names in turn.
_Key = tuple[int, str]


@dataclass(frozen=True, slots=True)
class NewSegment:
    """An entry that was not there before, and its `start` (aware UTC); `guessed` if the stream does not tell it."""

    entry: PlaylistSegment
    start: datetime
    guessed: bool


@dataclass(slots=True)
class Timeline:
    """What has been seen of one media playlist so far: it dates each entry once, when it first appears."""

    _starts: dict[_Key, datetime] = field(default_factory=dict)

    def advance(self, playlist: MediaPlaylist, now: datetime) -> list[NewSegment]:
        """Take in the playlist as it is `now` (aware UTC) and give its new entries, oldest first, gaps left out.

        Where the stream tells no times, those of the first entries are worked out from `now`, at which the newest
        entry is taken to end; later ones follow from the entries before them.
        """
        told = start_times(playlist)
        guessed = any(start is None for start in told)
        starts = self._guess(playlist.segments, now) if guessed else [start for start in told if start is not None]
        new = [
            NewSegment(entry, start, guessed)
            for entry, start in zip(playlist.segments, starts, strict=True)
            if _key(entry) not in self._starts and not entry.gap
        ]
        # what has left the playlist can be forgotten: it does not come back under the same number and address
        self._starts = {
            _key(entry): self._starts.get(_key(entry), start)
            for entry, start in zip(playlist.segments, starts, strict=True)
        }
        return new

    def _guess(self, entries: Sequence[PlaylistSegment], now: datetime) -> list[datetime]:
        known = next((n for n, entry in enumerate(entries) if _key(entry) in self._starts), None)
        if known is None:
            first = now - sum((entry.duration for entry in entries), timedelta())
        else:
            first = self._starts[_key(entries[known])] - sum((entry.duration for entry in entries[:known]), timedelta())
        starts = []
        for entry in entries:
            starts.append(first)
            first += entry.duration
        return starts


def _key(entry: PlaylistSegment) -> _Key:
    return entry.sequence, entry.uri


def reload_after(playlist: MediaPlaylist, *, changed: bool) -> timedelta:
    """Give how long after a request the next may follow (draft-pantos-hls-rfc8216bis §6.3.4).

    That is the duration of the last segment (the target duration in RFC 8216 §6.3.4, which later drafts shortened to
    this), or half of the target duration if the playlist did not change.
    """
    if not changed or not playlist.segments:
        return playlist.target_duration / 2
    return min(playlist.segments[-1].duration, playlist.target_duration) or playlist.target_duration / 2
