"""What the database says is needed, with a real PostgreSQL."""

from datetime import UTC, datetime

import asyncpg
import pytest

from common.lifetimes import Protection
from db_proxy import proxied
from librarian.needed import Needs

STATES = ("UNEDITED", "EDITED", "CLAIMED", "FINALIZING", "TRANSCODING", "MODIFIED", "DONE")
RANGE = "ARRAY[ROW('2026-02-20T10:00Z', '2026-02-20T11:00Z')::video_range]"


async def execute(dsn: str, *statements: str) -> None:
    connection = await asyncpg.connect(dsn)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


def at(hour: int) -> datetime:
    return datetime(2026, 2, 20, hour, tzinfo=UTC)


async def test_all_that_is_not_done_is_needed(postgres_dsn: str) -> None:
    """An event of any state but DONE needs its ranges and the frame of its thumbnail; of a row without a name all."""
    await execute(
        postgres_dsn,
        *(
            f"INSERT INTO events (id, state, channel, quality, ranges, title, upload_location, uploader, video_link, "  # noqa: S608 - our own texts
            f"upload_time) VALUES ('{state}', '{state}', 'chan', 'source', {RANGE}, 't', 'l', 'u', 'x', now())"
            for state in STATES
        ),
        f"INSERT INTO events (id, ranges) VALUES ('note', {RANGE})",  # noqa: S608 - our own text
        "INSERT INTO events (id, channel, thumbnail_time) VALUES ('frame', 'chan', '2026-02-20T15:00Z')",
        "INSERT INTO events (id) VALUES ('nothing')",
    )
    found = await Needs(postgres_dsn).ask()
    assert found is not None
    expected = [
        Protection("chan", "source", at(10), at(11), f"the event {state} is {state}") for state in sorted(STATES[:-1])
    ]
    assert sorted(found, key=lambda each: (each.start, each.why)) == [
        *sorted([*expected, Protection(None, None, at(10), at(11), "the event note is UNEDITED")], key=lambda e: e.why),
        Protection("chan", None, at(15), at(15), "the thumbnail of the event frame, which is UNEDITED"),
    ]


async def test_keeps_are_needed(postgres_dsn: str) -> None:
    """What operators keep is needed for as long as they do; ends beyond the calendar are those of the calendar."""
    await execute(
        postgres_dsn,
        'INSERT INTO keeps (channel, start, "end", who, why) '
        "VALUES ('chan', '2026-02-20T10:00Z', '2026-02-20T11:00Z', 'anna', 'A trial')",
        "INSERT INTO keeps (start, \"end\", who) VALUES ('4000-01-01 BC', '20000-01-01', 'bert')",
    )
    everything, kept = await Needs(postgres_dsn).ask() or ()
    assert kept == Protection("chan", None, at(10), at(11), "kept by anna: A trial")
    assert everything.why == "kept by bert"
    assert everything.first < at(0) < everything.last


async def test_database_that_is_away_is_no_database_without_needs(postgres_dsn: str) -> None:
    """While the database does not answer nothing is said of what is needed; afterwards it is again."""
    async with proxied(postgres_dsn) as way:
        needs = Needs(way.dsn)
        way.cut()
        assert await needs.ask() is None
        way.mend()
        assert await needs.ask() == ()
        way.cut()
        assert await needs.ask() is None


@pytest.mark.parametrize("dsn", ["postgresql://me:hush@127.0.0.1:9/x", "nonsense://x:hush@y"])
async def test_secrets_are_not_logged(dsn: str, capsys: pytest.CaptureFixture[str]) -> None:
    """A wrong address is told without its password."""
    assert await Needs(dsn).ask() is None
    shown = "".join(capsys.readouterr())
    assert "needs_not_known" in shown
    assert "hush" not in shown


async def test_empty_database_gets_its_schema(empty_postgres_dsn: str) -> None:
    """A librarian that comes first brings the schema along."""
    assert await Needs(empty_postgres_dsn).ask() == ()
