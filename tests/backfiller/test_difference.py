"""What of another node's names is fetched, and why the rest is not."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backfiller.difference import Circumstances, Difference, Why, difference
from common.coverage import SAME_MOMENT
from common.segments import Segment, SegmentType, make_segment, parse_names, stem, tombstone_name
from other_nodes import NOON, SECOND

HOUR = timedelta(hours=1)
RANKS = {SegmentType.FULL: 0, SegmentType.SUSPECT: 1, SegmentType.PARTIAL: 2}


def seg(start: float, content: str = "", kind: str = "full", seconds: float = 2.0) -> str:
    """Name a segment that starts so many seconds after noon; its content is by default that of its time."""
    segment = make_segment(NOON + start * SECOND, seconds * SECOND, SegmentType(kind), content or f"c{int(start)}")
    return segment.name


def tomb(name: str) -> str:
    return tombstone_name(name)


def compare(
    ours: Sequence[str],
    theirs: Sequence[str],
    *,
    beside: Sequence[str] = (),
    circumstances: Circumstances | None = None,
) -> Difference:
    return difference(NOON, {NOON: ours, NOON - HOUR: beside}, theirs, circumstances)


@pytest.mark.parametrize(
    ("ours", "theirs", "fetched", "why"),
    [
        pytest.param([], [seg(0)], [seg(0)], None, id="missing"),
        pytest.param([seg(0)], [seg(0)], [], Why.HERE, id="here"),
        pytest.param([seg(0, "x", "suspect")], [seg(0)], [seg(0)], None, id="full where ours is suspect"),
        pytest.param([seg(0, "x", "partial")], [seg(0)], [seg(0)], None, id="full where ours is partial"),
        pytest.param([seg(0, "x", "partial")], [seg(0, kind="suspect")], [seg(0, kind="suspect")], None, id="suspect"),
        pytest.param([seg(0, "x")], [seg(0, "y")], [seg(0, "y")], None, id="another full: nodes choose alike"),
        pytest.param([seg(0, "x")], [seg(0, "y", "partial")], [], Why.WORSE, id="partial where ours is full"),
        pytest.param([seg(0, "x", "suspect")], [seg(0, "y", "partial")], [], Why.WORSE, id="partial, ours is suspect"),
        pytest.param([seg(0, "x", "partial")], [seg(0, "y", "partial")], [seg(0, "y", "partial")], None, id="partials"),
        pytest.param([], [seg(0, "y", "partial")], [seg(0, "y", "partial")], None, id="partial alone"),
        pytest.param([], [seg(0), seg(0, "y", "partial")], [seg(0)], Why.WORSE, id="partial beside their own full"),
        pytest.param([seg(0.3, "x")], [seg(0, "x")], [], Why.SAME, id="off by a hair"),
        pytest.param([seg(3, "x")], [seg(0, "x")], [], Why.SAME, id="off by seconds"),
        pytest.param([seg(9, "x")], [seg(0, "x")], [seg(0, "x")], None, id="the same content later on"),
        pytest.param([seg(3, "x")], [seg(0, "x"), seg(3, "x")], [seg(0, "x")], Why.HERE, id="a slate that is repeated"),
        pytest.param([seg(0, "x")], [seg(0, "x", seconds=2.1)], [], Why.SAME, id="another duration"),
        pytest.param([seg(0.3, "x", "partial")], [seg(0, "x")], [seg(0, "x")], None, id="off, but better"),
        pytest.param([], [seg(0, "x"), seg(0.3, "x")], [seg(0, "x")], Why.SAME, id="off by a hair, both theirs"),
        pytest.param([], [seg(0, "5b1f", "temp")], [], Why.TEMP, id="temp"),
        pytest.param(
            [], ["../../etc/passwd", "x.ts", "", "61:00.000000-2.0-full-x.ts"], [], Why.STRANGER, id="strange"
        ),
        pytest.param([], [seg(0), tomb(seg(0))], [], Why.HIDDEN, id="hidden there"),
        pytest.param([tomb(seg(0))], [seg(0)], [], Why.HIDDEN, id="hidden here"),
        pytest.param([tomb(seg(0.3, "x"))], [seg(0, "x")], [], Why.HIDDEN, id="hidden here, off by a hair"),
        pytest.param([tomb(seg(2, "x"))], [seg(0, "x")], [seg(0, "x")], None, id="another showing is hidden"),
    ],
)
def test_rules(ours: list[str], theirs: list[str], fetched: list[str], why: Why | None) -> None:
    """Each rule decides as it is written down."""
    found = compare(ours, theirs)
    assert [segment.name for segment in found.fetch] == fetched
    assert ({*found.passed_over} == set()) if why is None else why in found.passed_over
    assert sum(found.passed_over.values()) + len(found.fetch) + len(found.tombstones) == len(set(theirs))


def test_content_beside_the_hour_is_known() -> None:
    """A segment whose content we have in the hour before, off by a hair, is not fetched."""
    found = compare([], [seg(0, "x")], beside=["59:59.900000-2.0-full-x.ts"])
    assert found.passed_over == {Why.SAME: 1}


def test_recent_and_failed_ones_are_left_for_later() -> None:
    """What is new, and what a node has just failed to give, is not fetched now; nor is the hour settled."""
    for circumstances, why in ((Circumstances(NOON), Why.RECENT), (Circumstances(None, {seg(0)}), Why.FAILED)):
        found = compare([], [seg(0)], circumstances=circumstances)
        assert (found.fetch, dict(found.passed_over), found.settled) == ((), {why: 1}, False)
    assert compare([], [seg(0)], circumstances=Circumstances(NOON + 2 * SECOND)).fetch


def test_newest_come_first_and_partials_last() -> None:
    """The order is by time, backwards; what can hardly be chosen comes after all else."""
    names = [seg(0), seg(2, kind="partial"), seg(4, kind="suspect"), seg(6)]
    fetched = [segment.name for segment in compare([], names).fetch]
    assert fetched == [seg(6), seg(4, kind="suspect"), seg(0), seg(2, kind="partial")]


NAMES = st.lists(
    st.builds(
        lambda start, content, kind, seconds, tombstone: (tomb if tombstone else str)(
            seg(start / 10, content, kind, seconds)
        ),
        st.integers(0, 100),
        st.sampled_from("abcdef"),
        st.sampled_from(["full", "full", "suspect", "partial", "temp"]),
        st.sampled_from([2.0, 2.0, 2.1, 0.5]),
        st.integers(0, 5).map(lambda number: number == 0),
    ).filter(lambda name: not ("-temp-" in name and name.endswith(".tombstone"))),
    unique=True,
    max_size=12,
)


def taken(here: Sequence[str], found: Difference) -> list[str]:
    return [*here, *(segment.name for segment in found.fetch), *found.tombstones]


@given(NAMES, NAMES)
def test_difference_is_what_the_rules_say(ours: list[str], theirs: list[str]) -> None:
    """Each name of theirs is fetched or passed over once; what is passed over is so for a reason that holds."""
    found = compare(ours, theirs)
    assert sum(found.passed_over.values()) + len(found.fetch) + len(found.tombstones) == len(theirs)
    after = taken(ours, found)
    hidden = {stem(name) for name in (*ours, *theirs) if name.endswith(".tombstone")}
    held = [segment for segment in segments(after) if stem(segment.name) not in hidden]
    for segment in found.fetch:
        assert segment.name in theirs
        assert segment.name not in ours
        assert segment.type is not SegmentType.TEMP
        assert stem(segment.name) not in hidden
    for segment in segments(theirs):
        if segment.name not in after and segment.type is not SegmentType.TEMP:
            assert explained(segment, held, hidden)
    assert {name for name in theirs if name.endswith(".tombstone")} <= set(after)


def explained(segment: Segment, held: list[Segment], hidden: set[str]) -> bool:
    """Tell whether a rule allows that a segment is not here: hidden, the same moment, or a worse candidate."""
    hashes = {name.rpartition("-")[2] for name in hidden}
    return any(
        (each.hash == segment.hash and abs(each.start - segment.start) <= SAME_MOMENT)
        or (segment.type is SegmentType.PARTIAL and each.start == segment.start and RANKS[each.type] < 2)
        for each in held
    ) or (segment.hash in hashes)


@given(NAMES, NAMES)
def test_nothing_is_fetched_twice(ours: list[str], theirs: list[str]) -> None:
    """Once all of a difference is here, there is nothing more to fetch, and the hour is settled."""
    found = compare(taken(ours, compare(ours, theirs)), theirs)
    assert (found.fetch, found.tombstones, found.settled) == ((), (), True)


@given(NAMES, NAMES, NAMES, st.lists(st.permutations(range(3)), max_size=4))
def test_nodes_converge_and_stay_quiet(
    first: list[str], second: list[str], third: list[str], rounds: list[list[int]]
) -> None:
    """Nodes that fetch from each other come to rest; then each has all that any had, but for what a rule leaves out."""
    nodes = [first, second, third]
    union = segments([*first, *second, *third])
    for order in [*rounds, *[[0, 1, 2]] * 4]:
        for number in order:
            for other in range(3):
                nodes[number] = taken(nodes[number], compare(nodes[number], nodes[other]))
    for ours in nodes:
        for theirs in nodes:
            assert compare(ours, theirs).settled
    stones = [{name for name in names if name.endswith(".tombstone")} for names in nodes]
    assert stones[0] == stones[1] == stones[2]
    hidden = {stem(name) for name in stones[0]}
    for names in nodes:
        held = [segment for segment in segments(names) if stem(segment.name) not in hidden]
        lacking = [each for each in union if each.name not in names and each.type is not SegmentType.TEMP]
        assert all(explained(each, held, hidden) for each in lacking)


def segments(names: Sequence[str], hour: datetime = NOON) -> list[Segment]:
    return parse_names(hour, names)[0]
