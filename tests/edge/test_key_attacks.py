"""The attacker's list, whose a request is: no good key, no allowed address, no signature: refused."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx

from tests.edge.attacking import MUG, STRANGER, TARGET, code, refusal_of_a_stranger, seen, signed
from tests.edge.conftest import Shop
from tests.edge.signing import ApiKey, Signer, make_key
from tests.eventually import eventually
from tests.people import People
from tests.stack.addresses import Addresses


async def test_all_whose_key_is_not_good_see_the_same(shop: Shop, people: People) -> None:
    """Unknown, wrong secret, revoked, expired, another tenant's secret."""
    tenant, key = shop.tenant, shop.api.key
    revoked = await make_key(people, tenant)
    body = {"p_tenant_id": str(tenant.id), "p_api_key_id": revoked.id}
    (await shop.owner.post("/rpc/revoke_api_key", json=body)).raise_for_status()
    soon = datetime.now(UTC) + timedelta(seconds=1.5)
    expiring = await make_key(people, tenant, p_expires_at=soon.isoformat())
    stranger = await make_key(people, await people.make_tenant())
    swapped = ApiKey(key.id, key.name, stranger.secret)
    wrong = ApiKey(key.id, key.name, STRANGER.secret)

    async def asked(key: ApiKey) -> httpx.Response:
        return await shop.api.send_raw("GET", TARGET, headers=signed(key))

    expected = await refusal_of_a_stranger(shop.api)
    assert expected[:1] == (401,)
    assert expected[1]["code"] == "auth.invalid"
    for each in (revoked, swapped, wrong):
        assert seen(await asked(each)) == expected

    async def has_expired() -> bool:
        return (await asked(expiring)).status_code == 401

    await eventually(has_expired, 10)
    assert seen(await asked(expiring)) == expected


async def test_a_bad_signature_is_refused_before_addresses_rates_and_routes_are_looked_at(
    shop: Shop, people: People
) -> None:
    """Else the answer would tell that the key is one."""
    bound = await make_key(people, shop.tenant, p_allowed_ips=["192.0.2.0/24"], p_rate_per_minute=1)
    wrong = ApiKey(bound.id, bound.name, STRANGER.secret)
    expected = await refusal_of_a_stranger(shop.api)
    for _ in range(3):
        assert seen(await shop.api.send_raw("GET", TARGET, headers=signed(wrong))) == expected


async def test_an_address_that_is_not_on_the_list_is_refused_whatever_it_says_of_itself(
    shop: Shop, people: People, addresses: Addresses
) -> None:
    bound = await make_key(people, shop.tenant, p_allowed_ips=["192.0.2.0/24", "2001:db8::/32"])
    async with Signer(addresses.api_url, bound) as api:
        assert code(await api.get(TARGET)) == (403, "auth.address_refused")
        for name in ("X-Forwarded-For", "X-Real-IP", "Forwarded", "CF-Connecting-IP", "True-Client-IP"):
            for value in ("192.0.2.7", "192.0.2.7, 192.0.2.7", "for=192.0.2.7", "2001:db8::1"):
                answer = await api.send("GET", TARGET, headers={name: value})
                assert code(answer) == (403, "auth.address_refused"), (name, value)
    here = await make_key(people, shop.tenant, p_allowed_ips=["127.0.0.0/8", "::1/128"])
    async with Signer(addresses.api_url, here) as api:
        assert (await api.get(TARGET)).status_code == 200


async def test_a_token_or_a_service_key_is_no_signature(shop: Shop, addresses: Addresses) -> None:
    tokens = (
        addresses.service_role_key,
        addresses.secret_key,
        addresses.anon_key,
        shop.tenant.owner.access_token,
    )
    target = "/pms/v1/products"
    for token in tokens:
        bearer = [
            ("Authorization", f"Bearer {token}"),
            ("apikey", token),
            ("Content-Type", "application/json"),
        ]
        assert code(await shop.api.send_raw("GET", target, headers=bearer)) == (400, "auth.header_missing")
        assert code(await shop.api.send_raw("POST", target, MUG, bearer)) == (400, "auth.header_missing")
        for place in ("X-API-Key", "X-Request-Signature"):
            instead = [(name, token if name == place else value) for name, value in signed(shop.api.key)]
            refused = await shop.api.send_raw("GET", TARGET, headers=instead)
            assert code(refused) == (400, "auth.header_invalid")
        beside = await shop.api.send_raw("GET", TARGET, headers=[*signed(STRANGER), *bearer[:2]])
        assert seen(beside) == await refusal_of_a_stranger(shop.api)


async def test_a_token_beside_a_signature_adds_nothing(
    shop: Shop, people: People, addresses: Addresses
) -> None:
    reader = await make_key(people, shop.tenant, "viewer")
    async with Signer(addresses.api_url, reader) as api:
        for token in (addresses.service_role_key, shop.tenant.owner.access_token):
            beside = {"Authorization": f"Bearer {token}", "apikey": token, "Prefer": "tx=commit"}
            refused = await api.send("POST", "/pms/v1/products", MUG, headers=beside)
            assert code(refused) == (403, "access.denied")


async def test_only_the_service_key_warms_the_cache(shop: Shop, addresses: Addresses) -> None:
    body = b'{"tenant_id": "%s"}' % str(shop.tenant.id).encode()
    target = "/pms/cache/warm"
    for token in ("x", addresses.anon_key, shop.tenant.owner.access_token, shop.api.key.secret):
        sent = [*signed(shop.api.key, "POST", target, body), ("Authorization", f"Bearer {token}")]
        assert code(await shop.api.send_raw("POST", target, body, sent)) == (401, "auth.invalid")
