"""The whole path of a change to the adapter's cache: a write through PostgREST, dispatch, the job, Redis."""

from __future__ import annotations

import pytest
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from tests.eventually import eventually
from tests.flow.scene import Scene
from tests.flow.worker_process import WorkerProcess
from tests.stack.redis import NO_REDIS, binary
from worker.cache.store import ALIVE

pytestmark = [
    pytest.mark.own_platform,
    pytest.mark.skipif(binary() is None, reason=NO_REDIS),
]


async def test_a_write_raises_its_tag_and_an_emptied_redis_learns_all(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=1, endpoints=0)
    tenant = str(shop.tenant.id)
    made = await shop.rest.post("/rpc/create_api_key", json={"p_tenant_id": tenant, "p_name": "till"})
    assert made.is_success, made.text
    key_id = made.json()["api_key_id"]
    internal = scene.people.service(schema="worker")
    # an adapter that keeps answers reads the key, which marks the tenant
    read = await internal.post("/rpc/read_api_key", json={"p_api_key_id": key_id, "p_cached": True})
    place = read.json()
    url, again = scene.platform.addresses.redis_url, Retry(NoBackoff(), 2)
    async with Redis.from_url(url, decode_responses=True, retry=again) as redis:

        async def number(name: str) -> int:
            epoch, _, seq = str(await redis.get(name) or "").rpartition(":")
            assert epoch in ("", place["epoch"])
            return int(seq or -1)

        async def raised(name: str, above: int) -> int:
            async def is_so() -> bool:
                return await number(name) > above

            await eventually(is_so, 20, what=f"{name} is above {above}")
            return await number(name)

        async def beats() -> bool:
            return await redis.exists(ALIVE) == 1

        await eventually(beats, 20, what="a worker says that it tells what changes")
        await shop.update_product(shop.products[0], price=12)
        tag = await raised(f"pms:{{{tenant}}}:tag:products", place["seq"])
        stock = await number(f"pms:{{{tenant}}}:tag:stock")
        await shop.update_product(shop.products[0], price=13)
        tag = await raised(f"pms:{{{tenant}}}:tag:products", tag)
        assert await number(f"pms:{{{tenant}}}:through") >= tag
        assert await number(f"pms:{{{tenant}}}:tag:stock") == stock, "nothing of stock changed"

        gone = await shop.rest.post(
            "/rpc/revoke_api_key", json={"p_tenant_id": tenant, "p_api_key_id": key_id}
        )
        assert gone.is_success, gone.text
        await raised(f"pms:key:{key_id}", tag)

        scene.platform.redis.kill()
        scene.platform.redis.start()
        await shop.update_product(shop.products[0], price=14)
        await raised(f"pms:{{{tenant}}}:tag:orders", tag)
    await worker.until_metric("pms_cache_invalidation_seconds_count", 3, 10)
