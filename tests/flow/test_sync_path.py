"""The whole path of a push: a client's edits through PostgREST, the worker's merge, the row and the log."""

from __future__ import annotations

import json
import uuid
from typing import Any

import httpx

from tests.eventually import eventually
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.worker_process import WorkerProcess
from tests.sql.syncing import change


async def push(shop: Shop, *changes: dict[str, Any], client: str = "till") -> None:
    arguments = {"p_tenant_id": str(shop.tenant.id), "p_client": client, "p_changes": changes}
    answer = await shop.rest.post("/rpc/push_changes", json=arguments)
    assert answer.is_success, answer.text


async def rows(rest: httpx.AsyncClient, table: str, **filters: str) -> list[dict[str, Any]]:
    answer = await rest.get(f"/{table}", params=filters)
    assert answer.is_success, answer.text
    return list(answer.json())


async def settled(shop: Shop, *changes: dict[str, Any]) -> list[str]:
    """The statuses of changes once none is pending."""
    ids = ",".join(each["id"] for each in changes)

    async def found() -> bool:
        return not await rows(shop.rest, "sync_changes", id=f"in.({ids})", status="eq.pending")

    await eventually(found, 20, what="the worker has worked it off")
    by_id = {row["id"]: row["status"] for row in await rows(shop.rest, "sync_changes", id=f"in.({ids})")}
    return [by_id[each["id"]] for each in changes]


async def test_edits_of_two_clients_merge_and_conflicts_wait_for_a_person(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=1, endpoints=1)
    [product] = shop.products
    till = change(
        product, {"name": {"set": "Boot"}, "price": {"set": 12}, "attributes.tags": {"add": ["sale"]}}
    )
    phone = change(
        product, {"description": {"set": "Warm"}, "price": {"set": 13}, "attributes.tags": {"add": ["new"]}}
    )
    await push(shop, till)
    await settled(shop, till)
    await push(shop, phone, client="phone")
    assert await settled(shop, till, phone) == ["applied", "conflict"]
    [row] = await rows(shop.rest, "products", id=f"eq.{product}")
    assert (row["name"], row["description"], float(row["price"])) == ("Boot", "Warm", 12)
    assert sorted(row["attributes"]["tags"]) == ["new", "sale"]
    decided = await rows(shop.rest, "sync_conflicts", change_id=f"eq.{phone['id']}", order="field")
    assert [(each["field"], each["winner"]) for each in decided] == [
        ("attributes.tags", "both"),
        ("price", None),
    ]

    arguments = {"p_tenant_id": str(shop.tenant.id), "p_conflict_id": decided[1]["id"], "p_choice": "theirs"}
    answer = await shop.rest.post("/rpc/resolve_conflict", json=arguments)
    assert answer.is_success, answer.text
    assert await settled(shop, phone) == ["merged"]
    [row] = await rows(shop.rest, "products", id=f"eq.{product}")
    assert float(row["price"]) == 13
    await eventually(lambda: len(shop.hook.accepted) == 3, 20, what="webhooks of the three writes")


async def test_many_changes_of_many_products_are_each_written_once(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=300, endpoints=0)
    changes = [
        change(product, {f"attributes.f{n}": {"set": n}}) for product in shop.products for n in range(3)
    ]
    await push(shop, *changes)
    await push(shop, *changes)
    assert set(await settled(shop, *changes[:100])) <= {"applied", "merged"}
    await settled(shop, *changes[-200:])
    found = await rows(
        shop.rest, "products", tenant_id=f"eq.{shop.tenant.id}", select="version,attributes", limit="1000"
    )
    assert len(found) == 300
    assert all((row["version"], row["attributes"]) == (4, {"f0": 0, "f1": 1, "f2": 2}) for row in found)


async def test_what_needs_what_was_pushed_before_finds_it(scene: Scene, worker: WorkerProcess) -> None:
    """A variant comes after its parent, and a name is free once it was given up."""
    shop = await scene.shop(products=1, endpoints=0)
    [product] = shop.products
    pairs = [(uuid.uuid4(), uuid.uuid4()) for _ in range(10)]
    made = [
        change(
            which,
            {"sku": {"set": f"N-{which}"}, "name": {"set": "New"}, **more},
            operation="insert",
            base_version=None,
        )
        for parent, variant in pairs
        for which, more in ((parent, {}), (variant, {"parent_id": {"set": str(parent)}}))
    ]
    freed = change(product, {"sku": {"set": "OLD"}})
    [row] = await rows(shop.rest, "products", id=f"eq.{product}")
    taken = change(
        uuid.uuid4(),
        {"sku": {"set": row["sku"]}, "name": {"set": "x"}},
        operation="insert",
        base_version=None,
    )
    edited = change(pairs[0][0], {"name": {"set": "Newer"}, "price": {"set": 3}})
    await push(shop, *made, freed, taken, edited)
    assert set(await settled(shop, *made, freed, taken, edited)) == {"applied"}


async def test_no_digit_of_a_price_is_lost(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=1, endpoints=0)
    [product] = shop.products
    exact = "99999999999999.99"  # more digits than a float has
    written = json.dumps([change(product, {"price": {"set": 0}})]).replace(
        '{"set": 0}', f'{{"set": {exact}}}'
    )
    body = f'{{"p_tenant_id": "{shop.tenant.id}", "p_client": "till", "p_changes": {written}}}'
    answer = await shop.rest.post(
        "/rpc/push_changes", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.is_success, answer.text
    await settled(shop, json.loads(written)[0])
    found = await shop.rest.get("/products", params={"id": f"eq.{product}", "select": "price"})
    assert exact in found.text
