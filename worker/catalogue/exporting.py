"""A tenant's products into a Shopify CSV or JSON Lines, read in pages, written whole or not at all."""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from pydantic import ValidationError

from worker.catalogue.jsonl import json_line
from worker.catalogue.order import Placed, in_file_order
from worker.catalogue.patience import Patience
from worker.catalogue.product import Family, Image, Stored
from worker.catalogue.progress import Report
from worker.catalogue.shopify_export import KeptFile, csv_line, kept_of, merged_header, render
from worker.catalogue.source import Format
from worker.gateway.catalogue import CatalogueGateway, ImageRow, PlaceRow, ProductRow, TenantId

FAMILIES_AT_A_TIME: Final = 80
_BOM: Final = b"\xef\xbb\xbf"


class Exporter:
    """Reads one tenant's catalogue; `locations` are the ids whose stock counts, None: all of them."""

    def __init__(
        self,
        gateway: CatalogueGateway,
        tenant_id: TenantId,
        *,
        locations: frozenset[str] | None,
        report: Report,
    ) -> None:
        self._gateway, self._tenant_id, self._locations = gateway, tenant_id, locations
        self._report = report
        self._patience = Patience(report.say)

    async def places(self) -> list[PlaceRow]:
        """All products that are no variants, deleted ones too. Raises `GatewayError`."""

        async def read() -> list[PlaceRow]:
            return [row async for row in self._gateway.places(self._tenant_id)]

        return await self._patience(read)

    async def write(self, places: Sequence[PlaceRow], out: BinaryIO, *, form: Format) -> int:
        """Writes the living ones of `places`; answers how many. Raises `GatewayError` and `OSError`."""
        ordered = _ordered(places)
        files = _files(ordered)
        living = [place.id for place in ordered if place.deleted_at is None]
        families = self._families(living)
        count = 0
        lines = _csv(families, files) if form == "shopify" else _jsonl(families)
        async for text in lines:
            out.write(text)
            count += 1
            self._report.reached(count)
        return len(living)

    async def _families(self, ids: Sequence[str]) -> AsyncIterator[Family]:
        for at in range(0, len(ids), FAMILIES_AT_A_TIME):
            some = ids[at : at + FAMILIES_AT_A_TIME]
            for family in await self._patience(lambda some=some: self._read(some)):  # type: ignore[misc]  # bound now
                yield family

    async def _read(self, ids: Sequence[str]) -> list[Family]:
        gateway, tenant_id = self._gateway, self._tenant_id
        parents = {row.id: row for row in await gateway.products(tenant_id, ids, by="id")}
        variants = await gateway.products(tenant_id, ids, by="parent_id")
        everybody = [*parents, *(variant.id for variant in variants)]
        images: dict[str, list[ImageRow]] = defaultdict(list)
        for image in await gateway.images(tenant_id, everybody):
            images[image.product_id].append(image)
        on_hand: dict[str, int] = defaultdict(int)
        for level in await gateway.stock(tenant_id, everybody):
            if self._locations is None or level.location_id in self._locations:
                on_hand[level.product_id] += level.on_hand
        children: dict[str | None, list[Stored]] = defaultdict(list)
        for variant in sorted(variants, key=lambda row: row.sku):
            stored = _stored(variant, images[variant.id], on_hand.get(variant.id))
            children[variant.parent_id].append(stored)
        return [
            Family(_stored(parents[id_], images[id_], on_hand.get(id_)), tuple(children[id_]))
            for id_ in ids
            if id_ in parents  # it may have been deleted meanwhile
        ]


@contextmanager
def target(path: Path | None) -> Iterator[BinaryIO]:
    """A stream to `path` that takes its place only when all went well, or to standard output.

    Raises `OSError`, naming `path` as it was given.
    """
    if path is None:
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    place = path.resolve()
    beside = place.with_name(f".{place.name}.{os.getpid()}.part")
    try:
        with beside.open("wb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        beside.replace(place)
    except OSError as error:
        if str(error.filename) != str(beside):
            raise
        # whoever asked knows nothing of the file beside it
        raise OSError(error.errno, error.strerror, str(path)) from error
    finally:
        beside.unlink(missing_ok=True)


def _ordered(places: Sequence[PlaceRow]) -> list[PlaceRow]:
    by_id = {place.id: place for place in places}
    placed = [Placed(place.id, place.sku, place.handle, place.after) for place in places]
    return [by_id[each.id] for each in in_file_order(placed)]


def _files(ordered: Sequence[PlaceRow]) -> list[KeptFile]:
    files: list[KeptFile] = []
    for place in ordered:
        try:
            files.append(KeptFile.model_validate(place.file))
        except ValidationError:
            continue
    return files


async def _csv(families: AsyncIterator[Family], files: Sequence[KeptFile]) -> AsyncIterator[bytes]:
    """The whole file, one product's lines at a time; the header comes with the first."""
    form = files[0] if files else KeptFile(header=())
    header = merged_header(file.header for file in files)
    pending = (_BOM if form.bom else b"") + csv_line(header).encode()
    end = form.newline.encode()
    handles: set[str] = set()
    unterminated = False
    async for family in families:
        kept = kept_of(family.parent)
        unterminated = kept.unterminated
        handle = _free(kept.handle, handles)
        handles.add(handle)
        lines = [csv_line(cells).encode() for cells in render(family, header, handle=handle)]
        yield pending
        pending = b"".join(end + line for line in lines)
    yield pending if unterminated else pending + end


async def _jsonl(families: AsyncIterator[Family]) -> AsyncIterator[bytes]:
    async for family in families:
        lines = [json_line(family.parent, None)]
        lines += [json_line(variant, family.parent.sku) for variant in family.variants]
        yield "".join(f"{line}\n" for line in lines).encode()


def _free(handle: str, taken: set[str]) -> str:
    """`handle`, numbered where another product of the file has it."""
    free, number = handle, 2
    while free in taken:
        free, number = f"{handle}-{number}", number + 1
    return free


def _stored(row: ProductRow, images: Sequence[ImageRow], on_hand: int | None) -> Stored:
    pictures = sorted(images, key=lambda image: (image.position, image.id))
    return Stored(
        sku=row.sku,
        name=row.name,
        description=row.description,
        status=row.status,
        price=row.price,
        currency=row.currency,
        attributes=row.attributes,
        images=tuple(Image(image.source_url, image.position, image.alt_text) for image in pictures),
        on_hand=on_hand,
    )
