"""Inbound webhooks as the worker sees them."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from worker.engine.ports import Rpc
from worker.gateway.answers import parse
from worker.gateway.client import SupabaseRpc
from worker.gateway.principals import PrincipalTokens

Status = Literal["done", "rejected", "gone", "queued", "duplicate", "stale", "unknown"]


class Applied(BaseModel):
    """What became of an event; `queued`: not yet, look again after so many seconds."""

    model_config = ConfigDict(frozen=True)

    status: Status
    in_seconds: float = Field(1, gt=0, le=3600)


class _Forgotten(BaseModel):
    model_config = ConfigDict(frozen=True)

    forgotten: int
    more: bool


class RpcInbound:
    """Raises `GatewayError`."""

    def __init__(self, rpc: SupabaseRpc, tokens: PrincipalTokens) -> None:
        self._rpc, self._tokens = rpc, tokens

    async def apply(self, principal_id: str, webhook_id: str) -> Applied:
        """Works a kept event that waits, as `principal_id`; once, however often it is called."""
        token = self._tokens.token(principal_id)
        answer = await self._rpc.call_as(token, "apply_webhook", p_webhook_id=webhook_id)
        return parse(Applied, answer)


class RpcInboundUpkeep:
    """Raises `GatewayError`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def forget(self, *, keep: timedelta) -> bool:
        """Forgets a slice of the events that came before that; whether others are as old."""
        answer = await self._rpc.call("forget_webhooks", p_keep_days=keep.days)
        return parse(_Forgotten, answer).more
