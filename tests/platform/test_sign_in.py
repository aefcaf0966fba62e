"""Auth: the grants that sign-in needs, with GoTrue's shapes and error codes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from pathlib import Path

import httpx
import jwt
import psycopg
import pytest
from supabase import AsyncClientOptions, create_async_client

from tests.people import People, User
from tests.stack.addresses import Addresses
from tests.stack.scripts import deno_environment, script_command

HERE = Path(__file__).parent


@pytest.fixture
def auth(people: People) -> httpx.AsyncClient:
    return people.client("/auth/v1")


async def test_signing_up_and_in_gives_a_session(auth: httpx.AsyncClient, user: User) -> None:
    answer = await auth.post(
        "/token",
        params={"grant_type": "password"},
        json={"email": user.email.upper(), "password": user.password},
    )
    session = answer.raise_for_status().json()
    assert session["token_type"] == "bearer"
    assert session["user"]["id"] == str(user.id)
    claims = jwt.decode(session["access_token"], options={"verify_signature": False})
    assert (claims["sub"], claims["role"], claims["aud"]) == (str(user.id), "authenticated", "authenticated")
    assert claims["exp"] - claims["iat"] == session["expires_in"]
    shown = await auth.get("/user", headers={"Authorization": f"Bearer {session['access_token']}"})
    assert shown.json()["email"] == user.email


async def test_access_tokens_verify_with_the_published_key(auth: httpx.AsyncClient, user: User) -> None:
    keys = (await auth.get("/.well-known/jwks.json")).json()
    key = jwt.PyJWKSet.from_dict(keys)[jwt.get_unverified_header(user.access_token)["kid"]]
    assert jwt.decode(user.access_token, key, audience="authenticated")["sub"] == str(user.id)
    assert all("d" not in published for published in keys["keys"])


@pytest.mark.parametrize(
    ("path", "body", "status", "code"),
    [
        (
            "/token?grant_type=password",
            {"email": "no@example.com", "password": "wrong!"},
            400,
            "invalid_credentials",
        ),
        ("/token?grant_type=refresh_token", {"refresh_token": "made-up"}, 400, "refresh_token_not_found"),
        ("/token?grant_type=magic", {}, 400, "invalid_request"),
        ("/signup", {"email": "no address", "password": "long enough"}, 400, "validation_failed"),
        ("/signup", {"email": "a@example.com", "password": "short"}, 422, "weak_password"),
        ("/signup", {"email": "a@example.com"}, 400, "validation_failed"),
        ("/signup", ["no object"], 400, "bad_json"),
        ("/admin/users", {"email": "a@example.com", "password": "long enough"}, 403, "not_admin"),
    ],
)
async def test_refusals_look_like_gotrues(
    auth: httpx.AsyncClient, path: str, body: object, status: int, code: str
) -> None:
    answer = await auth.post(path, json=body)
    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["msg"]


async def test_an_address_signs_up_once_whatever_its_case(auth: httpx.AsyncClient, user: User) -> None:
    again = await auth.post("/signup", json={"email": user.email.upper(), "password": user.password})
    assert (again.status_code, again.json()["error_code"]) == (422, "user_already_exists")


async def test_a_wrong_password_is_refused(auth: httpx.AsyncClient, user: User) -> None:
    answer = await auth.post(
        "/token",
        params={"grant_type": "password"},
        json={"email": user.email, "password": "not the password"},
    )
    assert answer.json()["error_code"] == "invalid_credentials"


async def _refresh(auth: httpx.AsyncClient, token: str) -> httpx.Response:
    return await auth.post("/token", params={"grant_type": "refresh_token"}, json={"refresh_token": token})


async def test_refresh_tokens_rotate_and_a_client_race_is_forgiven(
    auth: httpx.AsyncClient, user: User
) -> None:
    second = (await _refresh(auth, user.refresh_token)).raise_for_status().json()
    assert second["refresh_token"] != user.refresh_token
    raced = (await _refresh(auth, user.refresh_token)).raise_for_status().json()
    assert raced["refresh_token"] == second["refresh_token"]
    third = (await _refresh(auth, second["refresh_token"])).raise_for_status().json()
    assert third["refresh_token"] not in (user.refresh_token, second["refresh_token"])


async def test_a_stolen_refresh_token_ends_the_session(
    auth: httpx.AsyncClient, user: User, admin_db_url: str
) -> None:
    second = (await _refresh(auth, user.refresh_token)).raise_for_status().json()
    async with await psycopg.AsyncConnection.connect(admin_db_url, autocommit=True) as admin:
        await admin.execute(
            "update auth.refresh_tokens set updated_at = updated_at - interval '1 minute' where token = %s",
            (user.refresh_token,),
        )
    replayed = await _refresh(auth, user.refresh_token)
    assert (replayed.status_code, replayed.json()["error_code"]) == (400, "refresh_token_already_used")
    assert (await _refresh(auth, second["refresh_token"])).status_code == 400


async def test_logging_out_ends_refreshing(auth: httpx.AsyncClient, user: User) -> None:
    gone = await auth.post("/logout", headers={"Authorization": f"Bearer {user.access_token}"})
    assert gone.status_code == 204
    assert (await _refresh(auth, user.refresh_token)).json()["error_code"] == "refresh_token_not_found"


async def test_an_admin_makes_shows_and_deletes_users(people: People, addresses: Addresses) -> None:
    for key in (addresses.secret_key, addresses.service_role_key):
        admin = people.client("/auth/v1", key=key)
        made = await admin.post(
            "/admin/users",
            json={
                "email": f"{key[:3]}-{id(admin)}@example.com",
                "password": "long enough",
                "email_confirm": True,
            },
        )
        user_id = made.raise_for_status().json()["id"]
        assert (await admin.get(f"/admin/users/{user_id}")).json()["id"] == user_id
        assert (await admin.delete(f"/admin/users/{user_id}")).status_code == 200
        assert (await admin.get(f"/admin/users/{user_id}")).status_code == 404


async def test_supabase_py_signs_in(addresses: Addresses, user: User) -> None:
    async with httpx.AsyncClient() as http:  # the client leaves connections of its own unclosed
        options = AsyncClientOptions(httpx_client=http, auto_refresh_token=False)
        client = await create_async_client(addresses.api_url, addresses.publishable_key, options)
        await client.auth.sign_in_with_password({"email": user.email, "password": user.password})
        mine = await client.table("memberships").select("tenant_id").execute()
        assert mine.data == []
        refreshed = await client.auth.refresh_session()
        assert refreshed.user is not None
        assert refreshed.user.id == str(user.id)
        await client.auth.sign_out()


async def test_supabase_js_signs_in_and_reads_under_rls(
    addresses: Addresses, make_tenant: Callable[..., Awaitable[object]], user: User
) -> None:
    await make_tenant(user)
    env = {
        **deno_environment(),
        "API_URL": addresses.api_url,
        "KEY": addresses.publishable_key,
        "EMAIL": user.email,
        "PASSWORD": user.password,
    }
    process = await asyncio.create_subprocess_exec(
        *script_command(HERE / "sign_in.ts"),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, problems = await process.communicate()
    assert process.returncode == 0, problems.decode()
    said = json.loads(out)
    assert said == {"signedIn": str(user.id), "tenants": 1, "refreshed": True, "afterSignOut": 0}
