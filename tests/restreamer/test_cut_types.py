"""Cuts of real recordings over HTTP: each type gives what it promises, and tells when it cannot."""

import re
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from unittest.mock import Mock

import av
import pytest
import structlog
from aiohttp import ClientSession
from yarl import URL

from checks import assert_numbers, assert_steady, copied_numbers
from common.pieces import CannotSpliceError
from common.web import serving
from complaints import complaints
from log_events import log_events
from marked import SourceKind
from restreamer.main import make_app
from seen import read, read_once
from source import Source, make_source
from ts_bytes import Writer, read_pes, read_programmes

KIND = SourceKind(b_frames=3)


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return make_source(tmp_path_factory.mktemp("recording"), KIND)


@pytest.fixture
async def address(source: Source) -> AsyncIterator[URL]:
    """Serve the recording, and give the address of its cuts."""
    async with serving(make_app(source.store), "127.0.0.1", 0) as port:
        yield URL(f"http://127.0.0.1:{port}/cut/{source.channel}/{source.quality}.ts")


def moments(source: Source, start: float, end: float) -> tuple[datetime, datetime]:
    return source.start + timedelta(seconds=start), source.start + timedelta(seconds=end)


@pytest.mark.parametrize("kind", ["fast", "smart"])
async def test_a_cut_is_exact_and_mostly_copied(client: ClientSession, address: URL, source: Source, kind: str) -> None:
    """Between two moments amid segments come exactly the pictures from there, and hardly any was encoded again."""
    start, end = moments(source, 3.21, 8.9)
    query = {"type": kind, "start": start.isoformat(), "end": end.isoformat()}
    async with client.get(address % query) as answer:
        assert answer.status == 200
        assert answer.content_type == "video/mp2t"
        made = await answer.read()
    seen, wanted = read(made), source.between(start, end)
    assert_numbers(seen, wanted)
    assert_steady(seen, source)
    assert len(copied_numbers(seen, read_once(source.reference))) > len(wanted) * 3 // 4
    assert complaints(made) == []


async def test_a_smart_cut_says_what_it_is(client: ClientSession, address: URL, source: Source) -> None:
    """Its length is known before it is sent, so that one that broke off is noticed, and whether it was copied."""
    start, end = moments(source, 3.21, 4.4)
    query = {"type": "smart", "start": start.isoformat(), "end": end.isoformat()}
    async with client.get(address % query) as answer:
        assert answer.headers["X-Made-As"] == "smart"
        assert answer.content_length == len(await answer.read())
    async with client.head(address % query) as answer:
        assert answer.status == 200


@pytest.mark.parametrize(("kind", "codec"), [("mpegts", "h264"), ("webm", "vp9")])
async def test_what_is_encoded_anew_is_exact_too(
    client: ClientSession, address: URL, source: Source, tmp_path: Path, kind: str, codec: str
) -> None:
    """Several ranges, one of them reached by a transition, are one video with as many pictures as they have."""
    ranges = [moments(source, 1.5, 3.0), moments(source, 8.0, 9.5), moments(source, 5.0, 6.0)]
    query = [("type", kind), *(("range", f"{start.isoformat()},{end.isoformat()}") for start, end in ranges)]
    query += [("transition", "fade,0.5"), ("transition", "")]
    async with client.get(address.with_query(query)) as answer:
        assert answer.status == 200
        (tmp_path / "made").write_bytes(await answer.read())
    with av.open(tmp_path / "made") as container:
        assert container.streams.video[0].codec_context.codec.canonical_name == codec
    assert len(read(tmp_path / "made").pictures) == (1.5 + 1.5 + 1.0 - 0.5) * KIND.fps


async def test_a_run_of_ffmpeg_tells_for_which_request_it_was(
    client: ClientSession, address: URL, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The identifier that a client gave its request is in the log of all that was done for it, ffmpeg included."""
    structlog.reset_defaults()  # a command that was tried has set its own level, which loggers keep that were used then
    for module in ("common.ffmpeg", "common.web"):
        monkeypatch.setattr(f"{module}.log", structlog.get_logger())
    start, end = moments(source, 1.5, 2.0)
    query = {"type": "mpegts", "start": start.isoformat(), "end": end.isoformat()}
    with log_events() as events:
        async with client.get(address % query, headers={"X-Request-Id": "nginx-42"}) as answer:
            assert (answer.status, answer.headers["X-Request-Id"]) == (200, "nginx-42")
            await answer.read()
        (run,) = await events.wait("ffmpeg_ended")
        (request,) = await events.wait("request")
    assert (run["outcome"], run["request_id"], request["request_id"]) == ("done", "nginx-42", "nginx-42")


async def test_ranges_follow_each_other(client: ClientSession, address: URL, source: Source) -> None:
    """They come in the order in which they are named, with nothing between them."""
    ranges = [moments(source, 8.0, 9.5), moments(source, 1.5, 3.0)]
    query = [("type", "fast"), *(("range", f"{start.isoformat()},{end.isoformat()}") for start, end in ranges)]
    async with client.get(address.with_query(query)) as answer:
        seen = read(await answer.read())
    assert_numbers(seen, [number for each in ranges for number in source.between(*each)])


@pytest.mark.parametrize(
    ("kind", "transitions", "status", "sentence"),
    [
        ("webm", ["vanish,1"], 400, "There is no transition 'vanish'; there are "),
        ("webm", ["fade"], 400, "A transition is TYPE,SECONDS, for example transition=fade,1."),
        ("webm", ["fade,nan"], 400, "A transition is TYPE,SECONDS, for example transition=fade,1."),
        ("webm", ["fade,1", "fade,1"], 400, "Give one transition less than ranges, "),
        ("webm", ["fade,9"], 406, "A transition of 9 seconds does not fit into a range of 1.5 seconds."),
    ],
)
async def test_wrong_transitions_are_refused(
    client: ClientSession, address: URL, source: Source, kind: str, transitions: list[str], status: int, sentence: str
) -> None:
    """A transition that there is not, or that does not fit its ranges, is told in one sentence."""
    ranges = [moments(source, 1.5, 3.0), moments(source, 8.0, 9.5)]
    query = [("type", kind), *(("range", f"{start.isoformat()},{end.isoformat()}") for start, end in ranges)]
    async with client.get(address.with_query([*query, *(("transition", each) for each in transitions)])) as answer:
        assert answer.status == status
        assert (await answer.json())["error"].startswith(sentence)


# Damage ---------------------------------------------------------------------------------------------------------------


@pytest.fixture
async def damaged(source: Source, tmp_path: Path) -> AsyncIterator[tuple[Source, URL]]:
    """Serve a copy of the recording of which a segment holds nothing that can be read."""
    copy = source.copy(tmp_path / "copy")
    copy.change(3, lambda content: bytes(len(content)))
    async with serving(make_app(copy.store), "127.0.0.1", 0) as port:
        yield copy, URL(f"http://127.0.0.1:{port}/cut/{source.channel}/{source.quality}.ts")


@pytest.mark.parametrize("kind", ["fast", "smart"])
async def test_a_segment_that_cannot_be_read_is_named(
    client: ClientSession, damaged: tuple[Source, URL], kind: str
) -> None:
    """A cut with such a one is a 406 that names it; with holes allowed, the video has all the rest."""
    source, address = damaged
    start, end = moments(source, 4.7, 8.6)
    query = {"type": kind, "start": start.isoformat(), "end": end.isoformat()}
    async with client.get(address % query) as answer:
        assert answer.status == 406
        segment = source.segments[3]
        assert (await answer.json())["error"] == (
            f"The segment {segment.hour}/{segment.name} cannot be cut. Its bytes are not those that were recorded. "
            "Add allow_holes=true to leave it out."
        )
    async with client.get(address % {**query, "allow_holes": "true"}) as answer:
        assert answer.status == 200
        seen = read(await answer.read())
    left = [number for number in source.between(start, end) if source.frames[number].segment != 3]
    assert_numbers(seen, left)


SLICE = re.compile(rb"(\x00\x00\x01[\x65\x41\x61\x01]).*", re.DOTALL)


def without_pictures(content: bytes) -> bytes:
    """Write a segment anew in which all pictures are there, and none makes sense."""
    programme = read_programmes(content)[0][1]
    video, writer = programme.streams[0].pid, Writer()
    writer.tables(programme)
    units = read_pes(content, {stream.pid for stream in programme.streams})
    for unit in sorted(units, key=lambda unit: unit.dts or 0):
        payload = SLICE.sub(rb"\1" + b"\x80" * 40, unit.payload) if unit.pid == video else unit.payload
        writer.pes(replace(unit, payload=payload))
    return writer.take()


async def test_an_end_that_cannot_be_encoded_is_told_before_anything_is_sent(
    client: ClientSession, source: Source, tmp_path: Path
) -> None:
    """A fast cut that ends among pictures that cannot be decoded is a 406, and not a video that breaks off."""
    broken = source.copy(tmp_path / "copy")
    broken = broken.record(4, without_pictures(broken.path(4).read_bytes()))
    start, end = moments(source, 1.2, 9.3)
    query = {"type": "fast", "start": start.isoformat(), "end": end.isoformat()}
    async with serving(make_app(broken.store), "127.0.0.1", 0) as port:
        address = URL(f"http://127.0.0.1:{port}/cut/{source.channel}/{source.quality}.ts")
        async with client.get(address % query) as answer:
            assert answer.status == 406
            assert (await answer.json())["error"] == (
                "There is no picture that can be decoded. Ask for another type of cut."
            )


@pytest.mark.parametrize("kind", ["fast", "mpegts"])
async def test_an_encode_that_fails_at_once_is_an_error(
    client: ClientSession, address: URL, source: Source, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    """Where nothing of the video has been sent yet, the answer is not that of a video."""
    if kind == "mpegts":
        monkeypatch.setenv("RESPOOL_FFMPEG", "/bin/false")
    else:
        monkeypatch.setattr("common.smart.Splicer.tables", Mock(side_effect=CannotSpliceError("It does not fit.")))
    start, end = moments(source, 1.2, 2.3)
    async with client.get(address % {"type": kind, "start": start.isoformat(), "end": end.isoformat()}) as answer:
        assert answer.status == (500 if kind == "mpegts" else 406)
        assert (await answer.json())["error"].endswith(".")


@pytest.mark.parametrize("kind", ["rough", "fast", "smart", "mpegts", "webm"])
@pytest.mark.parametrize(
    ("start", "end", "holes", "status"),
    [
        (4.0, 4.0, False, 400),
        (5.0, 4.0, False, 400),
        (60.0, 62.0, False, 406),
        (60.0, 62.0, True, 404),
        (1e9, 1e9 + 5, True, 404),
    ],
    ids=["empty", "reversed", "all hole", "all hole, allowed", "in the future"],
)
async def test_ranges_of_nothing_are_refused(
    client: ClientSession,
    address: URL,
    source: Source,
    kind: str,
    start: float,
    end: float,
    *,
    holes: bool,
    status: int,
) -> None:
    """Whatever the type, nothing is not made a video of, and a sentence says so."""
    begin, stop = moments(source, start, end)
    query = {"type": kind, "start": begin.isoformat(), "end": stop.isoformat(), "allow_holes": str(holes).lower()}
    async with client.get(address % query) as answer:
        assert answer.status == status
        assert (await answer.json())["error"].endswith(".")


async def test_a_transition_is_previewed(client: ClientSession, address: URL, source: Source, tmp_path: Path) -> None:
    """It comes with a second of both ranges, as a small video that a browser plays."""
    ranges = [moments(source, 1.5, 4.0), moments(source, 8.0, 11.5)]
    query = [("range", f"{start.isoformat()},{end.isoformat()}") for start, end in ranges]
    url = address.with_path(address.path.replace("/cut/", "/preview/").replace(".ts", ".mp4"))
    async with client.get(url.with_query([*query, ("transition", "wipeleft,0.5")])) as answer:
        assert answer.status == 200
        assert answer.content_type == "video/mp4"
        (tmp_path / "made").write_bytes(await answer.read())
    with av.open(tmp_path / "made") as container:
        assert len([*container.decode(video=0)]) == 2.5 * KIND.fps
    for wrong in (query, query[:1], [*query, ("transition", "")]):
        async with client.get(url.with_query(wrong)) as answer:
            assert answer.status == 400
            assert (await answer.json())["error"] == "A preview needs two ranges and a transition between them."
