"""`respool expire`: it shows what the limits would delete and why, and deletes exactly that."""

import asyncio
import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import asyncpg
import pytest
from click.testing import CliRunner, Result

from common.dateutil import HOUR, floor_hour, hour_name
from common.expired import Expired
from common.lifetimes import AgeLimit, Limits, Policy
from common.segments import SegmentType, make_segment
from common.store import Store
from respool.expire import cli

NOW = floor_hour(datetime.now(UTC))
DAY = 24 * HOUR


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """Hours of 1, 9, 10 and 11 days ago, and this one."""
    store = Store(tmp_path / "segments")
    for days in (0, 1, 9, 10, 11):
        segment = make_segment(NOW - days * DAY, timedelta(seconds=2), SegmentType.FULL, "hash")
        path = store.segment_path("chan", "source", segment)
        path.parent.mkdir(parents=True)
        path.write_bytes(bytes(1000))
    return store


def run(store: Store, *arguments: str, dsn: str | None = None, typed: str = "") -> Result:
    return CliRunner().invoke(
        cli,
        [*arguments, "--base-dir", str(store.base), "--data", str(store.base.parent)],
        env={"RESPOOL_DATABASE": dsn} if dsn else {},
        input=typed,
    )


def name(days: int) -> str:
    return hour_name(NOW - days * DAY)


def keep(dsn: str, moment: datetime) -> None:
    async def insert() -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            'INSERT INTO keeps (channel, start, "end", who) VALUES ($1, $2, $3, $4)',
            "chan",
            moment,
            moment + HOUR,
            "anna",
        )
        await connection.close()

    asyncio.run(insert())


def test_dry_run_shows_and_deletes_nothing(store: Store, postgres_dsn: str) -> None:
    """A table says what goes and why, and what stays and why; nothing is touched."""
    keep(postgres_dsn, NOW - 10 * DAY)
    shown = run(store, "--dry-run", "--max-age", "8d", dsn=postgres_dsn)
    assert shown.exit_code == 0, shown.stderr
    assert shown.output.splitlines() == [
        f"goes   chan/source/{name(11)}      1 kB  age",
        f"stays  chan/source/{name(10)}      1 kB  age, but kept by anna",
        f"goes   chan/source/{name(9)}      1 kB  age",
        "2 of 5 hours go, 2 kB of 5 kB; 1 kB are needed by events or kept.",
    ]
    assert len(store.hours("chan", "source")) == 5
    found = json.loads(run(store, "--dry-run", "--json", "--max-age", "8d", dsn=postgres_dsn).output)
    assert [each["reason"] for each in found["going"]] == ["age", "age"]
    assert found["staying"][0]["stays_because"] == "kept by anna"


def test_it_deletes_after_a_question(store: Store, postgres_dsn: str) -> None:
    """Without an answer nothing goes; with one what was shown goes, for good."""
    refused = run(store, "--max-size", "3000", dsn=postgres_dsn, typed="n\n")
    assert refused.exit_code == 1
    assert len(store.hours("chan", "source")) == 5
    done = run(store, "--max-size", "3kB", dsn=postgres_dsn, typed="y\n")
    assert done.output.endswith("2 hours, 2 kB, are deleted.\n")
    assert store.hours("chan", "source") == [name(9), name(1), name(0)]
    assert list((store.base / "chan/source/.deleted").iterdir()) == []
    assert Expired(store.base).hours("chan", "source") == {name(10), name(11)}


def test_limits_of_the_librarian_hold(store: Store, postgres_dsn: str) -> None:
    """Without limits of its own it takes those of the librarian, which it leaves as they are."""
    told = run(store, "--dry-run", dsn=postgres_dsn)
    assert told.exit_code == 1
    assert "Say what is to go" in told.stderr
    policy = Policy(Limits((AgeLimit("*", "*", 10.5 * DAY),)))
    Expired(store.base).write_policy(policy)
    done = run(store, "--yes", dsn=postgres_dsn)
    assert "1 hours, 1 kB, are deleted." in done.output
    assert Expired(store.base).policy() == policy


def test_database_that_is_away_is_told(store: Store) -> None:
    """Without a word of the database nothing goes; what it last told holds, and it is said which."""
    told = run(store, "--yes", "--max-age", "8d")
    assert "never told what events need: nothing goes" in told.output
    assert "stays  chan/source" in told.output
    Expired(store.base).write_policy(Policy(known=NOW - 10 * DAY))
    told = run(store, "--yes", "--max-age", "8d")
    assert f"what it told at {NOW - 10 * DAY:%Y-%m-%d %H:%M} holds" in told.output
    assert store.hours("chan", "source") == [name(10), name(9), name(1), name(0)]
    assert "hours, 3 kB, are deleted" not in told.output
    without = run(store, "--yes", "--max-age", "8d", "--without-database")
    assert "2 hours, 2 kB, are deleted." in without.output


def test_program_is_not_asked(store: Store) -> None:
    """With --json it must be said whether anything is deleted."""
    result = run(store, "--json", "--max-age", "8d")
    assert result.exit_code == 2
    assert "a program is not asked" in result.stderr
