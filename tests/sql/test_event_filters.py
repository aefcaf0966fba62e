"""An endpoint's filter names what webhooks carry: over PostgREST, as the PMS sets it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest

from tests.people import Tenant

Rest = Callable[..., httpx.AsyncClient]


def wish(tenant: Tenant, *events: str) -> dict[str, Any]:
    return {"p_tenant_id": str(tenant.id), "p_url": "https://example.com/hook", "p_events": events}


@pytest.mark.parametrize(
    ("events", "detail", "hinted", "not_hinted"),
    [
        (("product.updatd",), "No webhook carries product.updatd.", "product.updated", "order."),
        (("*", "foo.*"), "No webhook carries foo.*.", "product.*, ", "product.updated"),
        (
            ("product.*", "membership.created"),
            "No webhook carries membership.created.",
            "order.*",
            "membership",
        ),
        (
            ("tenant.orphaned", "x.y"),
            "No webhook carries tenant.orphaned, x.y.",
            "tenant.updated",
            "orphaned",
        ),
    ],
)
async def test_what_no_webhook_carries_is_refused(
    tenant: Tenant, rest: Rest, events: tuple[str, ...], detail: str, hinted: str, not_hinted: str
) -> None:
    async with rest(tenant.owner) as pms:
        answer = await pms.post("/rpc/create_webhook_endpoint", json=wish(tenant, *events))
        body = answer.json()
        assert (answer.status_code, body["code"], body["message"], body["details"]) == (
            422, "PT422", "webhook.unknown_event_type", detail,
        )  # fmt: skip
        assert hinted in body["hint"]
        assert not_hinted not in body["hint"]
        assert (await pms.get("/webhook_endpoints")).json() == []


async def test_a_filter_is_judged_again_when_it_changes_and_only_then(
    tenant: Tenant, rest: Rest, service: httpx.AsyncClient
) -> None:
    async with rest(tenant.owner) as pms:
        made = await pms.post(
            "/rpc/create_webhook_endpoint", json=wish(tenant, "product.*", "order.paid", "*")
        )
        assert made.status_code == 200
        place = {"id": f"eq.{made.json()['id']}"}
        for client in (pms, service):
            refused = await client.patch("/webhook_endpoints", params=place, json={"events": ["order.payed"]})
            assert (refused.status_code, refused.json()["message"]) == (422, "webhook.unknown_event_type")
        changed = await pms.patch("/webhook_endpoints", params=place, json={"events": ["order.*"]})
        assert changed.status_code == 204
        [stored] = (await pms.get("/webhook_endpoints", params=place)).json()
        assert stored["events"] == ["order.*"]


async def test_whoever_is_signed_in_reads_the_catalogue_and_nobody_changes_it(
    tenant: Tenant, rest: Rest, service: httpx.AsyncClient
) -> None:
    async with rest(tenant.owner) as pms:
        query = {"select": "webhooks,example->data->object->>sku", "type": "eq.product.updated"}
        assert (await pms.get("/event_types", params=query)).json() == [{"webhooks": True, "sku": "BOOT-42"}]
        for client in (pms, service):
            assert len((await client.get("/event_types")).json()) > 40
            changed = await client.patch("/event_types", params={"type": "neq.x"}, json={"webhooks": False})
            assert changed.status_code == 403
    async with rest() as anonymous:
        assert (await anonymous.get("/event_types")).status_code == 401
