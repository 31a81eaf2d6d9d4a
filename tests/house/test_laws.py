"""The laws of the house, read from the syntax tree: who may import whom, and how long a thing may be."""

import ast
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

# As the wheel has them; all but these two are services.
PACKAGES: list[str] = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"][
    "wheel"
]["packages"]
SERVICES = sorted({*PACKAGES} - {"common", "respool"})

# The rooms of `common`: each imports only from those above it. The pure ones stand in the order of their imports.
LAYERS: tuple[tuple[str, ...], ...] = (
    ("dateutil",),
    ("segments",),
    ("coverage", "digests", "skew"),
    ("hour_picture", "stretches"),
    ("encoding", "levels", "limits", "nal", "ticks", "transitions"),
    ("codec_strings",),
    ("av1", "avc", "facts", "picture_commands", "sound", "transport"),
    ("full_cut",),
    ("alignment", "pes", "programme"),
    ("scan", "sound_track"),
    ("pieces",),
    ("blends", "crossfades"),
    ("blend_commands", "cuts", "splice"),
    ("events", "lifetimes", "samples"),
    ("addresses", "durable", "errors", "flames", "metrics", "redaction"),
    ("logs", "timed"),
    ("waits",),
    (
        "db",
        "disks",
        "encode_slots",
        "ffmpeg",
        "finished",
        "formats",
        "frame_times",
        "media",
        "remux",
        "sample_files",
        "sampling",
        "store",
        "thumbnails",
        "tokens",
        "web",
    ),
    (
        "clips",
        "coverage_pictures",
        "digest_cache",
        "expired",
        "histories",
        "missing",
        "options",
        "profiling",
        "ranges",
        "recorder_state",
        "recording",
        "service",
        "sidecar",
        "tombstones",
        "verify",
    ),
    ("children", "encodings", "frames", "monitoring", "reading", "status", "waveforms"),
    ("rough",),
    ("smart",),
    ("sample_cuts",),
    ("full", "silences"),
    ("cutting",),
    ("preview",),
)
PURE = {
    "dateutil", "segments", "coverage", "encoding", "levels", "nal", "codec_strings", "ticks", "transitions", "avc",
    "alignment", "facts", "full_cut", "picture_commands", "sound", "transport", "pes", "programme", "scan", "pieces",
    "cuts", "splice", "blend_commands", "blends", "crossfades", "sound_track", "av1", "samples", "skew", "events",
    "digests", "flames", "hour_picture", "lifetimes", "limits", "redaction", "stretches",
}  # fmt: skip
HEIGHT = {name: height for height, layer in enumerate(LAYERS) for name in layer}

# What computes and touches nothing: no clock, disk, network, loop, log. (`datetime` has a clock: see CLOCKS.)
PURE_STDLIB = {
    "__future__", "base64", "binascii", "bisect", "collections", "dataclasses", "datetime", "decimal", "difflib",
    "enum", "fnmatch", "fractions", "functools", "hashlib", "heapq", "itertools", "json", "math", "operator", "re",
    "statistics", "string", "types", "typing",
}  # fmt: skip
CLOCKS = {"now", "today", "utcnow"}
# Whose functions compute and touch nothing either, as far as we use them.
PURE_LIBRARIES = {"ffmpeg", "numpy"}
ACTS = {"open", "print", "input", "exec", "eval", "__import__"}

# A function fits a screen, a module an hour of reading.
MOST_FUNCTION_LINES = 60
MOST_MODULE_LINES = 500


@dataclass(frozen=True, slots=True)
class Import:
    """One imported name: dotted, as far as it is written; `lazy` inside a function."""

    name: str
    lazy: bool

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]


@dataclass(frozen=True, slots=True)
class Module:
    """One source file of ours, parsed."""

    name: str
    path: str
    text: str
    tree: ast.Module

    @property
    def package(self) -> str:
        return self.name.partition(".")[0]

    @property
    def room(self) -> str:
        """The part of the package that it belongs to: `store` for `common.store`; empty for the package itself."""
        return room(self.name)


def room(name: str) -> str:
    return [*name.split("."), ""][1]


def parse(text: str, name: str = "common.example", path: str = "") -> Module:
    return Module(name, path, text, ast.parse(text))


@cache
def modules(*folders: str) -> list[Module]:
    """All source files in `folders`, by default those of the packages."""
    found = [path for folder in folders or PACKAGES for path in sorted((ROOT / folder).rglob("*.py"))]
    paths = [path.relative_to(ROOT) for path in found]
    names = [".".join(path.with_suffix("").parts).removesuffix(".__init__") for path in paths]
    return [parse((ROOT / path).read_text(), name, str(path)) for name, path in zip(names, paths, strict=True)]


def imports(tree: ast.AST, *, lazy: bool = False) -> Iterator[Import]:
    """Every import in `tree`; `from a import b` is `a.b`, since b may be a module."""
    for node in ast.iter_child_nodes(tree):
        match node:
            case ast.Import(names=names):
                yield from (Import(alias.name, lazy) for alias in names)
            case ast.ImportFrom(module=module, names=names):
                yield from (Import(f"{module}.{alias.name}", lazy) for alias in names)
        yield from imports(node, lazy=lazy or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda))


def calls(tree: ast.AST) -> Iterator[tuple[str, int]]:
    """Every call in `tree` as written (`time.sleep`), with its line."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node.lineno


def functions(tree: ast.AST) -> Iterator[ast.FunctionDef | ast.AsyncFunctionDef]:
    """Every function in `tree`, methods and inner ones too."""
    return (node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef))


def broken_borders(module: Module) -> Iterator[str]:
    """Imports that cross from one room of the house into another where there is no door."""
    for used in imports(module.tree):
        if used.package not in PACKAGES or used.package in {module.package, "common"}:
            continue
        if module.package == "respool" and used.package in SERVICES and used.lazy:
            continue
        yield f"{module.path} imports {used.name}: services meet through disk, database and HTTP"


def broken_layers(module: Module) -> Iterator[str]:
    """Imports inside `common` that do not run downwards, and rooms that have no place in the order."""
    if module.package != "common" or not module.room:
        return
    if module.room not in HEIGHT:
        yield f"{module.path} has no place in LAYERS"
        return
    for used in imports(module.tree):
        if used.package != "common" or room(used.name) == module.room:
            continue
        if HEIGHT.get(room(used.name), len(LAYERS)) >= HEIGHT[module.room]:
            yield f"{module.path} imports {used.name}, which does not lie below it"


def broken_purity(module: Module) -> Iterator[str]:
    """What a pure module of `common` may not use: I/O, clocks, nearly all of other people's libraries."""
    if module.package != "common" or module.room not in PURE:
        return
    for used in imports(module.tree):
        if used.package not in PURE_STDLIB | PURE_LIBRARIES | {"common"}:
            yield f"{module.path} imports {used.name}, and is pure"
    for call, line in calls(module.tree):
        if call in ACTS or call.rpartition(".")[2] in CLOCKS:
            yield f"{module.path}:{line} calls {call}, and is pure"


def broken_lengths(module: Module) -> Iterator[str]:
    """Modules and functions that are too long."""
    if (lines := module.text.count("\n")) > MOST_MODULE_LINES:
        yield f"{module.path} has {lines} lines, more than {MOST_MODULE_LINES}"
    for function in functions(module.tree):
        lines = (function.end_lineno or function.lineno) - function.lineno + 1
        if lines > MOST_FUNCTION_LINES:
            yield f"{module.path}:{function.lineno} {function.name} has {lines} lines, more than {MOST_FUNCTION_LINES}"


def missing_promise(module: Module) -> Iterator[str]:
    """Modules without a docstring."""
    if not ast.get_docstring(module.tree):
        yield f"{module.path} has no docstring"


def sleeps(module: Module) -> Iterator[str]:
    """Waits that no stop event ends."""
    for call, line in calls(module.tree):
        if call == "time.sleep":
            yield f"{module.path}:{line} sleeps; wait for what is awaited, or for the stop event"
    if any(used.name == "time.sleep" for used in imports(module.tree)):
        yield f"{module.path} imports sleep"


def private_metrics(module: Module) -> Iterator[str]:
    """Metrics that common.metrics knows nothing of, and nobody else then."""
    if any(used.package == "prometheus_client" for used in imports(module.tree)) and module.name != "common.metrics":
        yield f"{module.path} imports prometheus_client; common.metrics makes metrics"


def silent_tests(module: Module) -> Iterator[str]:
    """Tests without a docstring."""
    for function in functions(module.tree):
        if function.name.startswith("test_") and not ast.get_docstring(function):
            yield f"{module.path}:{function.lineno} {function.name} has no docstring"


Law = Callable[[Module], Iterator[str]]
LAWS: list[Law] = [
    broken_borders,
    broken_layers,
    broken_purity,
    broken_lengths,
    missing_promise,
    sleeps,
    private_metrics,
]


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.__name__)
def test_packages_keep_the_law(law: Law) -> None:
    """No module of the packages breaks the law."""
    faults = [fault for module in modules() for fault in law(module)]
    assert not faults, "\n".join(faults)


def test_tests_do_not_sleep() -> None:
    """No test waits by sleeping."""
    faults = [fault for module in modules("tests") for fault in sleeps(module)]
    assert not faults, "\n".join(faults)


def test_every_test_says_what_it_shows() -> None:
    """Each test's docstring is one sentence of behaviour."""
    faults = [fault for module in modules("tests") for fault in silent_tests(module)]
    assert not faults, "\n".join(faults)


def test_imports_run_in_no_circle() -> None:
    """No module needs itself to be imported first, by whatever detour."""
    known = {module.name for module in modules()}
    graph = {m.name: {target(used.name, known) for used in imports(m.tree) if not used.lazy} - {""} for m in modules()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" <- ".join(error.args[1]))


def target(name: str, known: set[str]) -> str:
    """Our module that importing `name` loads: itself, or what it is an attribute of; empty for other people's."""
    return next((module for module in (name, name.rpartition(".")[0]) if module in known), "")


def test_every_package_is_in_the_wheel() -> None:
    """The list in pyproject.toml names every package of the repository, and only those."""
    assert sorted(PACKAGES) == sorted({path.parent.name for path in ROOT.glob("*/__init__.py")} - {"bench"})


@pytest.mark.parametrize(
    ("law", "name", "text"),
    [
        (broken_borders, "cutter.main", "import downloader.main"),
        (broken_borders, "cutter.main", "def f():\n    from editor import main"),
        (broken_borders, "common.store", "from restreamer import playlist"),
        (broken_borders, "common.store", "import respool"),
        (broken_borders, "respool.main", "import downloader"),
        (broken_layers, "common.segments", "from common import coverage"),
        (broken_layers, "common.logs", "import common.store"),
        (broken_layers, "common.store", "from common.db import pool"),
        (broken_layers, "common.utils", ""),
        (broken_purity, "common.coverage", "import os"),
        (broken_purity, "common.coverage", "import structlog"),
        (broken_purity, "common.dateutil", "datetime.datetime.now(UTC)"),
        (broken_purity, "common.segments", "open('x')"),
        (broken_lengths, "common.store", "x = 1\n" * (MOST_MODULE_LINES + 1)),
        (broken_lengths, "common.store", "async def f():\n" + "    x = 1\n" * MOST_FUNCTION_LINES),
        (missing_promise, "common.store", "x = 1"),
        (sleeps, "common.store", "import time\ntime.sleep(1)"),
        (sleeps, "common.store", "from time import sleep"),
        (private_metrics, "common.store", "from prometheus_client import Counter"),
        (silent_tests, "tests.common.test_store", "async def test_x():\n    pass"),
    ],
)
def test_laws_see_what_breaks_them(law: Law, name: str, text: str) -> None:
    """Each law finds the fault in a module that breaks it."""
    assert len(list(law(parse(text, name)))) == 1


@pytest.mark.parametrize(
    ("law", "name", "text"),
    [
        (broken_borders, "respool.main", "from common import logs\ndef up():\n    from downloader import main"),
        (broken_borders, "cutter.main", "import asyncio\nfrom cutter import states\nfrom common.store import Store"),
        (broken_layers, "common.coverage", "from common import segments\nfrom common.dateutil import parse"),
        (broken_layers, "common.media.probe", "from common.media.run import run\nfrom common import segments"),
        (
            broken_purity,
            "common.cuts",
            "from collections.abc import Iterator\nfrom common.coverage import Hole",
        ),
        (broken_purity, "common.store", "import os"),
        (broken_lengths, "common.store", "x = 1\n" * MOST_MODULE_LINES),
        (sleeps, "common.store", "import asyncio\nasyncio.sleep(0)"),
    ],
)
def test_laws_leave_the_honest_alone(law: Law, name: str, text: str) -> None:
    """No law finds fault with a module that keeps it."""
    assert list(law(parse(text, name))) == []
