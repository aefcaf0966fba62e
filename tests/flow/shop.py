"""A tenant with products and webhook endpoints, made as the PMS makes them."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.flow.receiver import Behaviour, Hook, Receiver, ok
from tests.people import People, Tenant

BATCH = 500


@dataclass
class Shop:
    """`rest` acts as the tenant's owner; `hooks` are its endpoints by id."""

    tenant: Tenant
    rest: httpx.AsyncClient
    receiver: Receiver
    products: list[uuid.UUID] = field(default_factory=list)
    hooks: dict[uuid.UUID, Hook] = field(default_factory=dict)

    @property
    def hook(self) -> Hook:
        """Its only endpoint's."""
        (hook,) = self.hooks.values()
        return hook

    async def add_products(self, count: int, *, description: str = "") -> list[uuid.UUID]:
        added: list[uuid.UUID] = []
        while len(added) < count:
            rows = [
                {
                    "tenant_id": str(self.tenant.id),
                    "sku": f"S-{secrets.token_hex(8)}",
                    "name": "Desk lamp",
                    "description": description,
                }
                for _ in range(min(BATCH, count - len(added)))
            ]
            answer = await self.rest.post(
                "/products", json=rows, params={"select": "id"}, headers={"Prefer": "return=representation"}
            )
            added += [uuid.UUID(row["id"]) for row in _json(answer)]
        self.products += added
        return added

    async def add_endpoint(
        self, behave: Behaviour = ok, events: tuple[str, ...] = ("product.updated",), **options: object
    ) -> Hook:
        """An endpoint at the receiver; its requests verify from the first on."""
        hook = self.receiver.hook(f"{self.tenant.slug}-{len(self.hooks) + 1}", behave)
        given = {f"p_{name}": value for name, value in options.items()}
        arguments = {"p_tenant_id": str(self.tenant.id), "p_url": hook.url, "p_events": events, **given}
        made = _json(await self.rest.post("/rpc/create_webhook_endpoint", json=arguments))
        hook.trust(made["secret"])
        self.hooks[uuid.UUID(made["id"])] = hook
        return hook

    async def command(self, name: str, hook: Hook, **arguments: object) -> Any:
        """A command for one endpoint, as its owner gives it."""
        given = {f"p_{key}": value for key, value in arguments.items()}
        named = {"p_tenant_id": str(self.tenant.id), "p_endpoint_id": str(self.endpoint_id(hook))}
        return _json(await self.rest.post(f"/rpc/{name}", json={**named, **given}))

    async def attempts(self, hook: Hook) -> list[dict[str, Any]]:
        """What was tried there, in order."""
        filters = {"endpoint_id": f"eq.{self.endpoint_id(hook)}", "order": "started_at"}
        return list(_json(await self.rest.get("/webhook_attempts", params=filters)))

    async def update_endpoint(self, hook: Hook, **values: object) -> None:
        """For example `status="paused"`, as its owner does it."""
        filters = {"id": f"eq.{self.endpoint_id(hook)}"}
        changed = _json(await self._patch("/webhook_endpoints", filters, values))
        assert len(changed) == 1, changed

    async def delete_endpoint(self, hook: Hook) -> None:
        """It takes along what it is owed."""
        params = {"id": f"eq.{self.endpoint_id(hook)}"}
        deleted = await self.rest.delete("/webhook_endpoints", params=params)
        assert deleted.is_success, deleted.text

    async def endpoint(self, hook: Hook) -> dict[str, Any]:
        """The endpoint's row, as its owner sees it."""
        params = {"id": f"eq.{self.endpoint_id(hook)}"}
        (row,) = _json(await self.rest.get("/webhook_endpoints", params=params))
        return dict(row)

    async def update_product(self, product: uuid.UUID, **values: object) -> int:
        """The version that the change made."""
        (row,) = _json(await self._patch("/products", {"id": f"eq.{product}"}, values))
        return int(row["version"])

    def endpoint_id(self, hook: Hook) -> uuid.UUID:
        return next(key for key, value in self.hooks.items() if value is hook)

    async def _patch(self, path: str, filters: dict[str, str], values: dict[str, object]) -> httpx.Response:
        return await self.rest.patch(
            path, params=filters, json=values, headers={"Prefer": "return=representation"}
        )


async def open_shop(people: People, receiver: Receiver, *, products: int, endpoints: int = 1) -> Shop:
    """Its endpoints take updates alone, so that the first event they see is the caller's first change."""
    tenant = await people.make_tenant()
    shop = Shop(tenant, people.rest(tenant.owner), receiver)
    await shop.add_products(products)
    for _ in range(endpoints):
        await shop.add_endpoint()
    return shop


def _json(answer: httpx.Response) -> Any:
    assert answer.is_success, (
        f"{answer.request.method} {answer.request.url}: {answer.status_code} {answer.text}"
    )
    return answer.json()
