"""The database's function that carries out plans to publish."""

from __future__ import annotations

from pydantic import BaseModel

from worker.engine.ports import Rpc
from worker.gateway.answers import parse


class PublishedAnswer(BaseModel):
    """What one call did; `more`: the limit was reached, so more may be due."""

    published: int
    failed: int
    more: bool


class RpcDuePublishing:
    """Raises `GatewayError`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def publish_due(self, *, limit: int) -> PublishedAnswer:
        return parse(PublishedAnswer, await self._rpc.call("publish_due_products", p_limit=limit))
