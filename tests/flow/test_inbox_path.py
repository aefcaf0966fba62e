"""The whole path of a message: an ERP's word through PostgREST, the worker's merge, the row and the hook."""

from __future__ import annotations

import uuid
from typing import Any

from tests.eventually import eventually
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.test_sync_path import rows
from tests.flow.worker_process import WorkerProcess
from tests.sql.inbox import Message, message


async def hand_in(shop: Shop, *messages: Message) -> list[dict[str, Any]]:
    arguments = {"p_tenant_id": str(shop.tenant.id), "p_source": "erp", "p_messages": messages}
    answer = await shop.rest.post("/rpc/receive_changes", json=arguments)
    assert answer.is_success, answer.text
    return list(answer.json())


async def settled(shop: Shop, answers: list[dict[str, Any]]) -> list[str]:
    """What became of what was pushed, once none is pending."""
    ids = ",".join(each["change_id"] for each in answers)

    async def found() -> bool:
        return not await rows(shop.rest, "sync_changes", id=f"in.({ids})", status="eq.pending")

    await eventually(found, 20, what="the worker has worked it off")
    by_id = {row["id"]: row["status"] for row in await rows(shop.rest, "sync_changes", id=f"in.({ids})")}
    return [by_id[each["change_id"]] for each in answers]


async def test_an_erp_and_a_pms_keep_one_product_together(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=1, endpoints=1)
    [product] = shop.products
    new = uuid.uuid4()
    lamp = {"name": "Desk lamp", "price": 0, "attributes": {"color": "red"}}
    first = message(new, 1, lamp | {"sku": f"ERP-{new}"})
    known = message(product, 1, {"name": "Desk lamp", "price": 0})
    told = await hand_in(shop, first, known)
    assert [each["status"] for each in told] == ["queued", "duplicate"]
    assert await settled(shop, told[:1]) == ["applied"]
    [made] = await rows(shop.rest, "products", id=f"eq.{new}")
    assert (made["name"], made["attributes"]) == ("Desk lamp", {"color": "red"})

    await shop.update_product(product, price=12)
    both = await hand_in(
        shop,
        message(product, 3, {"name": "Floor lamp", "price": 0}),
        message(product, 2, {"name": "Table lamp", "price": 0}),
        message(new, 2, lamp | {"sku": f"ERP-{new}", "attributes": {"color": "blue"}}),
    )
    assert set(await settled(shop, both)) == {"applied"}
    [row] = await rows(shop.rest, "products", id=f"eq.{product}")
    assert (row["name"], row["price"]) == ("Floor lamp", 12), "the name is theirs, the price ours"
    again = await hand_in(shop, message(product, 2, {"name": "Table lamp", "price": 0}))
    assert [(each["status"], each["repeated"]) for each in again] == [("queued", True)]
    late = await hand_in(shop, message(product, 1, {"name": "Lamp"}, message_id="late"))
    assert late[0]["status"] == "stale"

    clash = await hand_in(shop, message(product, 4, {"name": "Floor lamp", "price": 15}))
    assert await settled(shop, clash) == ["conflict"], "both changed the price: a person decides"
    await eventually(lambda: len(shop.hook.accepted) == 4, 20, what="webhooks of ours and of three of theirs")
