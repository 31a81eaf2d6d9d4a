"""PES into transport packets and out of them again."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from common.pes import Pes, pcr_packet, read_pes, write_pes
from common.ticks import WRAP
from common.transport import pcr_rows, read_headers, read_pcr

times = st.integers(0, WRAP - 1)
stamps = st.one_of(st.none(), st.tuples(times, times), times.map(lambda time: (time, time)))


@given(
    st.sampled_from([0xE0, 0xC0, 0xBD]), stamps, st.binary(max_size=700), st.none() | times, st.booleans(),
    st.integers(0, 900),
)  # fmt: skip
def test_what_is_written_is_read(
    stream_id: int,
    stamp: tuple[int, int] | None,
    payload: bytes,
    pcr: int | None,
    entry: bool,  # noqa: FBT001 - it is drawn
    missing: int,
) -> None:
    """Whatever its size and times, a PES comes out as it went in, with the clock and the mark beside it."""
    pts, dts = stamp or (None, None)
    missing = 0 if stream_id == 0xE0 else missing
    packets = write_pes(0x77, Pes(0, stream_id, pts, dts, payload, missing), {}, pcr=pcr, random_access=entry)
    headers = read_headers(packets)
    assert (packets[:, 0] == 0x47).all()
    assert read_pes(packets, headers, 0x77) == [Pes(0, stream_id, pts, dts, payload, missing)]
    assert read_pcr(packets, pcr_rows(packets, headers, 0x77)).tolist() == ([] if pcr is None else [pcr])
    assert bool(packets[0, 3] & 0x20 and packets[0, 4] and packets[0, 5] & 0x40) is entry


@given(st.binary(min_size=1, max_size=600), st.binary(min_size=1, max_size=600))
def test_the_rest_of_an_earlier_one_comes_first(rest: bytes, payload: bytes) -> None:
    """What belongs to a PES that began before these packets is given, without times."""
    counters: dict[int, int] = {}
    packets = [write_pes(0x77, Pes(0, 0, None, None, rest), counters)]
    packets.append(write_pes(0x77, Pes(0, 0xC0, 5, 5, payload), counters))
    found = np.concatenate(packets)
    assert read_pes(found, read_headers(found), 0x77) == [
        Pes(0, 0, None, None, rest),
        Pes(len(packets[0]), 0xC0, 5, 5, payload),
    ]


@given(times)
def test_a_clock_can_stand_alone(time: int) -> None:
    """A packet with nothing but the clock has no payload, and does not count."""
    packet = pcr_packet(0x77, time, {0x77: 9})
    headers = read_headers(packet)
    assert read_pcr(packet, pcr_rows(packet, headers, 0x77)).tolist() == [time]
    assert not headers.counted.any()
    assert int(packet[0, 3]) & 15 == 9
