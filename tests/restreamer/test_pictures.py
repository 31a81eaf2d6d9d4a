"""Frames, waveforms and thumbnails over HTTP, of clips whose every frame can be told apart."""

import asyncio
import io
import struct
import zlib
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import ClientSession
from PIL import Image
from structlog.testing import capture_logs
from yarl import URL

from common import clips
from common import web as common_web
from common.store import Store
from common.thumbnails import MOST_TEMPLATE_BYTES
from common.web import serving
from numbered import HEIGHT, WIDTH, number_in, put, put_in_time, ts_segments
from restreamer import limits
from restreamer.limits import MOST_PICTURES
from restreamer.main import make_app

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)
AT_NOON = "2026-03-01T12:00:00Z"
PATIENCE = 30


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Four seconds in two segments, frames numbered from 0."""
    return ts_segments(tmp_path_factory.mktemp("clip"), "-g", "50")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The folder of templates: a grey border around a window, and its notes."""
    made = tmp_path / "templates"
    made.mkdir()
    border = Image.new("RGBA", (256, 144), (128, 128, 128, 255))
    border.paste((0, 0, 0, 0), (100, 50, 100 + WIDTH, 50 + HEIGHT))
    border.save(made / "border.png")
    (made / "border.toml").write_text(f'description = "A grey one"\nlocation = [100, 50, {WIDTH}, {HEIGHT}]\n')
    (tmp_path / "secret.png").write_bytes((made / "border.png").read_bytes())
    return made


@pytest.fixture
async def url(store: Store, folder: Path) -> AsyncIterator[URL]:
    """Give the address under which the store and the templates are served."""
    async with serving(make_app(store, templates=folder), "127.0.0.1", 0) as port:
        yield URL(f"http://127.0.0.1:{port}")


@pytest.fixture
def recorded(store: Store, clip: list[bytes]) -> None:
    """The clip at noon."""
    put_in_time(store, NOON, clip)


async def said(client: ClientSession, url: URL, status: int, **request: Any) -> str:  # noqa: ANN401 - as aiohttp's
    """Ask for what is refused, and give the sentence."""
    async with client.request(request.pop("method", "GET"), url, **request) as response:
        assert response.status == status, await response.text()
        sentence: str = (await response.json())["error"]
        assert sentence.endswith(".")
        return sentence


async def picture(client: ClientSession, url: URL, **request: Any) -> Image.Image:  # noqa: ANN401 - as aiohttp's
    async with client.request(request.pop("method", "GET"), url, **request) as response:
        assert (response.status, response.content_type) == (200, "image/png"), await response.text()
        image = Image.open(io.BytesIO(await response.read()))
        image.load()
        return image


# Frames -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorded")
async def test_a_frame_is_the_one_on_screen(url: URL, client: ClientSession) -> None:
    """The PNG shows the frame at that moment, in its full size, or as small as is asked for."""
    frame = url / "frame/chan/source.png"
    image = await picture(client, frame % {"timestamp": "2026-03-01T12:00:02.359"})
    assert (number_in(image), image.size) == (58, (WIDTH, HEIGHT))
    image = await picture(client, frame % {"timestamp": "2026-03-01T12:00:02.36", "size": "64x64"})
    assert (number_in(image), image.size) == (59, (64, 36))


@pytest.mark.usefixtures("recorded")
async def test_a_frame_is_named_by_what_it_shows(url: URL, client: ClientSession) -> None:
    """Answers may be kept for days; who has the frame already is told so, and nothing is decoded; so is HEAD."""
    frame = url / "frame/chan/source.png" % {"timestamp": AT_NOON}
    async with client.get(frame) as response:
        tag = response.headers["ETag"]
        assert response.headers["Cache-Control"] == "public, max-age=604800"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
    with capture_logs() as logs:
        async with client.get(
            frame % {"timestamp": "2026-03-01T12:00:00.03"}, headers={"If-None-Match": tag}
        ) as response:
            assert (response.status, await response.read()) == (304, b"")
        async with client.head(frame) as response:
            assert (response.status, response.headers["ETag"], response.content_type) == (200, tag, "image/png")
    assert [entry for entry in logs if entry["event"] == "ffmpeg_ended"] == []
    async with client.get(frame % {"timestamp": "2026-03-01T12:00:00.05"}, headers={"If-None-Match": tag}) as response:
        assert response.status == 200


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("path", "query", "status", "sentence"),
    [
        ("frame/chan/source.png", {}, 400, "Say which moment"),
        ("frame/chan/source.png", {"timestamp": "noon"}, 400, "not an ISO 8601 time"),
        ("frame/chan/source.png", {"timestamp": "2026-03-01T13:00:00+01:00"}, 400, "not in UTC"),
        ("frame/chan/source.png", {"timestamp": AT_NOON, "size": "10"}, 400, "WIDTHxHEIGHT"),
        ("frame/chan/source.png", {"timestamp": AT_NOON, "size": "1x1"}, 400, "from 8x8 to 4096x2160"),
        ("frame/chan/source.png", {"timestamp": AT_NOON, "size": "9999x99"}, 400, "from 8x8 to 4096x2160"),
        ("frame/chan/source.png", {"timestamp": AT_NOON, "codec": "copy"}, 400, "There is no parameter 'codec'"),
        ("frame/chan/source.png", {"timestamp": "2026-03-01T12:00:05Z"}, 404, "Nothing is recorded at"),
        ("frame/nobody/source.png", {"timestamp": AT_NOON}, 404, "Nothing is recorded at"),
        ("frame/.hidden/source.png", {"timestamp": AT_NOON}, 400, "cannot be the name"),
        ("waveform/chan/source.png", {"start": AT_NOON}, 400, "needs both start and end"),
        ("waveform/chan/source.png", {"start": AT_NOON, "end": AT_NOON}, 400, "start must be before end"),
        ("waveform/chan/source.png", {"start": AT_NOON, "end": "2026-03-01T18:00:01Z"}, 400, "longer than 6 hours"),
        ("waveform/no/source.png", {"start": AT_NOON, "end": "2026-03-01T12:00:01Z"}, 404, "Nothing is recorded"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "template": "other"}, 404, "there are border"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "template": "../secret"}, 404, "no template '../secret'"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "template": "border.toml"}, 404, "no template"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "template": "\0"}, 404, "no template"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "crop": "1,2,3"}, 400, "X,Y,WIDTH,HEIGHT"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "crop": "-1,0,9,9"}, 400, "X,Y,WIDTH,HEIGHT"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "crop": "0,0,129,9"}, 400, "within the frame's 128x72"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "location": "0,0,0,9"}, 400, "X,Y,WIDTH,HEIGHT"),
        ("thumbnail/chan/source.png", {"timestamp": AT_NOON, "location": "9,0,1280,9"}, 400, "the template's 1280x720"),
    ],
)
async def test_wrong_requests_are_refused(
    url: URL, client: ClientSession, path: str, query: dict[str, str], status: int, sentence: str
) -> None:
    """What cannot be shown is refused, with the sentence that says why."""
    assert sentence in await said(client, url / path % query, status)


async def test_what_may_still_come_is_not_kept_for_long(
    url: URL, client: ClientSession, store: Store, clip: list[bytes]
) -> None:
    """A waveform with a hole may be filled: it is kept for seconds, and another one once it is filled."""
    put(store, NOON, 2 * SECOND, clip[0])
    waveform = url / "waveform/chan/source.png" % {"start": AT_NOON, "end": "2026-03-01T12:00:04Z"}
    tags = []
    for kept in (10, 604_800):
        async with client.get(waveform) as response:
            assert response.headers["Cache-Control"] == f"public, max-age={kept}"
            tags.append(response.headers["ETag"])
        put(store, NOON + 2 * SECOND, 2 * SECOND, clip[1])
    assert tags[0] != tags[1]


# Waveforms ----------------------------------------------------------------------------------------------------------


async def test_a_waveform_has_the_size_and_the_holes_of_its_range(
    url: URL, client: ClientSession, store: Store, clip: list[bytes]
) -> None:
    """It is as large as asked for, or 1024x128; a hole of a half of the range is empty over a half of the width."""
    put(store, NOON + 2 * SECOND, 2 * SECOND, clip[0])
    query = {"start": AT_NOON, "end": "2026-03-01T12:00:04Z"}
    assert (await picture(client, url / "waveform/chan/source.png" % query)).size == (1024, 128)
    image = await picture(client, url / "waveform/chan/source.png" % (query | {"size": "400x20"}))
    assert (image.size, image.mode) == ((400, 20), "RGBA")
    box = image.getchannel("A").getbbox()
    assert box is not None
    assert abs(box[0] - 200) <= 3  # a segment's sound may begin a moment before its picture
    assert box[2] == 400


# Thumbnails ---------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("recorded")
async def test_a_thumbnail_is_the_frame_in_the_named_template(url: URL, client: ClientSession) -> None:
    """The frame is where the template's notes say, or the request; the template is around it."""
    thumbnail = url / "thumbnail/chan/source.png" % {"timestamp": "2026-03-01T12:00:03.32", "template": "border"}
    image = await picture(client, thumbnail)
    assert image.size == (256, 144)
    assert number_in(image.crop((100, 50, 100 + WIDTH, 50 + HEIGHT))) == 83
    assert image.getpixel((99, 60)) == (128, 128, 128)
    image = await picture(client, thumbnail % {"location": "150,70,64,36", "crop": "0,0,64,72"})
    assert [image.getpixel((x, 90)) for x in (101, 205)] == [(0, 0, 0, 0), image.getpixel((206, 90))]
    image = await picture(client, url / "thumbnail/chan/source.png" % {"timestamp": "2026-03-01T12:00:03.32"})
    assert (number_in(image), image.size) == (83, (1280, 720))


@pytest.mark.usefixtures("recorded")
async def test_a_template_that_is_replaced_makes_another_thumbnail(
    url: URL, client: ClientSession, folder: Path
) -> None:
    """A thumbnail is kept until its template, or what is said of it, is another."""
    thumbnail = url / "thumbnail/chan/source.png" % {"timestamp": AT_NOON, "template": "border"}
    tags = set()
    for notes in ("location = [0, 0, 64, 36]", "location = [0, 0, 64, 37]", ""):
        (folder / "border.toml").write_text(notes)
        async with client.get(thumbnail) as response:
            tags.add(response.headers["ETag"])
            assert response.headers["Cache-Control"] == "public, max-age=10"
    Image.new("RGBA", (32, 18)).save(folder / "border.png")
    async with client.get(thumbnail) as response:
        tags.add(response.headers["ETag"])
        assert len(tags) == 4
        last = response.headers["ETag"]
    async with client.get(thumbnail, headers={"If-None-Match": last}) as again:
        assert again.status == 304


async def test_the_templates_are_listed(url: URL, client: ClientSession, folder: Path, store: Store) -> None:
    """Each template that can be used is listed with what is said of it; without a folder there are none."""
    (folder / "bad.png").write_text("no PNG")
    Image.new("RGBA", (32, 18)).save(folder / "odd.png")
    (folder / "odd.toml").write_text("location = [1, 2, 3]")
    Image.new("RGBA", (32, 18)).save(folder / ".hidden.png")
    (folder / "folder.png").mkdir()
    async with client.get(url / "thumbnails") as response:
        assert await response.json() == [
            {
                "name": "border",
                "description": "A grey one",
                "size": [256, 144],
                "crop": None,
                "location": [100, 50, WIDTH, HEIGHT],
            }
        ]
    async with (
        serving(make_app(store), "127.0.0.1", 0) as port,
        client.get(f"http://127.0.0.1:{port}/thumbnails") as none,
    ):
        assert await none.json() == []


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("notes", "sentence"),
    [
        ("location = [1, 2, 3]", "In border.toml, location must be [x, y, width, height] in whole pixels."),
        ("crop = 'all'", "In border.toml, crop must be [x, y, width, height] in whole pixels."),
        ("croq = [0, 0, 1, 1]", "In border.toml there is 'croq'; there can be crop, description, location."),
        ("crop = [", "What border.toml says of the template is not TOML."),
        ("\xff", "What border.toml says of the template is not TOML."),
    ],
)
async def test_notes_that_make_no_sense_are_said_to(
    url: URL, client: ClientSession, folder: Path, notes: str, sentence: str
) -> None:
    """A mistake in what is said of a template is told to whoever uses it."""
    (folder / "border.toml").write_bytes(notes.encode("latin-1"))
    thumbnail = url / "thumbnail/chan/source.png" % {"timestamp": AT_NOON, "template": "border"}
    assert await said(client, thumbnail, 400) == sentence


def template(**options: Any) -> bytes:  # noqa: ANN401 - as Pillow's
    file = io.BytesIO()
    Image.new("RGBA", (WIDTH * 2, HEIGHT), (0, 0, 0, 0)).save(file, "PNG", **options)
    return file.getvalue()


@pytest.mark.usefixtures("recorded")
async def test_a_template_may_be_sent(url: URL, client: ClientSession) -> None:
    """POST takes the template as its body, in one piece or in many, keeps nothing, and answers with the thumbnail."""
    thumbnail = url / "thumbnail/chan/source.png" % {"timestamp": AT_NOON, "location": f"{WIDTH},0,{WIDTH},{HEIGHT}"}
    thumbnail %= {"timestamp": "2026-03-01T12:00:01.04"}

    async def in_pieces() -> AsyncIterator[bytes]:
        content = template()
        for first in range(0, len(content), 50):
            yield content[first : first + 50]

    for body in (template(), in_pieces()):
        image = await picture(client, thumbnail, method="POST", data=body)
        assert image.size == (WIDTH * 2, HEIGHT)
        assert number_in(image.crop((WIDTH, 0, WIDTH * 2, HEIGHT)).convert("RGB")) == 26
    async with client.post(thumbnail, data=template()) as response:
        assert response.headers["Cache-Control"] == "no-store"
        assert "ETag" not in response.headers


def bomb(width: int, height: int) -> bytes:
    head = struct.pack(">4sIIBBBBB", b"IHDR", width, height, 8, 6, 0, 0, 0)
    pixels = b"IDAT" + zlib.compress(bytes(30_000_000), 9)
    chunks = (struct.pack(">I", len(each) - 4) + each + struct.pack(">I", zlib.crc32(each)) for each in (head, pixels))
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.usefixtures("recorded")
@pytest.mark.parametrize(
    ("body", "status", "sentence"),
    [
        (b"", 400, "The template is no PNG."),
        (b"<svg/>", 400, "The template is no PNG."),
        (template()[:60], 400, "The template is a damaged PNG."),
        (bomb(60_000, 60_000), 400, "The template has 60000 x 60000 pixels; at most 8294400 can be used."),
        (bytes(MOST_TEMPLATE_BYTES + 1), 413, "The template has more than 8 MiB."),
    ],
    ids=["nothing", "svg", "damaged", "bomb", "long"],
)
async def test_templates_that_do_harm_are_refused(
    url: URL, client: ClientSession, body: bytes, status: int, sentence: str
) -> None:
    """What is no template, or too much of one, is a sentence; and the next request is answered."""
    thumbnail = url / "thumbnail/chan/source.png" % {"timestamp": AT_NOON}
    assert await said(client, thumbnail, status, method="POST", data=io.BytesIO(body)) == sentence
    assert number_in(await picture(client, thumbnail)) == 0


@pytest.mark.usefixtures("recorded")
async def test_only_thumbnails_take_what_is_sent(url: URL, client: ClientSession) -> None:
    """POST is possible nowhere else, and with a template's name it is a mistake."""
    for path in ("frame/chan/source.png", "waveform/chan/source.png", "thumbnails", "files"):
        assert "POST is not possible here" in await said(client, url / path, 405, method="POST", data=template())
    named = url / "thumbnail/chan/source.png" % {"timestamp": AT_NOON, "template": "border"}
    assert "There is no parameter 'template' here" in await said(client, named, 400, method="POST", data=template())


# Limits -------------------------------------------------------------------------------------------------------------


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[None]:
    """Keep every decoder waiting for its turn; each that does so is told in this queue."""
    waiting: asyncio.Queue[None] = asyncio.Queue()

    class Never:
        async def __aenter__(self) -> None:
            waiting.put_nowait(None)
            await asyncio.Event().wait()

        async def __aexit__(self, *_: object) -> None: ...

    monkeypatch.setattr(clips, "encode_slot", lambda *_, **__: Never())
    return waiting


@pytest.fixture
def ended(monkeypatch: pytest.MonkeyPatch) -> asyncio.Queue[int]:
    """Give the queue of the statuses under which requests are accounted, each when it has ended."""
    statuses: asyncio.Queue[int] = asyncio.Queue()
    monkeypatch.setattr(common_web, "_account", lambda _, status, *__: statuses.put_nowait(status))
    return statuses


@pytest.mark.usefixtures("recorded")
async def test_a_client_that_leaves_takes_its_picture_with_it(
    url: URL, client: ClientSession, held: asyncio.Queue[None], ended: asyncio.Queue[int]
) -> None:
    """Pictures that are being made are so many at once; the place of a client that has left is free, without a word."""
    paths = [
        f"/frame/chan/source.png?timestamp={AT_NOON}",
        f"/waveform/chan/source.png?start={AT_NOON}&end=2026-03-01T12:00:04Z",
        f"/thumbnail/chan/source.png?timestamp={AT_NOON}",
    ]
    with capture_logs() as logs:
        async with asyncio.timeout(PATIENCE):
            writers = []
            for index in range(MOST_PICTURES):
                _, writer = await asyncio.open_connection(url.host, url.port)
                writer.write(f"GET {paths[index % 3]} HTTP/1.1\r\nHost: host\r\n\r\n".encode())
                writers.append(writer)
            for _ in writers:
                await held.get()
            sentence = await said(client, url / "frame/chan/source.png" % {"timestamp": AT_NOON}, 503)
            assert sentence == "Too many pictures are being made; come back in a few seconds."
            assert await ended.get() == 503
            for writer in writers:
                writer.transport.abort()
            assert [await ended.get() for _ in writers] == [499] * MOST_PICTURES
    assert [entry for entry in logs if entry["log_level"] in ("warning", "error")] == []


async def test_a_template_that_does_not_come_is_not_waited_for(
    url: URL, ended: asyncio.Queue[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who sends a template drop by drop loses the connection, and its place is free."""
    monkeypatch.setattr(limits, "TAKE_SECONDS", 0.2)
    async with asyncio.timeout(PATIENCE):
        reader, writer = await asyncio.open_connection(url.host, url.port)
        head = (
            f"POST /thumbnail/chan/source.png?timestamp={AT_NOON} HTTP/1.1\r\nHost: host\r\nContent-Length: 99\r\n\r\n"
        )
        writer.write(head.encode() + b"drop")
        assert await ended.get() == 499
        with suppress(ConnectionResetError):
            assert await reader.read() == b""
        writer.close()


@pytest.mark.usefixtures("recorded")
async def test_an_ffmpeg_that_is_not_there_is_said_to_be_missing(
    url: URL, client: ClientSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the operator has named an ffmpeg that is none, whoever asks for a picture learns it."""
    monkeypatch.setenv("RESPOOL_FFMPEG", "/nonexistent/ffmpeg")
    frame = url / "frame/chan/source.png" % {"timestamp": AT_NOON}
    assert "There is no ffmpeg at /nonexistent/ffmpeg" in await said(client, frame, 503)
