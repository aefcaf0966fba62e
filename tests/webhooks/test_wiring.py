"""The lanes as the composition root wires them, against the real platform."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx
import pytest

from tests.eventually import eventually
from tests.stack.addresses import Addresses
from worker.app import Worker, wired
from worker.config import Settings
from worker.gateway.client import SupabaseRpc

PARTS = {"webhooks.lease", "webhooks.read", "webhooks.settle"}


@pytest.fixture
def settings(addresses: Addresses) -> Settings:
    return Settings.model_validate(
        {
            "supabase_url": addresses.api_url,
            "SUPABASE_SECRET_KEY": addresses.secret_key,
            "worker_name": "wiring test",
            "worker_http_port": 0,
            "worker_realtime": "off",
        }
    )


@asynccontextmanager
async def listening(worker: Worker) -> AsyncIterator[httpx.AsyncClient]:
    await worker.health.open()
    try:
        url = f"http://127.0.0.1:{worker.health.port}"
        async with httpx.AsyncClient(base_url=url, trust_env=False) as http:
            yield http
    finally:
        await worker.health.close()


@asynccontextmanager
async def running(worker: Worker) -> AsyncIterator[None]:
    task = asyncio.create_task(worker.daemon.run())
    try:
        yield
        worker.daemon.stop()
        await asyncio.wait_for(task, 30)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def test_a_worker_is_ready_once_every_part_of_the_lanes_works(settings: Settings) -> None:
    async with wired(settings) as worker, listening(worker) as http:
        answer = await http.get("/readyz")
        assert answer.status_code == 503
        assert {reason.split(":")[0] for reason in answer.json()["reasons"]} >= PARTS
        async with running(worker):

            async def ready() -> bool:
                return (await http.get("/readyz")).status_code == 200

            await eventually(ready, what="an idle worker is ready")


async def test_the_tail_is_read_with_what_dispatch_told(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[int] = []
    marks: list[int | None] = []
    call, answer = SupabaseRpc.call, SupabaseRpc.answer

    async def dispatched(rpc: SupabaseRpc, name: str, /, **params: Any) -> Any:
        value = await call(rpc, name, **params)
        if name == "dispatch_outbox":
            told.append(value["last_delivery_id"])
        return value

    async def read(rpc: SupabaseRpc, name: str, /, **params: Any) -> bytes:
        if name == "read_lanes" and params.get("p_lane_ids") is None:
            marks.append(params["p_through"])
        return await answer(rpc, name, **params)

    monkeypatch.setattr(SupabaseRpc, "call", dispatched)
    monkeypatch.setattr(SupabaseRpc, "answer", read)
    async with wired(settings, sides=False) as worker, running(worker):
        await eventually(lambda: set(told) & set(marks), what="a mark of dispatch is handed on")
