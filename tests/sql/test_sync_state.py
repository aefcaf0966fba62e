"""Comparing copies: what differs is found in a few calls, and nobody learns of what they may not read."""

from __future__ import annotations

import hashlib
import random
import uuid
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, LiteralString

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, rows, value
from tests.sql.company import (
    Company,
    add_location,
    add_product,
    add_products,
    found_company,
    receive,
    rename,
    stock_line,
)
from tests.sql.plans import connect_for_bulk, pages

Range = dict[str, Any]
WHOLE: Range = {"after": None, "through": None}
REPORT: LiteralString = "select public.report_state(%s, 'till', %s, %s)"


def checksum(copy: dict[str, int]) -> str:
    digests = (hashlib.sha256(f"{key}:{version}".encode()).digest() for key, version in copy.items())
    return f"{sum(int.from_bytes(each[:8], 'big') for each in digests) % 2**64:016x}"


@dataclass
class Copy:
    """What a client has of an entity, and how it mends it."""

    db: Connection
    company: Company
    entity: str = "product"
    versions: dict[str, int] = field(default_factory=dict)
    calls: int = 0

    def within(self, span: Range) -> dict[str, int]:
        after, through = span["after"] or "", span["through"] or "g"
        return {key: version for key, version in self.versions.items() if after < key <= through}

    def told(self, span: Range) -> Range:
        mine = self.within(span)
        plain = {"after": span["after"], "through": span["through"]}
        if span.get("leaf") or span.get("count", 101) <= 100:
            return plain | {"rows": mine}
        return plain | {"count": len(mine), "checksum": checksum(mine)}

    def differs(self, span: Range) -> bool:
        mine = self.within(span)
        return "leaf" in span or (len(mine), checksum(mine)) != (span["count"], span["checksum"])

    async def report(self, *ranges: Range, who: uuid.UUID | None = None) -> dict[str, Any]:
        self.calls += 1
        async with acting_as(self.db, who or self.company.owner):
            sent = Jsonb(list(ranges))
            answer: dict[str, Any] = await value(self.db, REPORT, self.company.tenant_id, self.entity, sent)
        return answer

    async def mend(self) -> list[str]:
        """The ids that were wrong."""
        spans, wrong = [WHOLE | {"count": 1000}], []
        while spans:
            answer = await self.report(*map(self.told, spans[:16]))
            for row in answer["rows"]:
                self.versions[row["id"]] = row["version"]
            for gone in answer["gone"]:
                del self.versions[gone]
            wrong += [row["id"] for row in answer["rows"]] + answer["gone"]
            spans = [span for span in answer["ranges"] if self.differs(span)] + spans[16:]
            spans.sort(key=lambda span: span["after"] or "")
        return sorted(wrong)

    async def read(self) -> None:
        query: LiteralString = "select id::text, version from public.products where tenant_id = %s"
        if self.entity == "stock_level":
            query = "select id::text, version from public.stock_levels where tenant_id = %s"
        self.versions = dict(await rows(self.db, query, self.company.tenant_id))


async def test_a_copy_that_is_right_agrees_in_one_call(db: Connection, company: Company) -> None:
    copy = Copy(db, company)
    nothing = await copy.report(copy.told(WHOLE))
    assert nothing == {"same": 1, "ranges": [], "rows": [], "gone": []}
    await add_products(db, company, 150)
    await copy.read()
    assert (await copy.report(copy.told(WHOLE)))["same"] == 1
    middle = sorted(copy.versions)[70]
    halves = [{"after": None, "through": middle}, {"after": middle, "through": None}]
    assert (await copy.report(*map(copy.told, halves)))["same"] == 2


async def test_whatever_differs_is_found_and_mended(db: Connection, company: Company) -> None:
    products = await add_products(db, company, 3000)
    copy = Copy(db, company)
    await copy.read()
    chance = random.Random(7)
    behind, ahead, unknown = (str(each) for each in chance.sample(products, 3))
    await rename(db, uuid.UUID(behind), "Bag")
    copy.versions[ahead] = 9
    del copy.versions[unknown]
    extra = str(uuid.uuid4())
    copy.versions[extra] = 1
    assert await copy.mend() == sorted([behind, ahead, unknown, extra])
    assert copy.calls <= 6
    again = Copy(db, company)
    await again.read()
    assert copy.versions == again.versions
    assert await again.mend() == []


async def test_an_empty_and_a_foreign_copy_are_mended_too(db: Connection, company: Company) -> None:
    await add_products(db, company, 500)
    empty = Copy(db, company)
    assert len(await empty.mend()) == 500
    foreign = Copy(db, company, versions={str(uuid.uuid4()): 1 for _ in range(500)})
    assert len(await foreign.mend()) == 1000
    assert foreign.versions == empty.versions


async def test_parts_tile_their_range(db: Connection, company: Company) -> None:
    await add_products(db, company, 2000)
    first, *_, last = sorted(str(each) for each in await column(db, "select id from public.products"))
    answer = await Copy(db, company).report(
        {"after": first, "through": last, "count": 0, "checksum": "0" * 16}
    )
    parts = answer["ranges"]
    assert len(parts) == 16
    assert (parts[0]["after"], parts[-1]["through"]) == (first, last)
    assert all(one["through"] == two["after"] for one, two in pairwise(parts))
    assert sum(part["count"] for part in parts) == 1999
    assert max(part["count"] for part in parts) <= 2 * min(part["count"] for part in parts)


async def test_rows_are_whole_as_events_have_them(db: Connection, company: Company) -> None:
    product = await add_product(db, company)
    state = await value(db, "select new_row from private.outbox where entity = 'product'")
    copy = Copy(db, company)
    async with acting_as(db, company.owner):
        await db.execute("set local timezone = 'Asia/Tokyo'")
        sent = Jsonb([WHOLE | {"rows": {}}])
        answer = await value(db, REPORT, company.tenant_id, "product", sent)
    assert answer["rows"] == [state]
    await db.execute("update private.logged_entities set hidden = '{name}' where entity = 'product'")
    [hidden] = (await copy.report(WHOLE | {"rows": {str(product): 2}}))["rows"]
    assert set(state) - set(hidden) == {"name"}


async def test_stock_levels_are_compared_too(db: Connection, company: Company) -> None:
    location = await add_location(db, company)
    products = await add_products(db, company, 150)
    await receive(db, company, [stock_line(each, location, 5) for each in products])
    copy = Copy(db, company, entity="stock_level")
    await copy.read()
    await receive(db, company, [stock_line(products[3], location, 5)])
    level = await value(db, "select id from public.stock_levels where product_id = %s", products[3])
    assert await copy.mend() == [str(level)]


async def test_a_leaf_that_is_too_large_is_split(db: Connection, company: Company) -> None:
    await add_products(db, company, 201)
    answer = await Copy(db, company).report(WHOLE | {"rows": {}})
    assert answer["rows"] == []
    assert sum(part["count"] for part in answer["ranges"]) == 201
    await db.execute("delete from public.products where id in (select id from public.products limit 1)")
    assert len((await Copy(db, company).report(WHOLE | {"rows": {}}))["rows"]) == 200


async def test_nobody_compares_with_what_they_may_not_read(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    theirs = await add_product(db, rival)
    copy = Copy(db, company, versions={str(theirs): 1})
    answer = await copy.report(copy.told(WHOLE | {"leaf": True}))
    assert (answer["rows"], answer["gone"]) == ([], [str(theirs)])
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await copy.report(copy.told(WHOLE), who=rival.owner)
    await add_product(db, company)
    await db.execute("delete from private.role_permissions where permission = 'products.read'")
    assert await copy.report(WHOLE | {"count": 0, "checksum": "0" * 16}) == {
        "same": 1,
        "ranges": [],
        "rows": [],
        "gone": [],
    }, "policies decide"


FILL: LiteralString = """
    insert into public.tenants (slug, name) select 'tenant-' || n, 'T' from generate_series(1, 100) n;
    insert into public.products (id, tenant_id, sku, name)
    select gen_random_uuid(), t.id, 'SKU-' || n, 'Product' from public.tenants t, generate_series(1, 500) n;
    insert into public.stock_levels (tenant_id, product_id, location_id)
    select p.tenant_id, p.id, gen_random_uuid() from public.products p;
    analyze;
"""


async def test_a_small_range_reads_few_rows_beside_50_000(
    database: Database, db: Connection, company: Company
) -> None:
    bulk = await connect_for_bulk(database)
    await bulk.execute(FILL)
    await bulk.execute("vacuum analyze public.products, public.stock_levels")
    for entity in ("product", "stock_level"):
        copy = Copy(db, company, entity=entity)
        await copy.read()
        ids = sorted(copy.versions)
        assert len(ids) == 500
        small = Jsonb([copy.told({"after": ids[100], "through": ids[150]})])
        leaf = Jsonb([copy.told({"after": ids[100], "through": ids[150], "leaf": True})])
        async with acting_as(db, company.owner):
            await value(db, REPORT, company.tenant_id, entity, small)  # caches of the catalogue
            for sent in (small, leaf):
                touched = await pages(db, REPORT, company.tenant_id, entity, sent)
                assert touched < 300, (entity, touched)
