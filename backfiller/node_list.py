"""Which nodes there are: from the command line, from a file that is read again when it changes, from the database."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import click
import structlog

from common import db
from common.errors import UserError
from common.waits import in_thread

log = structlog.get_logger()

# So much of a file is read; a node takes a line.
_MOST_BYTES = 1 << 20

# A database that does not answer is asked again at the next look.
_PATIENCE_SECONDS = 5.0

_SELECT = "SELECT url FROM nodes WHERE name <> $1 ORDER BY name"


_NO_NODE = "must be an http or https URL, such as http://host:8000, without a user or a query."


class BadNodeError(ValueError):
    """An address that is no node's; its text is the end of a sentence."""


def node_url(text: str) -> str:
    """Check the address of a node, and give it in the form in which two of the same are equal. Raises BadNodeError."""
    try:
        parts = urlsplit(text.strip())
        known = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        raise BadNodeError(_NO_NODE) from None
    if not known or parts.query or parts.fragment or "@" in parts.netloc or not text.strip().isprintable():
        raise BadNodeError(_NO_NODE)
    return f"{parts.scheme}://{parts.netloc.lower()}{parts.path.rstrip('/')}"


def parse_nodes(texts: Iterable[str]) -> tuple[str, ...]:
    """Read addresses from the command line. Raises click.BadParameter with one sentence."""
    try:
        return tuple(map(node_url, texts))
    except BadNodeError as error:
        raise click.BadParameter(f"the address of a node {error}") from error


@dataclass(slots=True)
class NodeList:
    """The nodes by all three ways, each once. Of the database's, `name` is our own, which is left out."""

    flags: tuple[str, ...] = ()
    file: Path | None = None
    dsn: str | None = None
    name: str = ""
    _pool: "db.Pool | None" = None
    _from_file: tuple[str, ...] = ()
    _from_database: tuple[str, ...] = ()
    _stamp: tuple[int, int, int] | None = None
    _said: dict[str, str] = field(default_factory=dict)

    async def look(self) -> tuple[str, ...]:
        """Give the addresses as they are now; what cannot be read stays as it was, which is logged once."""
        if self.file is not None:
            await in_thread(self._read_file, self.file)
        if self.dsn is not None:
            await self._ask_database(self.dsn)
        return tuple(dict.fromkeys((*self.flags, *self._from_file, *self._from_database)))

    async def close(self) -> None:
        """Close the connections to the database."""
        if self._pool is not None:
            self._pool.terminate()

    def _read_file(self, path: Path) -> None:
        try:
            found = path.stat()
            stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
            if stamp == self._stamp:
                return
            with path.open("rb") as file:
                text = file.read(_MOST_BYTES).decode()
        except (OSError, UnicodeDecodeError) as error:
            self._say(str(path), getattr(error, "strerror", None) or "it is no text")
            return
        self._stamp = stamp
        lines = [line.partition("#")[0].strip() for line in text.splitlines()]
        self._from_file = tuple(self._usable(str(path), filter(None, lines)))

    async def _ask_database(self, dsn: str) -> None:
        try:
            if self._pool is None:
                self._pool = await db.pool(dsn, name="respool backfiller", patience=_PATIENCE_SECONDS)
            rows = await db.fetch(self._pool, _SELECT, self.name)
        except (*db.AWAY, asyncpg.PostgresError, UserError) as error:
            self._say("the database", str(error) or type(error).__name__)
            return
        self._said.pop("the database", None)
        self._from_database = tuple(self._usable("the database", [row["url"] for row in rows]))

    def _usable(self, source: str, texts: Iterable[str]) -> list[str]:
        """Give the addresses that are some, saying which are not."""
        urls, wrong = [], []
        for text in texts:
            try:
                urls.append(node_url(text))
            except BadNodeError:
                wrong.append(text[:200])
        self._said.pop(source, None)
        if wrong:
            self._say(source, f"these are no addresses of nodes: {', '.join(wrong[:5])}")
        return urls

    def _say(self, source: str, reason: str) -> None:
        if self._said.get(source) != reason:
            self._said[source] = reason
            log.warning("nodes_not_read", source=source, reason=reason)
