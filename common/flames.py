"""A profile as people read it: a flame graph on one page, or its stacks as text. Pure."""

import json
from base64 import b64encode
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import sha256

Stack = tuple[str, ...]


@dataclass(slots=True)
class Cost:
    """How often a stack was seen, and the CPU time in seconds that its thread took for it."""

    looks: int = 0
    cpu_seconds: float = 0.0

    def add(self, other: "Cost") -> None:
        """Take in what another one has."""
        self.looks += other.looks
        self.cpu_seconds += other.cpu_seconds


@dataclass(frozen=True, slots=True)
class Profile:
    """What was seen: each stack as the name of its thread and its functions, outermost first, with its cost.

    `seconds` it took, in so many `looks`; `cpu_seconds` is what the whole process used in that time.
    """

    seconds: float
    looks: int
    cpu_seconds: float
    stacks: Mapping[Stack, Cost]


@dataclass(slots=True)
class _Flame:
    """A function called from those around it, with all that it calls."""

    cost: Cost = field(default_factory=Cost)
    inner: "dict[str, _Flame]" = field(default_factory=dict)

    def add(self, stack: Iterable[str], cost: Cost) -> None:
        flame = self
        flame.cost.add(cost)
        for name in stack:
            flame = flame.inner.setdefault(name, _Flame())
            flame.cost.add(cost)


def folded(profile: Profile, *, waiting: bool = False) -> str:
    """Give a line for each stack, its functions separated by semicolons, and what it cost.

    That is CPU time in microseconds, or if those that are `waiting` are wanted too, how often it was seen. Other tools
    for flame graphs read this form.
    """
    costs = {
        ";".join(name.replace(";", ":") for name in stack): cost.looks if waiting else round(cost.cpu_seconds * 1e6)
        for stack, cost in profile.stacks.items()
    }
    return "".join(f"{stack} {cost}\n" for stack, cost in sorted(costs.items()) if cost)


def page(profile: Profile, template: str, title: str) -> str:
    """Write the page: the template with the profile put in place of `__DATA__`; `title` says of what it is."""
    root = _Flame()
    for stack, cost in profile.stacks.items():
        root.add(stack, cost)
    names: dict[str, int] = {}
    data = {
        "title": title,
        "seconds": round(profile.seconds, 3),
        "looks": profile.looks,
        "cpu": round(profile.cpu_seconds, 6),
        "root": _written("all threads", root, names),
        "names": [*names],
    }
    # within a script nothing but `<` could end it
    return template.replace("__DATA__", json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))


def _written(name: str, flame: _Flame, names: dict[str, int]) -> list[object]:
    """As lists in lists: number of the name, looks, microseconds, and those within by name."""
    number = names.setdefault(name, len(names))
    inner = [_written(each, flame.inner[each], names) for each in sorted(flame.inner)]
    return [number, flame.cost.looks, round(flame.cost.cpu_seconds * 1e6), inner]


def policy(template: str) -> str:
    """Give the Content-Security-Policy of the page: nothing but its own style and its own script."""
    script = template.split("<script>")[1].split("</script>", maxsplit=1)[0]
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return (
        f"default-src 'none'; script-src 'sha256-{digest}'; style-src 'unsafe-inline'; img-src data:; "
        "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
