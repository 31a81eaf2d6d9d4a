"""What is tested is the built wheel, and it holds all that runs need."""

import importlib
import os
import sysconfig
from importlib.metadata import distribution
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(
    os.environ.get("RESPOOL_TEST_WHEEL") != "1", reason="Only `make test` builds and installs the wheel."
)

SITE = Path(sysconfig.get_path("purelib"))


def lies_in_wheel(path: str) -> bool:
    """Whether `path` is a real file of the installed distribution, and not empty."""
    files = {str(file): Path(str(file.locate())) for file in distribution("respool").files or ()}
    return path in files and files[path].is_file() and not files[path].is_symlink() and files[path].stat().st_size > 0


@pytest.mark.parametrize("package", ["common", "downloader", "respool", "restreamer"])
def test_packages_come_from_the_wheel(package: str) -> None:
    """The packages under test are those that pip installed, not those of the source tree."""
    assert importlib.import_module(package).__file__ == str(SITE / package / "__init__.py")


@pytest.mark.parametrize(
    "path", ["common/schema.sql", "restreamer/web/vendor/hls.min.js", "restreamer/web/vendor/hls.min.js.LICENSE"]
)
def test_data_is_in_the_wheel(path: str) -> None:
    """The schema, the player and the player's licence are files of the distribution."""
    assert lies_in_wheel(path)


def test_schema_is_the_one_of_the_repository(root: Path) -> None:
    """The schema in the wheel is the schema that the repository's first page shows."""
    assert (SITE / "common" / "schema.sql").read_bytes() == (root / "schema.sql").read_bytes()


def test_own_licence_is_in_the_wheel(root: Path) -> None:
    """The distribution carries our own licence, word for word."""
    licences = [file for file in distribution("respool").files or () if file.name == "LICENSE"]
    assert [file.read_text() for file in licences] == [(root / "LICENSE").read_text()]
