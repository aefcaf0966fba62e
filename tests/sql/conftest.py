"""Fixtures of the SQL tests."""

from __future__ import annotations

from typing import Any

import pytest

from tests.databases import Connection, Database
from tests.sql.ask import rpc
from tests.sql.clock import stop_clock
from tests.sql.company import Company, add_endpoint, found_company
from tests.sql.lane_worker import LaneWorker


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


@pytest.fixture
async def endpoint(db: Connection, company: Company) -> dict[str, Any]:
    """An active endpoint of the company, which is owed nothing yet; time stands still from here on."""
    await stop_clock(db)
    endpoint = await add_endpoint(db, company, events=("product.*",))
    await rpc(db, "dispatch_outbox")
    return endpoint


@pytest.fixture
async def worker(db: Connection, endpoint: dict[str, Any]) -> LaneWorker:
    """One that holds the endpoint's lane."""
    worker = LaneWorker(db, "first")
    await worker.lease()
    return worker
