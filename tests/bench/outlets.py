"""Endpoints at the sink, made as the PMS makes them."""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import dataclass

from tests.bench.sink_process import SinkProcess
from tests.flow.scene import Scene
from tests.flow.shop import Shop

DESCRIPTION = "A lamp with an arm, for desks. " * 10
"""Makes an event of about 1 KB."""


@dataclass(frozen=True)
class Outlets:
    """A tenant whose product updates go to `paths` of the sink. `secrets`: by path."""

    shop: Shop
    ids: list[uuid.UUID]
    secrets: dict[str, str]

    @property
    def tenant(self) -> uuid.UUID:
        return self.shop.tenant.id

    @property
    def products(self) -> list[uuid.UUID]:
        return self.shop.products


async def open_outlets(
    scene: Scene,
    sink: SinkProcess,
    *,
    products: int,
    endpoints: int,
    at_once: int = 10,
    hanging: int = 0,
    hang_seconds: int = 30,
) -> Outlets:
    """`at_once`: the endpoints' max_concurrency. The last `hanging` of them answer after `hang_seconds`."""
    shop = await scene.shop(products=0, endpoints=0)
    await shop.add_products(products, description=DESCRIPTION)
    places = [f"/{shop.tenant.slug}/{n}" for n in range(endpoints - hanging)]
    places += [f"/hang/{hang_seconds}/{shop.tenant.slug}/{n}" for n in range(hanging)]
    turns = asyncio.Semaphore(4)

    async def add(path: str) -> tuple[uuid.UUID, str]:
        async with turns:
            arguments = {
                "p_tenant_id": str(shop.tenant.id), "p_url": sink.url + path, "p_events": ["product.updated"],
            }  # fmt: skip
            answer = await shop.rest.post("/rpc/create_webhook_endpoint", json=arguments)
            assert answer.is_success, answer.text
            return uuid.UUID(answer.json()["id"]), answer.json()["secret"]

    made = await asyncio.gather(*(add(path) for path in places))
    answer = await shop.rest.patch(
        "/webhook_endpoints",
        params={"tenant_id": f"eq.{shop.tenant.id}"},
        json={"max_concurrency": at_once},
    )
    assert answer.is_success, answer.text
    return Outlets(
        shop,
        [endpoint for endpoint, _ in made],
        {path: secret for path, (_, secret) in zip(places, made, strict=True)},
    )
