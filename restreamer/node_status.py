"""How this node stands, as it tells it to who asks: what `respool status` shows of all nodes."""

import asyncio
import json
import shutil
import time
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from common.dateutil import format_utc
from common.errors import UserError
from common.status import as_json, last_hours, recordings, status_of
from common.store import Store
from common.web import RequestError
from restreamer.disk import off_loop

# So long the same answer is given to all who ask: a look at the last day of a quality takes some ten milliseconds.
_KEPT_SECONDS = 2.0

_VERSION = version("respool")  # read once: it stands in a file


class NodeStatus:
    """How this node stands, looked at by one request at a time, and kept for a moment."""

    def __init__(self, store: Store) -> None:
        """Have looked at nothing yet."""
        self._store = store
        self._turn = asyncio.Lock()
        self._text = ""
        self._until = float("-inf")

    async def text(self) -> str:
        """Give it as JSON. Raises RequestError if the store cannot be read."""
        async with self._turn:
            if time.monotonic() >= self._until:
                self._text = await off_loop(lambda: json.dumps(_look(self._store), separators=(",", ":")))
                self._until = time.monotonic() + _KEPT_SECONDS
            return self._text


def _look(store: Store) -> dict[str, Any]:
    try:
        store.check_readable()
    except UserError as error:
        raise RequestError(str(error), status=503) from error
    disk = shutil.disk_usage(store.base)
    now = datetime.now(UTC)
    statuses = [status_of(store, recording, now) for recording in recordings(store)]
    return {
        "version": _VERSION,
        "now": format_utc(now),
        "disk": {"free_bytes": disk.free, "total_bytes": disk.total},
        "recordings": [as_json(each, last_hours(store, each)) for each in statuses],
    }
