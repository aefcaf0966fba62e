"""The functions behind the jobs of webhooks: replays, tests, expiry."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from pydantic import AwareDatetime, BaseModel

from worker.engine.ports import Rpc
from worker.errors import BadAnswer
from worker.gateway.answers import parse
from worker.gateway.lanes import Delivery, Lane, Result
from worker.gateway.rpc_lanes import parse_lane


class ReplaySlice(BaseModel):
    """What one slice of a replay did. `waiting`: the endpoint has enough for now; `paused`: it takes
    nothing."""

    queued: int
    done: bool
    waiting: bool
    paused: bool


@dataclass(frozen=True, slots=True)
class WebhookTest:
    """A test to be sent: to `lane`, as if it were `delivery`."""

    lane: Lane
    delivery: Delivery


class _Test(BaseModel):
    delivery_id: int
    event_id: str
    type: str
    body: str
    created_at: AwareDatetime
    lane: dict[str, Any]


class _Expired(BaseModel):
    expired: int
    more: bool


class _Forgotten(BaseModel):
    forgotten: int


class RpcWebhookJobs:
    """All methods raise `GatewayError`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def continue_replay(self, replay_id: str, *, limit: int) -> ReplaySlice:
        return parse(
            ReplaySlice, await self._rpc.call("continue_replay", p_replay_id=replay_id, p_limit=limit)
        )

    async def read_test(self, delivery_id: int) -> WebhookTest | None:
        """None when it was sent already, or went with its endpoint."""
        answer = await self._rpc.call("read_webhook_test", p_delivery_id=delivery_id)
        if answer is None:
            return None
        test = parse(_Test, answer)
        try:
            lane = parse_lane(test.lane)
        except (KeyError, TypeError, ValueError) as error:
            raise BadAnswer(f"read_webhook_test answered a lane of another shape: {error!r}") from error
        delivery = Delivery(
            delivery_id=test.delivery_id,
            lane_id=lane.lane_id,
            event_id=test.event_id,
            body=test.body.encode(),
            occurred_at=test.created_at,
            type=test.type,
        )
        return WebhookTest(lane, delivery)

    async def settle_test(self, result: Result) -> None:
        await self._rpc.call("settle_webhook_test", p_delivery_id=result.delivery_id, p_result=result)

    async def expire_deliveries(self, *, limit: int) -> tuple[int, bool]:
        """How many expired, and whether others are due."""
        answer = parse(_Expired, await self._rpc.call("expire_deliveries", p_limit=limit))
        return answer.expired, answer.more

    async def forget_secrets(self) -> int:
        return parse(_Forgotten, await self._rpc.call("forget_webhook_secrets")).forgotten
