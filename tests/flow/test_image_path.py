"""The whole path of a picture: from a URL or an upload to what browsers get, and back to nothing."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.eventually import eventually
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.test_sync_path import rows
from tests.flow.worker_process import WorkerProcess
from tests.images.exif import exif
from tests.images.picture_server import PictureServer, cut, elsewhere, picture_server, unavailable
from tests.images.samples import encode, photograph, with_exif

ENDED = ("ready", "failed", "quarantined")
IMMUTABLE = "public, max-age=31536000, immutable"


@pytest_asyncio.fixture
async def pictures() -> AsyncIterator[PictureServer]:
    async with picture_server() as server:
        yield server


@pytest.fixture
async def shop(scene: Scene) -> Shop:
    return await scene.shop(products=1, endpoints=0)


def photo(seed: int = 1) -> bytes:
    """One that says where it was taken."""
    return with_exif(encode(photograph(640, 480, seed=seed), "jpeg"), exif(orientation=6))


async def add(shop: Shop, **source: str) -> dict[str, Any]:
    row = {"tenant_id": str(shop.tenant.id), "product_id": str(shop.products[0]), **source}
    answer = await shop.rest.post("/product_images", json=row, headers={"prefer": "return=representation"})
    assert answer.is_success, answer.text
    [made] = answer.json()
    return dict(made)


async def read(shop: Shop, image_id: str) -> dict[str, Any]:
    [row] = await rows(shop.rest, "product_images", id=f"eq.{image_id}")
    return row


async def ended(shop: Shop, image_id: str) -> dict[str, Any]:
    async def done() -> bool:
        return (await read(shop, image_id))["status"] in ENDED

    await eventually(done, 60, what="the picture's end")
    return await read(shop, image_id)


async def test_a_picture_from_a_url_is_served_upright_small_and_without_its_place(
    scene: Scene, worker: WorkerProcess, shop: Shop, pictures: PictureServer
) -> None:
    source = photo()
    assert b"GPS" in source or b"\x88\x25" in source or b"\x25\x88" in source
    image = await add(shop, source_url=pictures.add("boot.jpg", source, unavailable, cut))
    row = await ended(shop, image["id"])
    assert (row["status"], row["error"], row["content_version"]) == ("ready", None, 1)
    assert (row["width"], row["height"]) == (480, 640), "upright"
    assert pictures.asked.count("boot.jpg") == 3
    [asset] = await rows(shop.rest, "image_assets", id=f"eq.{row['asset_id']}")
    assert asset["had_gps"]
    assert asset["format"] == "jpeg"
    async with httpx.AsyncClient() as browser:
        for name, url in row["urls"].items():
            answer = await browser.get(url)
            assert answer.status_code == 200, (name, url)
            assert answer.headers["cache-control"] == IMMUTABLE
            assert b"Exif" not in answer.content
            again = await browser.get(url, headers={"if-none-match": answer.headers["etag"]})
            assert again.status_code == 304
    assert set(row["urls"]) >= {"master", "thumbnail", "card"}


async def test_an_upload_goes_through_and_its_original_goes_when_it_is_replaced(
    scene: Scene, worker: WorkerProcess, shop: Shop, pictures: PictureServer
) -> None:
    path = f"{shop.tenant.id}/{uuid.uuid4()}/boot.png"
    storage = f"{scene.platform.addresses.api_url}/storage/v1/object/product-images/{path}"
    headers = {**shop.rest.headers, "content-type": "image/png"}
    async with httpx.AsyncClient() as client:
        content = encode(photograph(300, 200, seed=3), "png")
        (await client.post(storage, content=content, headers=headers)).raise_for_status()
        image = await add(shop, upload_path=path)
        first = await ended(shop, image["id"])
        assert first["status"] == "ready", first["error"]
        change = {"upload_path": None, "source_url": pictures.add("new.jpg", photo(4))}
        (await shop.rest.patch(f"/product_images?id=eq.{image['id']}", json=change)).raise_for_status()
        second = await ended(shop, image["id"])
        assert second["content_version"] == 2
        assert second["urls"] != first["urls"]
        assert (await client.get(first["urls"]["master"])).status_code == 200, "who has the old URL sees it"
        versions = await rows(shop.rest, "product_image_versions", image_id=f"eq.{image['id']}")
        assert len(versions) == 2


@pytest.mark.parametrize(
    ("content", "status", "code"),
    [
        (b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>", "quarantined", "image."),
        (photo()[:4000], "quarantined", "image.truncated"),
        (b"hello, I am a picture", "quarantined", "image."),
        (None, "failed", "image.source_refused"),
    ],
    ids=["svg", "truncated", "text", "missing"],
)
async def test_what_is_no_picture_says_why(
    worker: WorkerProcess, shop: Shop, pictures: PictureServer, content: bytes | None, status: str, code: str
) -> None:
    url = f"{pictures.url}/missing.jpg" if content is None else pictures.add("a.jpg", content)
    row = await ended(shop, (await add(shop, source_url=url))["id"])
    assert row["status"] == status
    assert row["error"]["code"].startswith(code)
    assert row["error"]["detail"].endswith(".")
    assert row["urls"] == {}


async def test_a_redirect_without_end(worker: WorkerProcess, shop: Shop, pictures: PictureServer) -> None:
    url = pictures.add("round.jpg", photo(), *[elsewhere] * 20)
    row = await ended(shop, (await add(shop, source_url=url))["id"])
    assert (row["status"], row["error"]["code"]) == ("failed", "image.too_many_redirects")


async def test_where_pictures_are_kept_is_the_platforms(scene: Scene, worker: WorkerProcess) -> None:
    assert Path(scene.platform.addresses.image_dir).is_relative_to(scene.platform.run)
