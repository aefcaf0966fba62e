"""Storage as the clients use it: supabase-py's storage3, supabase-js in storage.ts, the bare protocol.

Everything goes through the public API, so that it holds of a remote Supabase, too.
"""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import aiohttp
import httpx
import jwt
import pytest
from storage3 import AsyncStorageClient
from storage3.exceptions import StorageApiError
from yarl import URL

from tests.people import People, Tenant, User
from tests.stack.addresses import Addresses
from tests.stack.scripts import deno_environment, script_command

HERE = Path(__file__).parent
BUCKET = "product-images"
PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 40
OPTIONS = {"content-type": "image/png"}
LIMIT = 20 * 1024 * 1024

Shelf = Callable[[User | str | None], Any]


@pytest.fixture
async def shelf(addresses: Addresses) -> AsyncIterator[Shelf]:
    """The bucket as a user, a token, or nobody sees it, through storage3."""
    async with httpx.AsyncClient(timeout=20) as client:

        def made(who: User | str | None) -> Any:
            token = who.access_token if isinstance(who, User) else who
            key = addresses.publishable_key
            headers = {"apikey": key, "Authorization": f"Bearer {token or key}"}
            return AsyncStorageClient(f"{addresses.api_url}/storage/v1/", headers, http_client=client).from_(
                BUCKET
            )

        yield made


@pytest.fixture
def mine(shelf: Shelf, tenant: Tenant) -> Any:
    return shelf(tenant.owner)


@pytest.fixture
def path(tenant: Tenant) -> str:
    return f"{tenant.id}/boots/{secrets.token_hex(4)}.png"


@pytest.fixture
def bare(people: People, tenant: Tenant) -> httpx.AsyncClient:
    """/storage/v1 as the tenant's owner, for what no client sends."""
    return people.client("/storage/v1", token=tenant.owner.access_token)


def refusal(status: int, error: str) -> Any:
    """A context in which storage3 must raise this error; the HTTP status is 400, the body's says more."""
    return pytest.raises(
        StorageApiError, check=lambda raised: (int(raised.status), raised.code) == (status, error)
    )


# -- storage3 ------------------------------------------------------------------------------------------------


async def test_what_was_uploaded_comes_back(mine: Any, path: str) -> None:
    made = await mine.upload(path, PNG, {**OPTIONS, "cache-control": "60", "metadata": {"shot": "left"}})
    assert (made.path, made.full_path) == (path, f"{BUCKET}/{path}")
    assert await mine.download(path) == PNG
    info = await mine.info(path)
    assert {name: info[name] for name in ("name", "bucket_id", "size", "content_type", "cache_control")} == {
        "name": path,
        "bucket_id": BUCKET,
        "size": len(PNG),
        "content_type": "image/png",
        "cache_control": "max-age=60",
    }
    assert info["metadata"] == {"shot": "left"}
    assert await mine.exists(path)


async def test_a_second_upload_needs_upsert(mine: Any, path: str) -> None:
    await mine.upload(path, PNG, OPTIONS)
    with refusal(409, "Duplicate"):
        await mine.upload(path, b"other", OPTIONS)
    assert await mine.download(path) == PNG
    await mine.upload(path, b"other", {**OPTIONS, "upsert": "true"})
    assert await mine.download(path) == b"other"
    await mine.update(path, b"third", OPTIONS)
    assert await mine.download(path) == b"third"


async def test_a_signed_upload_url_needs_no_account(mine: Any, shelf: Shelf, path: str) -> None:
    signed = await mine.create_signed_upload_url(path)
    await shelf(None).upload_to_signed_url(path, signed["token"], PNG, OPTIONS)
    assert await mine.download(path) == PNG
    with refusal(409, "Duplicate"):
        await shelf(None).upload_to_signed_url(path, signed["token"], b"twice", OPTIONS)
    with refusal(400, "InvalidSignature"):
        await shelf(None).upload_to_signed_url(path + "x", signed["token"], PNG, OPTIONS)
    with refusal(415, "invalid_mime_type"):
        await shelf(None).upload_to_signed_url(path, signed["token"], b"<p>", {"content-type": "text/html"})


async def test_a_signed_url_serves_one_object_for_a_while(mine: Any, path: str) -> None:
    await mine.upload(path, PNG, OPTIONS)
    signed = await mine.create_signed_url(path, 60, {"download": "left boot.png"})
    async with httpx.AsyncClient() as anybody:
        answer = await anybody.get(signed["signedURL"])
        assert (answer.status_code, answer.content) == (200, PNG)
        assert answer.headers["content-type"] == "image/png"
        assert "left%20boot.png" in answer.headers["content-disposition"]
        forged = await anybody.get(signed["signedURL"].replace("token=", "token=x"))
        assert (forged.status_code, forged.json()["error"]) == (400, "InvalidJWT")
    several = await mine.create_signed_urls([path, path + "x"], 60)
    assert [bool(one["signedURL"]) for one in several] == [True, False]


async def test_an_expired_url_serves_nothing(addresses: Addresses, mine: Any, path: str) -> None:
    if not addresses.jwt_secret:
        pytest.skip("the remote Supabase's private keys are not known")
    await mine.upload(path, PNG, OPTIONS)
    token = jwt.encode({"url": f"{BUCKET}/{path}", "exp": 1}, addresses.jwt_secret, algorithm="HS256")
    async with httpx.AsyncClient(base_url=addresses.api_url) as anybody:
        answer = await anybody.get(f"/storage/v1/object/sign/{BUCKET}/{path}", params={"token": token})
    assert (answer.status_code, answer.json()["error"]) == (400, "InvalidJWT")


async def test_a_folder_lists_its_folders_and_files(mine: Any, tenant: Tenant) -> None:
    for name in ("b.png", "a.png", "boots/left.png", "boots/right.png", "hats/one.png"):
        await mine.upload(f"{tenant.id}/{name}", PNG, OPTIONS)
    found = await mine.list(str(tenant.id))
    assert [one["name"] for one in found] == ["boots", "hats", "a.png", "b.png"]
    assert [one["id"] is None for one in found] == [True, True, False, False]
    assert found[2]["metadata"]["size"] == len(PNG)
    assert [one["name"] for one in await mine.list(f"{tenant.id}/boots", {"limit": 1, "offset": 1})] == [
        "right.png"
    ]
    assert [one["name"] for one in await mine.list(str(tenant.id), {"search": "b"})] == ["boots", "b.png"]


async def test_what_was_removed_is_gone(mine: Any, path: str) -> None:
    await mine.upload(path, PNG, OPTIONS)
    assert [one["name"] for one in await mine.remove([path, path + "x"])] == [path]
    assert await mine.remove([path]) == []
    with refusal(404, "not_found"):
        await mine.download(path)
    assert not await mine.exists(path)
    await mine.upload(path, b"anew", OPTIONS)


async def test_strangers_and_nobody_see_nothing(
    mine: Any, shelf: Shelf, people: People, path: str, addresses: Addresses
) -> None:
    await mine.upload(path, PNG, OPTIONS)
    for stranger in (shelf((await people.make_tenant()).owner), shelf(None)):
        with refusal(404, "not_found"):
            await stranger.download(path)
        with refusal(404, "not_found"):
            await stranger.create_signed_url(path, 60)
        with refusal(403, "Unauthorized"):
            await stranger.upload(path + "x", PNG, OPTIONS)
        with refusal(403, "Unauthorized"):
            await stranger.create_signed_upload_url(path + "x")
        with refusal(403, "Unauthorized"):
            await stranger.upload(path, PNG, {**OPTIONS, "upsert": "true"})
        assert await stranger.remove([path]) == []
        assert await stranger.list(path.partition("/")[0]) == []
    assert await mine.download(path) == PNG
    async with httpx.AsyncClient(base_url=addresses.api_url) as anybody:
        for way in ("public/", "", "authenticated/"):
            answer = await anybody.get(f"/storage/v1/object/{way}{BUCKET}/{path}")
            assert answer.status_code == 400, way


async def test_the_buckets_limits_hold(mine: Any, path: str) -> None:
    with refusal(415, "invalid_mime_type"):
        await mine.upload(path, b"<svg/>", {"content-type": "image/svg+xml"})
    with refusal(413, "Payload too large"):
        await mine.upload(path, b"x" * (LIMIT + 1), OPTIONS)
    assert not await mine.exists(path)
    await mine.upload(path, b"x" * LIMIT, OPTIONS)
    assert (await mine.info(path))["size"] == LIMIT


async def test_the_service_key_may_all(shelf: Shelf, mine: Any, addresses: Addresses, path: str) -> None:
    await mine.upload(path, PNG, OPTIONS)
    service = shelf(addresses.service_role_key)
    assert await service.download(path) == PNG
    assert [one["name"] for one in await service.remove([path])] == [path]


# -- supabase-js ---------------------------------------------------------------------------------------------


async def test_supabase_js_uploads_signs_lists_and_removes(
    addresses: Addresses, tenant: Tenant, path: str
) -> None:
    env = {
        **deno_environment(),
        "API_URL": addresses.api_url,
        "KEY": addresses.publishable_key,
        "EMAIL": tenant.owner.email,
        "PASSWORD": tenant.owner.password,
        "TENANT": str(tenant.id),
    }
    process = await asyncio.create_subprocess_exec(
        *script_command(HERE / "storage.ts"),
        env=env,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        out, problems = await process.communicate()
    assert process.returncode == 0, problems.decode()
    assert json.loads(out) == {
        "uploaded": f"{tenant.id}/blob.png",
        "raw": f"{tenant.id}/raw.png",
        "twice": ["409", "KeyAlreadyExists"],
        "back": [1, 2, 3],
        "type": "image/png",
        "cached": "max-age=3600",
        "signed": [4, 5],
        "served": [4, 5],
        "listed": ["blob.png", "raw.png", "signed.png"],
        "forbidden": "403",
        "removed": 3,
        "exists": False,
    }


# -- the bare protocol ---------------------------------------------------------------------------------------


async def test_a_raw_body_is_an_object(bare: httpx.AsyncClient, path: str) -> None:
    headers = {"content-type": "image/png", "cache-control": "max-age=5"}
    made = await bare.post(f"/object/{BUCKET}/{path}", content=PNG, headers=headers)
    assert made.status_code == 200
    assert made.json()["Key"] == f"{BUCKET}/{path}"
    for way in ("", "authenticated/"):
        head = await bare.head(f"/object/{way}{BUCKET}/{path}")
        assert (head.status_code, head.headers["content-length"]) == (200, str(len(PNG)))
    got = await bare.get(f"/object/{BUCKET}/{path}")
    assert got.headers["cache-control"] == "max-age=5"
    assert got.headers["access-control-allow-origin"] == "*"
    again = await bare.get(f"/object/{BUCKET}/{path}", headers={"if-none-match": got.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert (await bare.delete(f"/object/{BUCKET}/{path}")).json() == {"message": "Successfully deleted"}
    assert (await bare.delete(f"/object/{BUCKET}/{path}")).json()["statusCode"] == "404"


async def test_a_body_that_does_not_tell_its_length_is_bounded(bare: httpx.AsyncClient, path: str) -> None:
    async def endless() -> AsyncIterator[bytes]:
        for _ in range(LIMIT // 2**20 + 1):
            yield bytes(2**20)

    answer = await bare.post(
        f"/object/{BUCKET}/{path}", content=endless(), headers={"content-type": "image/png"}
    )
    assert (answer.status_code, answer.json()["statusCode"]) == (400, "413")
    assert (await bare.get(f"/object/{BUCKET}/{path}")).json()["statusCode"] == "404"


async def test_of_uploads_at_once_one_is_whole(bare: httpx.AsyncClient, path: str) -> None:
    """All replace each other: every one succeeds, and whoever reads meanwhile gets one of them, whole."""
    place, headers = f"/object/{BUCKET}/{path}", {"content-type": "image/png", "x-upsert": "true"}
    bodies = [bytes([number]) * 300_000 for number in range(12)]
    assert (await bare.post(place, content=bodies[0], headers=headers)).status_code == 200
    writing = [bare.post(place, content=body, headers=headers) for body in bodies]
    reading = [bare.get(place) for _ in bodies]
    answers = await asyncio.gather(*writing, *reading)
    assert [answer.text for answer in answers if answer.is_error] == []
    assert all(answer.content in bodies for answer in answers[len(writing) :])
    got = await bare.get(place)
    info = (await bare.get(f"/object/info/{BUCKET}/{path}")).json()
    assert info["etag"] == got.headers["etag"]


@pytest.mark.parametrize(
    ("method", "path", "status", "error"),
    [
        ("GET", "/object/nothing/a.png", "404", "Bucket not found"),
        ("POST", "/object/nothing/a.png", "404", "Bucket not found"),
        ("GET", f"/object/{BUCKET}/a%25b.png", "400", "InvalidKey"),
        ("POST", f"/object/{BUCKET}/", "400", "InvalidKey"),
        ("GET", "/bucket/nothing", "404", "Bucket not found"),
    ],
)
async def test_what_cannot_be_is_told(
    bare: httpx.AsyncClient, method: str, path: str, status: str, error: str
) -> None:
    content = {"content": PNG, "headers": OPTIONS} if method == "POST" else {}
    answer = await bare.request(method, path, **content)  # type: ignore[arg-type]  # one of two forms
    body = answer.json()
    assert (answer.status_code, body["statusCode"], body["error"]) == (400, status, error)
    assert body["message"]


async def test_no_spelling_of_a_path_leads_into_another_folder(
    addresses: Addresses, tenant: Tenant, people: People
) -> None:
    """Sent as it stands: httpx would resolve the dots before asking."""
    own, other = str(tenant.id), str((await people.make_tenant()).id)
    tricks = [
        f"{own}/../{other}/a.png",
        f"{own}/%2e%2e/{other}/a.png",
        f"{own}%2F..%2F{other}%2Fa.png",
        f"{own}/%252e%252e/{other}/a.png",
        f"{other}/{own}/a.png",
        f"%2F{own}/a.png",
        f"/{own}/a.png",
        f"{own}//a.png",
        f"{own}/",
        own,
        own.upper() + "/a.png",
        "a.png",
        "%00/a.png",
        "%ff/a.png",
        f"{own}/%zz.png",
    ]
    headers = {"apikey": addresses.publishable_key, "Authorization": f"Bearer {tenant.owner.access_token}"}
    async with aiohttp.ClientSession(headers=headers | {"content-type": "image/png"}) as session:
        for trick in tricks:
            for way in ("", "upload/sign/"):
                url = URL(f"{addresses.api_url}/storage/v1/object/{way}{BUCKET}/{trick}", encoded=True)
                async with session.post(url, data=PNG) as answer:
                    assert answer.status == 400, (trick, await answer.text())
                    assert (await answer.json())["statusCode"] in ("400", "403"), trick
    service = people.client("/storage/v1", key=addresses.secret_key)
    for tenant_id in (own, other):
        listed = await service.post(f"/object/list/{BUCKET}", json={"prefix": tenant_id})
        assert listed.json() == []


@pytest.mark.parametrize("token", ["made.up.token", "x"])
async def test_a_bad_token_is_nobody(people: People, token: str, path: str) -> None:
    client = people.client("/storage/v1", token=token)
    answer = await client.post(f"/object/{BUCKET}/{path}", content=PNG, headers=OPTIONS)
    assert answer.status_code == 400
    assert answer.json()["statusCode"] in ("400", "403")


async def test_a_form_without_a_file_is_no_upload(bare: httpx.AsyncClient, path: str) -> None:
    form = "multipart/form-data; boundary=b"
    bodies = (b"--b\r\ncontent-disposition: form-data; name=x\r\n\r\n1\r\n--b--\r\n", b"no boundary here")
    for body in bodies:
        answer = await bare.post(f"/object/{BUCKET}/{path}", content=body, headers={"content-type": form})
        assert (answer.status_code, answer.json()["statusCode"]) == (400, "400"), answer.text


async def test_the_bucket_is_private_and_bounded(people: People, addresses: Addresses) -> None:
    service = people.client("/storage/v1", key=addresses.secret_key)
    bucket = (await service.get(f"/bucket/{BUCKET}")).json()
    assert (bucket["public"], bucket["file_size_limit"]) == (False, LIMIT)
    assert "image/svg+xml" not in bucket["allowed_mime_types"]
    assert len(bucket["allowed_mime_types"]) == 5
