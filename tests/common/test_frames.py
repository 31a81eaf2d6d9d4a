"""Stills: of clips whose every frame can be told apart, the very frame that a player would show."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from common.clips import NoPictureError
from common.frames import FramePlan, draw_frame, plan_frame
from common.levels import Size
from common.sidecar import FactsStore
from common.store import Store
from numbered import HEIGHT, WIDTH, encode, mp4_segments, number, put, put_in_time, ts_segments

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
MILLISECOND = timedelta(milliseconds=1)

# The clips are made once each.
Make = Callable[..., list[bytes]]


@pytest.fixture(scope="module")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    made = dict[tuple[object, ...], list[bytes]]()

    def clip(maker: Make, *arguments: str, **options: Any) -> list[bytes]:  # noqa: ANN401 - as the makers'
        key = (maker, arguments, *options.items())
        if key not in made:
            made[key] = maker(tmp_path_factory.mktemp("clip"), *arguments, **options)
        return made[key]

    return clip


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "base")


@pytest.fixture
def plan(store: Store) -> Callable[[datetime], FramePlan]:
    facts = FactsStore(store)
    return lambda moment: plan_frame(store, facts, "chan", "source", moment)


async def numbers(plan: Callable[[datetime], FramePlan], moments: list[datetime]) -> list[int]:
    plans = [await asyncio.to_thread(plan, moment) for moment in moments]
    return [number(png) for png in await asyncio.gather(*map(draw_frame, plans))]


def frame_start(index: int, rate: Fraction | int = 25) -> datetime:
    """When a frame of a clip begins, to the microsecond below."""
    return NOON + timedelta(microseconds=int(index * 1_000_000 / Fraction(rate)))


GOP = ("-g", "50", "-keyint_min", "50")
CLIPS = {
    "closed": (ts_segments, GOP, {}),
    "b-frames": (ts_segments, (*GOP, "-bf", "3", "-b_strategy", "0"), {}),
    "open": (ts_segments, ("-bf", "2", "-b_strategy", "0", "-g", "50", "-x264-params", "open-gop=1:scenecut=0"), {}),
    "no key frame at the start": (ts_segments, (*GOP, "-break_non_keyframes", "1"), {"length": 0.6}),
    "clock begins again": (ts_segments, (*GOP, "-bf", "2", "-output_ts_offset", "95441.0"), {}),
    "mp4": (mp4_segments, (*GOP, "-bf", "2"), {}),
}


@pytest.mark.parametrize("name", CLIPS)
async def test_it_is_the_last_frame_that_has_begun(
    name: str, store: Store, plan: Callable[[datetime], FramePlan], make: Make
) -> None:
    """From the moment at which a frame begins until the next one does, it is that frame, and no other."""
    maker, arguments, options = CLIPS[name]
    segments = put_in_time(store, NOON, make(maker, *arguments, **options))
    assert len(segments) > 1
    wanted = [0, 17, 48, 49, 50, 80]
    moments = [frame_start(index) for index in wanted] + [frame_start(index + 1) - MILLISECOND for index in wanted]
    assert await numbers(plan, moments) == wanted * 2


@pytest.mark.parametrize("rate", ["30000/1001", "60000/1001"])
async def test_odd_rates_are_exact(rate: str, store: Store, plan: Callable[[datetime], FramePlan], make: Make) -> None:
    """Frames that begin between two microseconds are found by the times that rounding leaves of theirs."""
    put_in_time(store, NOON, make(ts_segments, *GOP, rate=rate))
    wanted = [1, 2, 61]
    exact = [frame_start(index, Fraction(rate)) for index in wanted]
    rounded = [moment.replace(microsecond=round(moment.microsecond, -3) % 1_000_000) for moment in exact]
    assert await numbers(plan, exact) == wanted
    assert await numbers(plan, rounded) == wanted


async def test_a_segment_says_when_its_frames_are_shown(
    store: Store, plan: Callable[[datetime], FramePlan], make: Make
) -> None:
    """Times count from the start in the segment's name, whatever its own clock says, and whatever came before."""
    first, second = make(ts_segments, *GOP)
    put(store, NOON, timedelta(seconds=2), second)
    put(store, NOON + timedelta(seconds=2), timedelta(seconds=2), first)
    assert await numbers(plan, [NOON, NOON + timedelta(seconds=2, milliseconds=39)]) == [50, 0]


async def test_where_two_segments_join_there_is_a_frame(
    store: Store, plan: Callable[[datetime], FramePlan], make: Make
) -> None:
    """In the few milliseconds that rounding leaves between two segments, the first one's last frame is shown."""
    first, second = make(ts_segments, *GOP)
    put(store, NOON, timedelta(seconds=1.994), first)
    put(store, NOON + timedelta(seconds=2), timedelta(seconds=2), second)
    assert await numbers(plan, [NOON + timedelta(seconds=1.997), NOON + timedelta(seconds=2)]) == [49, 50]


@pytest.mark.parametrize("seconds", [-0.011, 2.011, 3.989, 6.5], ids=["before", "hole begins", "hole ends", "after"])
async def test_there_is_no_frame_where_nothing_is_recorded(
    seconds: float, store: Store, plan: Callable[[datetime], FramePlan], make: Make
) -> None:
    """In a hole, before the recording and after it there is no picture, and a sentence says so."""
    first, second = make(ts_segments, *GOP)
    put(store, NOON, timedelta(seconds=2), first)
    put(store, NOON + timedelta(seconds=4), timedelta(seconds=2), second)
    with pytest.raises(NoPictureError, match=r"^Nothing is recorded at 2026-03-01T1[12]:.*Z\.$"):
        plan(NOON + timedelta(seconds=seconds))


@pytest.mark.parametrize(
    ("video", "size"),
    [
        ("null", (WIDTH, HEIGHT)),
        ("setsar=3/2", (192, HEIGHT)),
        ("setsar=8/9", (WIDTH, 81)),
        ("setsar=0", (WIDTH, HEIGHT)),
    ],
)
async def test_pixels_come_out_square(
    video: str, size: tuple[int, int], store: Store, plan: Callable[[datetime], FramePlan], tmp_path: Path
) -> None:
    """Anamorphic video gets the shape in which it is meant to be seen, without a loss of detail in either direction."""
    encode(tmp_path / "clip.ts", seconds=0.4, video=video)
    put(store, NOON, timedelta(seconds=0.4), (tmp_path / "clip.ts").read_bytes())
    png = await draw_frame(plan(NOON + timedelta(seconds=0.2)))
    (tmp_path / "frame.png").write_bytes(png)
    with Image.open(tmp_path / "frame.png") as image:
        assert (image.size, image.mode) == (size, "RGB")
    assert number(png) == 5


async def test_a_frame_can_be_made_to_fit(
    store: Store, plan: Callable[[datetime], FramePlan], make: Make, tmp_path: Path
) -> None:
    """Asked to fit, the picture keeps its shape and is as large as may be."""
    put_in_time(store, NOON, make(ts_segments, *GOP))
    (tmp_path / "frame.png").write_bytes(png := await draw_frame(plan(frame_start(33)), Size(64, 64)))
    with Image.open(tmp_path / "frame.png") as image:
        assert image.size == (64, 36)
    assert number(png) == 33


@pytest.mark.parametrize(
    ("colours", "red"),
    [(",setparams=colorspace=bt709", 709), (",setparams=colorspace=smpte170m", 601), ("", 709)],
    ids=["709", "601", "none"],
)
async def test_colours_are_those_that_are_meant(
    colours: str, red: int, store: Store, plan: Callable[[datetime], FramePlan], tmp_path: Path
) -> None:
    """A red is the same red whichever way it is written; of HD that does not say, it is read as ITU-R BT.709."""
    y, u, v = {709: (63, 102, 240), 601: (81, 90, 240)}[red]
    picture = f"scale=1280:720,geq=lum={y}:cb={u}:cr={v}{colours}"
    encode(tmp_path / "clip.ts", seconds=0.04, video=picture)
    put(store, NOON, timedelta(seconds=0.04), (tmp_path / "clip.ts").read_bytes())
    (tmp_path / "frame.png").write_bytes(await draw_frame(plan(NOON)))
    with Image.open(tmp_path / "frame.png") as image:
        pixel = image.getpixel((600, 300))
    assert isinstance(pixel, tuple)
    assert all(abs(got - meant) < 6 for got, meant in zip(pixel, (255, 0, 0), strict=True)), pixel


async def test_where_a_frame_is_lost_the_one_before_it_is_shown(
    store: Store, plan: Callable[[datetime], FramePlan], make: Make
) -> None:
    """If the very frame cannot be decoded, it is what a player would go on showing."""
    put_in_time(store, NOON, make(ts_segments, *GOP))
    found = plan(frame_start(48))
    gone = replace(
        found, times=replace(found.times, times=(*found.times.times[:49], found.times.times[48] + 10)), index=49
    )
    assert number(await draw_frame(gone)) == 48


async def test_what_cannot_be_decoded_is_no_picture(
    store: Store, plan: Callable[[datetime], FramePlan], make: Make
) -> None:
    """Of a segment that needs another which is not there, nothing is made up."""
    _, second, *_ = make(ts_segments, *GOP, "-break_non_keyframes", "1", length=0.6)
    put(store, NOON, timedelta(seconds=0.6), second)
    with pytest.raises(NoPictureError, match="cannot be decoded"):
        await draw_frame(plan(NOON + timedelta(seconds=0.3)))


@pytest.mark.parametrize(("content", "said"), [(b"", "It is empty"), (b"<html>no", "cannot be read as MPEG-TS")])
def test_what_is_no_video_is_said_to_be_none(
    content: bytes, said: str, store: Store, plan: Callable[[datetime], FramePlan]
) -> None:
    """A segment that is no media is refused with a sentence."""
    put(store, NOON, timedelta(seconds=2), content)
    with pytest.raises(NoPictureError, match=said):
        plan(NOON)


async def test_sound_alone_has_no_picture(store: Store, plan: Callable[[datetime], FramePlan], tmp_path: Path) -> None:
    """Of a segment without video there is no frame, which is said."""
    encode(tmp_path / "clip.ts", "-vn", seconds=0.4)
    put(store, NOON, timedelta(seconds=0.4), (tmp_path / "clip.ts").read_bytes())
    with pytest.raises(NoPictureError, match="There is no picture"):
        plan(NOON)


def test_the_tag_is_of_what_is_seen(store: Store, plan: Callable[[datetime], FramePlan], make: Make) -> None:
    """Two moments of one frame have the same tag, two frames have not."""
    put_in_time(store, NOON, make(ts_segments, *GOP))
    assert plan(frame_start(7)).tag == plan(frame_start(7) + 20 * MILLISECOND).tag
    assert plan(frame_start(7)).tag != plan(frame_start(8)).tag
