"""What is thought of a node: how long it is put away, and when it is asked again for what it could not give."""

import pytest

from backfiller.standing import Key, Standing

KEY: Key = ("chan", "source", "2026-03-01T12", "name")


@pytest.fixture
def now() -> list[float]:
    return [1000.0]


@pytest.fixture
def standing(now: list[float]) -> Standing:
    return Standing(lambda: now[0])


def test_a_node_is_put_away_for_longer_each_time(standing: Standing, now: list[float]) -> None:
    """Three lies put a node away; what was still under way then does not count, and the pauses double up to an hour."""
    pauses = []
    for _ in range(8):
        assert [standing.lied() for _ in range(5)] == [False, False, True, False, False]
        pauses.append(standing.away_seconds)
        now[0] += standing.away_seconds
    assert pauses == [60, 120, 240, 480, 960, 1920, 3600, 3600]


def test_sound_segments_outweigh_some_lies(standing: Standing) -> None:
    """One bad segment in a hundred puts nobody away."""
    for _ in range(50):
        assert not standing.lied()
        for _ in range(99):
            standing.gave(KEY)


def test_failures_may_come_while_others_are_looked_up(standing: Standing) -> None:
    """One thread asks what failed while another one tells of a failure."""

    class Slow(str):
        __slots__ = ()

        def __eq__(self, other: object) -> bool:
            standing.failed((*KEY[:3], f"other {len(standing._failed)}"))
            return str(self) == other

        __hash__ = str.__hash__

    standing.failed((Slow("chan"), *KEY[1:3], "slow"))
    standing.failed(KEY)
    assert standing.failing(*KEY[:3]) == {"slow", KEY[3]}


def test_what_failed_is_asked_for_again_after_growing_pauses(standing: Standing, now: list[float]) -> None:
    """A segment that could not be had is left alone for a minute, then for four, up to a day; others are not."""
    pauses = []
    for _ in range(8):
        standing.failed(KEY)
        began = now[0]
        while standing.failing(*KEY[:3]):
            now[0] += 60
        pauses.append((now[0] - began) / 60)
    assert pauses == [1, 4, 16, 64, 256, 1024, 1440, 1440]
    assert standing.failing("chan", "source", "2026-03-01T13") == set()
    standing.failed(KEY)
    standing.gave(KEY)
    assert standing.failing(*KEY[:3]) == set()


def test_only_so_much_is_remembered(standing: Standing, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node with endless segments that it cannot give takes no endless memory."""
    monkeypatch.setattr("backfiller.standing._MOST_REMEMBERED", 3)
    for number in range(5):
        standing.failed((*KEY[:3], str(number)))
    assert standing.failing(*KEY[:3]) == {"2", "3", "4"}
