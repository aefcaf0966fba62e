"""Tenants with products, stock and API keys of every role, with and without scopes; how to call as one."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pyreqwest.client import Client

from tests.access.permissions import MEMBERS
from tests.bench.connections import direct
from tests.edge.signing import ApiKey, make_key, signature_headers
from tests.flow.scene import Scene
from tests.people import Tenant

PRODUCTS = 12
SCOPES: tuple[tuple[str, ...] | None, ...] = (
    None,
    ("products.read",),
    ("inventory.read",),
    ("inventory.read", "products.read"),
)
"""What the keys of each role are cut to: nothing, and each set of what the cached reads need."""
GRANTED = "select role, permission from private.role_permissions"


@dataclass(frozen=True)
class Caller:
    key: ApiKey
    market: Market = field(repr=False)
    role: str
    may: frozenset[str]


@dataclass
class Market:
    """One tenant, as the adapter shows it."""

    tenant: Tenant
    callers: list[Caller] = field(default_factory=list)
    products: list[str] = field(default_factory=list)
    location: str = ""

    def caller(self, role: str, scopes: tuple[str, ...] | None = None) -> Caller:
        return self.callers[MEMBERS.index(role) * len(SCOPES) + SCOPES.index(scopes)]


@dataclass(frozen=True)
class Answer:
    status: int
    text: str
    headers: Mapping[str, str]

    @property
    def body(self) -> Any:
        return json.loads(self.text)

    @property
    def seq(self) -> tuple[str, int] | None:
        """X-Seq."""
        epoch, _, seq = self.headers.get("x-seq", "").rpartition(":")
        return (epoch, int(seq)) if epoch else None


async def send(
    client: Client,
    adapter: str,
    caller: Caller,
    method: str,
    target: str,
    body: Any = None,
    headers: Mapping[str, str] | None = None,
) -> Answer:
    """Signed, at one process of the adapter. Raises `PyreqwestError` when nobody answers."""
    content = b"" if body is None else json.dumps(body).encode()
    sent = {**signature_headers(caller.key, method, target, content), **(headers or {})}
    request = client.request(method, f"{adapter}/api{target}")
    if content:
        request = request.body_bytes(content)
        sent["Content-Type"] = "application/json"
    answer = await request.headers(sent).build().send()
    named = {name: answer.headers.get(name, "") for name in ("x-seq", "x-cache", "age", "etag")}
    return Answer(answer.status, await answer.text(), named)


async def open_markets(scene: Scene, client: Client, adapter: str, tenants: int) -> list[Market]:
    async with direct(scene.platform.admin_db_url) as db:
        granted = await (await db.execute(GRANTED)).fetchall()
    rights = {role: frozenset(p for r, p in granted if r == role) for role in MEMBERS}
    return await asyncio.gather(*(_open(scene, client, adapter, rights) for _ in range(tenants)))


async def _open(scene: Scene, client: Client, adapter: str, rights: Mapping[str, frozenset[str]]) -> Market:
    tenant = await scene.people.make_tenant()
    market = Market(tenant)
    kinds = [(role, scopes) for role in MEMBERS for scopes in SCOPES]
    keys = await asyncio.gather(
        *(
            make_key(scene.people, tenant, role, **({} if scopes is None else {"p_scopes": list(scopes)}))
            for role, scopes in kinds
        )
    )
    for (role, scopes), key in zip(kinds, keys, strict=True):
        may = rights[role] if scopes is None else rights[role] & set(scopes)
        market.callers.append(Caller(key, market, role, may))
    place = {"tenant_id": str(tenant.id), "code": "MAIN", "name": "Main"}
    owner = scene.people.rest(tenant.owner)
    made = await owner.post("/locations", json=place, headers={"Prefer": "return=representation"})
    market.location = str(made.raise_for_status().json()[0]["id"])
    owner_key = market.caller("owner")
    bodies = [product_body(tenant.slug, number, 0) for number in range(PRODUCTS)]
    for added in await asyncio.gather(
        *(send(client, adapter, owner_key, "POST", "/pms/products", body) for body in bodies)
    ):
        assert added.status == 201, added.text
        market.products.append(str(added.body["id"]))
    stocked = await send(
        client, adapter, owner_key, "POST", "/pms/inventory/adjust",
        {"lines": [line(market, product, 1000) for product in market.products]},
    )  # fmt: skip
    assert stocked.status == 200, stocked.text
    return market


def product_body(slug: str, number: int, turn: int) -> dict[str, Any]:
    return {"sku": f"{slug}-{number}", "name": f"Lamp {turn}", "price": f"{1 + turn % 900}.50"}


def line(market: Market, product: str, quantity: int) -> dict[str, Any]:
    return {"product_id": product, "location_id": market.location, "quantity": quantity}


def readers_of_products(market: Market) -> Sequence[Caller]:
    """Of every role, with equal rights: what one of them reads is kept for all."""
    return [market.caller(role, ("products.read",)) for role in MEMBERS]
