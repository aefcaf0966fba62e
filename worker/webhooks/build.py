"""Puts the runner of the webhook lanes together from the settings."""

from __future__ import annotations

from datetime import timedelta

from prometheus_client import CollectorRegistry

from worker.config import Settings
from worker.engine.clock import Clock
from worker.engine.ports import Rpc
from worker.gateway.lanes import RpcLanes
from worker.gateway.mark import DeliveryMark
from worker.resolver import SystemResolver
from worker.wall import Wall
from worker.webhooks.attempt import Attempter
from worker.webhooks.clients import PinnedClients
from worker.webhooks.runner import WebhookRunner
from worker.webhooks.sender import Sender


def webhook_runner(
    settings: Settings,
    rpc: Rpc,
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
    clients = PinnedClients(Wall(SystemResolver(), allow=settings.worker_allow_private_hosts), clock=clock)
    return WebhookRunner(
        RpcLanes(rpc, worker=settings.worker_name, clock=clock, mark=mark),
        Attempter(Sender(clients, clock=clock), clock=clock),
        clock=clock,
        poll=poll,
        lease=settings.lease,
        slots=settings.worker_send_concurrency,
        registry=registry,
        told_elsewhere=told_elsewhere,
        close=clients.close,
    )
