"""The page in a real browser, against the real restreamer and a store that holds real video.

The picture says which frame it is: its brightness is that of its number within the segment, so that what the page
says about time can be compared with what is on screen.
"""

import json
import os
import random
import re
import subprocess
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import imageio_ffmpeg
import pytest
import pytest_asyncio
from chromium import MISSING, chromium, executable
from playwright.async_api import Browser, Page, Route, expect

from common.coverage import JOIN_TOLERANCE, best_sequence, cover_hour
from common.dateutil import HOUR, floor_hour, hour_name, parse_utc_only
from common.recording import SegmentWriter
from common.segments import Segment, SegmentType, make_segment
from common.store import Store
from common.web import serving
from restreamer.main import make_app

pytestmark = pytest.mark.asyncio(loop_scope="module")

SEGMENT = timedelta(seconds=2)
SEGMENTS = 60
RECENT = 45  # how many of them end now; the others come when a test asks for them
FRAME_RATE = 25
FRAMES = FRAME_RATE * 2
AGES_AGO = timedelta(hours=30)

_WATCHED = "() => { const v = document.querySelector('video'); return !v.paused && v.readyState >= 3; }"

_SETTLED_ELSEWHERE = """(before) =>
  document.querySelector("#now").dateTime !== before && !document.querySelector("video").seeking
"""

# The grey of the middle of the picture, as 8-bit luma.
_LUMA = """() => {
  const video = document.querySelector("video");
  const canvas = new OffscreenCanvas(1, 1);
  const context = canvas.getContext("2d");
  context.drawImage(video, 60, 30, 40, 30, 0, 0, 1, 1);
  return 16 + (context.getImageData(0, 0, 1, 1).data[1] * 219) / 255;
}"""


# The same of a still.
_STILL_LUMA = """(id) => {
  const image = document.getElementById(id);
  const canvas = new OffscreenCanvas(1, 1);
  const context = canvas.getContext("2d");
  context.drawImage(image, image.naturalWidth / 2, image.naturalHeight / 2, 10, 10, 0, 0, 1, 1);
  return 16 + (context.getImageData(0, 0, 1, 1).data[1] * 219) / 255;
}"""

# Which columns of the sound have nothing in them, as parts of its width.
_EMPTY_COLUMNS = """() => {
  const image = document.getElementById("sound");
  const { naturalWidth: width, naturalHeight: height } = image;
  const context = new OffscreenCanvas(width, height).getContext("2d");
  context.drawImage(image, 0, 0);
  const { data } = context.getImageData(0, height / 2, width, 1);
  return [...Array(width).keys()].filter((x) => data[4 * x + 3] === 0).map((x) => x / width);
}"""


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Two minutes of video in segments of two seconds: frame n of each has the luma 20 + 4n."""
    folder = tmp_path_factory.mktemp("clip")
    seconds = str(SEGMENTS * 2)
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error"]
    command += ["-f", "lavfi", "-i", f"nullsrc=s=160x90:r={FRAME_RATE},geq=lum='20+4*mod(N,{FRAMES})':cb=128:cr=128"]
    command += ["-f", "lavfi", "-i", "sine=440:sample_rate=48000", "-t", seconds]
    command += ["-c:v", "libx264", "-preset", "ultrafast", "-qp", "10", "-g", str(FRAMES), "-keyint_min", str(FRAMES)]
    command += ["-sc_threshold", "0", "-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "48k"]
    command += ["-f", "segment", "-segment_time", "2", str(folder / "%03d.ts")]
    subprocess.run(command, check=True, timeout=60)
    segments = [path.read_bytes() for path in sorted(folder.glob("*.ts"))]
    assert len(segments) == SEGMENTS
    return segments


class Recorder:
    """Puts segments of the clip into the store, each at the time that it is asked for."""

    def __init__(self, store: Store, clip: list[bytes], now: datetime) -> None:
        self.store = store
        self.clip = clip
        self.now = now

    def at(self, index: int) -> datetime:
        """When a segment of the clip starts, where the first RECENT of them end now."""
        return self.now + (index - RECENT) * SEGMENT

    def put(self, channel: str, index: int, *, start: datetime | None = None, quality: str = "source") -> None:
        writer = SegmentWriter(self.store, channel, quality, start or self.at(index), SEGMENT)
        writer.write(self.clip[index])
        segment = writer.commit(SegmentType.FULL)
        came = min(segment.end, datetime.now(UTC)).timestamp()
        os.utime(self.store.segment_path(channel, quality, segment), (came, came))


@pytest.fixture
def recorder(tmp_path: Path, clip: list[bytes]) -> Recorder:
    """An empty store, and now."""
    return Recorder(Store(tmp_path / "segments"), clip, datetime.now(UTC).replace(microsecond=0))


@pytest.fixture
def tower(recorder: Recorder) -> Recorder:
    """The channel `tower`: two qualities, live for a minute and a half, and a minute from long ago in `source`."""
    for index in range(RECENT):
        recorder.put("tower", index)
        recorder.put("tower", index, quality="low")
    for index in range(30):
        recorder.put("tower", index, start=recorder.at(index) - AGES_AGO)
    return recorder


@pytest_asyncio.fixture(loop_scope="module")
async def url(recorder: Recorder) -> AsyncIterator[str]:
    """The address of a restreamer on the recorder's store."""
    async with serving(make_app(recorder.store), "127.0.0.1", 0) as port:
        yield f"http://127.0.0.1:{port}/"


@pytest_asyncio.fixture(loop_scope="module", scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The Chromium of the system."""
    if executable() is None:
        pytest.skip(MISSING)
    if not files("restreamer").joinpath("web/vendor/hls.min.js").is_file():
        pytest.skip("The player is not there yet; build the wheel, which lays it into restreamer/web/vendor.")
    async with chromium() as opened:
        yield opened


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser: Browser) -> AsyncIterator[Page]:
    """A fresh page of a desktop's size, in a zone that is not UTC."""
    context = await browser.new_context(viewport={"width": 1280, "height": 800}, timezone_id="Europe/Rome")
    opened = await context.new_page()
    opened.set_default_timeout(15_000)
    yield opened
    await context.close()


@pytest.fixture
def complaints(page: Page) -> list[str]:
    """What the page throws or prints as an error or a warning from now on."""
    said: list[str] = []
    page.on("console", lambda line: said.append(line.text) if line.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: said.append(str(error)))
    return said


@pytest.fixture(autouse=True)
def patience() -> Iterator[None]:
    """Browsers on a busy machine are slow."""
    expect.set_options(timeout=15_000)
    yield
    expect.set_options(timeout=5_000)


def iso(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def typed(moment: datetime) -> str:
    return iso(moment).replace("T", " ").removesuffix("Z")


async def watch(page: Page, address: str) -> None:
    """Open an address and wait until the page plays."""
    await page.goto(address)
    await page.wait_for_function(_WATCHED)


async def shown(page: Page) -> datetime:
    """The time that the page says is on screen."""
    return parse_utc_only(await page.locator("#now").get_attribute("datetime") or "")


async def shown_past(page: Page, moment: datetime) -> None:
    """Wait until the time on screen is past a moment."""
    await page.wait_for_function(
        "(moment) => document.querySelector('#now').dateTime > moment", arg=iso(moment).removesuffix("Z")
    )


async def pause(page: Page) -> None:
    await page.keyboard.press("Space")
    await expect(page.locator("#toggle")).to_have_attribute("aria-label", "Play")


async def test_it_plays_live_and_the_time_on_screen_moves(
    page: Page, tower: Recorder, url: str, complaints: list[str]
) -> None:
    """The page plays the live edge at once, its clock runs, and nothing goes wrong on the way."""
    await watch(page, url)
    first = await shown(page)
    await shown_past(page, first + timedelta(milliseconds=500))
    assert tower.now - timedelta(seconds=20) < first < tower.now
    await expect(page.locator("#behind")).to_have_text("live")
    await expect(page.locator("#health")).to_have_text("Recording")
    assert complaints == []


async def test_it_goes_on_with_what_is_recorded_meanwhile(page: Page, tower: Recorder, url: str) -> None:
    """What comes into the store while the page plays is played too."""
    await watch(page, url)
    for index in range(RECENT, RECENT + 5):
        tower.put("tower", index)
    await shown_past(page, tower.now)


async def test_the_time_is_that_of_the_frame_on_screen(page: Page, tower: Recorder, url: str) -> None:
    """Wherever it is stopped, and from one frame to the next, the clock tells the very frame that is seen."""
    await watch(page, f"{url}#tower/source?t={iso(tower.at(20))}")
    await pause(page)
    numbers = []
    for key in (".", ".", ",", "ArrowLeft", ".", "ArrowRight", "Shift+ArrowLeft", "."):
        before = await shown(page)
        await page.keyboard.press(key)
        await page.wait_for_function(_SETTLED_ELSEWHERE, arg=iso(before))
        luma = await page.evaluate(_LUMA)
        into = (await shown(page) - tower.at(0)).total_seconds()
        numbers.append((key, round((luma - 20) / 4), round(into * FRAME_RATE) % FRAMES))
    assert [(key, seen) for key, seen, _ in numbers] == [(key, said) for key, _, said in numbers]


async def test_i_and_o_take_start_and_end_from_the_playhead(page: Page, tower: Recorder, url: str) -> None:
    """I and O set the selection's ends to the time on screen; its length is shown; the address keeps them."""
    await watch(page, f"{url}#tower/source?t={iso(tower.at(20))}")
    await pause(page)
    start = await shown(page)
    await page.keyboard.press("i")
    await page.keyboard.press("Shift+ArrowRight")
    await expect(page.locator("#now")).to_have_attribute("datetime", iso(start + timedelta(seconds=10)))
    await page.keyboard.press("o")
    await expect(page.locator("#start")).to_have_value(typed(start))
    await expect(page.locator("#end")).to_have_value(typed(start + timedelta(seconds=10)))
    await expect(page.locator("#length")).to_have_text("0:00:10.000")
    await page.reload()
    await expect(page.locator("#start")).to_have_value(typed(start))
    await expect(page.locator("#end")).to_have_value(typed(start + timedelta(seconds=10)))
    await expect(page.locator("#now")).to_have_attribute("datetime", re.compile(iso(start)[:15]))


async def test_the_selection_is_seen_and_heard(page: Page, recorder: Recorder, url: str) -> None:
    """Beside the selection are the very frames at its ends, and its sound, which is missing where there is a hole."""
    for index in (*range(20), *range(25, RECENT)):
        recorder.put("tower", index)
    frames = {"start": 10, "end": 30}
    moments = [recorder.at(15) + timedelta(seconds=0.4), recorder.at(30) + timedelta(seconds=1.2)]
    start, end = map(iso, moments)
    await page.goto(f"{url}#tower/source?start={start}&end={end}")
    for edge, number in frames.items():
        await expect(page.locator(f"#{edge}-still")).to_be_visible()
        assert round((await page.evaluate(_STILL_LUMA, f"{edge}-still") - 20) / 4) == number
    await expect(page.locator("#sound")).to_be_visible()
    empty = await page.evaluate(_EMPTY_COLUMNS)
    first, last = [(recorder.at(index) - moments[0]) / (moments[1] - moments[0]) for index in (20, 25)]
    assert (empty[0], empty[-1]) == (pytest.approx(first, abs=0.01), pytest.approx(last, abs=0.01))
    # where nothing is recorded there is nothing to see
    await page.fill("#end", f"{recorder.at(22):%H:%M:%S}")
    await page.press("#end", "Enter")
    await expect(page.locator("#end-still")).to_be_hidden()
    await expect(page.locator("#start-still")).to_be_visible()
    await page.click("#clear")
    for name in ("#stills", "#sound"):
        await expect(page.locator(name)).to_be_hidden()


async def test_the_download_is_the_piece(page: Page, tower: Recorder, url: str) -> None:
    """The link names the cut, and following it gives the very frames of the selection."""
    start, end = tower.at(10), tower.at(14) - timedelta(seconds=1)
    await page.goto(f"{url}#tower/source?start={iso(start)}&end={iso(end)}")
    link = page.locator("#download")
    await expect(link).to_have_attribute("href", re.compile("/cut/"))
    target = urlsplit(await link.get_attribute("href") or "")
    assert target.path == "/cut/tower/source.mp4"
    assert parse_qs(target.query) == {"start": [iso(start)], "end": [iso(end)], "type": ["smart"]}
    async with page.expect_download() as coming:
        await link.click()
    download = await coming.value
    with av.open(await download.path()) as video:
        assert sum(1 for _ in video.decode(video=0)) == (end - start).total_seconds() * FRAME_RATE
    assert download.suggested_filename.endswith(".mp4")


async def test_typed_times_may_be_short(page: Page, tower: Recorder, url: str) -> None:
    """A clock without a day is that near the playhead; what is no time is said to be none, and nothing changes."""
    await watch(page, f"{url}#tower/source?t={iso(tower.at(20))}")
    await page.fill("#start", f"{tower.at(10):%H:%M:%S}")
    await page.press("#start", "Enter")
    await expect(page.locator("#start")).to_have_value(typed(tower.at(10)))
    await page.fill("#end", "half past six")
    await page.press("#end", "Enter")
    await expect(page.locator("#said")).to_contain_text("That is no time")
    await expect(page.locator("#download")).to_have_attribute("aria-disabled", "true")


async def test_an_hour_of_long_ago_is_a_click_away_and_live_a_key(page: Page, tower: Recorder, url: str) -> None:
    """A click on an hour of the overview plays that hour; L is live again."""
    await watch(page, f"{url}#tower/source")
    old = tower.at(0) - AGES_AGO
    await page.locator(f"#overview [data-hour='{hour_name(old)}']").focus()
    await page.keyboard.press("Enter")
    await expect(page.locator("#now-day")).to_have_text(f"{old:%Y-%m-%d}")
    await page.wait_for_function(_WATCHED)
    assert old <= await shown(page) < old + timedelta(minutes=1)
    await page.locator("#overview [tabindex='0']").blur()
    await page.keyboard.press("l")
    await expect(page.locator("#behind")).to_have_text("live")
    await page.wait_for_function(_WATCHED)
    assert await shown(page) > tower.at(0)


async def test_after_the_end_of_one_stretch_the_next_is_played(page: Page, tower: Recorder, url: str) -> None:
    """Where nothing is recorded for a day, playing goes on with what was recorded next."""
    await watch(page, f"{url}#tower/source?t={iso(tower.at(29) - AGES_AGO)}")
    await shown_past(page, tower.at(0) - timedelta(seconds=1))
    await page.wait_for_function(_WATCHED)
    assert await shown(page) < tower.at(10)


async def test_a_step_back_over_a_hole_lands_before_it(page: Page, recorder: Recorder, url: str) -> None:
    """A hole is stepped over in the direction of the step."""
    for index in (*range(20), *range(25, RECENT)):
        recorder.put("tower", index)
    await watch(page, f"{url}#tower/source?t={iso(recorder.at(25))}")
    await pause(page)
    while await shown(page) >= recorder.at(25):
        before = await shown(page)
        await page.keyboard.press("ArrowLeft")
        await expect(page.locator("#now")).not_to_have_attribute("datetime", iso(before))
    assert recorder.at(19) < await shown(page) < recorder.at(20)


async def test_the_selection_is_played_and_no_more(page: Page, tower: Recorder, url: str) -> None:
    """`Play it` jumps to the start and stops at the end."""
    start, end = tower.at(10), tower.at(11)
    await watch(page, f"{url}#tower/source?start={iso(start)}&end={iso(end)}")
    await page.click("#preview")
    await expect(page.locator("#toggle")).to_have_attribute("aria-label", "Pause")
    await expect(page.locator("#now")).to_have_attribute("datetime", re.compile(iso(start)[:18]))
    await expect(page.locator("#toggle")).to_have_attribute("aria-label", "Play")
    assert end <= await shown(page) < end + timedelta(milliseconds=500)


async def test_a_click_on_the_strip_goes_there(page: Page, tower: Recorder, url: str) -> None:
    """The strip is a map: left of the playhead lies what was before."""
    await watch(page, f"{url}#tower/source")
    await page.click("[data-span='2']")
    before = await shown(page)
    box = await page.locator("#strip").bounding_box()
    assert box is not None
    await page.mouse.click(box["x"] + box["width"] * 0.4, box["y"] + box["height"] / 2)
    await expect(page.locator("#behind")).not_to_have_text("live")
    assert timedelta(seconds=20) < before - await shown(page) < timedelta(seconds=90)


async def test_another_quality_shows_the_same_moment(page: Page, tower: Recorder, url: str) -> None:
    """A change of quality keeps the time on screen."""
    await watch(page, f"{url}#tower/source?t={iso(tower.at(20))}")
    await pause(page)
    here = await shown(page)
    await page.select_option("#quality", "low")
    await page.wait_for_function("() => location.hash.startsWith('#tower/low?t=')")
    await page.wait_for_function("() => document.querySelector('video').readyState >= 2")
    assert abs(await shown(page) - here) < timedelta(seconds=3)


async def test_a_refused_cut_is_a_sentence_and_an_offer(page: Page, recorder: Recorder, url: str) -> None:
    """A hole in the selection is told; the download says what the server says; `cut anyway` leaves the hole out."""
    for index in (*range(20), *range(25, RECENT)):
        recorder.put("tower", index)
    await page.goto(f"{url}#tower/source?start={iso(recorder.at(18))}&end={iso(recorder.at(27))}")
    said = page.locator("#said")
    await expect(said).to_have_text("There is a hole in the selection: 10 s of it is missing.")
    await page.click("#download")
    await expect(said).to_contain_text("Nothing complete is recorded from")
    async with page.expect_download() as coming:
        await page.click("#anyway")
    assert "allow_holes=true" in (await coming.value).url


async def test_nothing_recorded_yet_is_said_and_ends_by_itself(page: Page, recorder: Recorder, url: str) -> None:
    """An empty store is waited for: the page says so and plays as soon as there is something."""
    await page.goto(url)
    await expect(page.locator("#overlay")).to_contain_text("Nothing is recorded yet.")
    await expect(page.locator("#overlay")).to_contain_text("Waiting for the first segment")
    for index in range(RECENT):
        recorder.put("tower", index)
    await page.wait_for_function(_WATCHED)
    await expect(page.locator("#overlay")).to_be_hidden()


async def test_a_channel_that_has_stopped_says_since_when(page: Page, recorder: Recorder, url: str) -> None:
    """Of a channel without new segments the page tells how long that has been so, and still plays it."""
    for index in range(30):
        recorder.put("tower", index, start=recorder.at(index) - AGES_AGO)
    await page.goto(url)
    await expect(page.locator("#health")).to_contain_text("Offline, last segment 30 h")
    await expect(page.locator("#overlay")).to_contain_text("This is where the recording ends.")


async def test_a_server_that_does_not_answer_is_said_until_it_does(page: Page, tower: Recorder, url: str) -> None:
    """The banner comes when the server is gone and goes when it is back."""
    await watch(page, url)
    await page.route("**/files**", lambda route: route.abort())
    await expect(page.locator("#trouble")).to_have_text("The server does not answer; trying again…")
    await page.unroute("**/files**")
    await expect(page.locator("#trouble")).to_be_hidden()
    await expect(page.locator("#health")).to_have_text("Recording")


async def test_a_refused_playlist_is_a_sentence_and_tried_again(page: Page, tower: Recorder, url: str) -> None:
    """What the server says instead of a playlist is shown, and playing begins when it changes its mind."""

    async def refuse(route: Route) -> None:
        await route.fulfill(status=400, json={"error": "Not on a Sunday."})

    await page.route("**/playlist/**", refuse)
    await page.goto(url)
    await expect(page.locator("#trouble")).to_have_text("Not on a Sunday.")
    await page.unroute("**/playlist/**")
    await page.wait_for_function(_WATCHED)
    await expect(page.locator("#trouble")).to_be_hidden()


async def test_a_phone_sees_all_of_it(page: Page, tower: Recorder, url: str) -> None:
    """On a narrow screen nothing lies beside it, and each control can be reached."""
    await page.set_viewport_size({"width": 390, "height": 844})
    await watch(page, url)
    assert await page.evaluate("() => document.documentElement.scrollWidth") == 390
    for name in ("#toggle", "#live", "#set-start", "#set-end", "#download", "#strip"):
        await expect(page.locator(name)).to_be_visible()


async def test_the_page_and_the_server_agree_on_the_holes(page: Page, url: str) -> None:
    """Of messy hours, the page works out from the names the same holes as common.coverage."""
    await page.goto(url)
    for seed in range(30):
        expected, found = await holes_of_both(page, seed)
        assert found == [pytest.approx(pair, abs=0.01) for pair in expected], seed


Holes = list[tuple[float, float]]


async def holes_of_both(page: Page, seed: int) -> tuple[Holes, Holes]:
    """The holes of an hour across two messy ones, in milliseconds since 1970: as Python and as the page sees them."""
    first = datetime(2026, 3, 1, 18, tzinfo=UTC)
    segments = messy(random.Random(seed), first)
    hours = [first - HOUR, first, first + HOUR, first + 2 * HOUR]
    candidates = [cover_hour([s for s in segments if floor_hour(s.start) == hour], lambda _: 0) for hour in hours]
    start, end = first + timedelta(minutes=30), first + timedelta(minutes=90)
    expected = [
        (hole.start.timestamp() * 1000, hole.end.timestamp() * 1000)
        for hole in best_sequence(candidates, start, end).holes
        if hole.end - hole.start > JOIN_TOLERANCE
    ]
    names: dict[str, list[str]] = {}
    for segment in segments:
        names.setdefault(segment.hour, []).append(segment.name)
    found: list[dict[str, Any]] = await page.evaluate(
        """async ([names, start, end]) => {
          const { bestSequence, holesIn, joinSpans, parseNames, toSpans } = await import("/web/names.js");
          const hours = Object.entries(JSON.parse(names)).sort();
          const spans = joinSpans(hours.map(([hour, list]) => toSpans(bestSequence(parseNames(hour, list)))));
          return holesIn(spans, start, end);
        }""",
        [json.dumps(names), start.timestamp() * 1000, end.timestamp() * 1000],
    )
    return expected, [(hole["start"], hole["end"]) for hole in found]


def messy(dice: random.Random, first: datetime) -> list[Segment]:
    """Two hours of segments with everything that goes wrong: gaps, overlaps, rivals, twins, broken transfers."""
    segments: list[Segment] = []
    moment = first
    while moment < first + 2 * HOUR:
        length = timedelta(seconds=dice.choice([2, 4, 6]))
        kind = dice.choices(list(SegmentType), [90, 3, 3, 4])[0]
        content = f"h{len(segments)}"
        segments.append(make_segment(moment, length, kind, content))
        happens = dice.random()
        if happens < 0.03:
            segments.append(make_segment(moment, length / 2, SegmentType.PARTIAL, content + "r"))
        elif happens < 0.06:
            segments.append(make_segment(moment + timedelta(milliseconds=300), length, kind, content))
        elif happens < 0.09:
            segments.append(make_segment(moment + length / 2, length, kind, content + "o"))
        elif happens < 0.11:
            segments.append(make_segment(moment + length + timedelta(milliseconds=300), length, kind, content))
            moment += length + timedelta(seconds=1)
        moment += length + timedelta(milliseconds=dice.choices([0, 7, -7, 12, 5000], [90, 3, 3, 2, 2])[0])
    return segments
