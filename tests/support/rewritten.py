"""What ffmpeg does not write into a transport stream, but other encoders do: the packets of a stream written anew."""

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace

from marked import TICKS, SourceKind
from ts_bytes import ID3_TYPE, WRAP, Pes, Programme, Stream, Writer, read_pes, read_programmes

ID3_PID = 0x1F0
_STRADDLING_BYTES = 700
_ADTS_RATES = (96_000, 88_200, 64_000, 48_000, 44_100, 32_000, 24_000, 22_050, 16_000, 12_000, 11_025, 8_000)

# "ID3 " as a registered format (Apple, "Timed Metadata for HTTP Live Streaming").
_ID3_IN_MAP = bytes.fromhex("250fffff49443320ff49443320001f0001")
_ID3_FORMAT = bytes.fromhex("260dffff49443320ff49443320000f")


def rewrite(kind: SourceKind, segments: list[bytes]) -> list[bytes]:
    """Write segments anew, in the way that `kind` asks for."""
    programme = read_programmes(segments[0])[0][1]
    video = next(stream.pid for stream in programme.streams if stream.is_video)
    sounds = [stream.pid for stream in programme.streams if not stream.is_video]
    pictures = [read_pes(segment, {video}) for segment in segments]
    clock = pictures[0][0].dts or 0
    # before the first second, and on past the overflow
    origin = clock - 2 * TICKS
    starts = [min(_since(origin, pes.pts) for pes in part) for part in pictures]
    due: list[list[tuple[int, Pes]]] = [[] for _ in segments]
    for number, part in enumerate(pictures):
        due[number] += [(_since(origin, pes.dts), _with_captions(pes) if kind.captions else pes) for pes in part]
    for pid in sounds:
        stream = [pes for segment in segments for pes in read_pes(segment, {pid})]
        for pes in _rechunk(stream) if kind.straddling else stream:
            time = _since(origin, pes.pts) + round(kind.skew * TICKS)
            due[max(0, bisect_right(starts, time) - 1)].append((time, pes))
    if kind.id3:
        programme = _with_id3(programme)
        for second in range(kind.seconds):
            time = starts[0] + second * TICKS
            due[bisect_right(starts, time) - 1].append((time, _id3(second, (time + origin) % WRAP)))
    return list(_written(kind, programme, video, due))


def _since(origin: int, time: int | None) -> int:
    assert time is not None, "A PES has no time."
    return (time - origin) % WRAP


def _written(kind: SourceKind, programme: Programme, video: int, due: list[list[tuple[int, Pes]]]) -> Iterator[bytes]:
    writer, left = Writer(), dict[int, bytes]()
    for number, units in enumerate(due):
        if kind.counters == "restart":
            writer.counters.clear()
        move = 0x40 if kind.moved and number >= len(due) // 2 else 0
        writer.tables(_moved(programme, move))
        for pid, rest in left.items():
            writer.rest(pid + move, rest)
        left = {}
        units.sort(key=lambda unit: unit[0])
        last = {pes.pid: index for index, (_, pes) in enumerate(units) if pes.pid != video}
        for index, (_, pes) in enumerate(units):
            split = kind.straddling and last.get(pes.pid) == index and number < len(due) - 1 and pes.pid != ID3_PID
            rest = writer.pes(replace(pes, pid=pes.pid + move), first=1 if split else None)
            if rest:
                left[pes.pid] = rest
        yield writer.take()


def _moved(programme: Programme, by: int) -> Programme:
    if not by:
        return programme
    streams = tuple(replace(stream, pid=stream.pid + by) for stream in programme.streams)
    version = (programme.version + 1) % 32
    return replace(programme, pid=programme.pid + by, pcr_pid=programme.pcr_pid + by, streams=streams, version=version)


def _rechunk(stream: list[Pes]) -> Iterator[Pes]:
    """Divide AAC wherever it comes: a PES has the time of the first frame that begins in it."""
    content = b"".join(pes.payload for pes in stream)
    places = list(_adts(content))
    step = 1024 * TICKS / _ADTS_RATES[content[2] >> 2 & 15]
    first = stream[0].pts
    assert first is not None
    for at in range(0, len(content), _STRADDLING_BYTES):
        chunk = content[at : at + _STRADDLING_BYTES]
        index = next(index for index, place in enumerate(places) if place >= at or place + len(chunk) > len(content))
        pts = (first + round(index * step)) % WRAP
        yield replace(stream[0], pts=pts, dts=pts, payload=chunk, pcr=None)


def _adts(content: bytes) -> Iterator[int]:
    at = 0
    while at < len(content):
        assert content[at] == 0xFF, f"No frame of AAC begins at byte {at}."
        yield at
        at += (content[at + 3] & 3) << 11 | content[at + 4] << 3 | content[at + 5] >> 5


def _with_id3(programme: Programme) -> Programme:
    streams = (*programme.streams, Stream(ID3_PID, ID3_TYPE, _ID3_FORMAT))
    return replace(programme, streams=streams, descriptors=programme.descriptors + _ID3_IN_MAP)


def _id3(second: int, pts: int) -> Pes:
    text = b"\3second\0" + str(second).encode() + b"\0"
    frame = b"TXXX" + _synchsafe(len(text)) + b"\0\0" + text
    tag = b"ID3\4\0\0" + _synchsafe(len(frame)) + frame
    return Pes(ID3_PID, 0xBD, pts, pts, tag)


def _synchsafe(size: int) -> bytes:
    return bytes(size >> right & 0x7F for right in (21, 14, 7, 0))


def _with_captions(pes: Pes) -> Pes:
    """Put a caption of nothing but its form (A/53 part 4, §6.2.3) before the first slice."""
    triplets = bytes([0xFC, 0x80, 0x80, 0xFD, 0x80, 0x80])
    message = b"\xb5\0\x31GA94\3" + bytes([0x40 | len(triplets) // 3, 0xFF]) + triplets + b"\xff"
    unit = b"\0\0\0\1\6\4" + bytes([len(message)]) + message + b"\x80"
    # after the access unit delimiter (§7.4.1.2.3): four bytes of start, one of type, one of content
    place = pes.payload.index(b"\0\0\1\x09") + 5
    return replace(pes, payload=pes.payload[:place] + unit + pes.payload[place:])
