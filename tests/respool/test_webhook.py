"""`respool webhook`: who is told, and how that goes."""

import asyncio
import json

import asyncpg
import pytest
from click.testing import CliRunner, Result

from respool.webhook import cli

URL = "https://me:hush@host/path?token=hush"


def run(dsn: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, env={"RESPOOL_DATABASE": dsn})


def sql(dsn: str, statement: str) -> object:
    async def execute() -> object:
        connection = await asyncpg.connect(dsn)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(execute())


def test_secret_is_shown_once(postgres_dsn: str) -> None:
    """`add` prints the secret and nothing else; afterwards neither it nor what is secret in the URL is shown."""
    added = run(postgres_dsn, "add", "tally", URL, "--state", "done", "--state", "MODIFIED")
    secret = added.output.strip()
    assert (added.exit_code, secret) == (0, sql(postgres_dsn, "SELECT secret FROM webhooks"))
    assert len(secret) > 40
    assert sql(postgres_dsn, "SELECT url FROM webhooks") == URL
    listed = run(postgres_dsn, "list").output
    assert listed == "tally  https://host/path  DONE, MODIFIED; 0 waiting\n"
    for shown in (listed, run(postgres_dsn, "list", "--json").output):
        assert secret not in shown
        assert "hush" not in shown


def test_list_tells_what_is_wrong(postgres_dsn: str) -> None:
    """How many notifications wait, why and until when is seen in `list`."""
    assert run(postgres_dsn, "list").output == "There are no webhooks.\n"
    run(postgres_dsn, "add", "tally", "http://host/")
    sql(postgres_dsn, "INSERT INTO events (id) VALUES ('one'), ('two')")
    sql(postgres_dsn, "UPDATE notifications SET error = 'It answered with status 400.' WHERE event = 'two'")
    assert run(postgres_dsn, "list").output == (
        "tally  http://host/  all changes; 2 waiting: It answered with status 400\n"
    )
    sql(postgres_dsn, "UPDATE webhook_turns SET error = 'It is away.', attempts = 3, next_try = '2100-01-01'")
    assert run(postgres_dsn, "list").output == (
        "tally  http://host/  all changes; 2 waiting: It is away, next try at 2100-01-01T00:00:00Z\n"
    )
    [row] = json.loads(run(postgres_dsn, "list", "--json").output)
    assert (row["waiting"], row["attempts"], row["next_try"]) == (2, 3, "2100-01-01T00:00:00Z")


def test_removed_webhook_is_told_nothing(postgres_dsn: str) -> None:
    """`remove` says what it has dropped."""
    run(postgres_dsn, "add", "tally", "http://host/")
    sql(postgres_dsn, "INSERT INTO events (id) VALUES ('one')")
    removed = run(postgres_dsn, "remove", "tally")
    assert removed.output == "tally is told nothing any more; 1 notifications were dropped.\n"
    assert sql(postgres_dsn, "SELECT count(*) FROM webhook_turns") == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "tally", "http://other/"), "There is a webhook of that name already"),
        (("add", "x", "ftp://host/"), "has an http or https URL"),
        (("add", "x", "http://a..b/"), "has an http or https URL"),
        (("add", "x", "http://host:99999/"), "has an http or https URL"),
        (("add", "x", "http://ho st/"), "has an http or https URL"),
        (("add", "", "http://host/"), "name of a webhook cannot be empty"),
        (("remove", "x"), "There is no webhook 'x'"),
    ],
)
def test_refusals_are_sentences(postgres_dsn: str, arguments: tuple[str, ...], sentence: str) -> None:
    """What cannot be done is told in one sentence."""
    run(postgres_dsn, "add", "tally", "http://host/")
    result = run(postgres_dsn, *arguments)
    assert result.exit_code == 1
    assert sentence in result.stderr
