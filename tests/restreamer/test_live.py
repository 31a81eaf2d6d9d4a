"""Live lists on a real disk: kept, dropped, opened again, and the same to whichever process looks."""

import os
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from common.facts import Facts, Format, Track, TrackKind
from common.segments import Arrival, Segment, SegmentType
from common.sidecar import FactsStore
from common.store import HourWatch, Store
from restreamer import live
from restreamer.ledger import Entry
from restreamer.live import LiveLists
from restreamer.notes import FOLDER, Key, Note, Notes
from restreamer.playlist import entries_chunk

Put = Callable[..., Segment]

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
LENGTH = timedelta(seconds=2)
KEY = Key("chan", "source", NOON)


def second(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


class Shown(NamedTuple):
    """What a player sees of a live list: the numbers of the first entry, and for each its start and what it breaks."""

    first: int
    first_break: int
    entries: list[tuple[datetime, bool]]
    target: int

    @property
    def starts(self) -> list[datetime]:
        return [start for start, _ in self.entries]

    @property
    def numbers(self) -> dict[datetime, int]:
        return {start: number for number, start in enumerate(self.starts, start=self.first)}


class Server:
    """One process' live lists; facts of segments are `known` to it by their start, and others when they are probed."""

    def __init__(self, store: Store, known: Callable[[Path], Facts] | None = None) -> None:
        recorded = Store(store.base)
        self.facts = FactsStore(recorded, known or (lambda _: Facts(1, error="This is none.")))
        self.lists = LiveLists(recorded, self.facts)

    def show(self, now: datetime, key: Key = KEY) -> Shown | None:
        with self.lists.reading(key, "base", key.start or NOON, now) as found:
            if found is None or found.note is None:
                return None
            ledger = found.ledger
            entries = [(entry.segment.start, entry.broken) for entry in ledger.entries]
            return Shown(ledger.first, ledger.first_break, entries, found.note.target)

    def see(self, now: datetime, key: Key = KEY) -> Shown:
        shown = self.show(now, key)
        assert shown is not None
        return shown


def test_no_entry_is_longer_than_the_target(store: Store, put: Put) -> None:
    """A segment longer than the target makes it grow, though a shorter one has come after it by the next look."""
    for n in range(40):
        put(second(2 * n))
    server = Server(store)
    assert server.see(second(80)).target == 2
    put(second(80), 7.5)
    put(second(87.5), 2.0)
    assert server.see(second(90)).target == 8
    assert Server(store).see(second(90)).target == 8


def test_a_range_that_will_end_is_not_rendered_again(store: Store, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a list with an end to come, too, what has been rendered stays as it is."""
    for n in range(120):
        put(second(10 * n), 10.0)
    rendered: list[int] = []
    real = entries_chunk

    def counted(base: str, entries: Sequence[Entry], facts: Any) -> Any:  # noqa: ANN401 - as the function's
        rendered.append(len(entries))
        return real(base, entries, facts)

    monkeypatch.setattr(live, "entries_chunk", counted)
    server = Server(store)
    texts = []
    for now in (second(1200), second(1201)):
        with server.lists.reading(KEY, "base", NOON, now) as found:
            assert found is not None
            assert [found.listed(end) for end in (None, second(1195), second(900), second(5))] == [120, 120, 91, 1]
            texts.append([b"".join(chunk.text for chunk in found.chunks(count)) for count in (120, 91, 1)])
    assert [text.count(b"#EXTINF") for text in texts[0]] == [120, 91, 1]
    assert texts[0] == texts[1]
    assert sum(rendered) < 60 + 2 * (60 + 31 + 1) + 60


def test_a_list_that_another_process_serves_is_being_read(store: Store, put: Put) -> None:
    """Whoever has followed a list elsewhere is not given another one here."""
    put(NOON)
    assert not Server(store).lists.is_read(KEY)
    Server(store).see(second(3))
    assert Server(store).lists.is_read(KEY)


@pytest.mark.parametrize(
    "rest", ["", '{"opened": "2026', "[]", '{"opened":"2026-03-01T12:00:00Z","target":2,"marks":[]}']
)
def test_what_a_crash_left_of_a_note_is_replaced(store: Store, put: Put, rest: str) -> None:
    """A note that is none does not keep processes from agreeing."""
    put(NOON), put(second(4))
    folder = store.base / FOLDER
    folder.mkdir()
    (folder / KEY.note).write_text(rest)
    first = Server(store).see(second(30))
    late = put(second(2))
    os.utime(store.segment_path("chan", "source", late), (second(31).timestamp(),) * 2)
    assert Server(store).see(second(40)) == first


def test_what_has_nothing_takes_no_place(store: Store, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """Requests for what is not recorded, or cannot be, do not push out the lists that are read."""
    monkeypatch.setattr(live, "_LISTS", 2)
    opened: list[object] = []
    real = live.LiveList.open

    def noted(*args: Any) -> None:  # noqa: ANN401 - as the method's
        opened.append(args)
        real(*args)

    monkeypatch.setattr(live.LiveList, "open", noted)
    put(NOON)
    server = Server(store)
    server.see(second(3))
    assert [server.show(second(3), Key(f"no{n}", "source", NOON)) for n in range(5)] == [None] * 5
    for name in ("..", ".hidden", "a/b"):
        with pytest.raises(ValueError, match="cannot be the name"):
            server.show(second(3), Key(name, "source", NOON))
    opened.clear()
    server.see(second(4))
    assert opened == []


def test_lists_are_dropped_when_they_are_too_much(store: Store, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long lists are, no more entries are kept than there is room for; the one just read is always kept."""
    monkeypatch.setattr(live, "_MOST_ENTRIES", 25)
    for n in range(20):
        put(second(2 * n))
    server, other = Server(store), replace(KEY, start=second(-1))
    for key in (KEY, other, KEY):
        assert len(server.see(second(40), key).entries) == 20
        assert [*server.lists._lists] == [key]


def test_notes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for, there are only so many notes; those asked for last stay."""
    monkeypatch.setattr("restreamer.notes._MOST_NOTES", 3)
    monkeypatch.setattr("restreamer.notes._SWEEP_SECONDS", 0.0)
    notes, keys = Notes(tmp_path), [replace(KEY, start=second(n)) for n in range(6)]
    for age, key in enumerate(keys):
        notes.decide(key, Note(NOON))
        os.utime(tmp_path / FOLDER / key.note, (1e9 + age, 1e9 + age))
    monkeypatch.setattr("restreamer.notes._NOTE_SECONDS", 1e12)
    notes.decide(KEY, Note(NOON))
    assert len([path for path in (tmp_path / FOLDER).iterdir() if not path.name.startswith(".")]) <= 3


def test_two_processes_add_to_one_note(tmp_path: Path) -> None:
    """What one process has noted is not lost when another one, that knows less, writes."""
    first, second_ = Notes(tmp_path), Notes(tmp_path)
    note = first.decide(KEY, Note(NOON, 4, {"2026-03-01T12": (0, 0, False)}, {second(8)}))
    behind = second_.decide(KEY, Note(NOON, 9))
    assert behind == note
    first.add(KEY, replace(note, target=6, marks=note.marks | {"2026-03-01T13": (5, 1, True)}))
    second_.add(KEY, behind)
    assert Notes(tmp_path).read(KEY) == Note(
        NOON, 6, {"2026-03-01T12": (0, 0, False), "2026-03-01T13": (5, 1, True)}, {second(8)}
    )


def test_files_from_the_future_stop_nothing(store: Store, put: Put) -> None:
    """With files that seem to be of a time to come, a list opens, and goes on."""
    for n in range(3):
        path = store.segment_path("chan", "source", put(second(2 * n)))
        os.utime(path, (second(7200).timestamp(),) * 2)
    server = Server(store)
    server.show(second(7))
    assert len(server.see(second(30)).entries) == 3
    for n in (3, 4):
        put(second(2 * n))
    assert len(server.see(second(33)).entries) == 5
    assert len(Server(store).see(second(33)).entries) == 5


def test_what_an_error_interrupts_is_not_lost(store: Store, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """When one hour of two cannot be read for a moment, what the other told is listed all the same, later."""
    start = second(3590)
    first = [put(start + n * LENGTH) for n in range(2)]
    server = Server(store)
    assert len(server.see(start + 2 * LENGTH).entries) == 2
    more = [put(start + n * LENGTH) for n in range(2, 7)]
    real = HourWatch.news

    def failing(watch: HourWatch) -> list[Arrival]:
        if watch._hour != NOON:
            raise OSError(5, "Input/output error")
        return real(watch)

    with monkeypatch.context() as broken:
        broken.setattr(HourWatch, "news", failing)
        with pytest.raises(OSError, match="Input/output"):
            server.show(start + 7 * LENGTH)
    assert server.see(start + 7 * LENGTH).starts == [segment.start for segment in first + more]


def _facts(first: float) -> Facts:
    form = Format(TrackKind.VIDEO, "avc1.64001f", 320, 180)
    return Facts(100, (Track(form, int(first * 90_000), int((first + 2) * 90_000)),), key_frame=True)


def test_processes_agree_where_the_media_breaks(store: Store, put: Put) -> None:
    """A break of which nothing was known when a list opened is not marked by a process that has learnt of it since."""
    recorded = [put(second(2 * n)) for n in range(6)]
    clocks = {segment.name: 2.0 * n + (1000 if n >= 3 else 0) for n, segment in enumerate(recorded)}

    def examine(path: Path) -> Facts:
        return _facts(clocks[path.name])

    first = Server(store, examine)
    now = second(600)
    before = first.see(now)
    first.facts.probe_missing("chan", "source", recorded)
    later = put(second(12))
    os.utime(store.segment_path("chan", "source", later), ((now + LENGTH / 2).timestamp(),) * 2)
    clocks[later.name] = 5000.0
    after = first.see(now + LENGTH)
    assert after.entries == [*before.entries, (later.start, True)]
    assert Server(store, examine).see(now + LENGTH) == after


def test_what_was_known_to_break_stays(store: Store, put: Put) -> None:
    """A break that was marked when a list opened is marked by all, though what was known of it has been deleted."""
    recorded = [put(second(2 * n)) for n in range(4)]
    clocks = {segment.name: 1000.0 * n for n, segment in enumerate(recorded)}
    first = Server(store, lambda path: _facts(clocks[path.name]))
    first.facts.probe_missing("chan", "source", recorded)
    before = first.see(second(600))
    assert [broken for _, broken in before.entries] == [False, True, True, True]
    (store.folder("chan", "source") / recorded[0].hour / ".facts").unlink()
    assert Server(store).see(second(600)) == before


def test_numbers_stay_though_a_file_went(store: Store, put: Put) -> None:
    """When a listed file of an older hour is deleted, a restart still gives the newest ones their numbers."""
    recorded = [put(second(3580 + 2 * n)) for n in range(30)]
    now = second(3645)
    before = Server(store).see(now)
    store.segment_path("chan", "source", recorded[3]).unlink()
    after = Server(store).see(now)
    newest = recorded[-5].start
    assert after.numbers[newest] == before.numbers[newest] == 25


def test_a_list_that_lost_all_goes_on(store: Store, put: Put) -> None:
    """When all its hours were deleted, what comes next follows with a break; what is older than they were does not."""
    old = [put(second(2 * n)) for n in range(3)]
    server = Server(store)
    assert len(server.see(second(6)).entries) == 3
    folder = store.folder("chan", "source") / old[0].hour
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert server.see(second(10)).entries == []
    put(second(2))
    new = put(second(3600))
    os.utime(store.segment_path("chan", "source", new), (second(3602).timestamp(),) * 2)
    shown = server.see(second(3700))
    assert (shown.first, shown.entries) == (3, [(new.start, True)])


def test_a_list_that_lost_all_goes_on_after_a_restart(store: Store, put: Put) -> None:
    """A new process, too, goes on with a list of which nothing is left, and its numbers do not go back."""
    old = [put(second(2 * n)) for n in range(3)]
    before = Server(store).see(second(6))
    for segment in old:
        store.segment_path("chan", "source", segment).unlink()
    new = put(second(3600))
    os.utime(store.segment_path("chan", "source", new), (second(3602).timestamp(),) * 2)
    after = Server(store).see(second(3700))
    assert after.starts == [new.start]
    assert after.first >= before.first + len(old)


@pytest.mark.parametrize("start", [NOON, second(3600) - 2 * LENGTH])
@pytest.mark.parametrize("step", [0.3, -0.3, 1.9, -1.9])
def test_processes_agree_over_a_step_of_the_clock(store: Store, put: Put, start: datetime, step: float) -> None:
    """What the media joins over a step of the clock, also back over the full hour, all processes list unbroken."""
    clocks: dict[str, float] = {}

    def record(number: int, seconds: float) -> Segment:
        segment = put(start + number * LENGTH + timedelta(seconds=seconds))
        came = (start + (number + 2) * LENGTH).timestamp()
        os.utime(store.segment_path("chan", "source", segment), (came, came))
        clocks[segment.name] = 2.0 * number
        return segment

    def examine(path: Path) -> Facts:
        return _facts(clocks[path.name])

    key = replace(KEY, start=start)
    before = [record(0, 0.0), record(1, 0.0)]
    first = Server(store, examine)
    assert first.see(start + 3 * LENGTH, key).starts == [segment.start for segment in before]
    after = [record(number, step) for number in (2, 3, 4)]
    shown = first.see(start + 8 * LENGTH, key)
    assert shown.entries == [(segment.start, False) for segment in before + after]
    assert Server(store, examine).see(start + 8 * LENGTH, key) == shown


def test_a_step_is_looked_into_before_a_list_opens(store: Store, put: Put) -> None:
    """A list that opens behind a step of which nothing was known has no break there; what is missing is one."""
    moments = [second(at) for at in (0, 2, 4.3, 6.3, 10.3)]
    clocks = {put(moment).name: at for moment, at in zip(moments, (0.0, 2.0, 4.0, 6.0, 10.0), strict=True)}
    shown = Server(store, lambda path: _facts(clocks[path.name])).see(second(600))
    assert shown.entries == [(moment, moment == moments[-1]) for moment in moments]
    assert Server(store).see(second(600)) == shown


def test_what_was_held_back_is_looked_into_too(store: Store, put: Put) -> None:
    """What was there when a list opened, and waited for a better segment before it, joins that over a step."""
    recorded = [put(NOON), put(second(2), data=b"half", kind=SegmentType.PARTIAL), put(second(4.3))]
    clocks = {segment.name: 2.0 * number for number, segment in enumerate(recorded)}
    server = Server(store, lambda path: _facts(clocks[path.name]))
    assert server.see(second(7)).starts == [NOON]
    better = put(second(2))
    clocks[better.name] = 2.0
    os.utime(store.segment_path("chan", "source", better), (second(8).timestamp(),) * 2)
    shown = server.see(second(9))
    assert shown.entries == [(NOON, False), (better.start, False), (recorded[2].start, False)]
    assert Server(store).see(second(9)) == shown


def test_what_the_media_joins_is_asked_when_the_head_is_gone(store: Store, put: Put) -> None:
    """When all that was listed has been deleted, what the media joins to it is listed at once, and without a break."""
    start = second(3600) - LENGTH
    old = put(start)
    clocks = {old.name: 0.0}
    server = Server(store, lambda path: _facts(clocks[path.name]))
    key = replace(KEY, start=start)
    assert server.see(second(3600), key).starts == [start]
    folder = store.folder("chan", "source") / old.hour
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    assert server.see(second(3601), key).entries == []
    new = put(second(3600.3))
    clocks[new.name] = 2.0
    os.utime(store.segment_path("chan", "source", new), (second(3602.3).timestamp(),) * 2)
    shown = server.see(second(3603), key)
    assert (shown.first, shown.entries) == (1, [(new.start, False)])
