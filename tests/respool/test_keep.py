"""`respool keep`: what operators keep, for all nodes."""

import json

import pytest
from click.testing import CliRunner, Result

from respool.keep import cli

RANGE = ("2026-03-01T12:00:00Z", "2026-03-01T13:00:00Z")


def run(dsn: str, *arguments: str) -> Result:
    return CliRunner().invoke(cli, arguments, env={"RESPOOL_DATABASE": dsn, "RESPOOL_AS": "anna"})


def test_what_is_kept_is_listed_until_it_is_removed(postgres_dsn: str) -> None:
    """`add` gives a number; `list` tells what, by whom and why; `remove` takes it back."""
    assert run(postgres_dsn, "list").output == "Nothing is kept.\n"
    number = run(postgres_dsn, "add", "chan/source", *RANGE, "--why", "A trial").output.strip()
    other = run(postgres_dsn, "add", "chan", "2026-03-01T12:30:00Z", "2026-03-01T14:00:00+01:00").output.strip()
    assert run(postgres_dsn, "list").output == (
        f"{number}  chan/source  2026-03-01T12:00:00Z to 2026-03-01T13:00:00Z  anna: A trial\n"
        f"{other}  chan  2026-03-01T12:30:00Z to 2026-03-01T13:00:00Z  anna\n"
    )
    [first, second] = json.loads(run(postgres_dsn, "list", "--json").output)
    assert (first["quality"], second["quality"], first["why"], first["who"]) == ("source", None, "A trial", "anna")
    assert run(postgres_dsn, "remove", number, other).output == f"{number}, {other}: kept no longer.\n"
    assert run(postgres_dsn, "list").output == "Nothing is kept.\n"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("add", "chan", *reversed(RANGE)), "What is kept must start before it ends."),
        (("add", "../x", *RANGE), "is not CHANNEL or CHANNEL/QUALITY"),
        (("add", "chan", "noon", "later"), "is not an ISO 8601 time"),
        (("remove", "77"), "There is no keep 77"),
    ],
)
def test_mistakes_are_told(postgres_dsn: str, arguments: tuple[str, ...], sentence: str) -> None:
    """What cannot be done is told in a sentence."""
    result = run(postgres_dsn, *arguments)
    assert result.exit_code in (1, 2)
    assert sentence in result.stderr
