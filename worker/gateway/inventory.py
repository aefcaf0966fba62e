"""The database's sweeper of reservations."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from worker.engine.ports import Rpc
from worker.gateway.answers import parse


class Swept(BaseModel):
    """What one sweep did; `more` says that other holds are over, too."""

    model_config = ConfigDict(frozen=True)

    expired: int
    more: bool


class RpcReservations:
    """All methods raise `GatewayError`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def sweep(self, *, limit: int) -> Swept:
        """Ends up to `limit` holds whose time is over, the oldest first."""
        return parse(Swept, await self._rpc.call("sweep_reservations", p_limit=limit))
