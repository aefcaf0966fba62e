"""schemathesis against the served OpenAPI, at length."""

from __future__ import annotations

import asyncio
import time

from tests.chaos.report import Report
from tests.edge.conftest import Shop
from tests.edge.furnishing import furnished
from tests.edge.fuzzing import fuzz
from tests.edge.signing import Signer, make_key
from tests.flow.ledger import Judgement
from tests.flow.scene import Scene

EXAMPLES = 200


async def edge_fuzz(scene: Scene) -> Report:
    """Signed requests that follow the document and that break it: nothing fails or surprises."""
    started = time.monotonic()
    people, addresses = scene.people, scene.platform.addresses
    tenant = await people.make_tenant()
    owner = people.rest(tenant.owner)
    place = {"tenant_id": str(tenant.id), "code": "MAIN", "name": "Main"}
    made = await owner.post("/locations", json=place, headers={"Prefer": "return=representation"})
    key = await make_key(people, tenant, "manager", p_rate_per_minute=100_000)
    async with Signer(addresses.api_url, key) as api:
        ids = await furnished(Shop(tenant, owner, api, str(made.raise_for_status().json()[0]["id"])))
    # an instance whose limit per address is no matter
    instance = scene.platform.start_functions("edge-fuzz", PMS_API_ADDRESS_RATE="100000")
    tally = await asyncio.to_thread(fuzz, f"{instance.url}/api", key, ids, examples=EXAMPLES)
    facts: dict[str, float | int | str] = {
        "requests": tally.asked,
        **{f"status_{status}": count for status, count in tally.statuses.items()},
    }
    return Report("edge_fuzz", time.monotonic() - started, Judgement(0, 0, 0, 0, 0), facts, tally.faults)
