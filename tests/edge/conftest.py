"""A fresh tenant with a key, a place and a signer for each test, on the shared platform."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import httpx
import pytest

from tests.edge.signing import Signer, make_key
from tests.people import People, Tenant
from tests.stack.addresses import Addresses


@dataclass(frozen=True)
class Shop:
    tenant: Tenant
    owner: httpx.AsyncClient
    """PostgREST as the owner."""
    api: Signer
    """The edge function, with a key of the role manager."""
    location: str


@pytest.fixture
async def shop(people: People, addresses: Addresses) -> AsyncIterator[Shop]:
    tenant = await people.make_tenant()
    owner = people.rest(tenant.owner)
    place = {"tenant_id": str(tenant.id), "code": "MAIN", "name": "Main"}
    made = await owner.post("/locations", json=place, headers={"Prefer": "return=representation"})
    location = str(made.raise_for_status().json()[0]["id"])
    async with Signer(addresses.api_url, await make_key(people, tenant, "manager")) as api:
        yield Shop(tenant, owner, api, location)
