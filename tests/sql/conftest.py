"""Fixtures of the SQL tests."""

from __future__ import annotations

import pytest

from tests.databases import Connection, Database
from tests.sql.company import Company, found_company


@pytest.fixture
async def company(db: Connection) -> Company:
    """A tenant of the clone, with an owner."""
    return await found_company(db)


@pytest.fixture
async def other(database: Database) -> Connection:
    """A second session of the clone."""
    return await database.connect()


@pytest.fixture
async def third(database: Database) -> Connection:
    return await database.connect()
