"""Other nodes' times held against ours: the same content should start at the same moment everywhere (`--node URL`)."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from urllib.parse import quote

import structlog
from aiohttp import ClientError, ClientResponse, ClientSession, ClientTimeout

from common import metrics
from common.addresses import without_secrets
from common.dateutil import HOUR, hour_name, parse_hour
from common.segments import Segment, parse_names
from common.skew import skew_between
from common.store import Store
from common.tokens import TokenFile
from common.waits import in_thread, pause
from common.web import client_session
from downloader.origin import why

log = structlog.get_logger()

_EVERY_SECONDS = 60.0
_TIMEOUT = ClientTimeout(total=20.0)

# An hour of segments of a fifth of a second; and as many names as are compared, the last ones.
_MOST_BYTES = 4 << 20
_COMPARED = 300

# By more than this, content of two nodes does not join without a look into the media.
LIMIT = timedelta(milliseconds=100)

_SKEW = metrics.gauge(
    "node_skew_seconds", "How much later another node starts the same segments.", "channel", "quality", "node"
)


@dataclass(slots=True)
class Nodes:
    """The nodes that record the same as we do, the tokens for them, and what was last said of each."""

    urls: Sequence[str]
    store: Store
    recorded: Sequence[tuple[str, str]]
    tokens: TokenFile | None = None
    _apart: set[tuple[str, str, str]] = field(default_factory=set)
    _silent: set[str] = field(default_factory=set)

    async def watch(self, stop: asyncio.Event) -> None:
        """Compare once a minute until the stop."""
        async with client_session() as session:
            while not await pause(stop, _EVERY_SECONDS):
                await self.compare(session, datetime.now(UTC))

    async def compare(self, session: ClientSession, now: datetime) -> None:
        """Compare the segments of this hour and the one before with those of each node."""
        for channel, quality in self.recorded:
            ours = await in_thread(self._ours, channel, quality, now)
            for url in self.urls:
                theirs = await self._theirs(session, url, channel, quality, now)
                skew = skew_between(ours, theirs) if theirs else None
                if skew is not None:
                    self._note(channel, quality, without_secrets(url), skew)

    def _ours(self, channel: str, quality: str, now: datetime) -> list[Segment]:
        names = {hour: self.store.names(channel, quality, hour_name(hour)) for hour in _hours(now)}
        return _last(names)

    async def _theirs(
        self, session: ClientSession, url: str, channel: str, quality: str, now: datetime
    ) -> list[Segment]:
        names = {}
        headers = await in_thread(self._headers)
        try:
            for hour in _hours(now):
                path = f"{url.rstrip('/')}/files/{quote(channel)}/{quote(quality)}/{hour_name(hour)}"
                async with session.get(path, headers=headers, timeout=_TIMEOUT) as response:
                    names[hour] = await _names(response)
        except (TimeoutError, ClientError, OSError, ValueError) as error:
            if url not in self._silent:
                reason = "it does not answer in time" if isinstance(error, TimeoutError) else why(error)
                log.warning("node_not_asked", node=without_secrets(url), reason=reason)
            self._silent.add(url)
            return []
        self._silent.discard(url)
        return _last(names)

    def _headers(self) -> dict[str, str]:
        tokens = self.tokens.tokens() if self.tokens is not None else ()
        return {"Authorization": f"Bearer {tokens[0]}"} if tokens else {}

    def _note(self, channel: str, quality: str, node: str, skew: timedelta) -> None:
        _SKEW.labels(channel, quality, node).set(skew.total_seconds())
        key, about = (channel, quality, node), {"channel": channel, "quality": quality, "node": node}
        if abs(skew) > LIMIT and key not in self._apart:
            self._apart.add(key)
            log.warning("node_skewed", **about, seconds=round(skew.total_seconds(), 3))
        elif abs(skew) <= LIMIT and key in self._apart:
            self._apart.discard(key)
            log.info("node_agrees", **about, seconds=round(skew.total_seconds(), 3))


def _hours(now: datetime) -> list[datetime]:
    return [parse_hour(hour_name(moment)) for moment in (now - HOUR, now)]


async def _names(response: ClientResponse) -> list[str]:
    """Read a listing. Raises ValueError if it is none."""
    body = bytearray()
    async for chunk in response.content.iter_any():
        body += chunk
        if len(body) > _MOST_BYTES:
            raise ValueError("too long")
    try:
        names = json.loads(body) if response.status == HTTPStatus.OK else None
    except RecursionError:
        names = None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("no list of names")
    return names


def _last(names: dict[datetime, list[str]]) -> list[Segment]:
    segments = [segment for hour, listed in names.items() for segment in parse_names(hour, listed)[0]]
    return sorted(segments)[-_COMPARED:]
