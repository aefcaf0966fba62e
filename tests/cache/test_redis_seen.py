"""What doctor and status see of a real Redis: whether it evicts, who tells it of changes, what it refuses."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from pydantic import SecretStr
from redis.asyncio import Redis
from rich.console import Console

from tests.cache.conftest import Server
from tests.gateway.healths import health
from tests.gateway.test_doctor import finding
from tests.gateway.test_drain import status
from tests.upkeep.test_vitals import ADAPTER
from worker.cache.store import CacheRefused, CacheStore
from worker.config import Settings
from worker.gateway.status import Status
from worker.status import RedisSight, look_at_redis, table


async def acl(client: Redis, *words: str) -> None:
    await client.execute_command("ACL", *words)  # type: ignore[no-untyped-call]  # has none


@pytest.fixture
async def policy(client: Redis) -> AsyncIterator[Redis]:
    yield client
    await client.config_set("maxmemory-policy", "noeviction")


@pytest.fixture
async def guest(server: Server, client: Redis) -> AsyncIterator[str]:
    """The address for a user who may what adapters need, and neither CONFIG nor INFO."""
    await acl(client, "SETUSER", "guest", "on", ">word", "~*", "+@all", "-config", "-info")
    yield server.url.replace("redis://", "redis://guest:word@")
    await acl(client, "DELUSER", "guest")


def settings(url: str | None) -> Settings:
    return Settings.model_validate(
        {"supabase_url": "http://127.0.0.1:9", "SUPABASE_SECRET_KEY": "sb_secret_x", "redis_url": url}
    )


async def test_a_redis_that_keeps_what_it_has_is_in_order(server: Server) -> None:
    found = await finding("Redis", redis_url=server.url)
    assert (found.verdict, "evicts nothing" in found.text) == ("ok", True), found


@pytest.mark.parametrize("name", ["allkeys-lru", "volatile-ttl"])
async def test_one_that_evicts_is_warned_of_and_told_how_to_mend(
    server: Server, policy: Redis, name: str
) -> None:
    await policy.config_set("maxmemory-policy", name)
    found = await finding("Redis", redis_url=server.url)
    assert found.verdict == "warn"
    assert name in found.text
    assert "set it to noeviction" in found.text


async def test_one_that_does_not_say_is_unknown_and_no_fault(guest: str, policy: Redis) -> None:
    await policy.config_set("maxmemory-policy", "allkeys-lru")
    found = await finding("Redis", redis_url=guest)
    assert found.verdict == "ok"
    assert "maxmemory-policy is unknown" in found.text
    assert "word" not in found.text


async def test_one_that_refuses_config_alone_tells_by_info(guest: str, policy: Redis) -> None:
    await acl(policy, "SETUSER", "guest", "+info")
    await policy.config_set("maxmemory-policy", "allkeys-lru")
    async with CacheStore(SecretStr(guest)) as store:
        assert (await store.facts()).policy == "allkeys-lru"


async def test_a_user_who_may_nothing_is_a_fault(guest: str, client: Redis) -> None:
    await acl(client, "SETUSER", "guest", "nocommands")
    found = await finding("Redis", redis_url=guest)
    assert (found.verdict, "check REDIS_URL" in found.text) == ("fail", True), found
    async with CacheStore(SecretStr(guest)) as store:
        with pytest.raises(CacheRefused):
            await store.alive()


async def test_status_sees_who_tells_and_when_nobody_does(server: Server, store: CacheStore) -> None:
    assert await look_at_redis(settings(server.url)) == RedisSight()
    await store.beat("worker one", lasting=timedelta(seconds=15))
    assert await look_at_redis(settings(server.url)) == RedisSight(alive="worker one")
    assert await look_at_redis(settings(None)) is None
    away = await look_at_redis(settings("redis://:hunter2@127.0.0.1:9/0"))
    assert away is not None
    assert away.alive is None
    assert "Redis" in str(away.fault)
    assert "hunter2" not in str(away.fault)


QUIET = {"waiting": 0, "oldest_seconds": 0}


@pytest.mark.parametrize(
    ("adapter", "redis", "told", "untold"),
    [
        ({}, RedisSight(alive="[b]one"), "2 tenants to tell of, the oldest for 8 s told by [b]one", ""),
        ({"invalidations": QUIET}, RedisSight(), "0 nothing to tell no worker says", "oldest for 8 s"),
        ({"invalidations": QUIET}, RedisSight(fault="Redis: away"), "Redis: away", "answers"),
        ({"invalidations": QUIET}, None, "REDIS_URL is not set here", "answers"),
        ({"invalidations": QUIET, "instances": {"redis": 0, "none": 1}}, None, "inbound", "cache"),
        ({}, None, "3 the oldest for 4 s 1 unknown, 2 refused", ""),
    ],
)
def test_status_has_lines_for_the_cache_and_for_inbound_events(
    adapter: dict[str, object], redis: RedisSight | None, told: str, untold: str
) -> None:
    seen = health(adapter={**ADAPTER, **adapter})
    console = Console(width=140)
    with console.capture() as captured:
        console.print(table(Status.model_validate(status()), seen, redis))
    text = " ".join(captured.get().replace("\u2502", " ").split())
    at = -1
    for word in told.split():
        at = text.find(word, at + 1)
        assert at >= 0, (word, text)
    assert not untold or untold not in text
