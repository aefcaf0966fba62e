"""Short forms of what tests of pictures do: add one, and do the worker's steps."""

from __future__ import annotations

import hashlib
import uuid
from typing import Any

from tests.databases import Connection
from tests.sql.ask import rows, rpc, value
from tests.sql.company import Company

HOST = "local"
URLS = {"master": "https://img.example.com/m.webp", "card": "https://img.example.com/c.webp"}


def picture(content: str = "boot", *, looks: str = "00000000000000ff") -> dict[str, Any]:
    """What the worker says of a picture."""
    return {
        "sha256": hashlib.sha256(content.encode()).hexdigest(),
        "format": "jpeg",
        "source_bytes": 1000,
        "served_bytes": 400,
        "width": 640,
        "height": 480,
        "color_space": "srgb",
        "has_alpha": False,
        "animated": False,
        "had_gps": True,
        "dominant_colors": ["#336699"],
        "blurhash": "LEHV6nWB2yk8pyo0adR*.7kCMdnj",
        "perceptual_hash": looks,
    }


async def add_image(
    db: Connection, company: Company, product: uuid.UUID, url: str = "https://e.example/a.jpg"
) -> uuid.UUID:
    image: uuid.UUID = await value(
        db,
        "insert into public.product_images (tenant_id, product_id, source_url)"
        " values (%s, %s, %s) returning id",
        company.tenant_id,
        product,
        url,
    )
    return image


async def begin(db: Connection, image: uuid.UUID) -> Any:
    """Its present revision."""
    revision = await value(db, "select source_revision from public.product_images where id = %s", image)
    return await rpc(db, "begin_image", p_image_id=image, p_revision=revision)


async def begin_asset(db: Connection, image: uuid.UUID, revision: int, told: dict[str, Any]) -> Any:
    return await rpc(db, "begin_asset", p_image_id=image, p_revision=revision, p_host=HOST, p_picture=told)


async def finish(db: Connection, image: uuid.UUID, revision: int, asset_id: str) -> Any:
    return await rpc(
        db, "finish_image", p_image_id=image, p_revision=revision, p_asset_id=uuid.UUID(asset_id), p_urls=URLS
    )


async def work(db: Connection, image: uuid.UUID, content: str = "boot", **more: Any) -> uuid.UUID:
    """All of the worker's steps; the asset."""
    task = await begin(db, image)
    asset = await begin_asset(db, image, task["revision"], picture(content, **more))
    assert await finish(db, image, task["revision"], asset["asset_id"])
    return uuid.UUID(asset["asset_id"])


async def state(db: Connection, image: uuid.UUID) -> tuple[Any, ...]:
    """Status, the error's code, and which version it shows."""
    [found] = await rows(
        db,
        "select status, error ->> 'code', content_version from public.product_images where id = %s",
        image,
    )
    return found
