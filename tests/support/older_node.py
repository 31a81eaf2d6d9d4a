"""What an older node is asked, and how it answers: the form that existing deployments speak.

`recorded/older_node.json` has both sides: the headers with which such a node asks (`asks_as`), and its answers to
whoever asks it. Its lists are in no order, hold `temps`, and come under whatever type; it knows no digests and no ETag.
"""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

_FILE = Path(__file__).parent.parent / "backfiller/recorded/older_node.json"


@dataclass(frozen=True, slots=True)
class Exchange:
    """One request and its answer: `path` with its query; `body` is a list, as JSON, or text."""

    path: str
    status: int
    headers: dict[str, str]
    body: list[str] | str

    def wire(self) -> bytes:
        """Give the body as it was sent."""
        return (self.body if isinstance(self.body, str) else json.dumps(self.body)).encode()


@cache
def _read() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(_FILE.read_text())
    return found


def asks_as() -> dict[str, str]:
    """Give the headers with which an older node asks."""
    return dict(_read()["asks_as"])


def exchanges() -> list[Exchange]:
    """Give all that was recorded."""
    return [Exchange(**each) for each in _read()["exchanges"]]
