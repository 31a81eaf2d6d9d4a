"""Nodes: stores that real restreamers serve."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from backfiller.worker import Pass, Worker
from common.recording import SegmentWriter
from common.segments import Segment, SegmentType, Suffix, tombstone_name
from common.store import Store
from common.tokens import TokenFile
from common.web import serving
from restreamer.main import make_app

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SECOND = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class Node:
    """A store; `url` is where a restreamer serves it."""

    store: Store
    url: str = ""

    @classmethod
    def at(cls, base: Path) -> "Node":
        """One at a folder, which nobody serves."""
        base.mkdir(exist_ok=True)
        return cls(Store(base))

    @classmethod
    def elsewhere(cls, url: str) -> "Node":
        """One of which only the address is known."""
        return cls(Store(Path("/nowhere")), url)

    def record(
        self,
        seconds: float,
        data: bytes = b"",
        kind: SegmentType = SegmentType.FULL,
        *,
        channel: str = "chan",
        suffix: Suffix = ".ts",
    ) -> Segment:
        """Record a segment of two seconds that starts so many seconds after noon."""
        start = NOON + seconds * SECOND
        writer = SegmentWriter(self.store, channel, "source", start, 2 * SECOND, suffix=suffix)
        writer.write(data or f"{start} {kind}".encode())
        return writer.commit(kind)

    def hide(self, segment: Segment) -> None:
        """Make the tombstone of a segment."""
        (self.folder(segment) / tombstone_name(segment.name)).touch()

    def folder(self, segment: Segment, channel: str = "chan") -> Path:
        """Give the folder of a segment's hour."""
        return self.store.folder(channel, "source") / segment.hour

    def names(self) -> set[str]:
        """Give the paths of all that is recorded, tombstones and temps too."""
        base = self.store.base
        paths = [path.relative_to(base) for path in base.glob("[!.]*/[!.]*/*/[!.]*")]
        return {path.as_posix() for path in paths}


@asynccontextmanager
async def node(base: Path, *, extras: Sequence[str] = (), tokens: TokenFile | None = None) -> AsyncIterator[Node]:
    """Serve a store at `base`."""
    base.mkdir(exist_ok=True)
    store = Store(base)
    app = make_app(store, extra_folders=extras, tokens=tokens)
    async with serving(app, "127.0.0.1", 0) as port:
        yield Node(store, f"http://127.0.0.1:{port}")


# Makes one pass over a node.
Fill = Callable[[Node], Awaitable[Pass]]

# Gives the worker for a node.
Hire = Callable[[Node], Worker]
