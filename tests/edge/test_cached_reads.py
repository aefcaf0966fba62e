"""Reads through the cache: whose they are, how new they are, and as whom they are warmed."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import httpx
import pytest

from tests.edge.redis_state import grown_up, told_of_changes
from tests.edge.signing import ApiKey, Signer, make_key
from tests.eventually import eventually
from tests.people import People, Tenant
from tests.stack.platform import Platform
from tests.stack.redis import NO_REDIS, binary

pytestmark = [pytest.mark.own_platform, pytest.mark.skipif(binary() is None, reason=NO_REDIS)]

MUG = {"sku": "MUG", "name": "Mug", "price": "19.90"}


@pytest.fixture(scope="module")
def own() -> Iterator[Platform]:
    """A platform whose cache believes that a worker invalidates, and that Redis has been up for long.

    No worker does, so tags never move.
    """
    with Platform(in_memory=True, with_realtime=False) as platform:
        told_of_changes(platform.addresses.redis_url)
        grown_up(platform.addresses.redis_url)
        yield platform


@dataclass(frozen=True)
class Shop:
    tenant: Tenant
    people: People
    api: Signer


@pytest.fixture
async def shop(own: Platform) -> AsyncIterator[Shop]:
    people = People(own.addresses)
    tenant = await people.make_tenant()
    async with Signer(own.addresses.api_url, await make_key(people, tenant, "manager")) as api:
        yield Shop(tenant, people, api)
    await people.close()


async def read(api: Signer, target: str, seq: str | None = None) -> tuple[str, httpx.Response]:
    answer = await api.send("GET", target, headers={"X-Min-Seq": seq} if seq else {})
    assert answer.status_code == 200, answer.text
    return answer.headers["X-Cache"], answer


async def test_a_read_is_kept_whatever_way_its_query_is_written(shop: Shop) -> None:
    await shop.api.send("POST", "/pms/products", MUG)
    first, miss = await read(shop.api, "/pms/products?sku=MUG&fields=sku")
    second, hit = await read(shop.api, "/pms/v1/products?fields=sku&sku=%4DUG&limit=50")
    assert (first, second) == ("miss", "hit")
    assert hit.text == miss.text == '{"data":[{"sku":"MUG"}],"next":null}'
    assert hit.headers["X-Seq"] == miss.headers["X-Seq"]
    assert (await read(shop.api, "/pms/products?sku=CUP&fields=sku"))[0] == "miss"


async def test_nobody_is_served_what_is_older_than_they_ask_for(shop: Shop) -> None:
    made = await shop.api.send("POST", "/pms/products", MUG)
    target = f"/pms/products/{made.json()['id']}?fields=name"
    await read(shop.api, target)
    put = await shop.api.send("PUT", target.partition("?")[0], {**MUG, "name": "Cup"})
    how, old = await read(shop.api, target)
    assert (how, old.json()["name"]) == ("hit", "Mug"), "no worker told that it changed"
    how, new = await read(shop.api, target, put.headers["X-Seq"])
    assert (how, new.json()["name"]) == ("miss", "Cup")
    assert (await read(shop.api, target))[0] == "hit"


async def test_entries_are_shared_by_equal_permissions_and_by_nobody_else(own: Platform, shop: Shop) -> None:
    await shop.api.send("POST", "/pms/products", MUG)
    assert (await read(shop.api, "/pms/products"))[0] == "miss"
    people = shop.people
    twin = await make_key(people, shop.tenant, "manager")
    weaker = await make_key(people, shop.tenant, "viewer")
    stranger = await make_key(people, await people.make_tenant(), "manager")
    for key, how, rows in ((twin, "hit", 1), (weaker, "miss", 1), (stranger, "miss", 0)):
        async with Signer(own.addresses.api_url, key) as api:
            came, answer = await read(api, "/pms/products")
            assert (came, len(answer.json()["data"])) == (how, rows)


async def test_the_nothing_of_a_revoked_key_is_kept_for_nobody(own: Platform, shop: Shop) -> None:
    """No worker tells of the revocation, so the key is remembered; a naive adapter keeps its empty page."""
    await shop.api.send("POST", "/pms/products", MUG)
    revoked = await make_key(shop.people, shop.tenant, "manager")
    async with Signer(own.addresses.api_url, revoked) as api:
        await read(api, "/pms/products?sort=name")
        body = {"p_tenant_id": str(shop.tenant.id), "p_api_key_id": revoked.id}
        owner = shop.people.rest(shop.tenant.owner)
        (await owner.post("/rpc/revoke_api_key", json=body)).raise_for_status()
        answer = await api.get("/pms/products?sort=sku")
    assert (answer.status_code, answer.json()["code"]) == (401, "auth.invalid")
    how, page = await read(shop.api, "/pms/products?sort=sku")
    assert (how, len(page.json()["data"])) == ("miss", 1)


async def test_who_is_shut_out_writes_nothing_though_nobody_tells_of_it(own: Platform, shop: Shop) -> None:
    """No worker tells of the rotation: the adapter remembers the secret for seconds, for reads."""
    leaked = await make_key(shop.people, shop.tenant, "manager")
    owner = shop.people.rest(shop.tenant.owner)

    async def rotated(**more: str) -> ApiKey:
        body = {"p_tenant_id": str(shop.tenant.id), "p_api_key_id": leaked.id, **more}
        answer = (await owner.post("/rpc/rotate_api_key", json=body)).raise_for_status()
        return ApiKey(leaked.id, leaked.name, answer.json()["secret"])

    async with Signer(own.addresses.api_url, leaked) as api:
        await read(api, "/pms/products")
        await rotated()
        assert (await api.send("POST", "/pms/products", MUG)).status_code == 201, "both are good yet"
        newest = await rotated(p_overlap="0")
        assert (await api.get("/pms/products")).status_code == 200, "or the test shows nothing"
        refused = await api.send("POST", "/pms/products", {**MUG, "sku": "MUG-2"})
        assert (refused.status_code, refused.json()["code"]) == (401, "auth.invalid")
    async with Signer(own.addresses.api_url, newest) as api:
        assert (await api.send("POST", "/pms/products", {**MUG, "sku": "MUG-3"})).status_code == 201
        body = {"p_tenant_id": str(shop.tenant.id), "p_api_key_id": leaked.id}
        (await owner.post("/rpc/revoke_api_key", json=body)).raise_for_status()
        refused = await api.send("POST", "/pms/products", {**MUG, "sku": "MUG-4"})
        assert (refused.status_code, refused.json()["code"]) == (401, "auth.invalid")


async def test_what_was_used_is_read_again_as_the_key_that_used_it(own: Platform, shop: Shop) -> None:
    made = await shop.api.send("POST", "/pms/products", MUG)
    one = f"/pms/products/{made.json()['id']}"
    targets = ("/pms/products?limit=7", one, "/pms/inventory/status?low=true")
    async with httpx.AsyncClient(base_url=f"{own.addresses.api_url}/functions/v1/api", timeout=20) as http:

        async def warm(key: str) -> httpx.Response:
            headers = {"Authorization": f"Bearer {key}"}
            body = {"tenant_id": str(shop.tenant.id)}
            return await http.post("/pms/cache/warm", json=body, headers=headers)

        async def warmed() -> bool:
            for target in targets:
                await read(shop.api, target)
            answer = await warm(own.addresses.service_role_key)
            assert answer.status_code == 200, answer.text
            told = answer.json()
            assert told["warmed"] == told["queries"]
            return bool(told["warmed"] == len(targets))

        assert (await warm(own.addresses.anon_key)).status_code == 401
        await eventually(warmed, interval=0.3)  # uses are handed over about once a second
