"""A dry run: reads and checks all of a file, asks the database what is there, writes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from worker.catalogue.checks import shown
from worker.catalogue.importing import BATCH_ROWS, Parcel, parcels
from worker.catalogue.patience import Patience
from worker.catalogue.product import Group, Refusal
from worker.catalogue.progress import Report
from worker.gateway.catalogue import CatalogueGateway, TenantId


@dataclass(slots=True)
class Rehearsal:
    """What an import would do. `known` products and variants are there by SKU and would be compared."""

    lines_taken: int = 0
    lines_refused: int = 0
    new: int = 0
    known: int = 0
    images: int = 0
    pieces: int = 0


async def rehearse(
    gateway: CatalogueGateway, tenant_id: TenantId, found: Iterable[Group | Refusal], report: Report
) -> Rehearsal:
    """Raises `GatewayError`."""
    outcome, patience = Rehearsal(), Patience(report.say)
    last_refused = 0

    def taken() -> Iterable[Group]:
        nonlocal last_refused
        for each in found:
            if isinstance(each, Group):
                yield each
            else:
                # the refusals of a line come one after the other
                outcome.lines_refused += each.line != last_refused
                last_refused = each.line
                report.say(f"would be refused: {each}")

    for parcel in parcels(taken(), BATCH_ROWS):
        for orphan in await _count(gateway, tenant_id, parcel, outcome, patience):
            report.say(f"would be refused: {orphan}")
        report.reached(parcel.end)
    return outcome


async def _count(
    gateway: CatalogueGateway, tenant_id: TenantId, parcel: Parcel, outcome: Rehearsal, patience: Patience
) -> list[Refusal]:
    """Counts what would be taken; answers the variants whose product is neither in the file nor there."""
    everybody = {product.sku: product for batch in parcel.batches for product in batch}
    parents = {product.parent_sku for product in everybody.values() if product.parent_sku is not None}
    there = await patience(lambda: gateway.known_skus(tenant_id, everybody.keys() | parents))
    orphans = [
        Refusal(product.line, "parent_sku", f"there is no product {shown(product.parent_sku)}")
        for product in everybody.values()
        if product.parent_sku is not None and product.parent_sku not in there | everybody.keys()
    ]
    refused = {orphan.line for orphan in orphans}
    products = [product for product in everybody.values() if product.line not in refused]
    known = sum(product.sku in there for product in products)
    outcome.lines_refused += len(refused)
    outcome.lines_taken += parcel.lines - len(refused)
    outcome.known += known
    outcome.new += len(products) - known
    outcome.images += sum(len(product.images or ()) for product in products)
    outcome.pieces += sum(product.quantity or 0 for product in products)
    return orphans
