"""Two thousand pictures from bad servers to a bad host, and the worker is killed ten times."""

from __future__ import annotations

import asyncio
import hashlib
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, LiteralString

from aiohttp import web

from tests.bench.connections import Connection, direct
from tests.chaos.report import Fact, Report
from tests.eventually import eventually
from tests.flow.ledger import Judgement
from tests.flow.scene import Scene
from tests.flow.shop import Shop
from tests.flow.worker_process import WorkerProcess
from tests.images.exif import exif
from tests.images.hosts.cloudinary_double import CloudinaryDouble, Fault, cloudinary_double, rate_limited
from tests.images.picture_server import PictureServer, cut, elsewhere, picture_server, unavailable
from tests.images.samples import encode, photograph, with_exif

_SOON = timedelta(seconds=2)
SHARE = 0.2
"""Of sources, and of calls of the host, that have a fault."""
PATIENCE = 1800.0
UNFINISHED = """
select count(*) from public.product_images where status not in ('ready', 'failed', 'quarantined')
"""
ENDS = """
select i.source_url, i.status, i.error ->> 'code', i.content_version, a.public_id
from public.product_images i left join public.image_assets a on a.id = i.asset_id
"""
NAMES = "select public_id from public.image_assets union select public_id from private.doomed_files"
REMOVE = """
delete from public.product_images i using public.products p where p.id = i.product_id and p.id = any (%s)
"""
AGE = "update public.image_assets set unused_since = unused_since - interval '31 days'"
CLEAN = "select worker.enqueue_job(kind) from unnest('{images.sweep,images.delete_files}'::text[]) kind"
DOOMED = "select count(*) from private.doomed_files"
UNUSED = "select count(*) from public.image_assets where unused_since is not null"

# what becomes of a source with this fault that does not pass: status and the beginning of the error's code
FATES: dict[str, tuple[str, str]] = {
    "missing": ("failed", "image.source_refused"),
    "circle": ("failed", "image.too_many_redirects"),
    "truncated": ("quarantined", "image."),
    "text": ("quarantined", "image."),
    "svg": ("quarantined", "image."),
}
PASSING = ("unavailable", "cut", "reset")
HOST_FAULTS = (
    Fault("status", 420, "Rate Limit Exceeded", {"Retry-After": "1"}),
    Fault("status", 423, "Resource is locked"),
    Fault("status", 429, "Too many", {"Retry-After": "1"}),
    Fault("status", 500),
    Fault("status", 503),
    Fault("reset"),
    Fault("lost"),
    Fault("garbage"),
    Fault("forged"),
    Fault("huge"),
    Fault("hang"),
)


class MoodyDouble(CloudinaryDouble):
    """Every fifth call has a fault, while it is moody."""

    def __init__(self, chance: random.Random) -> None:
        super().__init__()
        self._chance = chance
        self.moody = True
        self.met = Counter[str]()

    def _next_fault(self) -> Fault:
        if not self.moody or self._chance.random() >= SHARE:
            return Fault("none")
        # a host that says nothing holds a slot for long: it happens, but rarely
        fault = self._chance.choices(HOST_FAULTS, [5] * (len(HOST_FAULTS) - 1) + [1])[0]
        self.met[fault.kind if fault.kind != "status" else str(fault.status)] += 1
        return rate_limited(resets_in=_SOON) if fault.status == 420 and fault.kind == "status" else fault


@dataclass(frozen=True)
class Planned:
    """A picture's source: what is served, and the fault that it has, if any."""

    url: str
    content: bytes
    fault: str | None


async def images_storm(
    scene: Scene,
    *,
    images: int = 2000,
    kills: int = 10,
    every: float = 8.0,
    sabotage: Callable[[CloudinaryDouble, Connection], Awaitable[None]] | None = None,
) -> Report:
    """2,000 pictures, 20 % faults at sources and host, ten kills: no orphan, no duplicate, no untrue row."""
    started = time.monotonic()
    chance = random.Random(5)
    shop = await scene.shop(products=max(images // 40, 2), endpoints=0)
    async with (
        picture_server() as sources,
        cloudinary_double(MoodyDouble(chance)) as double,
        direct(scene.platform.admin_db_url) as db,
    ):
        planned = [_plan(sources, number, chance) for number in range(images)]
        settings = {"IMAGE_HOST": "cloudinary", "CLOUDINARY_URL": double.url, "WORKER_LEASE_SECONDS": "4"}
        async with scene.worker(**settings) as worker:
            await _add(shop, planned)
            began = time.monotonic()
            await _rage(worker, db, kills=kills, every=every)
            await eventually(lambda: _none(db, UNFINISHED), PATIENCE, interval=0.5, what="all have ended")
            seconds = time.monotonic() - began
            assert isinstance(double, MoodyDouble)
            double.moody = False
            if sabotage is not None:
                await sabotage(double, db)
            faults = await _judged(db, planned, double)
            ends = Counter(row[1] for row in await _all(db, ENDS))
            faults += await _cleaned(db, shop, double)
    facts: dict[str, Fact] = {
        "images_per_s": round(images / seconds, 1),
        "kills": kills,
        **{status: ends[status] for status in ("ready", "failed", "quarantined")},
        "host_calls": len(double.calls),
        "host_faults": sum(double.met.values()),
        "requests_of_sources": len(sources.asked),
    }
    judgement = Judgement(images, images, sum(ends.values()), 0, 0)
    return Report("images_storm", time.monotonic() - started, judgement, facts, faults)


def _plan(sources: PictureServer, number: int, chance: random.Random) -> Planned:
    # every fourth has the bytes of another
    content = _photo(number // 4 * 4 if number % 4 == 1 else number)
    fault = chance.choice([*FATES, *PASSING]) if chance.random() < SHARE else None
    name = f"{number}.jpg"
    match fault:
        case "missing":
            return Planned(f"{sources.url}/{name}", content, fault)
        case "circle":
            return Planned(sources.add(name, content, *[elsewhere] * 100_000), content, fault)
        case "truncated":
            content = content[: len(content) // 2]
        case "text":
            content = f"picture {number}".encode()
        case "svg":
            content = f"<svg xmlns='http://www.w3.org/2000/svg'><script>{number}</script></svg>".encode()
    passing = {"unavailable": unavailable, "cut": cut, "reset": _reset}
    meets = [passing[fault]] * chance.randint(1, 2) if fault in passing else []
    return Planned(sources.add(name, content, *meets), content, fault)


def _photo(number: int) -> bytes:
    return with_exif(encode(photograph(160, 120, seed=number + 1), "jpeg"), exif(orientation=number % 8 + 1))


async def _reset(request: web.Request, _: bytes) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.abort()
    return web.Response()


async def _add(shop: Shop, planned: list[Planned]) -> None:
    rows = [
        {
            "tenant_id": str(shop.tenant.id),
            "product_id": str(shop.products[number % len(shop.products)]),
            "source_url": each.url,
        }
        for number, each in enumerate(planned)
    ]
    for first in range(0, len(rows), 500):
        answer = await shop.rest.post("/product_images", json=rows[first : first + 500], timeout=60)
        assert answer.is_success, answer.text


async def _rage(worker: WorkerProcess, db: Connection, *, kills: int, every: float) -> None:
    for _ in range(kills):
        await asyncio.sleep(every)
        worker.kill()
        await worker.start()


async def _judged(db: Connection, planned: list[Planned], double: CloudinaryDouble) -> list[str]:
    """What is not as it must be."""
    ends = {url: tuple(rest) for url, *rest in await _all(db, ENDS)}
    faults = []
    for each in planned:
        status, code, version, name = ends[each.url]
        if each.fault in FATES:
            expected, begins = FATES[each.fault]
            if status != expected or not (code or "").startswith(begins):
                faults.append(f"{each.fault}: {status} {code}")
        elif (status, version) != ("ready", 1):
            faults.append(f"{each.fault or 'good'}: {status} {code}, version {version}")
        elif not name.endswith(hashlib.sha256(each.content).hexdigest()) or name not in double.objects:
            faults.append(f"{each.url} shows {name}")
        elif b"Exif" in double.objects[name].content:
            faults.append(f"{name} says where it was taken")
    shown = {end[3] for end in ends.values() if end[3] is not None}
    known = {name for (name,) in await _all(db, NAMES)}
    faults += [f"orphan at the host: {name}" for name in double.objects.keys() - known]
    faults += [f"at the host and shown by nobody: {name}" for name in double.objects.keys() - shown]
    contents = Counter(item.etag for item in double.objects.values())
    faults += [f"stored {count} times: {etag}" for etag, count in contents.items() if count > 1]
    return faults


async def _cleaned(db: Connection, shop: Shop, double: CloudinaryDouble) -> list[str]:
    """When half of the products' pictures are deleted, and a month later: the host has what is shown."""
    await db.execute(REMOVE, (shop.products[::2],))
    await db.execute(AGE)

    async def gone() -> bool:
        await db.execute(CLEAN)
        return await _none(db, UNUSED) and await _none(db, DOOMED)

    await eventually(gone, 300, interval=1.0, what="what nothing shows is deleted")
    shown = {row[4] for row in await _all(db, ENDS) if row[4] is not None}
    differ = shown ^ double.objects.keys()
    return [f"shown, or at the host, but not both: {name}" for name in differ]


async def _none(db: Connection, query: LiteralString) -> bool:
    return (await _all(db, query)) == [(0,)]


async def _all(db: Connection, query: LiteralString) -> list[tuple[Any, ...]]:
    return await (await db.execute(query)).fetchall()
