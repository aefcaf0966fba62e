"""Orders over PostgREST: one call places one, errors carry their status, lines come embedded."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import httpx

from tests.people import Tenant


async def make_shop(rest: httpx.AsyncClient, tenant_id: str) -> str:
    """Three of an active product; its id."""
    given = {"Prefer": "return=representation"}
    mug = {"tenant_id": tenant_id, "sku": "MUG", "name": "Mug", "price": 7.5, "status": "active"}
    product = (await rest.post("/products", json=mug, headers=given)).raise_for_status().json()[0]["id"]
    place = {"tenant_id": tenant_id, "code": "MAIN", "name": "Main"}
    location = (await rest.post("/locations", json=place, headers=given)).raise_for_status().json()[0]["id"]
    line = {"product_id": product, "location_id": location, "quantity": 3}
    stock = {"p_tenant_id": tenant_id, "p_lines": [line]}
    (await rest.post("/rpc/receive_stock", json=stock)).raise_for_status()
    return str(product)


async def test_an_order_lives_over_http(
    make_tenant: Callable[..., Awaitable[Tenant]], rest: Callable[..., httpx.AsyncClient]
) -> None:
    tenant = await make_tenant()
    owner = rest(tenant.owner)
    mine = {"p_tenant_id": str(tenant.id)}
    product = await make_shop(owner, str(tenant.id))

    async def place(quantity: int) -> httpx.Response:
        lines = [{"product_id": product, "quantity": quantity}]
        body = {**mine, "p_lines": lines, "p_customer": {"name": "Ann"}, "p_reserve_for": "PT1H"}
        return await owner.post("/rpc/place_order", json=body)

    async def happen(event: str, version: int, **payload: Any) -> httpx.Response:
        body = {**mine, "p_order_id": order["id"], "p_event": event, "p_expected_version": version}
        return await owner.post("/rpc/order_event", json={**body, "p_payload": payload})

    order = (await place(2)).raise_for_status().json()
    assert (order["number"], order["total"], order["reservations"][0]["status"]) == ("A-000001", 15, "held")
    short = await place(2)
    assert (short.status_code, short.json()["message"]) == (409, "stock.insufficient")

    assert (await happen("pay", 1)).json()["status"] == "paid"
    stale = await happen("ship", 1)
    assert (stale.status_code, stale.json()["message"]) == (409, "version.stale")
    illegal = await happen("pay", 2)
    assert (illegal.status_code, illegal.json()["message"]) == (409, "order.transition_illegal")
    assert illegal.json()["details"].endswith("legal: cancel, fulfil, refund, ship.")
    too_much = await happen("refund", 2, amount=15.01)
    assert (too_much.status_code, too_much.json()["message"]) == (422, "order.amount_invalid")

    page = await owner.get(
        "/orders",
        params={"select": "number,status,legal_events,order_lines(sku,quantity),order_history(event)"},
    )
    assert page.raise_for_status().json() == [
        {
            "number": "A-000001",
            "status": "paid",
            "legal_events": ["cancel", "fulfil", "refund", "ship"],
            "order_lines": [{"sku": "MUG", "quantity": 2}],
            "order_history": [{"event": "place"}, {"event": "pay"}],
        }
    ]
    stranger = rest((await make_tenant()).owner)
    assert (await stranger.get("/orders")).json() == []
