"""The invariant of the downloader, in hours of broadcasts on a virtual clock: what could be recorded is recorded.

Whatever an origin does, after a run every segment that was listed and served soundly for long enough is in the store
under a final name with the right hash; what is called full is all of a programme segment; no advertisement is there;
and what is missing is in the report with its reason.
"""

import gc
from collections.abc import Collection

import pytest

from broadcast import Pause, Script
from common.store import Store
from faults import (
    ALL,
    LASTING,
    LISTS,
    MASTERS,
    PASSING,
    PLAYLISTS,
    SEGMENTS,
    answers,
    never_ends,
    passing,
    random_broadcast,
    redirects,
    sends,
    understates,
    without,
)
from origin import Asked, Fault
from reckoning import required
from ts_bytes import PACKET
from virtual_recording import record, use_virtual_times

SEEDS = range(8)


@pytest.fixture(autouse=True)
def virtual_times(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the downloader live on the virtual clock."""
    use_virtual_times(monkeypatch)


FORMS = {
    "transport stream": Script(),
    "fragmented MP4 whose map changes": Script(every_map=7),
    "encrypted, with keys that change": Script(every_key=7),
    "encrypted MP4": Script(every_key=9, every_map=14),
    "byte ranges": Script(ranges=5),
    "byte ranges of MP4": Script(ranges=4, every_map=8),
    "without times": Script(dated=False),
    "without times, with sessions": Script(dated=False, expires=30.0),
    "times that jump": Script(jumps={10: 0.3, 20: -0.7, 30: 8.0}),
    "gaps": Script(gaps=frozenset({7, 8, 20})),
    "placeholders": Script(slates=frozenset({7, 8, 20})),
    "advertisements": Script(ads=frozenset([*range(8, 14), 30, 31])),
    "longer breaks than the window": Script(ads=frozenset(range(8, 29)), window=6),
    "an end and a return": Script(pauses={15: Pause(40.0)}),
    "an end and a return that counts from nought": Script(pauses={15: Pause(40.0, reset=True)}),
    "ends and returns within seconds": Script(pauses={12: Pause(3.0), 24: Pause(5.0, reset=True)}),
    "sessions that expire": Script(expires=25.0),
    "sessions that expire, with other names": Script(expires=25.0, names_differ=True),
    "durations of nought and of a day": Script(said={10: 0.0, 11: 86400.0, 20: 86400.0}),
    "reloads that block": Script(blocking=True),
    "a small window": Script(window=4),
}


@pytest.mark.parametrize("name", FORMS)
def test_every_form_is_recorded(store: Store, name: str) -> None:
    """All that a stream may be is recorded whole, where nothing is wrong."""
    recorded = record(store, {"chan": (FORMS[name], [])})
    assert recorded.faults() == []
    assert len(required(recorded.origin.shows["chan"])) >= 15


@pytest.mark.parametrize("name", PASSING)
def test_a_fault_that_passes_costs_nothing(store: Store, name: str) -> None:
    """Each fault that passes, by itself: nothing is lost, and nothing that was not whole is called so."""
    fault = passing(name, 0, 20.0, 12)
    # to be refused a new session matters to those who need one
    script = Script(expires=20.0) if fault.asked == {Asked.MASTER} else Script()
    recorded = record(store, {"chan": (script, [fault])})
    assert recorded.faults() == []
    assert any(line.fault == name for line in recorded.origin.shows["chan"].ledger)


def test_what_is_odd_after_failures_is_asked_for_again(store: Store) -> None:
    """However often a segment has failed, one that comes then and is not all there is not the last word."""
    twelve = frozenset({12})
    fails = Fault("fails", SEGMENTS, answers(503), numbers=twelve, attempts=4)
    odd = Fault("odd", SEGMENTS, understates(0.3), numbers=twelve, attempts=6)
    recorded = record(store, {"chan": (Script(), [fails, odd])})
    assert recorded.faults() == []


@pytest.mark.parametrize("form", [Script(), Script(every_key=1, every_map=1)], ids=["segments", "keys and maps"])
def test_what_never_comes_is_in_the_report(store: Store, form: Script) -> None:
    """Segments that cannot be had are missing, each for its reason, and no others are."""
    lasting = {name: fault for name, fault in LASTING.items() if (fault[0] == SEGMENTS) != bool(form.every_key)}
    numbers = dict(zip(lasting, range(8, 40, 2), strict=False))
    faults = [Fault(n, asked, act, numbers=frozenset({numbers[n]})) for n, (asked, act, _) in lasting.items()]
    recorded = record(store, {"chan": (form, faults)})
    reckoning = recorded.reckoning()
    assert reckoning.faults() == []
    assert {name: reckoning.reason(numbers[name]) for name in lasting} == {
        n: said for n, (_, _, said) in lasting.items()
    }
    assert set(range(40)) - reckoning.whole().keys() == set(numbers.values())


@pytest.mark.parametrize("seed", SEEDS)
def test_faults_at_random_cost_nothing(store: Store, seed: int) -> None:
    """Whatever faults come together, in whatever order, in a stream of whatever form."""
    script, faults = random_broadcast(seed)
    recorded = record(store, {"chan": (script, faults)}, seed=seed, threads=seed % 2 == 1)
    assert recorded.faults() == [], f"Seed {seed}: {script}, {[(f.name, f.begin, f.numbers) for f in faults]}"


# Sessions and variants -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("history", [False, True])
def test_a_session_that_begins_with_advertisements_costs_nothing(store: Store, history: bool) -> None:  # noqa: FBT001
    """Where it is known how long an address is good, the next session is past its first advertisements by then."""
    script = Script(count=200, expires=200.0, preroll=12.0, history=history, window=10, names_differ=True)
    recorded = record(store, {"chan": (script, [])}, expires_in=200.0)
    show = recorded.origin.shows["chan"]
    assert recorded.faults() == []
    # at the very beginning there is no older session to fall back on
    assert recorded.reckoning().whole().keys() >= set(range(11, 200))
    assert [round(session.opened) for session in show.sessions if session.opened < show.over] == [0, 180, 360]


@pytest.mark.parametrize("fault", [name for name in PASSING if name.startswith("session")])
def test_no_advertisement_of_a_new_session_is_recorded(store: Store, fault: str) -> None:
    """When a session fails and the next begins with advertisements, the programme that either shows is recorded."""
    script = Script(count=60, preroll=12.0, names_differ=True)
    recorded = record(store, {"chan": (script, [passing(fault, 0, 40.0, 25)])})
    assert recorded.faults() == []
    assert len(recorded.reckoning().whole()) >= 35


def test_a_variant_that_vanishes_is_replaced(store: Store) -> None:
    """While the best quality is not offered the next one is recorded in its place, and nothing is lost."""
    gone = Fault("", MASTERS, without("best"), 25.0, 60.0)
    closed = Fault("", PLAYLISTS, answers(404), 25.0, 60.0, variants=frozenset({"best"}))
    recorded = record(store, {"chan": (Script(count=50, variants=("best", "next")), [gone, closed])})
    reckoning = recorded.reckoning()
    assert [fault for fault in reckoning.faults() if "is there as" not in fault] == []
    assert reckoning.whole().keys() == set(range(50))


# A long time ---------------------------------------------------------------------------------------------------------


def test_memory_stays_flat(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Three times as much of a stream with faults and sessions takes no more memory."""
    monkeypatch.setattr("downloader.report._REMEMBERED", 100)  # which is hours otherwise, and then an end too
    script = Script(count=300, seconds=6.0, window=10, expires=300.0, names_differ=True, kept=100.0)
    names = [name for name in PASSING if not name.startswith("session")]
    faults = [passing(name, 1, 60.0 * at, 10 * at) for at, name in enumerate(names, 1)]
    sizes: list[int] = []
    record(store, {"chan": (script, faults)}, meanwhile=lambda: sizes.append(remembered()))
    early, late = sizes
    assert late < early * 1.2 + 100


def remembered() -> int:
    """Count the objects of the downloader, and what they hold in lists and tables."""
    gc.collect()
    ours = [one for one in gc.get_objects() if str(type(one).__module__).startswith("downloader.")]
    held = {id(part): part for one in ours for part in gc.get_referents(one) if isinstance(part, Collection)}
    return len(ours) + sum(len(part) for part in held.values() if not isinstance(part, str | bytes))


# Hostile origins -----------------------------------------------------------------------------------------------------

LINES = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n"

HOSTILE = {
    "an endless playlist": Fault("", PLAYLISTS, never_ends(b"#EXTINF:2,\nx.ts\n" * 5000, 0.5)),
    "an endless multivariant playlist": Fault("", LISTS, never_ends(b"#EXT-X-STREAM-INF:BANDWIDTH=1\nx\n" * 5000, 0.5)),
    "an endless line": Fault("", PLAYLISTS, never_ends(b"#" * 1_000_000, 0.5)),
    "an endless segment": Fault("", SEGMENTS, never_ends(b"\x47" * PACKET * 100, 0.5)),
    "an endless segment of nothing": Fault("", SEGMENTS, never_ends(b"", 0.5)),
    "very many entries": Fault("", PLAYLISTS, sends(LINES + b"#EXTINF:2,\nx\n" * 20_000), end=0.5),
    "very many variants": Fault("", MASTERS, sends(b"#EXTM3U\n" + b"#EXT-X-STREAM-INF:\nx\n" * 20_000), end=0.5),
    "no UTF-8": Fault("", LISTS, sends(LINES + b"\xff\xfe\x00" * 5000)),
    "a redirect to a file": Fault("", ALL, redirects("file:///etc/passwd")),
    "segments in files": Fault("", PLAYLISTS, sends(LINES + b"#EXTINF:2,\nfile:///etc/passwd\n")),
    "redirects without an end": Fault("", ALL, redirects("?again")),
    "garbage": Fault("", ALL, sends(bytes(range(256)) * 1000, "application/octet-stream")),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_origin_harms_only_itself(store: Store, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """Beside a channel whose origin does its worst, another is recorded whole and at once."""
    monkeypatch.setattr("downloader.playlist_notes.MAX_ENTRIES", 10_000)
    shows = {"chan": (Script(count=20), []), "bad": (Script(count=20), [HOSTILE[name]])}
    recorded = record(store, shows)
    show = recorded.origin.shows["chan"]
    assert recorded.faults("chan") == []
    late = [line for line in show.ledger if line.number >= 0 and line.ended > show.listed["source", line.number] + 1]
    assert late == []
    assert not [sentence for sentence in recorded.faults("bad") if "called full" in sentence]
    assert not recorded.events.of("failed")
