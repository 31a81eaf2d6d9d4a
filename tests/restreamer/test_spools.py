"""Folders of videos that are being made: swept when their process is gone, and never while it lives."""

import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from common.store import Store
from common.web import serving
from restreamer import spools
from restreamer.main import make_app
from restreamer.spools import spool_folder, sweep_spools

MAKER = """
import sys
from restreamer.spools import spool_folder
with spool_folder() as folder:
    (folder / "cut.ts").write_bytes(bytes(1000))
    print(folder, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Let files for a while lie in a folder of the test's own."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    return tmp_path


def killed_amid_a_video() -> Path:
    """Give the folder that a process was using when it was killed."""
    with subprocess.Popen([sys.executable, "-c", MAKER], stdin=-1, stdout=-1, text=True) as process:
        assert process.stdout is not None
        folder = Path(process.stdout.readline().strip())
        assert sweep_spools() == [], "it is in use"
        process.kill()
    return folder


def test_what_a_killed_process_has_left_is_swept(monkeypatch: pytest.MonkeyPatch) -> None:
    """While a process lives, its folder stays; after a kill -9 the next sweep removes it."""
    monkeypatch.setattr(spools, "_YOUNG_SECONDS", 0.0)
    left = killed_amid_a_video()
    assert (left / "cut.ts").exists()
    assert sweep_spools() == [left]
    assert not left.exists()


def test_a_folder_that_is_just_being_made_is_let_be(place: Path) -> None:
    """One without a lock may be a moment old; one that is older is removed, and no link is followed."""
    (fresh := place / "respool-cut-fresh").mkdir()
    (old := place / "respool-cut-old").mkdir()
    os.utime(old, (0, 0))
    (place / "precious").mkdir()
    (place / "respool-cut-link").symlink_to(place / "precious")
    assert sweep_spools() == [old]
    assert fresh.exists()
    assert (place / "precious").exists()


def test_a_folder_goes_with_what_it_was_made_for() -> None:
    """Whatever happens in it, it is removed."""
    with suppress(KeyError), spool_folder() as folder:
        (folder / "cut.ts").touch()
        raise KeyError
    assert not folder.exists()


async def test_a_restreamer_sweeps_when_it_starts(place: Path, store: Store) -> None:
    """What is left from before is gone when the application has started."""
    (old := place / "respool-cut-old").mkdir()
    os.utime(old, (0, 0))
    async with serving(make_app(store), "127.0.0.1", 0):
        assert not old.exists()
