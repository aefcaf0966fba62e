"""The owner of one company tries the other one's doors."""

from __future__ import annotations

from typing import Final

from tests.demo.stage import Stage, expect, json_of

TABLES: Final = (
    *("tenants", "memberships", "products", "product_images", "locations", "stock_levels", "stock_movements"),
    *("webhook_endpoints", "webhook_attempts", "webhook_deliveries"),
)


async def try_doors(stage: Stage) -> str:
    """Reads nothing, changes nothing, and is told "not found" rather than "forbidden"."""
    victim, stranger = stage.fjellmat, stage.birch
    theirs = json_of(await victim.rest.get("/products?order=sku&limit=1"), "reading a product")[0]

    for table in TABLES:
        column = "id" if table == "tenants" else "tenant_id"
        found = await stranger.rest.get(f"/{table}?{column}=eq.{victim.tenant_id}")
        expect(json_of(found, f"a stranger reads {table}") == [], f"a stranger sees rows of {table}")

    stage.say("a stranger writes")
    mine = {"Prefer": "return=representation"}
    at = f"/products?id=eq.{theirs['id']}"
    changed = await stranger.rest.patch(at, json={"price": 0}, headers=mine)
    expect(json_of(changed, "a stranger's update") == [], "a stranger changed a price")
    deleted = await stranger.rest.delete(at, headers=mine)
    expect(json_of(deleted, "a stranger's delete") == [], "a stranger deleted a product")
    planted = {"tenant_id": victim.tenant_id, "sku": "PLANTED", "name": "Planted"}
    refused = await stranger.rest.post("/products", json=planted)
    expect(refused.status_code == 403, f"a stranger's insert was answered {refused.status_code}")

    for command, arguments in (
        (
            "receive_stock",
            {"p_lines": [{"product_id": theirs["id"], "location_id": theirs["id"], "quantity": 1}]},
        ),
        ("create_webhook_endpoint", {"p_url": "http://127.0.0.1:9/"}),
    ):
        wish = {"p_tenant_id": victim.tenant_id, **arguments}
        answer = await stranger.rest.post(f"/rpc/{command}", json=wish)
        problem = json_of(answer, f"a stranger's {command}", status=404)
        expect(problem["message"] == "tenant.not_found", f"a stranger's {command}: {problem}")

    now = json_of(await victim.rest.get(at), "reading a product")[0]
    expect(now == theirs, "the product is not as it was")
    return f"{len(TABLES)} tables empty to a stranger, 5 writes refused, nothing changed"
