"""Other nodes' times against ours, told by the content that both have."""

import hashlib
import json
from datetime import timedelta
from pathlib import Path

import pytest
from aiohttp import ClientSession

from common.recording import SegmentWriter
from common.segments import SegmentType, content_hash, make_segment
from common.store import Store
from common.tokens import TokenFile
from downloader.nodes import Nodes
from hls_origin import NOON, Answer, Origin, hangs_up, status
from log_events import LogEvents

SECOND = timedelta(seconds=1)
THEIRS = "/files/chan/source/2026-03-01T12"


@pytest.fixture
def nodes(store: Store, origin: Origin) -> Nodes:
    for number in range(4):
        writer = SegmentWriter(store, "chan", "source", NOON + 2 * number * SECOND, 2 * SECOND)
        writer.write(str(number).encode())
        writer.commit(SegmentType.FULL)
    origin.put("/files/chan/source/2026-03-01T11", "[]")
    return Nodes([origin.url("/")], store, [("chan", "source")])


def listing(later: float) -> str:
    """What a node lists that has the same, later by so many seconds."""
    hashes = [content_hash(hashlib.sha256(str(number).encode()).digest()) for number in range(4)]
    starts = [NOON + (2 * number + later) * SECOND for number in range(4)]
    names = [make_segment(s, 2 * SECOND, SegmentType.FULL, h).name for s, h in zip(starts, hashes, strict=True)]
    return json.dumps(names)


async def test_skew_is_told_once_and_its_end(
    nodes: Nodes, origin: Origin, session: ClientSession, events: LogEvents
) -> None:
    """A node whose times differ by more than a tenth of a second is told, and when it agrees again."""
    for later in (0.0, 0.3, 0.4, 0.05):
        origin.put(THEIRS, listing(later))
        await nodes.compare(session, NOON + 10 * SECOND)
    (skewed,) = await events.wait("node_skewed")
    assert (skewed["node"], skewed["channel"], skewed["seconds"]) == (origin.url("/"), "chan", 0.3)
    (agrees,) = await events.wait("node_agrees")
    assert agrees["seconds"] == 0.05


@pytest.mark.parametrize("answer", [status(500), hangs_up, "{}", "[1]", "[", "[" * 100_000])
async def test_node_that_does_not_answer_is_told_once(
    nodes: Nodes, origin: Origin, session: ClientSession, events: LogEvents, answer: Answer | str
) -> None:
    """Whatever a node answers is no matter for the recording."""
    origin.put(THEIRS, answer)
    for _ in range(2):
        await nodes.compare(session, NOON + 10 * SECOND)
    origin.put(THEIRS, listing(0))
    await nodes.compare(session, NOON + 10 * SECOND)
    assert len(events.of("node_not_asked")) == 1


async def test_node_without_common_content_says_nothing(
    nodes: Nodes, origin: Origin, session: ClientSession, events: LogEvents
) -> None:
    """A node that has nothing of what we have is no skew."""
    origin.put(THEIRS, json.dumps(["00:00.000000-2.0-full-other.ts", "x"]))
    await nodes.compare(session, NOON + 10 * SECOND)
    assert events.all == []


async def test_a_node_is_shown_the_token_that_it_asks_for(
    nodes: Nodes, origin: Origin, session: ClientSession, tmp_path: Path
) -> None:
    """The first token of the file is sent, as it is now."""
    origin.put(THEIRS, listing(0))
    path = tmp_path / "tokens"
    path.write_text("one\ntwo\n")
    nodes.tokens = TokenFile(path)
    await nodes.compare(session, NOON + 10 * SECOND)
    path.write_text("# new\nthe-next\n")
    await nodes.compare(session, NOON + 10 * SECOND)
    assert [headers["Authorization"] for headers in origin.headers] == ["Bearer one"] * 2 + ["Bearer the-next"] * 2
