"""Recording live streams: how soon a segment is on disk, how often playlists are asked for, what a channel costs.

The origin is a process of its own on the same cores; the downloader is measured by /proc.

    python -m bench downloads [--minutes M]
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from statistics import median

from bench.downloader_process import Downloader, downloader
from bench.live_origin import SECONDS, Ledger, live_origin, read_ledgers
from common.dateutil import parse_hour
from common.segments import SegmentType, parse_names
from common.store import Store

# Channels whose segments come at other moments each, to measure latency with.
_PHASES = 4

# What a start costs belongs to no measurement; and it takes some polls to learn when segments come out.
_WARM_UP = 10.0
_LEARNT = 40.0

# A request that comes too soon by no more than this is the clock's.
_EARLY = 0.02


def main(options: Sequence[str] = ()) -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser("python -m bench downloads")
    parser.add_argument("--minutes", type=float, default=1.0, help="how long each row is measured")
    seconds = parser.parse_args(options).minutes * 60
    print("| listed -> `full` on disk | median s | worst s | target | worst at first | polls per segment | too soon |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for blocking in (False, True):
        _latency(seconds, blocking=blocking)
    print("\n| channels of 6 Mbit/s | CPU of a core per channel | target | MB at first | at the end | not full |")
    print("| ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    for channels in (1, 8, 32):
        _cost(channels, seconds)


def _latency(seconds: float, *, blocking: bool) -> None:
    with (
        live_origin(_PHASES, blocking=blocking) as address,
        tempfile.TemporaryDirectory(prefix="respool-bench-") as base,
    ):
        with downloader(Path(base), _channels(address, _PHASES)):
            time.sleep(_LEARNT + seconds)
        ledgers = read_ledgers(address)
        took = [late for number, ledger in enumerate(ledgers) for late in _latencies(Path(base), number, ledger)]
    first, later = [late for age, late in took if age < _LEARNT], [late for age, late in took if age >= _LEARNT]
    polls = sum(len(ledger.polls) for ledger in ledgers) / sum(len(_out_while_asked(ledger)) for ledger in ledgers)
    soon = sum(sum(_too_soon(ledger)) for ledger in ledgers)
    name = "origin that can block reloads" if blocking else "plain origin"
    figures = f"{median(later):.2f} | {max(later):.2f} | ≤ 0.4, ≤ 1.0 | {max(first):.2f}"
    print(f"| {name} | {figures} | {polls:.2f} | {soon} |", flush=True)


def _channels(address: str, count: int) -> list[str]:
    return [f"bench{number}={address}/{number}/live.m3u8" for number in range(count)]


def _latencies(base: Path, number: int, ledger: Ledger) -> Iterator[tuple[float, float]]:
    """Give of each segment when it came out, in seconds after the first request, and how long until it was on disk."""
    store, channel = Store(base), f"bench{number}"
    asked = ledger.polls[0][0]
    for hour in store.hours(channel, "source"):
        for segment in parse_names(parse_hour(hour), store.names(channel, "source", hour))[0]:
            index = round((segment.start.timestamp() - ledger.began) / SECONDS)
            # a commit sets the file's time when all of it is on disk
            done = store.segment_path(channel, "source", segment).stat().st_mtime
            if segment.type is SegmentType.FULL and (age := ledger.published[index] - asked) >= 0:
                yield age, done - ledger.published[index]


def _out_while_asked(ledger: Ledger, margin: float = 0.0) -> list[int]:
    """Give the numbers of the segments that came out between the first request and so long before the last."""
    first, last = ledger.polls[0][0], ledger.polls[-1][0] - margin
    return [number for number, at in enumerate(ledger.published) if first <= at <= last]


def _too_soon(ledger: Ledger) -> Iterator[bool]:
    """Tell of each request but the first two whether it came earlier than draft-pantos-hls-rfc8216bis §6.3.4 allows."""
    for before, (last, this) in zip(ledger.polls, pairwise(ledger.polls[1:]), strict=False):
        changed = last[1] > before[1]
        # one that the origin holds until there is something may follow at once
        yield not this[2] and this[0] - last[0] < (SECONDS if changed else SECONDS / 2) - _EARLY


def _cost(channels: int, seconds: float) -> None:
    with live_origin(channels) as address, tempfile.TemporaryDirectory(prefix="respool-bench-") as base:
        with downloader(Path(base), _channels(address, channels)) as process:
            time.sleep(_WARM_UP)
            cpu, began = process.cpu(), time.monotonic()
            memory = _watch(process, seconds)
            share = (process.cpu() - cpu) / (time.monotonic() - began) / channels
        not_full = sum(_lacking(Path(base), n, ledger) for n, ledger in enumerate(read_ledgers(address)))
    first, last = memory[0] / 1e6, memory[-1] / 1e6
    print(f"| {channels} | {share:.2%} | ≤ 1 % | {first:.0f} | {last:.0f} | {not_full} |", flush=True)


def _watch(process: Downloader, seconds: float) -> list[int]:
    """Look at its memory once a second."""
    memory, end = [process.memory()], time.monotonic() + seconds
    while time.monotonic() < end:
        time.sleep(1.0)
        memory.append(process.memory())
    return memory


def _lacking(base: Path, number: int, ledger: Ledger) -> int:
    """Count what came out and is not full, less what was under way at the end."""
    store, channel = Store(base), f"bench{number}"
    hours = [(hour, store.names(channel, "source", hour)) for hour in store.hours(channel, "source")]
    found = [segment for hour, names in hours for segment in parse_names(parse_hour(hour), names)[0]]
    full = [segment.start.timestamp() for segment in found if segment.type is SegmentType.FULL]
    numbers = {round((start - ledger.began) / SECONDS) for start in full}
    return len({*_out_while_asked(ledger, margin=2 * SECONDS)} - numbers)


if __name__ == "__main__":
    main()
