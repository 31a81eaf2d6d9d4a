from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from downloader.playlist import parse
from downloader.playlist_values import MediaPlaylist

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


def secs(seconds: float) -> timedelta:
    return timedelta(seconds=seconds)


def media(*lines: str) -> MediaPlaylist:
    found = parse("\n".join(["#EXTM3U", "#EXT-X-TARGETDURATION:4", *lines, ""]), "https://origin.example/list.m3u8")
    assert isinstance(found, MediaPlaylist)
    return found


@pytest.mark.parametrize(
    ("entries", "seconds"),
    [
        # entries: (EXTINF, PROGRAM-DATE-TIME in seconds after noon)
        ([("3,040000,", None), ("2,960000,", None)], [3.04, 2.96]),
        ([("3,040000,", None), ("2,", None)], [3, 2]),  # not all of them: a title
        ([("3,040000,", None), ("2.96,", None)], [3, 2.96]),
        ([("12,000 miles", None), ("3,2,1, go", None)], [12, 3]),
        ([("3,040000", 0), ("2,960000", 3.04), ("3,040000", 6)], [3.04, 2.96, 3.04]),  # the times prove it
        ([("3,040000", 0), ("2,960000", 3), ("3,040000", 5)], [3, 2, 3]),
        ([("3,040000,", 0), ("3,040000,", 3)], [3, 3]),  # the times refute it
        ([("3,040000", 0), ("2,960000", 3.3)], [3, 2]),  # they tell neither
        ([("2,338559", None), ("2,338560", None)], [2, 2]),  # an encoder's counter as title
        ([("2,000", 0), ("2,000", 2)], [2, 2]),
    ],
)
def test_a_decimal_comma_is_read_where_it_is_certain(
    entries: list[tuple[str, float | None]], seconds: list[float]
) -> None:
    """Without proof a comma ends the duration, as the RFC has it."""
    found = media(*dated(entries))
    assert [s.duration.total_seconds() for s in found.segments] == seconds
    assert bool(found.warnings) == (seconds[0] != int(seconds[0]))


def dated(entries: list[tuple[str, float | None]]) -> list[str]:
    lines = []
    for extinf, at in entries:
        lines += [f"#EXT-X-PROGRAM-DATE-TIME:{(NOON + secs(at)).isoformat()}"] if at is not None else []
        lines += [f"#EXTINF:{extinf}", "a.ts"]
    return lines


def test_the_times_around_a_discontinuity_prove_nothing_of_a_duration() -> None:
    """There the clock may step by any amount, also by what looks like a fraction."""
    found = media(*dated([("3,040000", 0)]), "#EXT-X-DISCONTINUITY", *dated([("3,040000", 3.04)]))
    assert [s.duration for s in found.segments] == [secs(3), secs(3)]


micros = st.integers(0, 3_599_999_999)


@given(st.lists(micros, min_size=1, max_size=9))
def test_what_an_encoder_writes_with_commas_is_read_back(lengths: list[int]) -> None:
    """A whole playlist of such durations, as printf makes them, has its fractions."""
    found = media(*dated([(f"{n // 1_000_000},{n % 1_000_000:06},", None) for n in lengths]))
    assert [s.duration for s in found.segments] == [timedelta(microseconds=n) for n in lengths]


@given(st.lists(st.tuples(st.integers(1, 9), st.text("0123456789, x", max_size=9)), min_size=2, max_size=9))
def test_whole_seconds_that_the_times_tell_stay_whole(entries: list[tuple[int, str]]) -> None:
    """Whatever the titles are, durations that agree with the times of the entries are left as they are."""
    at = [sum(seconds for seconds, _ in entries[:n]) for n in range(len(entries))]
    found = media(*dated([(f"{seconds},{title}", now) for (seconds, title), now in zip(entries, at, strict=True)]))
    assert [s.duration for s in found.segments[:-1]] == [secs(seconds) for seconds, _ in entries[:-1]]
