"""The hours that this node does not want: what it has deleted to make room, and what it would delete at once.

    BASE/.expired/<channel>/<quality>    a JSON object: the hours deleted, and when each was
    BASE/.expired/.policy                a JSON object: what the librarian keeps to; see `common.lifetimes.Policy`

An hour is marked on disk before it is deleted, so that nobody fetches it again from another node, whatever dies when.
A mark stays until somebody needs the hour after all: a protection lifts it. The policy tells of hours that never were
here that they are too old to be fetched; one that no librarian has confirmed for a day counts no more.

Files are replaced whole. One that is no such file counts as empty; one that the disk does not give raises OSError, as
marks taken for none would be lost with the next one. All of it blocks; reading costs a stat while nothing has changed,
and may be done from several threads and processes. Who writes marks holds `writing()`.
"""

import fcntl
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

import structlog

from common.dateutil import format_utc, hour_name, parse, parse_hour
from common.durable import FULL, make_folder, replace_file
from common.lifetimes import AgeLimit, Guarded, Limits, Policy, Protection
from common.store import component

log = structlog.get_logger()

T = TypeVar("T")

FOLDER = ".expired"
_POLICY = ".policy"
_LOCK = ".lock"

# A librarian confirms its policy every minute; one that is gone for so long has no say in what is fetched.
_CONFIRMED = timedelta(days=1)

_Stamp = tuple[int, int, int]
_NOTHING: Mapping[str, datetime] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class _Marks:
    stamp: _Stamp | None
    deleted: Mapping[str, datetime]
    hours: frozenset[str]


@dataclass(frozen=True, slots=True)
class _Told:
    stamp: _Stamp | None
    policy: Policy
    at: datetime | None
    guarded: dict[tuple[str, str], Guarded]


class Expired:
    """The marks and the policy of the store at `base`."""

    def __init__(self, base: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        """Have read nothing yet; `now` gives the time, aware UTC."""
        self._base = base
        self._folder = base / FOLDER
        self._now = now
        self._marks: dict[tuple[str, str], _Marks] = {}
        self._told = _Told(None, Policy(), None, {})

    # For whoever fetches hours ------------------------------------------------------------------------------------

    def is_expired(self, channel: str, quality: str, hour: str) -> bool:
        """Tell whether an hour, by its folder's name, is not wanted. Raises BadPathError for names that cannot be."""
        if hour in self.hours(channel, quality):
            return True
        told = self._tell()
        if told.at is None or self._now() - told.at > _CONFIRMED:
            return False
        moment = parse_hour(hour)
        if not told.policy.is_past(channel, quality, moment, self._now()):
            return False
        key = (channel, quality)
        guarded = told.guarded.get(key)
        if guarded is None:
            guarded = told.guarded[key] = Guarded(told.policy.protections, channel, quality)
        return moment not in guarded

    def hours(self, channel: str, quality: str) -> frozenset[str]:
        """Name the hours of a quality that were deleted."""
        return self._look(channel, quality).hours

    def deleted(self, channel: str, quality: str) -> Mapping[str, datetime]:
        """Give the hours of a quality that were deleted, and when (aware UTC)."""
        return self._look(channel, quality).deleted

    def qualities(self) -> list[tuple[str, str]]:
        """Name the channels and qualities of which hours were deleted, sorted."""
        paths = self._folder.glob("[!.]*/[!.]*")
        return sorted((path.parent.name, path.name) for path in paths)

    # For the librarian ----------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Wait until nobody else decides or writes here, and keep it so. Raises OSError if the disk refuses it."""
        lock = self._open_lock()
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)  # and with it the lock

    def _open_lock(self) -> int:
        try:
            make_folder(self._folder, self._base)
            return os.open(self._folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
        except OSError as error:
            if error.errno not in FULL:
                raise
            # a disk without room for an empty file: a folder does for a lock, but on NFS
            return os.open(self._base, os.O_RDONLY | os.O_DIRECTORY)

    def mark(self, channel: str, quality: str, hours: Iterable[str]) -> None:
        """Mark hours as deleted, for good on disk before this returns; of one that is marked already the time stays."""
        deleted = self.deleted(channel, quality)
        fresh = dict.fromkeys(set(hours) - deleted.keys(), self._now())
        if fresh:
            self._write(channel, quality, {**deleted, **fresh})

    def lift(self, channel: str, quality: str, hours: Iterable[str]) -> None:
        """Take marks back: these hours may be fetched again."""
        deleted = self.deleted(channel, quality)
        gone = deleted.keys() & set(hours)
        if gone:
            self._write(channel, quality, {hour: at for hour, at in deleted.items() if hour not in gone})

    def policy(self) -> Policy:
        """Give the policy that was last written, however old; an empty one if there is none."""
        return self._tell().policy

    def confirmed_at(self) -> datetime | None:
        """Tell when the policy was last confirmed, by the clock of who did; None if it never was."""
        return self._tell().at

    def write_policy(self, policy: Policy) -> None:
        """Confirm what the librarian keeps to, now."""
        make_folder(self._folder, self._base)
        replace_file(self._folder / _POLICY, json.dumps({"at": format_utc(self._now()), **_policy_to_json(policy)}))

    def _write(self, channel: str, quality: str, deleted: Mapping[str, datetime]) -> None:
        path = self._path(channel, quality)
        make_folder(path.parent, self._base)
        replace_file(path, json.dumps({hour: format_utc(at) for hour, at in sorted(deleted.items())}))

    def _path(self, channel: str, quality: str) -> Path:
        return self._folder / component(channel) / component(quality)

    def _look(self, channel: str, quality: str) -> _Marks:
        path = self._path(channel, quality)
        found, stamp = self._marks.get((channel, quality)), _stamp(path)
        if found is None or found.stamp != stamp:
            deleted = _NOTHING if stamp is None else _read(path, _marks_from_json, _NOTHING)
            found = _Marks(stamp, deleted, frozenset(deleted))
            self._marks[channel, quality] = found
        return found

    def _tell(self) -> _Told:
        path = self._folder / _POLICY
        stamp = _stamp(path)
        if self._told.stamp != stamp:
            nothing: tuple[Policy, datetime | None] = (Policy(), None)
            policy, at = nothing if stamp is None else _read(path, _policy_from_json, nothing)
            self._told = _Told(stamp, policy, at, {})
        return self._told


def _stamp(path: Path) -> _Stamp | None:
    try:
        found = path.stat()
    except (FileNotFoundError, NotADirectoryError):
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


# As text ------------------------------------------------------------------------------------------------------------


def _read(path: Path, parse_text: Callable[[Any], T], empty: T) -> T:
    try:
        text = path.read_bytes()
    except FileNotFoundError:
        return empty
    try:
        return parse_text(json.loads(text))
    except (ValueError, TypeError, LookupError, AttributeError, ArithmeticError, RecursionError) as error:
        log.warning("expired_hours_unreadable", path=str(path), reason=str(error) or type(error).__name__)
        return empty


def _marks_from_json(found: Any) -> Mapping[str, datetime]:  # noqa: ANN401 - JSON
    return MappingProxyType({hour_name(parse_hour(hour)): parse(at) for hour, at in found.items()})


def _policy_to_json(policy: Policy) -> dict[str, Any]:
    limits = policy.limits
    return {
        "ages": [[each.channel, each.quality, each.age.total_seconds()] for each in limits.ages],
        "size": limits.size,
        "free": limits.free,
        "space_before": policy.space_before and hour_name(policy.space_before),
        "known": policy.known and format_utc(policy.known),
        "protections": [
            [each.channel, each.quality, format_utc(each.start), format_utc(each.end), each.why]
            for each in policy.protections
        ],
    }


def _policy_from_json(found: Any) -> tuple[Policy, datetime | None]:  # noqa: ANN401 - JSON
    ages = tuple(AgeLimit(channel, quality, timedelta(seconds=age)) for channel, quality, age in found["ages"])
    protections = tuple(
        Protection(channel, quality, parse(start), parse(end), why)
        for channel, quality, start, end, why in found["protections"]
    )
    policy = Policy(
        Limits(ages, found["size"], found["free"]),
        found["space_before"] and parse_hour(found["space_before"]),
        found["known"] and parse(found["known"]),
        protections,
    )
    return policy, parse(found["at"])
