"""What requests ask for: query parameters to values, with one sentence for each mistake."""

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta

from common.cuts import CutType, VideoRange
from common.dateutil import parse_utc_only
from common.encoding import Container
from common.levels import Size
from common.thumbnails import Box
from common.transitions import Transition, TransitionError, parse_transition
from common.web import RequestError
from restreamer.limits import LARGEST_PICTURE, LONGEST_RANGE, LONGEST_WAVEFORM

# A range of which an end is left out grows with the recording; longer than this it must be asked for by name.
LONGEST_IMPLICIT_RANGE = timedelta(hours=12)

# What can be asked for over HTTP: types of cut, or the containers of what is encoded anew.
CUT_TYPES: dict[str, CutType | Container] = {
    kind.value: kind for kind in (CutType.ROUGH, CutType.FAST, CutType.SMART, Container.MPEGTS, Container.WEBM)
}

# As many parts has no video that anybody makes by hand.
_MOST_RANGES = 100

# The parameters that there are, by what takes them.
RANGE_PARAMETERS = ("start", "end")
PREVIEW_PARAMETERS = ("range", "transition", "allow_holes")
CUT_PARAMETERS = (*RANGE_PARAMETERS, "range", "transition", "type", "allow_holes")
LISTING_PARAMETERS = ("tombstones",)
FRAME_PARAMETERS = ("timestamp", "size")
WAVEFORM_PARAMETERS = (*RANGE_PARAMETERS, "size")
COMPOSE_PARAMETERS = ("timestamp", "crop", "location")
THUMBNAIL_PARAMETERS = ("timestamp", "template", "crop", "location")
DELTA_PARAMETER = "_HLS_skip"


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time as asked for: aware UTC, None where an end is left out."""

    start: datetime | None
    end: datetime | None


# Of an hour, each column is three and a half seconds.
DEFAULT_WAVEFORM = Size(1024, 128)
_SMALLEST = 8

_SIZE = re.compile(r"([0-9]{1,5})x([0-9]{1,5})", re.ASCII)
_BOX = re.compile(r"([0-9]{1,5}),([0-9]{1,5}),([0-9]{1,5}),([0-9]{1,5})", re.ASCII)


@dataclass(frozen=True, slots=True)
class FrameRequest:
    """A frame as asked for: a moment (aware UTC), and what it must fit into, if that is less than it is."""

    moment: datetime
    fit: Size | None


@dataclass(frozen=True, slots=True)
class WaveformRequest:
    """A waveform as asked for: the range (aware UTC) and the size of the picture."""

    start: datetime
    end: datetime
    size: Size


@dataclass(frozen=True, slots=True)
class ThumbnailRequest:
    """A thumbnail as asked for: a moment (aware UTC), the name of a template, and where what of the frame goes."""

    moment: datetime
    template: str | None
    crop: Box | None
    location: Box | None


@dataclass(frozen=True, slots=True)
class CutRequest:
    """A cut as asked for: its ranges, the type, whether holes may be skipped, and what joins the ranges.

    There are no `transitions` if all joins are hard; else one less than ranges, None for a hard one.
    """

    ranges: tuple[VideoRange, ...]
    type: CutType | Container
    allow_holes: bool
    transitions: tuple[Transition | None, ...] = ()


def parse_range(query: Iterable[tuple[str, str]]) -> Range:
    """Read `start` and `end`, either of which may be left out. Raises RequestError."""
    values = _values(query, RANGE_PARAMETERS)
    wanted = Range(_time(values, "start"), _time(values, "end"))
    if wanted.start is not None and wanted.end is not None:
        _check_lengths(wanted.start, wanted.end)
    return wanted


def wants_delta(query: Iterable[tuple[str, str]]) -> bool:
    """Tell whether a player asks for a delta update (rfc8216bis §6.2.5.1)."""
    return any(name == DELTA_PARAMETER and value in ("YES", "v2") for name, value in query)


def parse_tombstones(query: Iterable[tuple[str, str]]) -> bool:
    """Read `tombstones`, which is false unless said, in any case of letters. Raises RequestError.

    Other parameters are let pass: peers that ask for listings may be of other versions.
    """
    values = [value.lower() for name, value in query if name == "tombstones"]
    if values not in ([], ["true"], ["false"]):
        raise RequestError("The parameter tombstones is either true or false.")
    return values == ["true"]


def parse_cut(query: Iterable[tuple[str, str]]) -> CutRequest:
    """Read what `/cut` needs: `start` and `end`, or `range` repeated with `transition`; `type` and `allow_holes`.

    Raises RequestError.
    """
    pairs = list(query)
    parts = [value for name, value in pairs if name == "range"]
    said = [value for name, value in pairs if name == "transition"]
    values = _values((pair for pair in pairs if pair[0] not in {"range", "transition"}), CUT_PARAMETERS)
    if parts and {"start", "end"} & values.keys():
        raise RequestError("A cut has either start and end, or one range=START,END or several.")
    kind = CUT_TYPES.get(values.get("type", ""))
    if kind is None:
        raise RequestError(f"Say which type of cut: type={', type='.join(CUT_TYPES)}.")
    ranges = tuple(map(_part, parts)) if parts else (_whole(values),)
    if len(ranges) > _MOST_RANGES:
        raise RequestError(f"A cut has at most {_MOST_RANGES} ranges.")
    if sum((end - start for start, end in ranges), timedelta(0)) > LONGEST_RANGE:
        raise RequestError(f"The ranges are longer than {LONGEST_RANGE.days} days; ask for them in parts.")
    if said and len(said) != len(ranges) - 1:
        raise RequestError("Give one transition less than ranges, an empty one for a hard join; or none at all.")
    return CutRequest(ranges, kind, _flag(values, "allow_holes"), tuple(map(_transition, said)))


def parse_preview(query: Iterable[tuple[str, str]]) -> CutRequest:
    """Read what `/preview` needs: two ranges and a transition between them. Raises RequestError."""
    pairs = list(query)
    _values((pair for pair in pairs if pair[0] not in {"range", "transition"}), PREVIEW_PARAMETERS)
    wanted = parse_cut([*pairs, ("type", CutType.FAST.value)]) if any(name == "range" for name, _ in pairs) else None
    if wanted is None or len(wanted.ranges) != 2 or not any(wanted.transitions):  # noqa: PLR2004 - before and after
        raise RequestError("A preview needs two ranges and a transition between them.")
    return wanted


def _transition(text: str) -> Transition | None:
    try:
        return parse_transition(text)
    except TransitionError as error:
        raise RequestError(str(error)) from error


def _whole(values: dict[str, str]) -> VideoRange:
    start, end = _time(values, "start"), _time(values, "end")
    if start is None or end is None:
        raise RequestError("A cut needs both start and end, for example start=2026-03-01T18:30:00Z.")
    _check_lengths(start, end)
    return VideoRange(start, end)


def _part(text: str) -> VideoRange:
    first, comma, last = text.partition(",")
    if not comma:
        raise RequestError("A range is START,END, for example range=2026-03-01T18:30:00Z,2026-03-01T18:35:00Z.")
    return _whole({"start": first, "end": last})


def parse_frame(query: Iterable[tuple[str, str]]) -> FrameRequest:
    """Read what `/frame` needs: `timestamp`, and `size` if the whole is too much. Raises RequestError."""
    values = _values(query, FRAME_PARAMETERS)
    return FrameRequest(_moment(values), _size(values))


def parse_waveform(query: Iterable[tuple[str, str]]) -> WaveformRequest:
    """Read what `/waveform` needs: `start`, `end`, and `size` (DEFAULT_WAVEFORM). Raises RequestError."""
    values = _values(query, WAVEFORM_PARAMETERS)
    start, end = _time(values, "start"), _time(values, "end")
    if start is None or end is None:
        raise RequestError("A waveform needs both start and end, for example start=2026-03-01T18:30:00Z.")
    _check_lengths(start, end)
    if end - start > LONGEST_WAVEFORM:
        hours = LONGEST_WAVEFORM // timedelta(hours=1)
        raise RequestError(f"The range is longer than {hours} hours; ask for its waveform in parts.")
    return WaveformRequest(start, end, _size(values) or DEFAULT_WAVEFORM)


def parse_thumbnail(query: Iterable[tuple[str, str]], *, named: bool) -> ThumbnailRequest:
    """Read what `/thumbnail` needs: `timestamp`, `crop`, `location`, and, if it may be `named`, `template`.

    Raises RequestError.
    """
    values = _values(query, THUMBNAIL_PARAMETERS if named else COMPOSE_PARAMETERS)
    return ThumbnailRequest(_moment(values), values.get("template"), _box(values, "crop"), _box(values, "location"))


def implicit_range(wanted: Range, recorded: tuple[datetime, datetime], now: datetime) -> tuple[datetime, datetime]:
    """Fill in what a request leaves out: from the first segment recorded, until now.

    The start comes out after the end if the range lies before or after all that is recorded. Raises RequestError if an
    end is left out and the range is longer than LONGEST_IMPLICIT_RANGE.
    """
    start = wanted.start if wanted.start is not None else recorded[0]
    end = wanted.end if wanted.end is not None else max(now, recorded[1])
    if None in (wanted.start, wanted.end) and end - start > LONGEST_IMPLICIT_RANGE:
        raise RequestError(
            f"From {start:%Y-%m-%d %H:%M} to {end:%Y-%m-%d %H:%M} is more than "
            f"{LONGEST_IMPLICIT_RANGE // timedelta(hours=1)} hours; name both start and end for so much."
        )
    return start, end


def _values(query: Iterable[tuple[str, str]], known: Collection[str]) -> dict[str, str]:
    values: dict[str, str] = {}
    for name, value in query:
        if name.startswith("_"):  # players' and caches' own: _HLS_msn and the like
            continue
        if name not in known:
            raise RequestError(f"There is no parameter {name[:100]!r} here; there are {', '.join(sorted(known))}.")
        if name in values:
            raise RequestError(f"The parameter {name} is given twice.")
        values[name] = value
    return values


def _time(values: dict[str, str], name: str) -> datetime | None:
    if name not in values:
        return None
    try:
        return parse_utc_only(values[name])
    except ValueError as error:
        raise RequestError(f"The parameter {name} is wrong: {error}") from error


def _moment(values: dict[str, str]) -> datetime:
    moment = _time(values, "timestamp")
    if moment is None:
        raise RequestError("Say which moment, for example timestamp=2026-03-01T18:30:00Z.")
    return moment


def _size(values: dict[str, str]) -> Size | None:
    if "size" not in values:
        return None
    found = _SIZE.fullmatch(values["size"])
    size = Size(int(found[1]), int(found[2])) if found else Size(0, 0)
    most = LARGEST_PICTURE
    if not (_SMALLEST <= size.width <= most.width and _SMALLEST <= size.height <= most.height):
        raise RequestError(
            "The parameter size is WIDTHxHEIGHT in pixels, such as 1024x128; "
            f"it can be from {_SMALLEST}x{_SMALLEST} to {most.width}x{most.height}."
        )
    return size


def _box(values: dict[str, str], name: str) -> Box | None:
    if name not in values:
        return None
    found = _BOX.fullmatch(values[name])
    box = Box(*map(int, found.groups())) if found else Box(0, 0, 0, 0)
    if not box.width or not box.height:
        raise RequestError(f"The parameter {name} is X,Y,WIDTH,HEIGHT in pixels, such as 0,0,1280,720.")
    return box


def _flag(values: dict[str, str], name: str) -> bool:
    value = values.get(name, "false")
    if value not in ("true", "false"):
        raise RequestError(f"The parameter {name} is either true or false.")
    return value == "true"


def _check_lengths(start: datetime, end: datetime) -> None:
    if start >= end:
        raise RequestError("The range is empty: start must be before end.")
    if end - start > LONGEST_RANGE:
        raise RequestError(f"The range is longer than {LONGEST_RANGE.days} days; ask for it in parts.")
