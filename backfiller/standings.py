"""What `respool node status` says of nodes: whether each answers, and what either side lacks."""

import asyncio
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

from backfiller.main import Backfiller, Config, opened
from backfiller.node_list import BadNodeError, node_url
from backfiller.overview import Lack, Overview, overview


@dataclass(frozen=True, slots=True)
class Stand:
    """A node, by its name and address, and what was found out of it."""

    name: str
    url: str
    overview: Overview

    def as_json(self) -> dict[str, Any]:
        """Give it as programs have it."""
        return {
            "name": self.name,
            "url": self.url,
            "fault": self.overview.fault or None,
            "missing_here": _as_json(self.overview.here),
            "missing_there": _as_json(self.overview.there),
            "hours_not_compared": self.overview.uncounted,
        }

    def lines(self) -> Iterator[str]:
        """Give it as people read it: a line of the node, and one for each quality of which a side lacks something."""
        found = self.overview
        lacks = [*_lines("here", found.here), *_lines("there", found.there)]
        said = found.fault or ("answers" if lacks else "answers; neither side lacks anything")
        yield "  ".join(filter(None, (self.name, self.url if self.url != self.name else "", said)))
        yield from lacks
        if found.uncounted:
            yield f"  {found.uncounted} more hours differ"


async def ask(addresses: Mapping[str, str], base: Path, token_file: Path | None, ca_file: Path | None) -> list[Stand]:
    """Ask nodes, by name and address, and compare them with the store at `base`. Raises UserError for what is ours."""
    config = Config(base, token_file=token_file, ca_file=ca_file)
    async with opened(config, asyncio.Event()) as backfiller:
        return list(await asyncio.gather(*(_ask(backfiller, *each) for each in addresses.items())))


async def _ask(backfiller: Backfiller, name: str, url: str) -> Stand:
    try:
        peer = backfiller.peer(node_url(url))
    except BadNodeError as error:
        return Stand(name, url, Overview(fault=f"Its address {error}"))
    try:
        wanted = backfiller.config.wanted
        found = await asyncio.to_thread(overview, peer, backfiller.store, backfiller.digests, wanted)
    finally:
        peer.close()
    return Stand(name, peer.name, found)


def _as_json(lacks: Mapping[tuple[str, str], Lack]) -> dict[str, dict[str, float]]:
    return {
        "/".join(quality): {"segments": lack.segments, "seconds": lack.duration.total_seconds()}
        for quality, lack in sorted(lacks.items())
        if lack.segments
    }


def _lines(side: str, lacks: Mapping[tuple[str, str], Lack]) -> Iterator[str]:
    for quality, lack in sorted(lacks.items()):
        if lack.segments:
            length = timedelta(seconds=round(lack.duration.total_seconds()))
            many = f"{lack.segments} segment{'s' * (lack.segments > 1)}"
            yield f"  missing {side:<5}  {'/'.join(quality)}  {many}, {length}"
