"""Puts the parts of webhooks together from the settings."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta

from prometheus_client import CollectorRegistry

from worker.config import Settings
from worker.engine.clock import Clock
from worker.engine.ports import RawRpc
from worker.gateway.mark import DeliveryMark
from worker.gateway.rpc_lanes import RpcLanes
from worker.resolver import SystemResolver
from worker.tls import tls_context
from worker.wall import Wall
from worker.webhooks.attempt import Attempter, Trier
from worker.webhooks.http.proxy import Proxy, ProxyAddress
from worker.webhooks.runner import WebhookRunner
from worker.webhooks.sender import Sender


def sender(settings: Settings, clock: Clock) -> Sender:
    """The way out as it is in production, to be shared by all that send and closed by whoever built it."""
    resolver, url = SystemResolver(), settings.worker_egress_proxy
    return Sender(
        Wall(resolver, allow=settings.worker_allow_private_hosts),
        clock=clock,
        tls=tls_context(),  # now: reading the roots takes long enough to be felt by what is being sent
        proxy=None if url is None else Proxy(ProxyAddress.parse(url.get_secret_value()), resolver),
    )


@asynccontextmanager
async def webhook_attempter(settings: Settings, *, clock: Clock) -> AsyncIterator[Attempter]:
    """What makes attempts, for the lanes and for tests alike; its connections close at the end."""
    way_out = sender(settings, clock)
    try:
        yield Attempter(way_out, clock=clock)
    finally:
        await way_out.close()


def webhook_runner(
    settings: Settings,
    rpc: RawRpc,
    trier: Trier,
    *,
    clock: Clock,
    poll: timedelta,
    mark: DeliveryMark,
    registry: CollectorRegistry | None = None,
    told_elsewhere: tuple[type[Exception], ...] = (),
) -> WebhookRunner:
    """The runner as it runs in production. `mark` is what dispatch told; `registry` takes the histograms;
    failures in `told_elsewhere` are logged by somebody else already.
    """
    return WebhookRunner(
        RpcLanes(rpc, worker=settings.worker_name, clock=clock, mark=mark),
        trier,
        clock=clock,
        poll=poll,
        lease=settings.lease,
        slots=settings.worker_send_concurrency,
        registry=registry,
        told_elsewhere=told_elsewhere,
    )
