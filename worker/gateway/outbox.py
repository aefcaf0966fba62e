"""The outbox, by RPC: `dispatch_outbox` and `stay_awake`."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from worker.engine.ports import Dispatched, Rpc
from worker.gateway.answers import parse
from worker.gateway.mark import DeliveryMark

SLICE = 2_000


class _DispatchAnswer(BaseModel):
    events: int
    deliveries: int
    jobs: int
    endpoints: int
    last_delivery_id: int
    drained: bool
    mark: str


class RpcOutbox:
    """`Outbox` over the database's functions. `worker` tells dispatch whom not to ring; `mark` is set to what
    each dispatch tells.
    """

    def __init__(self, rpc: Rpc, *, worker: str, mark: DeliveryMark, limit: int = SLICE) -> None:
        self._rpc, self._worker, self._mark, self._limit = rpc, worker, mark, limit

    async def dispatch(self, mark: str) -> Dispatched:
        answer = parse(
            _DispatchAnswer,
            await self._rpc.call("dispatch_outbox", p_limit=self._limit, p_mark=mark, p_worker=self._worker),
        )
        self._mark.last_id, self._mark.outbox = answer.last_delivery_id, answer.mark
        return Dispatched(**answer.model_dump(exclude={"last_delivery_id"}))

    async def stay_awake(self, duration: timedelta) -> None:
        await self._rpc.call("stay_awake", p_seconds=duration.total_seconds())
