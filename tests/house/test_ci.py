"""In CI nothing is skipped: what was not shown there has not been shown."""

import os
import re
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


def run(folder: Path, root: Path, *, ci: str, **texts: str) -> subprocess.CompletedProcess[str]:
    """Run pytest on test files of these texts beside our conftest.py; a line for each outcome is among what it says."""
    (folder / "tests").mkdir()
    shutil.copy(root / "tests" / "conftest.py", folder / "tests")
    for name, text in texts.items():
        (folder / "tests" / f"test_{name}.py").write_text(f"import pytest\n{text}\n")
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "--continue-on-collection-errors", "-rA", "tests"],
        cwd=folder,
        env=os.environ | {"CI": ci, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture(scope="module")
def in_ci(tmp_path_factory: pytest.TempPathFactory, root: Path) -> str:
    """What pytest says with CI=true of all that is skipped, and of a test that fails as expected."""
    folder = tmp_path_factory.mktemp("ci")
    return run(folder, root, ci="true", **SKIPPED, expected=FAILS_AS_EXPECTED).stdout


@pytest.mark.parametrize("name", SKIPPED)
def test_skip_fails_in_ci(in_ci: str, name: str) -> None:
    """With CI=true a skipped test fails and tells why it was skipped, however it was skipped."""
    (said,) = (line for line in in_ci.splitlines() if re.match(rf"(FAILED|ERROR) tests/test_{name}\.py", line))
    assert "In CI nothing may be skipped" in said
    assert "no browser" in said or "no real clips" in said


def test_expected_failure_is_no_skip(in_ci: str) -> None:
    """A test that is expected to fail, and does, is as good in CI as elsewhere."""
    assert "XFAIL tests/test_expected.py" in in_ci


def test_skip_is_allowed_elsewhere(tmp_path: Path, root: Path) -> None:
    """On a developer's machine a skip is a skip."""
    done = run(tmp_path, root, ci="", call=SKIPPED["call"])
    assert done.returncode == 0
    assert "1 skipped" in done.stdout
