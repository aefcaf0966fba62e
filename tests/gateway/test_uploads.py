"""Uploads: the real Storage, a server that misbehaves, and respx for answers that none gives on command."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import respx
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.eventually import eventually
from tests.gateway.conftest import settings_for
from tests.people import People, Tenant
from tests.stack.addresses import Addresses
from worker.config import Settings
from worker.errors import (
    BadAnswer,
    Busy,
    GatewayError,
    KeyRefused,
    Refused,
    SchemaMissing,
    Unavailable,
    Unreachable,
)
from worker.gateway.uploads import StorageUploads

Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]

LIMIT = 20 * 1024 * 1024
PNG = {"content-type": "image/png"}


@pytest.fixture
async def uploads(settings: Settings) -> AsyncIterator[StorageUploads]:
    async with StorageUploads(settings) as made:
        yield made


@pytest.fixture
def into(tmp_path: Path) -> Path:
    return tmp_path / "original"


def exists(path: Path) -> bool:
    return path.exists()


def read(path: Path) -> bytes:
    return path.read_bytes()


async def put(people: People, tenant: Tenant, content: bytes, name: str | None = None) -> str:
    """Uploads as the tenant's owner; its path."""
    path = f"{tenant.id}/{name or secrets.token_hex(4) + '.png'}"
    storage = people.client("/storage/v1", token=tenant.owner.access_token)
    answer = await storage.post(f"/object/product-images/{path}", content=content, headers=PNG)
    assert answer.is_success, answer.text
    return path


# -- the real one --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 256 * 1024, 3_000_001])
async def test_an_upload_lies_on_disk_as_it_was(
    uploads: StorageUploads, people: People, tenant: Tenant, into: Path, size: int
) -> None:
    content = os.urandom(size)
    path = await put(people, tenant, content, "a shoe (left), 1+1=2 & more; @home$.png")
    assert await uploads.download(path, into, limit=LIMIT) == size
    assert read(into) == content


async def test_what_was_removed_is_missing_for_good(
    uploads: StorageUploads, people: People, tenant: Tenant, into: Path
) -> None:
    path = await put(people, tenant, b"picture")
    await uploads.remove(path)
    await uploads.remove(path)
    with pytest.raises(Refused) as raised:
        await uploads.download(path, into, limit=LIMIT)
    assert (raised.value.code, raised.value.message) == ("image.upload_missing", "image.upload_missing")
    assert path in str(raised.value)
    assert str(raised.value).count("image.upload_missing") == 1
    assert not exists(into)


async def test_an_upload_at_the_limit_passes_and_a_byte_more_does_not(
    uploads: StorageUploads, people: People, tenant: Tenant, into: Path
) -> None:
    path = await put(people, tenant, b"x" * 1000)
    assert await uploads.download(path, into, limit=1000) == 1000
    with pytest.raises(Refused) as raised:
        await uploads.download(path, into, limit=999)
    assert raised.value.code == "image.too_large"
    assert not exists(into)


@pytest.mark.parametrize(
    "trick", ["{own}/../{other}", "{own}/./../{other}", "{own}//{other}", "/{other}", "..", "", "{own}/"]
)
async def test_no_path_leads_into_another_tenants_folder(
    uploads: StorageUploads, people: People, tenant: Tenant, into: Path, trick: str
) -> None:
    """The key sees all tenants; a client that resolves dots, as this one does, would fetch the secret."""
    secret = await put(people, await people.make_tenant(), b"secret")
    path = trick.format(own=tenant.id, other=secret)
    for call in (uploads.download(path, into, limit=LIMIT), uploads.remove(path)):
        with pytest.raises(Refused) as raised:
            await call
        assert raised.value.code == "image.upload_missing"
    assert not exists(into)
    assert await uploads.download(secret, into, limit=LIMIT) == 6


async def test_a_percent_sign_stays_one(
    uploads: StorageUploads, people: People, tenant: Tenant, into: Path
) -> None:
    secret = await put(people, await people.make_tenant(), b"secret")
    with pytest.raises(Refused) as raised:
        await uploads.download(f"{tenant.id}/%2e%2e/{secret}", into, limit=LIMIT)
    assert raised.value.code == "InvalidKey"


async def test_a_wrong_key_is_told_from_a_missing_upload(addresses: Addresses, into: Path) -> None:
    async with StorageUploads(settings_for(addresses.api_url, "sb_secret_of_another_project")) as uploads:
        with pytest.raises(KeyRefused, match="SUPABASE_SECRET_KEY"):
            await uploads.download("a/b.png", into, limit=LIMIT)


async def test_many_at_once_do_not_mix(
    uploads: StorageUploads, people: People, tenant: Tenant, tmp_path: Path
) -> None:
    contents = [os.urandom(200_000) for _ in range(8)]
    paths = [await put(people, tenant, content) for content in contents]
    await asyncio.gather(
        *(uploads.download(path, tmp_path / str(number), limit=LIMIT) for number, path in enumerate(paths))
    )
    assert [read(tmp_path / str(number)) for number in range(8)] == contents


# -- a server that misbehaves --------------------------------------------------------------------------------


@asynccontextmanager
async def serving(serve: Serve, **options: Any) -> AsyncIterator[StorageUploads]:
    """Ends only when no connection is left: a call that was given up must have let go of its own."""
    app = web.Application()
    app.router.add_route("*", "/{anything:.*}", serve)
    server = TestServer(app, host="127.0.0.1")
    await server.start_server()
    try:
        settings = settings_for(f"http://127.0.0.1:{server.port}", "sb_secret_x")
        async with StorageUploads(settings, **options) as uploads:
            yield uploads
    finally:
        await server.close()


async def test_an_endless_body_is_cut_at_the_limit(into: Path) -> None:
    sent = 0

    async def endless(request: web.Request) -> web.StreamResponse:
        nonlocal sent
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        while True:
            await response.write(bytes(100_000))
            sent += 100_000

    async with serving(endless) as uploads:
        with pytest.raises(Refused, match=r"image\.too_large"):
            await uploads.download("t/a.png", into, limit=1_000_000)
    assert not exists(into)
    assert sent < LIMIT


async def test_a_promise_of_too_much_is_not_read(into: Path) -> None:
    async def promise(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = LIMIT + 1
        await response.prepare(request)
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(promise) as uploads, asyncio.timeout(5):
        with pytest.raises(Refused, match=r"image\.too_large"):
            await uploads.download("t/a.png", into, limit=LIMIT)


async def test_a_packed_body_is_not_taken_for_the_picture(into: Path) -> None:
    asked = []

    async def bomb(request: web.Request) -> web.StreamResponse:
        asked.append(request.headers.get("accept-encoding"))
        response = web.Response(body=bytes(30_000_000))
        response.enable_compression(web.ContentCoding.gzip)
        return response

    async with serving(bomb) as uploads:
        with pytest.raises(BadAnswer, match="encoding"):
            await uploads.download("t/a.png", into, limit=LIMIT)
    assert asked == ["identity"]
    assert not exists(into)


async def test_a_body_that_breaks_off_leaves_no_file(into: Path) -> None:
    async def broken(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        response.content_length = 1_000_000
        await response.prepare(request)
        await response.write(bytes(600_000))
        assert request.transport is not None
        request.transport.close()
        return response

    async with serving(broken) as uploads:
        with pytest.raises(Unreachable):
            await uploads.download("t/a.png", into, limit=LIMIT)
    assert not exists(into)


async def _stalls(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.content_length = 1_000_000
    await response.prepare(request)
    await response.write(bytes(300_000))
    await asyncio.Event().wait()
    raise AssertionError


async def _drips(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse()
    response.enable_chunked_encoding()
    await response.prepare(request)
    while True:
        await response.write(b"x")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize(
    ("serve", "options"),
    [
        (_stalls, {"silence": timedelta(seconds=0.5)}),
        (_stalls, {"timeout": timedelta(seconds=0.5)}),
        (_drips, {"timeout": timedelta(seconds=0.5)}),
    ],
)
async def test_silence_and_drops_end_in_time(serve: Serve, options: dict[str, timedelta], into: Path) -> None:
    async with asyncio.timeout(10), serving(serve, **options) as uploads:
        with pytest.raises(Unreachable):
            await uploads.download("t/a.png", into, limit=LIMIT)
    assert not exists(into)


async def test_nobody_there_is_unreachable(into: Path) -> None:
    async with StorageUploads(settings_for("http://127.0.0.1:9", "sb_secret_x")) as uploads:
        with pytest.raises(Unreachable):
            await uploads.download("t/a.png", into, limit=LIMIT)
        with pytest.raises(Unreachable):
            await uploads.remove("t/a.png")


async def test_a_cancelled_download_ends_and_leaves_no_file(into: Path) -> None:
    async with serving(_stalls) as uploads:
        task = asyncio.create_task(uploads.download("t/a.png", into, limit=LIMIT))
        await eventually(lambda: exists(into) and read(into), what="the first bytes lie on disk")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert not exists(into)


async def test_a_redirect_is_not_followed(into: Path) -> None:
    async def elsewhere(request: web.Request) -> web.StreamResponse:
        raise web.HTTPFound("http://169.254.169.254/latest")

    async with serving(elsewhere) as uploads:
        with pytest.raises(BadAnswer):
            await uploads.download("t/a.png", into, limit=LIMIT)


async def test_a_full_disk_is_no_fault_of_supabase(tmp_path: Path) -> None:
    async def picture(request: web.Request) -> web.StreamResponse:
        return web.Response(body=bytes(1000))

    async with serving(picture) as uploads:
        with pytest.raises(FileNotFoundError):
            await uploads.download("t/a.png", tmp_path / "not there" / "original", limit=LIMIT)
        if exists(Path("/dev/full")):
            link = tmp_path / "full"
            os.symlink("/dev/full", link)
            with pytest.raises(OSError, match="No space left"):
                await uploads.download("t/a.png", link, limit=LIMIT)
            assert "full" not in os.listdir(tmp_path)


# -- what answers mean ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "told", "kind", "transient"),
    [
        # Storage says 400 for nearly everything; its body tells what counts
        (400, {"statusCode": "503", "error": "DatabaseConnectionLimit"}, Unavailable, True),
        (400, {"statusCode": "423", "error": "ResourceLocked"}, Busy, True),
        (400, {"statusCode": "429", "error": "SlowDown"}, Busy, True),
        (429, {"statusCode": "429", "error": "too_many_connections"}, Busy, True),
        (544, {"statusCode": "544", "error": "DatabaseTimeout"}, Unavailable, True),
        (503, {"message": "upstream storage is not available"}, Unavailable, True),
        (400, {"statusCode": "403", "error": "Unauthorized"}, KeyRefused, False),
        (401, {"message": "Invalid API key"}, KeyRefused, False),
        (400, {"statusCode": "404", "error": "Bucket not found"}, SchemaMissing, False),
        (404, {"statusCode": "404", "code": "NoSuchBucket"}, SchemaMissing, False),
        # an address that is no Storage's must not pass for a missing upload: those are given up for good
        (404, {"message": "no Route matched with those values"}, SchemaMissing, False),
        (404, "<html>Not Found</html>", SchemaMissing, False),
        (400, {"statusCode": "200"}, Refused, False),
        (400, [1], Refused, False),
        (304, "", BadAnswer, False),
        (206, "part", BadAnswer, False),
    ],
)
async def test_an_answer_becomes_the_error_that_it_means(
    status: int, told: Any, kind: type[GatewayError], transient: bool, into: Path
) -> None:
    with pytest.raises(kind) as raised:
        await _download(into, status, told)
    assert type(raised.value) is kind
    assert raised.value.transient is transient
    assert raised.value.code != "image.upload_missing"


@pytest.mark.parametrize(
    ("status", "told"),
    [
        (400, {"statusCode": "404", "error": "not_found", "message": "Object not found"}),
        (400, {"statusCode": "404", "error": "Not found", "message": "The resource was not found"}),
        (404, {"statusCode": "404", "error": "not_found", "code": "NoSuchKey"}),
    ],
)
async def test_every_way_to_say_that_an_object_is_missing(status: int, told: Any, into: Path) -> None:
    with pytest.raises(Refused) as raised:
        await _download(into, status, told)
    assert raised.value.code == "image.upload_missing"


async def _download(into: Path, status: int, told: Any) -> int:
    content = {"json": told} if isinstance(told, dict | list) else {"text": told}
    with respx.mock() as router:
        router.get("http://supabase.test/storage/v1/object/product-images/t/a.png").respond(status, **content)
        async with StorageUploads(settings_for("http://supabase.test", "sb_secret_x")) as uploads:
            return await uploads.download("t/a.png", into, limit=LIMIT)
