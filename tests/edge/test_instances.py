"""The attacker's list, over several processes of the function: what one took, no other takes again.

Two with Redis and two without, over one database. A nonce that went through Redis is known to Postgres within
a moment, so that it stays used when Redis goes.
"""

from __future__ import annotations

import asyncio
import secrets
import statistics
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack

import httpx
import pytest

from tests.edge.attacking import STRANGER, TARGET, code, signed
from tests.edge.conftest import Shop
from tests.edge.signing import ApiKey, Signer, make_key
from tests.people import People
from tests.stack.platform import Platform

pytestmark = pytest.mark.own_platform
SETTLED = 0.5
"""Seconds in which an instance has told Postgres of the nonces it took."""


@pytest.fixture(scope="module")
def urls(platform: Platform) -> Iterator[dict[str, str]]:
    if not platform.addresses.redis_url:
        pytest.skip("needs a redis-server")
    instances = {
        name: platform.start_functions(f"edge-{name}-{secrets.token_hex(2)}", **settings)
        for name, settings in (
            ("redis-1", {}),
            ("redis-2", {}),
            ("plain-1", {"REDIS_URL": ""}),
            ("plain-2", {"REDIS_URL": ""}),
        )
    }
    yield {name: instance.url for name, instance in instances.items()}
    for instance in instances.values():
        instance.process.stop()


@pytest.fixture
async def at(shop: Shop, urls: dict[str, str]) -> AsyncIterator[dict[str, Signer]]:
    async with AsyncExitStack() as open_ones:
        yield {
            name: await open_ones.enter_async_context(Signer(url, shop.api.key, prefix="/api"))
            for name, url in urls.items()
        }


@pytest.mark.parametrize(
    ("first", "second"),
    [("redis-1", "redis-2"), ("redis-2", "redis-1"), ("plain-1", "plain-2"), ("plain-2", "plain-1")],
)
async def test_a_replay_on_another_instance_is_refused(
    shop: Shop, at: dict[str, Signer], first: str, second: str
) -> None:
    headers = signed(shop.api.key)
    assert (await at[first].send_raw("GET", TARGET, headers=headers)).status_code == 200
    assert code(await at[second].send_raw("GET", TARGET, headers=headers)) == (401, "auth.replayed")


@pytest.mark.parametrize("kind", ["redis", "plain"])
async def test_of_many_at_once_on_two_instances_one_is_let_in(
    shop: Shop, at: dict[str, Signer], kind: str
) -> None:
    headers = signed(shop.api.key)
    ways = [at[f"{kind}-{1 + number % 2}"] for number in range(20)]
    answers = await asyncio.gather(*(way.send_raw("GET", TARGET, headers=headers) for way in ways))
    assert sorted(answer.status_code for answer in answers) == [200, *[401] * 19]


async def test_what_went_through_redis_stays_used_without_it(shop: Shop, at: dict[str, Signer]) -> None:
    headers = signed(shop.api.key)
    assert (await at["redis-1"].send_raw("GET", TARGET, headers=headers)).status_code == 200
    await asyncio.sleep(SETTLED)
    assert code(await at["plain-1"].send_raw("GET", TARGET, headers=headers)) == (401, "auth.replayed")


async def test_a_rate_is_one_over_all_instances(shop: Shop, people: People, urls: dict[str, str]) -> None:
    for kind in ("redis", "plain"):
        slow = await make_key(people, shop.tenant, p_rate_per_minute=10)
        async with (
            Signer(urls[f"{kind}-1"], slow, prefix="/api") as one,
            Signer(urls[f"{kind}-2"], slow, prefix="/api") as two,
        ):
            answers = [await (one, two)[number % 2].get(TARGET) for number in range(16)]
            refused = [answer for answer in answers if answer.status_code == 429]
            assert 3 <= len(refused) <= 6, kind
            assert code(refused[0]) == (429, "rate.limited")
            assert 1 <= int(refused[0].headers["Retry-After"]) <= 60


async def test_a_revoked_key_ends_on_every_instance(shop: Shop, at: dict[str, Signer]) -> None:
    for signer in at.values():
        assert (await signer.get(TARGET)).status_code == 200
    body = {"p_tenant_id": str(shop.tenant.id), "p_api_key_id": shop.api.key.id}
    (await shop.owner.post("/rpc/revoke_api_key", json=body)).raise_for_status()
    for name in ("plain-1", "plain-2"):
        assert code(await at[name].get(TARGET)) == (401, "auth.invalid"), name
    # with Redis a key is remembered; no longer than ten seconds, even where nobody tells of the change
    end = time.monotonic() + 11
    while any([(await at[name].get(TARGET)).status_code == 200 for name in ("redis-1", "redis-2")]):
        assert time.monotonic() < end
        await asyncio.sleep(0.2)


ROUNDS = 150


@pytest.mark.parametrize("name", ["redis-1", "plain-1"])
async def test_time_does_not_tell_whether_a_key_is_one(shop: Shop, at: dict[str, Signer], name: str) -> None:
    """In turn, so that what the machine does besides is shared; medians, so that a hiccup counts for one."""
    api = at[name]
    assert (await api.get(TARGET)).status_code == 200
    wrong = ApiKey(shop.api.key.id, shop.api.key.name, STRANGER.secret)
    took: dict[str, list[float]] = {"known": [], "unknown": []}
    for _ in range(ROUNDS):
        for kind, key in (("known", wrong), ("unknown", STRANGER)):
            headers = signed(key)
            started = time.perf_counter()
            answer: httpx.Response = await api.send_raw("GET", TARGET, headers=headers)
            took[kind].append(time.perf_counter() - started)
            assert answer.status_code == 401
    known, unknown = (statistics.median(took[kind]) for kind in ("known", "unknown"))
    assert abs(known - unknown) < 0.2 * max(known, unknown), f"{known * 1000:.2f} and {unknown * 1000:.2f} ms"
