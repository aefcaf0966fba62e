"""A company to test with: its people, products, places and endpoints, made by the shortest way."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from tests.databases import Connection, acting_as, add_user
from tests.sql.ask import call, column, value


@dataclass(frozen=True)
class Company:
    tenant_id: uuid.UUID
    owner: uuid.UUID


async def found_company(db: Connection, slug: str = "acme") -> Company:
    owner = await add_user(db)
    async with acting_as(db, owner):
        tenant_id = await value(db, "select (public.create_tenant(%s, %s)).id", slug, slug.title())
    return Company(tenant_id, owner)


async def add_member(db: Connection, company: Company, role: str) -> uuid.UUID:
    member = await add_user(db)
    await db.execute(
        "insert into public.memberships (tenant_id, principal_id, role) values (%s, %s, %s)",
        (company.tenant_id, member, role),
    )
    return member


async def add_products(db: Connection, company: Company, count: int, prefix: str = "SKU") -> list[uuid.UUID]:
    """`count` products in one statement: <prefix>-1, <prefix>-2, …"""
    return await column(
        db,
        "insert into public.products (tenant_id, sku, name)"
        " select %s, %s || '-' || n, 'Product ' || n from generate_series(1, %s) n returning id",
        company.tenant_id,
        prefix,
        count,
    )


async def add_product(db: Connection, company: Company, sku: str = "SHIRT", name: str = "Shirt") -> uuid.UUID:
    product: uuid.UUID = await value(
        db,
        "insert into public.products (tenant_id, sku, name) values (%s, %s, %s) returning id",
        company.tenant_id,
        sku,
        name,
    )
    return product


async def rename(db: Connection, product: uuid.UUID, name: str) -> None:
    await db.execute("update public.products set name = %s where id = %s", (name, product))


async def add_location(db: Connection, company: Company, code: str = "MAIN") -> uuid.UUID:
    location: uuid.UUID = await value(
        db,
        "insert into public.locations (tenant_id, code, name) values (%s, %s, %s) returning id",
        company.tenant_id,
        code,
        code.title(),
    )
    return location


async def add_endpoint(
    db: Connection, company: Company, url: str = "https://example.com/hook", events: tuple[str, ...] = ("*",)
) -> dict[str, Any]:
    """The endpoint as `create_webhook_endpoint` answers, with its `secret`, and its `lane_id`."""
    async with acting_as(db, company.owner):
        endpoint: dict[str, Any] = await value(
            db, "select public.create_webhook_endpoint(%s, %s, %s)", company.tenant_id, url, list(events)
        )
    lane_id = await value(db, "select id from queue.lanes where endpoint_id = %s", endpoint["id"])
    return {**endpoint, "lane_id": lane_id}


def stock_line(product: uuid.UUID, location: uuid.UUID, quantity: object) -> dict[str, object]:
    return {"product_id": str(product), "location_id": str(location), "quantity": quantity}


async def receive(
    db: Connection,
    company: Company,
    lines: list[dict[str, object]],
    key: str | None = None,
    *,
    who: uuid.UUID | None = None,
    reason: str | None = None,
) -> Any:
    """`receive_stock` as `who`, by default the company's owner."""
    async with acting_as(db, who or company.owner):
        return await call(
            db, "public", "receive_stock",
            p_tenant_id=company.tenant_id, p_lines=lines, p_key=key, p_reason=reason,
        )  # fmt: skip


async def adjust(
    db: Connection, company: Company, lines: list[dict[str, object]], key: str | None = None
) -> Any:
    """`adjust_stock` as the company's owner."""
    async with acting_as(db, company.owner):
        return await call(
            db, "public", "adjust_stock", p_tenant_id=company.tenant_id, p_lines=lines, p_key=key
        )
