"""The command line as a whole: complete, quick to answer, and plain about what is wrong."""

import json
import logging
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import structlog
from click.testing import CliRunner

from respool.main import COMMANDS, cli

HEAVY = {"aiohttp", "av", "asyncpg", "rich", "structlog", "restreamer", "downloader"}


@pytest.fixture(autouse=True)
def _logs_as_before() -> Iterator[None]:
    """Commands send logs to what is standard error while they run, which here is gone after that."""
    root = logging.getLogger()
    handlers = root.handlers[:]
    yield
    root.handlers[:] = handlers
    structlog.reset_defaults()


def command(name: str) -> click.Command:
    found = cli.get_command(click.Context(cli), name)
    assert found is not None
    return found


def options() -> Iterator[tuple[str, click.Option]]:
    """Every option of every command, but for --help."""
    for name in COMMANDS:
        yield from ((name, param) for param in command(name).params if isinstance(param, click.Option))


def python(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, *arguments], capture_output=True, text=True, timeout=30, check=False)


def loaded_by(statement: str) -> set[str]:
    """The top packages that a fresh Python has loaded after the statement."""
    code = f"import sys\ntry:\n    {statement}\nexcept SystemExit:\n    pass\nprint(*sys.modules, file=sys.stderr)"
    done = python("-c", code)
    assert done.returncode == 0, done.stderr
    return {name.partition(".")[0] for name in done.stderr.split()}


def test_help_names_every_command() -> None:
    """`respool --help` has a line of help for each command."""
    said = " ".join(CliRunner().invoke(cli, ["--help"]).output.split())
    assert [name for name, (_, text) in COMMANDS.items() if f" {name} {text}" not in said] == []


@pytest.mark.parametrize("name", COMMANDS)
def test_table_of_commands_says_what_they_say(name: str) -> None:
    """The line of help in the table is the first sentence of the command's own help."""
    assert command(name).get_short_help_str(limit=200) == COMMANDS[name][1]
    assert command(name).name == name


def inner_options() -> Iterator[tuple[str, click.Command, click.Option]]:
    """Every option of every command within a command, but for --help."""
    for name in COMMANDS:
        group = command(name)
        for inner, each in (group.commands if isinstance(group, click.Group) else {}).items():
            yield from ((f"{name} {inner}", each, param) for param in each.params if isinstance(param, click.Option))


# What is said of one event has no variables: one that is left in a shell would change events, unnoticed.
SETTINGS = {"--database", "--data", "--as", "--json", "--base-dir", "--token-file", "--ca-file"}


@pytest.mark.parametrize(("name", "inner", "option"), [*inner_options()], ids=str)
def test_options_of_inner_commands_are_explained(name: str, inner: click.Command, option: click.Option) -> None:
    """Every option of a command such as `event add` has a help text, and those that are settings a variable."""
    said = " ".join(CliRunner().invoke(cli, [*name.split(), "--help"], terminal_width=10_000).output.split())
    assert option.help
    assert option.help.endswith(".")
    assert option.help in said
    flag = next(text for text in option.opts if text.startswith("--"))
    variable = "RESPOOL_" + flag[2:].upper().replace("-", "_")
    assert option.envvar == (variable if flag in SETTINGS else None)
    assert inner.get_short_help_str(limit=50).endswith(".")
    assert not inner.get_short_help_str(limit=50).endswith("...")


@pytest.mark.parametrize(("name", "option"), [*options()], ids=str)
def test_options_are_explained(name: str, option: click.Option) -> None:
    """Every option has a help text and an environment variable of its name, and the command's help shows both."""
    flag = next(text for text in option.opts if text.startswith("--"))
    variable = "RESPOOL_" + flag[2:].upper().replace("-", "_")
    assert option.help
    assert option.help.endswith(".")
    said = " ".join(CliRunner().invoke(cli, [name, "--help"], terminal_width=10_000).output.split())
    assert f"{flag} " in said
    assert f"{option.help} [env var: {variable}" in said


def test_help_loads_nothing_heavy() -> None:
    """`respool --help` is answered without loading what the commands need."""
    assert not HEAVY & loaded_by("from respool.main import cli; cli(['--help'])")


@pytest.mark.parametrize(
    ("module", "strangers"),
    [
        ("downloader.main", {"restreamer", "respool", "asyncpg", "av", "requests", "streamlink", "yt_dlp"}),
        ("restreamer.main", {"downloader", "respool", "asyncpg"}),
        ("librarian.main", {"downloader", "restreamer", "cutter", "respool"}),
        ("respool.up", {"downloader", "restreamer", "backfiller", "librarian"}),
        ("respool.tombstone", {"downloader", "restreamer", "librarian", "aiohttp", "asyncpg"}),
        ("respool.keep", {"downloader", "restreamer", "librarian", "cutter", "aiohttp", "PIL"}),
        ("backfiller.main", {"downloader", "restreamer", "respool", "av", "numpy", "requests"}),
        ("respool.node", {"backfiller", "restreamer", "aiohttp", "av"}),
        ("respool.cut", {"downloader", "restreamer", "aiohttp", "asyncpg"}),
        ("respool.coverage", {"downloader", "restreamer", "aiohttp", "asyncpg"}),
        ("respool.status", {"downloader", "restreamer", "aiohttp", "asyncpg"}),
        ("respool.event", {"downloader", "restreamer", "cutter", "aiohttp", "PIL"}),
        ("respool.webhook", {"downloader", "restreamer", "cutter", "aiohttp", "PIL"}),
    ],
)
def test_services_do_not_load_each_other(module: str, strangers: set[str]) -> None:
    """A service or command loads no other one, nor the libraries that only others need."""
    assert not strangers & loaded_by(f"import {module}")


@pytest.mark.parametrize("name", ["downloader", "restreamer"])
def test_services_run_as_modules(name: str) -> None:
    """`python -m downloader` is the same command as `respool downloader`."""
    as_module, as_command = python("-m", name, "--help"), python("-m", "respool", name, "--help")
    assert as_module.returncode == 0
    assert as_module.stdout == as_command.stdout.replace(f"respool {name}", f"python -m {name}", 1)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["upp"], "Error: No such command 'upp'."),
        (["dsn", "--bogus"], "Error: No such option '--bogus'."),
        (
            ["coverage", "demo"],
            "Error: Invalid value for 'C/Q': 'demo' is not CHANNEL/QUALITY, for example demo/source.",
        ),
        (
            ["coverage", "../x"],
            "Error: Invalid value for 'C/Q': '../x' is not CHANNEL/QUALITY, for example demo/source.",
        ),
        (["downloader", "x=ftp://example.org"], "must be an http or https URL, such as https://host/x.m3u8, or such a"),
        (
            ["up", "--channel", "x=streamlink:name"],
            "the address of x must have an http or https URL behind streamlink:",
        ),
        (["up", "--channel", "x"], "'x' is not NAME=URL, where NAME is up to 64 letters, digits, dots, dashes and"),
        (["up", "--qualities", "a b"], "'a b' is not a quality such as source or 720p60."),
        (["up", "--port", "http"], "'http' is not a valid integer range."),
    ],
)
def test_mistakes_are_told_in_a_sentence(arguments: list[str], sentence: str) -> None:
    """A mistyped command, option or value gets the usage and one sentence, and exit code 2."""
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert sentence in result.stderr.splitlines()[-1]


def test_version() -> None:
    """`respool --version` tells it."""
    assert CliRunner().invoke(cli, ["--version"], prog_name="respool").output.startswith("respool, version ")


def test_logs_stay_out_of_what_is_printed(tmp_path: Path) -> None:
    """What a command has to complain about in the store does not get between the JSON that a program reads."""
    hour = tmp_path / "demo" / "source" / "2026-03-01T18"
    hour.mkdir(parents=True)
    (hour / "30:00.000000-2.0-full-hash.ts").touch()
    (hour / "stranger.txt").touch()
    done = python("-m", "respool", "coverage", "demo/source", "--json", "--base-dir", str(tmp_path))
    assert json.loads(done.stdout)["channel"] == "demo"
    assert json.loads(done.stderr)["event"] == "name_skipped"


@pytest.mark.parametrize("service", ["restreamer", "downloader"])
def test_services_speak_plainly_at_a_terminal(service: str, tmp_path: Path) -> None:
    """A service that cannot start says so in one plain sentence to a person, and as a log event elsewhere."""
    (tmp_path / "file").touch()
    arguments = ["-m", service, "--base-dir", str(tmp_path / "file" / "x")]
    arguments += ["x=http://127.0.0.1:9/"] if service == "downloader" else []
    away = python(*arguments)
    event = json.loads(away.stderr)
    assert (away.returncode, away.stdout, event["event"]) == (1, "", "cannot_run")

    ours, theirs = pty.openpty()
    with os.fdopen(ours, "rb", buffering=0) as terminal:
        process = subprocess.Popen([sys.executable, *arguments], stderr=theirs)
        os.close(theirs)
        assert process.wait(timeout=30) == 1
        assert terminal.read(10_000).decode() == f"Error: {event['reason']}\r\n"
