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
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen
from xml.sax.saxutils import escape

SOURCE = Path(__file__).parent / "dashboards.toml"

_COLUMN, _UNIT, _GAP, _HEADING = 52, 30, 8, 30
_POINTS = 240
_TIMEOUT_SECONDS = 30
_TICKS = 4
_MOST_LEGENDS = 5
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
_GREEN, _RED, _INK, _PALE, _PAPER = "#4a9d5b", "#c0392b", "#2d3238", "#dfe3e8", "#ffffff"

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
    parts, top = [_text(_GAP, 26, source["title"], 18, bold=True)], 40.0
    for row in source["rows"]:
        left = 0
        parts.append(_text(_GAP, top + 20, row["title"], 13, bold=True))
        for panel in row["panels"]:
            high = row["height"] * _UNIT - _GAP
            box = Box(left * _COLUMN + _GAP, top + _HEADING, panel["width"] * _COLUMN - _GAP, high)
            parts += _panel(panel, lines(prometheus, panel, span, given), box, span)
            left += panel["width"]
        top += _HEADING + row["height"] * _UNIT
    wide, high = 24 * _COLUMN + _GAP, top + _GAP
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
        yield _text(inside.x + inside.wide / 2, inside.y + inside.high / 2, "nothing", 12, anchor="middle")
    elif panel["kind"] == "stat":
        yield from _stats(panel, found, inside)
    elif panel["kind"] == "states":
        yield from _states(panel, found, inside, span)
    else:
        yield from _graph(panel, found, inside, span)


def _stats(panel: Json, found: list[Line], box: Box) -> Iterator[str]:
    wide = box.wide / len(found)
    for number, line in enumerate(found):
        value = line.points[-1][1]
        middle, size = box.x + (number + 0.5) * wide, min(30.0, wide / 4)
        yield _text(
            middle, box.y + box.high / 2 + 6, _said(value, panel["unit"]), size, "middle", fill=_colour(panel, value)
        )
        yield _text(middle, box.y + box.high - 6, line.legend, min(11.0, wide / 8 + 3), "middle")


def _states(panel: Json, found: list[Line], box: Box, span: Span) -> Iterator[str]:
    high = min(26.0, box.high / len(found))
    for number, line in enumerate(found):
        y, left, wide = box.y + number * high, box.x + 90, box.wide - 90
        yield _text(box.x, y + high / 2 + 4, line.legend, 10)
        scale = wide / (span.end - span.start)
        step = (span.end - span.start) / _POINTS * scale + 0.6
        for at, value in line.points:
            x = left + (at - span.start) * scale
            yield (
                f'<rect x="{x:.1f}" y="{y + 2:.1f}" width="{step:.1f}" height="{high - 4:.1f}" '
                f'fill="{_colour(panel, value)}"/>'
            )


def _graph(panel: Json, found: list[Line], box: Box, span: Span) -> Iterator[str]:
    shown = found[:_MOST_LEGENDS]
    plot = Box(box.x + 52, box.y, box.wide - 58, box.high - 26 - 13 * len(shown))
    curves = [*_stacked(found)] if panel["kind"] == "stacked" else [line.points for line in found]
    values = [value for points in curves for _, value in points]
    low, most = min(0.0, *values), _nice(max(*values, 1e-9) if len(values) > 1 else max(values[0], 1e-9))
    across, up = plot.wide / (span.end - span.start), plot.high / (most - low)
    for number in range(_TICKS + 1):
        value = low + (most - low) * number / _TICKS
        y = plot.y + plot.high - (value - low) * up
        yield f'<path d="M{plot.x} {y:.1f}h{plot.wide:.1f}" stroke="{_PALE}"/>'
        yield _text(plot.x - 6, y + 4, _said(value, panel["unit"]), 9, "end")
        at = span.start + (span.end - span.start) * number / _TICKS
        where = plot.x + plot.wide * number / _TICKS
        yield _text(where, plot.y + plot.high + 14, f"{datetime.fromtimestamp(at, UTC):%H:%M}", 9, "middle")
    for number, points in reversed([*enumerate(curves)]):
        path = " ".join(
            f"{plot.x + (at - span.start) * across:.1f},{plot.y + plot.high - (value - low) * up:.1f}"
            for at, value in points
        )
        colour = _PALETTE[number % len(_PALETTE)]
        yield f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="1.6"/>'
    for number, line in enumerate(shown):
        y = plot.y + plot.high + 30 + 13 * number
        yield f'<rect x="{plot.x}" y="{y - 7:.1f}" width="9" height="9" fill="{_PALETTE[number % len(_PALETTE)]}"/>'
        yield _text(plot.x + 14, y + 1, f"{line.legend}  {_said(line.points[-1][1], panel['unit'])}", 10)


def _stacked(found: list[Line]) -> Iterator[list[tuple[float, float]]]:
    """Put each line on top of those before it."""
    below: dict[float, float] = {}
    for line in found:
        for at, value in line.points:
            below[at] = below.get(at, 0.0) + value
        yield [(at, below[at]) for at, _ in line.points]


def _nice(value: float) -> float:
    """Give a round number that is not smaller."""
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1, 2, 2.5, 5, 10) if step * power >= value * 0.999)


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
            return f"{100 * value:.4g} %"
        case "s" if value >= 2 * 86400:
            return f"{value / 86400:.3g} d"
        case "s" if value >= 2 * 3600:
            return f"{value / 3600:.3g} h"
        case "s":
            return f"{value:.3g} s"
        case "bytes" | "Bps":
            power = max(0, min(4, int(math.log10(max(abs(value), 1)) // 3)))
            return f"{value / 1000**power:.3g} {'kMGT'[power - 1] if power else ''}B{'/s' if unit == 'Bps' else ''}"
        case _:
            return f"{value:.4g}"


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
