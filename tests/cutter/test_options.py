"""The flags of `respool cutter`."""

import re
from pathlib import Path

import click
import pytest

from cutter.main import cli

# Where the default is no value, the page says which one holds.
SPOKEN = {"--name": "the machine's", "--spool-limit": "none", "--metrics-port": "none"}

FLAGS = {param.opts[0]: param for param in cli.params if isinstance(param, click.Option) and param.opts[0] != "--help"}


@pytest.fixture
def reference(root: Path) -> dict[str, tuple[str, str]]:
    """What docs/operating.md says of each flag: its default, and why."""
    page = (root / "docs" / "operating.md").read_text()
    table = page[page.index("## Cutters") :].split("| --- |", 1)[1].split("\n\n", 1)[0]
    return {
        name: (default, why)
        for name, default, why in re.findall(r"^\| `(--[\w-]+)` \| (.+?) \| (.+) \|$", table, re.MULTILINE)
    }


def test_the_reference_has_every_flag_and_default(reference: dict[str, tuple[str, str]]) -> None:
    """Each flag is in docs/operating.md with its default and why, and no other."""
    assert {*reference} == {*FLAGS}
    for name, (shown, why) in reference.items():
        assert why
        option = FLAGS[name]
        default = "required" if option.required else SPOKEN.get(name) or str(option.default)
        assert shown.strip("`") == default, name
