"""What a segment's name does not say: its tracks, their codecs and timestamps, where it can be entered.

Facts are found by `common.media`, kept by `common.sidecar`; here is what follows from them. Times are in ticks of
90 kHz on the media's own clock, see `common.ticks`.
"""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Any

from common.ticks import TICKS, distance

# Of the text form: one more whenever fields or the way they are found change, then everything is probed anew.
VERSION = 1

# How far apart ends and starts that join may be, beside one frame: what rounding to milliseconds does.
_ROUNDING = TICKS // 1000

# If a video's rate is not known, a frame is as long as the longest in common use.
_SLOWEST_RATE = Fraction(24)

# Of any codec in common use HE-AAC has the longest frames.
_LONGEST_SOUND_FRAME = 2048

_HASH_DIGITS = 12


class TrackKind(StrEnum):
    """What a track holds."""

    VIDEO = "video"
    AUDIO = "audio"
    DATA = "data"
    SUBTITLE = "subtitle"


_SEEN_AND_HEARD = (TrackKind.VIDEO, TrackKind.AUDIO)
_KINDS = {kind.value: kind for kind in TrackKind}


@dataclass(frozen=True, slots=True)
class Format:
    """What a track asks of its decoder: the same for all segments of a steady stream, mostly one object for them all.

    `codec`: RFC 6381, empty where it cannot be told exactly. `width`, `height`: pixels after cropping. `parameters`: a
    short hash of the decoder's configuration, empty without one. What is not known is None.
    """

    kind: TrackKind
    codec: str = ""
    width: int | None = None
    height: int | None = None
    sample_rate: int | None = None
    channels: int | None = None
    parameters: str = ""


@dataclass(frozen=True, slots=True)
class Track:
    """One track of a segment that holds at least one packet.

    `first`, `end`: when the first frame is shown and when the last one is over, in ticks; from MPEG-TS `first` is below
    2^33 and `end` runs on. `frame_rate`: of a video, per second, while no frame is missing; None if not known.
    """

    format: Format
    first: int
    end: int
    frame_rate: Fraction | None = None


@dataclass(frozen=True, slots=True)
class Facts:
    """What is known of one segment's content.

    `key_frame`: whether its first video packet, in decode order, can be decoded by itself; None without video.
    `init_bytes`, `init_hash`: of fragmented MP4, the length of the init section at the head and a short hash of it;
    None for MPEG-TS. `error`: a sentence if it cannot be read as media; then there are no tracks.
    """

    bytes: int
    tracks: tuple[Track, ...] = ()
    key_frame: bool | None = None
    init_bytes: int | None = None
    init_hash: str | None = None
    error: str | None = None

    def track(self, kind: TrackKind) -> Track | None:
        """Give the first track of a kind."""
        return next((track for track in self.tracks if track.format.kind is kind), None)


@dataclass(frozen=True, slots=True)
class VariantAttributes:
    """What EXT-X-STREAM-INF says of a variant; None where that cannot be told."""

    codecs: str | None
    resolution: tuple[int, int] | None
    frame_rate: Fraction | None


def short_hash(content: bytes) -> str:
    """Give a hash that tells one configuration from another; empty for nothing."""
    return hashlib.sha256(content).hexdigest()[:_HASH_DIGITS] if content else ""


def joins(earlier: Facts, later: Facts) -> bool | None:
    """Tell whether the media's own timestamps run on from one segment to the next; None if that cannot be told.

    They do if picture and sound, as far as both segments have them, go on within one frame: a frame may be lost, shown
    twice or timed by a rounded clock where a segment ends, while the loss of any segment is longer than that.
    """
    if (earlier.init_bytes is None) is not (later.init_bytes is None):
        return None
    fits = [
        _run_on(before, after, wraps=later.init_bytes is None)
        for kind in _SEEN_AND_HEARD
        if (before := earlier.track(kind)) is not None and (after := later.track(kind)) is not None
    ]
    return all(fits) if fits else None


def _run_on(before: Track, after: Track, *, wraps: bool) -> bool:
    gap = distance(before.end, after.first) if wraps else after.first - before.end
    return abs(gap) <= _one_frame(before, after) + _ROUNDING


def _one_frame(before: Track, after: Track) -> int:
    if before.format.kind is TrackKind.VIDEO:
        rate = before.frame_rate or after.frame_rate or _SLOWEST_RATE
        return TICKS * rate.denominator // rate.numerator + 1
    # a rate that is not known is the usual one of television
    return _LONGEST_SOUND_FRAME * TICKS // (before.format.sample_rate or after.format.sample_rate or 48_000) + 1


def same_format(earlier: Facts, later: Facts) -> bool:
    """Tell whether a decoder set up for one segment can go on with the other; False if either is not known.

    Only picture and sound count: tracks of data and text come and go.
    """
    if (earlier.init_bytes is None) is not (later.init_bytes is None):
        return False
    before, after = _layout(earlier), _layout(later)
    # MPEG-TS may list its streams in another order each time
    return bool(before) and (before == after or Counter(before) == Counter(after))


def _layout(facts: Facts) -> list[Format]:
    return [track.format for track in facts.tracks if track.format.kind in _SEEN_AND_HEARD]


def variant_attributes(segments: Iterable[Facts]) -> VariantAttributes:
    """Give what holds for all segments of a variant together; those that cannot be read are left out.

    All codecs that occur (RFC 8216 §4.3.4.2), picture before sound and the higher profile first; None if any is not
    known, since a list that lacks one is wrong. The largest picture, the highest frame rate.
    """
    kinds = {(track.format, track.frame_rate) for facts in segments for track in facts.tracks}
    video = {form for form, _ in kinds if form.kind is TrackKind.VIDEO}
    audio = {form for form, _ in kinds if form.kind is TrackKind.AUDIO}
    codecs = [codec for forms in (video, audio) for codec in sorted({form.codec for form in forms}, reverse=True)]
    sizes = [(form.width, form.height) for form in video if form.width and form.height]
    return VariantAttributes(
        codecs=",".join(codecs) if codecs and all(codecs) else None,
        resolution=max(sizes, key=lambda size: (size[0] * size[1], size), default=None),
        frame_rate=max((rate for _, rate in kinds if rate), default=None),
    )


# The text form: a JSON array on one line --------------------------------------------------------------------------


def format_facts(facts: Facts) -> str:
    """Write facts on one line of ASCII."""
    head = [VERSION, facts.bytes, facts.key_frame, facts.init_bytes, facts.init_hash, facts.error]
    return json.dumps([*head, *map(_track_row, facts.tracks)], separators=(",", ":"))


def _track_row(track: Track) -> list[str | int | None]:
    form = track.format
    rate = None if track.frame_rate is None else f"{track.frame_rate.numerator}/{track.frame_rate.denominator}"
    size, sound = (form.width, form.height), (form.sample_rate, form.channels)
    return [track.first, track.end, rate, form.kind.value, form.codec, *size, *sound, form.parameters]


# Half of `loads` is spent on white space around a value.
_decode = json.JSONDecoder().raw_decode
_HEAD = ((int,), (bool, type(None)), (int, type(None)), (str, type(None)), (str, type(None)))
_FORM = ((str,), (str,), *[(int, type(None))] * 4, (str,))
_RATE = re.compile(r"[1-9][0-9]{0,18}/[1-9][0-9]{0,18}", re.ASCII)


def parse_facts(text: str) -> Facts | None:
    """Read facts, or None if these are none, or those of another version. Never raises."""
    try:
        row, end = _decode(text)
        if end != len(text) or row[0] != VERSION or not _is_head(tuple(map(type, row[1:6]))):
            return None
        _, size, key_frame, init_bytes, init_hash, error, *tracks = row
        return Facts(size, tuple([_read_track(*row) for row in tracks]), key_frame, init_bytes, init_hash, error)
    except (ValueError, LookupError, TypeError, RecursionError):
        return None


def _read_track(first: Any, end: Any, rate: Any, *form: Any) -> Track:  # noqa: ANN401 - whatever JSON holds
    if type(first) is not int or type(end) is not int:
        raise ValueError("Times are whole numbers.")
    return Track(_format(*form), first, end, None if rate is None else _fraction(rate))


@lru_cache(maxsize=256)
def _format(*fields: Any) -> Format:  # noqa: ANN401 - whatever JSON holds
    """Read a format; a stream has one or two, so all its segments share them."""
    if not _fit(_FORM, tuple(map(type, fields))):
        raise ValueError("This is no format.")
    return Format(_KINDS[fields[0]], *fields[1:])


@lru_cache(maxsize=256)
def _is_head(types: tuple[type, ...]) -> bool:
    """Tell whether these are the types of what stands before the tracks; a store has a handful of combinations."""
    return _fit(_HEAD, types)


def _fit(allowed: tuple[tuple[type, ...], ...], types: tuple[type, ...]) -> bool:
    return len(types) == len(allowed) and all(found in right for found, right in zip(types, allowed, strict=True))


@lru_cache(maxsize=256)
def _fraction(text: str) -> Fraction:
    if _RATE.fullmatch(text) is None:
        raise ValueError("This is no rate.")
    return Fraction(text)
