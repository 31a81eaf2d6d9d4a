"""Bring the tables of docs/metrics.md up to date with what the services expose; --check only says whether they are.

.venv/bin/python docs/list_metrics.py [--check]
"""

import json
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from common.metrics import Metric

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs" / "metrics.md"

# What stands between these two lines is made here.
BEGIN, END = "<!-- made by list_metrics.py -->", "<!-- until here -->"

# All that a service can expose, it has made when it is imported with what serves its metrics, which some load late.
_CHILD = """
import dataclasses, importlib, json, sys
importlib.import_module(sys.argv[1] + ".main")
importlib.import_module("common.monitoring")
from common.metrics import made
print(json.dumps([dataclasses.asdict(metric) for metric in made()]))
"""


def services() -> list[str]:
    """Name the services that there are: packages with a command."""
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    packages = {*build["targets"]["wheel"]["packages"]} - {"common", "respool"}
    return sorted(name for name in packages if (ROOT / name / "main.py").is_file())


def exposed(service: str) -> list[Metric]:
    """Give the metrics that a service makes, asked in a process of its own."""
    command = [sys.executable, "-P", "-c", _CHILD, service]
    found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return [Metric(**{**each, "labels": tuple(each["labels"])}) for each in found]


def tables(found: Mapping[str, list[Metric]]) -> Iterator[str]:
    """Write the tables, line by line: what all have, what some have, what is of one service alone."""
    owners: dict[Metric, list[str]] = {}
    for service, metrics in found.items():
        for metric in metrics:
            owners.setdefault(metric, []).append(service)
    everywhere = [*found]
    yield from _table("Of every service", [metric for metric, of in owners.items() if of == everywhere])
    some = {metric: of for metric, of in owners.items() if of != everywhere and len(of) > 1}
    yield from _table("Of several services", some, some)
    for service in found:
        yield from _table(f"Of the {service}", [metric for metric, of in owners.items() if of == [service]])


def _table(
    title: str, metrics: Mapping[Metric, object] | list[Metric], owners: Mapping[Metric, list[str]] | None = None
) -> Iterator[str]:
    if not metrics:
        return
    column, rule = (" of |", " --- |") if owners is not None else ("", "")
    yield from (
        f"## {title}",
        "",
        f"| metric | type | labels |{column} what it says |",
        f"| --- | --- | --- |{rule} --- |",
    )
    for metric in sorted(metrics):
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        of = f" {', '.join(owners[metric])} |" if owners is not None else ""
        yield f"| `{metric.name}` | {metric.kind} | {labels} |{of} {metric.text} |"
    yield ""


def main() -> None:
    """Do as the docstring above says."""
    with ThreadPoolExecutor() as threads:
        names = services()
        found = dict(zip(names, threads.map(exposed, names), strict=True))
    text = PAGE.read_text(encoding="utf-8")
    before, _, rest = text.partition(BEGIN)
    after = rest.partition(END)[2]
    new = "\n".join([f"{before}{BEGIN}", "", *tables(found), f"{END}{after}"])
    if "--check" not in sys.argv[1:]:
        PAGE.write_text(new, encoding="utf-8")
    elif new != text:
        sys.exit("docs/metrics.md is not what the services expose: run .venv/bin/python docs/list_metrics.py")


if __name__ == "__main__":
    main()
