"""Units of H.264 as x264 makes them of a test picture, and what stands in them."""

import subprocess
from functools import cache

from imageio_ffmpeg import get_ffmpeg_exe

from common.avc import Place, Pps, Sps, read_header, read_pps, read_sps
from common.nal import units


@cache
def encoded(parameters: str, count: int = 10) -> list[bytes]:
    """Give the units that x264 makes of a few pictures."""
    command = [get_ffmpeg_exe(), "-v", "error", "-f", "lavfi", "-i", f"testsrc2=s=160x96:r=25,trim=end_frame={count}"]
    command += ["-pix_fmt", "yuv420p", "-c:v", "libx264", "-threads", "1", "-x264-params", parameters]
    done = subprocess.run([*command, "-f", "h264", "-"], check=True, capture_output=True)
    return list(units(done.stdout))


def of_kind(found: list[bytes], *kinds: int) -> list[bytes]:
    return [unit for unit in found if unit[0] & 31 in kinds]


def parameters(found: list[bytes]) -> tuple[Sps, Pps]:
    return read_sps(of_kind(found, 7)[0]), read_pps(of_kind(found, 8)[0])


def place_of(unit: bytes, theirs: tuple[Sps, Pps]) -> Place:
    return read_header(unit, {theirs[0].number: theirs[0]}, {theirs[1].number: theirs[1]}).place
