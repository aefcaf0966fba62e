"""schemathesis finds no server error and no violation of the schema."""

from __future__ import annotations

import asyncio

import pytest

from tests.edge.conftest import Shop
from tests.edge.furnishing import furnished
from tests.edge.fuzzing import fuzz
from tests.edge.signing import PREFIX, make_key
from tests.people import People
from tests.stack.addresses import Addresses


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore")
async def test_schemathesis_finds_nothing(shop: Shop, people: People, addresses: Addresses) -> None:
    ids = await furnished(shop)
    key = await make_key(people, shop.tenant, "manager", p_rate_per_minute=100_000)
    tally = await asyncio.to_thread(fuzz, addresses.api_url + PREFIX, key, ids, examples=8)
    assert not tally.faults, "\n\n".join(tally.faults)
    assert tally.asked > 150
    assert {200, 400} <= set(tally.statuses)
