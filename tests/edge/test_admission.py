"""Nonces and rates over two instances of the edge function, with a Redis that forgets and dies."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.edge.redis_state import grown_up
from tests.edge.signing import ApiKey, make_key, signature_headers
from tests.eventually import eventually
from tests.people import People, Tenant
from tests.stack.platform import Platform
from tests.stack.redis import NO_REDIS, ask, binary

pytestmark = [pytest.mark.own_platform, pytest.mark.skipif(binary() is None, reason=NO_REDIS)]

TARGET = "/pms/products"


@pytest.fixture(scope="module")
def own() -> Iterator[Platform]:
    with Platform(in_memory=True, with_realtime=False) as platform:
        yield platform


@pytest.fixture(scope="module")
def instances(own: Platform) -> tuple[str, str]:
    first, second = own.start_functions("functions-a"), own.start_functions("functions-b")
    return f"{first.url}/api", f"{second.url}/api"


@dataclass(frozen=True)
class Door:
    tenant: Tenant
    people: People
    http: httpx.AsyncClient

    async def send(self, instance: str, headers: dict[str, str]) -> httpx.Response:
        return await self.http.get(f"{instance}{TARGET}", headers=headers)

    async def code(self, instance: str, headers: dict[str, str]) -> str:
        answer = await self.send(instance, headers)
        return "ok" if answer.status_code == 200 else str(answer.json()["code"])

    async def key(self, **options: object) -> ApiKey:
        return await make_key(self.people, self.tenant, "viewer", **options)


@pytest.fixture
async def door(own: Platform) -> AsyncIterator[Door]:
    people = People(own.addresses)
    async with httpx.AsyncClient(timeout=20) as http:
        yield Door(await people.make_tenant(), people, http)
    await people.close()


async def test_a_nonce_is_taken_everywhere(own: Platform, instances: tuple[str, str], door: Door) -> None:
    grown_up(own.addresses.redis_url)
    key = await door.key()
    signed = signature_headers(key, "GET", TARGET)
    assert await door.code(instances[0], signed) == "ok"
    assert [await door.code(instance, signed) for instance in instances] == ["auth.replayed"] * 2
    twins = signature_headers(key, "GET", TARGET)
    answers = await asyncio.gather(*(door.code(instances[n % 2], twins) for n in range(20)))
    assert sorted(answers) == ["auth.replayed"] * 19 + ["ok"]


async def test_what_redis_forgot_postgres_remembers(
    own: Platform, instances: tuple[str, str], door: Door
) -> None:
    """A naive adapter takes each nonce again once Redis was emptied."""
    grown_up(own.addresses.redis_url)
    key = await door.key()
    signed = signature_headers(key, "GET", TARGET)
    assert await door.code(instances[0], signed) == "ok"
    usage = door.people.rest(door.tenant.owner)

    async def told() -> bool:
        rows = (await usage.get(f"/api_key_usage?api_key_id=eq.{key.id}&select=requests")).json()
        return bool(rows) and rows[0]["requests"] >= 1

    await eventually(told)
    assert ask(own.addresses.redis_url, "FLUSHALL").startswith("+OK")
    assert [await door.code(instance, signed) for instance in instances] == ["auth.replayed"] * 2
    assert await door.code(instances[1], signature_headers(key, "GET", TARGET)) == "ok"


async def test_while_redis_is_dead_nothing_fails_and_no_nonce_is_good_twice(
    own: Platform, instances: tuple[str, str], door: Door
) -> None:
    key = await door.key()
    own.redis.kill()
    taken = [signature_headers(key, "GET", TARGET) for _ in range(6)]
    for n, signed in enumerate(taken):
        assert await door.code(instances[n % 2], signed) == "ok"
        assert await door.code(instances[(n + 1) % 2], signed) == "auth.replayed"
    own.redis.start()

    async def connected() -> bool:
        answers = [(await door.http.get(f"{instance}/pms/health")).json() for instance in instances]
        return all(answer["checks"]["cache"]["status"] == "ok" for answer in answers)

    await eventually(connected)
    for n, signed in enumerate(taken):
        assert await door.code(instances[n % 2], signed) == "auth.replayed"
    assert await door.code(instances[0], signature_headers(key, "GET", TARGET)) == "ok"


@pytest.mark.parametrize("with_redis", [True, False])
async def test_a_key_s_rate_is_one_for_all_instances(
    own: Platform, instances: tuple[str, str], door: Door, with_redis: bool
) -> None:
    grown_up(own.addresses.redis_url)
    key = await door.key(p_rate_per_minute=6)
    if not with_redis:
        own.redis.kill()
    try:
        answers = [await door.send(instances[n % 2], signature_headers(key, "GET", TARGET)) for n in range(8)]
    finally:
        if not with_redis:
            own.redis.start()
    assert [answer.status_code for answer in answers] == [200] * 6 + [429] * 2
    assert [int(answer.headers["RateLimit-Remaining"]) for answer in answers] == [5, 4, 3, 2, 1, 0, 0, 0]
    assert {answer.headers["RateLimit-Limit"] for answer in answers} == {"6"}
    assert 1 <= int(answers[-1].headers["Retry-After"]) <= 10
    assert answers[-1].json()["code"] == "rate.limited"


async def test_an_address_is_limited_before_anything_is_looked_up(own: Platform) -> None:
    limited = own.start_functions("functions-limited", PMS_API_ADDRESS_RATE="3")
    async with httpx.AsyncClient(base_url=f"{limited.url}/api", timeout=20) as http:
        mine = {"X-Forwarded-For": "6.6.6.6, 198.51.100.7"}
        # until Redis is connected Postgres counts, and each of the two counts for itself
        answers = [await http.get(TARGET, headers=mine) for _ in range(7)]
        other = await http.get(TARGET, headers={"X-Forwarded-For": "198.51.100.7, 198.51.100.8"})
    codes = [answer.json()["code"] for answer in answers]
    assert codes[:3] == ["auth.header_missing"] * 3
    assert (codes[-1], answers[-1].status_code) == ("rate.limited", 429)
    assert other.json()["code"] == "auth.header_missing"


async def test_an_allow_list_holds_for_the_address_that_the_proxy_saw(
    instances: tuple[str, str], door: Door
) -> None:
    key = await door.key(p_allowed_ips=["203.0.113.0/24"])

    async def from_address(forwarded: str) -> str:
        signed = {**signature_headers(key, "GET", TARGET), "X-Forwarded-For": forwarded}
        return await door.code(instances[0], signed)

    assert await from_address("203.0.113.9") == "ok"
    assert await from_address("203.0.113.9, 198.51.100.7") == "auth.address_refused"
