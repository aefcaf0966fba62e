"""The composition root: every part and every handler, wired by hand, once."""

from __future__ import annotations

import gc
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from aiohttp import web

from worker.cache.build import SLOTS as CACHE_SLOTS
from worker.cache.build import cache_parts
from worker.catalogue.handlers import ROUTINES as CATALOGUE_ROUTINES
from worker.catalogue.handlers import PublishDue
from worker.config import Settings
from worker.engine.claim import JobRunner
from worker.engine.clock import Clock, SystemClock
from worker.engine.condition import Condition
from worker.engine.daemon import Daemon
from worker.engine.dispatch import Dispatcher
from worker.engine.ending import stop_on_signals
from worker.engine.health import HealthServer, Readiness, reasons_of
from worker.engine.metrics import Metrics
from worker.engine.ports import Handler, JobQueue, RawRpc, Rpc, Runner, Side
from worker.engine.run import Executor
from worker.engine.upkeep import Upkeep
from worker.engine.upstream import Upstream
from worker.engine.wake import Bell, PaceRules
from worker.errors import GatewayError, KeyRefused, SchemaMissing, Unavailable, Unreachable
from worker.gateway.changes import RpcChanges, RpcSyncUpkeep
from worker.gateway.channel import Channel
from worker.gateway.client import SupabaseRpc
from worker.gateway.inbound import RpcInbound, RpcInboundUpkeep
from worker.gateway.inventory import RpcReservations
from worker.gateway.jobs import RpcJobQueue
from worker.gateway.mark import DeliveryMark
from worker.gateway.outbox import RpcOutbox
from worker.gateway.principals import PrincipalTokens
from worker.gateway.publishing import RpcDuePublishing
from worker.gateway.realtime import STATES, TOPIC, Opener, RealtimeSupervisor
from worker.gateway.upkeep import RpcHousekeeping
from worker.gateway.vitals import RpcVitals
from worker.gateway.webhooks import RpcWebhookJobs
from worker.images.build import image_parts
from worker.images.housekeeping import ROUTINES as IMAGE_ROUTINES
from worker.inbound.handlers import ROUTINES as INBOUND_ROUTINES
from worker.inbound.handlers import ApplyEvent, ForgetEvents
from worker.inventory.handlers import ROUTINES as INVENTORY_ROUTINES
from worker.inventory.handlers import SweepReservations
from worker.log import PART_FAILING, PART_WORKING, UPSTREAM_BACK, UPSTREAM_LOST
from worker.sync.handlers import ROUTINES as SYNC_ROUTINES
from worker.sync.handlers import ForgetChanges, NotifyConflicts, WorkChanges
from worker.sync.meter import SettleMeter
from worker.upkeep.gauges import VitalGauges
from worker.upkeep.handlers import (
    ROUTINES,
    EraseTenants,
    ForgetApiRequests,
    ForgetCommandResults,
    KeepPartitions,
)
from worker.upkeep.vitals import Vitals
from worker.webhooks.attempt import Trier
from worker.webhooks.build import webhook_attempter, webhook_runner
from worker.webhooks.handlers import ROUTINES as WEBHOOK_ROUTINES
from worker.webhooks.handlers import ExpireDeliveries, ForgetSecrets, ReplayEvents, SendTestEvent
from worker.webhooks.runner import WebhookRunner

# what makes Supabase as a whole unusable; the rest is one call's own trouble
_AWAY = (Unreachable, Unavailable, KeyRefused, SchemaMissing)

_PARTS = ("dispatch", "upkeep", "jobs", "jobs.settle", "jobs.extend")
_IMAGE_PARTS = ("images", "images.settle", "images.extend")
_CACHE_PARTS = ("cache", "cache.settle", "cache.extend")


@dataclass(frozen=True, slots=True)
class Worker:
    """A worker, wired and ready to run."""

    daemon: Daemon
    health: HealthServer
    rpc: Rpc


def handlers(
    settings: Settings, rpc: SupabaseRpc, trier: Trier, clock: Clock, settling: SettleMeter
) -> Sequence[Handler]:
    """Every kind of job that this worker does; those that act for somebody need `PMS_JWT_KEY`."""
    housekeeping, webhooks, sync = RpcHousekeeping(rpc), RpcWebhookJobs(rpc), RpcSyncUpkeep(rpc)
    acting: list[Handler] = []
    if settings.pms_jwt_key is not None:
        tokens = PrincipalTokens(settings.pms_jwt_key)
        acting.append(WorkChanges(RpcChanges(rpc, tokens), clock, settling))
        acting.append(ApplyEvent(RpcInbound(rpc, tokens)))
    return [
        KeepPartitions(housekeeping),
        ForgetCommandResults(housekeeping),
        ForgetApiRequests(housekeeping),
        EraseTenants(housekeeping),
        SweepReservations(RpcReservations(rpc)),
        PublishDue(RpcDuePublishing(rpc)),
        ReplayEvents(webhooks),
        SendTestEvent(webhooks, trier),
        ExpireDeliveries(webhooks),
        ForgetSecrets(webhooks),
        NotifyConflicts(sync),
        ForgetChanges(sync),
        ForgetEvents(RpcInboundUpkeep(rpc)),
        *acting,
    ]


@asynccontextmanager
async def wired(settings: Settings, *, sides: bool = True) -> AsyncIterator[Worker]:
    """Wires a worker. Without `sides` it has no Realtime, no upkeep and no health: just the work."""
    clock, metrics, bell = SystemClock(), Metrics(), Bell()
    upstream = Condition("supabase", clock, lost=UPSTREAM_LOST, back=UPSTREAM_BACK)
    dispatching, keeping_up, *working = [_part(name, clock) for name in _PARTS]
    imaging = [_part(name, clock) for name in _IMAGE_PARTS]
    caching = [_part(name, clock) for name in _CACHE_PARTS] if settings.redis_url is not None else []
    redis = Condition("redis", clock, lost=PART_FAILING, back=PART_WORKING)
    mark = DeliveryMark()
    async with (
        SupabaseRpc(settings, watch=partial(_note, Upstream(upstream, clock, away=_AWAY), metrics)) as rpc,
        webhook_attempter(settings, clock=clock) as trier,
        image_parts(settings, rpc, clock=clock, registry=metrics.registry) as images,
        cache_parts(
            settings,
            rpc,
            clock=clock,
            redis=redis,
            needs=[dispatching, *caching[:1]],
            registry=metrics.registry,
        ) as cache,
    ):
        queue = RpcJobQueue(rpc, worker=settings.worker_name)
        webhooks = _webhooks(settings, rpc, trier, clock, metrics, mark)
        every_handler = [
            *handlers(settings, rpc, trier, clock, SettleMeter(metrics.registry)),
            *images.upkeep,
        ]
        job_runner = partial(_job_runner, queue=queue, clock=clock, metrics=metrics, settings=settings)
        runners: list[Runner] = [
            _dispatcher(settings, rpc, bell, clock, metrics, dispatching, mark),
            job_runner("jobs", settings.worker_concurrency, every_handler, working),
            # slow ones must not take the slots of the others
            job_runner("images", settings.worker_image_concurrency, [images.process], imaging),
            webhooks,
        ]
        if cache.handlers:
            # nor hold up what tells readers that their answers are old
            runners.append(job_runner("cache", CACHE_SLOTS, cache.handlers, caching))
        for runner in runners:
            bell.attach(runner.wake)
            metrics.watch(runner.name, runner.stats)
        realtime = RealtimeSupervisor(
            open_channel=_opener(settings),
            hear=bell.heard,
            clock=clock,
            on_state=partial(metrics.realtime, states=STATES),
        )
        vitals = Vitals(RpcVitals(rpc, mark), clock=clock, condition=_part("vitals", clock))
        metrics.registry.register(VitalGauges(vitals))
        conditions = [upstream, dispatching, keeping_up, *working, *imaging, *caching, *webhooks.conditions]
        state = _State(conditions, realtime, vitals)
        health = _health(settings, clock, metrics, state, images.routes)
        every_side: list[Side] = [
            realtime,
            health,
            vitals,
            *cache.sides,
            Upkeep(
                queue,
                [
                    *ROUTINES,
                    *INVENTORY_ROUTINES,
                    *CATALOGUE_ROUTINES,
                    *WEBHOOK_ROUTINES,
                    *SYNC_ROUTINES,
                    *INBOUND_ROUTINES,
                    *IMAGE_ROUTINES,
                ],
                clock=clock,
                condition=keeping_up,
            ),
        ]
        state.daemon = Daemon(
            runners=runners,
            sides=every_side if sides else [],
            clock=clock,
            drain_deadline=settings.drain_deadline,
        )
        yield Worker(daemon=state.daemon, health=health, rpc=rpc)


def _dispatcher(
    settings: Settings,
    rpc: Rpc,
    bell: Bell,
    clock: Clock,
    metrics: Metrics,
    condition: Condition,
    mark: DeliveryMark,
) -> Dispatcher:
    return Dispatcher(
        RpcOutbox(rpc, worker=settings.worker_name, mark=mark),
        bell,
        clock=clock,
        metrics=metrics,
        condition=condition,
        rules=PaceRules(poll=settings.poll),
    )


def _job_runner(
    name: str,
    slots: int,
    every_handler: Sequence[Handler],
    conditions: Sequence[Condition],
    *,
    queue: JobQueue,
    clock: Clock,
    metrics: Metrics,
    settings: Settings,
) -> JobRunner:
    claiming, settling, extending = conditions
    return JobRunner(
        queue,
        Executor(every_handler),
        name=name,
        clock=clock,
        metrics=metrics,
        condition=claiming,
        settling=settling,
        extending=extending,
        slots=slots,
        poll=settings.poll,
        lease=settings.lease,
    )


def _webhooks(
    settings: Settings, rpc: RawRpc, trier: Trier, clock: Clock, metrics: Metrics, mark: DeliveryMark
) -> WebhookRunner:
    return webhook_runner(
        settings,
        rpc,
        trier,
        clock=clock,
        poll=settings.poll,
        mark=mark,
        registry=metrics.registry,
        told_elsewhere=_AWAY,
    )


def _health(
    settings: Settings, clock: Clock, metrics: Metrics, state: _State, routes: Sequence[web.RouteDef]
) -> HealthServer:
    return HealthServer(
        host=settings.worker_http_host,
        port=settings.worker_http_port,
        metrics=metrics,
        readiness=state.read,
        clock=clock,
        routes=routes,
    )


async def run_worker(settings: Settings) -> None:
    """Runs until a signal, then drains. Raises `SettingsError` (port taken), `WorkerDied`
    and `StopOverdue`.
    """
    async with wired(settings) as worker:
        await worker.health.open()
        _freeze_what_is_loaded()
        try:
            with stop_on_signals(worker.daemon.stop):
                await worker.daemon.run()
        finally:
            await worker.health.close()


def _freeze_what_is_loaded() -> None:
    """It stays, and need not be walked: each full collection held all sending up for 50 ms."""
    gc.collect()
    gc.freeze()


class _State:
    """What /readyz tells."""

    def __init__(self, conditions: Sequence[Condition], realtime: RealtimeSupervisor, vitals: Vitals) -> None:
        self._conditions, self._realtime, self._vitals = conditions, realtime, vitals
        self.daemon: Daemon | None = None

    def read(self) -> Readiness:
        reasons = [*reasons_of(self._conditions), *self._vitals.reasons]
        if self.daemon is not None and self.daemon.dead:
            reasons += [f"{name} has died" for name in self.daemon.dead]
        elif self.daemon is not None and self.daemon.stopping:
            reasons.append("stopping")
        # not being live is no reason: the slow poll does the same work a little later
        notes: Mapping[str, Any] = {
            "realtime": {
                "state": self._realtime.state,
                "since": self._realtime.since.isoformat(),
                "reason": self._realtime.reason,
            },
            **self._vitals.notes,
        }
        return Readiness(reasons=reasons, notes=notes)


def _note(
    upstream: Upstream, metrics: Metrics, function: str, seconds: float, error: GatewayError | None
) -> None:
    outcome = "ok" if error is None else type(error).__name__.lower()
    metrics.called(function, outcome=outcome, seconds=seconds)
    upstream.heard(function, error)


def _part(name: str, clock: Clock) -> Condition:
    return Condition(name, clock, lost=PART_FAILING, back=PART_WORKING, told_elsewhere=_AWAY)


def _opener(settings: Settings) -> Opener | None:
    if settings.worker_realtime == "off":
        return None
    key = settings.supabase_secret_key.get_secret_value()
    return partial(Channel.open, settings.realtime_url, key, TOPIC)
