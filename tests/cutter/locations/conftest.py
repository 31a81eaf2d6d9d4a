"""What the tests of locations share: one of each kind, the example of the documentation among them."""

import re
import sys
import types
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from pathlib import Path

import pytest

from cutter.locations import config, local
from cutter.locations import s3 as s3_module
from delivery import MIB, Place, local_place, s3_place, webdav_place, youtube_place

KINDS = ("local", "s3", "youtube", "webdav")


@pytest.fixture
def example(root: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The module that docs/locations.md shows, registered as it says."""
    page = (root / "docs" / "locations.md").read_text()
    found = re.search(r"^```python\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    assert found is not None
    module = types.ModuleType("locations_example")
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(found[1], "docs/locations.md", "exec"), module.__dict__)  # noqa: S102 - our own page
    monkeypatch.setitem(config.KINDS, "webdav", module.__name__)
    return module


@pytest.fixture(params=KINDS)
async def place(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Place]:
    """A location of each kind, whose videos go in a few pieces."""
    monkeypatch.setattr(local, "_COPY_BYTES", MIB // 4)
    monkeypatch.setattr(s3_module, "_PART_BYTES", 5 * MIB)  # the least that S3 takes
    monkeypatch.setattr(s3_module, "_PARTS_AT_ONCE", 1)
    made: AbstractAsyncContextManager[Place]
    match request.param:
        case "local":
            made = local_place(tmp_path)
        case "s3":
            made = s3_place(tmp_path, request.getfixturevalue("moto"))
        case "youtube":
            made = youtube_place(tmp_path)
        case _:
            request.getfixturevalue("example")
            made = webdav_place(tmp_path)
    async with made as opened:
        yield opened
