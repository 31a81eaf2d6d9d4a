"""Grafana's dashboards, and the source that they are made of."""

import json
import re
import sys
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture
def make_dashboards(root: Path) -> ModuleType:
    spec = spec_from_file_location("make_dashboards", root / "monitoring" / "make_dashboards.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def test_dashboards_are_those_of_their_source(make_dashboards: ModuleType) -> None:
    """What Grafana is given has been made of dashboards.toml as it is now."""
    made = {path.name: path.read_text() for path in make_dashboards.MADE.glob("*.json")}
    assert made == make_dashboards.dashboards(), "Run python monitoring/make_dashboards.py."


def test_panels_do_not_overlap(make_dashboards: ModuleType) -> None:
    """Each panel has a place of its own within the width of a page."""
    for text in make_dashboards.dashboards().values():
        taken: set[tuple[int, int]] = set()
        for panel in json.loads(text)["panels"]:
            place = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(place["x"], place["x"] + place["w"])
                for y in range(place["y"], place["y"] + place["h"])
            }
            assert not cells & taken, panel["title"]
            assert place["x"] + place["w"] <= 24
            taken |= cells


def test_panels_ask_for_what_there_is(make_dashboards: ModuleType, root: Path) -> None:
    """Every metric in a panel is one that some service shows, or that a rule makes."""
    known = set(re.findall(r"^\| `(respool_\w+)`", (root / "docs" / "metrics.md").read_text(), re.MULTILINE))
    known |= {f"{name}_{end}" for name in known for end in ("bucket", "sum", "count")}
    made = set(re.findall(r"record: (\S+)", (root / "monitoring" / "rules" / "recording.yml").read_text()))
    for name, text in make_dashboards.dashboards().items():
        for panel in json.loads(text)["panels"]:
            for target in panel.get("targets", []):
                asked = {*re.findall(r"\b[a-z_]*:?respool_[a-z0-9_:]+", target["expr"])}
                assert asked <= known | made, f"{name}: {panel['title']}"
