"""What the tests of every package may use: a real PostgreSQL, one for the whole run, with databases of their own."""

import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
import pytest
import pytest_asyncio

from common.db import apply_schema
from respool.postgres import embedded_postgres


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
