"""What the gateway sends and how it reads answers; the contract suite holds it to the real database."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from msgspec import json

from worker.engine.clock import SystemClock
from worker.errors import BadAnswer
from worker.gateway.lanes import Secret
from worker.gateway.mark import DeliveryMark
from worker.gateway.outbox import RpcOutbox
from worker.gateway.rpc_lanes import DESCRIBED_A_LEASE, RpcLanes


class Scripted:
    """A `RawRpc` that gives one answer, or one by name, and keeps what it was asked."""

    def __init__(self, always: Any = None, **answers: Any) -> None:
        self.always, self.answers = always, answers
        self.asked: dict[str, Any] = {}
        self.names: list[str] = []

    async def call(self, name: str, /, **params: Any) -> Any:
        self.asked = {"name": name, **params}
        self.names.append(name)
        return self.answers.get(name, self.always)

    async def answer(self, name: str, /, **params: Any) -> bytes:
        return json.encode(await self.call(name, **params))


LEASE = timedelta(seconds=30)
NOTHING = {"stale": False, "after": 1, "more": False, "deliveries": [], "next_retry_at": None}


def store(rpc: Scripted) -> RpcLanes:
    return RpcLanes(rpc, worker="one", clock=SystemClock(), mark=DeliveryMark())


def lanes(answer: Any) -> RpcLanes:
    return store(Scripted(answer))


@pytest.mark.parametrize(
    "answer",
    [
        None,
        [],
        {},
        "text",
        {"token": "seven", "lanes": []},
        {"token": 1, "surplus": 0, "known": "1", "lanes": [{"lane_id": 1}]},
        {"token": 1, "surplus": 0, "known": "1"},
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
    lane = described(1, headers={"authorization": "hidden"})
    lease = await store(Scripted(lease_lanes=held([1, 1]), describe_lanes=[lane])).lease(None, duration=LEASE)
    assert lease.lanes[0].secrets == (Secret("whsec_hidden"),)
    assert "hidden" not in repr(lease)


async def test_only_lanes_that_are_new_or_changed_are_described_again() -> None:
    rpc = Scripted(lease_lanes=held([1, 1], [2, 1]), describe_lanes=[described(1), described(2)])
    lanes = store(rpc)
    assert [lane.lane_id for lane in (await lanes.lease(None, duration=LEASE)).lanes] == [1, 2]
    assert rpc.asked["p_lane_ids"] == [1, 2]

    rpc.answers["lease_lanes"] = {**held(), "lanes": None}
    assert len((await lanes.lease(7, duration=LEASE)).lanes) == 2, "null: those that are known"
    assert rpc.asked["p_known"] == "2 lanes"

    rpc.answers |= {"lease_lanes": held([2, 5], [3, 1]), "describe_lanes": [described(2, version=5)]}
    [lane] = (await lanes.lease(7, duration=LEASE)).lanes
    assert (lane.lane_id, lane.version) == (2, 5), "1 is another's now, and 3 was deleted meanwhile"
    assert rpc.asked["p_lane_ids"] == [2, 3]


async def test_a_description_that_fails_is_asked_for_again() -> None:
    rpc = Scripted(lease_lanes=held([1, 1]), describe_lanes="gibberish")
    lanes = store(rpc)
    with pytest.raises(BadAnswer):
        await lanes.lease(None, duration=LEASE)
    rpc.answers["describe_lanes"] = [described(1)]
    assert len((await lanes.lease(7, duration=LEASE)).lanes) == 1
    assert rpc.names == ["lease_lanes", "describe_lanes"] * 2


def held(*lanes: list[int]) -> dict[str, Any]:
    return {"token": 7, "surplus": 0, "known": f"{len(lanes)} lanes", "lanes": list(lanes)}


def described(lane_id: int, **more: Any) -> dict[str, Any]:
    return {
        "lane_id": lane_id,
        "endpoint_id": "e",
        "tenant_id": "t",
        "url": "https://example.com/",
        "secrets": [{"secret": "whsec_hidden", "expires_at": None}],
        "status": "active",
        "headers": {},
        "timeout_seconds": 15,
        "max_concurrency": 10,
        "rate_limit_per_second": None,
        "ordered": False,
        "expires_after_hours": 72,
        "version": 1,
        **more,
    }


async def test_releasing_all_does_not_name_lanes() -> None:
    rpc = Scripted({"released": 1})
    await store(rpc).release(7)
    assert rpc.asked == {"name": "release_lanes", "p_token": 7}
    await store(rpc).release(7, lanes=[1])
    assert rpc.asked == {"name": "release_lanes", "p_token": 7, "p_lane_ids": [1]}


async def test_the_tail_is_told_what_the_last_dispatch_told_and_a_restored_database_lowers_it() -> None:
    mark = DeliveryMark()
    rpc = Scripted(NOTHING)
    lanes = RpcLanes(rpc, worker="one", clock=SystemClock(), mark=mark)
    for told in (None, 812, 900, 4):
        if told is not None:
            counts = dict.fromkeys(("events", "deliveries", "jobs", "endpoints"), 0)
            answer = {**counts, "last_delivery_id": told, "drained": True, "mark": "7"}
            await RpcOutbox(Scripted(answer), worker="one", mark=mark).dispatch("0")
        await lanes.read_tail(1, after=0, limit=1, busy=(), closed=(), behind=())
        assert rpc.asked["p_through"] == told


async def test_of_very_many_lanes_the_first_are_told_before_the_others_are_described() -> None:
    count = DESCRIBED_A_LEASE + 1500
    rpc = Describing(lease_lanes=held(*[[n, 1] for n in range(1, count + 1)]))
    lanes = store(rpc)
    lease = await lanes.lease(None, duration=LEASE)
    assert (len(lease.lanes), lease.partial) == (DESCRIBED_A_LEASE, True)
    rpc.answers["read_lanes"] = NOTHING
    await lanes.read_tail(7, after=0, limit=1, busy=(), closed=(), behind=(3,))
    assert rpc.asked["p_behind_lane_ids"] == [3, *range(DESCRIBED_A_LEASE + 1, count + 1)]
    lease = await lanes.lease(7, duration=LEASE)
    assert (len(lease.lanes), lease.partial) == (count, False)
    assert rpc.names.count("describe_lanes") == 5 + 2, "each once"
    await lanes.read_tail(7, after=0, limit=1, busy=(), closed=(), behind=())
    assert rpc.asked["p_behind_lane_ids"] == []


class Describing(Scripted):
    """Describes whatever it is asked for."""

    async def call(self, name: str, /, **params: Any) -> Any:
        answer = await super().call(name, **params)
        return [described(n) for n in params["p_lane_ids"]] if name == "describe_lanes" else answer
