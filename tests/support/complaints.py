"""What the ffmpeg binary and the rules of transport streams have to say against a file."""

import re
import subprocess
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import imageio_ffmpeg

from marked import TICKS
from ts_bytes import WRAP, Packet, Programme, packets, read_pes, read_programmes, table_places

# Of all error detection, what does not find fault with files that are sound.
DETECT = "crccheck+bitstream+buffer+careful+compliant"

# The clock must come at least so often (ISO/IEC 13818-1 §2.7.2: 100 ms), and never run so far ahead of what it times.
_PCR_EVERY = TICKS // 10
_LONGEST_DELAY = 10 * TICKS

# Said of every file with such a track.
_OF_ALL = ("codec frame size is not set",)  # AC-3 into MP4

_PICTURE_AND_SOUND = ("-map", "0:v?", "-map", "0:a?")


def complaints(what: Path | bytes) -> list[str]:
    """Give all that ffmpeg says while it decodes a file and while it remuxes it to MP4, each line once.

    Of a transport stream also what `transport_complaints` says. An empty list is what a good file gives.
    """
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "file"
        if isinstance(what, bytes):
            path.write_bytes(what)
        else:
            path.symlink_to(what.absolute())
        with path.open("rb") as file:
            is_transport = file.read(1) == b"\x47"
        found = list(dict.fromkeys(_ffmpeg(path, Path(folder) / "remuxed.mp4")))
        return found + transport_complaints(path.read_bytes()) if is_transport else found


def _ffmpeg(path: Path, remuxed: Path) -> list[str]:
    detect = ["-err_detect", DETECT, "-xerror"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-nostats", "-v", "warning", *detect]
    command += ["-i", str(path), *_PICTURE_AND_SOUND, "-fps_mode", "passthrough", "-f", "null", "-"]
    command += [*_PICTURE_AND_SOUND, "-c", "copy", "-f", "mp4", str(remuxed)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    # addresses differ from run to run
    lines = [re.sub(r" @ 0x[0-9a-f]+", "", line).strip() for line in done.stderr.splitlines()]
    lines = [line for line in lines if line and not line.endswith(_OF_ALL)]
    return lines + ([f"ffmpeg ends with {done.returncode}"] if done.returncode else [])


# Transport streams ----------------------------------------------------------------------------------------------------


def transport_complaints(data: bytes, *, tables_every: float | None = 2.5) -> list[str]:
    """Hold a transport stream against the rules: counters, clock, maps and times; `tables_every` is in seconds.

    A map may change (its version with it), but not say anything else under the same version.
    """
    try:
        return list(_transport_faults(data, tables_every))
    except AssertionError as error:  # it cannot even be read
        return [str(error)]


def _transport_faults(data: bytes, tables_every: float | None) -> Iterator[str]:
    found = list(packets(data))
    yield from _counter_faults(found)
    programmes = read_programmes(data)
    if not programmes:
        yield "it has no programme map"
        return
    yield from _table_faults(found, programmes)
    clock = _clock(found, programmes)
    yield from _clock_faults(clock)
    yield from _time_faults(data, programmes, clock)
    if tables_every is not None and clock:
        yield from _repetition_faults(table_places(data), clock, tables_every)


def _counter_faults(found: list[Packet]) -> Iterator[str]:
    last: dict[int, int] = {}
    for packet in found:
        if packet.pid == 0x1FFF:
            continue
        before = last.get(packet.pid)
        if packet.discontinuity:
            yield f"PID {packet.pid:#x} announces a discontinuity at byte {packet.at}"
        if before is not None and packet.counter != (before + packet.has_payload) & 15:
            yield f"the counter of PID {packet.pid:#x} goes from {before} to {packet.counter} at byte {packet.at}"
        last[packet.pid] = packet.counter


def _table_faults(found: list[Packet], programmes: list[tuple[int, Programme]]) -> Iterator[str]:
    first_map = programmes[0][0]
    streams = {stream.pid for _, programme in programmes for stream in programme.streams}
    early = [packet for packet in found if packet.at < first_map and packet.pid in streams]
    if early:
        yield f"{len(early)} packets come before the first map"
    for (_, before), (at, after) in pairwise(programmes):
        if before != after and before.version == after.version:
            yield f"the map at byte {at} says something else under version {after.version}"
        if before.version != after.version and before.streams == after.streams:
            yield f"the map at byte {at} changes its version and nothing else"
    known = streams | {0, 0x11, 0x1FFF} | {programme.pid for _, programme in programmes}
    unknown = sorted({packet.pid for packet in found} - known)
    if unknown:
        yield f"no map names {', '.join(map(hex, unknown))}"


def _clock(found: list[Packet], programmes: list[tuple[int, Programme]]) -> list[tuple[int, int]]:
    """Give the clock in ticks, running on over a wrap, with the bytes at which it stands."""
    pids = {programme.pcr_pid for _, programme in programmes}
    clock: list[tuple[int, int]] = []
    for packet in found:
        if packet.pid in pids and packet.pcr is not None:
            time = packet.pcr // 300
            clock.append((packet.at, clock[-1][1] + _step(clock[-1][1], time) if clock else time))
    return clock


def _step(before: int, after: int) -> int:
    return (after - before + WRAP // 2) % WRAP - WRAP // 2


def _clock_faults(clock: list[tuple[int, int]]) -> Iterator[str]:
    if not clock:
        yield "it has no clock (PCR)"
    for (_, before), (at, after) in pairwise(clock):
        if after <= before:
            yield f"the clock goes back by {before - after} at byte {at}"
        elif after - before > _PCR_EVERY:
            yield f"the clock is silent for {(after - before) / 90:.0f} ms before byte {at}"


def _time_faults(data: bytes, programmes: list[tuple[int, Programme]], clock: list[tuple[int, int]]) -> Iterator[str]:
    streams = {stream.pid for _, programme in programmes for stream in programme.streams}
    places = [at for at, _ in clock]
    for pid in sorted(streams):
        last: int | None = None
        begins = [packet.at for packet in packets(data) if packet.pid == pid and packet.start]
        for at, pes in zip(begins, read_pes(data, {pid}), strict=True):
            if pes.pts is None or pes.dts is None:
                continue
            if last is not None and _step(last, pes.dts) <= 0:
                yield f"PID {pid:#x} has the time {pes.dts} after {last} at byte {at}"
            if _step(pes.dts, pes.pts) < 0:
                yield f"PID {pid:#x} is shown before it is decoded at byte {at}"
            index = bisect_right(places, at) - 1
            if index >= 0:
                delay = _step(clock[index][1] % WRAP, pes.dts)
                if not 0 <= delay <= _LONGEST_DELAY:
                    yield f"PID {pid:#x} is due {delay / 90:.0f} ms after the clock at byte {at}"
            last = pes.dts


def _repetition_faults(tables: list[int], clock: list[tuple[int, int]], every: float) -> Iterator[str]:
    places = [at for at, _ in clock]
    times = [clock[max(0, bisect_right(places, at) - 1)][1] for at in tables] + [clock[-1][1]]
    for before, after in pairwise(times):
        if after - before > every * TICKS:
            yield f"the tables are not there for {(after - before) / TICKS:.1f} s"
