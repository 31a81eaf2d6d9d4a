"""One segment from the origin to disk: complete, odd, broken off, refused."""

import asyncio
import errno
import gzip
import io
import tracemalloc
from dataclasses import replace
from datetime import timedelta

import av
import pytest
from aiohttp import ClientSession

from common.media import examine
from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from downloader import arrival, attempt, fetch
from downloader.fetch import Fetched, Fetcher, FetchError, Target
from downloader.outcomes import Reason
from downloader.playlist_values import PlaylistSegment
from downloader.timeline import NewSegment
from downloader.transfer import Patience
from downloads import on_disk, stored
from hls_origin import NOON, PACKET, Answer, Held, Origin, breaks_off, hangs_up, raw, redirect, status, ts, typed
from log_events import LogEvents

PATH = "/live/a.ts"
TWO = timedelta(seconds=2)
LONG = ts(7, packets=8000)  # some 1.5 MB: more than is handed to the disk at once


def new(url: str, *, after_jump: bool = False) -> NewSegment:
    return NewSegment(PlaylistSegment(url, TWO), NOON, guessed=False, after_jump=after_jump)


async def fetched(session: ClientSession, origin: Origin, store: Store, patience: Patience | None = None) -> Fetched:
    fetcher = Fetcher(session, Target(store, "chan", "source"), patience=patience)
    return await fetcher.fetch(new(origin.url(PATH) + "?token=hunter2"))


async def failure(session: ClientSession, origin: Origin, store: Store, patience: Patience | None = None) -> FetchError:
    with pytest.raises(FetchError) as raised:
        await fetched(session, origin, store, patience)
    assert "hunter2" not in str(raised.value)
    assert str(raised.value).endswith(".")
    return raised.value


def kinds(store: Store) -> list[SegmentType]:
    return [segment.type for segment in stored(store)]


@pytest.mark.parametrize("data", [ts(1), ts(1, packets=1), LONG])
async def test_what_comes_whole_is_full(session: ClientSession, origin: Origin, store: Store, data: bytes) -> None:
    """A transport stream that arrives whole is stored byte for byte, under a name that tells its content."""
    origin.put(PATH, data)
    found = await fetched(session, origin, store)
    assert stored(store) == {found.segment: data}
    assert (found.segment.start, found.segment.duration) == (NOON, TWO)
    assert found.segment.type is SegmentType.FULL
    assert found.bytes == len(data)


@pytest.mark.parametrize("data", [ts(1)[:-1], b"\0" + ts(1)[1:], LONG + b"x"])
async def test_what_is_whole_and_no_transport_stream_is_suspect(
    session: ClientSession, origin: Origin, store: Store, data: bytes
) -> None:
    """Half a packet more or less: it is kept, and not called full."""
    origin.put(PATH, data)
    found = await fetched(session, origin, store)
    assert found.segment.type is SegmentType.SUSPECT
    assert stored(store) == {found.segment: data}


@pytest.mark.parametrize("at", [PACKET, 700_000, len(LONG) - PACKET])
@pytest.mark.parametrize("chunked", [False, True])
async def test_what_breaks_off_is_partial(
    session: ClientSession,
    origin: Origin,
    store: Store,
    at: int,
    chunked: bool,  # noqa: FBT001
) -> None:
    """A transfer that ends too early leaves what came, whether its length was promised or not."""
    origin.put(PATH, breaks_off(LONG, at, chunked=chunked))
    failed = await failure(session, origin, store)
    assert str(failed) == "The segment cannot be fetched: the transfer broke off."
    assert not failed.gone
    assert kinds(store) == [SegmentType.PARTIAL]
    (data,) = stored(store).values()
    assert LONG[:at].startswith(data)
    assert len(data) > at - (256 << 10)  # aiohttp forgets what it has read ahead when the connection ends


async def test_what_stops_coming_is_partial(session: ClientSession, origin: Origin, store: Store) -> None:
    """A transfer that hangs is given up, and what came is kept."""
    origin.put(PATH, Held(LONG, 5 * PACKET))
    failed = await failure(session, origin, store, Patience(silence_hard=0.05))
    assert (str(failed), failed.reason) == ("The segment did not arrive in time.", Reason.TIMED_OUT)
    assert kinds(store) == [SegmentType.PARTIAL]


async def test_a_fetch_that_is_cancelled_keeps_what_came(session: ClientSession, origin: Origin, store: Store) -> None:
    """A stop in the middle of a segment leaves a partial one and no temp."""
    held = Held(LONG, 1_000_000)
    origin.put(PATH, held)
    fetching = asyncio.create_task(fetched(session, origin, store))
    await held.wait()
    await on_disk(store, SegmentType.TEMP)
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert kinds(store) == [SegmentType.PARTIAL]
    (data,) = stored(store).values()
    assert LONG.startswith(data)


async def test_a_fetch_that_is_cancelled_while_its_file_is_made_leaves_none_open(
    session: ClientSession, origin: Origin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A stop in the very moment in which a file is made closes it too."""
    origin.put(PATH, LONG)
    loop, made = asyncio.get_running_loop(), list[SegmentWriter]()

    class Writer(SegmentWriter):
        def write(self, data: bytes | memoryview) -> None:
            made.append(self)
            loop.call_soon_threadsafe(fetching.cancel)
            super().write(data)

    monkeypatch.setattr(arrival, "SegmentWriter", Writer)
    fetching = asyncio.create_task(fetched(session, origin, store))
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert all(writer.closed for writer in made)
    assert SegmentType.TEMP not in kinds(store)


@pytest.mark.parametrize(
    ("answer", "sentence", "gone"),
    [
        (status(404), "The origin no longer has it (404).", True),
        (status(403), "The origin no longer has it (403).", True),
        (status(410), "The origin no longer has it (410).", True),
        (status(500), "The origin answers 500 Internal Server Error.", False),
        (status(204), "The origin answers 204 No Content.", False),
        (status(200), "The segment is empty.", False),
        (hangs_up, "The segment cannot be fetched: the connection was closed before an answer came.", False),
        (redirect("file:///hunter2"), "{}it redirects to what is neither http nor https.", False),
        (redirect(f"http://{64 * 'a'}/hunter2"), "{}its host cannot be a host's name.", False),
        (breaks_off(LONG, 0), "The segment cannot be fetched: the transfer broke off.", False),
    ],
)  # fmt: skip
async def test_what_does_not_come_leaves_nothing(
    session: ClientSession,
    origin: Origin,
    store: Store,
    events: LogEvents,
    answer: Answer,
    sentence: str,
    gone: bool,  # noqa: FBT001
) -> None:
    """An answer without a segment is one sentence, and nothing is written."""
    origin.put(PATH, answer)
    failed = await failure(session, origin, store)
    assert (str(failed), failed.gone) == (sentence.replace("{}", "The segment cannot be fetched: "), gone)
    assert not stored(store)
    assert not events.all


async def test_a_segment_may_be_elsewhere(session: ClientSession, origin: Origin, store: Store) -> None:
    """A redirect to another http address is followed."""
    origin.put(PATH, redirect("/b.ts"))
    origin.put("/b.ts", ts(1))
    assert (await fetched(session, origin, store)).segment.type is SegmentType.FULL


async def test_a_segment_without_an_end_is_given_up(
    session: ClientSession, origin: Origin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No disk is filled by one segment that never ends."""
    monkeypatch.setattr(attempt, "_MOST_BYTES_A_SECOND", 1 << 18)
    origin.put(PATH, Held(LONG * 2, len(LONG)))
    failed = await failure(session, origin, store)
    assert (str(failed), failed.gone) == ("The segment is longer than 1 MiB.", True)


@pytest.mark.parametrize("written", [0, 1])
async def test_a_disk_that_is_full_is_said(
    session: ClientSession, origin: Origin, store: Store, monkeypatch: pytest.MonkeyPatch, written: int
) -> None:
    """A disk that fills up in the middle of a segment leaves no final file that is called complete."""
    origin.put(PATH, LONG)
    write = SegmentWriter.write

    def full(self: SegmentWriter, data: bytes) -> None:
        if self.size > written * 100_000:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data[: 100_000 + written])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(SegmentWriter, "write", full)
    failed = await failure(session, origin, store)
    assert (str(failed), failed.reason) == (f"The disk is full; make room in {store.base}.", Reason.DISK)
    assert not failed.gone
    assert set(kinds(store)) <= {SegmentType.PARTIAL}


async def test_the_same_segment_twice_is_one_file(session: ClientSession, origin: Origin, store: Store) -> None:
    """Fetching what is there already changes nothing."""
    origin.put(PATH, ts(1))
    assert (await fetched(session, origin, store)).segment == (await fetched(session, origin, store)).segment
    assert list(stored(store).values()) == [ts(1)]
    assert origin.count(PATH) == 2


PAGES = [
    b"<html>nothing here</html>",
    b'{"error": "gone"}',
    b"#EXTM3U\n#EXT-X-ENDLIST\n",
    b"<!doctype html>" + b"x" * 2_000_000,
]


@pytest.mark.parametrize("page", PAGES)
async def test_a_page_is_no_segment(session: ClientSession, origin: Origin, store: Store, page: bytes) -> None:
    """An error page that is answered with 200, of any length, is refused and tried again; nothing of it is stored."""
    origin.put(PATH, page)
    failed = await failure(session, origin, store)
    assert str(failed) == "The origin answers with a page or a text in place of media."
    assert (failed.reason, failed.gone) == (Reason.REFUSED, False)
    assert not stored(store)


async def test_a_wrong_type_does_not_hide_media(session: ClientSession, origin: Origin, store: Store) -> None:
    """A server that calls everything text/html gets its segments recorded all the same."""
    origin.put(PATH, typed(ts(1), "text/html"))
    assert (await fetched(session, origin, store)).segment.type is SegmentType.FULL


HEAD = b"HTTP/1.1 200 OK\r\n"
CHUNK = b"%x\r\n%b\r\n" % (len(ts(1)), ts(1))


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: %d\r\n\r\n" % (len(ts(1)) + 1) + ts(1),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK,
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK + b"0\r\n",
    ],
)
async def test_a_body_that_does_not_end_as_it_should_is_partial(
    session: ClientSession, origin: Origin, store: Store, answer: bytes
) -> None:
    """Less than was promised, or chunks without the last one: what came is kept."""
    origin.put(PATH, raw(answer))
    failed = await failure(session, origin, store)
    assert failed.reason is Reason.PARTIAL
    assert [*stored(store).values()] == [ts(1)]
    assert kinds(store) == [SegmentType.PARTIAL]


@pytest.mark.parametrize(
    "answer",
    [
        HEAD + b"Content-Length: %d\r\n\r\n" % (len(ts(1)) - PACKET) + ts(1),
        HEAD + b"Content-Length: %d\r\nConnection: close\r\n\r\n" % (len(ts(1)) - PACKET) + ts(1),
        HEAD + b"Content-Length: %d\r\nTransfer-Encoding: chunked\r\n\r\n" % len(ts(1)) + CHUNK + b"0\r\n\r\n",
        HEAD + b"Content-Length: 20\r\nContent-Length: 3760\r\n\r\n" + ts(1),
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK + b"wrong\r\n",
    ],
)
async def test_an_answer_that_contradicts_itself_is_refused(
    session: ClientSession, origin: Origin, store: Store, answer: bytes
) -> None:
    """More than was promised, two lengths, what is no chunk: nobody can tell where such a body ends."""
    origin.put(PATH, raw(answer))
    failed = await failure(session, origin, store)
    assert failed.reason is Reason.REFUSED
    assert not failed.gone
    assert not stored(store)


@pytest.mark.parametrize("version", [b"HTTP/1.0", b"HTTP/1.1"])
async def test_a_body_without_an_end_needs_timestamps(
    session: ClientSession, origin: Origin, store: Store, stream: list[bytes], version: bytes
) -> None:
    """A body that ends when the connection does is full if its timestamps fill its duration, and else suspect."""
    head = version + b" 200 OK\r\n\r\n"
    half = stream[1][: len(stream[1]) // 2 // PACKET * PACKET]
    origin.put(PATH, raw(head + stream[1]), raw(head + half), raw(head + ts(1)))
    whole, cut, unknown = [await fetched(session, origin, store) for _ in range(3)]
    assert (whole.segment.type, whole.remarks) == (SegmentType.FULL, ())
    assert cut.segment.type is unknown.segment.type is SegmentType.SUSPECT
    assert "its timestamps end" in cut.remarks[0]
    assert unknown.remarks == ("nothing tells that it is complete",)


async def test_a_segment_that_ends_early_is_told_by_its_neighbours(
    session: ClientSession, origin: Origin, store: Store, stream: list[bytes]
) -> None:
    """Whole by all that HTTP says, with half of the media: the neighbours' bit rate makes one look, and it shows."""
    fetcher = Fetcher(session, Target(store, "chan", "source"))
    half = stream[1][: len(stream[1]) // 2 // PACKET * PACKET]
    tables = stream[1][: 2 * PACKET]
    origin.put(PATH, *stream, half, tables)
    full = [await fetcher.fetch(new(origin.url(PATH))) for _ in stream]
    assert {found.segment.type for found in full} == {SegmentType.FULL}
    short, nothing = [await fetcher.fetch(new(origin.url(PATH))) for _ in range(2)]
    assert short.segment.type is nothing.segment.type is SegmentType.SUSPECT
    assert len(short.remarks) == 1
    assert nothing.remarks == ("it has few bytes, and no timestamps that can be read",)


async def test_neighbours_are_known_after_a_restart(
    session: ClientSession, origin: Origin, store: Store, stream: list[bytes]
) -> None:
    """What ends early is told at once by segments that were recorded before the process began."""
    half = stream[1][: len(stream[1]) // 2 // PACKET * PACKET]
    origin.put(PATH, *stream, half)
    before = Fetcher(session, Target(store, "chan", "source"))
    for number in range(len(stream)):
        await before.fetch(replace(new(origin.url(PATH)), start=NOON + number * timedelta(seconds=2)))
    fetcher = Fetcher(session, Target(store, "chan", "source"))
    await fetcher.learn()
    short = await fetcher.fetch(new(origin.url(PATH)))
    assert short.segment.type is SegmentType.SUSPECT


async def test_a_segment_after_a_jump_is_suspect(session: ClientSession, origin: Origin, store: Store) -> None:
    """What comes right after a jump of the stream's times is complete, and not called so."""
    origin.put(PATH, ts(1))
    fetcher = Fetcher(session, Target(store, "chan", "source"))
    found = await fetcher.fetch(new(origin.url(PATH), after_jump=True))
    assert found.segment.type is SegmentType.SUSPECT
    assert found.remarks == ("the stream's times jumped before it",)


async def test_a_segment_that_took_a_minute_is_suspect(
    session: ClientSession, origin: Origin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A transfer that stalls and then ends as if complete is not believed."""
    monkeypatch.setattr(fetch, "_ODD_SECONDS", 0.0)
    origin.put(PATH, ts(1))
    found = await fetched(session, origin, store)
    assert found.segment.type is SegmentType.SUSPECT
    assert found.remarks == ("it took 0 s to come",)


async def test_another_coding_is_taken_off_and_told(session: ClientSession, origin: Origin, store: Store) -> None:
    """No coding is asked for; one that comes all the same is decoded, and the log will say so."""
    origin.put(PATH, typed(gzip.compress(LONG), "video/mp2t", Content_Encoding="gzip"))
    found = await fetched(session, origin, store)
    assert found.segment.type is SegmentType.FULL
    assert found.remarks == ("it came in another coding (gzip)",)
    assert stored(store) == {found.segment: LONG}
    assert origin.headers[0]["Accept-Encoding"] == "identity"


async def test_a_body_that_cannot_be_decoded_is_not_stored(
    session: ClientSession, origin: Origin, store: Store
) -> None:
    """What says that it is compressed and is not fails like any broken transfer."""
    origin.put(PATH, typed(LONG, "video/mp2t", Content_Encoding="gzip"))
    assert (await failure(session, origin, store)).reason is Reason.REFUSED
    assert not stored(store)


async def test_a_bomb_stays_small(
    session: ClientSession, origin: Origin, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A few bytes that unpack to forty megabytes are given up on the way, with little of it in memory."""
    monkeypatch.setattr(attempt, "_MOST_BYTES_A_SECOND", 1 << 20)
    bomb = gzip.compress(b"\x47" + b"\0" * (40 << 20), 1)
    origin.put(PATH, typed(bomb, "video/mp2t", Content_Encoding="gzip"))
    tracemalloc.start()
    try:
        failed = await failure(session, origin, store)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert str(failed) == "The segment is longer than 4 MiB."
    assert peak < 20 << 20


@pytest.mark.parametrize(
    "headers",
    [b"X-A: " + b"a" * 100_000, b"\r\n".join(b"X-%d: a" % number for number in range(10_000))],
)
async def test_huge_headers_are_refused(session: ClientSession, origin: Origin, store: Store, headers: bytes) -> None:
    """A header without an end, or thousands of them, is an answer that cannot be understood."""
    origin.put(PATH, raw(HEAD + headers + b"\r\nContent-Length: 3760\r\n\r\n" + ts(1)))
    failed = await failure(session, origin, store)
    assert failed.reason is Reason.REFUSED
    assert "could not be understood" in str(failed)
    assert not stored(store)


async def test_packed_audio_is_put_into_a_transport_stream(
    session: ClientSession, origin: Origin, store: Store, stream: list[bytes]
) -> None:
    """Bare AAC becomes a segment that everything here can play."""
    with av.open(io.BytesIO(stream[0]), "r", format="mpegts") as container:
        frames = [bytes(packet) for packet in container.demux(container.streams.audio[0]) if packet.size]
    content = b"com.apple.streaming.transportStreamTimestamp\0" + (900_000).to_bytes(8)
    frame = b"PRIV" + bytes([0, 0, 0, len(content), 0, 0]) + content
    tag = b"ID3\4\0\0" + bytes([0, 0, 0, len(frame)]) + frame
    origin.put(PATH, typed(tag + b"".join(frames), "audio/aac"))
    found = await fetched(session, origin, store)
    assert (found.segment.type, found.remarks) == (SegmentType.FULL, ())
    assert found.segment.name.endswith(".ts")
    (track,) = examine(stored(store)[found.segment]).tracks
    assert (track.format.codec, track.first) == ("mp4a.40.2", 900_000)


async def test_what_looks_like_packed_audio_and_is_none_is_kept(
    session: ClientSession, origin: Origin, store: Store
) -> None:
    """Bytes that nobody can read are stored as they came, and not called full."""
    origin.put(PATH, b"ID3" + b"\xff" * 5000)
    found = await fetched(session, origin, store)
    assert found.segment.type is SegmentType.SUSPECT
    assert stored(store) == {found.segment: b"ID3" + b"\xff" * 5000}


async def test_headers_of_the_channel_go_along(session: ClientSession, origin: Origin, store: Store) -> None:
    """What a provider says that the origin asks for is sent with each request, and may change."""
    origin.put(PATH, ts(1))
    fetcher = Fetcher(session, Target(store, "chan", "source"))
    for token in ("one", "two"):
        fetcher.send({"X-Token": token})
        await fetcher.fetch(new(origin.url(PATH)))
    assert [headers["X-Token"] for headers in origin.headers] == ["one", "two"]
