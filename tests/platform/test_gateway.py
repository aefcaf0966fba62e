"""The gateway: who gets in, as whom, and that bytes pass unchanged."""

from __future__ import annotations

import asyncio
import json

import aiohttp
import httpx
import jwt
import pytest

from tests.databases import Connection
from tests.people import People, Tenant, User
from tests.stack.addresses import Addresses
from tests.stack.graphql import NO_GRAPHQL_ANSWER


async def _whoami(people: People, key: str, token: str | None = None) -> dict[str, str]:
    """PostgREST's own view of the caller, through a function that tells it."""
    client = people.client("/rest/v1", key=key, token=token)
    answer = await client.post("/rpc/stack_whoami", json={})
    return dict(answer.raise_for_status().json())


@pytest.fixture
async def whoami(admin_db: Connection, people: People) -> None:
    """As migrations would make it; shared by the tests of this file, and harmless to leave."""
    await admin_db.execute(
        """create or replace function public.stack_whoami() returns json language sql stable set search_path =
        '' as $$
             select json_build_object('role', current_user, 'uid', auth.uid()) $$;
           grant execute on function public.stack_whoami() to anon, authenticated, service_role;
           notify pgrst, 'reload schema'"""
    )
    client = people.service()
    for _ in range(200):
        if (await client.post("/rpc/stack_whoami", json={})).status_code == 200:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("PostgREST did not see the new function")


@pytest.mark.usefixtures("whoami")
async def test_both_generations_of_keys_give_their_role(
    people: People, addresses: Addresses, user: User
) -> None:
    for key in (addresses.anon_key, addresses.publishable_key):
        assert await _whoami(people, key) == {"role": "anon", "uid": None}
        assert await _whoami(people, key, key) == {"role": "anon", "uid": None}
        assert await _whoami(people, key, user.access_token) == {"role": "authenticated", "uid": str(user.id)}
    for key in (addresses.service_role_key, addresses.secret_key):
        assert await _whoami(people, key) == {"role": "service_role", "uid": None}
        assert await _whoami(people, key, key) == {"role": "service_role", "uid": None}


@pytest.mark.usefixtures("whoami")
async def test_the_jwt_secret_and_the_signing_key_both_make_tokens(
    people: People, addresses: Addresses, user: User
) -> None:
    if not (addresses.jwt_secret and addresses.signing_key):
        pytest.skip("the remote Supabase's private keys are not known")
    claims = {"sub": str(user.id), "role": "authenticated", "exp": 4_000_000_000}
    legacy = jwt.encode(claims, addresses.jwt_secret, algorithm="HS256")
    jwk = json.loads(addresses.signing_key)
    key = jwt.get_algorithm_by_name("ES256").from_jwk(jwk)
    signed = jwt.encode(claims, key, algorithm="ES256", headers={"kid": jwk["kid"]})
    for token in (legacy, signed):
        seen = await _whoami(people, addresses.publishable_key, token)
        assert seen == {"role": "authenticated", "uid": str(user.id)}
    forged = jwt.encode(claims, "x" * 40, algorithm="HS256")
    answer = await people.client("/rest/v1", token=forged).post("/rpc/stack_whoami", json={})
    assert answer.status_code == 401


@pytest.mark.parametrize(
    "path", ["/rest/v1/tenants", "/graphql/v1", "/auth/v1/health", "/realtime/v1/api/ping"]
)
async def test_a_key_is_required_as_kong_does(addresses: Addresses, path: str) -> None:
    async with httpx.AsyncClient(base_url=addresses.api_url) as client:
        missing = await client.get(path)
        wrong = await client.get(path, headers={"apikey": "sb_publishable_made_up"})
    assert (missing.status_code, missing.json()["message"]) == (401, "No API key found in request")
    assert (wrong.status_code, wrong.json()["message"]) == (401, "Invalid API key")


async def test_the_key_may_come_as_a_query_parameter(addresses: Addresses) -> None:
    async with httpx.AsyncClient(base_url=addresses.api_url) as client:
        answer = await client.get("/rest/v1/", params={"apikey": addresses.secret_key})
    assert answer.status_code == 200, answer.text


async def test_nothing_else_is_routed(addresses: Addresses) -> None:
    async with httpx.AsyncClient(base_url=addresses.api_url) as client:
        for path in ("/", "/rest", "/rest/v11/tenants", "/pg/v1/"):
            assert (await client.get(path)).status_code == 404, path


@pytest.mark.parametrize("path", ["/graphql/v1", "/graphql/v1/"])
async def test_graphql_is_the_function_of_its_schema(people: People, user: User, path: str) -> None:
    """The platform's placeholder and pg_graphql take these four arguments, in this schema alone."""
    body: dict[str, object] = {
        "operationName": "Mine",
        "query": "query Mine { __typename }",
        "variables": {},
        "extensions": None,
    }
    client = people.client("", token=user.access_token)
    answer = await client.post(path, json=body)
    assert answer.status_code == 200, answer.text
    assert answer.json() in (NO_GRAPHQL_ANSWER, {"data": {"__typename": "Query"}})
    direct = {"Content-Profile": "graphql_public"}
    assert (await client.post("/rest/v1/rpc/graphql", json=body, headers=direct)).json() == answer.json()
    assert (await client.post("/rest/v1/rpc/graphql", json=body)).status_code == 404


async def test_a_browser_may_call(addresses: Addresses) -> None:
    headers = {
        "Origin": "https://pms.example",
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "apikey, authorization, content-profile",
    }
    async with httpx.AsyncClient(base_url=addresses.api_url) as client:
        preflight = await client.options("/rest/v1/tenants", headers=headers)
        plain = await client.get("/auth/v1/.well-known/jwks.json", headers={"Origin": "https://pms.example"})
    assert preflight.status_code == 200
    assert "content-profile" in preflight.headers["Access-Control-Allow-Headers"]
    assert (
        preflight.headers["Access-Control-Allow-Origin"]
        == plain.headers["Access-Control-Allow-Origin"]
        == "*"
    )


async def test_bodies_and_queries_pass_unchanged(people: People, tenant: Tenant) -> None:
    """Names with every character that a proxy could mangle, there and back, and one body beyond a single
    piece."""
    rest = people.rest(tenant.owner)
    rows = [
        {
            "tenant_id": str(tenant.id),
            "sku": f"sku {number}",
            "name": 'a+b %2B "c" & d=é/ü?#',
            "description": "x" * 3000,
        }
        for number in range(500)
    ]
    made = await rest.post("/products", json=rows, headers={"Prefer": "return=representation"})
    assert made.status_code == 201, made.text[:500]
    assert len(made.content) > 1 << 20
    assert {row["name"] for row in made.json()} == {rows[0]["name"]}
    found = await rest.get(
        "/products", params={"name": f"eq.{rows[0]['name']}", "sku": "eq.sku 7", "select": "sku"}
    )
    assert found.json() == [{"sku": "sku 7"}]
    head = await rest.head("/products", params={"select": "id"}, headers={"Prefer": "count=exact"})
    assert head.status_code in (200, 206)
    assert head.headers["Content-Range"].endswith("/500")


async def test_a_websocket_opens_with_either_kind_of_key(addresses: Addresses) -> None:
    heartbeat = {"topic": "phoenix", "event": "heartbeat", "payload": {}, "ref": "1"}
    async with aiohttp.ClientSession() as session:
        for key in (addresses.anon_key, addresses.publishable_key, addresses.secret_key):
            url = f"{addresses.api_url}/realtime/v1/websocket?apikey={key}&vsn=1.0.0"
            async with session.ws_connect(url) as socket:
                await socket.send_json(heartbeat)
                answer = await socket.receive_json(timeout=5)
            assert (answer["event"], answer["payload"]["status"]) == ("phx_reply", "ok")


async def test_a_refused_websocket_says_why(addresses: Addresses) -> None:
    async with aiohttp.ClientSession() as session:
        for query, status in (("apikey=sb_secret_made_up", 401), ("apikey=no-jwt", 401), ("", 401)):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await session.ws_connect(f"{addresses.api_url}/realtime/v1/websocket?{query}")
            assert refused.value.status == status
