"""One segment from the origin to disk: complete, odd, broken off, refused."""

import asyncio
import errno
from datetime import timedelta

import pytest
from aiohttp import ClientSession

from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from downloader import arrival, attempt
from downloader.fetch import Fetched, Fetcher, FetchError, Target
from downloader.outcomes import Reason
from downloader.playlist_values import PlaylistSegment
from downloader.timeline import NewSegment
from downloader.transfer import Patience
from downloads import on_disk, stored
from hls_origin import NOON, PACKET, Answer, Held, Origin, breaks_off, hangs_up, redirect, status, ts
from log_events import LogEvents

PATH = "/live/a.ts"
TWO = timedelta(seconds=2)
LONG = ts(7, packets=8000)  # some 1.5 MB: more than is handed to the disk at once


def new(url: str) -> NewSegment:
    return NewSegment(PlaylistSegment(url, TWO), NOON, guessed=False)


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
        def write(self, data: bytes) -> None:
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
