"""Commands on products as somebody of a company calls them."""

from __future__ import annotations

import json
import uuid
from typing import Any

import psycopg

from tests.databases import Connection, acting_as
from tests.sql.ask import call, value
from tests.sql.company import Company


async def command(
    db: Connection, company: Company, name: str, *, who: uuid.UUID | None = None, **arguments: object
) -> Any:
    """A function of the schema `public` on the company, as `who`, by default its owner."""
    async with acting_as(db, who or company.owner):
        return await call(db, "public", name, p_tenant_id=company.tenant_id, **arguments)


async def product_command(
    db: Connection,
    company: Company,
    name: str,
    product: uuid.UUID,
    version: int | None = None,
    *,
    who: uuid.UUID | None = None,
) -> Any:
    """One of publish, unpublish, delete and restore: `<name>_product`."""
    return await command(
        db, company, f"{name}_product", who=who, p_product_id=product, p_expected_version=version
    )


async def upsert(db: Connection, company: Company, *given: object, **options: Any) -> dict[str, Any]:
    """`upsert_products`; options `who`, `p_all_or_nothing`, `p_key`."""
    rows = json.dumps(list(given))
    answer: dict[str, Any] = await command(db, company, "upsert_products", p_rows=rows, **options)
    return answer


async def add_variant(db: Connection, company: Company, parent: uuid.UUID, sku: str) -> uuid.UUID:
    variant: uuid.UUID = await value(
        db,
        "insert into public.products (tenant_id, parent_id, sku, name) values (%s, %s, %s, %s) returning id",
        company.tenant_id,
        parent,
        sku,
        sku.title(),
    )
    return variant


async def set_price(db: Connection, *products: uuid.UUID) -> None:
    await db.execute("update public.products set price = 10 where id = any (%s)", (list(products),))


def details(error: psycopg.Error) -> Any:
    """What a refusal lists, from its detail."""
    assert error.diag.message_detail is not None
    return json.loads(error.diag.message_detail)
