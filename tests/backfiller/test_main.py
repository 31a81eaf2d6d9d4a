"""The backfiller as a service: its nodes come and go, its command, the rate that it keeps to, tokens and TLS."""

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing, suppress
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from backfiller.main import Config, cli, opened, run
from backfiller.rate import Rate
from common.errors import UserError
from common.tokens import TokenFile
from hls_origin import Held, Origin
from listed_node import listing, name_of, path_of
from log_events import PATIENCE_SECONDS, LogEvents
from other_nodes import Node, node
from services import service


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[None]:
    """Run the service while inside."""
    stop = asyncio.Event()
    task = asyncio.ensure_future(run(config, stop))
    try:
        yield
    finally:
        stop.set()
        async with asyncio.timeout(PATIENCE_SECONDS):
            await task


async def test_nodes_come_and_go_with_the_file(
    here: Node, other: Node, tmp_path: Path, events: LogEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that is written into the file is backfilled from, and left alone when it is taken out."""
    monkeypatch.setattr("backfiller.manager._LOOK_SECONDS", 0.05)
    other.record(0)
    file = tmp_path / "nodes"
    file.write_text("# none yet\n")
    async with running(Config(here.store.base, nodes_file=file)):
        file.write_text(f"# the other\n{other.url}/  # with a slash\nftp://x\n")
        await events.wait("node_gone_through", node=other.url)
        file.write_text("")
        await events.wait("node_removed", node=other.url)
    assert here.names() == other.names()
    assert events.of("nodes_not_read")[0]["reason"] == "these are no addresses of nodes: ftp://x"


async def test_nodes_of_the_database_without_our_own(
    here: Node, other: Node, postgres_dsn: str, events: LogEvents
) -> None:
    """The nodes that the database knows are backfilled from, but for the one with our name."""
    other.record(0)
    connection = await asyncpg.connect(postgres_dsn)
    for name, url in (("us", "http://127.0.0.1:1"), ("them", other.url), ("them too", f"{other.url}/")):
        await connection.execute("INSERT INTO nodes (name, url) VALUES ($1, $2)", name, url)
    await connection.close()
    async with running(Config(here.store.base, database=postgres_dsn, name="us")):
        await events.wait("node_gone_through", node=other.url)
    assert [event["node"] for event in events.of("node_added")] == [other.url]
    assert here.names() == other.names()


async def test_node_that_is_away_comes_back(
    here: Node, origin: Origin, events: LogEvents, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A node that fails is asked again after pauses; that it is away is told once, and its return."""
    monkeypatch.setattr("backfiller.worker._FIRST_PAUSE_SECONDS", 0.01)
    origin.put("/digests", *["no digests"] * 2, "{}")
    async with running(Config(here.store.base, nodes=(origin.base,))):
        (returned,) = await events.wait("node_returned", node=origin.base)
    assert returned["failures"] == 2
    assert len(events.of("node_failed")) == 1


async def test_stop_ends_what_is_under_way(here: Node, origin: Origin) -> None:
    """Told to stop amid a segment, it stops, and leaves nothing of it."""
    held = Held(b"0123456789", 5)
    name = name_of(b"0123456789")
    origin.put(path_of(name), held)
    async with running(Config(here.store.base, nodes=(listing(origin, name).url,))):
        await held.wait()
        assert len(here.names()) == 1
    assert here.names() == set()


async def test_run_once_tells_what_failed(here: Node, other: Node) -> None:
    """With --run-once a node that is away makes it fail with a sentence; what others have is there all the same."""
    other.record(0)
    config = Config(here.store.base, nodes=("http://127.0.0.1:1", other.url), run_once=True)
    with pytest.raises(UserError, match=r"127\.0\.0\.1:1: It cannot be reached"):
        await run(config, asyncio.Event())
    assert here.names() == other.names()


async def test_command_fetches_and_ends(here: Node, other: Node, tmp_path: Path) -> None:
    """`python -m backfiller --run-once` fetches what is wanted, says so in its log, and exits with 0."""
    other.record(0)
    other.record(0, channel="unwanted")
    arguments = ("--base-dir", str(here.store.base), "--node", other.url, "--run-once", "chan")
    async with service("backfiller", *arguments, folder=tmp_path) as process:
        done = await process.next("node_gone_through")
        assert await process.end() == 0
    assert done["fetched"] == 1
    assert here.names() == {name for name in other.names() if name.startswith("chan/")}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ([], "Say where nodes are"),
        (["--node", "ftp://x"], "must be an http or https URL"),
        (["--node", "http://user:secret@x"], "without a user or a query"),
        (["--node", "http://x", "../up"], "cannot be the name of something recorded"),
        (["--node", "http://x", "--rate", "much"], "bytes per second"),
        (["--node", "http://x", "--rate", "0"], "bytes per second"),
        (["--node", "http://x", "--extras", ".hidden"], "cannot be the name"),
    ],
)
def test_mistakes_are_told(arguments: list[str], said: str) -> None:
    """What cannot be meant is refused with a sentence."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert said in result.output.replace("\n", " ")


def test_rate_is_kept_over_all_transfers() -> None:
    """Whoever takes bytes waits as long as all bytes taken so far last at the rate; time that passed unused is lost."""
    now = [100.0]
    rate = Rate(1000, clock=lambda: now[0])
    assert [rate.take(500), rate.take(500), rate.take(1000)] == [0.5, 1.0, 2.0]
    now[0] += 10
    assert rate.take(100) == pytest.approx(0.1)
    assert Rate(None).take(1 << 30) == 0


async def test_rate_holds_for_real_transfers(here: Node, other: Node) -> None:
    """Four segments at once come no faster than the rate."""
    for seconds in range(0, 8, 2):
        other.record(seconds, bytes([seconds]) * 100_000)
    began = asyncio.get_running_loop().time()
    await run(Config(here.store.base, nodes=(other.url,), rate=1_000_000, run_once=True), asyncio.Event())
    assert asyncio.get_running_loop().time() - began >= 0.3
    assert here.names() == other.names()


async def test_token_is_shown(here: Node, tmp_path: Path) -> None:
    """A node that asks for a token gets the first of the file; without one it gives nothing."""
    (tmp_path / "theirs").write_text("new\nold\n")
    (tmp_path / "ours").write_text("# comment\nold\n")
    async with node(tmp_path / "other", tokens=TokenFile(tmp_path / "theirs")) as other:
        other.record(0)
        config = Config(here.store.base, nodes=(other.url,), run_once=True)
        with pytest.raises(UserError, match="another token"):
            await run(config, asyncio.Event())
        assert here.names() == set()
        await run(
            Config(here.store.base, nodes=(other.url,), token_file=tmp_path / "ours", run_once=True), asyncio.Event()
        )
    assert here.names() == other.names()


async def test_private_authority_vouches_for_nodes(here: Node, other: Node, tmp_path: Path) -> None:
    """A node whose certificate a private authority has signed is believed with --ca-file, and not without."""
    certificate = make_certificate(tmp_path)
    other.record(0)
    async with encrypted(other, certificate) as url:
        with pytest.raises(UserError, match="certificate"):
            await run(Config(here.store.base, nodes=(url,), run_once=True), asyncio.Event())
        assert here.names() == set()
        await run(Config(here.store.base, nodes=(url,), ca_file=certificate, run_once=True), asyncio.Event())
    assert here.names() == other.names()


@asynccontextmanager
async def encrypted(node: Node, certificate: Path) -> AsyncIterator[str]:
    """Serve a node with TLS, by a server in front of it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    host, _, port = node.url.removeprefix("http://").partition(":")

    async def pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with closing(writer), suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        behind = await asyncio.open_connection(host, int(port))
        await asyncio.gather(pipe(reader, behind[1]), pipe(behind[0], writer))

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def make_certificate(folder: Path) -> Path:
    """Make a certificate for 127.0.0.1 that vouches for itself, with its key in the same file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "node")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "node.pem"
    path.write_bytes(certificate.public_bytes(serialization.Encoding.PEM) + key.private_bytes(*form))
    return path


async def test_silent_node_is_given_up(here: Node, origin: Origin) -> None:
    """A node that sends a part and then nothing is given up after the longest silence."""
    name = name_of(b"0123456789")
    held = Held(b"0123456789", 5)
    origin.put(path_of(name), held)
    stop = asyncio.Event()
    async with opened(Config(here.store.base), stop) as backfiller:
        object.__setattr__(backfiller.line, "silence", 0.1)
        worker = backfiller.worker(listing(origin, name).url)
        done = await worker.go_through()
        worker.source.peer.close()
    assert done.failed.total() == 1
    assert here.names() == set()
