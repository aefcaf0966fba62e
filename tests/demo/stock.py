"""Birch & Co opens a shop by plain HTTP: products, a location, goods in, corrections."""

from __future__ import annotations

from typing import Any, Final

from tests.demo.stage import Stage, expect, json_of

WARES: Final = ("Sourdough", "Rye Loaf", "Cardamom Bun", "Oat Biscuit", "Plum Jam", "Heather Honey")
RECEIVED, SOLD = 24, 5


async def stock_up(stage: Stage) -> str:
    """Goods are booked in once per idempotency key, corrected, and never below zero."""
    rest, tenant_id = stage.birch.rest, stage.birch.tenant_id
    location, wares = await _open_shop(stage)
    lines = [{"product_id": ware["id"], "location_id": location, "quantity": RECEIVED} for ware in wares]
    receipt = {"p_tenant_id": tenant_id, "p_lines": lines, "p_key": "delivery-note-1"}
    stage.say("goods in, twice with one key")
    first = json_of(await rest.post("/rpc/receive_stock", json=receipt), "receiving goods")
    twin = json_of(await rest.post("/rpc/receive_stock", json=receipt), "receiving goods again")
    expect(first == twin, "one idempotency key gave two results")

    stage.say("stock adjusted")
    adjust = {"p_tenant_id": tenant_id, "p_lines": [line | {"quantity": -SOLD} for line in lines[:3]]}
    json_of(await rest.post("/rpc/adjust_stock", json=adjust | {"p_reason": "sold at the door"}), "adjusting")
    too_much = {"p_tenant_id": tenant_id, "p_lines": [lines[3] | {"quantity": -RECEIVED - 1}]}
    refusal = json_of(await rest.post("/rpc/adjust_stock", json=too_much), "overselling", status=409)
    expect(refusal["message"] == "stock.insufficient", f"overselling was refused as {refusal}")

    levels = json_of(await rest.get("/stock_levels?select=on_hand"), "reading the stock")
    on_hand, wanted = sum(level["on_hand"] for level in levels), len(wares) * RECEIVED - 3 * SOLD
    expect(on_hand == wanted, f"{on_hand} pieces on hand instead of {wanted}")
    return f"{on_hand} pieces: received once for two calls, adjusted; an oversale refused"


async def _open_shop(stage: Stage) -> tuple[str, list[dict[str, Any]]]:
    """The location's id and the products."""
    rest, tenant_id = stage.birch.rest, stage.birch.tenant_id
    back = {"Prefer": "return=representation"}
    shop = {"tenant_id": tenant_id, "code": "DOOR", "name": "The shop at the door"}
    location = json_of(await rest.post("/locations", json=shop, headers=back), "a location", status=201)[0]
    goods = [
        {
            "tenant_id": tenant_id,
            "sku": f"BS-{number}",
            "name": name,
            "price": f"{number}.50",
            "status": "active",
        }
        for number, name in enumerate(WARES, 1)
    ]
    wares = json_of(await rest.post("/products", json=goods, headers=back), "new products", status=201)
    return location["id"], wares
