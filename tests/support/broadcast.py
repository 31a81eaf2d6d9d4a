"""A broadcast as a script says it: segments of content that tells them apart, and the playlists that list them. Pure.

Times are seconds of the origin's clock; the programme's own times (EXT-X-PROGRAM-DATE-TIME) count from its epoch.
"""

import hashlib
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from itertools import groupby, pairwise, takewhile

from ts_bytes import Pes, Programme, Stream, Writer

KEY_BYTES = 16

_TICKS = 90_000
_SOUND = Stream(0x101, 0x0F)
_PROGRAMME = Programme(0x1000, 0, _SOUND.pid, (_SOUND,))


class Kind(StrEnum):
    """What a segment shows."""

    PROGRAMME = "programme"
    ADVERTISEMENT = "advertisement"
    GAP = "gap"
    SLATE = "slate"  # a placeholder in another encoding, which nothing marks but a discontinuity


@dataclass(frozen=True, slots=True)
class Pause:
    """The stream ends (EXT-X-ENDLIST), and comes back after so many seconds; `reset`: numbers begin again."""

    seconds: float
    reset: bool = False


@dataclass(frozen=True, slots=True)
class Script:
    """What is sent. Sets and keys are numbers of segments, which count from 0 and are never reset.

    `lead`: seconds of it that are there when the clock starts. `every_*`: a new init section or key after so many
    segments (0: none). `ranges`: so many segments lie in one resource. `jumps`: seconds by which said times move from a
    segment on. `kept`: seconds for which a segment can be fetched. `expires`: seconds after which a session's
    playlists are refused. `preroll`: seconds for which a new session is shown advertisements instead; with
    `history` it is shown what came before its beginning all the same.
    """

    count: int = 40
    seconds: float = 2.0
    window: int = 15
    lead: float = 10.0
    dated: bool = True
    packets: int = 12
    variants: tuple[str, ...] = ("source",)
    every_map: int = 0
    every_key: int = 0
    ranges: int = 0
    ads: frozenset[int] = frozenset()
    gaps: frozenset[int] = frozenset()
    slates: frozenset[int] = frozenset()
    jumps: Mapping[int, float] = field(default_factory=dict)
    pauses: Mapping[int, Pause] = field(default_factory=dict)
    said: Mapping[int, float] = field(default_factory=dict)
    kept: float = 300.0
    expires: float | None = None
    preroll: float = 0.0
    history: bool = False
    names_differ: bool = False
    blocking: bool = False


@dataclass(frozen=True, slots=True)
class Item:
    """A segment: it begins at `at` and can be listed from `published` on; `start` is what playlists say (or would)."""

    number: int
    run: int
    sequence: int
    at: float
    published: float
    start: datetime
    seconds: float
    kind: Kind
    discontinuity: bool


def make_items(script: Script, epoch: datetime) -> list[Item]:
    """Carry out the script."""
    items: list[Item] = []
    at, offset, run, first = -script.lead, 0.0, 0, 0
    for number in range(script.count):
        pause = script.pauses.get(number)
        if pause is not None:
            at, run, first = at + pause.seconds, run + 1, number if pause.reset else first
        offset += script.jumps.get(number, 0.0)
        kind = _kind(script, number)
        broken = pause is not None or number in script.jumps or (number > 0 and kind is not _kind(script, number - 1))
        if script.every_map and number and number % script.every_map == 0:
            broken = True
        start = epoch + timedelta(seconds=at + offset)
        end = at + script.seconds
        items.append(Item(number, run, number - first, at, end, start, script.seconds, kind, broken))
        at = end
    return items


def _kind(script: Script, number: int) -> Kind:
    kinds = {Kind.ADVERTISEMENT: script.ads, Kind.GAP: script.gaps, Kind.SLATE: script.slates}
    return next((kind for kind, numbers in kinds.items() if number in numbers), Kind.PROGRAMME)


def in_window(script: Script, items: list[Item], now: float) -> tuple[list[Item], bool]:
    """Give what a playlist lists `now`, and whether it ends with EXT-X-ENDLIST."""
    out = [item for item in items if item.published <= now]
    if not out:
        return [], False
    shown = [item for item in out[-script.window :] if not _resets(script, item, out[-1])]
    return shown, _is_between(items, out, now)


def _resets(script: Script, item: Item, last: Item) -> bool:
    """Tell whether numbers began again between the two."""
    return any(pause.reset for number, pause in script.pauses.items() if item.number < number <= last.number)


def _is_between(items: list[Item], out: list[Item], now: float) -> bool:
    """Tell whether the stream is away: its end is told when the last segment of a run is out."""
    if len(out) == len(items):
        return False
    following = items[len(out)]
    return following.run != out[-1].run and now < following.at


# Content -------------------------------------------------------------------------------------------------------------


def body(script: Script, channel: str, variant: str, item: Item) -> bytes:
    """Give a segment's bytes as a recording has them: without encryption, without an init section."""
    tag = f"{channel} {variant} {item.number} {item.kind}"
    if script.every_map:
        digest = hashlib.sha256(tag.encode()).digest()
        return box(b"moof", digest) + box(b"mdat", digest * 6 * script.packets)
    packets = script.packets // 2 if item.kind is Kind.SLATE else script.packets
    return _transport_stream(tag, item.at + script.lead, item.seconds, packets)


@lru_cache(maxsize=1000)
def _transport_stream(tag: str, at: float, seconds: float, packets: int) -> bytes:
    """Write a stream of sound with true timestamps, in whose every packet stands which segment it is of."""
    digest = hashlib.sha256(tag.encode()).digest()
    packets += digest[0] % 3
    writer = Writer()
    writer.tables(_PROGRAMME)
    for number in range(packets):
        pts = round((at + seconds * number / packets) * _TICKS)
        writer.pes(Pes(_SOUND.pid, 0xC0, pts, pts, digest * 5, pcr=pts * 300 if number == 0 else None))
    return writer.take()


def init_section(script: Script, channel: str, variant: str, item: Item) -> bytes:
    """Give the init section before it; empty for a transport stream."""
    if not script.every_map:
        return b""
    tag = f"{channel} {variant} map {item.number // script.every_map}".encode()
    return box(b"ftyp", b"iso5" + bytes(4)) + box(b"moov", box(b"free", tag))


def key(script: Script, channel: str, item: Item) -> bytes:
    """Give the key with which it is encrypted."""
    return hashlib.sha256(f"{channel} key {item.number // script.every_key}".encode()).digest()[:KEY_BYTES]


def box(kind: bytes, *content: bytes) -> bytes:
    """Write a box of ISO/IEC 14496-12."""
    data = b"".join(content)
    return struct.pack(">I", 8 + len(data)) + kind + data


# Playlists -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a session's playlist; `shown` is what stands there, an advertisement perhaps in place of `item`."""

    item: Item
    shown: Kind
    uri: str
    lines: tuple[str, ...] = ()


def media_playlist(script: Script, entries: Iterable[Listed], *, ended: bool, breaks_before: int) -> str:
    """Write a media playlist."""
    entries = list(entries)
    said = [script.said.get(entry.item.number, script.seconds) for entry in entries]
    lines = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{max(1, *map(round, [script.seconds, *said]))}"]
    if script.blocking:
        lines.append("#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES")
    if entries:
        lines.append(f"#EXT-X-MEDIA-SEQUENCE:{entries[0].item.sequence}")
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{breaks_before}")
    lines += _date_ranges(script, entries)
    for before, entry in pairwise([None, *entries]):
        assert entry is not None
        lines += _entry(script, before, entry)
    return "\n".join([*lines, *(["#EXT-X-ENDLIST"] if ended else []), ""])


def _entry(script: Script, before: Listed | None, entry: Listed) -> Iterator[str]:
    item = entry.item
    if item.discontinuity or (before is not None and before.shown is not entry.shown):
        yield "#EXT-X-DISCONTINUITY"
    yield from entry.lines
    if script.dated:
        yield f"#EXT-X-PROGRAM-DATE-TIME:{item.start.isoformat(timespec='milliseconds')}"
    if entry.shown is Kind.GAP:
        yield "#EXT-X-GAP"
    title = "Amazon|4277" if entry.shown is Kind.ADVERTISEMENT else "live"
    yield f"#EXTINF:{script.said.get(item.number, item.seconds):.3f},{title}"
    yield entry.uri


def _date_ranges(script: Script, entries: list[Listed]) -> Iterator[str]:
    """Write a date range over each break for advertisements, as Twitch does; it may have begun before the window."""
    for shown, group in groupby(entries, key=lambda entry: entry.shown):
        if shown is not Kind.ADVERTISEMENT:
            continue
        stretch = [entry.item for entry in group]
        hidden = takewhile(script.ads.__contains__, range(stretch[0].number - 1, -1, -1))
        coming = takewhile(script.ads.__contains__, range(stretch[-1].number + 1, script.count))
        first = stretch[0].number - len(list(hidden))
        start = stretch[0].start - timedelta(seconds=script.seconds) * (stretch[0].number - first)
        seconds = script.seconds * (stretch[-1].number - first + 1 + len(list(coming)))
        yield (
            f'#EXT-X-DATERANGE:ID="stitched-ad-{first}",CLASS="twitch-stitched-ad",'
            f'START-DATE="{start.isoformat(timespec="milliseconds")}",DURATION={seconds:.3f},'
            f'X-TV-TWITCH-AD-ROLL-TYPE="MIDROLL"'
        )


def multivariant_playlist(variants: Mapping[str, str]) -> str:
    """Write a multivariant playlist: names and addresses, the best first."""
    lines = []
    for number, (name, uri) in enumerate(variants.items()):
        size = f"{1920 >> number}x{1080 >> number}"
        lines.append(f'#EXT-X-STREAM-INF:BANDWIDTH={6_000_000 >> number},RESOLUTION={size},FRAME-RATE=60,NAME="{name}"')
        lines.append(uri)
    return "\n".join(["#EXTM3U", *lines, ""])
