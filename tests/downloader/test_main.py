"""The downloader as a command: what it is told, what it refuses, what it serves."""

import asyncio
import errno
from pathlib import Path
from unittest.mock import Mock

import aiohttp
import click
import pytest
from click.testing import CliRunner
from prometheus_client.parser import text_string_to_metric_families

from common.errors import UserError
from common.store import Store
from common.web import serving
from downloader import main
from downloader.main import Config, cli, parse_channels, parse_qualities, run
from downloader.providers import UrlProvider
from downloader.source import Channel
from downloader.streamlink_provider import StreamlinkProvider
from downloads import bodies
from hls_origin import Live, Origin
from log_events import LogEvents
from services import service


def test_channels_are_read() -> None:
    """NAME=URL, the URL with whatever it holds, or behind the name of what finds its playlists."""
    texts = ("a=http://host/x.m3u8?a=b&c=d", "b-1.c_2=https://user:pw@host:8443/", "d=streamlink:https://twitch.tv/x")
    assert parse_channels(texts) == (
        Channel("a", UrlProvider(texts[0][2:])),
        Channel("b-1.c_2", UrlProvider(texts[1][8:])),
        Channel("d", StreamlinkProvider("https://twitch.tv/x")),
    )


@pytest.mark.parametrize(
    ("texts", "sentence"),
    [
        (["http://host/x.m3u8"], "'http://host/x.m3u8' is not NAME=URL, where NAME is up to 64 letters"),
        (["http://host/x.m3u8?token=hunter2"], "'http://host/x.m3u8' is not NAME=URL"),
        (["=http://host/"], "'=http://host/' is not NAME=URL"),
        (["a b=http://host/"], "is not NAME=URL"),
        (["../x=http://host/"], "is not NAME=URL"),
        ([".x=http://host/"], "is not NAME=URL"),
        (["x/y=http://host/"], "is not NAME=URL"),
        ([f"{'x' * 65}=http://host/"], "is not NAME=URL"),
        (["x\n=http://host/"], "is not NAME=URL"),
        (["é=http://host/"], "is not NAME=URL"),
        (["a=file:///etc/passwd"], "the address of a must be an http or https URL"),
        (["a=/etc/passwd"], "the address of a must be an http or https URL"),
        (["a=rtmp://host/hunter2"], "the address of a must be an http or https URL"),
        (["a="], "the address of a must be an http or https URL"),
        (["a=http://"], "the address of a must be an http or https URL"),
        (["a=http://[::1/?hunter2"], "the address of a must be an http or https URL"),
        (["a=http://host:99999/?hunter2"], "the address of a must be an http or https URL"),
        (["a=http://host:0/"], "the address of a must be an http or https URL"),
        (["a=streamlink:x?hunter2"], "the address of a must have an http or https URL behind streamlink:, such as"),
        (["--node", "host:8000", "a=http://host/"], "the address of a node must be an http or https URL, such as"),
        (["a=http://host/", "b=http://host/", "a=http://other/"], "the channel a is named twice."),
    ],
)
def test_bad_channels_are_refused(texts: list[str], sentence: str) -> None:
    """What is no NAME=URL is refused in one sentence that tells no secrets."""
    with pytest.raises(click.UsageError) as raised:
        cli.make_context("downloader", texts)
    assert sentence in raised.value.format_message()
    assert "hunter2" not in raised.value.format_message()


def test_qualities_are_read() -> None:
    """Names separated by commas, each once, in their order."""
    assert parse_qualities("source, 720p60,source") == ("source", "720p60")


@pytest.mark.parametrize("text", ["", "source,", "../x", "a/b", "a b"])
def test_bad_qualities_are_refused(text: str) -> None:
    """A quality becomes the name of a folder, so not everything can be one."""
    with pytest.raises(click.BadParameter, match="is not a quality such as source or 720p60"):
        parse_qualities(text)


def test_no_channel_is_refused() -> None:
    """Without a channel there is nothing to do."""
    result = CliRunner().invoke(cli, [])
    assert result.exit_code == 2
    assert "Missing argument 'NAME=URL ...'" in result.output


async def test_a_store_that_cannot_be_written_is_said(tmp_path: Path) -> None:
    """A folder that cannot be is one sentence on what to do, and exit code 1."""
    (tmp_path / "file").touch()
    base = tmp_path / "file" / "store"
    async with service("downloader", "--base-dir", str(base), "a=http://127.0.0.1:1/", folder=tmp_path) as downloader:
        assert await downloader.end() == 1
    (event,) = downloader.events
    assert event["event"] == "cannot_run"
    assert event["reason"] == (
        f"The folder {base} cannot be written to (Not a directory); "
        "change its rights or name another one with --base-dir."
    )


async def test_a_port_in_use_is_said(tmp_path: Path) -> None:
    """The sentence names the flag that chooses another port."""
    async with serving(aiohttp.web.Application(), "127.0.0.1", 0) as port:
        config = Config(tmp_path, (), (), "127.0.0.1", port)
        with pytest.raises(UserError, match=rf"^Port {port} is in use .* with --metrics-port\.$"):
            await run(config, asyncio.Event())


async def test_it_tells_how_it_goes(origin: Origin, tmp_path: Path) -> None:
    """Metrics and health are served at the port that is asked for."""
    live = Live(origin)
    live.reveal_some(2)
    async with serving(aiohttp.web.Application(), "127.0.0.1", 0) as port:
        pass  # a port that was free a moment ago
    arguments = ["--base-dir", str(tmp_path), "--metrics-port", str(port), f"a={origin.url('/live.m3u8')}"]
    async with service("downloader", *arguments, folder=tmp_path) as downloader:
        await downloader.next("segment_committed")
        await downloader.next("segment_committed")
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as session:
            async with session.get("/metrics") as response:
                families = list(text_string_to_metric_families(await response.text()))
            async with session.get("/health") as response:
                assert (response.status, await response.json()) == (200, {"status": "ok", "store": "ok"})
        downloader.process.terminate()
        assert await downloader.end() == 0
    values = {(sample.name, *sample.labels.values()): sample.value for family in families for sample in family.samples}
    assert values["respool_segments_recorded_total", "a", "source", "full"] == 2
    assert values["respool_recorded_media_seconds_total", "a", "source"] == 4.0
    assert values["respool_recorded_bytes_total", "a", "source"] == sum(map(len, live.bodies))
    assert values["respool_stream_followed", "a", "source"] == 1
    assert values["respool_segment_fetch_seconds_count", "a", "", "source"] == 2
    assert values["respool_disk_total_bytes", "store"] > values["respool_disk_free_bytes", "store"] > 0
    assert ("respool_event_loop_lag_seconds_count",) in values
    assert [labels for name, *labels in values if name == "respool_build_info" and "downloader" in labels]


async def test_temps_that_cannot_be_swept_do_no_harm(
    origin: Origin, events: LogEvents, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder that cannot be read when the service starts is told, and recording begins all the same."""
    error = PermissionError(errno.EACCES, "Permission denied", str(tmp_path / "other"))
    monkeypatch.setattr(main, "sweep_temps", Mock(side_effect=error))
    (tmp_path / "other" / "source").mkdir(parents=True)
    live = Live(origin)
    live.reveal_some(1)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        channels = (Channel("a", UrlProvider(origin.url("/live.m3u8"))),)
        group.create_task(run(Config(tmp_path, channels, ("source",), "127.0.0.1", None), stop))
        await events.wait("segment_committed")
        (event,) = await events.wait("sweep_failed")
        stop.set()
    assert event["reason"] == f"{tmp_path / 'other'}: Permission denied"


async def test_several_channels_and_qualities_are_recorded_at_once(
    origin: Origin, events: LogEvents, tmp_path: Path
) -> None:
    """Each quality of each channel is recorded for itself, and a stop ends them all."""
    lives = [Live(origin, path=f"/{name}.m3u8", folder=f"/{name}/") for name in "abcd"]
    for live in lives:
        live.reveal_some(2)
    for name, high, low in [("x", "a", "b"), ("y", "c", "d")]:
        origin.put(f"/{name}", f"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=9\n{high}.m3u8\n"
                   f'#EXT-X-STREAM-INF:BANDWIDTH=5,NAME="low"\n{low}.m3u8\n')  # fmt: skip
    stop = asyncio.Event()
    channels = tuple(Channel(name, UrlProvider(origin.url(f"/{name}"))) for name in "xy")
    async with asyncio.TaskGroup() as group:
        group.create_task(run(Config(tmp_path, channels, ("source", "low"), "127.0.0.1", None), stop))
        await events.wait("segment_committed", 8)
        stop.set()
    store = Store(tmp_path)
    assert [bodies(store, *where) for where in [("x", "source"), ("x", "low"), ("y", "source"), ("y", "low")]] == [
        live.bodies for live in lives
    ]
