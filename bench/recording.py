"""A recording of ten minutes to cut from, made in seconds: a little is encoded, and repeated under later times."""

import hashlib
import subprocess
import tempfile
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path

from bench.store import START
from common.dateutil import hour_name
from common.ffmpeg import find_ffmpeg
from common.programme import read_programme
from common.segments import SegmentType, content_hash, make_segment
from common.ticks import TICKS
from common.transport import Packets, as_packets, pcr_rows, pes_starts, read_headers, read_pcr, shift, write_pcr

GOP = timedelta(seconds=2)
RATE = 60
# A second before the end of the range and one after it must be there, so that both ends can lie inside a GOP.
RECORDED = timedelta(minutes=10, seconds=16)
# In 16 s there is a whole number of frames of AAC at 48 kHz, so that copies of them join.
_PERIOD = 8
# More is encoded than is used: the ends of what an encoder makes are not like its middle.
_ENCODED_SECONDS = 2 * (_PERIOD + 2)
_VERSION = "1"


def recording(b_frames: int) -> Path:
    """Give a store with the recording `chan/source` from START on: 1080p60, 6.4 Mbit/s, a key frame every two seconds.

    It stays in the folder for temporary files, for the next run.
    """
    base = Path(tempfile.gettempdir(), f"respool-bench-recording-{_VERSION}-{b_frames}")
    if base.exists():
        return base
    with tempfile.TemporaryDirectory(prefix="respool-bench-") as name:
        period = _encoded(Path(name), b_frames)
        made = Path(name, "store")
        for number in range(RECORDED // GOP):
            round_, index = divmod(number, _PERIOD)
            _put(made, number, _moved(period[index], round_ * _PERIOD * (GOP // timedelta(seconds=1)) * TICKS))
        made.rename(base)
    return base


def _encoded(folder: Path, b_frames: int) -> Sequence[bytes]:
    """Encode one period of segments; each packet of sound lies in a PES of its own, so that all periods are alike."""
    command = [find_ffmpeg(), "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s=1920x1080:r={RATE}:d={_ENCODED_SECONDS}"]
    command += ["-f", "lavfi", "-i", f"sine=440:d={_ENCODED_SECONDS}:r=48000", "-ac", "2", "-c:a", "aac"]
    command += ["-c:v", "libx264", "-preset", "superfast", "-b:v", "6400k", "-pix_fmt", "yuv420p"]
    command += ["-g", str(2 * RATE), "-sc_threshold", "0", "-bf", str(b_frames), "-flags", "+cgop"]
    command += ["-output_ts_offset", "10", "-f", "segment", "-segment_time", "2", "-segment_format", "mpegts"]
    command += ["-segment_format_options", "pes_payload_size=0", str(folder / "%02d.ts")]
    subprocess.run(command, check=True)
    return [(folder / f"{number:02}.ts").read_bytes() for number in range(1, 1 + _PERIOD)]


def _moved(content: bytes, by: int) -> Packets:
    packets = as_packets(bytearray(content))
    headers = read_headers(packets)
    for stream in (programme := read_programme(packets, headers)).streams:
        shift(packets, pes_starts(packets, headers, stream.pid), by)
    if programme.pcr_pid is not None:
        rows = pcr_rows(packets, headers, programme.pcr_pid)
        write_pcr(packets, rows, read_pcr(packets, rows) + by)
    return packets


def _put(base: Path, number: int, packets: Packets) -> None:
    start = START + number * GOP
    digest = content_hash(hashlib.sha256(packets.data).digest())
    path = base / "chan/source" / hour_name(start) / make_segment(start, GOP, SegmentType.FULL, digest).name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(packets.data)
