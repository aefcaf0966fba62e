"""Deliveries of one worker over a backlog, with one endpoint and with many."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime

from standardwebhooks import Webhook

from tests.bench.clients import run_client
from tests.bench.connections import direct, dispatch_all
from tests.bench.figures import Line, per_second
from tests.eventually import eventually
from tests.flow.ledger import delivered
from tests.flow.receiver import Receiver
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.writers import burst

DELIVERIES = 20_000
PRODUCTS = 500
MANY = 20
AT_ONCE = 100
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


async def deliveries(scene: Scene) -> Line:
    """Signed, sent, answered and settled; beside the bare client, posting as much to the same receiver."""
    one = await _deliver(scene, await scene.shop(products=PRODUCTS, endpoints=1))
    many = await _deliver(scene, await scene.shop(products=PRODUCTS, endpoints=MANY))
    ceiling = await _bare(scene.receiver)
    return {
        "deliveries": DELIVERIES,
        "one_endpoint": one,
        f"{MANY}_endpoints": many,
        "reference": {"bare_client_per_s": ceiling, "at_once": AT_ONCE},
    }


async def _deliver(scene: Scene, shop: Shop) -> dict[str, int]:
    for hook in shop.hooks.values():
        # as many at once in all as the bare client, or the most that an endpoint may have
        await shop.update_endpoint(hook, max_concurrency=max(10, AT_ONCE // len(shop.hooks)))
    await burst(scene.platform.db_url, shop.products, rounds=DELIVERIES // PRODUCTS // len(shop.hooks))
    async with direct(scene.platform.admin_db_url) as connection:
        await dispatch_all(connection)
        await connection.execute("analyze")
    async with scene.worker():
        await eventually(lambda: any(hook.hits for hook in shop.hooks.values()), 30)
        await delivered(scene.platform.db_url, 120)
        settled_at = time.time()
    hits = [hit for hook in shop.hooks.values() for hit in hook.accepted]
    assert (
        len({(id(hook), hit.message_id) for hook in shop.hooks.values() for hit in hook.hits}) == DELIVERIES
    )
    first, last = min(hit.arrived_at for hit in hits), max(hit.arrived_at for hit in hits)
    return {
        "sent_per_s": per_second(len(hits), last - first),
        "settled_per_s": per_second(len(hits), settled_at - first),
    }


async def _bare(receiver: Receiver) -> int:
    hook = receiver.hook("bare")
    hook.trust(SECRET)
    body, now = json.dumps({"data": "x" * 1000}), datetime.now(UTC)
    headers = {
        "content-type": "application/json",
        "webhook-id": "msg_bare",
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": Webhook(SECRET).sign("msg_bare", now, body),
    }
    taken = await run_client("ours", hook.url, DELIVERIES, AT_ONCE, headers=headers, body=body)
    assert len(hook.accepted) == DELIVERIES
    return per_second(DELIVERIES, taken["seconds"])
