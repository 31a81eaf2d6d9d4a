"""What the database allows and refuses, written in SQL as an operator could."""

import asyncio
import json
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from common import db

STATES = ("UNEDITED", "EDITED", "CLAIMED", "FINALIZING", "TRANSCODING", "DONE", "MODIFIED")

# state before -> states that an UPDATE of nothing else may bring about
POSSIBLE = {
    "UNEDITED": {"EDITED", "DONE"},
    "EDITED": {"UNEDITED", "CLAIMED"},
    "CLAIMED": {"UNEDITED", "EDITED", "FINALIZING"},
    "FINALIZING": {"TRANSCODING", "DONE"},
    "TRANSCODING": {"DONE"},
    "DONE": {"MODIFIED", "UNEDITED"},
    "MODIFIED": {"DONE"},
}

EDIT: dict[str, object] = {
    "channel": "stream",
    "quality": "source",
    "ranges": '{"(2026-03-01T10:00:00Z,2026-03-01T10:00:30Z)"}',
    "title": "The toss",
    "upload_location": "local",
}
# What a row of any state must or may hold.
WHOLE = {**EDIT, "uploader": "node", "video_link": "https://host/v", "upload_time": "2026-03-01T11:00:00Z"}

TOKEN = "6ba7b810-9dad-11d1-80b4-00c04fd430c8"
TWO = '"(2026-03-01T10:00:00Z,2026-03-01T10:00:30Z)","(2026-03-01T11:00:00Z,2026-03-01T11:00:30Z)"'
BOXES = "events_thumbnail_boxes_have_four_numbers"

Connection = db.Connection
ROOT = Path(__file__).parents[1]


@pytest.fixture
async def sql(shared_postgres_dsn: str) -> AsyncIterator[Connection]:
    """A connection whose changes are taken back in the end."""
    connection = await asyncpg.connect(shared_postgres_dsn)
    changes = connection.transaction()
    await changes.start()
    yield connection
    await changes.rollback()
    await connection.close()


@asynccontextmanager
async def refused(sql: Connection, *constraints: str) -> AsyncIterator[None]:
    """See that what is done within is refused by one of these constraints, and go on after it."""
    with pytest.raises(asyncpg.CheckViolationError) as raised:
        async with sql.transaction():
            yield
    assert raised.value.constraint_name in constraints


async def insert(sql: Connection, **values: object) -> None:
    """Insert the event `one`, from texts."""
    columns = ", ".join(f'"{name}"' for name in values)
    literals = ", ".join(quoted(value) for value in values.values())
    await sql.execute(f"INSERT INTO events (id, {columns}) VALUES ('one', {literals})")  # noqa: S608 - our own texts


def quoted(value: object) -> str:
    return "NULL" if value is None else "'" + str(value).replace("'", "''") + "'"


async def one(sql: Connection) -> dict[str, Any]:
    row = await sql.fetchrow("SELECT * FROM events WHERE id = 'one'")
    assert row is not None
    return dict(row)


@pytest.mark.parametrize("before", STATES)
async def test_state_changes_as_the_diagram_has_it_and_not_otherwise(sql: Connection, before: str) -> None:
    """A row that has all fields may become what the diagram says, whoever says so, and nothing else."""
    for after in set(STATES) - {before}:
        await sql.execute("DELETE FROM events")
        await insert(sql, state=before, **WHOLE)
        change = "UPDATE events SET state = $1, uploader = 'node', video_link = 'x', upload_time = now()"
        if after in POSSIBLE[before]:
            await sql.execute(change, after)
            assert (await one(sql))["state"] == after
            continue
        async with refused(sql, "events_state_follows_its_diagram", "events_are_not_cancelled_when_nearly_out"):
            await sql.execute(change, after)
        assert (await one(sql))["state"] == before


NEARLY_OUT = [("FINALIZING", "UNEDITED"), ("FINALIZING", "EDITED"), ("TRANSCODING", "UNEDITED")]


@pytest.mark.parametrize(("state", "after"), NEARLY_OUT)
async def test_what_is_nearly_out_goes_back_by_its_cutter_alone(sql: Connection, state: str, after: str) -> None:
    """That a video is not out is said by whoever gives up the claim with it, and not by an old error."""
    await insert(sql, state=state, error="It cannot be told now.", claim_token=TOKEN, lease_until="infinity", **WHOLE)
    for error in ("It cannot be told now.", None):
        async with refused(sql, "events_are_not_cancelled_when_nearly_out"):
            await sql.execute("UPDATE events SET state = $1, error = $2, quality = '720p'", after, error)
    await sql.execute("UPDATE events SET state = $1, claim_token = NULL", after)
    row = await one(sql)
    assert (row["uploader"], row["video_link"]) == (None, None if state == "TRANSCODING" else "https://host/v")


@pytest.mark.parametrize(("state", "after"), NEARLY_OUT)
async def test_operator_who_has_looked_can_take_back_what_nobody_sees_to(
    sql: Connection, state: str, after: str
) -> None:
    """A location that is gone for good keeps no event: an operator says in a new error that the video is not out."""
    await insert(sql, state=state, error="It cannot be told now.", **WHOLE)
    async with refused(sql, "events_are_not_cancelled_when_nearly_out"):
        await sql.execute("UPDATE events SET state = $1, claim_token = NULL", after)
    await sql.execute("UPDATE events SET state = $1, error = 'I have looked: it is not there.'", after)


async def test_video_of_which_nothing_could_be_made_is_forgotten(sql: Connection) -> None:
    """A video that its location could not process leaves no link and no time to the next one."""
    await insert(sql, state="TRANSCODING", video_id="v", made_as="smart", **WHOLE)
    await sql.execute("UPDATE events SET state = 'UNEDITED', error = 'Processing failed.'")
    row = await one(sql)
    assert [row[name] for name in ("video_id", "video_link", "upload_time", "made_as")] == [None] * 4


@pytest.mark.parametrize(
    ("constraint", "values"),
    [
        ("events_ranges_are_sound", {"ranges": '{{"(2026-03-01T10:00:00Z,2026-03-01T10:00:30Z)"}}'}),
        ("events_ranges_are_sound", {"ranges": '[0:0]={"(2026-03-01T10:00:00Z,2026-03-01T10:00:30Z)"}'}),
        ("events_ranges_are_sound", {"ranges": '{"(2026-03-01T10:00:00Z,20026-03-01T10:00:00Z)"}'}),
        ("events_ranges_are_sound", {"ranges": '{"(0044-03-15 BC,2026-03-01T10:00:00Z)"}'}),
        ("events_transitions_fit", {"ranges": f"{{{TWO}}}", "transitions": '{{"(fade,1)"}}'}),
        ("events_times_can_be_told", {"edit_time": "-infinity"}),
        ("events_times_can_be_told", {"edit_time": "20026-03-01"}),
        ("events_times_can_be_told", {"thumbnail_time": "infinity"}),
        ("events_times_can_be_told", {"upload_time": "infinity"}),
        ("events_times_can_be_told", {"next_try": "20026-03-01"}),
        ("events_lists_are_plain", {"tags": "{}", "uploader_allowlist": "[2:2]={node}"}),
        ("events_notes_of_cutters_are_objects", {"spool": "[]"}),
        ("events_notes_of_cutters_are_objects", {"spool": '{"bytes": "many"}'}),
        ("events_notes_of_cutters_are_objects", {"lacking": "null"}),
        ("events_notes_of_cutters_are_objects", {"upload_session": '"x"'}),
    ],
)
async def test_no_row_is_taken_that_keeps_others_from_being_read(
    sql: Connection, constraint: str, values: dict[str, str]
) -> None:
    """What PostgreSQL can hold and no program can read is refused: one such row would stop every cutter."""
    async with refused(sql, constraint):
        await insert(sql, **{**EDIT, "state": "EDITED", **values})


async def test_event_keeps_its_id(sql: Connection) -> None:
    """An id stands for the history and for the video, so that it never changes."""
    await insert(sql, **EDIT)
    async with refused(sql, "events_keep_their_ids"):
        await sql.execute("UPDATE events SET id = 'two'")


async def test_empty_list_of_nodes_is_none(sql: Connection) -> None:
    """A list of no nodes means any node, and not an event that nobody may ever cut."""
    await insert(sql, uploader_allowlist="{}", **EDIT)
    assert (await one(sql))["uploader_allowlist"] is None
    await sql.execute("UPDATE events SET uploader_allowlist = '{node}'")
    await sql.execute("UPDATE events SET uploader_allowlist = '{}'")
    assert (await one(sql))["uploader_allowlist"] is None


@pytest.mark.parametrize("state", ["EDITED", "CLAIMED"])
async def test_what_has_failed_does_not_count_for_another_cut(sql: Connection, state: str) -> None:
    """New ranges begin with no attempts and no error, and need not wait."""
    await insert(sql, state=state, error="It broke.", attempts=4, next_try="2030-01-01Z", **WHOLE)
    await sql.execute("UPDATE events SET state = 'EDITED', quality = '720p'")
    row = await one(sql)
    assert (row["error"], row["attempts"], row["next_try"]) == (None, 0, None)


@pytest.mark.parametrize("field", EDIT)
@pytest.mark.parametrize("state", ["EDITED", "CLAIMED", "MODIFIED"])
async def test_no_state_but_the_first_without_what_a_cut_needs(sql: Connection, field: str, state: str) -> None:
    """A row lacks no field that a cut needs from EDITED on."""
    async with refused(sql, "events_edited_has_what_a_cut_needs"):
        await insert(sql, **{**WHOLE, "state": state, field: None})


@pytest.mark.parametrize("state", ["CLAIMED", "FINALIZING", "TRANSCODING", "MODIFIED"])
async def test_nothing_is_claimed_by_nobody(sql: Connection, state: str) -> None:
    """From CLAIMED on it is known who has it."""
    async with refused(sql, "events_claimed_has_an_uploader"):
        await insert(sql, **{**WHOLE, "state": state, "uploader": None})


@pytest.mark.parametrize("field", ["video_link", "upload_time"])
@pytest.mark.parametrize("state", ["DONE", "MODIFIED"])
async def test_nothing_is_done_without_link_and_time(sql: Connection, field: str, state: str) -> None:
    """What is out has a link and a time."""
    async with refused(sql, "events_done_has_a_link_and_a_time"):
        await insert(sql, **{**WHOLE, "state": state, field: None})


async def test_upload_by_hand_needs_no_edit(sql: Connection) -> None:
    """A video that an operator has published elsewhere is entered with its link and its time."""
    await insert(sql, description="Toss, by hand")
    await sql.execute("UPDATE events SET state = 'DONE', video_link = 'https://host/v', upload_time = now()")


@pytest.mark.parametrize(
    ("ranges", "transitions", "constraint"),
    [
        ("(2026-03-01T10:00:30Z,2026-03-01T10:00:00Z)", None, "events_ranges_are_sound"),
        ("(2026-03-01T10:00:00Z,2026-03-01T10:00:00Z)", None, "events_ranges_are_sound"),
        ("(2026-03-01T10:00:00Z,)", None, "events_ranges_are_sound"),
        ("(-infinity,2026-03-01T10:00:00Z)", None, "events_ranges_are_sound"),
        (None, "{NULL}", "events_transitions_fit"),
        ("one", "{NULL}", "events_transitions_fit"),
        ("two", "{}", "events_transitions_fit"),
        ("two", '{"(fade,0)"}', "events_transitions_fit"),
        ("two", '{"(fade,-1)"}', "events_transitions_fit"),
        ("two", '{"(fade,NaN)"}', "events_transitions_fit"),
        ("two", '{"(fade,Infinity)"}', "events_transitions_fit"),
        ("two", '{"(fade,)"}', "events_transitions_fit"),
        ("two", '{"(,1)"}', "events_transitions_fit"),
        ("two", '{"(fade,10.5)"}', "events_transitions_fit"),
        ("three", '{"(fade,6)","(fade,6)"}', "events_transitions_fit"),
        ("three", '{"(fade,5)","(fade,5)"}', None),
        ("three", '{NULL,"(fade,10)"}', None),
        ("two", '{"(fade,10)"}', None),
        ("two", None, None),
        ("one", "{}", None),
    ],
)
async def test_ranges_and_transitions_fit_each_other(
    sql: Connection, ranges: str | None, transitions: str | None, constraint: str | None
) -> None:
    """Ranges run forward, and transitions, one less than those, are no longer than what they join."""
    ten_seconds = [f"(2026-03-01T1{hour}:00:00Z,2026-03-01T1{hour}:00:10Z)" for hour in range(3)]
    count = {"one": 1, "two": 2, "three": 3}.get(ranges or "")
    listed = ten_seconds[:count] if count else [ranges] if ranges else None
    array = None if listed is None else "{" + ",".join(f'"{each}"' for each in listed) + "}"
    if constraint is not None:
        async with refused(sql, constraint):
            await insert(sql, ranges=array, transitions=transitions)
        return
    await insert(sql, ranges=array, transitions=transitions)
    row = await one(sql)
    assert len(row["transitions"]) == len(row["ranges"]) - 1


@pytest.mark.parametrize(
    "thumbnail",
    [
        {"mode": "BARE"},
        {"mode": "TEMPLATE", "time": "2026-03-01T10:00:00Z"},
        {"mode": "CUSTOM"},
        {"mode": "OTHER"},
        {"mode": "NONE", "crop": "{1,2,3}"},
        {"mode": "NONE", "position": "{1,2,3,NULL}"},
    ],
)
async def test_half_a_thumbnail_is_refused(sql: Connection, thumbnail: dict[str, str]) -> None:
    """A thumbnail is described whole before a video is cut."""
    async with refused(sql, "events_thumbnail_mode_is_known", "events_thumbnail_has_what_its_mode_needs", BOXES):
        await insert(sql, state="EDITED", **EDIT, **{f"thumbnail_{name}": each for name, each in thumbnail.items()})


async def test_whole_thumbnails_are_taken(sql: Connection) -> None:
    """Each kind of thumbnail is taken with what belongs to it."""
    await insert(sql, state="EDITED", **EDIT)
    await sql.execute("UPDATE events SET thumbnail_mode = 'BARE', thumbnail_time = now()")
    await sql.execute("UPDATE events SET thumbnail_mode = 'TEMPLATE', thumbnail_template = 'plain'")
    await sql.execute("UPDATE events SET thumbnail_mode = 'CUSTOM', thumbnail_image = '123'")


async def test_what_is_being_cut_is_not_edited(sql: Connection) -> None:
    """The ranges of a claimed event change only by taking it away from its cutter, who then can write no more."""
    await insert(sql, state="CLAIMED", claim_token=TOKEN, **WHOLE)
    async with refused(sql, "events_are_not_edited_under_way"):
        await sql.execute("UPDATE events SET quality = '720p'")
    await sql.execute("UPDATE events SET state = 'EDITED', quality = '720p'")
    row = await one(sql)
    assert (row["uploader"], row["claim_token"], row["quality"], row["revision"]) == (None, None, "720p", 1)


async def test_edit_makes_a_finished_file_worthless(sql: Connection) -> None:
    """The spool of a cut is forgotten when its ranges change, and kept when only its title does."""
    await insert(sql, state="EDITED", spool='{"name": "x"}', upload_session='{"url": "x"}', **EDIT)
    await sql.execute("UPDATE events SET title = 'Another'")
    row = await one(sql)
    assert (row["revision"], json.loads(row["spool"])) == (0, {"name": "x"})
    await sql.execute("UPDATE events SET allow_holes = true")
    row = await one(sql)
    assert (row["revision"], row["spool"], row["upload_session"]) == (1, None, None)


async def test_new_edit_begins_anew(sql: Connection) -> None:
    """An event that is edited again has no error, no attempts and a time of its edit."""
    await insert(sql, error="Disk full.", attempts=3, next_try="2030-01-01", **EDIT)
    await sql.execute("UPDATE events SET state = 'EDITED'")
    row = await one(sql)
    assert (row["error"], row["attempts"], row["next_try"]) == (None, 0, None)
    assert row["edit_time"] is not None


async def test_history_says_who_changed_what(sql: Connection) -> None:
    """Every change is kept with its author, of the columns only those that changed; progress is no change."""
    await insert(sql, **EDIT)
    await sql.execute("SET respool.actor = 'anna'")
    await sql.execute("UPDATE events SET title = 'Better', thumbnail_image = '123'")
    await sql.execute("UPDATE events SET progress = 0.5")
    await sql.execute("DELETE FROM events")
    made, changed, deleted = await sql.fetch("SELECT * FROM event_history ORDER BY number")
    assert made["before"] is None
    assert json.loads(made["after"])["title"] == "The toss"
    assert changed["by"] == "anna"
    assert json.loads(changed["before"]) == {"title": "The toss", "thumbnail_image": None}
    assert json.loads(changed["after"]) == {"title": "Better", "thumbnail_image": 3}
    assert (deleted["event"], deleted["after"]) == ("one", None)


async def test_webhooks_queue_what_they_want_to_know(sql: Connection) -> None:
    """A change of state waits for each webhook that asked for it; other changes are nobody's business."""
    await sql.execute(
        "INSERT INTO webhooks VALUES ('all', 'https://a', repeat('s', 16), NULL), "
        "('done', 'https://b', repeat('s', 16), '{DONE}')"
    )
    await insert(sql, **EDIT)
    await sql.execute("UPDATE events SET description = 'x'")
    await sql.execute("UPDATE events SET state = 'EDITED'")
    await sql.execute("UPDATE events SET state = 'UNEDITED'")
    await sql.execute("UPDATE events SET state = 'DONE', video_link = 'https://v', upload_time = now()")
    rows = await sql.fetch("SELECT webhook, body FROM notifications ORDER BY number")
    told = [(row["webhook"], json.loads(row["body"])["state"]) for row in rows]
    assert sorted(told) == [
        ("all", "DONE"),
        ("all", "EDITED"),
        ("all", "UNEDITED"),
        ("all", "UNEDITED"),
        ("done", "DONE"),
    ]


async def test_change_wakes_those_who_wait(postgres_dsn: str) -> None:
    """Who listens hears of an event's change at once."""
    heard: asyncio.Queue[str] = asyncio.Queue()
    sql = await asyncpg.connect(postgres_dsn)
    await sql.add_listener("respool_events", lambda *message: heard.put_nowait(message[-1]))
    await insert(sql, state="EDITED", **EDIT)
    assert json.loads(await asyncio.wait_for(heard.get(), 30)) == {"id": "one", "state": "EDITED"}
    await sql.close()


async def test_diagram_in_the_docs_is_that_of_the_database(sql: Connection) -> None:
    """The table of states in the documentation has exactly the changes that the database allows."""
    rows = await sql.fetch("SELECT before, after, why FROM event_transitions")
    text = (ROOT / "docs/database.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|\n").split("|")] for line in text.splitlines() if " → " in line]
    shown = {tuple(cells[0].strip("`").split(" → ")): cells[1] for cells in lines}
    assert shown == {(row["before"], row["after"]): row["why"] for row in rows}


def earlier_schemas() -> list[str]:
    """Every version of the schema in the history of the repository, oldest first; none outside of a clone."""
    if shutil.which("git") is None or not (ROOT / ".git").exists():
        return []
    commits = git("log", "--format=%H", "--reverse", "--diff-filter=AM", "--", "schema.sql").split()
    return list(dict.fromkeys(git("show", f"{commit}:schema.sql") for commit in commits))


def git(*arguments: str) -> str:
    return subprocess.run(["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=True).stdout


async def test_every_earlier_schema_is_brought_up(empty_postgres_dsn: str, postgres_dsn: str) -> None:
    """A database of any version in the history becomes one of this version, with what it holds."""
    versions = earlier_schemas()
    if not versions:
        pytest.skip("Earlier versions of the schema are in the git history, and this is no clone.")
    for version in versions:
        connection = await asyncpg.connect(empty_postgres_dsn)
        await connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        await connection.execute(version)
        await connection.execute("INSERT INTO nodes (name, url) VALUES ('here', 'http://localhost:8000')")
        await db.apply_schema(empty_postgres_dsn)
        assert await connection.fetchval("SELECT name FROM nodes") == "here"
        assert await shape(connection) == await shape_of(postgres_dsn)
        await connection.close()


async def shape_of(dsn: str) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(dsn)
    try:
        return await shape(connection)
    finally:
        await connection.close()


async def shape(connection: Connection) -> list[asyncpg.Record]:
    """Give all columns, constraints, indexes, triggers and functions."""
    return await connection.fetch(
        """
        SELECT 'column' AS kind, attrelid::regclass::text AS whose, attname::text AS name,
               format_type(atttypid, atttypmod) || attnotnull || coalesce(pg_get_expr(adbin, adrelid), '') AS what
        FROM pg_attribute LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
        WHERE attrelid IN (
            SELECT oid FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'c')
        ) AND attnum > 0 AND NOT attisdropped
        UNION ALL
        SELECT 'constraint', conrelid::regclass::text, conname::text, pg_get_constraintdef(oid) FROM pg_constraint
        WHERE connamespace = 'public'::regnamespace
        UNION ALL
        SELECT 'index', tablename::text, indexname::text, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL
        SELECT 'trigger', tgrelid::regclass::text, tgname::text, pg_get_triggerdef(oid)
        FROM pg_trigger WHERE NOT tgisinternal
        UNION ALL
        SELECT 'function', '', proname::text, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace
        ORDER BY 1, 2, 3, 4
        """
    )
