"""What an endpoint can be told, seen at the receiver: order, pace, headers, rotation, tests and replays."""

from __future__ import annotations

import time
from collections import defaultdict
from datetime import UTC, datetime, timedelta

import pytest
from standardwebhooks import Webhook

from tests.eventually import eventually
from tests.flow.ledger import delivered
from tests.flow.receiver import Hook, fail_first, gone, ok
from tests.flow.scene import Scene
from tests.flow.worker_process import WorkerProcess
from tests.flow.writers import burst

pytestmark = pytest.mark.own_platform


def versions(hook: Hook) -> dict[str, list[int]]:
    """By product: the versions that were accepted, in order of arrival."""
    found: defaultdict[str, list[int]] = defaultdict(list)
    for hit in hook.accepted:
        found[hit.event["data"]["object"]["id"]].append(hit.event["data"]["version"])
    return found


async def test_an_ordered_endpoint_gets_every_product_in_order_though_it_fails(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=3, endpoints=0)
    ordered = await shop.add_endpoint(ordered=True)
    naive = await shop.add_endpoint()
    troubled = str(shop.products[0])

    for hook in (ordered, naive):
        hook.refuse = lambda hit: (
            hit.attempt == 1
            and (hit.event["data"]["object"]["id"], hit.event["data"]["version"]) == (troubled, 2)
        )
    await burst(scene.platform.db_url, shop.products, rounds=6)
    await delivered(scene.platform.db_url, 60)
    assert versions(ordered) == {str(product): [2, 3, 4, 5, 6, 7] for product in shop.products}
    assert versions(naive)[troubled] == [3, 4, 5, 6, 7, 2], "without order the retry comes last"


async def test_a_rate_limit_is_kept_and_reached(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=40, endpoints=0)
    limited = await shop.add_endpoint(rate_limit_per_second=20)
    free = await shop.add_endpoint()
    await burst(scene.platform.db_url, shop.products, rounds=1)
    await delivered(scene.platform.db_url, 30)
    times = sorted(hit.arrived_at for hit in limited.accepted)
    assert len(times) == len(free.accepted) == 40
    gaps = [later - earlier for earlier, later in zip(times, times[20:], strict=False)]
    assert min(gaps) > 0.9, "20 and one take a second"
    assert times[-1] - times[0] < 39 / 20 * 1.5


async def test_headers_and_timings(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=1, endpoints=0)
    hook = await shop.add_endpoint(headers={"X-Tenant": "acme", "Authorization": "Bearer sesame"})
    await shop.update_product(shop.products[0], name="Lamp")
    await delivered(scene.platform.db_url, 20)
    [hit] = hook.accepted
    assert (hit.headers["x-tenant"], hit.headers["authorization"]) == ("acme", "Bearer sesame")
    [attempt] = await shop.attempts(hook)
    assert attempt["kind"] == "event"
    assert attempt["connect_ms"] is not None
    assert 0 <= attempt["first_byte_ms"] <= attempt["duration_ms"]


async def test_a_rotation_is_verified_with_either_secret(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=1)
    hook = shop.hook
    made = await shop.command("rotate_webhook_secret", hook)
    await shop.update_product(shop.products[0], name="Lamp")
    await delivered(scene.platform.db_url, 20)
    [hit] = hook.accepted
    assert not hook.forged, "the receiver verified with the old one"
    assert Webhook(made["secret"]).verify(hit.body, dict(hit.headers))
    assert len(hit.headers["webhook-signature"].split(" ")) == 2


async def test_a_disabled_endpoint_is_tested_and_taken_up_again(scene: Scene, worker: WorkerProcess) -> None:
    shop = await scene.shop(products=1, endpoints=0)
    hook = await shop.add_endpoint(gone)
    await shop.update_product(shop.products[0], name="Lamp")

    async def status(expected: str) -> bool:
        return str((await shop.endpoint(hook))["status"]) == expected

    await eventually(lambda: status("disabled"), 20, what="410 disables it")
    await shop.command("enable_webhook_endpoint", hook)
    await eventually(lambda: len(hook.hits) == 2, 20, what="the test arrives")
    assert await status("disabled"), "it answers 410 still"
    hook.behave = ok
    await shop.command("enable_webhook_endpoint", hook)
    await eventually(lambda: status("active"), 20, what="it passed its test")
    test = hook.accepted[-1].event
    assert (test["test"], test["seq"], test["type"]) == (True, 0, "product.updated")
    assert [(a["kind"], a["outcome"]) for a in await shop.attempts(hook)] == [
        ("event", "gone"),
        ("test", "failed"),
        ("test", "delivered"),
    ]
    (note,) = (await shop.rest.get("/notifications", params={"tenant_id": f"eq.{shop.tenant.id}"})).json()
    assert (note["kind"], note["subject_id"]) == ("webhook.disabled", str(shop.endpoint_id(hook)))


async def test_a_replay_brings_the_same_bytes_under_the_same_ids_and_lets_new_events_between(
    scene: Scene, worker: WorkerProcess
) -> None:
    began = datetime.now(UTC) - timedelta(minutes=1)
    shop = await scene.shop(products=30)
    hook = shop.hook
    await burst(scene.platform.db_url, shop.products, rounds=2)
    await delivered(scene.platform.db_url, 20)
    first = {hit.message_id: hit.body for hit in hook.accepted}
    assert len(first) == 60
    replay = await shop.command("replay_events", hook, **{"from": began.isoformat()})
    await eventually(lambda: len(hook.accepted) == 120, 30, what="all of them again")
    again = {hit.message_id: hit.body for hit in hook.accepted[60:]}
    assert again == first
    (row,) = (await shop.rest.get("/webhook_replays", params={"id": f"eq.{replay['id']}"})).json()
    assert (row["status"], row["queued"]) == ("done", 60)


async def test_an_endpoint_that_fails_at_first_is_settled_as_the_pms_sees_it(
    scene: Scene, worker: WorkerProcess
) -> None:
    shop = await scene.shop(products=1, endpoints=0)
    hook = await shop.add_endpoint(fail_first())
    started = time.time()
    await shop.update_product(shop.products[0], name="Lamp")
    await delivered(scene.platform.db_url, 30)
    assert time.time() - started > 3, "the first retry comes after 5 s, give or take a fifth"
    history = (
        await shop.rest.post(
            "/rpc/event_history",
            json={"p_tenant_id": str(shop.tenant.id), "p_event_id": hook.hits[0].message_id},
        )
    ).json()
    (delivery,) = history["deliveries"]
    assert delivery["status"] == "delivered"
    assert [attempt["outcome"] for attempt in delivery["attempts"]] == ["retry", "delivered"]
