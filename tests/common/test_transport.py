"""Transport packets, many at a time: times, counters and PIDs written anew, and packets found among damage."""

from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from common.pes import Pes, pcr_packet, read_pes, write_pes
from common.ticks import WRAP
from common.transport import (
    PACKET_BYTES,
    Packets,
    TransportError,
    as_packets,
    clear_discontinuities,
    distances,
    pcr_rows,
    pes_starts,
    read_headers,
    read_pcr,
    redirect,
    renumber,
    shift,
    write_pcr,
)

times = st.integers(0, WRAP - 1)
PID = 0x100


def written(pes: list[Pes], pid: int = PID, counters: dict[int, int] | None = None, pcr: int | None = None) -> Packets:
    counted = {} if counters is None else counters
    return np.concatenate([write_pes(pid, each, counted, pcr=pcr) for each in pes])


def picture(pts: int, dts: int | None = None, size: int = 400) -> Pes:
    return Pes(0, 0xE0, pts, pts if dts is None else dts, bytes(range(256)) * (size // 256 + 1))


@given(st.lists(st.tuples(times, times), min_size=1, max_size=5), st.integers(-WRAP, WRAP))
def test_times_move_by_what_is_said_and_wrap(stamps: list[tuple[int, int]], by: int) -> None:
    """Every time of a stream is moved, over the end of the clock too, and nothing else of it changes."""
    packets = written([picture(pts, dts) for pts, dts in stamps])
    headers = read_headers(packets)
    before = [pes.payload for pes in read_pes(packets, headers, PID)]
    shift(packets, pes_starts(packets, headers, PID), by)
    after = read_pes(packets, read_headers(packets), PID)
    assert [(pes.pts, pes.dts) for pes in after] == [((pts + by) % WRAP, (dts + by) % WRAP) for pts, dts in stamps]
    assert [pes.payload for pes in after] == before


@given(times, times)
def test_the_clock_is_written_as_it_is_read(first: int, second: int) -> None:
    """The programme's clock comes back as it was written, in 33 bits."""
    packets = written([picture(0)], pcr=first)
    rows = pcr_rows(packets, read_headers(packets), PID)
    assert read_pcr(packets, rows).tolist() == [first]
    write_pcr(packets, rows, np.array([second]))
    assert read_pcr(packets, rows).tolist() == [second]
    assert [pes.pts for pes in read_pes(packets, read_headers(packets), PID)] == [0]


@given(st.lists(st.integers(1, 2000), min_size=1, max_size=4), st.integers(0, 15), st.integers(0, 15))
def test_counters_run_on(sizes: list[int], begun: int, wanted: int) -> None:
    """Whatever packets counted from, they go on from the last one before them, each by one."""
    packets = written([picture(0, size=size) for size in sizes], counters={PID: begun})
    counters = {PID: wanted}
    renumber(packets, read_headers(packets), counters)
    assert (packets[:, 3] & 15).tolist() == [(wanted + 1 + at) % 16 for at in range(len(packets))]
    assert counters == {PID: (wanted + len(packets)) % 16}


def test_counters_stand_still_where_nothing_is_carried() -> None:
    """A packet with nothing but the clock has the counter of the one before it, whatever it had."""
    clock = pcr_packet(PID, 90_000, {PID: 7})
    packets = np.concatenate([clock, written([picture(0)], counters={PID: 4}), clock])
    counters = {PID: 11}
    renumber(packets, read_headers(packets), counters)
    assert (packets[:, 3] & 15).tolist() == [11, 12, 13, 14, 14]
    assert counters == {PID: 14}


def test_only_known_streams_are_kept_and_renamed() -> None:
    """Of several streams, those with a new PID come under it, in their order, and the others not at all."""
    packets = np.concatenate([written([picture(7)], 0x30), written([picture(8)], 0x40), written([picture(9)], 0x30)])
    kept, headers = redirect(packets, read_headers(packets), {0x30: 0x1FFE}, 2)
    assert len(kept) == 2 + sum(packets[:, 2] == 0x30)
    assert set(headers.pid.tolist()) == {0x1FFE}
    found = kept[2:]
    assert [pes.pts for pes in read_pes(found, read_headers(found), 0x1FFE)] == [7, 9]


def test_announced_jumps_are_taken_back() -> None:
    """A packet that announces a discontinuity announces none afterwards, and says all else as before."""
    packets = written([picture(5)], pcr=77)
    packets[0, 5] |= 0x80
    clear_discontinuities(packets)
    assert packets[0, 5] == 0x10
    assert read_pcr(packets, np.array([0])).tolist() == [77]


@pytest.mark.parametrize("damage", [lambda data: b"junk" * 9 + data, lambda data: data[:-100], lambda data: data])
def test_whole_packets_are_found_among_damage(damage: Callable[[bytes], bytes]) -> None:
    """What is before, between or behind whole packets is left out."""
    packets = written([picture(at, size=3000) for at in range(4)])
    found = as_packets(damage(packets.tobytes()))
    assert len(found) >= len(packets) - 1
    assert found.tobytes() == packets[: len(found)].tobytes()


@pytest.mark.parametrize("data", [b"", b"G", b"x" * 1000, b"<html>" * 100])
def test_what_holds_no_packets_is_refused(data: bytes) -> None:
    """What is no transport stream is said to be none."""
    with pytest.raises(TransportError, match="no packets"):
        as_packets(data)


@given(st.binary(max_size=PACKET_BYTES * 4))
def test_any_bytes_are_read_or_refused(data: bytes) -> None:
    """Whatever comes, it is read as packets, with streams or without, or refused."""
    packets = as_packets(data + b"G" + bytes(187))
    headers = read_headers(packets)
    for pid in {*headers.pid.tolist()}:
        with suppress(TransportError):
            assert all(len(pes.payload) < len(packets) * PACKET_BYTES for pes in read_pes(packets, headers, pid))


@given(times, st.integers(-WRAP // 2, WRAP // 2 - 1))
def test_distances_go_the_shorter_way(time: int, by: int) -> None:
    """From a time to another it is as far as the clock was moved, over its end too."""
    assert distances(np.int64(time), np.array([(time + by) % WRAP])).tolist() == [by]
