"""What all tests share: real media, a real PostgreSQL, and the rule that in CI nothing is skipped."""

import os
import secrets
from collections.abc import AsyncIterator, Generator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import asyncpg
import pytest
import pytest_asyncio

from common.db import apply_schema
from respool.postgres import embedded_postgres

Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)

ROOT = Path(__file__).resolve().parent.parent
MEDIA = ROOT.parent / "shared" / "media"


@pytest.fixture(scope="session")
def root() -> Path:
    """The folder of the repository."""
    return ROOT


@pytest.fixture(scope="session")
def media() -> Path:
    """The folder of real clips and playlists, which is beside the repository and not in it."""
    if not MEDIA.is_dir():
        pytest.skip(f"There are no real clips here: {MEDIA} is missing.")
    return MEDIA


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def postgres_server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[str]:
    """The address of the run's server; its database has the schema and is only copied."""
    async with embedded_postgres(tmp_path_factory.mktemp("server")) as dsn:
        await apply_schema(dsn)
        yield dsn


@pytest.fixture
async def postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """The address of a database with the schema, for one test alone."""
    async with _database(postgres_server, template="respool") as dsn:
        yield dsn


@pytest.fixture
async def empty_postgres_dsn(postgres_server: str) -> AsyncIterator[str]:
    """The address of a database with nothing in it, for one test alone."""
    async with _database(postgres_server, template="template0") as dsn:
        yield dsn


@asynccontextmanager
async def _database(server: str, template: str) -> AsyncIterator[str]:
    name = f"test_{secrets.token_hex(6)}"
    admin = await asyncpg.connect(server.replace("respool@/respool", "postgres@/postgres"))
    try:
        await admin.execute(f"CREATE DATABASE {name} TEMPLATE {template} OWNER respool")
        yield server.replace("@/respool", f"@/{name}")
        await admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
    finally:
        await admin.close()


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    return strict((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    return strict((yield))


def strict(report: Report) -> Report:
    """In CI, make a skip a failure that tells the reason; what is expected to fail (xfail) stays as it is."""
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longreprtext
        report.outcome = "failed"
        report.longrepr = f"In CI nothing may be skipped. {reason}"
    return report
