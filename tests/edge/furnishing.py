"""A tenant that has one of everything that the routes name."""

from __future__ import annotations

from tests.edge.attacking import MUG
from tests.edge.conftest import Shop


async def furnished(shop: Shop) -> dict[str, str]:
    """A tenant with a product, a place that has some of it, and an order; their ids by name."""
    product = (await shop.api.send("POST", "/pms/v1/products", MUG)).json()
    rows = {"lines": [{"product_id": product["id"], "location_id": shop.location, "quantity": 5}]}
    assert (await shop.api.send("POST", "/pms/v1/inventory/adjust", rows)).status_code == 200
    assert (await shop.api.send("POST", f"/pms/v1/products/{product['id']}/publish")).status_code == 200
    tenant, lines = {"p_tenant_id": str(shop.tenant.id)}, [{"product_id": product["id"], "quantity": 1}]
    placed = await shop.owner.post("/rpc/place_order", json={**tenant, "p_lines": lines})
    assert placed.is_success, placed.text
    category = {"tenant_id": str(shop.tenant.id), "name": "Mugs", "slug": "mugs"}
    made = await shop.owner.post("/categories", json=category, headers={"Prefer": "return=representation"})
    found = {"product_id": product["id"], "location_id": shop.location}
    return {
        **found,
        "order_id": placed.json()["id"],
        "category_id": made.json()[0]["id"],
        "parent_id": product["id"],
    }
