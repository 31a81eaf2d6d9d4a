"""Draw the dashboards without Grafana, of what a Prometheus knows, as SVG.

`python monitoring/draw_dashboards.py http://127.0.0.1:9090 FOLDER [MINUTES] [NAME=VALUE ...]` draws all of them for the
last MINUTES (60); what a dashboard's variables are is said by NAME=VALUE, such as channel=demo.
"""

import json
import math
import sys
import time
import tomllib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen
from xml.sax.saxutils import escape

SOURCE = Path(__file__).parent / "dashboards.toml"

_COLUMN, _UNIT, _GAP, _HEADING = 52, 30, 8, 30
_POINTS = 180
_TIMEOUT_SECONDS = 30
_TICKS = 4
_UNSEEN = 0.2  # pixels
_MOST_LEGENDS = 6
_LEGEND, _LETTER = 13, 5.6  # the height of a line of a legend, and about the width of a letter of it
_PALETTE = (
    "#3f7fbf",
    "#e08a2e",
    "#4a9d5b",
    "#b5524f",
    "#7d6bb0",
    "#8c6d4f",
    "#c76aa5",
    "#6f7a83",
    "#a8a337",
    "#3aa6a6",
)
_GREEN, _RED, _INK, _GREY, _PALE, _PAPER = "#4a9d5b", "#c0392b", "#2d3238", "#868e96", "#dfe3e8", "#ffffff"

# Where a scale may end, in powers of ten: with four steps, each of them is a round number, too.
_ENDS = (1, 1.2, 1.6, 2, 2.4, 3.2, 4, 6, 8, 10)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Line:
    """One series: its legend, and points of Unix time and value."""

    legend: str
    points: Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Span:
    """The stretch of time that is drawn, in Unix seconds."""

    start: float
    end: float


@dataclass(frozen=True, slots=True)
class Box:
    """Where something is drawn, in pixels."""

    x: float
    y: float
    wide: float
    high: float


@dataclass(frozen=True, slots=True)
class Plot:
    """Where a graph is drawn: its box is `span` wide, and high from `low` to `most`."""

    box: Box
    span: Span
    low: float
    most: float

    def x(self, at: float) -> float:
        """Give where a moment is."""
        return self.box.x + self.box.wide * (at - self.span.start) / (self.span.end - self.span.start)

    def y(self, value: float) -> float:
        """Give where a value is."""
        return self.box.y + self.box.high * (1 - (value - self.low) / (self.most - self.low))


def main(arguments: Sequence[str]) -> None:
    """Draw all dashboards."""
    prometheus, folder, *more = arguments
    given = dict(each.split("=", 1) for each in more if "=" in each)
    minutes = next((float(each) for each in more if "=" not in each), 60.0)
    now = time.time()
    for name, source in tomllib.loads(SOURCE.read_text()).items():
        target = Path(folder, f"{name}.svg")
        target.write_text(draw(source, prometheus, Span(now - 60 * minutes, now), given))


def ask(prometheus: str, expression: str, span: Span) -> list[Json]:
    """Give the series of an expression over a span, as Prometheus' HTTP API has them (`/api/v1/query_range`).

    Raises OSError (HTTPError for an expression that Prometheus does not take).
    """
    step = max(1.0, (span.end - span.start) / _POINTS)
    query = urlencode({"query": expression, "start": span.start, "end": span.end, "step": step})
    with urlopen(f"{prometheus}/api/v1/query_range?{query}", timeout=_TIMEOUT_SECONDS) as answer:  # noqa: S310 - named by who runs this
        found: list[Json] = json.load(answer)["data"]["result"]
    return found


def lines(prometheus: str, panel: Json, span: Span, given: dict[str, str]) -> list[Line]:
    """Give the lines of a panel, the greatest first."""
    found = []
    for expression, legend in panel["queries"]:
        for name, value in given.items():
            expression = expression.replace(f"${name}", value)  # noqa: PLW2901 - one after the other
        for series in ask(prometheus, expression, span):
            said = legend
            for label, value in series["metric"].items():
                said = said.replace("{{" + label + "}}", value)
            points = [(float(at), float(value)) for at, value in series["values"]]
            found.append(Line(said, [point for point in points if math.isfinite(point[1])]))
    return sorted((line for line in found if line.points), key=lambda line: -line.points[-1][1])


def draw(source: Json, prometheus: str, span: Span, given: dict[str, str]) -> str:
    """Draw one dashboard."""
    first, last = (datetime.fromtimestamp(each, UTC) for each in (span.start, span.end))
    wide = 24 * _COLUMN + _GAP
    about = ", ".join(given[name] for name in source.get("variables", {}) if name in given)
    parts = [_text(_GAP, 26, f"{source['title']} ({about})" if about else source["title"], 18, bold=True)]
    parts.append(_text(wide - _GAP, 26, f"{first:%Y-%m-%d %H:%M} to {last:%H:%M} UTC", 12, "end", fill=_GREY))
    top = 40.0
    for row in source["rows"]:
        left = 0
        parts.append(_text(_GAP, top + 20, row["title"], 13, bold=True))
        for panel in row["panels"]:
            high = row["height"] * _UNIT - _GAP
            box = Box(left * _COLUMN + _GAP, top + _HEADING, panel["width"] * _COLUMN - _GAP, high)
            parts += _panel(panel, lines(prometheus, panel, span, given), box, span)
            left += panel["width"]
        top += _HEADING + row["height"] * _UNIT
    high = top + _GAP
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {wide} {high:.0f}" width="{wide}" height="{high:.0f}" '
        f'font-family="sans-serif"><rect width="100%" height="100%" fill="#f3f5f7"/>{"".join(parts)}</svg>\n'
    )


def _panel(panel: Json, found: list[Line], box: Box, span: Span) -> Iterator[str]:
    size = f'width="{box.wide}" height="{box.high}"'
    yield f'<rect x="{box.x}" y="{box.y}" {size} rx="4" fill="{_PAPER}" stroke="{_PALE}"/>'
    yield _text(box.x + 10, box.y + 20, panel["title"], 12, bold=True)
    inside = Box(box.x + 10, box.y + 30, box.wide - 20, box.high - 38)
    if not found:
        yield _text(inside.x + inside.wide / 2, inside.y + inside.high / 2, "nothing", 12, "middle", fill=_GREY)
    elif panel["kind"] == "stat":
        yield from _stats(panel, found, inside)
    elif panel["kind"] == "states":
        yield from _states(panel, found, inside, span)
    else:
        yield from _graph(panel, found, inside, span)


def _stats(panel: Json, found: list[Line], box: Box) -> Iterator[str]:
    wide = box.wide / len(found)
    small = min(11.0, 1.6 * wide / max(len(line.legend) for line in found if line.legend) if found[0].legend else 11.0)
    for number, line in enumerate(found):
        value = line.points[-1][1]
        middle, size = box.x + (number + 0.5) * wide, min(30.0, wide / 4)
        said = _said(value, panel["unit"])
        yield _text(middle, box.y + box.high / 2 + 6, said, size, "middle", fill=_colour(panel, value))
        yield _text(middle, box.y + box.high - 6, line.legend, small, "middle")


def _states(panel: Json, found: list[Line], box: Box, span: Span) -> Iterator[str]:
    """Draw a bar for each line, under its legend, with the colour that its value had at the time."""
    across = box.wide / (span.end - span.start)
    step = (span.end - span.start) / _POINTS
    row = min(36.0, (box.high - 18) / len(found))
    for number, line in enumerate(found):
        y = box.y + number * row
        yield _text(box.x, y + 9, line.legend, 10)
        for colour, start, end in _stretches(panel, line, step):
            x, wide = box.x + (start - span.start) * across, (min(end, span.end) - start) * across
            yield f'<rect x="{x:.1f}" y="{y + 13:.1f}" width="{wide:.1f}" height="{row - 17:.1f}" fill="{colour}"/>'
    yield from _clock(Box(box.x + 14, box.y, box.wide - 28, len(found) * row - 2), span)


def _stretches(panel: Json, line: Line, step: float) -> Iterator[tuple[str, float, float]]:
    """Give the colours of a line with their starts and ends, in Unix seconds."""
    for colour, points in groupby(line.points, key=lambda point: _colour(panel, point[1])):
        for run in _runs([*points], step):
            yield colour, run[0][0], run[-1][0] + step


def _clock(box: Box, span: Span) -> Iterator[str]:
    """Write the times under a box."""
    for number in range(_TICKS + 1):
        at = span.start + (span.end - span.start) * number / _TICKS
        where = box.x + box.wide * number / _TICKS
        yield _text(where, box.y + box.high + 14, f"{datetime.fromtimestamp(at, UTC):%H:%M}", 9, "middle", fill=_GREY)


def _graph(panel: Json, found: list[Line], box: Box, span: Span) -> Iterator[str]:
    legends = _legends(panel, found)
    columns = 2 if len(legends) > 1 and max(map(len, legends)) * _LETTER < box.wide / 2 - 66 else 1
    rows = math.ceil(len(legends) / columns)
    inside = Box(box.x + 52, box.y, box.wide - 62, box.high - 24 - _LEGEND * rows)
    stacked = panel["kind"] == "stacked"
    curves = [*_stacked(found)] if stacked else [line.points for line in found]
    values = [value for points in curves for _, value in points]
    plot = Plot(inside, span, min(0.0, *values), _nice(max(values)))
    yield from _grid(panel, plot)
    for number, points in reversed([*enumerate(curves)]):
        yield from _curve(points, _PALETTE[number % len(_PALETTE)], plot, filled=stacked)
    for number, legend in enumerate(legends):
        x, y = inside.x + number // rows * box.wide / 2, inside.y + inside.high + 30 + _LEGEND * (number % rows)
        colour = (
            _PALETTE[number % len(_PALETTE)] if number < _MOST_LEGENDS - 1 or len(found) <= _MOST_LEGENDS else _PALE
        )
        yield f'<rect x="{x:.1f}" y="{y - 8:.1f}" width="9" height="9" fill="{colour}"/>'
        yield _text(x + 14, y, legend, 10)


def _legends(panel: Json, found: list[Line]) -> list[str]:
    """Give what is written under a graph: its lines with their last values, as many as there is room for."""
    legends = [f"{line.legend or panel['title']}: {_said(line.points[-1][1], panel['unit'])}" for line in found]
    if len(legends) > _MOST_LEGENDS:
        legends[_MOST_LEGENDS - 1 :] = [f"and {len(legends) - _MOST_LEGENDS + 1} more"]
    return legends


def _grid(panel: Json, plot: Plot) -> Iterator[str]:
    """Draw what is behind the curves: values, times, and from where on it is bad."""
    across = f"h{plot.box.wide:.1f}"
    for number in range(_TICKS + 1):
        value = plot.low + (plot.most - plot.low) * number / _TICKS
        y = plot.y(value)
        yield f'<path d="M{plot.box.x} {y:.1f}{across}" stroke="{_PALE}"/>'
        yield _text(plot.box.x - 6, y + 3, _said(value, panel["unit"]), 9, "end", fill=_GREY)
    if plot.low < panel.get("bad", plot.low) < plot.most:
        yield f'<path d="M{plot.box.x} {plot.y(panel["bad"]):.1f}{across}" stroke="{_RED}" stroke-dasharray="4 3"/>'
    yield from _clock(plot.box, plot.span)


def _curve(points: Sequence[tuple[float, float]], colour: str, plot: Plot, *, filled: bool) -> Iterator[str]:
    """Draw a line, with what is under it."""
    for run in _runs(points, (plot.span.end - plot.span.start) / _POINTS):
        bends = [*_bends([(plot.x(at), plot.y(value)) for at, value in run])]
        path = " ".join(f"{x:.1f},{y:.1f}" for x, y in bends)
        if filled:
            foot = plot.y(plot.low)
            area = f"{bends[0][0]:.1f},{foot:.1f} {path} {bends[-1][0]:.1f},{foot:.1f}"
            yield f'<polygon points="{area}" fill="{_pale(colour)}"/>'
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'


def _pale(colour: str) -> str:
    """Give a colour that is two thirds white, through which nothing shines."""
    parts = (int(colour[start : start + 2], 16) for start in (1, 3, 5))
    return "#" + "".join(f"{(part + 2 * 255) // 3:02x}" for part in parts)


def _runs(points: Sequence[tuple[float, float]], step: float) -> Iterator[list[tuple[float, float]]]:
    """Give the stretches of points between which nothing is known."""
    run = [points[0]]
    for point in points[1:]:
        if point[0] - run[-1][0] > 1.5 * step:
            yield run
            run = []
        run.append(point)
    yield run


def _bends(run: Sequence[tuple[float, float]]) -> Iterator[tuple[float, float]]:
    """Leave out the points that nobody would miss: they lie on the line from the last one to the next."""
    yield run[0]
    (last_x, last_y), *_ = run
    for (x, y), (next_x, next_y) in pairwise(run[1:]):
        if abs(last_y + (next_y - last_y) * (x - last_x) / (next_x - last_x) - y) > _UNSEEN:
            yield x, y
            last_x, last_y = x, y
    if len(run) > 1:
        yield run[-1]


def _stacked(found: list[Line]) -> Iterator[list[tuple[float, float]]]:
    """Put each line on top of those before it."""
    below: dict[float, float] = {}
    for line in found:
        for at, value in line.points:
            below[at] = below.get(at, 0.0) + value
        yield [(at, below[at]) for at, _ in line.points]


def _nice(value: float) -> float:
    """Give a round number that is not smaller, but for a hair; 1 for none."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in _ENDS if step * power >= value * 0.995)


def _colour(panel: Json, value: float) -> str:
    if "good" not in panel:
        return _INK
    good, bad = panel["good"], panel["bad"]
    fine = value < bad if good < bad else value >= good
    return _GREEN if fine else _RED


def _said(value: float, unit: str) -> str:
    """Say a value in a unit of Grafana's, for people."""
    match unit:
        case "percentunit":
            return f"{100 * value:.3g} %"
        case "s":
            return _duration(value)
        case "bytes" | "Bps":
            power = max(0, min(4, int(math.log10(max(abs(value), 1)) // 3)))
            return f"{value / 1000**power:.3g} {'kMGT'[power - 1] if power else ''}B{'/s' if unit == 'Bps' else ''}"
        case _:
            return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"  # noqa: PLR2004 - more than three figures


def _duration(seconds: float) -> str:
    for unit, length in (("d", 86400), ("h", 3600)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{1000 * seconds:.3g} ms" if 0 < abs(seconds) < 1 else f"{seconds:.3g} s"


def _text(
    x: float, y: float, said: str, size: float, anchor: str = "start", *, fill: str = _INK, bold: bool = False
) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size:.0f}" text-anchor="{anchor}" fill="{fill}"{weight}>'
        f"{escape(said)}</text>"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
