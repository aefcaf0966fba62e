"""Puts the parts of the cache together from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace

from prometheus_client import CollectorRegistry

from worker.cache.handlers import Invalidate
from worker.cache.meter import CacheMeter
from worker.cache.sides import Heartbeat, Warmer
from worker.cache.store import CacheStore
from worker.config import Settings
from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.ports import Handler, Rpc, Side
from worker.gateway.cache import FunctionWarmth, RpcCacheChanges

SLOTS = 2


@dataclass(frozen=True, slots=True)
class CacheParts:
    """`handlers` have slots of their own; none of both without REDIS_URL."""

    handlers: Sequence[Handler] = ()
    sides: Sequence[Side] = ()


@asynccontextmanager
async def cache_parts(
    settings: Settings,
    rpc: Rpc,
    *,
    clock: Clock,
    redis: Condition,
    needs: Sequence[Condition],
    registry: CollectorRegistry | None = None,
) -> AsyncIterator[CacheParts]:
    """`redis` tells whether it answers, `needs` what this worker must be able to do before it says that it
    tells what changes."""
    if settings.redis_url is None:
        yield CacheParts()
        return
    async with AsyncExitStack() as stack:
        store = await stack.enter_async_context(CacheStore(settings.redis_url))
        meter = CacheMeter(registry)
        beat = Heartbeat(store, settings.worker_name, clock=clock, condition=redis, needs=needs, meter=meter)
        job = Invalidate(RpcCacheChanges(rpc), store, redis, clock, meter=meter)
        if settings.worker_cache_warm != "on":
            yield CacheParts([job], [beat])
            return
        warmth = await stack.enter_async_context(FunctionWarmth(settings))
        warmer = Warmer(warmth, clock=clock, meter=meter)
        yield CacheParts([replace(job, warm=warmer.ask)], [beat, warmer])
