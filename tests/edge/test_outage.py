"""The database stops under an adapter with Redis: warm reads go on, and nothing else does."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.edge.attacking import code
from tests.edge.redis_state import grown_up, told_of_changes
from tests.edge.signing import ApiKey, Signer, make_key, signature_headers
from tests.eventually import eventually
from tests.people import People
from tests.stack.platform import Platform
from tests.stack.redis import NO_REDIS, ask, binary
from worker.cache.store import ALIVE

pytestmark = [pytest.mark.own_platform, pytest.mark.skipif(binary() is None, reason=NO_REDIS)]

MUG = {"sku": "MUG", "name": "Mug", "price": "19.90"}
WARM, COLD = "/pms/products?sku=MUG", "/pms/products?sku=CUP"


@pytest.fixture(scope="module")
def own() -> Iterator[Platform]:
    """No worker runs; a Redis that has not forgotten a nonce for ten minutes says so."""
    with Platform(in_memory=True, with_realtime=False) as platform:
        grown_up(platform.addresses.redis_url)
        yield platform


@pytest.fixture
async def api(own: Platform) -> AsyncIterator[Signer]:
    people = People(own.addresses)
    key = await make_key(people, await people.make_tenant(), "manager")
    async with Signer(own.addresses.api_url, key) as signer:
        yield signer
    await people.close()


async def how(api: Signer, target: str, **headers: str) -> str:
    answer = await api.get(target, **headers)
    return answer.headers["X-Cache"] if answer.status_code == 200 else str(code(answer))


async def test_warm_reads_outlive_the_database_and_the_heartbeat(own: Platform, api: Signer) -> None:
    """A naive adapter ends with the first look-up of the key, or with the worker's heartbeat."""
    made = await api.send("POST", "/pms/products", MUG)
    seq = made.headers["X-Seq"]
    told_of_changes(own.addresses.redis_url)

    async def is_warm() -> bool:
        return await how(api, WARM) == "hit"

    await eventually(is_warm)
    stranger = ApiKey(api.key.id, api.key.name, "pms_sk_" + "x" * 43)
    own.postgres.stop("immediate")
    try:
        ask(own.addresses.redis_url, "DEL", ALIVE)

        async def is_past_the_heartbeat() -> bool:
            return await how(api, WARM) == "stale"

        await eventually(is_past_the_heartbeat, 5)
        for part in (None, own.postgrest):
            if part is not None:
                part.kill()  # and now nothing answers at all
            answer = await api.get(WARM, X_Min_Seq=seq)
            assert (answer.status_code, answer.headers["X-Cache"]) == (200, "stale")
            assert answer.json()["data"][0]["sku"] == "MUG"
            assert int(answer.headers["Age"]) >= 0
            assert int(answer.headers["RateLimit-Remaining"]) < 600
            epoch, _, number = seq.rpartition(":")
            refused = [
                await api.get(COLD),
                await api.get(WARM, X_Min_Seq=f"{epoch}:{int(number) + 1}"),
                await api.get(WARM, Cache_Control="no-cache"),
                await api.send("POST", "/pms/products", MUG | {"sku": "CUP"}),
                await api.send_raw(
                    "GET", WARM, headers=list(signature_headers(stranger, "GET", WARM).items())
                ),
            ]
            assert [answer.status_code for answer in refused] == [503] * 5, [code(one) for one in refused]
            signed = list(signature_headers(api.key, "GET", WARM).items())
            twice = [await api.send_raw("GET", WARM, headers=signed) for _ in range(2)]
            assert [twice[0].status_code, code(twice[1])] == [200, (401, "auth.replayed")]
        ask(own.addresses.redis_url, "SET", f"pms:key:{api.key.id}", f"{epoch}:{int(number) + 1}")
        assert (await api.get(WARM)).status_code == 503, "a change that Redis holds ends it"
        ask(own.addresses.redis_url, "DEL", f"pms:key:{api.key.id}")
    finally:
        own.postgres.start()
        own.postgrest.start()

    async def is_back() -> bool:
        return await how(api, WARM) == "bypass"

    await eventually(is_back, 20)
    assert (await api.send("POST", "/pms/products", MUG | {"sku": "CUP"})).status_code == 201
