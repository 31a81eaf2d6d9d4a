"""Media files, read with PyAV: what one segment holds. All of it blocks; asyncio code hands it to a thread.

Containers are opened from memory and closed before anything is given back; a format is never guessed, since one that
names other files (a playlist, say) could make FFmpeg open them.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path

import av
from av.audio.codeccontext import AudioCodecContext
from av.audio.stream import AudioStream
from av.container import InputContainer
from av.packet import Packet
from av.stream import Stream
from av.video.codeccontext import VideoCodecContext
from av.video.stream import VideoStream

from common.codec_strings import adts_config, codec_string, tidy_config
from common.facts import Facts, Format, Track, TrackKind, short_hash
from common.ticks import TICKS, outermost, steady_rate, ticks, unwrap

# Ten seconds of 8K would fit.
_MOST_BYTES = 256 << 20

_OPTIONS = {
    # Packets and parameter sets tell all; only what AAC and AC-3 are is known by none but their decoders. Without the
    # decoders of video a probe takes a fifth of the time.
    "codec_whitelist": "aac,aac_latm,ac3,eac3",
    # We look at all packets anyway,
    "skip_estimate_duration_from_pts": "1",
    # and take timestamps as they are.
    "correct_ts_overflow": "0",
    # A track that begins late is waited for: nothing is read twice, and the size is bounded.
    "analyzeduration": "3600000000",
    "probesize": str(_MOST_BYTES),
}
_SECONDS = 10.0

# The boxes with which an MP4 file, whole or in parts, begins (ISO/IEC 14496-12).
_FIRST_BOXES = {b"ftyp", b"styp", b"moov", b"moof", b"sidx", b"emsg", b"prft", b"mdat", b"free", b"skip", b"uuid"}
_BOX_HEADER = 8
_MOST_BOXES = 64

_KINDS = {"video": TrackKind.VIDEO, "audio": TrackKind.AUDIO, "data": TrackKind.DATA, "subtitle": TrackKind.SUBTITLE}

# FFmpeg says nothing on standard error, whatever it is given.
av.logging.set_level(None)


@dataclass(slots=True)
class _Packets:
    """The packets of one stream in decode order: those with a timestamp, and of the first one what it tells."""

    times: list[int] = field(default_factory=list)
    durations: list[int] = field(default_factory=list)
    key_frame: bool = False
    head: bytes = b""


def probe(path: Path) -> Facts:
    """Find out what a segment's file holds, reading it once. Raises OSError if the file cannot be read."""
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if size > _MOST_BYTES:
            return Facts(size, error=f"It is larger than {_MOST_BYTES >> 20} MiB.")
        return examine(file.read(_MOST_BYTES))


def examine(data: bytes) -> Facts:
    """Find out what a segment's content holds; never raises: what is damaged or no media has an `error` instead."""
    size = len(data)
    if not data:
        return Facts(size, error="It is empty.")
    fragmented = data[4:8] in _FIRST_BOXES
    init = _init_bytes(data) if fragmented else None
    if fragmented and init is None:
        return Facts(size, error="It is MP4 without an init section and fragments after it.")
    try:
        with av.open(
            BytesIO(data),
            "r",
            format="mp4" if fragmented else "mpegts",
            options=_OPTIONS,
            metadata_errors="replace",
            timeout=_SECONDS,
        ) as container:
            found = _describe(container, wraps=not fragmented)
    # beside FFmpeg's own, the errors that PyAV makes of values that it did not expect
    except (av.FFmpegError, ArithmeticError, LookupError, ValueError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        return Facts(size, error=f"It cannot be read as {'MP4' if fragmented else 'MPEG-TS'}: {reason}.")
    if not found.tracks:
        return Facts(size, error=f"It holds no media that {'MP4' if fragmented else 'MPEG-TS'} could carry.")
    init_hash = None if init is None else short_hash(data[:init])
    return replace(found, bytes=size, init_bytes=init, init_hash=init_hash)


def _init_bytes(data: bytes) -> int | None:
    """Give the length of the init section of fragmented MP4: up to the end of `moov`, which a `moof` must follow."""
    position, init = 0, None
    for _ in range(_MOST_BOXES):
        length, kind = int.from_bytes(data[position : position + 4]), data[position + 4 : position + 8]
        if length == 1:  # then its true length follows, in 64 bits
            length = int.from_bytes(data[position + 8 : position + 16])
        if kind == b"moof":
            return init
        if length < _BOX_HEADER or kind == b"mdat":
            return None
        position += length
        if kind == b"moov":
            init = position
    return None


def _describe(container: InputContainer, *, wraps: bool) -> Facts:
    """Read all packets and tell what they make up; `bytes` is left to the caller."""
    packets: dict[int, _Packets] = {}
    for packet in _read(container):
        if not packet.size:  # PyAV's mark for the end
            continue
        of_stream = packets.get(packet.stream_index)
        if of_stream is None:
            of_stream = packets[packet.stream_index] = _Packets(key_frame=packet.is_keyframe, head=bytes(packet)[:16])
        if packet.pts is not None:
            of_stream.times.append(packet.pts)
            of_stream.durations.append(packet.duration or 0)
    known = [(stream, packets[stream.index]) for stream in container.streams if stream.index in packets]
    timed = [(stream, of_stream) for stream, of_stream in known if of_stream.times and stream.type in _KINDS]
    return Facts(
        bytes=0,
        tracks=tuple(_track(stream, of_stream, wraps=wraps) for stream, of_stream in timed),
        key_frame=next((of_stream.key_frame for stream, of_stream in timed if stream.type == "video"), None),
    )


def _read(container: InputContainer) -> Iterator["Packet[Stream]"]:
    try:
        yield from container.demux()
    except IndexError:
        # when all packets are read, PyAV looks up every stream, and knows none that appeared after opening
        return


def _track(stream: Stream, packets: _Packets, *, wraps: bool) -> Track:
    """Put together what a stream's description and its packets tell."""
    times, base = packets.times, stream.time_base
    if base is None:
        raise ValueError("A stream has no clock.")
    times = unwrap(times) if wraps else [ticks(time, base) for time in times]
    first, last = outermost(times)
    shown = ticks(packets.durations[last], base)
    rate = None
    if isinstance(stream, VideoStream):
        rate = steady_rate(times) or steady_rate([0, shown])
        if wraps and rate is not None:  # MPEG-TS has no durations, and FFmpeg's guess may be a field's
            shown = round(TICKS / rate)
    return Track(_format(stream, packets.head), times[first], times[last] + shown, rate)


def _format(stream: Stream, head: bytes) -> Format:
    """Tell the format of a stream; `head` is the beginning of its first packet."""
    match stream:
        case VideoStream(codec_context=VideoCodecContext() as context):
            config = tidy_config(context.extradata or b"")
            codec = codec_string(context.codec.canonical_name, config, tag=_tag(context))
            size = (context.width or None, context.height or None)
            return Format(TrackKind.VIDEO, codec, *size, parameters=short_hash(config))
        case AudioStream(codec_context=AudioCodecContext() as context):
            name = context.codec.canonical_name
            config = context.extradata or (adts_config(head) if name == "aac" else b"")
            profile = context.profile if name in {"aac", "aac_latm"} else None  # of AC-3, asking for it fails
            return Format(
                TrackKind.AUDIO,
                codec_string(name, config, profile=profile or ""),
                sample_rate=context.sample_rate or None,
                channels=context.channels or None,
                parameters=short_hash(config),
            )
    return Format(_KINDS[stream.type])  # also of a codec that FFmpeg does not know: there is no context then


def _tag(context: VideoCodecContext) -> str:
    """Give the name of an MP4 sample entry; in MPEG-TS it is some number, and PyAV may fail on it."""
    try:
        return context.codec_tag
    except UnicodeDecodeError:
        return ""
