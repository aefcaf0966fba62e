"""The pictures that came with the catalogue go through, broken ones do not, and all are there to look at."""

from __future__ import annotations

import asyncio
import html
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Any, Final

import httpx

from tests.demo.stage import Stage, expect, json_of, read_all
from tests.demo.still_life import still_life
from tests.eventually import eventually
from tests.images.exif import exif
from tests.images.picture_server import PictureServer, unavailable
from tests.images.samples import with_exif
from tests.stack.paths import ROOT

ELSEWHERE: Final = b"https://images.example.com"
SHEET: Final = ROOT / "var" / "demo" / "contact-sheet.html"
ENDED: Final = ("ready", "failed", "quarantined")
SVG: Final = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert('a shop')</script></svg>"
# in the list that somebody sends along: what is wrong with each
BROKEN: Final[dict[str, bytes]] = {
    "half a picture.jpg": b"\xff\xd8\xff\xe0\0\x10JFIF\0\x01\x01\0\0\x01\0\x01\0\0\xff\xdb",
    "a program.jpg": b"MZ\x90\x00" + bytes(2000),
    "a drawing that runs.jpg": SVG,
}
_HEAD: Final = """<!doctype html><meta charset="utf-8"><title>Contact sheet</title><style>
body{font:14px system-ui;margin:2rem;background:#f6f6f4;color:#222}h1{font-weight:600}
main{display:grid;grid-template-columns:repeat(auto-fill,minmax(230px,1fr));gap:1rem}
figure{margin:0;background:#fff;border-radius:8px;overflow:hidden;box-shadow:0 1px 3px #0002}
figure img,figure .none{width:100%;height:170px;object-fit:cover;display:block;background:#ddd}
figcaption{padding:.6rem .8rem}b{display:block}small{color:#666}
.none{display:grid!important;place-items:center;color:#a33}
i{display:inline-block;width:14px;height:14px;border-radius:3px;margin-right:3px}
</style>"""


def with_local_pictures(catalogue: bytes, pictures: PictureServer) -> bytes:
    """The catalogue with its pictures at the demo's own server, which has them."""
    for line in catalogue.split(ELSEWHERE)[1:]:
        path = line.split(b",", 1)[0].decode().strip('"').lstrip("/")
        if path not in pictures.pictures:
            fault = [unavailable] if path.endswith("pot.jpg") else []
            pictures.add(path, with_exif(still_life(path), exif(orientation=1)), *fault)
    return catalogue.replace(ELSEWHERE, pictures.url.encode())


async def show_pictures(stage: Stage) -> str:
    """Every picture ends: shown, or with the reason why not; and what is served says nothing of places."""
    rest = stage.fjellmat.rest
    # a variant's own pictures are nothing of the file's, which comes once more after this
    variants = await rest.get("/products?select=id&parent_id=not.is.null&order=id&limit=1")
    [variant] = json_of(variants, "a variant")
    for name, content in BROKEN.items():
        url = stage.pictures.add(name.replace(" ", "-"), content)
        row = {"tenant_id": stage.fjellmat.tenant_id, "product_id": variant["id"], "source_url": url}
        json_of(await rest.post("/product_images", json=row), f"adding {name}", status=201)

    async def all_ended() -> bool:
        seen = Counter(row["status"] for row in await _images(stage))
        stage.say(", ".join(f"{count} {status}" for status, count in sorted(seen.items())))
        return set(seen) <= set(ENDED)

    await eventually(all_ended, 120, interval=0.2, what="the end of all pictures")
    images = await _images(stage)
    seen = Counter(row["status"] for row in images)
    expect(seen["quarantined"] == len(BROKEN) and not seen["failed"], f"the pictures ended as {dict(seen)}")
    assets = {row["id"]: row for row in await read_all(rest, "/image_assets", {"order": "id"})}
    expect(all(row["had_gps"] for row in assets.values()), "the sources said where they were taken")
    thumbnails = await _thumbnails(images)
    expect(not any(b"Exif" in each for each in thumbnails.values()), "a picture says where it was taken")
    await asyncio.to_thread(_write_sheet, images, assets, thumbnails)
    source = sum(row["source_bytes"] for row in assets.values())
    stage.figures |= {"pictures": seen["ready"], "pictures_quarantined": seen["quarantined"]}
    where = SHEET.relative_to(ROOT)
    return (
        f"{seen['ready']} shown from {len(assets)} files of {source >> 10:,} KiB, "
        f"{len(BROKEN)} quarantined with the reason; look at {where}"
    )


async def _images(stage: Stage) -> list[dict[str, Any]]:
    query = {"select": "*,products(sku,name)", "order": "id"}
    return await read_all(stage.fjellmat.rest, "/product_images", query)


async def _thumbnails(images: list[dict[str, Any]]) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    async with httpx.AsyncClient(timeout=10) as browser:
        for row in images:
            if row["status"] == "ready":
                answer = await browser.get(row["urls"]["thumbnail"], headers={"accept": "image/webp"})
                expect(answer.status_code == 200, f"{row['urls']['thumbnail']}: {answer.status_code}")
                found[row["id"]] = answer.content
    return found


def _write_sheet(
    images: list[dict[str, Any]], assets: dict[str, dict[str, Any]], thumbnails: dict[str, bytes]
) -> None:
    figures = "".join(_figure(row, assets.get(row["asset_id"]), thumbnails.get(row["id"])) for row in images)
    SHEET.parent.mkdir(parents=True, exist_ok=True)
    SHEET.write_text(f"{_HEAD}<h1>{len(images)} pictures of Fjellmat</h1><main>{figures}</main>")


def _figure(row: dict[str, Any], asset: dict[str, Any] | None, thumbnail: bytes | None) -> str:
    name = html.escape(Path(row["source_url"]).name)
    if asset is None or thumbnail is None:
        told = html.escape(row["error"]["detail"])
        return (
            f"<figure><div class=none>{row['status']}</div><figcaption><b>{name}</b><small>{told}</small>"
            "</figcaption></figure>"
        )
    colours = "".join(f"<i style='background:{colour}'></i>" for colour in asset["dominant_colors"])
    size = f"{asset['source_bytes'] >> 10} KiB → thumbnail {len(thumbnail) / 1024:.1f} KiB"
    facts = f"{name} · {row['width']}x{row['height']} · {size}"
    return (
        f"<figure><img src='data:image/webp;base64,{b64encode(thumbnail).decode()}' alt='{name}'><figcaption>"
        f"<b>{html.escape(row['products']['name'])}</b><small>{facts}</small>"
        f"<br>{colours}</figcaption></figure>"
    )
