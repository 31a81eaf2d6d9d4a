"""The hours that a node does not want: marks that outlive all, and what the policy says of hours never seen."""

import os
from datetime import timedelta
from pathlib import Path
from queue import Queue
from threading import Thread

import pytest

from clocks import NOON, Clock
from common.expired import FOLDER, Expired
from common.lifetimes import AgeLimit, Limits, Policy, Protection
from common.store import BadPathError, Store

HOUR = timedelta(hours=1)
DAY = 24 * HOUR


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def expired(tmp_path: Path, clock: Clock) -> Expired:
    return Expired(tmp_path, clock)


def test_marks_are_seen_by_everybody(expired: Expired, tmp_path: Path, clock: Clock) -> None:
    """What one process marks another one sees at once, with the time of the first mark; listings show nothing of it."""
    reader = Expired(tmp_path)
    assert reader.hours("chan", "source") == frozenset()
    expired.mark("chan", "source", ["2026-02-01T10"])
    assert reader.hours("chan", "source") == {"2026-02-01T10"}
    clock.now += HOUR
    expired.mark("chan", "source", ["2026-02-01T11", "2026-02-01T10"])
    assert reader.deleted("chan", "source") == {"2026-02-01T10": NOON, "2026-02-01T11": NOON + HOUR}
    assert reader.is_expired("chan", "source", "2026-02-01T10")
    assert not reader.is_expired("chan", "720p", "2026-02-01T10")
    assert reader.qualities() == [("chan", "source")]
    assert Store(tmp_path).channels() == []


def test_lifted_mark_is_gone(expired: Expired, tmp_path: Path) -> None:
    """An hour whose mark was lifted is wanted again, the others are not."""
    expired.mark("chan", "source", ["2026-02-01T10", "2026-02-01T11"])
    expired.lift("chan", "source", ["2026-02-01T10", "2026-02-01T12"])
    assert Expired(tmp_path).hours("chan", "source") == {"2026-02-01T11"}


def test_reading_costs_nothing_while_nothing_changes(
    expired: Expired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is read again only when the file is another one."""
    expired.mark("chan", "source", ["2026-02-01T10"])
    reader = Expired(tmp_path)
    known = reader.hours("chan", "source")
    with monkeypatch.context() as context:
        context.setattr(Path, "read_bytes", None)
        assert reader.hours("chan", "source") is known


@pytest.mark.parametrize("text", ["", "{", "[]", '{"2026": 1}', '{"2026-02-01T10": "x"}', "\0"])
def test_what_is_no_file_of_marks_is_empty(expired: Expired, tmp_path: Path, text: str) -> None:
    """What somebody else left in the place of a file marks nothing, and harms nothing."""
    folder = tmp_path / FOLDER / "chan"
    folder.mkdir(parents=True)
    (folder / "source").write_text(text)
    (tmp_path / FOLDER / ".policy").write_text(text)
    assert expired.hours("chan", "source") == frozenset()
    assert not expired.is_expired("chan", "source", "2026-02-01T10")
    assert expired.policy() == Policy()


def test_marks_that_cannot_be_read_are_not_lost(
    expired: Expired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the disk does not give the marks for once, nothing is marked in their place, and they are there again."""
    expired.mark("chan", "source", ["2026-02-01T10"])
    other = Expired(tmp_path)

    def refuse(_: Path) -> bytes:
        raise OSError(24, "Too many open files")

    with monkeypatch.context() as context:
        context.setattr(Path, "read_bytes", refuse)
        with pytest.raises(OSError, match="Too many"):
            other.is_expired("chan", "source", "2026-02-01T10")
        with pytest.raises(OSError, match="Too many"):
            other.mark("chan", "source", ["2026-02-01T11"])
    other.mark("chan", "source", ["2026-02-01T12"])
    assert Expired(tmp_path).hours("chan", "source") == {"2026-02-01T10", "2026-02-01T12"}


def test_names_lead_nowhere_else(expired: Expired) -> None:
    """A channel or quality that is no name is refused."""
    with pytest.raises(BadPathError):
        expired.is_expired("..", "source", "2026-02-01T10")


@pytest.mark.parametrize("step", ["fsync", "rename"])
def test_marks_that_cannot_be_written_are_as_before(
    expired: Expired, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    """A disk that refuses a new mark leaves the old ones, and no half-written file."""
    expired.mark("chan", "source", ["2026-02-01T10"])

    def refuse(*_: object) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as context:
        context.setattr({"fsync": os, "rename": Path}[step], step, refuse)
        with pytest.raises(OSError, match="No space"):
            expired.mark("chan", "source", ["2026-02-01T11"])
    assert Expired(tmp_path).hours("chan", "source") == {"2026-02-01T10"}
    assert [path.name for path in (tmp_path / FOLDER / "chan").iterdir()] == ["source"]


POLICY = Policy(
    Limits((AgeLimit("*", "*", 7 * DAY), AgeLimit("chan", "720p", DAY)), size=10**12, free=None),
    space_before=NOON - 5 * DAY,
    known=NOON,
    protections=(Protection("chan", None, NOON - 9 * DAY, NOON - 9 * DAY + HOUR, "event one is EDITED"),),
)


def test_policy_is_read_as_it_was_written(expired: Expired, tmp_path: Path) -> None:
    """What the librarian keeps to outlives it."""
    expired.write_policy(POLICY)
    assert Expired(tmp_path).policy() == POLICY


def test_what_would_go_at_once_is_not_wanted(expired: Expired) -> None:
    """Hours that never were here are unwanted if they are too old or lie before what made room, unless protected."""
    expired.write_policy(POLICY)
    assert expired.is_expired("chan", "source", "2026-02-21T12")
    assert expired.is_expired("chan", "source", "2026-02-24T11")
    assert not expired.is_expired("chan", "source", "2026-02-24T12")
    assert expired.is_expired("chan", "720p", "2026-02-27T12")
    assert not expired.is_expired("chan", "source", "2026-02-20T12")
    assert expired.is_expired("other", "source", "2026-02-20T12")


def test_policy_of_a_librarian_that_is_gone_counts_no_more(expired: Expired, clock: Clock) -> None:
    """A day after the last word of a librarian its limits mean nothing to others, its marks do."""
    expired.write_policy(POLICY)
    expired.mark("chan", "source", ["2026-02-22T10"])
    clock.now += DAY + HOUR
    assert not expired.is_expired("chan", "source", "2026-02-21T12")
    assert expired.is_expired("chan", "source", "2026-02-22T10")


def test_one_writes_at_a_time(expired: Expired, tmp_path: Path) -> None:
    """Who decides what goes keeps others from doing so until it is done."""
    entered: Queue[str] = Queue()

    def write() -> None:
        with Expired(tmp_path).writing():
            entered.put("second")

    second = Thread(target=write)
    with expired.writing():
        second.start()
        second.join(0.05)
        entered.put("first")
    second.join(30)
    assert [entered.get_nowait(), entered.get_nowait()] == ["first", "second"]
