"""When another worker is started for a quality, which one leads, and which may go. Pure: facts in, decision out."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum

# Attempts at one quality that are alive at the same time, the one that leads among them.
MOST_WORKERS = 3

# However the stream behaves, no more workers are started within a minute.
_MOST_STARTS = 10
_MINUTE = 60.0


# An address is replaced while it is still good: after so much of its life, but not much too early.
_SHARE_OF_LIFE = 0.9
_LONGEST_BEFORE_END = timedelta(minutes=10)

# A playlist in which nothing new comes for so many target durations is stale; less is an origin that hiccups.
_STALE_TARGETS = 3.0
_STALE_LEAST = 5.0

# A playlist that goes on, but has fallen back behind the clock by so much more than at its best, is stale too.
_BEHIND_TARGETS = 6.0
_BEHIND_LEAST = 30.0


class Cause(StrEnum):
    """Why another worker is started, as metrics and logs call it."""

    START = "start"  # there is none yet
    SLOW = "slow"  # an answer does not come
    FAILED = "failed"  # a playlist cannot be had
    EXPIRES = "expires"  # the address is near the end of its life
    STALE = "stale"  # the playlist is there, and nothing new in it
    JUMPED = "jumped"  # its times are not believed
    ENDED = "ended"  # the stream says that it has ended


# With these a worker brings nothing; with others it goes on, and is only to be replaced.
STANDSTILL = frozenset({Cause.SLOW, Cause.FAILED, Cause.STALE})

# What another worker may cure, but need not: then it is no use to start one after the other.
_SECONDS_BETWEEN = {Cause.JUMPED: 60.0, Cause.EXPIRES: 30.0}


@dataclass(frozen=True, slots=True)
class Standing:
    """What there is to say of a worker.

    `programme`: it has shown a programme segment; `keeps_up`: one that is not older than what others have shown, or
    beside one that was known. `goes_on`: one that is newer than what it showed first; a session may show the programme
    up to its own beginning, and advertisements from there on. `trouble`: why another one should be started.
    """

    programme: bool = False
    keeps_up: bool = False
    goes_on: bool = False
    trouble: Cause | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do: the index of the worker that leads, those that may go, and why another one is to be started."""

    leader: int | None = None
    retire: tuple[int, ...] = ()
    start: Cause | None = None


def decide(workers: Sequence[Standing]) -> Decision:
    """Decide about the workers of a quality, in the order of their start.

    The last that keeps up leads, or, where none does, the last that shows any programme. Those before it may go as soon
    as it goes on, and those that stand still at once. Another one is started when there is none, or when the last one
    is in trouble: until then it may yet prove itself.
    """
    proved = [index for index, worker in enumerate(workers) if worker.keeps_up]
    proved = proved or [index for index, worker in enumerate(workers) if worker.programme]
    leader = proved[-1] if proved else None
    cause = workers[-1].trouble if workers else Cause.START
    before = range(leader) if leader is not None else ()
    done = leader is not None and workers[leader].goes_on
    retire = tuple(index for index in before if done or workers[index].trouble in STANDSTILL)
    return Decision(leader, retire, cause if len(workers) - len(retire) < MOST_WORKERS else None)


@dataclass(slots=True)
class Starts:
    """When the next worker may be started; times are seconds of the loop's clock."""

    attempts: int = 0
    _times: "deque[float]" = field(default_factory=lambda: deque(maxlen=_MOST_STARTS))
    _last: dict[Cause, float] = field(default_factory=dict)

    def earliest(self, cause: Cause) -> float:
        """Give when one may be started for this cause."""
        full = len(self._times) == _MOST_STARTS
        earliest = self._times[0] + _MINUTE if full else float("-inf")
        return max(earliest, self._last.get(cause, float("-inf")) + _SECONDS_BETWEEN.get(cause, 0.0))

    def note(self, cause: Cause, now: float) -> None:
        """Take note of a start."""
        self.attempts += 1
        self._times.append(now)
        self._last[cause] = now


def renew_after(lasts: timedelta) -> timedelta:
    """Give how long after it was found an address should be replaced that is good for `lasts`."""
    return max(lasts * _SHARE_OF_LIFE, lasts - _LONGEST_BEFORE_END)


def is_stale(target: timedelta, quiet: float, behind: float | None, least_behind: float | None) -> bool:
    """Tell whether a playlist is stale.

    `quiet` is the seconds since anything new came, `behind` how far its end is behind the clock, `least_behind` how far
    that was at the best (None: the stream tells no times).
    """
    seconds = target.total_seconds()
    if quiet > max(_STALE_TARGETS * seconds, _STALE_LEAST):
        return True
    if behind is None or least_behind is None:
        return False
    return behind - least_behind > max(_BEHIND_TARGETS * seconds, _BEHIND_LEAST)
