"""`respool status` of several nodes: each is asked, and those that do not answer are told apart."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from aiohttp import web
from click.testing import CliRunner, Result
from structlog.testing import capture_logs

from common.recorder_state import RecorderFile, RecorderState
from common.recording import SegmentWriter
from common.segments import SegmentType
from common.store import Store
from common.tokens import TokenFile
from common.web import serving
from respool.status import cli
from respool.status_of_nodes import condensed
from restreamer.main import make_app

SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Node:
    """A restreamer that answers."""

    url: str
    store: Store

    @property
    def name(self) -> str:
        return self.url.partition("://")[2]


def record(store: Store, quality: str, *numbers: int) -> None:
    """Record segments of two seconds, the last of which has just ended if it is number 9."""
    start = datetime.now(UTC) - 20 * SECOND
    for number in numbers:
        writer = SegmentWriter(store, "chan", quality, start + 2 * number * SECOND, 2 * SECOND)
        writer.write(f"{quality}{number}".encode())
        writer.commit(SegmentType.FULL)


@pytest.fixture(autouse=True)
def logs() -> Iterator[None]:
    """What nodes and database log is no output of the command: as a command it has its own."""
    with capture_logs():
        yield


@pytest.fixture
async def nodes(tmp_path: Path) -> AsyncIterator[tuple[Node, Node]]:
    """Two nodes: one has all, the other lacks a segment and records a quality more."""
    stores = [Store(tmp_path / name) for name in ("one", "other")]
    record(stores[0], "source", *range(10))
    record(stores[1], "source", *range(5), *range(6, 10))
    record(stores[1], "720p", *range(10))
    recorder = RecorderFile(stores[0], "chan", "source")
    recorder.write(RecorderState(recording=True, since=datetime.now(UTC) - 60 * SECOND))
    async with AsyncExitStack() as stack:
        ports = [await stack.enter_async_context(serving(make_app(store), "127.0.0.1", 0)) for store in stores]
        one, other = (Node(f"http://127.0.0.1:{port}", s) for port, s in zip(ports, stores, strict=True))
        yield one, other
    recorder.close()


async def status(*arguments: str) -> Result:
    """Run the command, in a thread: its servers are in this loop."""
    return await asyncio.to_thread(CliRunner().invoke, cli, list(arguments))


async def found(*arguments: str) -> dict[str, Any]:
    result = await status(*arguments, "--json")
    assert result.exit_code == 0, result.output
    answer: dict[str, Any] = json.loads(result.stdout)
    return answer


def given(*urls: str) -> list[str]:
    return [word for url in urls for word in ("--node", url)]


async def test_each_quality_of_each_node_is_a_line(nodes: tuple[Node, Node]) -> None:
    """The same quality of two nodes stands together; shares, what is missing, and a picture of the last hours."""
    one, other = nodes
    result = await status(*given(one.url, other.url))
    assert result.exit_code == 0, result.output
    head, *lines = result.stdout.splitlines()
    assert head.split()[:6] == ["node", "recorder", "newest", "hour", "day", "last"]
    first, second, third = lines[:3]
    assert first.split()[:3] == ["chan/720p", other.name, "unknown"]
    assert (second.split()[0], third.split()[0]) == ("chan/source", "chan/source")
    by_node = {line.split()[1]: line for line in (second, third)}
    assert by_node[one.name].split()[2] == "recording"
    assert by_node[one.name].split()[5:8] == ["100%", "100%", "█"]
    assert "90.0%" in by_node[other.name]
    assert by_node[other.name].endswith("unknown 2.0 s")
    assert "▒" in by_node[other.name]
    assert f"node  {one.name} at {one.url}: version " in result.stdout
    assert " free\n" in result.stdout
    assert lines[-1].startswith("█ complete")


async def test_a_node_that_is_away_is_named(nodes: tuple[Node, Node]) -> None:
    """One that does not answer, or answers something else, is a line with the reason; the others are shown."""
    one, _ = nodes
    async with serving(web.Application(), "127.0.0.1", 0) as strange:
        away = "http://127.0.0.1:9"
        result = await status(*given(one.url, away, f"http://127.0.0.1:{strange}"))
        told = await found(*given(away, one.url))
    assert result.exit_code == 0
    assert "chan/source" in result.stdout
    assert f"node  127.0.0.1:9 at {away} cannot be reached (" in result.stdout
    assert "does not tell its status: it is of an older version, or no node\n" in result.stdout
    (gone, there) = told["nodes"]
    assert gone["error"].startswith("cannot be reached")
    assert gone["recordings"] is None
    assert (there["error"], [each["quality"] for each in there["recordings"]]) == (None, ["source"])
    result = await status(*given(away))
    assert result.exit_code == 1
    assert result.output.endswith("Error: No node has answered.\n")


BAD = [
    "", "[]", "{}", '{"recordings": 1}', '{"recordings": [{}]}', "[" * 20_000, '{"recordings": [{"channel": 1}]}',
    json.dumps({"recordings": [{
        "channel": "c", "quality": "q", "recorder": "r", "lag_seconds": 1e300, "last_hour": {"covered": 1},
        "last_day": {"covered": 1, "missing_seconds": {}}, "picture": [],
    }]}),
]  # fmt: skip


@pytest.mark.parametrize("body", BAD)
async def test_what_is_no_status_is_told(body: str) -> None:
    """Whatever a node answers, the command says that it is none."""

    async def answer(_: web.Request) -> web.Response:
        return web.Response(text=body)

    app = web.Application()
    app.router.add_get("/status", answer)
    async with serving(app, "127.0.0.1", 0) as port:
        result = await status(*given(f"http://127.0.0.1:{port}"))
    assert " answers something that is no status\n" in result.output
    assert "Traceback" not in result.output


async def test_what_a_node_says_does_not_command_the_terminal() -> None:
    """Control characters in an answer are not printed."""
    line = {
        "channel": "c\x1b[2J", "quality": "q", "recorder": "r\x07", "lag_seconds": 1, "last_hour": {"covered": 7},
        "last_day": {"covered": -1, "missing_seconds": {"why\r": 2}}, "picture": [{"cells": "\x1b[0m"}],
    }  # fmt: skip

    async def answer(_: web.Request) -> web.Response:
        return web.json_response({"version": "\x1b]0;x\x07", "recordings": [line], "disk": {"free_bytes": "x"}})

    app = web.Application()
    app.router.add_get("/status", answer)
    async with serving(app, "127.0.0.1", 0) as port:
        result = await status(*given(f"http://127.0.0.1:{port}"))
    assert "c?[2J/q" in result.stdout
    assert not {"\x1b", "\x07", "\r"} & {*result.stdout}
    assert "its disk is unknown" in result.stdout


async def test_a_token_is_shown(tmp_path: Path) -> None:
    """A node that wants a token gets the first of the file, is told to want one without, and redirects get none."""
    tokens = tmp_path / "tokens"
    tokens.write_text("# ours\nsecret-1\nsecret-2\n")
    store = Store(tmp_path / "base")
    record(store, "source", 9)
    seen: list[str | None] = []

    async def elsewhere(request: web.Request) -> web.Response:
        seen.append(request.headers.get("Authorization"))
        return web.json_response({"recordings": []})

    async def redirect(_: web.Request) -> web.Response:
        raise web.HTTPFound("/elsewhere")

    other = web.Application()
    other.add_routes([web.get("/elsewhere", elsewhere), web.get("/status", redirect)])
    async with (
        serving(make_app(store, tokens=TokenFile(tokens)), "127.0.0.1", 0) as port,
        serving(other, "127.0.0.1", 0) as third,
    ):
        urls = given(f"http://127.0.0.1:{port}", f"http://127.0.0.1:{third}")
        assert "chan/source" in (await status(*urls, "--token-file", str(tokens))).stdout
        assert "wants a token: name the file that has it with --token-file\n" in (await status(*urls)).stdout
    assert seen == []
    missing = await status(*urls, "--token-file", str(tmp_path / "none"))
    assert missing.output.startswith("Error: The tokens in ")


async def test_the_database_names_nodes_and_tells_of_events(nodes: tuple[Node, Node], postgres_dsn: str) -> None:
    """Nodes are those that are announced; events under way, those with an error, and what waits for a location."""
    one, other = nodes
    database = await asyncpg.connect(postgres_dsn)
    await database.execute(
        "INSERT INTO nodes (name, url, last_seen) VALUES ('alpha', $1, now()), ('beta', 'http://127.0.0.1:9', now())",
        one.url,
    )
    await database.execute("INSERT INTO events (state, description) VALUES ('UNEDITED', 'one'), ('UNEDITED', 'two')")
    await database.execute("UPDATE events SET error = 'No.' WHERE description = 'two'")
    await database.execute(
        """
        INSERT INTO events (state, description, channel, quality, ranges, title, upload_location, spool)
        SELECT 'EDITED', 'three', 'chan', 'source', ARRAY[(now() - interval '20 s', now())::video_range], 'title',
            'nowhere', NULL
        """
    )
    await database.close()
    result = await status("--database", postgres_dsn, *given(other.url))
    assert result.exit_code == 0, result.output
    assert {line.split()[1] for line in result.stdout.splitlines() if line.startswith("chan/source")} == {
        "alpha",
        other.name,
    }
    assert "node  beta at http://127.0.0.1:9 cannot be reached" in result.stdout
    assert "; last seen " in result.stdout
    assert "events  UNEDITED: 2, 1 with an error\n" in result.stdout
    assert "location  nowhere: 0 finished videos wait; no cutter that runs knows this location\n" in result.stdout
    told = await found("--database", postgres_dsn)
    assert [node["name"] for node in told["nodes"]] == ["alpha", "beta"]
    assert {"state": "UNEDITED", "events": 2, "refused": 1} in told["events"]
    assert told["locations"] == [{"name": "nowhere", "waiting": 0, "known": False}]


async def test_channels_may_be_named(nodes: tuple[Node, Node]) -> None:
    """C and C/Q choose what is shown; what no node has is a sentence."""
    urls = given(*(node.url for node in nodes))
    told = await found(*urls, "chan/720p")
    assert [[each["quality"] for each in node["recordings"]] for node in told["nodes"]] == [[], ["720p"]]
    result = await status(*urls, "hall")
    assert (result.exit_code, result.output) == (1, "Error: No node has anything of hall.\n")


async def test_mistakes_are_told(postgres_dsn: str) -> None:
    """An address that is none, and a database that is away or names no node, are a sentence."""
    result = await status("--node", "file:///etc/passwd")
    assert result.output == "Error: The address of a node must be an http or https URL, such as http://host:8000.\n"
    result = await status("--database", "postgresql://127.0.0.1:9/none")
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert (await status("--database", postgres_dsn)).output == (
        "Error: The database names no node; name one with --node.\n"
    )


async def test_a_running_database_names_the_nodes(nodes: tuple[Node, Node], postgres_server: str) -> None:
    """With `--data` the database in that folder is asked while it runs; if it names no node, the store is read."""
    data = Path(postgres_server.partition("host=")[2].partition("&")[0]).parent
    record(Store(data / "segments"), "source", *range(9))
    assert (await status("--data", str(data))).stdout.startswith("chan/source  no recorder has left word here")
    database = await asyncpg.connect(postgres_server)
    await database.execute("INSERT INTO nodes (name, url) VALUES ('alpha', $1)", nodes[0].url)
    try:
        assert "node  alpha at http://" in (await status("--data", str(data))).stdout
        assert "no recorder has left word" in (await status("--base-dir", str(data / "segments"))).stdout
    finally:
        await database.execute("DELETE FROM nodes")
        await database.close()


def test_minutes_are_condensed() -> None:
    """A character stands for six minutes: empty only if all of it is, else the worst that it holds."""
    assert condensed("█" * 6 + "·" * 6 + "·█████" + "▒█████" + "▓█████" + "      " + " █████") == "█·▒▒▓ █"
    assert condensed(" " * 60 + "█" * 60 + " " * 60) == "█" * 10
