"""Fragmented MP4 as MPEG-TS, as far as that carries it: so it is cut like all else. Nothing is encoded. Blocks."""

import io

import av
from av.packet import Packet
from av.stream import Stream

from common.transport import TransportError

# What MPEG-TS carries in a form that decoders agree on.
_CODECS = {"h264", "hevc", "mpeg2video", "aac", "mp2", "mp3", "ac3", "eac3"}

# Times stay as they are.
_OPTIONS = {"mpegts_copyts": "1", "avoid_negative_ts": "disabled"}


class NotCarriedError(TransportError):
    """A segment of pictures or sounds that MPEG-TS does not carry: `codec` is FFmpeg's name of what it is."""

    def __init__(self, codec: str) -> None:
        """Say so, in one sentence."""
        super().__init__(f"It holds {codec}, which MPEG-TS does not carry.")
        self.codec = codec


def as_transport(content: bytes) -> bytes:
    """Put a self-contained segment of fragmented MP4 into MPEG-TS.

    Raises NotCarriedError or another TransportError if it cannot be.
    """
    target = io.BytesIO()
    try:
        with (
            av.open(io.BytesIO(content), "r", format="mp4", metadata_errors="replace") as source,
            av.open(target, "w", format="mpegts", options=_OPTIONS) as container,
        ):
            streams: dict[int, Stream] = {}
            for stream in (*source.streams.video, *source.streams.audio):
                name = stream.codec_context.codec.canonical_name
                if name not in _CODECS:
                    raise NotCarriedError(name)
                streams[stream.index] = container.add_stream_from_template(stream)
            packet: Packet[Stream]
            for packet in source.demux():
                if packet.dts is not None and packet.stream_index in streams:
                    packet.stream = streams[packet.stream_index]
                    container.mux(packet)
    except (av.FFmpegError, ArithmeticError, LookupError) as error:
        raise TransportError(f"It cannot be read as MP4: {getattr(error, 'strerror', None) or error}.") from error
    return target.getvalue()
