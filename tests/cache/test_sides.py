"""The heartbeat, which must not lie, and the warming calls, which nothing waits for; Redis at its slowest."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import timedelta

import pytest
import structlog
from aiohttp import web
from aiohttp.test_utils import TestServer
from prometheus_client import CollectorRegistry
from pydantic import SecretStr
from redis.asyncio import Redis

from tests.cache.conftest import Server
from tests.engine.clock import ManualClock
from worker.cache.meter import CacheMeter
from worker.cache.sides import LASTING, MOST_WAITING, WARMING_REFUSED, Heartbeat, Warmer
from worker.cache.store import ALIVE, CacheAway, CacheStore
from worker.config import Settings
from worker.doctor import _redis as redis_finding
from worker.engine.condition import Condition
from worker.engine.ports import Side
from worker.errors import Busy, GatewayError, KeyRefused, Unreachable
from worker.gateway.cache import FunctionWarmth


@asynccontextmanager
async def beside(side: Side) -> AsyncIterator[None]:
    task = asyncio.create_task(side.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_beat_names_the_worker_and_ends_by_itself(store: CacheStore, client: Redis) -> None:
    await store.beat("anna", lasting=LASTING)
    assert await client.get(ALIVE) == "anna"
    assert 14_000 < await client.pttl(ALIVE) <= 15_000


@dataclass
class Beats:
    beats: list[str] = field(default_factory=list)
    away: bool = False

    async def beat(self, name: str, *, lasting: timedelta) -> None:
        if self.away:
            raise CacheAway("away")
        self.beats.append(name)


async def test_it_beats_only_while_changes_are_told(clock: ManualClock) -> None:
    """A worker that lives but cannot dispatch would let adapters serve what is long past."""
    need, redis = (Condition(name, clock, lost="lost", back="back") for name in ("dispatch", "redis"))
    door, registry = Beats(), CollectorRegistry()
    beat = Heartbeat(door, "anna", clock=clock, condition=redis, needs=[need], meter=CacheMeter(registry))

    def shown() -> float | None:
        return registry.get_sample_value("pms_cache_alive")

    async with beside(beat):
        await clock.advance(30)
        assert (door.beats, shown()) == ([], 0)  # it has not dispatched yet
        need.ok()
        await clock.advance(11)
        assert (len(door.beats), shown()) == (3, 1)
        need.failed(Unreachable("gone"))
        await clock.advance(60)
        assert (len(door.beats), shown()) == (3, 0)
        need.ok()
        door.away = True
        await clock.advance(10)
        assert (redis.holds, shown()) == (False, 0)
        door.away = False
        await clock.advance(10)
        assert (redis.holds, shown()) == (True, 1)


@dataclass
class Warmth:
    """Fails for tenants named `bad…`."""

    calls: list[str] = field(default_factory=list)

    async def warm(self, tenant_id: str) -> None:
        self.calls.append(tenant_id)
        if tenant_id.startswith("bad"):
            raise Unreachable("gone")


async def test_warming_is_bounded_and_its_failures_stop_nothing(clock: ManualClock) -> None:
    door, registry = Warmth(), CollectorRegistry()
    warmer = Warmer(door, clock=clock, meter=CacheMeter(registry))
    for name in ("a", "bad", "a", "b", "a"):
        warmer.ask(name)
    async with beside(warmer):
        await clock.advance(0)
        assert door.calls == ["a", "bad", "b"]
        for _ in range(50):
            warmer.ask("a")
        await clock.advance(0.9)
        assert door.calls == ["a", "bad", "b"]  # not before its second is over
        await clock.advance(0.2)
        assert door.calls == ["a", "bad", "b", "a"]
    for number in range(MOST_WAITING * 2):
        warmer.ask(f"c{number}")
    async with beside(warmer):
        await clock.advance(5)
    assert len(door.calls) == 4 + MOST_WAITING
    assert registry.get_sample_value("pms_cache_warmings_total", {"outcome": "failed"}) == 1


async def test_a_key_that_the_adapter_does_not_take_is_told_once(clock: ManualClock) -> None:
    """Else nobody learns why no cache is ever warm."""
    takes = [False, False, False, True, False]

    class Door:
        async def warm(self, tenant_id: str) -> None:
            if not takes.pop(0):
                raise KeyRefused("not this key", hint="PMS_SERVICE_KEY")

    warmer = Warmer(Door(), clock=clock, meter=CacheMeter(CollectorRegistry()))
    with structlog.testing.capture_logs() as logs:
        async with beside(warmer):
            for at, said in enumerate((1, 1, 1, 1, 2)):
                warmer.ask(f"t{at}")
                await clock.advance(2)
                told = [line for line in logs if line["event"] == WARMING_REFUSED]
                assert len(told) == said
    assert (told[0]["log_level"], told[0]["hint"]) == ("warning", "PMS_SERVICE_KEY")


Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]


@asynccontextmanager
async def function(answer: Answer) -> AsyncIterator[FunctionWarmth]:
    app = web.Application()
    app.router.add_post("/functions/v1/api/pms/cache/warm", answer)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    settings = Settings(
        _env_file=None, SUPABASE_URL=f"http://127.0.0.1:{server.port}", SUPABASE_SECRET_KEY="sb_secret_x"
    )
    try:
        async with FunctionWarmth(settings, timeout=timedelta(seconds=0.3)) as warmth:
            yield warmth
    finally:
        await server.close()


async def test_the_adapter_is_asked_with_the_service_key() -> None:
    seen: list[tuple[str | None, object]] = []

    async def answer(request: web.Request) -> web.Response:
        seen.append((request.headers.get("Authorization"), await request.json()))
        return web.Response(status=202)

    async with function(answer) as warmth:
        await warmth.warm("t")
    assert seen == [("Bearer sb_secret_x", {"tenant_id": "t"})]


async def test_an_adapter_that_hangs_or_refuses_is_given_up() -> None:
    over = asyncio.Event()

    async def hang(_request: web.Request) -> web.Response:
        with contextlib.suppress(asyncio.CancelledError):
            await over.wait()
        return web.Response()

    async def refuse(_request: web.Request) -> web.Response:
        return web.Response(status=404)

    async with function(hang) as warmth:
        with pytest.raises(Busy):
            await warmth.warm("t")
        over.set()
    async with function(refuse) as warmth:
        with pytest.raises(GatewayError, match="404"):
            await warmth.warm("t")

    async def another_key(_request: web.Request) -> web.Response:
        return web.Response(status=401)

    async with function(another_key) as warmth:
        with pytest.raises(KeyRefused, match="key"):
            await warmth.warm("t")


async def test_a_redis_that_takes_calls_and_never_answers_is_given_up() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = listening.sockets[0].getsockname()[1]
    url = SecretStr(f"redis://127.0.0.1:{port}/0")
    async with asyncio.timeout(5), CacheStore(url, time_limit=timedelta(seconds=0.2)) as store:
        with pytest.raises(CacheAway):
            await store.through("t")
    listening.close()


async def test_a_connection_that_a_restart_closed_is_opened_again(store: CacheStore, server: Server) -> None:
    await store.beat("anna", lasting=LASTING)
    server.process.kill()
    with pytest.raises(CacheAway):
        await store.beat("anna", lasting=LASTING)
    server.process.start()
    await store.beat("anna", lasting=LASTING)


async def test_doctor_says_whether_redis_answers(server: Server) -> None:
    async def found(url: str | None) -> tuple[str, str]:
        settings = Settings(
            _env_file=None,
            SUPABASE_URL="http://127.0.0.1:9",
            SUPABASE_SECRET_KEY="sb_secret_x",
            REDIS_URL=url,
        )
        seen = await redis_finding(settings)
        return seen.verdict, seen.text

    assert (await found(server.url))[0] == "ok"
    assert "without a cache" in (await found(None))[1]
    server.process.kill()
    verdict, text = await found(server.url)
    assert (verdict, "check REDIS_URL" in text) == ("fail", True)
