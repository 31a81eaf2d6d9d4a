"""The route that tells how a node stands, and that of the pictures of its days."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from aiohttp import ClientSession
from yarl import URL

from common.coverage_pictures import picture_path
from common.recorder_state import RecorderFile, RecorderState
from common.segments import Segment
from common.store import Store
from restreamer import node_status

Put = Callable[..., Segment]
SECOND = timedelta(seconds=1)


async def test_a_node_tells_how_it_stands(
    store: Store, put: Put, url: URL, client: ClientSession, now: datetime
) -> None:
    """Its version, its disk, and of each quality what `respool status` shows: the recorder, the last day, a picture."""
    for number in (0, 1, 3):
        put(now - (20 - 2 * number) * SECOND, 2.0, bytes([number]))
    recorder = RecorderFile(store, "chan", "source")
    recorder.write(RecorderState(recording=True, since=now - 60 * SECOND))
    async with client.get(url / "status") as response:
        assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
        told = await response.json()
    recorder.close()
    assert {*told} == {"version", "now", "disk", "recordings"}
    assert 0 < told["disk"]["free_bytes"] < told["disk"]["total_bytes"]
    (chan,) = told["recordings"]
    assert (chan["channel"], chan["quality"], chan["recorder"]) == ("chan", "source", "recording")
    assert chan["last_day"]["covered"] == pytest.approx(6 / 8, abs=1e-6)
    assert chan["last_day"]["missing_seconds"] == {"unknown": 2.0}
    cells = "".join(hour["cells"] for hour in chan["picture"])
    assert "▒" in cells
    assert set(cells) <= set("█▓▒· ")


async def test_many_who_ask_cost_one_look(
    put: Put, url: URL, client: ClientSession, now: datetime, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All who ask within a moment get the same answer; later ones get a new one."""
    looks: list[Store] = []
    look = node_status._look

    def counted(store: Store) -> dict[str, Any]:
        looks.append(store)
        return look(store)

    monkeypatch.setattr(node_status, "_look", counted)
    monkeypatch.setattr(node_status, "_KEPT_SECONDS", 3600.0)
    put(now - 10 * SECOND)

    async def ask() -> str:
        async with client.get(url / "status") as response:
            return await response.text()

    assert len(set(await asyncio.gather(*(ask() for _ in range(20))))) == 1
    assert len(looks) == 1


async def test_a_store_that_is_away_is_no_status(store: Store, url: URL, client: ClientSession) -> None:
    """A node whose store cannot be read says so, and not that nothing is recorded."""
    store.base.rmdir()
    async with client.get(url / "status") as response:
        assert response.status == 503
        assert "cannot be read" in (await response.json())["error"]


async def test_pictures_of_days_are_served(store: Store, url: URL, client: ClientSession) -> None:
    """What the librarian has drawn is sent as it is, with a tag; it may soon be another one."""
    path = picture_path(store, "chan", "source", "2026-03-01")
    path.parent.mkdir(parents=True)
    path.write_bytes(b"\x89PNG picture")
    async with client.get(url / "coverage/chan/source/2026-03-01.png") as response:
        assert (response.status, response.content_type) == (200, "image/png")
        assert await response.read() == b"\x89PNG picture"
        assert response.headers["Cache-Control"] == "public, max-age=30"
        headers = {"If-None-Match": response.headers["ETag"]}
    async with client.get(url / "coverage/chan/source/2026-03-01.png", headers=headers) as response:
        assert response.status == 304


@pytest.mark.parametrize(
    ("path", "status", "sentence"),
    [
        ("coverage/chan/source/2026-03-02.png", 404, "There is no picture of that day; the librarian draws them."),
        ("coverage/chan/source/today.png", 400, "'today' is not a day such as 2026-03-01."),
        ("coverage/chan/source/2026-03-01%2F..%2F.hours.png", 400, "'2026-03-01/../.hours' is not a day such as"),
        ("coverage/chan/source/.hours.png", 400, "'.hours' is not a day such as 2026-03-01."),
        ("coverage/..%2Fchan/source/2026-03-01.png", 400, "cannot be the name of something recorded"),
        ("coverage/.chan/source/2026-03-01.png", 400, "cannot be the name of something recorded"),
        ("coverage/chan/source/٢٠٢٦-03-01.png", 400, "is not a day such as 2026-03-01."),
    ],
)
async def test_what_is_no_picture_is_told(
    url: URL, client: ClientSession, path: str, status: int, sentence: str
) -> None:
    """A day without a picture, and names that lead elsewhere, are a sentence."""
    async with client.get(URL(f"{url}/{path}", encoded="%" in path)) as response:
        assert response.status == status
        assert sentence in (await response.json())["error"]
