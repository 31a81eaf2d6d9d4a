"""The documentation: every command in it is run, beside a running Respool with its demo stream."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue

import pytest
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]

# What a command that goes on says when it works, and what is long enough for it on a slow machine.
WORKS = re.compile(r"Open http|serving|stream_found")
PATIENCE = 60.0

# The examples take ten seconds of twenty seconds ago.
RECORDED = 11


@dataclass(frozen=True)
class Block:
    """One fenced block of shell commands, and where it stands."""

    page: Path
    line: int
    text: str

    def __str__(self) -> str:
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def blocks(page: Path) -> Iterator[Block]:
    text = page.read_text(encoding="utf-8")
    for found in re.finditer(r"^```sh\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
        yield Block(page, text[: found.start()].count("\n") + 1, found.group(1))


BLOCKS = [block for page in PAGES for block in blocks(page)]
GOES_ON = re.compile(r"\bmake run|respool (up|downloader|restreamer) ")


class Running:
    """A command that goes on, in a process group of its own, and what it says line by line."""

    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self.process = subprocess.Popen(
            ["/bin/sh", "-ec", f"exec {command}"],
            cwd=folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self.said: list[str] = []
        self._lines: Queue[str | None] = Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self._lines.put(line)
        self._lines.put(None)

    def wait_for(self, pattern: re.Pattern[str], times: int = 1) -> None:
        while sum(bool(pattern.search(line)) for line in self.said) < times:
            try:
                line = self._lines.get(timeout=PATIENCE)
            except Empty:
                line = None
            assert line is not None, "".join(self.said)
            self.said.append(line)

    def stop(self) -> int:
        os.killpg(self.process.pid, signal.SIGINT)
        code = self.process.wait(timeout=PATIENCE)
        self._reader.join()
        return code


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@dataclass(frozen=True)
class Tour:
    """A folder like a clone of the repository in which `make run` runs, on a port of its own."""

    folder: Path
    port: int

    def environment(self) -> dict[str, str]:
        # the options of a `make test` around us are not for the `make run` inside
        inherited = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "ARGS"))}
        return {
            **inherited,
            "RESPOOL_DATA": str(self.folder / "data"),
            "RESPOOL_PORT": str(self.port),
            "RESPOOL_LOG_LEVEL": "info",
        }

    def fitted(self, command: str) -> str:
        """The command as it stands, but for addresses, ports and the folder that another one uses."""
        command = command.replace("https://example.org/live.m3u8", "http://127.0.0.1:8000/playlist/demo.m3u8")
        command = command.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{self.port}")
        if GOES_ON.search(command):
            command = re.sub(r"(--(?:metrics-)?port) \d+", lambda found: f"{found[1]} {free_port()}", command)
            command = command.replace("respool up --data data", f"respool up --data other --port {free_port()}")
        return command


@pytest.fixture(scope="module")
def tour(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tour]:
    """The first step of the README's tour, and as much of a recording as the other steps need."""
    folder = tmp_path_factory.mktemp("clone")
    (folder / ".venv").symlink_to(ROOT / ".venv")
    tour = Tour(folder, free_port())
    assert BLOCKS[0].text.strip() == "make run"
    running = Running("make run", ROOT, tour.environment())
    try:
        running.wait_for(re.compile(f"Open http://127.0.0.1:{tour.port}/"))
        running.wait_for(re.compile("segment_committed"), RECORDED)
        yield tour
    finally:
        code = running.stop()
    # make itself ends by the signal, after its children
    assert code == -signal.SIGINT, "".join(running.said)


@pytest.mark.parametrize("block", BLOCKS[1:], ids=str)
def test_the_commands_of_the_documentation_work(block: Block, tour: Tour) -> None:
    """Every command in a `sh` block does what the text around it says, as far as its exit code tells."""
    command = tour.fitted(block.text)
    if GOES_ON.search(command):
        running = Running(command, tour.folder, tour.environment())
        try:
            running.wait_for(WORKS)
        finally:
            code = running.stop()
        assert code == 0, "".join(running.said)
        return
    done = subprocess.run(
        ["/bin/bash", "-e", "-o", "pipefail", "-c", command.replace("curl -s", "curl -sS --fail")],
        cwd=tour.folder,
        env=tour.environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout or "-o " in command, "it says nothing"


def make_targets(page: Path) -> set[str]:
    return set(re.findall(r"^    make ([a-z]+(?: [a-z]+)*)\b", page.read_text(encoding="utf-8"), re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_make_targets_of_the_documentation_exist(page: Path) -> None:
    """What the pages tell to make, the Makefile can make."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    known = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    assert {target for targets in make_targets(page) for target in targets.split()} <= known


def test_the_tests_that_the_documentation_names_exist() -> None:
    """The table of rules names tests that are there."""
    named = re.findall(r"`(test_\w+\.py)::(test_\w+)`", (ROOT / "docs" / "playlists.md").read_text(encoding="utf-8"))
    assert len(named) > 10
    for file, name in named:
        assert f"def {name}(" in (ROOT / "tests" / "restreamer" / file).read_text(encoding="utf-8")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_links_of_the_documentation_lead_somewhere(page: Path) -> None:
    """A link to a file of the project names one that is there."""
    links = re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_picture_of_the_page_can_be_made_again(tmp_path: Path) -> None:
    """The script that makes the README's picture makes one of the page as it is now."""
    if shutil.which("chromium") is None:
        pytest.skip("There is no chromium here to take a picture with.")
    picture = tmp_path / "page.png"
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "screenshot.py", picture, "7"],
        capture_output=True,
        text=True,
        timeout=PATIENCE * 2,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    with Image.open(picture) as image, Image.open(ROOT / "docs" / "page.png") as committed:
        assert image.size == committed.size
        # the player shows the demo stream, which is no plain colour
        assert len(image.convert("RGB").crop((100, 150, 800, 500)).getcolors(1 << 20) or ()) > 100
