"""Prometheus' configuration and rules, by its own promtool; and that every alert is tested and explained."""

import re
import shutil
import subprocess
from pathlib import Path

import click
import pytest

from respool.main import cli


@pytest.fixture
def promtool() -> str:
    """Give Prometheus' tool, which pip does not bring."""
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("There is no promtool: install Debian's package prometheus.")
    return found


@pytest.fixture
def alerts(root: Path) -> dict[str, str]:
    """Give the text of each alert by its name."""
    text = (root / "monitoring" / "rules" / "alerts.yml").read_text()
    return dict(re.findall(r"- alert: (\w+)\n((?: {8}.*\n)+)", text))


def run(promtool: str, *arguments: str | Path) -> str:
    done = subprocess.run([promtool, *map(str, arguments)], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_configuration_is_valid(promtool: str, root: Path) -> None:
    """Prometheus can be started with the configuration, and finds all rules through it."""
    said = run(promtool, "check", "config", root / "monitoring" / "prometheus.yml")
    assert said.count("rules found") == len([*(root / "monitoring" / "rules").glob("*.yml")])


def test_alerts_fire_and_do_not(promtool: str, root: Path) -> None:
    """Each alert fires for what it is for, and neither before nor for what only looks like it."""
    run(promtool, "test", "rules", root / "tests" / "monitoring" / "alerts.yml")


def test_every_alert_is_shown_firing_and_not(alerts: dict[str, str], root: Path) -> None:
    """No alert goes without an example of each."""
    text = (root / "tests" / "monitoring" / "alerts.yml").read_text()
    for alert in alerts:
        _, _, example = text.partition(f"  - name: {alert}\n")
        example, _, _ = example.partition("  - name: ")
        assert re.search(rf"alertname: {alert}, eval_time: \w+, exp_alerts: \[\]", example), alert
        assert re.search(rf"alertname: {alert}\n *eval_time: \w+\n *exp_alerts:\n *- exp_labels", example), alert


def test_every_alert_is_explained(alerts: dict[str, str], root: Path) -> None:
    """The documentation says of each alert what it means and what to do, where the alert itself says that it does."""
    page = (root / "docs" / "alerts.md").read_text()
    assert re.findall(r"^## (Respool\w+)$", page, re.MULTILINE) == [*alerts]
    for alert, text in alerts.items():
        assert f"runbook: docs/alerts.md#{alert.lower()}\n" in text
        _, _, section = page.partition(f"## {alert}\n")
        section, _, _ = section.partition("\n## ")
        assert "**What it means.**" in section, alert
        assert "**What to do.**" in section, alert


def test_rules_ask_for_what_there_is(root: Path) -> None:
    """Every metric in the rules is one that some service shows."""
    known = set(re.findall(r"^\| `(respool_\w+)`", (root / "docs" / "metrics.md").read_text(), re.MULTILINE))
    known |= {f"{name}_{end}" for name in known for end in ("bucket", "sum", "count")}
    rules = "".join(file.read_text() for file in sorted((root / "monitoring" / "rules").glob("*.yml")))
    known |= {*re.findall(r"record: (\S+)", rules)}
    for expression in re.findall(r"expr: (?:>\n(?:\s{10}.*\n)+|.*)", rules):
        assert {*re.findall(r"\b[a-z_]*:?respool_[a-z0-9_:]+", expression)} <= known


def names_in_alerts(root: Path) -> list[str]:
    """Give what the page of alerts has between backquotes, as single lines."""
    return [" ".join(each.split()) for each in re.findall(r"`([^`]+)`", (root / "docs" / "alerts.md").read_text())]


def test_alerts_name_commands_that_there_are(root: Path) -> None:
    """Every command that is to be given when an alert fires can be given, with its flags."""
    commands = [each.split()[1:] for each in names_in_alerts(root) if each.startswith("respool ")]
    assert len(commands) > 10
    for words in commands:
        command: click.Command = cli
        while isinstance(command, click.Group):
            found = command.get_command(click.Context(command), words.pop(0))
            assert found is not None, words
            command = found
        flags = {flag for parameter in command.params for flag in parameter.opts}
        assert {word for word in words if word.startswith("--")} <= flags, command.name


def test_alerts_name_log_events_that_there_are(root: Path) -> None:
    """Every event of the log, reason or column that an alert's page names is one in the code."""
    named = {each for each in names_in_alerts(root) if re.fullmatch(r"[a-z]+(_[a-z]+)+", each)}
    assert len(named) > 8
    packages = ("backfiller", "common", "cutter", "downloader", "librarian", "restreamer")
    code = "".join(file.read_text() for package in packages for file in (root / package).rglob("*.py"))
    assert {each for each in named if f'"{each}"' not in code} == set()
