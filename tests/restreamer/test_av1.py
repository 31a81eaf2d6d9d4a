"""A recording in AV1 over HTTP: cut as MP4, and seen and heard as any other."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import av
import numpy as np
import pytest
from aiohttp import ClientSession
from hls_page import hls_page
from imageio_ffmpeg import get_ffmpeg_exe
from PIL import Image
from playwright.async_api import Page
from yarl import URL

from checks import assert_in_sync, assert_numbers, assert_sound_copied, assert_steady, copied_numbers
from common.web import serving
from complaints import complaints
from marked import WIDTH, SourceKind, read_number
from restreamer.main import make_app
from seen import read, read_once
from source import Source, make_source

KIND = SourceKind(codec="av1", container="fmp4", seconds=6)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("recording"), KIND)


@pytest.fixture
async def address(source: Source) -> AsyncIterator[URL]:
    """Serve the recording, and give where it is served."""
    async with serving(make_app(source.store), "127.0.0.1", 0) as port:
        yield URL(f"http://127.0.0.1:{port}")


def wanted(source: Source, kind: str, *ranges: tuple[float, float]) -> list[tuple[str, str]]:
    """Ask for ranges from one picture to before another."""
    pairs = [(source.at(first).isoformat(), source.at(last).isoformat()) for first, last in ranges]
    return [("type", kind), *(("range", f"{start},{end}") for start, end in pairs)]


def of(address: URL, source: Source, ending: str = "mp4") -> URL:
    return address / f"cut/{source.channel}/{source.quality}.{ending}"


@pytest.mark.parametrize("kind", ["fast", "smart"])
async def test_a_cut_is_exact_and_mostly_copied(client: ClientSession, address: URL, source: Source, kind: str) -> None:
    """Two ranges come as one video in MP4: exactly their pictures, copied from the first key frame of each on."""
    query = wanted(source, kind, (40, 100), (110, 170))
    async with client.get(of(address, source).with_query(query)) as answer:
        assert (answer.status, answer.content_type) == (200, "video/mp4")
        assert answer.headers.get("X-Made-As") == (None if kind == "fast" else "smart")
        made = await answer.read()
    seen, reference = read(made), read_once(source.reference)
    assert_numbers(seen, [*range(40, 100), *range(110, 170)])
    assert_steady(seen)
    assert_in_sync(seen, source)
    assert_sound_copied(seen, reference, joins=1)
    assert {*copied_numbers(seen, reference)} >= {*range(60, 100), *range(120, 170)}
    assert complaints(made) == []


async def test_rough_is_one_file_of_whole_segments(client: ClientSession, address: URL, source: Source) -> None:
    """The init section comes once, and then what was recorded, byte for byte."""
    async with client.get(of(address, source).with_query(wanted(source, "rough", (70, 130)))) as answer:
        assert (answer.status, answer.content_type) == (200, "video/mp4")
        made = await answer.read()
        assert answer.content_length == len(made)
    assert_numbers(read(made), range(60, 180))
    assert made.count(b"moov") == 1
    assert made.startswith(source.path(1).read_bytes())


@pytest.mark.parametrize(
    ("kind", "why"),
    [("fast", "MPEG-TS does not carry what was recorded"), ("rough", "It was recorded in another format")],
)
async def test_mpegts_is_refused_with_the_way(
    client: ClientSession, address: URL, source: Source, kind: str, why: str
) -> None:
    """What needs another container says at which address it is."""
    async with client.get(of(address, source, "ts").with_query(wanted(source, kind, (70, 130)))) as answer:
        assert answer.status == 406
        assert (await answer.json())["error"] == f"{why}: ask for /cut/{source.channel}/{source.quality}.mp4."


async def test_an_ffmpeg_without_av1_is_no_help(
    client: ClientSession, address: URL, source: Source, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be encoded while it is sent is refused before; a checked cut is made of another codec."""
    program = tmp_path / "ffmpeg"
    listed = '*" -encoders"*) echo " V..... libx264";;'
    program.write_text(f'#!/bin/sh\ncase " $*" in\n{listed}\n*) exec {get_ffmpeg_exe()} "$@";;\nesac\n')
    program.chmod(0o755)
    monkeypatch.setenv("RESPOOL_FFMPEG", str(program))
    async with client.get(of(address, source).with_query(wanted(source, "fast", (70, 80)))) as answer:
        assert answer.status == 406
        sentence = "The ffmpeg at hand cannot encode AV1. Ask for another type of cut."
        assert (await answer.json())["error"] == sentence
    async with client.get(of(address, source).with_query(wanted(source, "smart", (70, 80)))) as answer:
        assert (answer.content_type, answer.headers["X-Made-As"]) == ("video/mp4", "full")


async def test_a_smart_cut_as_mpegts_is_encoded_anew(client: ClientSession, address: URL, source: Source) -> None:
    """It is exact, and says that it was not copied."""
    async with client.get(of(address, source, "ts").with_query(wanted(source, "smart", (70, 100)))) as answer:
        assert (answer.content_type, answer.headers["X-Made-As"]) == ("video/mp2t", "full")
        assert_numbers(read(await answer.read()), range(70, 100))


async def test_what_is_mpegts_is_not_to_be_had_so(client: ClientSession, tmp_path: Path) -> None:
    """Cuts of a transport stream that are sent as they come are such; checked ones are MP4 if they are to be."""
    other = make_source(tmp_path, SourceKind(seconds=4, b_frames=3))
    async with serving(make_app(other.store), "127.0.0.1", 0) as port:
        address = URL(f"http://127.0.0.1:{port}")
        for kind in ("rough", "fast"):
            async with client.get(of(address, other).with_query(wanted(other, kind, (30, 50)))) as answer:
                assert answer.status == 406
                assert (await answer.json())["error"].endswith(f"ask for /cut/{other.channel}/{other.quality}.ts.")
        async with client.get(of(address, other).with_query(wanted(other, "smart", (30, 50)))) as answer:
            assert (answer.content_type, answer.headers["X-Made-As"]) == ("video/mp4", "smart")
            assert_numbers(read(await answer.read()), range(30, 50))


async def test_frames_and_sound_are_shown(client: ClientSession, address: URL, source: Source) -> None:
    """The frame at a moment amid a segment, a thumbnail and a waveform are made as of anything else."""
    recording = f"{source.channel}/{source.quality}"
    for number in (59, 101):
        moment = source.at(number + 0.5).isoformat()
        async with client.get(address / f"frame/{recording}.png" % {"timestamp": moment}) as answer:
            picture = Image.open(io.BytesIO(await answer.read()))
        assert read_number(np.asarray(picture.convert("L"))) == number
    times = {"start": source.at(10).isoformat(), "end": source.at(100).isoformat()}
    for url in (
        address / f"waveform/{recording}.png" % times,
        address / f"thumbnail/{recording}.png" % {"timestamp": source.at(70).isoformat()},
    ):
        async with client.get(url) as answer:
            assert (answer.status, answer.content_type) == (200, "image/png")


async def test_a_transition_is_previewed(client: ClientSession, address: URL, source: Source) -> None:
    """It comes with a second of both ranges."""
    query = [*wanted(source, "fast", (10, 80), (100, 170))[1:], ("transition", "fade,0.5")]
    url = address / f"preview/{source.channel}/{source.quality}.mp4"
    async with client.get(url.with_query(query)) as answer:
        assert answer.status == 200
        made = await answer.read()
    with av.open(io.BytesIO(made), "r") as container:
        assert len([*container.decode(video=0)]) == 2.5 * KIND.fps


_OPEN = """async (url) => {
  const video = document.body.appendChild(document.createElement("video"));
  Object.assign(window, { video });
  video.src = URL.createObjectURL(await (await fetch(url)).blob());
  await new Promise((done, failed) => {
    video.addEventListener("canplay", done, { once: true });
    video.addEventListener("error", () => failed(video.error.message));
  });
  return video.duration;
}"""

_LUMA_AT = """async (time) => {
  const sought = new Promise((done) => video.addEventListener("seeked", done, { once: true }));
  video.currentTime = time;
  await sought;
  const canvas = new OffscreenCanvas(video.videoWidth, video.videoHeight).getContext("2d");
  canvas.drawImage(video, 0, 0);
  const { data } = canvas.getImageData(0, 0, video.videoWidth, 48);
  return Array.from({ length: data.length / 4 }, (_, at) => data[4 * at + 1]);
}"""

_PLAY_ON = """() => new Promise((done) => {
  video.addEventListener("ended", () => done(null));
  video.addEventListener("error", () => done(video.error.message));
  video.currentTime = 0;
  video.muted = true;
  video.playbackRate = 4;
  video.play();
})"""


async def test_a_browser_plays_cuts(address: URL, source: Source) -> None:
    """Chromium shows what was encoded again and what was copied, each at its time, and plays over all joins."""
    numbers = [*range(50, 70), *range(110, 130)]
    async with hls_page(str(address)) as page:
        for kind in ("fast", "smart"):
            url = of(address, source).with_query(wanted(source, kind, (50, 70), (110, 130)))
            assert await page.evaluate(_OPEN, str(url)) == pytest.approx(40 / KIND.fps, abs=0.05)
            assert await page.evaluate(_PLAY_ON) is None
            for place in (0, 9, 10, 20, 39):
                assert await number_at(page, (place + 0.5) / float(KIND.fps)) == numbers[place]


async def number_at(page: Page, seconds: float) -> int | None:
    luma = await page.evaluate(_LUMA_AT, seconds)
    return read_number(np.array(luma, np.uint8).reshape(-1, WIDTH))
