"""All SQL of the operators' commands about events.

Each change is one statement that names the states in which it may be made: nothing is read first and written back, so
that nobody's change is lost in another's.
"""

import json
from collections.abc import Sequence
from typing import Any, Final

from common.db import Connection
from common.errors import UserError
from respool.event_fields import Columns
from respool.refusals import NOT_NOW

STATES: Final = ("UNEDITED", "EDITED", "CLAIMED", "FINALIZING", "TRANSCODING", "DONE", "MODIFIED")

Row = dict[str, Any]
"""An event: its columns by their names, but for what is long, secret or of the machinery only."""

# The types of what commands write; also the columns that they may write.
_TYPES: Final = {
    "id": "text",
    "description": "text",
    "channel": "text",
    "quality": "text",
    "ranges": "video_range[]",
    "transitions": "video_transition[]",
    "title": "text",
    "video_description": "text",
    "tags": "text[]",
    "public": "boolean",
    "upload_location": "text",
    "cut_type": "text",
    "allow_holes": "boolean",
    "uploader_allowlist": "text[]",
    "priority": "integer",
    "thumbnail_mode": "text",
    "thumbnail_time": "timestamptz",
    "thumbnail_template": "text",
    "thumbnail_image": "bytea",
    "thumbnail_crop": "integer[]",
    "thumbnail_position": "integer[]",
    "editor": "text",
    "video_link": "text",
}

# What a change brings about besides, where it is not said: hard joins for other ranges, and a frame as the thumbnail. A
# transition is never dropped so: if the numbers do not fit, that is refused.
_BESIDES: Final = {
    "ranges": (
        "transitions",
        "CASE WHEN cardinality(array_remove(transitions, NULL)) = 0 THEN NULL ELSE transitions END",
    ),
    "thumbnail_time": ("thumbnail_mode", "CASE thumbnail_mode WHEN 'NONE' THEN 'BARE' ELSE thumbnail_mode END"),
}

_ANEW: Final = ("error = NULL", "attempts = 0", "next_try = NULL")

_SHOWN: Final = """
    id, state, description, channel, quality, ranges, transitions, title, video_description, tags, public,
    upload_location, cut_type, allow_holes, uploader_allowlist, priority, thumbnail_mode, thumbnail_time,
    thumbnail_template, octet_length(thumbnail_image) AS thumbnail_image, thumbnail_crop, thumbnail_position, editor,
    edit_time, uploader, error, attempts, progress, made_as, video_id, video_link, upload_time, revision, lease_until,
    next_try, lacking, spool
"""


async def add(connection: Connection, values: Columns, *, ready: bool) -> str:
    """Make an event, and give its id."""
    values = dict(values)
    if "thumbnail_time" in values:
        values.setdefault("thumbnail_mode", "BARE")
    names = ", ".join(values)
    places = ", ".join(f"${place}::{_TYPES[name]}" for place, name in enumerate(values, 2))
    made = await connection.fetchval(
        f"INSERT INTO events (state, {names}) VALUES ($1, {places}) RETURNING id",  # noqa: S608 - names from our table
        "EDITED" if ready else "UNEDITED",
        *values.values(),
    )
    return str(made)


async def resolve(connection: Connection, name: str) -> str:
    """Give the id of the event that is called so: by its id, or by the beginning of one that no other has.

    Raises UserError if there is none, or if there are several.
    """
    ids = [
        row["id"]
        for row in await connection.fetch(
            "SELECT id FROM events WHERE starts_with(id, $1) AND $1 <> '' ORDER BY id = $1 DESC, id LIMIT 4", name
        )
    ]
    if not ids:
        raise UserError(f"There is no event {name!r}: `respool event list` shows what there is.")
    if ids[0] != name and len(ids) > 1:
        raise UserError(f"Several events begin with {name!r}, among them {', '.join(ids[:3])}: write more of the id.")
    return str(ids[0])


async def edit(connection: Connection, event: str, values: Columns, *, ready: bool) -> str:
    """Change an event, and give its new state; `ready` has it cut, anew where that was under way."""
    assigned = _assignments(values)
    if ready:
        assigned += [
            "state = 'EDITED'",
            "edit_time = CASE WHEN state = 'EDITED' THEN edit_time ELSE now() END",
            *_ANEW,
        ]
    states = ["UNEDITED", "EDITED"]
    if ready:
        states.append("CLAIMED")
    elif values.keys() <= {"description", "editor"}:
        states = list(STATES)  # what operators note down for themselves changes nothing else
    return await _change(connection, "edit", event, assigned, states, values=values)


async def replace(connection: Connection, event: str) -> str:
    """Make an event that is out UNEDITED, so that another video can be made of it."""
    return await _change(connection, "replace", event, ["state = 'UNEDITED'"], ["DONE"])


async def publish(connection: Connection, event: str, values: Columns) -> str:
    """Make an event DONE that an operator has published by hand, at the `video_link` among the values."""
    assigned = ["state = 'DONE'", "upload_time = now()", "error = NULL", *_assignments(values)]
    return await _change(connection, "publish", event, assigned, ["UNEDITED"], values=values)


async def cancel(connection: Connection, event: str) -> str:
    """Take an edit back, also from a cutter; nothing happens to an event that is UNEDITED already."""
    assigned = ["state = 'UNEDITED'", *_ANEW]
    if await _state(connection, event) == "UNEDITED":
        return "UNEDITED"
    return await _change(connection, "cancel", event, assigned, ["EDITED", "CLAIMED"])


async def retry(connection: Connection, event: str) -> str:
    """Have what failed tried again, and at once what waits for its next try."""
    return await _change(
        connection,
        "retry",
        event,
        ["state = CASE state WHEN 'UNEDITED' THEN 'EDITED' WHEN 'DONE' THEN 'MODIFIED' ELSE state END", *_ANEW],
        [state for state in STATES if state != "CLAIMED"],
        condition="AND (state = 'EDITED' OR error IS NOT NULL)",
    )


async def modify(connection: Connection, event: str, values: Columns) -> str:
    """Change what is said of a video that is out; a cutter that tells of an earlier change goes on to this one."""
    assigned = ["state = 'MODIFIED'", *_ANEW, *_assignments(values)]
    return await _change(
        connection, "modify", event, assigned, ["DONE", "MODIFIED"], values=values, condition="AND uploader IS NOT NULL"
    )


def _assignments(values: Columns) -> list[str]:
    """The list of what an UPDATE sets, whose parameters follow $1 (the id) and $2 (the states)."""
    assigned = [f"{name} = ${place}::{_TYPES[name]}" for place, name in enumerate(values, 3)]
    besides = [_BESIDES[name] for name in values if name in _BESIDES]
    return assigned + [f"{name} = {value}" for name, value in besides if name not in values]


async def _change(
    connection: Connection,
    act: str,
    event: str,
    assigned: Sequence[str],
    states: Sequence[str],
    *,
    values: Columns | None = None,
    condition: str = "",
) -> str:
    """Change an event that is in one of the states, and give its new one. Raises UserError if it is in another."""
    where = f"id = $1 AND state = ANY ($2::text[]) {condition}"
    state = await connection.fetchval(
        f"UPDATE events SET {', '.join(assigned)} WHERE {where} RETURNING state",  # noqa: S608 - our own texts
        event,
        states,
        *(values or {}).values(),
    )
    if state is None:
        state = await _state(connection, event)
        raise UserError(f"{event} {NOT_NOW[act][state].format(id=event)}")
    return str(state)


async def _state(connection: Connection, event: str) -> str:
    state = await connection.fetchval("SELECT state FROM events WHERE id = $1", event)
    if state is None:
        raise UserError(f"The event {event} has been deleted.")
    return str(state)


async def read(connection: Connection, event: str) -> Row:
    """Give an event."""
    row = await connection.fetchrow(f"SELECT {_SHOWN} FROM events WHERE id = $1", event)  # noqa: S608 - our own text
    if row is None:
        raise UserError(f"The event {event} has been deleted.")
    return _row(row)


async def history(connection: Connection, event: str) -> list[Row]:
    """Give all changes of an event, the oldest first: `at`, `by`, `before` and `after`."""
    rows = await connection.fetch(
        "SELECT at, by, before, after FROM event_history WHERE event = $1 ORDER BY number", event
    )
    return [_row(row) for row in rows]


async def listed(
    connection: Connection,
    *,
    states: Sequence[str],
    channel: str | None,
    text: str | None,
    failed: bool,
    limit: int | None,
) -> list[Row]:
    """Give the events that were asked for, those of the latest recording first; without ranges they come first."""
    rows = await connection.fetch(
        f"""
        SELECT {_SHOWN} FROM events
        WHERE (cardinality($1::text[]) = 0 OR state = ANY ($1)) AND ($2::text IS NULL OR channel = $2)
            AND ($3::text IS NULL OR strpos(lower(concat_ws(' ', id, title, description)), lower($3)) > 0)
            AND (NOT $4 OR error IS NOT NULL)
        ORDER BY (ranges[1]).start DESC NULLS FIRST, id LIMIT $5
        """,  # noqa: S608 - our own text
        states,
        channel,
        text,
        failed,
        limit,
    )
    return [_row(row) for row in rows]


async def latest_change(connection: Connection) -> int:
    """Give the number of the latest change of any event, for `watched`."""
    return int(await connection.fetchval("SELECT coalesce(max(number), 0) FROM event_history"))


async def watched(connection: Connection, *, events: Sequence[str] | None, since: int) -> list[Row]:
    """Give these events, or all that are under way or have come to an end since that change, as they are claimed."""
    rows = await connection.fetch(
        f"""
        SELECT {_SHOWN} FROM events
        WHERE id = ANY ($1::text[]) OR $1 IS NULL AND (
            state NOT IN ('UNEDITED', 'DONE') OR id IN (
                SELECT event FROM event_history WHERE number > $2 AND (before ? 'state' OR after ->> 'state' = 'DONE')))
        ORDER BY priority DESC, edit_time, id
        """,  # noqa: S608 - our own text
        events,
        since,
    )
    return [_row(row) for row in rows]


def _row(record: Any) -> Row:  # noqa: ANN401 - asyncpg's Record, which is a mapping
    row = dict(record)
    for name in row.keys() & {"lacking", "spool", "before", "after"}:
        row[name] = None if row[name] is None else json.loads(row[name])
    for name in row.keys() & {"ranges", "transitions"}:
        row[name] = None if row[name] is None else [None if each is None else tuple(each) for each in row[name]]
    return row
