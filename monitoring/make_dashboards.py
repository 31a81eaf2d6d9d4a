"""Make Grafana's dashboards of dashboards.toml: `python monitoring/make_dashboards.py`."""

import json
import tomllib
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
SOURCE = FOLDER / "dashboards.toml"
MADE = FOLDER / "grafana" / "dashboards"

# As Grafana's own documentation of the JSON model has them.
_SCHEMA_VERSION = 39
_DATASOURCE = {"type": "prometheus", "uid": "prometheus"}
_KINDS = {"stat": "stat", "lines": "timeseries", "stacked": "timeseries", "states": "state-timeline"}
_COLUMNS = 24
_RED, _GREEN = "red", "green"

Json = dict[str, Any]


def main() -> None:
    """Write all dashboards."""
    MADE.mkdir(parents=True, exist_ok=True)
    for name, text in dashboards().items():
        (MADE / name).write_text(text)


def dashboards() -> dict[str, str]:
    """Give the JSON of every dashboard by the name of its file."""
    source = tomllib.loads(SOURCE.read_text())
    return {f"{name}.json": f"{json.dumps(dashboard(name, each), indent=1)}\n" for name, each in source.items()}


def dashboard(name: str, source: Json) -> Json:
    """Make Grafana's form of one dashboard."""
    return {
        "uid": f"respool-{name}",
        "title": source["title"],
        "description": source["description"],
        "tags": ["respool"],
        "timezone": "utc",
        "schemaVersion": _SCHEMA_VERSION,
        "refresh": "15s",
        "time": {"from": "now-6h", "to": "now"},
        "templating": {"list": [_variable(*each) for each in source.get("variables", {}).items()]},
        "panels": _panels(source["rows"]),
    }


def _variable(name: str, query: str) -> Json:
    return {
        "name": name,
        "type": "query",
        "datasource": _DATASOURCE,
        "query": {"query": query, "refId": name},
        "refresh": 2,
        "sort": 1,
    }


def _panels(rows: list[Json]) -> list[Json]:
    """Lay the panels out from left to right, each row under a heading of its own."""
    panels: list[Json] = []
    top = 0
    for row in rows:
        place = {"x": 0, "y": top, "w": _COLUMNS, "h": 1}
        panels.append({"id": len(panels) + 1, "type": "row", "title": row["title"], "gridPos": place, "panels": []})
        left = 0
        for each in row["panels"]:
            place = {"x": left, "y": top + 1, "w": each["width"], "h": row["height"]}
            panels.append({"id": len(panels) + 1, "gridPos": place} | _panel(each))
            left += each["width"]
        if left > _COLUMNS:
            raise ValueError(f"The row {row['title']} is wider than {_COLUMNS}.")
        top += 1 + row["height"]
    return panels


def _panel(source: Json) -> Json:
    steps = _steps(source)
    custom = {"fillOpacity": 40, "stacking": {"mode": "normal"}} if source["kind"] == "stacked" else {"fillOpacity": 0}
    return {
        "type": _KINDS[source["kind"]],
        "title": source["title"],
        "description": source.get("description", ""),
        "datasource": _DATASOURCE,
        "targets": [
            {"refId": chr(ord("A") + number), "datasource": _DATASOURCE, "expr": expression, "legendFormat": legend}
            for number, (expression, legend) in enumerate(source["queries"])
        ],
        "fieldConfig": {
            "defaults": {
                "unit": source["unit"],
                "thresholds": {"mode": "absolute", "steps": steps},
                "color": {"mode": "thresholds" if len(steps) > 1 else "palette-classic"},
            }
            | ({"custom": custom} if source["kind"] in {"lines", "stacked"} else {}),
            "overrides": [],
        },
        "options": {"reduceOptions": {"calcs": ["lastNotNull"]}} if source["kind"] == "stat" else {},
    }


def _steps(source: Json) -> list[Json]:
    """Give from which value on a panel is of which colour; the first one holds for all below."""
    if "good" not in source:
        return [{"color": _GREEN, "value": None}]
    good, bad = source["good"], source["bad"]
    below, above = (_GREEN, _RED) if good < bad else (_RED, _GREEN)
    return [{"color": below, "value": None}, {"color": above, "value": max(good, bad)}]


if __name__ == "__main__":
    main()
