"""What `respool status` shows of all nodes: each is asked over HTTP, all at once; and of the database, the events.

What a node answers is checked: it may be of another version, or no node at all.
"""

import asyncio
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final, cast

import asyncpg
import click
from aiohttp import ClientError, ClientSession, ClientTimeout

from common import db
from common.addresses import without_secrets
from common.dateutil import format_utc
from common.errors import UserError
from common.hour_picture import DOUBTFUL, FULL, NOTHING, OUTSIDE, SOME
from common.tokens import TokenFile
from common.web import client_session
from respool.coverage import coloured, legend, percent
from respool.status import COLOURS, written

# A node that has not looked at its last day for a while needs some seconds for a few dozen qualities.
_TIMEOUT: Final = ClientTimeout(total=20.0, connect=5.0)
# A thousand qualities, each with some hundred holes.
_MOST_BYTES: Final = 32 << 20

# A character of the pictures stands for so many minutes.
_MINUTES: Final = 6
_WORST_FIRST: Final = (SOME, DOUBTFUL, FULL)

_IS_HTTP: Final = re.compile(r"https?://[^/\s]\S*")

_EVENTS: Final = """
    SELECT state, count(*) AS events, count(*) FILTER (WHERE error IS NOT NULL) AS refused
    FROM events WHERE state <> 'DONE' GROUP BY state ORDER BY state
"""

# Videos that are made and not delivered yet wait for their location; one that no cutter knows waits for a cutter.
_LOCATIONS: Final = """
    SELECT upload_location AS name, count(*) FILTER (WHERE spool IS NOT NULL) AS waiting,
        EXISTS (SELECT FROM cutters WHERE upload_location = ANY (locations) AND last_seen > now() - interval '1 minute')
            AS known
    FROM events WHERE state = 'EDITED' AND upload_location <> '' GROUP BY upload_location ORDER BY upload_location
"""


@dataclass(frozen=True, slots=True)
class Line:
    """One quality as a node tells it: what the table shows. `missing` is by reason, of the last day."""

    channel: str
    quality: str
    recorder: str
    lag: timedelta | None
    hour: float
    day: float
    missing: Mapping[str, timedelta]
    picture: str


@dataclass(frozen=True, slots=True)
class Node:
    """A node and what it answers; `fault` is one sentence if it does not."""

    name: str
    url: str
    last_seen: datetime | None = None
    answer: Mapping[str, Any] | None = None
    lines: tuple[Line, ...] = ()
    fault: str | None = None


@dataclass(frozen=True, slots=True)
class Found:
    """What all nodes, and the database if there is one, tell."""

    nodes: tuple[Node, ...]
    events: tuple[Mapping[str, Any], ...] | None = None
    locations: tuple[Mapping[str, Any], ...] = field(default=())

    @property
    def told(self) -> bool:
        """Whether any node has answered."""
        return any(node.fault is None for node in self.nodes)

    def as_json(self) -> dict[str, Any]:
        """Give all of it as JSON has it."""
        return {
            "nodes": [_node_as_json(node) for node in self.nodes],
            "events": None if self.events is None else [dict(each) for each in self.events],
            "locations": None if self.events is None else [dict(each) for each in self.locations],
        }

    def lines(self) -> Iterator[str]:
        """Write it for people: a line for each quality of each node, then the nodes, then what the database tells."""
        rows = [(line, node) for node in self.nodes for line in node.lines]
        if rows:
            yield from _table(sorted(rows, key=lambda row: (row[0].channel, row[0].quality, row[1].name)))
        for node in self.nodes:
            yield _said_of(node)
        for each in self.events or ():
            refused = f", {each['refused']} with an error" if each["refused"] else ""
            yield f"events  {each['state']}: {each['events']}{refused}"
        for each in self.locations:
            if each["waiting"] or not each["known"]:
                unknown = "" if each["known"] else "; no cutter that runs knows this location"
                yield f"location  {_plain(each['name'])}: {each['waiting']} finished videos wait{unknown}"
        if rows:
            yield ""
            yield legend()


def _node_as_json(node: Node) -> dict[str, Any]:
    told = node.answer or {}
    return {
        "name": node.name,
        "url": without_secrets(node.url),
        "last_seen": node.last_seen and format_utc(node.last_seen),
        "error": node.fault,
        "version": told.get("version"),
        "disk": told.get("disk"),
        "recordings": told.get("recordings"),
    }


# Asking ------------------------------------------------------------------------------------------------------------


async def look(urls: Iterable[str], database: str | None, token_file: Path | None, names: tuple[str, ...]) -> Found:
    """Ask all nodes, those named and those of the database; `names` are the channels or qualities that are wanted.

    Raises UserError if the database does not answer, or what is named is nowhere.
    """
    tokens = () if token_file is None else (await asyncio.to_thread(TokenFile, token_file)).tokens()
    known = [Node(_name_of(url), _checked(url)) for url in urls]
    found = Found(())
    if database is not None:
        listed, found = await _read(database)
        known += [node for node in listed if node.url.rstrip("/") not in {each.url.rstrip("/") for each in known}]
    async with client_session() as session:
        nodes = await asyncio.gather(*(_ask(session, node, next(iter(tokens), None), names) for node in known))
    if names and nodes and not any(node.lines for node in nodes) and not any(node.fault for node in nodes):
        raise UserError(f"No node has anything of {' or '.join(names)}.")
    return Found(tuple(nodes), found.events, found.locations)


async def _read(database: str) -> tuple[list[Node], Found]:
    try:
        connections = await db.pool(database, name="respool status", patience=0)
        try:
            async with connections.acquire() as connection:
                nodes = await connection.fetch("SELECT name, url, last_seen FROM nodes ORDER BY name")
                events, locations = await connection.fetch(_EVENTS), await connection.fetch(_LOCATIONS)
        finally:
            connections.terminate()
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as error:
        raise UserError(f"The database does not tell which nodes there are ({error}).") from error
    listed = [Node(row["name"], row["url"], row["last_seen"]) for row in nodes]
    return listed, Found((), tuple(map(dict, events)), tuple(map(dict, locations)))


async def _ask(session: ClientSession, node: Node, token: str | None, names: tuple[str, ...]) -> Node:
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    url = f"{node.url.rstrip('/')}/status"
    try:
        # a redirect might take the token elsewhere
        async with session.get(url, headers=headers, timeout=_TIMEOUT, allow_redirects=False) as response:
            if response.status != HTTPStatus.OK:
                return _failed(node, _REFUSALS.get(response.status, f"answers with status {response.status}"))
            body = bytearray()
            async for chunk in response.content.iter_any():
                body += chunk
                if len(body) > _MOST_BYTES:
                    return _failed(node, "answers without end")
        answer = json.loads(body)
        lines = tuple(_line(each) for each in answer["recordings"])
    except TimeoutError:
        return _failed(node, "does not answer in time")
    except (ClientError, OSError) as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        return _failed(node, f"cannot be reached ({_plain(reason)})")
    except _UNREADABLE:
        return _failed(node, "answers something that is no status")
    wanted = tuple(each for each in lines if _is_wanted(each.channel, each.quality, names))
    answer["recordings"] = [
        each for each in answer["recordings"] if _is_wanted(each["channel"], each["quality"], names)
    ]
    return Node(node.name, node.url, node.last_seen, answer, wanted)


_UNREADABLE: Final = (ValueError, TypeError, KeyError, AttributeError, OverflowError, RecursionError)

_REFUSALS: Final[Mapping[int, str]] = {
    HTTPStatus.UNAUTHORIZED: "wants a token: name the file that has it with --token-file",
    HTTPStatus.FORBIDDEN: "does not take the token",
    HTTPStatus.NOT_FOUND: "does not tell its status: it is of an older version, or no node",
    HTTPStatus.SERVICE_UNAVAILABLE: "cannot read its store, or has too much to do",
}


def _failed(node: Node, fault: str) -> Node:
    return Node(node.name, node.url, node.last_seen, fault=fault)


def _is_wanted(channel: str, quality: str, names: tuple[str, ...]) -> bool:
    return not names or channel in names or f"{channel}/{quality}" in names


def _line(told: Mapping[str, Any]) -> Line:
    """Read one quality of an answer. Raises one of _UNREADABLE if it is none."""
    if any(not isinstance(told[part], str) for part in ("channel", "quality", "recorder")):
        raise TypeError
    hour, day = (min(1.0, max(0.0, float(told[window]["covered"]))) for window in ("last_hour", "last_day"))
    return Line(
        told["channel"],
        told["quality"],
        told["recorder"],
        None if told["lag_seconds"] is None else timedelta(seconds=told["lag_seconds"]),
        hour,
        day,
        {str(reason): timedelta(seconds=lost) for reason, lost in told["last_day"]["missing_seconds"].items()},
        condensed("".join(each["cells"] for each in told["picture"])),
    )


def condensed(cells: str) -> str:
    """Draw so many minutes as one character: what holds nothing at all, else the worst of it."""
    groups = (set(cells[first : first + _MINUTES]) - {OUTSIDE} for first in range(0, len(cells), _MINUTES))
    return "".join(map(_condensed, groups)).strip(OUTSIDE)


def _condensed(group: set[str]) -> str:
    if not group:
        return OUTSIDE
    if group == {NOTHING}:
        return NOTHING
    return SOME if NOTHING in group else next((cell for cell in _WORST_FIRST if cell in group), OUTSIDE)


def _name_of(url: str) -> str:
    return without_secrets(url).partition("://")[2].rstrip("/")


def _checked(url: str) -> str:
    if _IS_HTTP.fullmatch(url) is None:
        raise UserError("The address of a node must be an http or https URL, such as http://host:8000.")
    return url


# For people --------------------------------------------------------------------------------------------------------


def _table(rows: list[tuple[Line, Node]]) -> Iterator[str]:
    names = [_plain(f"{line.channel}/{line.quality}") for line, _ in rows]
    width, node_width = max(map(len, names)), max(len(_plain(node.name)) for _, node in rows)
    picture = max(len("last hours"), *(len(line.picture) for line, _ in rows))
    yield (
        f"{'':<{width}}  {'node':<{node_width}}  {'recorder':<9}  {'newest':>9}  {'hour':>6}  {'day':>6}  "
        f"{'last hours':<{picture}}  missing of the day"
    )
    for name, (line, node) in zip(names, rows, strict=True):
        recorder = click.style(f"{_plain(line.recorder):<9}", fg=COLOURS.get(line.recorder))
        cells = coloured(_plain(line.picture)) + " " * (picture - len(line.picture))
        reasons = ", ".join(f"{_plain(why)} {written(length)}" for why, length in line.missing.items())
        yield (
            f"{name:<{width}}  {_plain(node.name):<{node_width}}  {recorder}  {written(line.lag):>9}  "
            f"{percent(line.hour):>6}  {percent(line.day):>6}  {cells}  {reasons}"
        ).rstrip()


def _said_of(node: Node) -> str:
    said = f"node  {_plain(node.name)} at {_plain(without_secrets(node.url))}"
    if node.fault is not None:
        seen = f"; last seen {node.last_seen:%Y-%m-%d %H:%M:%S}" if node.last_seen else ""
        return f"{said} {click.style(node.fault, fg='red')}{seen}"
    told = node.answer or {}
    return f"{said}: version {_plain(str(told.get('version')))}, {_room(told.get('disk'))}"


def _room(disk: object) -> str:
    try:
        free, total = (int(cast("Mapping[str, Any]", disk)[each]) for each in ("free_bytes", "total_bytes"))
    except (TypeError, KeyError, ValueError):
        return "its disk is unknown"
    return f"{free / 1e9:.1f} GB of {total / 1e9:.1f} free"


def _plain(text: str) -> str:
    """Give what a terminal shows and does not obey."""
    return "".join(each if each.isprintable() else "?" for each in text)
