"""Over PostgREST, as the PMS writes: one answer holds all failures."""

from __future__ import annotations

import json
from collections.abc import Callable

import httpx

from tests.people import Tenant


async def test_a_direct_insert_shows_all_failures(
    tenant: Tenant, rest: Callable[..., httpx.AsyncClient]
) -> None:
    bad = {
        "tenant_id": str(tenant.id), "sku": " A", "name": "", "price": 1.001, "currency": "USD",
        "description": "<img src=x onerror=alert(1)>", "attributes": {"care": "<script>alert(1)</script>"},
    }  # fmt: skip
    async with rest(tenant.owner) as pms:
        answer = await pms.post("/products", json=bad)
        asked = await pms.post(
            "/rpc/validate_product", json={"p_tenant_id": str(tenant.id), "p_product": bad}
        )
        found = await pms.get("/products", params={"select": "sku"})
    body = answer.json()
    assert (answer.status_code, body["code"], body["message"]) == (422, "PT422", "product.invalid")
    failures = json.loads(body["details"])
    assert [failure["code"] for failure in failures] == [
        "product.sku_clean",
        "product.name_length",
        "product.description_html",
        "product.price_scale",
        "product.attributes_html",
    ]
    assert asked.json() == {"valid": False, "failures": failures}
    assert found.json() == []
