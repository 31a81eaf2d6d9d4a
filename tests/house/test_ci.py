"""In CI nothing is skipped: what was not shown there has not been shown."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SKIPPED = {
    "mark": "@pytest.mark.skip(reason='no browser')\ndef test_x():\n    pass",
    "call": "def test_x():\n    pytest.skip('no browser')",
    "fixture": "@pytest.fixture\ndef x():\n    pytest.skip('no browser')\ndef test_x(x):\n    pass",
    "module": "pytest.skip('no browser', allow_module_level=True)",
    "media": "def test_x(media):\n    pass",
}
FAILS_AS_EXPECTED = "@pytest.mark.xfail\ndef test_x():\n    assert False"


def run(folder: Path, root: Path, text: str, *, ci: str) -> tuple[bool, str]:
    """Whether pytest is content with a test file of `text` beside our conftest.py, and what it says."""
    (folder / "tests").mkdir()
    shutil.copy(root / "tests" / "conftest.py", folder / "tests")
    (folder / "tests" / "test_example.py").write_text(f"import pytest\n{text}\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rs", "tests"],
        cwd=folder,
        env=os.environ | {"CI": ci, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode == 0, done.stdout


@pytest.mark.parametrize("text", SKIPPED.values(), ids=SKIPPED)
def test_skip_fails_in_ci(tmp_path: Path, root: Path, text: str) -> None:
    """With CI=true a skipped test fails and tells why it was skipped, however it was skipped."""
    content, said = run(tmp_path, root, text, ci="true")
    assert not content
    assert "In CI nothing may be skipped" in said
    assert "no browser" in said or "no real clips" in said


def test_skip_is_allowed_elsewhere(tmp_path: Path, root: Path) -> None:
    """On a developer's machine a skip is a skip."""
    content, said = run(tmp_path, root, SKIPPED["call"], ci="")
    assert content
    assert "1 skipped" in said


def test_expected_failure_is_no_skip(tmp_path: Path, root: Path) -> None:
    """A test that is expected to fail, and does, is as good in CI as elsewhere."""
    content, said = run(tmp_path, root, FAILS_AS_EXPECTED, ci="true")
    assert content
    assert "1 xfailed" in said
