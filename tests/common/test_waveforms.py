"""Waveforms of real sound: at its time, holes left open, whatever is damaged."""

import io
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from common.clips import NoPictureError
from common.cuts import NothingRecordedError
from common.levels import Size
from common.sidecar import FactsStore
from common.store import Store
from common.waveforms import draw_waveform, plan_waveform
from numbered import encode, mp4_segments, put, put_in_time, ts_segments

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)

Draw = Callable[..., Awaitable[str]]

# A pixel is 20 ms, of which the codec smears one or two at each edge.
SIZE = Size(200, 40)
SMEARED = 4


@pytest.fixture(scope="module")
def ts(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return ts_segments(tmp_path_factory.mktemp("ts"), "-g", "50")


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    return mp4_segments(tmp_path_factory.mktemp("mp4"), "-g", "50")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "base")


@pytest.fixture
def drawn(store: Store) -> Draw:
    """Give a function that draws a range of so many seconds after NOON, as a string with a letter for each column.

    `#` is loud, `-` the line of silence, a blank nothing at all.
    """
    facts = FactsStore(store)

    async def draw(start: float = 0.0, end: float = 4.0) -> str:
        plan = plan_waveform(store, "chan", "source", NOON + start * SECOND, NOON + end * SECOND)
        with Image.open(io.BytesIO(await draw_waveform(plan, store, facts, SIZE))) as image:
            assert (image.size, image.mode) == ((SIZE.width, SIZE.height), "RGBA")
            opacity = image.getchannel("A")
            columns = [opacity.crop((x, 0, x + 1, SIZE.height)).tobytes() for x in range(SIZE.width)]
        heights = [sum(value > 0 for value in column) for column in columns]
        return "".join("#" if height > SIZE.height / 3 else "-" if height else " " for height in heights)

    return draw


def alike(found: str, *parts: tuple[str, int]) -> bool:
    """Whether it is these letters, so many columns each, up to what is smeared at the edges."""
    expected = "".join(letter * count for letter, count in parts)
    assert len(expected) == len(found)
    return sum(one != other for one, other in zip(found, expected, strict=True)) <= SMEARED * (len(parts) - 1)


BEEPS = [("#", 25), ("-", 25)] * 4


@pytest.mark.parametrize("kind", ["ts", "mp4"])
async def test_sound_and_silence_are_where_they_were(
    kind: str, store: Store, drawn: Draw, request: pytest.FixtureRequest
) -> None:
    """What is heard in each first half of a second is drawn there, over the joins of segments."""
    put_in_time(store, NOON, request.getfixturevalue(kind))
    assert alike(await drawn(), *BEEPS)
    for second in (1.0, 2.0):
        assert alike(await drawn(second, second + 1.0), ("#", 100), ("-", 100))


async def test_a_hole_is_as_wide_as_it_is_long(store: Store, drawn: Draw, ts: list[bytes]) -> None:
    """Nothing is drawn where nothing is recorded, before, between and after; all else is at its time."""
    put(store, NOON + SECOND, 2 * SECOND, ts[0])
    put(store, NOON + 4 * SECOND, 2 * SECOND, ts[1])
    found = await drawn(0.0, 8.0)
    beep = [("#", 12), ("-", 13)]
    assert alike(found, (" ", 25), *beep, *beep, (" ", 25), *beep, *beep, (" ", 50)), found


async def test_a_range_may_be_far_from_its_segments_edges(store: Store, drawn: Draw, ts: list[bytes]) -> None:
    """A range that begins and ends within segments shows just itself."""
    put_in_time(store, NOON, ts)
    assert alike(await drawn(1.5, 2.5), ("-", 100), ("#", 100))


async def test_the_sound_of_each_segment_is_at_the_time_of_its_name(store: Store, drawn: Draw, ts: list[bytes]) -> None:
    """Segments whose own clock does not run on are at their times all the same."""
    put(store, NOON, 2 * SECOND, ts[1])
    put(store, NOON + 2 * SECOND, 2 * SECOND, ts[0])
    assert alike(await drawn(), *BEEPS)


async def test_sound_that_begins_later_than_the_picture_is_later(store: Store, drawn: Draw, tmp_path: Path) -> None:
    """Sound counts from the first frame, by the media's own clock."""
    encode(tmp_path / "clip.ts", "-af", "adelay=500:all=1,atrim=start=0.5", seconds=2.0)
    put(store, NOON, 2 * SECOND, (tmp_path / "clip.ts").read_bytes())
    found = await drawn(0.0, 2.0)
    assert alike(found, (" ", 50), ("#", 50), ("-", 50), ("#", 50)), found


async def test_damage_stays_where_it_is(store: Store, drawn: Draw, ts: list[bytes]) -> None:
    """A segment that is no media is left empty, and what is around it is drawn."""
    for index, content in enumerate([ts[0], b"no media", ts[1]]):
        put(store, NOON + 2 * index * SECOND, 2 * SECOND, content)
    beeps = [("#", 12), ("-", 13)] * 2
    assert alike(found := await drawn(0.0, 8.0), *beeps, (" ", 50), *beeps, (" ", 50)), found


async def test_segments_without_sound_are_left_empty(
    store: Store, drawn: Draw, ts: list[bytes], tmp_path: Path
) -> None:
    """A stretch without a sound track is empty; if there is none at all, that is said."""
    encode(tmp_path / "clip.ts", "-an", seconds=2.0)
    put(store, NOON, 2 * SECOND, (tmp_path / "clip.ts").read_bytes())
    with pytest.raises(NoPictureError, match="There is no sound"):
        await drawn()
    put(store, NOON + 2 * SECOND, 2 * SECOND, ts[1])
    assert alike(await drawn(), (" ", 100), *BEEPS[4:])


def test_nothing_recorded_is_no_waveform(store: Store) -> None:
    """Of a range of which nothing is recorded there is no plan."""
    with pytest.raises(NothingRecordedError):
        plan_waveform(store, "chan", "source", NOON, NOON + SECOND)


def test_the_tag_is_of_range_and_segments(store: Store, ts: list[bytes]) -> None:
    """The same range has the same tag until another segment comes, and is settled once there is no hole."""
    put(store, NOON, 2 * SECOND, ts[0])
    plans = [plan_waveform(store, "chan", "source", NOON, NOON + 4 * SECOND) for _ in range(2)]
    put(store, NOON + 2 * SECOND, 2 * SECOND, ts[1])
    after = plan_waveform(store, "chan", "source", NOON, NOON + 4 * SECOND)
    shorter = plan_waveform(store, "chan", "source", NOON, NOON + 3 * SECOND)
    assert len({each.tag for each in (*plans, after, shorter)}) == 3
    assert [each.settled for each in (*plans, after)] == [False, False, True]
