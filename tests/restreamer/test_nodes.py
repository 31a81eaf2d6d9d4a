"""What other nodes are told and given, and who may ask for it."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from aiohttp import ClientSession
from click.testing import CliRunner
from structlog.testing import capture_logs
from yarl import URL

from common import histories
from common import store as store_module
from common.digest_cache import NAME
from common.digests import day_digests, digest, hour_digest, quality_digest
from common.errors import UserError
from common.segments import Segment
from common.store import Store
from common.tokens import TokenFile
from common.web import serving
from restreamer import admission as admission_module
from restreamer.admission import Guard
from restreamer.main import Config, cli, make_app, run

Put = Callable[..., Segment]

HOUR = "2026-03-01T12"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TOKEN, OTHER = "a-token-of-all-nodes", "another/token=="


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """Give a file of two tokens."""
    path = tmp_path / "tokens"
    path.write_text(f"# of all nodes\n{TOKEN}\n\n  {OTHER}  \n")
    return path


@pytest.fixture(params=list(Guard))
def guard(request: pytest.FixtureRequest) -> Guard:
    return Guard(request.param)


@pytest.fixture
async def guarded(store: Store, tokens: Path, guard: Guard) -> AsyncIterator[URL]:
    """Give the address of a node that asks for tokens."""
    app = make_app(store, extra_folders=["faces"], tokens=TokenFile(tokens), guard=guard)
    async with serving(app, "127.0.0.1", 0) as port:
        yield URL(f"http://127.0.0.1:{port}")


@pytest.fixture
async def node(store: Store) -> AsyncIterator[URL]:
    """Give the address of a node with an extra folder."""
    async with serving(make_app(store, extra_folders=["faces"]), "127.0.0.1", 0) as port:
        yield URL(f"http://127.0.0.1:{port}")


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


async def told(client: ClientSession, url: URL, status: int = 200, token: str | None = None) -> object:
    async with client.get(url, headers=bearer(token) if token else None) as response:
        assert (response.status, response.content_type) == (status, "application/json"), await response.text()
        return await response.json()


# Digests ------------------------------------------------------------------------------------------------------------


async def test_digests_are_told_at_all_depths(node: URL, client: ClientSession, put: Put) -> None:
    """A node finds the hours in which it differs in three steps, from the names that are listed."""
    for start in ("12:00:00", "12:00:02", "13:00:00"):
        put(start)
    put("12:00:00", channel="Another ✓", quality="720p60")
    hours = {}
    for hour in (HOUR, "2026-03-01T13"):
        names = await told(client, node / "files/chan/source" / hour % {"tombstones": "true"})
        assert isinstance(names, list)
        hours[hour] = str(hour_digest(NOON, names))
    assert await told(client, node / "digests/chan/source/2026-03-01") == hours
    assert await told(client, node / "digests/chan/source") == day_digests(hours)
    everything = await told(client, node / "digests")
    assert isinstance(everything, dict)
    assert everything["chan"] == {"source": quality_digest(day_digests(hours))}
    assert [*everything["Another ✓"]] == ["720p60"]


@pytest.mark.parametrize("path", ["digests", "digests/no/source", "digests/no/source/2026-03-01", "extras/no"])
async def test_of_the_unknown_there_is_nothing(node: URL, client: ClientSession, path: str) -> None:
    """What the store does not have is empty, and no error."""
    assert not await told(client, node / path)


@pytest.mark.parametrize("day", ["noon", "2026-03", "2026-02-30", "2026-03-01T12", "٢٠٢٦-03-01"])
async def test_what_is_no_day_is_refused(node: URL, client: ClientSession, day: str) -> None:
    """The last name is a day, or the request is wrong."""
    assert await told(client, node / "digests/chan/source" / day, 400) == {
        "error": f"{day!r} is not a day such as 2026-03-01."
    }


async def test_digests_of_a_store_that_has_gone_are_not_those_of_an_empty_one(
    node: URL, client: ClientSession, store: Store
) -> None:
    """Nodes are not told that there is nothing when the disk is not there."""
    store.base.rmdir()
    assert str(store.base) in str(await told(client, node / "digests", 503))


async def test_unchanged_digests_are_not_sent_again(node: URL, client: ClientSession, put: Put) -> None:
    """Who has the digests already gets a 304 until something changes; long answers are compressed for who takes it."""
    for hour in range(24):
        put(f"{hour:02}:00:00")
    address, takes = node / "digests/chan/source/2026-03-01", {"Accept-Encoding": "gzip"}
    async with ClientSession(auto_decompress=False) as plain:
        async with plain.get(address, headers=takes) as response:
            packed, tag = await response.read(), response.headers["ETag"]
            assert (response.headers["Content-Encoding"], response.headers["Vary"]) == ("gzip", "Accept-Encoding")
        async with plain.get(address, headers={"Accept-Encoding": "identity"}) as response:
            assert "Content-Encoding" not in response.headers
            assert response.headers["ETag"] != tag
            assert gzip.decompress(packed) == await response.read()
    assert len(json.loads(gzip.decompress(packed))) == 24
    async with client.get(address, headers={"If-None-Match": tag, **takes}) as response:
        assert (response.status, await response.read()) == (304, b"")
    put("12:00:02")
    async with client.get(address, headers={"If-None-Match": tag, **takes}) as response:
        assert response.status == 200


async def test_digests_are_kept_for_the_next_start(store: Store, put: Put, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was worked out is on disk when the service has stopped."""
    monkeypatch.setattr(store_module, "_CLOCK_TICK_NS", -(10**18))  # what came just now counts as old
    async with serving(make_app(store), "127.0.0.1", 0) as port, ClientSession() as client:
        for second in ("00", "02"):
            put(f"12:00:{second}")
            await told(client, URL(f"http://127.0.0.1:{port}/digests"))
    last = hour_digest(NOON, store.names("chan", "source", HOUR))
    assert str(last) in (store.folder("chan", "source") / NAME).read_text()


# Extra folders ------------------------------------------------------------------------------------------------------


@pytest.fixture
def faces(store: Store, tmp_path: Path) -> Path:
    """Give an extra folder with files at several depths, and with what is not to be shown."""
    folder = store.base / "faces"
    for name in ("one.png", "a/two ✓.txt", "a/b/c/d/three", "a/b/c/four.ts"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (tmp_path / "secret").write_text("canary")
    (folder / ".hidden").write_text("canary")
    (folder / "a/.git").mkdir()
    (folder / "a/.git/config").write_text("canary")
    (folder / "link").symlink_to(tmp_path / "secret")
    (folder / "up").symlink_to(tmp_path)
    return folder


@pytest.mark.usefixtures("faces")
async def test_an_extra_folder_is_listed_and_served(node: URL, client: ClientSession) -> None:
    """All files below it are listed, whatever their depth, and come as they are."""
    assert await told(client, node / "files") == []
    names = await told(client, node / "extras/faces")
    assert names == ["a/b/c/d/three", "a/b/c/four.ts", "a/two ✓.txt", "one.png"]
    for name in map(str, names):
        async with client.get(node / "segments/faces" / name) as response:
            assert (response.status, await response.text()) == (200, name)
            assert response.headers["Cache-Control"] == "no-cache"
    async with client.get(node / "segments/faces/one.png", headers={"Range": "bytes=0-2"}) as response:
        assert (response.status, response.content_type, await response.read()) == (206, "image/png", b"one")


@pytest.mark.usefixtures("faces")
@pytest.mark.parametrize(
    "path",
    [
        "segments/faces/.hidden",
        "segments/faces/a/.git/config",
        "segments/faces/link",
        "segments/faces/up/secret",
        "segments/faces/a",
        "segments/faces/no/such/file",
        "segments/faces/a/%2e%2e/%2e%2e/%2e%2e/secret",
        "segments/faces/%2e%2e%2f%2e%2e%2fsecret",
        "segments/faces/a%00b",
        "segments/other/one.png",
        "segments/%2e%2e/secret",
    ],
)
async def test_nothing_else_of_the_disk_is_served(node: URL, client: ClientSession, store: Store, path: str) -> None:
    """No link, hidden file, folder or way out gives a file; nor does a folder that the operator has not named."""
    (store.base / "other").mkdir()
    (store.base / "other/one.png").write_text("canary")
    assert await told(client, node / "extras/other") == []
    async with client.get(URL(f"{node}/{path}", encoded=True)) as response:
        assert response.status == 404
        assert "canary" not in await response.text()


# Kept playlists -----------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(store: Store, put: Put) -> Path:
    """Give a playlist that was kept beside a segment."""
    put("12:00:00")
    path = histories.path(store, "chan", "source", HOUR, histories.name_for(NOON, 1))
    path.parent.mkdir()
    path.write_text("#EXTM3U\nhttps://origin/1.ts?secret=canary\n")
    path.with_name(".hidden").write_text("canary")
    return path


async def test_kept_playlists_are_given_to_who_has_a_token(guarded: URL, client: ClientSession, kept: Path) -> None:
    """A node learns with one small answer that there are new ones, and fetches them as they came."""
    at = guarded / "histories/chan/source"
    hours = await told(client, at, token=TOKEN)
    assert hours == {HOUR: digest([kept.name])}
    assert await told(client, at / HOUR, token=TOKEN) == [kept.name]
    async with client.get(at / HOUR / kept.name, headers=bearer(TOKEN)) as response:
        assert (response.status, await response.text()) == (200, kept.read_text())
    async with client.get(at / HOUR / ".hidden", headers=bearer(TOKEN)) as response:
        assert response.status == 404


async def test_kept_playlists_are_given_to_nobody_else(
    node: URL, guarded: URL, client: ClientSession, kept: Path
) -> None:
    """Where no token is needed they are not to be had: there may be secrets in them."""
    for path in ("histories/chan/source", f"histories/chan/source/{HOUR}", f"histories/chan/source/{HOUR}/{kept.name}"):
        assert "secrets" in str(await told(client, node / path, 403))
        assert "token" in str(await told(client, guarded / path, 401))


# Tokens -------------------------------------------------------------------------------------------------------------


def asked_for(segment: Segment) -> dict[str, bool]:
    """Paths, and whether they are for nodes alone."""
    return {
        "files": False,
        "files/chan": False,
        "files/chan/source": False,
        f"files/chan/source/{HOUR}": True,
        f"segments/chan/source/{HOUR}/{segment.name}": False,
        "segments/faces/one.png": True,
        "extras/faces": True,
        "digests": True,
        "digests/chan/source": True,
        "digests/chan/source/2026-03-01": True,
        "histories/chan/source": True,
        "playlist/chan.m3u8?start=2026-03-01T12:00&end=2026-03-01T12:01": False,
        "playlist/chan/source.m3u8?start=2026-03-01T12:00&end=2026-03-01T12:01": False,
        "cut/chan/source.ts?type=rough&start=2026-03-01T12:00&end=2026-03-01T12:01&allow_holes=true": False,
        "": False,
    }


@pytest.mark.usefixtures("faces")
async def test_who_has_no_token_is_sent_away(guarded: URL, client: ClientSession, put: Put, guard: Guard) -> None:
    """All that is recorded needs a token, or with `nodes` what only nodes ask for; to caches it is private."""
    segment = put("12:00:00")
    for path, for_nodes in asked_for(segment).items():
        needed = guard is Guard.ALL or for_nodes
        async with client.get(f"{guarded}/{path}") as response:
            assert response.status == (401 if needed else 200), path
            if needed:
                assert response.headers["WWW-Authenticate"] == 'Bearer realm="respool"'
                assert (await response.json())["error"].endswith("Authorization: Bearer TOKEN.")
        for token in (TOKEN, OTHER):
            async with client.get(f"{guarded}/{path}", headers=bearer(token)) as response:
                assert response.status == 200, path
                assert not needed or "public" not in response.headers["Cache-Control"], path
        async with client.head(f"{guarded}/{path}") as response:
            assert response.status == (401 if needed else 200), path


async def test_services_are_watched_without_a_token(guarded: URL, client: ClientSession) -> None:
    """What tells nothing of recordings needs none, nor does what is not there."""
    for path, status in {"health": 200, "metrics": 200, "openapi.json": 200, "no/such/thing": 404}.items():
        async with client.get(guarded / path) as response:
            assert response.status == status


@pytest.mark.parametrize(
    "said",
    ["Bearer", "Bearer ", "Bearer wrong", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN} {OTHER}", "é"],
)
async def test_no_other_word_opens(guarded: URL, client: ClientSession, said: str) -> None:
    """Only a whole token in the one form is let in."""
    async with client.get(guarded / "digests", headers={"Authorization": said}) as response:
        assert response.status == 401
        assert ("invalid_token" in response.headers["WWW-Authenticate"]) == said.startswith("Bearer")


async def test_the_words_case_is_the_clients(guarded: URL, client: ClientSession) -> None:
    """The scheme's name knows no case (RFC 9110 §11.1)."""
    async with client.get(guarded / "digests", headers={"Authorization": f"bEARER {TOKEN}"}) as response:
        assert response.status == 200


async def test_tokens_change_while_the_service_runs(
    guarded: URL, client: ClientSession, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A token that is added opens, one that is removed no longer does; a file that cannot be read changes nothing."""
    monkeypatch.setattr(admission_module, "_LOOK_SECONDS", 0.0)
    tokens.write_text("the-new-one\n")
    assert await told(client, guarded / "digests", token="the-new-one") == {}
    await told(client, guarded / "digests", 401, token=TOKEN)
    with capture_logs() as logs:
        tokens.write_text("no token at all\n")
        assert await told(client, guarded / "digests", token="the-new-one") == {}
        tokens.unlink()
        assert await told(client, guarded / "digests", token="the-new-one") == {}
    assert [entry["event"] for entry in logs if entry["event"] != "request"] == ["tokens_not_read"] * 2
    tokens.write_text("# none\n")
    await told(client, guarded / "digests", 401, token="the-new-one")


@pytest.mark.parametrize(("text", "said"), [("", "no token in"), ("# none\n", "no token in"), ("a b", "Line 1 of")])
async def test_a_file_without_tokens_is_no_beginning(store: Store, tmp_path: Path, text: str, said: str) -> None:
    """A node that should ask for tokens and has none does not start."""
    (tmp_path / "tokens").write_text(text)
    config = Config(store.base, "127.0.0.1", 0, token_file=tmp_path / "tokens")
    with pytest.raises(UserError, match=said):
        await run(config, asyncio.Event())
    with pytest.raises(UserError, match="cannot be read"):
        await run(Config(store.base, "127.0.0.1", 0, token_file=tmp_path / "no"), asyncio.Event())


def test_an_extra_folder_is_one_of_the_stores(tmp_path: Path) -> None:
    """No way leads out of the store by the flag for extra folders."""
    result = CliRunner().invoke(cli, ["--base-dir", str(tmp_path), "--extras", "../up"])
    assert result.exit_code == 2
    assert "It is the name of a folder of the store." in result.output
