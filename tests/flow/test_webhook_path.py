"""From a write of a signed-in user to a verified webhook, and what happens to endpoints meanwhile."""

from __future__ import annotations

import asyncio
import statistics
import time

import psycopg
import pytest

from tests.eventually import eventually
from tests.flow.ledger import delivered, judge, latencies
from tests.flow.receiver import fail_first, gone, hang_until, ok, slow
from tests.flow.scene import Scene
from tests.flow.worker_process import WorkerProcess
from tests.flow.writers import Commit, Writers, burst

LEASE = "12"
pytestmark = pytest.mark.own_platform


async def test_a_users_change_arrives_as_a_verified_webhook(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=1)
    (product,) = shop.products
    version = await shop.update_product(product, name="Brass desk lamp", price=49.5)
    await eventually(lambda: shop.hook.accepted, what="the webhook")
    (hit,) = shop.hook.accepted
    event = hit.event
    assert (event["id"], event["type"], event["schema"]) == (hit.message_id, "product.updated", 1)
    assert event["tenant_id"] == str(shop.tenant.id)
    data = event["data"]
    assert (data["object"]["id"], data["version"]) == (str(product), version)
    assert (data["changed"], data["previous"]) == (["name", "price"], {"name": "Desk lamp", "price": 0})
    assert not shop.hook.forged


async def test_the_bell_makes_it_fast(scene: Scene, worker: WorkerProcess) -> None:
    """Sparse writes, so that each needs a ring: a poll alone would take half a second."""
    shop = await scene.shop()
    writers = Writers(scene.platform.db_url, shop.products)
    commits = await writers.write(count=15, per_second=6)
    await delivered(scene.platform.db_url, 20)
    assert statistics.median(latencies(shop.hook, commits).values()) < 0.2
    assert not (await judge(scene.platform.db_url, shop, shop.hook, commits)).faults


async def test_an_endpoint_made_while_the_worker_runs_gets_its_events(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=2, endpoints=0)
    early = await burst(scene.platform.db_url, shop.products, rounds=1)
    await delivered(scene.platform.db_url, 20)
    hook = await shop.add_endpoint()
    late = await burst(scene.platform.db_url, shop.products, rounds=1)
    started = time.monotonic()
    await eventually(lambda: len(hook.accepted) == len(late), 20)
    assert time.monotonic() - started < 5, "its lane was found only when the lease was renewed"
    changes = {(hit.event["data"]["object"]["id"], hit.event["data"]["version"]) for hit in hook.accepted}
    assert changes == {(str(c.product), c.version) for c in late}
    assert changes.isdisjoint({(str(c.product), c.version) for c in early})


async def test_a_paused_endpoint_gets_everything_when_it_resumes(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=5)
    hook, db_url = shop.hook, scene.platform.db_url
    commits = await burst(db_url, shop.products, rounds=1)
    await eventually(lambda: len(hook.accepted) == 5)
    await shop.update_endpoint(hook, status="paused")
    await _settled(db_url)
    commits += await burst(db_url, shop.products, rounds=4)
    await _settled(db_url)
    assert await _owed(db_url) == 20
    assert len(hook.hits) == 5, "a paused endpoint was sent something"
    await shop.update_endpoint(hook, status="active")
    await delivered(db_url, 20)
    judgement = await judge(db_url, shop, hook, commits)
    assert not judgement.faults
    assert (judgement.received, judgement.duplicates) == (25, 0)


async def test_410_disables_the_endpoint_and_sends_no_more(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=1)
    hook = shop.hook
    hook.behave = gone
    await shop.update_product(shop.products[0], name="Gone")

    async def disabled() -> bool:
        return bool((await shop.endpoint(hook))["status"] == "disabled")

    await eventually(disabled, 20)
    assert "410" in (await shop.endpoint(hook))["disabled_reason"]
    await shop.update_product(shop.products[0], name="Nobody hears")
    await _settled(scene.platform.db_url)
    assert len(hook.hits) == 1
    assert await _owed(scene.platform.db_url) == 0


async def test_a_failed_attempt_is_tried_again_with_the_same_bytes(
    scene: Scene, worker: WorkerProcess
) -> None:
    """The first pause of the schedule is 5 s."""
    shop = await scene.shop(products=1)
    shop.hook.behave = fail_first(1)
    await shop.update_product(shop.products[0], name="Second time lucky")
    await eventually(lambda: shop.hook.accepted, 20)
    first, second = shop.hook.hits
    assert (first.status, second.status) == (500, 204)
    assert (first.message_id, first.body) == (second.message_id, second.body)
    assert 3 < second.arrived_at - first.arrived_at < 15


async def test_an_endpoint_that_hangs_does_not_slow_another(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=20)
    released = asyncio.Event()
    dead = await shop.add_endpoint(hang_until(released))
    live = next(hook for hook in shop.hooks.values() if hook is not dead)
    commits = await burst(scene.platform.db_url, shop.products, rounds=10)
    await eventually(lambda: dead.busy > 0 and len(live.accepted) == len(commits), 20)
    assert max(latencies(live, commits).values()) < 5
    await shop.delete_endpoint(dead)
    released.set()


async def test_two_workers_share_the_lanes_and_one_that_stops_hands_over_at_once(scene: Scene) -> None:
    shop = await scene.shop(products=10, endpoints=4)
    db_url = scene.platform.db_url
    for hook in shop.hooks.values():
        hook.behave = slow(0.01)
    # the newcomer gets its share when the other renews its lease, after a third of this
    first, second = scene.worker(WORKER_LEASE_SECONDS=LEASE), scene.worker(WORKER_LEASE_SECONDS=LEASE)
    commits: list[Commit] = []
    async with first, second:
        await eventually(lambda: _lanes_of_two(db_url), 20, what="both workers hold lanes")
        commits += await burst(db_url, shop.products, rounds=20)
        await eventually(lambda: all(len(hook.hits) > 20 for hook in shop.hooks.values()), 20)
        assert await first.stop() == 0
        stopped_at = time.time()
        commits += await burst(db_url, shop.products, rounds=1)
        await delivered(db_url, 10)
        assert time.time() - stopped_at < float(LEASE), "that was a lease run out, and no hand-over"
        for hook in shop.hooks.values():
            hook.behave = ok
            judgement = await judge(db_url, shop, hook, commits)
            assert not judgement.faults, "nothing was killed, so nothing may come twice"
            assert (judgement.received, judgement.duplicates) == (210, 0)


async def _settled(db_url: str) -> None:
    """Until the outbox is empty: endpoints' changes have reached the worker, events their lanes."""

    async def empty() -> bool:
        return await _count(db_url, "select count(*) from private.outbox") == 0

    await eventually(empty, 20)


async def _owed(db_url: str) -> int:
    return await _count(db_url, "select count(*) from queue.deliveries")


async def _lanes_of_two(db_url: str) -> bool:
    query = "select count(distinct lease_id) from queue.lanes"
    return await _count(db_url, query) == 2


async def _count(db_url: str, query: str) -> int:
    async with await psycopg.AsyncConnection.connect(db_url, autocommit=True) as connection:
        row = await (await connection.execute(query)).fetchone()
    assert row is not None
    return int(row[0])
