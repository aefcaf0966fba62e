"""What the gateway sends and how it reads answers; the contract suite holds it to the real database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from worker.engine.clock import SystemClock
from worker.errors import BadAnswer
from worker.gateway.lanes import RpcLanes
from worker.gateway.mark import DeliveryMark
from worker.gateway.outbox import RpcOutbox


class Scripted:
    """An `Rpc` that gives one answer and keeps what it was asked."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer
        self.asked: dict[str, Any] = {}

    async def call(self, name: str, /, **params: Any) -> Any:
        self.asked = {"name": name, **params}
        return self.answer


def lanes(answer: Any) -> RpcLanes:
    return RpcLanes(Scripted(answer), worker="one", clock=SystemClock(), mark=DeliveryMark())


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        "text",
        {"token": "seven", "lanes": []},
        {"token": 1, "lanes": [{"lane_id": 1}]},
        {"token": 1},
    ],
)
async def test_a_lease_of_another_shape_is_named(answer: Any) -> None:
    with pytest.raises(BadAnswer, match="lease_lanes answered in another shape"):
        await lanes(answer).lease(None, duration=timedelta(seconds=30))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        {"stale": False},
        {"stale": False, "after": 1, "more": False, "deliveries": [{}], "next_retry_at": None},
        {"stale": False, "after": 1, "more": False, "deliveries": [], "next_retry_at": "tomorrow"},
    ],
)
async def test_a_page_of_another_shape_is_named(answer: Any) -> None:
    with pytest.raises(BadAnswer, match="read_lanes answered in another shape"):
        await lanes(answer).read_tail(1, after=0, limit=1, busy=(), closed=(), behind=())


async def test_a_secret_is_never_shown() -> None:
    lane = {
        "lane_id": 1,
        "endpoint_id": "e",
        "tenant_id": "t",
        "url": "https://example.com/",
        "secrets": ["whsec_hidden"],
        "status": "active",
        "timeout_seconds": 15,
        "max_concurrency": 10,
        "version": 1,
    }
    lease = await lanes({"token": 1, "lanes": [lane]}).lease(None, duration=timedelta(seconds=30))
    assert lease.lanes[0].secrets == ("whsec_hidden",)
    assert "hidden" not in repr(lease)


async def test_releasing_all_does_not_name_lanes() -> None:
    rpc = Scripted({"released": 1})
    store = RpcLanes(rpc, worker="one", clock=SystemClock(), mark=DeliveryMark())
    await store.release(7)
    assert rpc.asked == {"name": "release_lanes", "p_token": 7}
    await store.release(7, lanes=[1])
    assert rpc.asked == {"name": "release_lanes", "p_token": 7, "p_lane_ids": [1]}


async def test_the_tail_is_told_what_the_last_dispatch_told_and_a_restored_database_lowers_it() -> None:
    mark = DeliveryMark()
    rpc = Scripted({"stale": False, "after": 1, "more": False, "deliveries": [], "next_retry_at": None})
    store = RpcLanes(rpc, worker="one", clock=SystemClock(), mark=mark)
    for told in (None, 812, 900, 4):
        if told is not None:
            counts = dict.fromkeys(("events", "deliveries", "jobs", "endpoints"), 0)
            answer = {**counts, "last_delivery_id": told, "drained": True, "mark": "7"}
            await RpcOutbox(Scripted(answer), worker="one", mark=mark).dispatch("0")
        await store.read_tail(1, after=0, limit=1, busy=(), closed=(), behind=())
        assert rpc.asked["p_through"] == told
