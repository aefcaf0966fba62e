"""What changed in a tenant, and the edge function that fills its cache again."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from datetime import timedelta
from types import TracebackType
from typing import Final

import httpx
from pydantic import BaseModel, ConfigDict

from worker.config import Settings
from worker.engine.ports import Rpc
from worker.errors import Busy, GatewayError, KeyRefused, Unreachable
from worker.gateway.answers import parse
from worker.gateway.transport import CONNECT_TIMEOUT

WARM_TIMEOUT: Final = timedelta(seconds=5)


class Changed(BaseModel):
    """`tags` and `keys` (ids of API keys): the last number at which each changed; `seq` is the log's."""

    model_config = ConfigDict(frozen=True)

    epoch: str
    seq: int
    tags: Mapping[str, int]
    keys: Mapping[str, int]


class RpcCacheChanges:
    """Raises `GatewayError`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def changed(self, tenant_id: str, *, epoch: str | None, after: int) -> Changed:
        """What changed after that place of the log; everything, if the log does not reach back to it."""
        answer = await self._rpc.call("changed_tags", p_tenant_id=tenant_id, p_epoch=epoch, p_after=after)
        return parse(Changed, answer)


class FunctionWarmth:
    """Asks the edge adapter to read again what it is asked most. Its answer is not read."""

    def __init__(self, settings: Settings, *, timeout: timedelta = WARM_TIMEOUT) -> None:
        key = settings.supabase_secret_key.get_secret_value()
        self._http = httpx.AsyncClient(
            timeout=httpx.Timeout(timeout.total_seconds(), connect=CONNECT_TIMEOUT.total_seconds()),
            trust_env=False,
            headers={"apikey": key, "authorization": f"Bearer {key}"},
        )
        self._url = f"{settings.api_url}/functions/v1/api/pms/cache/warm"
        self._timeout = timeout

    async def __aenter__(self) -> FunctionWarmth:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def warm(self, tenant_id: str) -> None:
        """Raises `GatewayError`, at the latest after the timeout."""
        try:
            async with (
                asyncio.timeout(self._timeout.total_seconds()),
                self._http.stream("POST", self._url, json={"tenant_id": tenant_id}) as answer,
            ):
                status = answer.status_code
        except TimeoutError:
            raise Busy("the edge function did not answer in time") from None
        except httpx.HTTPError as error:
            raise Unreachable(f"the edge function: {type(error).__name__}") from None
        if status == 401:
            raise KeyRefused(
                "the edge function does not take this worker's key",
                hint="set PMS_SERVICE_KEY of the function to it",
            )
        if status >= 300:
            raise GatewayError(f"the edge function answered {status}")
