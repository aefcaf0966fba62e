"""A file's products into the database, in batches, some in flight at a time.

Running it again, after a kill at any point too, ends in the same state: a row that would change nothing is
left alone, and a quantity is received once per SHA-256 of the file and line. It follows that an edited file
is a new file: the quantities on its lines are received again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any, Final

from worker.catalogue.patience import Patience
from worker.catalogue.product import Group, Product, Refusal
from worker.catalogue.progress import Report
from worker.gateway.catalogue import CatalogueGateway, RowResult, TenantId

BATCH_ROWS: Final = 200
BATCH_BYTES: Final = 1 << 20
IN_FLIGHT: Final = 4


@dataclass(slots=True)
class Totals:
    """What became of a file: lines of the file, rows (products and variants) by result, pieces received."""

    lines_taken: int = 0
    lines_refused: int = 0
    created: int = 0
    updated: int = 0
    unchanged: int = 0
    received: int = 0

    @property
    def rows(self) -> int:
        return self.created + self.updated + self.unchanged


@dataclass(slots=True)
class Parcel:
    """Products that are sent one batch after the other, because a parent goes before its variants."""

    batches: list[list[Product]] = field(default_factory=list)
    lines: int = 0
    end: int = 0


class Importer:
    """Sends products to one tenant; refused lines are reported as they are met."""

    def __init__(
        self,
        gateway: CatalogueGateway,
        tenant_id: TenantId,
        *,
        sha256: str,
        location_code: str,
        report: Report,
        patience: Patience | None = None,
        batch_rows: int = BATCH_ROWS,
    ) -> None:
        self._gateway, self._tenant_id = gateway, tenant_id
        self._sha256, self._location_code = sha256, location_code
        self._report = report
        self._patience = patience or Patience(report.say)
        self._batch_rows = batch_rows
        self._totals = Totals()

    async def run(self, found: Iterable[Group | Refusal]) -> Totals:
        """Sends all that is found. Raises `GatewayError`; what was sent until then stays."""
        queue: asyncio.Queue[Parcel | None] = asyncio.Queue(maxsize=1)
        try:
            async with asyncio.TaskGroup() as tasks:
                for _ in range(IN_FLIGHT):
                    tasks.create_task(self._send_all(queue))
                for parcel in parcels(self._taken(found), self._batch_rows):
                    await queue.put(parcel)
                for _ in range(IN_FLIGHT):
                    await queue.put(None)
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        return self._totals

    def _taken(self, found: Iterable[Group | Refusal]) -> Iterator[Group]:
        # all that is wrong with a line is reported together
        for refused, together in groupby(found, key=lambda each: isinstance(each, Refusal) and each.line):
            if refused:
                self._refuse([each for each in together if isinstance(each, Refusal)])
            else:
                yield from (each for each in together if isinstance(each, Group))

    async def _send_all(self, queue: asyncio.Queue[Parcel | None]) -> None:
        while parcel := await queue.get():
            refused = [refusal for batch in parcel.batches for refusal in await self._send(batch)]
            lines = self._refuse(refused)
            self._totals.lines_taken += parcel.lines - lines
            self._report.reached(parcel.end)

    async def _send(self, batch: Sequence[Product]) -> list[Refusal]:
        rows = [row_of(product, sha256=self._sha256, location_code=self._location_code) for product in batch]
        results = await self._patience(lambda: self._gateway.import_products(self._tenant_id, rows))
        return [refusal for result in results if (refusal := self._count(result))]

    def _count(self, result: RowResult) -> Refusal | None:
        totals = self._totals
        totals.received += result.received
        match result.result:
            case "created":
                totals.created += 1
            case "updated":
                totals.updated += 1
            case "unchanged":
                totals.unchanged += 1
            case "refused":
                error = result.error
                reason = f"{error.detail or 'refused'} [{error.code}]" if error else "refused by the database"
                return Refusal(result.line, None, reason)
        return None

    def _refuse(self, refused: Sequence[Refusal]) -> int:
        """Reports them; answers how many lines they are about."""
        for refusal in refused:
            self._report.say(f"refused: {refusal}")
        lines = len({refusal.line for refusal in refused})
        self._totals.lines_refused += lines
        return lines


def parcels(groups: Iterable[Group], batch_rows: int) -> Iterator[Parcel]:
    """Groups packed into batches; one that is larger than a batch becomes a chain of them."""
    parcel, batch, size = Parcel(), list[Product](), 0
    for group in groups:
        weight = sum(map(_weight, group.products))
        if batch and (len(batch) + len(group.products) > batch_rows or size + weight > BATCH_BYTES):
            parcel.batches.append(batch)
            yield parcel
            parcel, batch, size = Parcel(), [], 0
        for product in group.products:
            if batch and (len(batch) >= batch_rows or size + _weight(product) > BATCH_BYTES):
                parcel.batches.append(batch)
                batch, size = [], 0
            batch.append(product)
            size += _weight(product)
        parcel.lines += group.lines
        parcel.end = max(parcel.end, group.end)
    if batch:
        parcel.batches.append(batch)
        yield parcel


def row_of(product: Product, *, sha256: str, location_code: str) -> dict[str, Any]:
    """A product as a row of `import_products` (docs/worker-rpc.md)."""
    row: dict[str, Any] = {
        "line": product.line,
        "sku": product.sku,
        "parent_sku": product.parent_sku,
        "name": product.name,
        "description": product.description,
        "status": product.status,
        "price": f"{product.price:f}",
        "currency": product.currency,
        "attributes": product.attributes,
        "quantity": product.quantity,
        "location_code": location_code,
        "source": f"import:{sha256}:{product.line}",
    }
    if product.images is not None:
        row["images"] = [
            {"source_url": image.source_url, "position": image.position, "alt_text": image.alt_text}
            for image in product.images
        ]
    return row


def _weight(product: Product) -> int:
    # near enough to the JSON's size for a bound
    return 300 + len(product.name) + len(product.description) + len(str(product.attributes))
