"""The database's housekeeping functions."""

from __future__ import annotations

from datetime import timedelta

from pydantic import BaseModel

from worker.engine.ports import Rpc
from worker.gateway.answers import parse


class _Made(BaseModel):
    made: list[str]


class _Dropped(BaseModel):
    dropped: list[str]


class _Forgotten(BaseModel):
    forgotten: int


class _Left(BaseModel):
    left: int


class _More(BaseModel):
    more: bool


class RpcHousekeeping:
    """All methods raise `GatewayError`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def make_partitions(self, *, days_ahead: int) -> list[str]:
        return parse(_Made, await self._rpc.call("make_partitions", p_days_ahead=days_ahead)).made

    async def drop_partitions(self, *, keep_days: int) -> list[str]:
        return parse(_Dropped, await self._rpc.call("drop_partitions", p_keep_days=keep_days)).dropped

    async def forget_command_results(self, *, keep: timedelta) -> int:
        hours = int(keep.total_seconds() // 3600)
        answer = await self._rpc.call("forget_command_results", p_keep_hours=hours)
        return parse(_Forgotten, answer).forgotten

    async def forget_api_requests(self) -> bool:
        return parse(_More, await self._rpc.call("forget_api_requests")).more

    async def erase_tenants(self) -> int:
        return parse(_Left, await self._rpc.call("erase_tenants")).left
