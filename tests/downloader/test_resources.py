"""Segments that need more than themselves: init sections, keys, ranges of larger files."""

import asyncio
import errno
import subprocess
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import imageio_ffmpeg
import pytest
from aiohttp import ClientSession
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES128
from cryptography.hazmat.primitives.ciphers.modes import CBC

from common.media import examine
from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from downloader.fetch import Fetched, Fetcher, FetchError, Target
from downloader.outcomes import Reason
from downloader.playlist import parse
from downloader.playlist_values import ByteRange, Key, Map, MediaPlaylist, PlaylistSegment
from downloader.timeline import NewSegment
from downloads import stored
from hls_origin import NOON, Answer, Origin, body, fragment, init_section, ranged, raw, status, ts

PATH, INIT, KEY_PATH = "/live/a.m4s", "/live/init.mp4", "/live/key"
TWO = timedelta(seconds=2)
KEY, IV = bytes(range(16)), bytes(range(16, 32))
FRAGMENT = fragment(1, 2000)
OTHER_FORM = "its init section is of another form than itself"


def encrypted(clear: bytes, iv: bytes = IV, key: bytes = KEY) -> bytes:
    count = 16 - len(clear) % 16
    encryptor = Cipher(AES128(key), CBC(iv)).encryptor()
    return encryptor.update(clear + bytes([count]) * count) + encryptor.finalize()


@pytest.fixture
def fetcher(session: ClientSession, store: Store) -> Fetcher:
    return Fetcher(session, Target(store, "chan", "source"))


@pytest.fixture
def entry(origin: Origin) -> PlaylistSegment:
    return PlaylistSegment(origin.url(PATH), TWO, sequence=5)


@pytest.fixture
def fragmented(origin: Origin, entry: PlaylistSegment) -> PlaylistSegment:
    """An entry of fragmented MP4, which the origin has, and its init section too."""
    origin.put(PATH, FRAGMENT)
    origin.put(INIT, init_section())
    return replace(entry, map=Map(origin.url(INIT)))


@pytest.fixture
def secret(origin: Origin, entry: PlaylistSegment) -> PlaylistSegment:
    """An encrypted entry, which the origin has, and its key too."""
    origin.put(PATH, encrypted(ts(1, packets=50)))
    origin.put(KEY_PATH, KEY)
    return replace(entry, key=Key("AES-128", origin.url(KEY_PATH), IV))


async def fetched(fetcher: Fetcher, entry: PlaylistSegment) -> Fetched:
    return await fetcher.fetch(NewSegment(entry, NOON, guessed=False))


async def failure(fetcher: Fetcher, entry: PlaylistSegment) -> FetchError:
    with pytest.raises(FetchError) as raised:
        await fetched(fetcher, entry)
    assert "hunter2" not in str(raised.value)
    return raised.value


# Init sections ------------------------------------------------------------------------------------------------------


async def test_a_fragment_becomes_a_file_of_its_own(
    fetcher: Fetcher, fragmented: PlaylistSegment, store: Store
) -> None:
    """A segment of fragmented MP4 is stored with its init section first, and ends in .mp4."""
    found = await fetched(fetcher, fragmented)
    assert (found.segment.type, found.remarks) == (SegmentType.FULL, ())
    assert found.segment.name.endswith(".mp4")
    assert stored(store) == {found.segment: init_section() + FRAGMENT}


async def test_an_init_section_is_fetched_once(
    fetcher: Fetcher, fragmented: PlaylistSegment, origin: Origin, store: Store
) -> None:
    """All segments that share it wait for one request; another address, or another range of it, is another one."""
    origin.put("/live/two.mp4", ranged(b"junk" + init_section(2) + init_section(3)))
    await asyncio.gather(*(fetched(fetcher, fragmented) for _ in range(4)))
    assert origin.count(INIT) == 1
    size = len(init_section())
    for number in (2, 3, 2):
        part = ByteRange(size, 4 + (number - 2) * size)
        found = await fetched(fetcher, replace(fragmented, map=Map(origin.url("/live/two.mp4"), part)))
        assert stored(store)[found.segment] == init_section(number) + FRAGMENT
    assert origin.count("/live/two.mp4") == 2


async def test_old_init_sections_are_forgotten(fetcher: Fetcher, fragmented: PlaylistSegment, origin: Origin) -> None:
    """Only some are kept, so that an origin that changes it all the time fills no memory."""
    for number in range(20):
        origin.put(f"/live/{number}.mp4", init_section(number))
        await fetched(fetcher, replace(fragmented, map=Map(origin.url(f"/live/{number}.mp4"))))
    await fetched(fetcher, replace(fragmented, map=Map(origin.url("/live/19.mp4"))))
    await fetched(fetcher, replace(fragmented, map=Map(origin.url("/live/0.mp4"))))
    assert [origin.count(f"/live/{number}.mp4") for number in (0, 19)] == [2, 1]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (status(404), "The origin no longer has the init section (404)."),
        (status(500), "The origin answers 500 Internal Server Error."),
        (body(b"<html>"), "The init section is neither MP4 nor MPEG-TS."),
        (body(b""), "The init section is neither MP4 nor MPEG-TS."),
        (body(init_section() + b"x" * (1 << 20)), "The init section is longer than 1048576 bytes."),
    ],
)
async def test_a_missing_init_section_is_asked_for_again(
    fetcher: Fetcher, fragmented: PlaylistSegment, origin: Origin, store: Store, answer: Answer, sentence: str
) -> None:
    """Without it nothing is stored; it may come yet, and the next attempt asks for it."""
    origin.put(INIT, answer, init_section())
    failed = await failure(fetcher, fragmented)
    assert (str(failed), failed.reason, failed.gone) == (sentence, Reason.UNUSABLE, False)
    assert not stored(store)
    assert (await fetched(fetcher, fragmented)).segment.type is SegmentType.FULL


@pytest.mark.parametrize(
    ("data", "stored_as", "remarks"),
    [
        (FRAGMENT[:-3], init_section() + FRAGMENT[:-3], ("it ends within a box",)),
        (ts(1), ts(1), (OTHER_FORM,)),
        (b"\1" * 3000, b"\1" * 3000, ("its packets do not follow each other", OTHER_FORM)),
    ],
)
async def test_a_fragment_that_does_not_fit_is_suspect(
    fetcher: Fetcher,
    fragmented: PlaylistSegment,
    origin: Origin,
    store: Store,
    data: bytes,
    stored_as: bytes,
    remarks: tuple[str, ...],
) -> None:
    """Boxes that do not fill it, a transport stream among fragments: kept, and not called full."""
    origin.put(PATH, data)
    found = await fetched(fetcher, fragmented)
    assert (found.segment.type, found.remarks) == (SegmentType.SUSPECT, remarks)
    assert stored(store) == {found.segment: stored_as}


async def test_a_fragment_without_any_init_section_is_suspect(
    fetcher: Fetcher, entry: PlaylistSegment, origin: Origin
) -> None:
    """Fragments that nothing introduces are kept; ones that bring their init section along are full."""
    origin.put(PATH, FRAGMENT, init_section() + FRAGMENT)
    assert (await fetched(fetcher, entry)).remarks == ("it is MP4 without an init section",)
    found = await fetched(fetcher, entry)
    assert (found.segment.type, found.segment.name[-4:]) == (SegmentType.FULL, ".mp4")


async def test_tables_may_be_the_init_section(fetcher: Fetcher, fragmented: PlaylistSegment, origin: Origin) -> None:
    """A transport stream may have its tables in an EXT-X-MAP (RFC 8216 §3.2): they come first, and it is .ts."""
    origin.put(INIT, ts(1, packets=1))
    origin.put(PATH, ts(1)[188:])
    found = await fetched(fetcher, fragmented)
    assert (found.segment.type, found.segment.name[-3:]) == (SegmentType.FULL, ".ts")


# Byte ranges --------------------------------------------------------------------------------------------------------

WHOLE = ts(1) + ts(2) + ts(3)
SECOND = ByteRange(len(ts(2)), len(ts(1)))


@pytest.mark.parametrize("answer", [ranged(WHOLE), body(WHOLE)])
async def test_a_range_of_a_file_is_a_segment(
    fetcher: Fetcher, entry: PlaylistSegment, origin: Origin, store: Store, answer: Answer
) -> None:
    """A part of a file is asked for; of a server that sends all of it, the part is cut out."""
    origin.put(PATH, answer)
    found = await fetched(fetcher, replace(entry, byterange=SECOND))
    assert found.segment.type is SegmentType.FULL
    assert stored(store) == {found.segment: ts(2)}
    assert origin.headers[0]["Range"] == "bytes=3760-7519"


def partial_content(content_range: str, data: bytes) -> Answer:
    length = len(data)
    head = f"HTTP/1.1 206 Partial Content\r\nContent-Length: {length}\r\n{content_range}\r\n\r\n"
    return raw(head.encode() + data)


@pytest.mark.parametrize(
    "answer",
    [
        partial_content("Content-Range: bytes 0-3759/11280", ts(1)),
        partial_content("Content-Range: bytes 3760-7000/11280", ts(2)),
        partial_content("Content-Range: bytes */11280", ts(2)),
        partial_content("X-Nothing: here", ts(2)),
    ],
)
async def test_other_bytes_than_asked_for_are_refused(
    fetcher: Fetcher, entry: PlaylistSegment, origin: Origin, store: Store, answer: Answer
) -> None:
    """An answer must say that it is the range that was asked for."""
    origin.put(PATH, answer)
    failed = await failure(fetcher, replace(entry, byterange=SECOND))
    assert str(failed) == "The origin gives other bytes than those that were asked for."
    assert failed.reason is Reason.REFUSED
    assert not stored(store)


async def test_a_range_that_nobody_asked_for_is_refused(
    fetcher: Fetcher, entry: PlaylistSegment, origin: Origin
) -> None:
    """206 in place of the whole is not the whole."""
    origin.put(PATH, partial_content("Content-Range: bytes 0-3759/11280", ts(1)))
    assert str(await failure(fetcher, entry)) == "The origin answers 206 Partial Content."


async def test_a_range_far_into_a_file_is_not_cut_out(fetcher: Fetcher, entry: PlaylistSegment, origin: Origin) -> None:
    """Nobody downloads gigabytes for a segment at their end, again and again."""
    origin.put(PATH, body(WHOLE))
    failed = await failure(fetcher, replace(entry, byterange=ByteRange(3760, 1 << 30)))
    assert str(failed) == "The origin gives all of a large file in place of a part of it."


async def test_a_file_that_ends_within_the_range_breaks_off(
    fetcher: Fetcher, entry: PlaylistSegment, origin: Origin, store: Store
) -> None:
    """A file that is shorter than the playlist says leaves what there is of the range."""
    origin.put(PATH, body(WHOLE))
    failed = await failure(fetcher, replace(entry, byterange=ByteRange(len(WHOLE), len(ts(1)))))
    assert failed.reason is Reason.PARTIAL
    assert [*stored(store).values()] == [ts(2) + ts(3)]


# Encryption ---------------------------------------------------------------------------------------------------------


async def test_an_encrypted_segment_is_stored_clear(
    fetcher: Fetcher, secret: PlaylistSegment, origin: Origin, store: Store
) -> None:
    """What arrives encrypted is decrypted on arrival; one key is fetched once."""
    found = await fetched(fetcher, secret)
    assert (found.segment.type, found.remarks) == (SegmentType.FULL, ())
    assert stored(store) == {found.segment: ts(1, packets=50)}
    await fetched(fetcher, secret)
    assert origin.count(KEY_PATH) == 1


async def test_the_sequence_number_may_be_the_vector(fetcher: Fetcher, secret: PlaylistSegment, origin: Origin) -> None:
    """Without an IV it is the number of the segment, and with a range it is the range that is encrypted."""
    parts = [encrypted(ts(number), (5 + number).to_bytes(16)) for number in range(2)]
    origin.put(PATH, ranged(b"".join(parts)))
    for number, part in enumerate(parts):
        found = await fetched(
            fetcher,
            replace(
                secret,
                sequence=5 + number,
                key=Key("AES-128", origin.url(KEY_PATH)),
                byterange=ByteRange(len(part), number * len(parts[0])),
            ),
        )
        assert (found.segment.type, found.bytes) == (SegmentType.FULL, len(ts(number)))


async def test_a_wrong_key_is_asked_for_again(
    fetcher: Fetcher, secret: PlaylistSegment, origin: Origin, store: Store
) -> None:
    """A key that has changed under its address gives no media: nothing is stored, and the next attempt asks for it."""
    origin.put(KEY_PATH, b"\1" * 16, KEY)
    failed = await failure(fetcher, secret)
    assert str(failed) == "It cannot be decrypted with the key that the origin gives."
    assert (failed.reason, failed.gone) == (Reason.UNUSABLE, False)
    assert not stored(store)
    assert (await fetched(fetcher, secret)).segment.type is SegmentType.FULL


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (status(403), "The origin no longer has the key (403)."),
        (body(b"short"), "The key has 5 bytes in place of 16."),
        (body(b"x" * 17), "The key is longer than 16 bytes."),
    ],
)
async def test_without_its_key_nothing_is_stored(
    fetcher: Fetcher, secret: PlaylistSegment, origin: Origin, store: Store, answer: Answer, sentence: str
) -> None:
    """A key that does not come, or is none, is asked for again by the next attempt."""
    origin.put(KEY_PATH, answer, KEY)
    failed = await failure(fetcher, secret)
    assert (str(failed), failed.reason, failed.gone) == (sentence, Reason.UNUSABLE, False)
    assert not stored(store)
    assert origin.count(PATH) == 0
    assert (await fetched(fetcher, secret)).segment.type is SegmentType.FULL


@pytest.mark.parametrize("size", [10, 800, 5000])
async def test_of_what_a_wrong_key_gives_nothing_stays(
    fetcher: Fetcher, secret: PlaylistSegment, origin: Origin, store: Store, size: int
) -> None:
    """Rubbish of any length leaves no file, whether its transfer ends or breaks off."""
    data = encrypted(b"\x47" * size, key=b"3" * 16)
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n"
    origin.put(PATH, data, raw(head % (len(data) + 100) + data))
    assert (await failure(fetcher, secret)).reason is Reason.UNUSABLE
    assert (await failure(fetcher, secret)).reason is Reason.PARTIAL
    assert not stored(store)


async def test_copy_protection_is_not_tried(fetcher: Fetcher, secret: PlaylistSegment, origin: Origin) -> None:
    """What no key over HTTP can decrypt costs no request."""
    failed = await failure(fetcher, replace(secret, key=Key("SAMPLE-AES", "", None, "com.apple.streamingkeydelivery")))
    assert (failed.reason, failed.gone) == (Reason.UNUSABLE, True)
    assert not origin.requests


async def test_a_disk_that_fills_up_under_an_encrypted_segment_is_said(
    fetcher: Fetcher, secret: PlaylistSegment, store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was decrypted and could not be written is an error of the disk, and of nothing else."""
    write = SegmentWriter.write

    def full(self: SegmentWriter, data: bytes) -> None:
        if self.size:
            raise OSError(errno.ENOSPC, "No space left on device")
        write(self, data)

    monkeypatch.setattr(SegmentWriter, "write", full)
    assert (await failure(fetcher, secret)).reason is Reason.DISK
    assert SegmentType.FULL not in {segment.type for segment in stored(store)}


async def test_what_is_encrypted_and_breaks_off_is_kept_clear(
    fetcher: Fetcher, secret: PlaylistSegment, origin: Origin, store: Store
) -> None:
    """Of a broken transfer the whole blocks are kept, decrypted."""
    data = encrypted(ts(1, packets=50))
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data)
    origin.put(PATH, raw(head + data[:5001]))
    assert (await failure(fetcher, secret)).reason is Reason.PARTIAL
    ((segment, content),) = stored(store).items()
    assert segment.type is SegmentType.PARTIAL
    assert content == ts(1, packets=50)[: 5001 // 16 * 16]


async def test_a_wrong_end_is_suspect(fetcher: Fetcher, secret: PlaylistSegment, origin: Origin) -> None:
    """Encrypted bytes without their padding are decrypted, and something about them is odd."""
    origin.put(PATH, encrypted(ts(1, packets=48))[:-16])
    found = await fetched(fetcher, secret)
    assert found.segment.type is SegmentType.SUSPECT
    assert "its padding is wrong, so the key may be" in found.remarks


@pytest.mark.parametrize("clear", [True, False])
async def test_an_init_section_has_its_own_key(
    fetcher: Fetcher,
    fragmented: PlaylistSegment,
    origin: Origin,
    store: Store,
    clear: bool,  # noqa: FBT001
) -> None:
    """It is encrypted with the key that stood before it (RFC 8216 §4.3.2.5), if it is at all."""
    origin.put(KEY_PATH, KEY)
    origin.put("/live/key2", b"2" * 16)
    origin.put(PATH, encrypted(FRAGMENT, key=b"2" * 16))
    origin.put(INIT, init_section() if clear else encrypted(init_section()))
    entry = replace(
        fragmented,
        key=Key("AES-128", origin.url("/live/key2"), IV),
        map=Map(origin.url(INIT), None, Key("AES-128", origin.url(KEY_PATH), IV)),
    )
    found = await fetched(fetcher, entry)
    assert found.segment.type is SegmentType.FULL
    assert stored(store) == {found.segment: init_section() + FRAGMENT}


# Others' work -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "options",
    [
        ["-hls_segment_type", "fmp4", "-bsf:a", "aac_adtstoasc"],
        ["-hls_segment_type", "fmp4", "-bsf:a", "aac_adtstoasc", "-hls_flags", "single_file"],
        ["-hls_flags", "single_file"],
        ["-hls_key_info_file", "key.info"],
    ],
)
async def test_streams_of_ffmpeg_are_recorded(
    fetcher: Fetcher, origin: Origin, store: Store, stream: list[bytes], tmp_path: Path, options: list[str]
) -> None:
    """Fragments, ranges and encrypted segments that ffmpeg has made arrive whole, with the media's own length."""
    (tmp_path / "key").write_bytes(KEY)
    (tmp_path / "key.info").write_text(f"key\n{tmp_path / 'key'}\n")
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-f", "mpegts", "-i", "-", "-c", "copy"]
    command += ["-f", "hls", "-hls_time", "2", "-hls_list_size", "0", *options, "list.m3u8"]
    await asyncio.to_thread(subprocess.run, command, input=b"".join(stream), cwd=tmp_path, check=True, timeout=60)
    for path in tmp_path.iterdir():
        if path.is_file():
            origin.put(f"/{path.name}", ranged(path.read_bytes()))
    playlist = parse((tmp_path / "list.m3u8").read_text(), origin.url("/list.m3u8"))
    assert isinstance(playlist, MediaPlaylist)
    assert len(playlist.segments) == 5
    for number, entry in enumerate(playlist.segments):
        found = await fetcher.fetch(NewSegment(entry, NOON + number * TWO, guessed=False))
        assert (found.segment.type, found.remarks) == (SegmentType.FULL, ())
    for content in stored(store).values():
        facts = examine(content)
        assert not facts.error
        assert {round((track.end - track.first) / 90_000) for track in facts.tracks} == {2}


@pytest.mark.parametrize(
    ("name", "host", "count"),
    [
        ("flutter-assets/hls/encrypted_bee.m3u8", "https://flutter.github.io/assets-for-api-docs/assets/videos/hls", 3),
        ("shaka-player/hls-aes-256/media.m3u8", "", 5),
    ],
)
async def test_real_encrypted_streams_are_recorded(
    fetcher: Fetcher, origin: Origin, store: Store, media: Path, name: str, host: str, count: int
) -> None:
    """AES-128 with ranges of the clear length, AES-256 with and without padding, an init section with its own key."""
    path = media / name
    for file in path.parent.iterdir():
        origin.put(f"/{file.name}", ranged(file.read_bytes()))
    text = path.read_text().replace(host + "/", origin.url("/")) if host else path.read_text()
    playlist = parse(text, origin.url("/list.m3u8"))
    assert isinstance(playlist, MediaPlaylist)
    assert len(playlist.segments) == count
    for number, entry in enumerate(playlist.segments):
        found = await fetcher.fetch(NewSegment(entry, NOON + number * 5 * TWO, guessed=False))
        assert (found.segment.type, found.remarks) == (SegmentType.FULL, ())
    assert [examine(content).error for content in stored(store).values()] == [None] * count
