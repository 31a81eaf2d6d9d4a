"""`respool node`: which nodes there are, and what either side lacks."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from other_nodes import Node, node
from respool.main import cli

# What no test may ask.
NO_DATABASE = "postgresql://127.0.0.1:1/none"


@pytest.fixture
async def other(tmp_path: Path) -> AsyncIterator[Node]:
    async with node(tmp_path / "other") as found:
        yield found


@pytest.fixture
def here(tmp_path: Path) -> Node:
    return Node.at(tmp_path / "here")


def run(*arguments: str, dsn: str = NO_DATABASE) -> Result:
    return CliRunner().invoke(cli, ["node", *arguments], env={"RESPOOL_DATABASE": dsn}, catch_exceptions=False)


def test_nodes_are_added_listed_and_removed(postgres_dsn: str) -> None:
    """A node is there when it was added, at the address that was said last, until it is removed."""
    assert run("list", dsn=postgres_dsn).stdout == "There are no nodes.\n"
    run("add", "one", "http://ONE:8000/", dsn=postgres_dsn)
    assert run("add", "one", "https://two/prefix/", dsn=postgres_dsn).stdout == "one is a node at https://two/prefix.\n"
    assert run("list", dsn=postgres_dsn).stdout == "one  https://two/prefix  never announced\n"
    [row] = json.loads(run("list", "--json", dsn=postgres_dsn).stdout)
    assert row == {"name": "one", "url": "https://two/prefix", "last_seen": None}
    assert run("remove", "one", dsn=postgres_dsn).exit_code == 0
    assert "There is no node 'one'" in run("remove", "one", dsn=postgres_dsn).stderr
    assert "must be an http or https URL" in run("add", "one", "ftp://x", dsn=postgres_dsn).stderr


async def test_status_tells_what_either_side_lacks(here: Node, other: Node) -> None:
    """What is missing here and what is missing there is told by quality, as segments and as time."""
    for each in (here, other):
        each.record(0)
    here.record(2)
    other.record(4)
    other.record(7200)
    arguments = ("status", other.url, "http://127.0.0.1:1", "--base-dir", str(here.store.base))
    shown = (await asyncio.to_thread(run, *arguments)).stdout
    assert shown.splitlines()[:3] == [
        f"{other.url}  answers",
        "  missing here   chan/source  2 segments, 0:00:04",
        "  missing there  chan/source  1 segment, 0:00:02",
    ]
    assert "http://127.0.0.1:1  It cannot be reached" in shown
    told = json.loads((await asyncio.to_thread(run, *arguments, "--json")).stdout)
    assert told[0]["missing_here"] == {"chan/source": {"segments": 2, "seconds": 4.0}}
    assert told[1]["fault"].startswith("It cannot be reached")


async def test_status_of_nodes_that_are_alike(here: Node, other: Node, postgres_dsn: str) -> None:
    """Of the nodes of the database it is told, too, that nothing is missing; an unknown one is named."""
    run_node = asyncio.to_thread
    await run_node(lambda: run("add", "them", other.url, dsn=postgres_dsn))
    arguments = ("--base-dir", str(here.store.base))
    shown = await run_node(lambda: run("status", *arguments, dsn=postgres_dsn))
    assert shown.stdout == f"them  {other.url}  answers; neither side lacks anything\n"
    shown = await run_node(lambda: run("status", "who", *arguments, dsn=postgres_dsn))
    assert "There is no node 'who'" in shown.stderr
