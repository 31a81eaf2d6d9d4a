"""The reckoning sees each fault of a store: without that, its silence would show nothing."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from broadcast import Kind, Script, body
from common.segments import Segment, SegmentType, content_hash, make_segment
from common.store import Store
from reckoning import Reckoning
from virtual_recording import record, use_virtual_times

Stored = dict[Segment, bytes]


@dataclass(frozen=True, slots=True)
class Change:
    """What is done to a store and to its report, and the sentence that tells of it."""

    sentence: str
    store: Callable[[Reckoning, Stored], None] = lambda _reckoning, _stored: None
    report: Callable[[dict[datetime, str]], None] = lambda _: None


def put(stored: Stored, start: datetime, kind: SegmentType, data: bytes) -> None:
    segment = make_segment(start, timedelta(seconds=2), kind, content_hash(hashlib.sha256(data).digest()))
    stored[segment] = data


def at(stored: Stored, index: int) -> Segment:
    return sorted(stored)[index]


def lose(_: Reckoning, stored: Stored) -> None:
    del stored[at(stored, 9)]


def cut(_: Reckoning, stored: Stored) -> None:
    segment = at(stored, 9)
    put(stored, segment.start, SegmentType.FULL, stored.pop(segment)[:-188])


def advertise(reckoning: Reckoning, stored: Stored) -> None:
    show = reckoning.show
    item = next(item for item in show.items if item.kind is Kind.ADVERTISEMENT)
    put(stored, item.start, SegmentType.FULL, body(show.script, show.name, "ad 0", item))


def repeat(_: Reckoning, stored: Stored) -> None:
    segment = at(stored, 9)
    put(stored, segment.start + timedelta(seconds=1), SegmentType.FULL, stored[segment])


def misplace(_: Reckoning, stored: Stored) -> None:
    segment = at(stored, 9)
    put(stored, segment.start + timedelta(seconds=1), SegmentType.FULL, stored.pop(segment))


def doubt(_: Reckoning, stored: Stored) -> None:
    segment = at(stored, 9)
    put(stored, segment.start, SegmentType.SUSPECT, stored.pop(segment))


def leave(_: Reckoning, stored: Stored) -> None:
    put(stored, at(stored, 9).start, SegmentType.TEMP, b"")


def spoil(_: Reckoning, stored: Stored) -> None:
    put(stored, at(stored, 9).start, SegmentType.PARTIAL, b"<html>")


def forget(report: dict[datetime, str]) -> None:
    report.clear()


def blame(report: dict[datetime, str]) -> None:
    report.update(dict.fromkeys(report, "expired"))


CHANGES = {
    "a segment is lost": Change("number 9 is lost", lose),
    "half a segment is called full": Change("is called full", cut),
    "an advertisement is stored": Change("is called full", advertise),
    "a segment is there twice": Change("number 9 is there as", repeat),
    "a segment is elsewhere": Change("should start at", misplace),
    "a sound segment is doubted": Change("came soundly and is suspect", doubt),
    "a temp is left": Change("a temp is left", leave),
    "rubbish is kept": Change("is neither programme nor the beginning of it", spoil),
    "the report is silent": Change("number 15, gap, is not there, and the report says: None", report=forget),
    "the report is wrong": Change("number 20, advertisement, is not there, and the report says: expired", report=blame),
}


@pytest.fixture(scope="module")
def reckoning(tmp_path_factory: pytest.TempPathFactory) -> Reckoning:
    """A broadcast that was recorded without a fault."""
    with pytest.MonkeyPatch.context() as monkeypatch:
        use_virtual_times(monkeypatch)
        script = Script(count=30, gaps=frozenset({15}), ads=frozenset({20, 21}))
        return record(Store(Path(tmp_path_factory.mktemp("store"))), {"chan": (script, [])}).reckoning()


def test_a_sound_store_has_no_fault(reckoning: Reckoning) -> None:
    """What was recorded of a sound broadcast is as it should be."""
    assert reckoning.faults() == []


@pytest.mark.parametrize("name", CHANGES)
def test_each_fault_is_seen(reckoning: Reckoning, name: str) -> None:
    """A store that is changed, or a report, is told by the sentence that fits."""
    change = CHANGES[name]
    stored, missing = dict(reckoning.stored), dict(reckoning.missing or {})
    change.store(reckoning, stored)
    change.report(missing)
    faults = replace(reckoning, stored=stored, missing=missing).faults()
    assert any(change.sentence in fault for fault in faults), faults
