"""An older node's answers, as they were recorded: what it has comes here."""

import pytest

from hls_origin import Origin, typed
from older_node import exchanges
from other_nodes import Fill, Hire, Node


@pytest.fixture
def recorded(origin: Origin) -> Node:
    """Give the node that answers as was recorded."""
    answers = {each.path: each for each in exchanges() if each.status == 200}
    for path, each in answers.items():
        plain, _, query = path.partition("?")
        if query or f"{path}?tombstones=true" not in answers:
            origin.put(plain, typed(each.wire(), each.headers["Content-Type"]))
    return Node.elsewhere(origin.base)


async def test_what_an_older_node_has_is_fetched(here: Node, recorded: Node, fill: Fill) -> None:
    """Its segments are here after a pass, under the very names that it gives them, and what it hides is hidden."""
    done = await fill(recorded)
    listed = {
        f"{each.path.removeprefix('/files/').partition('?')[0]}/{name}"
        for each in exchanges()
        if each.path.startswith("/files/chan/source/20")
        for name in each.body
    }
    hidden = {name.removesuffix(".tombstone") for name in listed if name.endswith(".tombstone")}
    wanted = {name for name in listed if "-temp-" not in name and name.removesuffix(".ts") not in hidden}
    assert done.failed.total() == 0
    assert here.names() == wanted


async def test_older_node_is_left_alone_afterwards(recorded: Node, origin: Origin, hire: Hire) -> None:
    """A second pass asks for its channels, qualities and hours, and for no hour of long ago again."""
    worker = hire(recorded)
    await worker.go_through()
    origin.requests.clear()
    await worker.go_through()
    assert [path for path in origin.requests if path.count("/") > 3] == []
