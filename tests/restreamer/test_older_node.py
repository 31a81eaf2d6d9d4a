"""An older node asks us what it asks its like, and finds what it would find there."""

from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
from aiohttp import ClientSession
from yarl import URL

from common.store import Store
from common.web import serving
from older_node import Exchange, asks_as, exchanges
from restreamer.main import make_app

# What we have instead of a 404; an older node never asks for it.
OURS = "/digests"
EXCHANGES = [each for each in exchanges() if not each.path.startswith(OURS)]


@pytest.fixture
async def node(store: Store) -> AsyncIterator[URL]:
    """Give the address of a node with what the older one had."""
    for each in EXCHANGES:
        path = store.base / urlsplit(each.path).path.removeprefix("/segments/").removeprefix("/files/")
        if each.path.startswith("/segments/") and each.status == 200:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(str(each.body))
        for name in each.body if "tombstones" in each.path else ():
            path.mkdir(parents=True, exist_ok=True)
            (path / name).touch()
    async with serving(make_app(store, extra_folders=["faces"]), "127.0.0.1", 0) as port:
        yield URL(f"http://127.0.0.1:{port}")


@pytest.mark.parametrize("recorded", EXCHANGES, ids=lambda each: each.path[-40:])
async def test_an_older_node_finds_what_it_asks_for(node: URL, recorded: Exchange) -> None:
    """Each of its requests is answered as its like did: lists as bare JSON, files as they are, 404 for all else.

    Its lists are in no order, and have what is being written, which ours leave out.
    """
    async with (
        ClientSession(headers=asks_as()) as client,
        client.get(URL(f"{node}{recorded.path}", encoded=True)) as response,
    ):
        assert response.status == recorded.status
        if response.status == 404:
            return
        if isinstance(recorded.body, str):
            assert await response.text() == recorded.body
        else:
            assert await response.json() == sorted(name for name in recorded.body if "-temp-" not in name)
