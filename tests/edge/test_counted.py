"""What instances of the function count reaches the worker's metrics: all of it, and once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace

import httpx
import psycopg
import pytest

from tests.edge.redis_state import grown_up, told_of_changes
from tests.edge.signing import Signer, make_key
from tests.eventually import eventually
from tests.people import People
from tests.stack.platform import Platform
from tests.stack.redis import NO_REDIS, binary
from tests.upkeep.test_deploy import scraped
from worker.config import Settings

pytestmark = [pytest.mark.own_platform, pytest.mark.skipif(binary() is None, reason=NO_REDIS)]

LIST = "/pms/products?fields=sku"
PATIENCE = 5.0
"""Seconds for which an instance waits for Postgres to take what it counted (functions/api/origin.ts)."""


@pytest.fixture(scope="module")
def own() -> Iterator[Platform]:
    """Its cache believes that a worker invalidates, and Redis that it lost no nonce for long."""
    with Platform(in_memory=True, with_realtime=False) as platform:
        told_of_changes(platform.addresses.redis_url)
        grown_up(platform.addresses.redis_url)
        yield platform


@pytest.fixture(scope="module")
def instances(own: Platform) -> tuple[str, str, str]:
    cached, also = own.start_functions("functions-a"), own.start_functions("functions-b")
    return cached.url, also.url, own.start_functions("functions-c", REDIS_URL="").url


@dataclass(frozen=True)
class Scene:
    api: list[Signer]
    """At the instances: two with a Redis, one without."""
    internal: httpx.AsyncClient
    before: dict[str, int] = field(default_factory=dict)

    async def health(self) -> dict[str, dict[str, int]]:
        answer = await self.internal.post("/rpc/adapter_health", json={})
        told: dict[str, dict[str, int]] = answer.raise_for_status().json()
        return told

    async def counted(self) -> dict[str, int]:
        """Since the beginning of the test."""
        counts = (await self.health())["counts"]
        more = {name: count - self.before.get(name, 0) for name, count in counts.items()}
        return {name: count for name, count in more.items() if count}

    async def until(self, **expected: int) -> None:
        async def all_are_there() -> bool:
            counts = await self.counted()
            assert {name: counts.get(name, 0) for name in expected} == expected, counts
            return True

        await eventually(all_are_there, 30, what=f"{expected} are counted")


@pytest.fixture
async def scene(own: Platform, instances: tuple[str, str, str]) -> AsyncIterator[Scene]:
    people = People(own.addresses)
    key = await make_key(people, await people.make_tenant(), "manager")
    async with AsyncExitStack() as stack:
        api = [await stack.enter_async_context(Signer(url, key, prefix="/api")) for url in instances]
        new = Scene(api, people.service(schema="worker"))
        yield replace(new, before=(await new.health())["counts"])
    await people.close()


def statuses(answers: list[httpx.Response]) -> list[int]:
    return [answer.status_code for answer in answers]


async def test_requests_and_reads_of_all_instances_are_shown_by_a_worker(own: Platform, scene: Scene) -> None:
    cached, also, plain = scene.api
    many = [cached.get(LIST) if n % 2 else also.get(LIST) for n in range(40)]
    answers = [*await asyncio.gather(*many), await cached.get(LIST), await plain.get(LIST)]
    assert statuses(answers) == [200] * 42
    stranger = replace(cached.key, secret="pms_sk_of_nobody")
    async with Signer(str(cached._http.base_url).removesuffix("/api/"), stranger, prefix="/api") as nobody:
        assert statuses([await nobody.get(LIST) for _ in range(3)]) == [401] * 3
    assert (await cached.get("/pms/products?colour=red")).status_code == 400
    await scene.until(ok=42, refused=3, invalid=1, miss=1, bypass=1)
    counts = await scene.counted()
    assert counts["hit"] + counts["joined"] == 40
    assert counts["stampedes"] >= 1, "two instances, twenty readers each"
    assert (await scene.health())["instances"] == {"redis": 2, "none": 1}
    text = await scraped(worker_settings(own))
    total = (await scene.health())["counts"]
    for line in (
        f'pms_api_requests_total{{outcome="refused"}} {total["refused"]:.1f}',
        f'pms_cache_reads_total{{outcome="miss"}} {total["miss"]:.1f}',
        f"pms_cache_stampedes_total {total['stampedes']:.1f}",
        'pms_api_instances{cache="redis"} 2.0',
    ):
        assert line in text.splitlines(), line


async def test_what_was_counted_while_postgres_was_away_is_handed_in_later(
    own: Platform, scene: Scene
) -> None:
    cached = scene.api[0]
    assert (await cached.get(LIST)).status_code == 200
    await scene.until(ok=1)
    own.postgrest.kill()
    answers = [await cached.get(LIST) for _ in range(20)]
    assert statuses(answers) == [200] * 20, "what lies in Redis needs no Postgres"
    await asyncio.sleep(1.2)  # nobody asks any more when the call is made that fails
    own.postgrest.start()
    await scene.until(ok=21)
    counts = await scene.counted()
    assert sum(counts.get(name, 0) for name in ("hit", "miss", "joined")) == 21


async def test_calls_that_take_effect_after_they_were_given_up_count_once(
    own: Platform, scene: Scene
) -> None:
    """Sums that are added to would have them twice: the instance heard of no success, and tells again."""
    cached = scene.api[0]
    assert (await cached.get(LIST)).status_code == 200
    await scene.until(ok=1)
    async with await psycopg.AsyncConnection.connect(own.addresses.admin_db_url) as holder:
        await holder.execute("lock table private.api_counts in share row exclusive mode")
        assert (await cached.get(LIST)).status_code == 200

        async def given_up() -> bool:
            await holder.execute("select pg_stat_clear_snapshot()")
            waiting = await holder.execute(
                "select extract(epoch from clock_timestamp() - min(a.query_start)) from pg_stat_activity a"
                " where a.wait_event_type = 'Lock' and a.query like '%note_api_use%'"
            )
            [seconds] = await waiting.fetchone() or (None,)
            return seconds is not None and seconds > PATIENCE + 0.5

        # before Postgres ends it, at 8 s
        await eventually(given_up, 20, what="the call is given up, and goes on")
    await scene.until(ok=2)
    assert (await cached.get(LIST)).status_code == 200
    await scene.until(ok=3)


def worker_settings(own: Platform) -> Settings:
    return Settings.model_validate(
        {
            "supabase_url": own.addresses.api_url,
            "SUPABASE_SECRET_KEY": own.addresses.secret_key,
            "worker_name": "counting",
            "worker_http_port": 0,
            "worker_realtime": "off",
        }
    )
