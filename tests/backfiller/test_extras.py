"""What is beside the segments: extra folders and kept playlists."""

import asyncio
import json
from pathlib import Path

import pytest

from backfiller.extras import fetch_extras, fetch_histories
from backfiller.main import Config, run
from backfiller.outcomes import NodeError
from backfiller.peer import Peer
from backfiller.wire import Line
from common import histories
from common.tokens import TokenFile
from hls_origin import Origin, status
from other_nodes import NOON, Node, node


@pytest.fixture
def peer(origin: Origin):  # type: ignore[no-untyped-def]  # noqa: ANN201
    peer = Peer(origin.base, Line())
    yield peer
    peer.close()


async def test_extra_folders_are_fetched_whole(here: Node, tmp_path: Path) -> None:
    """Of the folders that are named all files come, and what is here is left as it is."""
    async with node(tmp_path / "other", extras=["faces"]) as other:
        for path in ("faces/one.png", "faces/deep/two.png", "faces/here.png", "faces/.hidden", "private/x"):
            file = other.store.base / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(path)
        (here.store.base / "faces").mkdir()
        (here.store.base / "faces/here.png").write_text("ours")
        config = Config(here.store.base, nodes=(other.url,), extras=("faces", "private"), run_once=True)
        await run(config, asyncio.Event())
    found = {path.relative_to(here.store.base).as_posix(): path.read_text() for path in here.store.base.rglob("*.png")}
    assert found == {
        "faces/one.png": "faces/one.png",
        "faces/deep/two.png": "faces/deep/two.png",
        "faces/here.png": "ours",
    }
    assert {path.name for path in here.store.base.rglob("*")} == {"faces", "deep", "one.png", "two.png", "here.png"}
    assert (here.store.base / "faces/one.png").stat().st_mode & 0o777 == 0o644


async def test_extras_never_lead_out_of_their_folder(here: Node, origin: Origin, peer: Peer, tmp_path: Path) -> None:
    """Names that climb, hidden ones and links out of the folder are passed over."""
    (here.store.base / "faces").mkdir()
    (here.store.base / "faces/link").symlink_to(tmp_path)
    names = ["../x", "/x", "a/../../x", ".hidden", "", "a//b", "link/x", "good"]
    origin.put("/extras/faces", json.dumps(names))
    for name in names:
        origin.put(f"/segments/faces/{name}", b"data")
    assert await asyncio.to_thread(fetch_extras, peer, "faces", here.store) == 1
    assert sorted(path.name for path in (here.store.base / "faces").iterdir()) == ["good", "link"]
    assert not (tmp_path / "x").exists()


async def test_extra_that_breaks_off_leaves_nothing(here: Node, origin: Origin, peer: Peer) -> None:
    """A file that cannot be had ends it with an error, and nothing of it stays; one that is gone is passed over."""
    origin.put("/extras/faces", '["gone", "failing"]')
    origin.put("/segments/faces/failing", status(500))
    with pytest.raises(NodeError):
        await asyncio.to_thread(fetch_extras, peer, "faces", here.store)
    assert list((here.store.base / "faces").iterdir()) == []


async def test_kept_playlists_are_fetched(here: Node, tmp_path: Path) -> None:
    """Playlists kept of hours that are here too come from a node whose token we show."""
    (tmp_path / "token").write_text("secret\n")
    tokens = TokenFile(tmp_path / "token")
    async with node(tmp_path / "other", tokens=tokens) as other:
        segment = other.record(0)
        folder = other.folder(segment) / histories.FOLDER
        folder.mkdir()
        (folder / histories.name_for(NOON, 1)).write_text("#EXTM3U\n")
        config = Config(
            here.store.base, nodes=(other.url,), token_file=tmp_path / "token", histories=True, run_once=True
        )
        await run(config, asyncio.Event())
        assert (here.folder(segment) / histories.FOLDER / histories.name_for(NOON, 1)).read_text() == "#EXTM3U\n"


async def test_playlists_are_refused_where_no_token_guards_them(here: Node, other: Node) -> None:
    """A node that gives them to nobody says so."""
    other.record(0)
    plain = Peer(other.url, Line())
    with pytest.raises(NodeError):
        await asyncio.to_thread(fetch_histories, plain, "chan", "source", here.store)
    plain.close()
