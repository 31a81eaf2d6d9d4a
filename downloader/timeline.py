"""Which entries of a quality's playlists are new, and when each of them starts, whichever session shows it. Pure."""

from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import islice
from operator import attrgetter

from common.coverage import JOIN_TOLERANCE
from downloader.outcomes import Reason
from downloader.playlist import start_times
from downloader.playlist_values import MediaPlaylist, PlaylistSegment

# Numbers alone do not tell entries apart, since an encoder that restarts counts from nought; names alone do not, since
# some encoders use a few in turn. What stands around the name may change: hosts take turns, tokens are renewed.
_Key = tuple[int, str]

# An encoder that restarts may use the same numbers and names again; then the time has moved by more than this. By less,
# it is an origin that corrects its clock or dates anew at each request.
_ANOTHER_MOMENT = timedelta(seconds=15)

# A step of the told times, against the durations, by which a player would lose its place: rounding is far below it.
_JUMP = timedelta(seconds=0.5)

# A jump that lasts so long is how things are now; and so long after that, further ones are believed at once: an origin
# that dates anew at each request jumps for ever.
_PERSISTS = timedelta(seconds=30)
_BELIEVED = timedelta(minutes=10)

# What no playlist has shown for so long is forgotten: longer than one session lags behind another.
_REMEMBERED = timedelta(minutes=5)

# However long the playlists are and however fast they change: one window of the longest that is read, and more.
_MOST_REMEMBERED = 120_000

# Sessions whose last windows are known; far more than are ever alive.
_SESSIONS = 8

# Moments that are looked at to find one by its time: a real stream has two or three within a segment's length.
_NEARBY = 16


@dataclass(frozen=True, slots=True)
class NewSegment:
    """An entry that was not there before, and its `start` (aware UTC); `guessed` if the stream does not tell it.

    `after_jump`: the told times have jumped before it, and nobody else has confirmed them.
    """

    entry: PlaylistSegment
    start: datetime
    guessed: bool
    after_jump: bool = False


@dataclass(frozen=True, slots=True)
class View:
    """What one playlist brought.

    `changed`: it is another than the one before it of the same session. `new` is to be recorded, oldest first;
    `left_out` is new too, but no programme. `programme`: it shows some at all. `overlaps`: some of it was known before;
    `ahead`: its newest is not older than that of any other session. `goes_on`: it shows programme that is newer than
    what its session showed first. `jumped`: its times are not believed now. `end` is when its last entry ends,
    `first_end` when the first ends that is new or left out; both by the times of this playlist.
    """

    changed: bool = False
    new: tuple[NewSegment, ...] = ()
    left_out: tuple[tuple[NewSegment, Reason], ...] = ()
    programme: bool = False
    overlaps: bool = False
    ahead: bool = False
    goes_on: bool = False
    jumped: bool = False
    end: datetime | None = None
    first_end: datetime | None = None


@dataclass(slots=True, eq=False)
class _Shown:
    """A moment of the stream that playlists have shown.

    `start` is where it is recorded, `told` what the last playlist said of it, `at` when that was, in the how manieth
    `turn`. `entries` are the ways to it, the latest first, of which there are several if sessions name it differently.
    """

    start: datetime
    told: datetime
    at: datetime
    turn: int
    entries: tuple[PlaylistSegment, ...]
    wanted: bool
    suspect: bool
    sessions: tuple[int, ...]


_told = attrgetter("told")


@dataclass(slots=True)
class Timeline:
    """What has been seen of one quality so far, by all its sessions: it dates each moment once, when it first appears.

    Two entries are the same moment if number and file name agree (unless the told time has moved by more than 15 s, or,
    where none is told, nothing of the last windows is left), or if their told times lie within half a segment and
    number or name agree, or those times within 10 ms. One session does not show a moment under two names; only if
    nothing in its playlist has a known name, another encoder may have taken over.

    After a jump of the told times, what a session shows is `after_jump` until another session tells the same times
    (then what was is recorded again, without a doubt) or others (then it is recorded again, where these are), or until
    the jump has lasted for half a minute.
    """

    _shown: OrderedDict[_Key, _Shown] = field(default_factory=OrderedDict)
    _end: datetime | None = None
    _turn: int = 0
    _turns: dict[int, int] = field(default_factory=dict)
    _newest: dict[int, datetime] = field(default_factory=dict)
    _oldest: dict[int, datetime] = field(default_factory=dict)
    _last: dict[int, _Key] = field(default_factory=dict)
    _doubted: dict[int, datetime] = field(default_factory=dict)
    _believed_until: datetime | None = None

    def advance(
        self,
        playlist: MediaPlaylist,
        now: datetime,
        *,
        session: int = 0,
        advertisements: Sequence[bool] = (),
        anchor: tuple[int, datetime] | None = None,
    ) -> View:
        """Take in the playlist as a session sees it `now` (aware UTC), and tell what it brings.

        Where the stream tells no times, those of the first entries are worked out from `now`, at which the newest
        entry is taken to end, or from the `anchor`: an entry's index, and the start that it is known to have. Later
        ones follow from the entries before them. `advertisements` says of each entry whether it is one.
        """
        entries = playlist.segments
        if not entries:  # a playlist that is empty for a moment makes nothing new that was not
            return View()
        self._forget(now)
        self._settle(session, now)
        told = start_times(playlist)
        guessed = None in told
        known = self._by_key(playlist, guessed=guessed)
        starts = [start for start in told if start] or self._carried(playlist, known, now, anchor)
        if not guessed:
            known = self._by_time(entries, starts, known, session)
        self._turn += 1
        self._turns = {**dict([*self._turns.items()][-_SESSIONS:]), session: self._turn}
        sorter = _Sorter(self, session, now, self._turn, guessed)
        for index, entry in enumerate(entries):
            advertisement = index < len(advertisements) and advertisements[index]
            sorter.take(entry, starts[index], known[index], _left_out(entry, advertisement=advertisement))
        self._end = starts[-1] + entries[-1].duration
        changed = self._last.get(session) != _key(entries[-1])
        self._last[session] = _key(entries[-1])
        return self._view(sorter, self._end, changed=changed)

    def _view(self, sorter: "_Sorter", end: datetime, *, changed: bool) -> View:
        session, newest = sorter.session, sorter.newest
        others = [other for number, other in self._newest.items() if number != session]
        if newest is not None:
            self._newest[session] = newest
            self._oldest.setdefault(session, newest)
        return View(
            changed=changed,
            new=tuple(sorter.new),
            left_out=tuple(sorter.left_out),
            programme=newest is not None,
            overlaps=sorter.overlaps,
            ahead=newest is not None and all(newest >= other for other in others),
            goes_on=newest is not None and newest > self._oldest[session],
            jumped=session in self._doubted,
            end=end,
            first_end=sorter.first_end,
        )

    def forget(self, session: int) -> None:
        """Take note that a session has ended."""
        self._newest.pop(session, None)
        self._oldest.pop(session, None)
        self._last.pop(session, None)
        self._doubted.pop(session, None)

    def ways(self, entry: PlaylistSegment) -> tuple[tuple[PlaylistSegment, ...], datetime | None]:
        """Give all entries by which sessions have shown a moment, the latest first, and when it was last shown."""
        shown = self._shown.get(_key(entry))
        return (shown.entries, shown.at) if shown else ((entry,), None)

    def must_guess(self, playlist: MediaPlaylist) -> bool:
        """Tell whether the starts of a playlist follow from nothing: it tells no time, and nothing of it is known."""
        dated = any(entry.program_date_time for entry in playlist.segments)
        return bool(playlist.segments) and not dated and not any(self._by_key(playlist, guessed=True))

    def _by_key(self, playlist: MediaPlaylist, *, guessed: bool) -> list[_Shown | None]:
        """Find the moments that were shown under the same number and name."""
        known = [self._shown.get(_key(entry)) for entry in playlist.segments]
        if guessed:
            last = {*self._turns.values()}
            if not any(shown and shown.turn in last for shown in known):  # an encoder that counts anew
                return [None] * len(known)
        return known

    def _carried(
        self,
        playlist: MediaPlaylist,
        known: Sequence[_Shown | None],
        now: datetime,
        anchor: tuple[int, datetime] | None,
    ) -> list[datetime]:
        """Work out the starts from those of the entries seen before, or else from the anchor, or the clock."""
        starts = [shown.start if shown else None for shown in known]
        if not any(starts):
            index, at = anchor or (len(starts), now)
            first = at - sum((entry.duration for entry in playlist.segments[:index]), timedelta())
            # what was recorded keeps its place, also if it was dated a little late
            starts[0] = max(first, self._end) if self._end and not anchor else first
        lasts = [entry.duration for entry in playlist.segments]
        return _filled(starts, lasts)

    def _by_time(
        self,
        entries: Sequence[PlaylistSegment],
        starts: Sequence[datetime],
        known: Sequence[_Shown | None],
        session: int,
    ) -> list[_Shown | None]:
        """Drop those whose time has moved too far, and find those that were shown by another number or name."""
        pairs = zip(known, starts, strict=True)
        found = [shown if shown and abs(start - shown.told) <= _ANOTHER_MOMENT else None for shown, start in pairs]
        if all(found):
            return found
        taken = {id(shown) for shown in found if shown}
        anew = not taken
        others = sorted({id(shown): shown for shown in self._shown.values()}.values(), key=_told)
        exact = {shown.told: shown for shown in others}
        for index, entry in enumerate(entries):
            if found[index] is None:
                same = exact.get(starts[index])  # nearly always, and quicker
                near = [same] if same and id(same) not in taken else _nearby(others, entry, starts[index])
                near = [one for one in near if id(one) not in taken and (anew or session not in one.sessions)]
                best = min(near, key=lambda one: abs(one.told - starts[index]), default=None)
                taken.add(id(best))
                found[index] = best
        return found

    def _settle(self, session: int, now: datetime) -> None:
        """Believe a jump that has lasted."""
        since = self._doubted.get(session)
        if since is not None and now - since >= _PERSISTS:
            del self._doubted[session]
            self._believed_until = now + _BELIEVED

    def _forget(self, now: datetime) -> None:
        while self._shown:
            key, shown = self._shown.popitem(last=False)
            if len(self._shown) < _MOST_REMEMBERED and now - shown.at <= _REMEMBERED:
                self._shown[key] = shown
                self._shown.move_to_end(key, last=False)
                break

    def doubts(self, session: int) -> bool:
        """Tell whether the session's times are not believed."""
        return session in self._doubted

    def doubt(self, session: int, now: datetime) -> None:
        """Take note of a jump: the session's times are not believed for a while, unless jumps are common here."""
        if self._believed_until is not None and now < self._believed_until:
            self._believed_until = now + _BELIEVED
        else:
            self._doubted.setdefault(session, now)

    def confirm(self) -> None:
        """Take note that two sessions tell the same times after a jump."""
        self._doubted.clear()

    def remember(self, entry: PlaylistSegment, shown: _Shown) -> None:
        """Keep a moment under the number and name that it was just shown by."""
        key = _key(entry)
        self._shown[key] = shown
        self._shown.move_to_end(key)  # the order is that of the last showing


@dataclass(slots=True)
class _Sorter:
    """Goes through the entries of one playlist, and tells what is new among them."""

    timeline: Timeline
    session: int
    now: datetime
    turn: int
    guessed: bool
    new: list[NewSegment] = field(default_factory=list)
    left_out: list[tuple[NewSegment, Reason]] = field(default_factory=list)
    overlaps: bool = False
    newest: datetime | None = None
    first_end: datetime | None = None
    _end: datetime | None = None

    def take(self, entry: PlaylistSegment, start: datetime, shown: _Shown | None, left_out: Reason | None) -> None:
        """Take the next entry; `left_out` says why it is no programme."""
        if left_out is None:
            self.newest = max(start, self.newest or start)
        elif shown is not None and shown.wanted:  # of this moment another session has the programme
            self._end = start + entry.duration
            return
        if shown is None or (left_out is None and self._is_wanted_again(shown, start)):
            if shown is None and self._jumps(entry, start):
                self.timeline.doubt(self.session, self.now)
            shown = self._add(entry, start, left_out)
        else:
            self._show(shown, entry, start)
            self.overlaps = self.overlaps or left_out is None
        self.timeline.remember(entry, shown)
        self._end = shown.start + entry.duration

    def _is_wanted_again(self, shown: _Shown, start: datetime) -> bool:
        """Tell whether a moment becomes programme only now, or is known only from a session whose times had jumped."""
        if not shown.wanted:
            return True
        if not shown.suspect or self.session in shown.sessions or self.timeline.doubts(self.session):
            return False
        if abs(start - shown.start) <= JOIN_TOLERANCE:
            self.timeline.confirm()
        return True

    def _jumps(self, entry: PlaylistSegment, start: datetime) -> bool:
        told = not self.guessed and not entry.discontinuity
        return told and self._end is not None and abs(start - self._end) > _JUMP

    def _add(self, entry: PlaylistSegment, start: datetime, left_out: Reason | None) -> _Shown:
        after_jump = self.timeline.doubts(self.session)
        new = NewSegment(entry, start, self.guessed, after_jump)
        if left_out is None:
            self.new.append(new)
        else:
            self.left_out.append((new, left_out))
        self.first_end = self.first_end or start + entry.duration
        wanted, suspect = left_out is None, after_jump
        return _Shown(start, start, self.now, self.turn, (entry,), wanted, suspect, (self.session,))

    def _show(self, shown: _Shown, entry: PlaylistSegment, start: datetime) -> None:
        # of a name only the latest address: its token may have been renewed
        others = [one for one in shown.entries if one.uri != entry.uri and _key(one) != _key(entry)]
        shown.entries = (entry, *others[: _SESSIONS - 1])
        if self.session not in shown.sessions:
            shown.sessions = (*shown.sessions, self.session)[-_SESSIONS:]
        shown.told, shown.at, shown.turn = start, self.now, self.turn


def _key(entry: PlaylistSegment) -> _Key:
    return entry.sequence, entry.uri.partition("?")[0].rpartition("/")[2]


def _filled(starts: Sequence[datetime | None], lasts: Sequence[timedelta]) -> list[datetime]:
    """Give all starts, of which some are known: durations are added after one, and taken away before the first."""
    first, at = next((index, start) for index, start in enumerate(starts) if start)
    at -= sum(lasts[:first], timedelta())
    found = []
    for start, length in zip(starts, lasts, strict=True):
        at = start or at
        found.append(at)
        at += length
    return found


def _left_out(entry: PlaylistSegment, *, advertisement: bool) -> Reason | None:
    if advertisement:
        return Reason.ADVERTISEMENT
    return Reason.GAP if entry.gap else None


def _nearby(others: Sequence[_Shown], entry: PlaylistSegment, start: datetime) -> list[_Shown]:
    """Find among moments, sorted by their told times, those that the entry may be by its time."""
    number, name = _key(entry)
    first = bisect_left(others, start - entry.duration / 2, key=_told)
    found = []
    for shown in islice(others, first, first + _NEARBY):
        apart = abs(shown.told - start)
        alike = any(one.sequence == number or _key(one)[1] == name for one in shown.entries)
        if apart <= min(shown.entries[0].duration, entry.duration) / 2 and (alike or apart <= JOIN_TOLERANCE):
            found.append(shown)
    return found
