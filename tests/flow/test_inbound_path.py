"""The whole path of an inbound event: as an API key through PostgREST, the worker, the row."""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from pydantic import SecretStr

from tests.eventually import eventually
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.test_sync_path import rows
from tests.flow.worker_process import WorkerProcess
from tests.sql.inbound import Event, event
from worker.gateway.principals import PrincipalTokens

pytestmark = pytest.mark.own_platform
QUICK = 0.1
"""Seconds within which an answer is to come."""


async def sender(scene: Scene, shop: Shop) -> httpx.AsyncClient:
    """An API key of the shop, as the edge adapter makes it a caller."""
    named = {"p_tenant_id": str(shop.tenant.id), "p_name": "erp"}
    made = await shop.rest.post("/rpc/create_api_key", json=named)
    assert made.is_success, made.text
    tokens = PrincipalTokens(SecretStr(scene.platform.addresses.signing_key))
    return scene.people.client("/rest/v1", token=tokens.token(made.json()["api_key_id"]))


async def test_events_of_a_key_change_products_stock_and_orders(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=1, endpoints=0)
    tenant = str(shop.tenant.id)
    client = await sender(scene, shop)
    seconds: list[float] = []

    async def send(kind: str, it: Event) -> dict[str, Any]:
        it["timestamp"] = datetime.now(UTC).isoformat()  # of two who wrote the same field the later wins
        began = time.perf_counter()
        body = {"p_tenant_id": tenant, "p_kind": kind, "p_event": it}
        answer = await client.post("/rpc/receive_webhook", json=body)
        seconds.append(time.perf_counter() - began)
        assert answer.is_success, answer.text
        return dict(answer.json())

    product = str(shop.products[0])
    first = event("product.updated", "e-1", id=product, version=1, name="Floor lamp")
    assert (await send("product", first))["status"] == "queued"
    assert await send("product", first) == {"id": "e-1", "status": "queued", "repeated": True}

    async def renamed() -> bool:
        [row] = await rows(shop.rest, "products", id=f"eq.{product}")
        return bool(row["name"] == "Floor lamp")

    await eventually(renamed, 20, what="the worker has worked the event off")

    await shop.update_product(shop.products[0], status="active", price=10)
    place = await shop.rest.post(
        "/locations", json={"tenant_id": tenant, "code": "MAIN", "name": "Main"},
        headers={"Prefer": "return=representation"},
    )  # fmt: skip
    line = {"product_id": product, "location_id": place.json()[0]["id"], "quantity": 5}
    stocked = await shop.rest.post("/rpc/receive_stock", json={"p_tenant_id": tenant, "p_lines": [line]})
    assert stocked.is_success, stocked.text
    wanted = {"p_tenant_id": tenant, "p_lines": [{"product_id": product, "quantity": 1}]}
    placed = await shop.rest.post("/rpc/place_order", json=wanted)
    assert placed.is_success, placed.text
    number = placed.json()["number"]
    steps = ("order.paid", "order.shipped", "order.sneezed", "order.cancelled")
    told = [(await send("order", event(step, f"o-{step}", number=number)))["status"] for step in steps]
    assert told == ["queued", "queued", "unknown", "queued"]

    async def settled() -> bool:
        kept = await rows(client, "inbound_webhooks", kind="eq.order", status="eq.queued")
        return not kept

    await eventually(settled, 20, what="the worker lets them happen")
    [order] = await rows(shop.rest, "orders")
    assert order["status"] == "shipped"
    [refused] = await rows(shop.rest, "inbound_webhooks", status="eq.rejected")
    assert (refused["type"], refused["error"]["code"]) == ("order.cancelled", "order.transition_illegal")
    kinds = {row["kind"] for row in await rows(shop.rest, "notifications")}
    assert {"inbound.rejected", "inbound.unknown"} <= kinds

    for number_ in range(40):
        await send(
            "product", event("product.updated", f"p-{number_}", id=product, version=number_ + 2, name="Lamp")
        )
    assert statistics.median(seconds) < QUICK
