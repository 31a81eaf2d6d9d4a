"""What operators are told early of upload locations: which there are, and what they take."""

import json
from datetime import timedelta
from typing import Final

from common.db import Connection
from common.errors import UserError
from common.limits import Limits
from respool.event_rows import read

USUAL: Final = "local"
"""The location of `respool up`, which is meant where none is named."""

# As the cutters have announced it, the latest word last.
_ANNOUNCED: Final = """
    SELECT location, limits -> location AS limits
    FROM cutters, unnest(locations) AS location ORDER BY last_seen NULLS FIRST, name
"""


async def announced(connection: Connection) -> dict[str, Limits]:
    """Give the locations of all cutters that run or have run; empty if there never was one."""
    found = await connection.fetch(_ANNOUNCED)
    return {row["location"]: Limits.of_json(json.loads(row["limits"] or "null")) for row in found}


async def check_location(connection: Connection, location: str) -> None:
    """Return if a cutter knows the location, or if there never was a cutter. Raises UserError."""
    known = await announced(connection)
    if known and location not in known:
        raise UserError(f"There is no upload location {location!r}: the cutters know {', '.join(sorted(known))}.")


async def usual_location(connection: Connection) -> str | None:
    """Give the location that is meant where none is named; None if that is not clear."""
    known = await announced(connection)
    if not known or USUAL in known:
        return USUAL
    return next(iter(known)) if len(known) == 1 else None


async def doubts(connection: Connection, event: str) -> str | None:
    """Tell what its location will not take of an event as it is; None if nothing is known against it."""
    from respool.event_table import length

    row = await read(connection, event)
    limits = (await announced(connection)).get(row["upload_location"] or "", Limits())
    return limits.wrong_with(
        row["upload_location"] or "",
        title=row["title"] or "",
        description=row["video_description"] or "",
        tags=row["tags"],
        length=length(row) if row["ranges"] else timedelta(0),
    )
