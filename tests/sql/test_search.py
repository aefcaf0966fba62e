"""Search and paging: what is found, in which order, and at which cost beside 60,000 other products."""

from __future__ import annotations

import uuid
from typing import Any, LiteralString

import psycopg
import pytest

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, rpc, value
from tests.sql.catalogue import command
from tests.sql.company import Company, add_member, add_product, add_products, found_company, rename
from tests.sql.plans import connect_for_bulk, nodes, pages


async def search(
    db: Connection, company: Company, query: str | None = None, **options: Any
) -> dict[str, Any]:
    if options.get("p_after") is None:
        options.pop("p_after", None)
    answer: dict[str, Any] = await command(db, company, "search_products", p_query=query, **options)
    return answer


async def skus(db: Connection, company: Company, query: str | None = None, **options: Any) -> list[str]:
    return [row["sku"] for row in (await search(db, company, query, **options))["rows"]]


async def add(db: Connection, company: Company, sku: str, name: str, description: str = "") -> uuid.UUID:
    product = await add_product(db, company, sku, name)
    await db.execute("update public.products set description = %s where id = %s", (description, product))
    return product


async def test_words_are_found_whole_and_by_their_beginning(db: Connection, company: Company) -> None:
    await add(db, company, "AB-12", "Blåbær Tee", "Warm <b>merino</b>, 62 %")
    for query in ("ab-12", "AB12", "ab", "12", "blåb", "BLÅBÆR tee", "meri ab", "62", "tee warm", "t"):
        assert await skus(db, company, query) == ["AB-12"], query
    for query in ("lueberry", "12-abc", "ee", "merino wool"):
        assert await skus(db, company, query) == [], query


async def test_a_sku_counts_more_than_a_name_and_a_name_more_than_words(
    db: Connection, company: Company
) -> None:
    await add(db, company, "A", "Sock", "Goes with boots")
    await add(db, company, "BOOTS", "Leather")
    await add(db, company, "C", "Boots")
    await add(db, company, "D", "Laces")
    assert await skus(db, company, "boots") == ["BOOTS", "C", "A"]
    assert await skus(db, company, "boots", p_order="newest") == ["C", "BOOTS", "A"]
    assert await skus(db, company) == ["D", "C", "BOOTS", "A"]


async def test_it_follows_every_change(db: Connection, company: Company) -> None:
    product = await add(db, company, "A", "Sock")
    await rename(db, product, "Glove")
    assert (await skus(db, company, "sock"), await skus(db, company, "glove")) == ([], ["A"])
    mark: LiteralString = "update public.products set deleted_at = "
    await db.execute(mark + "now()")
    assert await skus(db, company, "glove") == []
    assert await skus(db, company) == []
    await db.execute(mark + "null")
    assert await skus(db, company, "glove") == ["A"]
    await db.execute("delete from public.products")
    assert await value(db, "select count(*) from private.product_words") == 0


@pytest.mark.parametrize("order", ["relevance", "newest"])
@pytest.mark.parametrize("query", [None, "product"])
async def test_pages_are_complete_and_stay_so_while_rows_come(
    db: Connection, company: Company, query: str | None, order: str
) -> None:
    await add_products(db, company, 25)
    await db.execute("update public.products set description = 'product' where sku like '%%1'")
    seen: list[str] = []
    after = None
    for page in range(10):
        answer = await search(db, company, query, p_after=after, p_limit=4, p_order=order)
        seen += [row["sku"] for row in answer["rows"]]
        after = answer["next"]
        if after is None:
            break
        await add_product(db, company, f"LATE-{page}", "Late")
    assert page == 6
    assert sorted(seen) == sorted(f"SKU-{number}" for number in range(1, 26))


async def test_filters(db: Connection, company: Company) -> None:
    await add_products(db, company, 4)
    top = await value(
        db,
        "insert into public.categories (tenant_id, name, slug) values (%s, 'A', 'a') returning id",
        company.tenant_id,
    )
    below = await value(
        db,
        "insert into public.categories (tenant_id, parent_id, name, slug)"
        " values (%s, %s, 'B', 'b') returning id",
        company.tenant_id,
        top,
    )
    await db.execute("update public.products set category_id = %s where sku = 'SKU-1'", (top,))
    await db.execute("update public.products set category_id = %s where sku = 'SKU-2'", (below,))
    await db.execute("update public.products set status = 'archived' where sku in ('SKU-2', 'SKU-3')")
    for query in (None, "product"):
        assert sorted(await skus(db, company, query, p_category_id=top)) == ["SKU-1", "SKU-2"]
        assert await skus(db, company, query, p_category_id=below, p_status="archived") == ["SKU-2"]
        assert await skus(db, company, query, p_category_id=uuid.uuid4()) == []


async def test_members_find_and_strangers_do_not(db: Connection, company: Company) -> None:
    rival = await found_company(db, "rival")
    await add(db, rival, "THEIRS", "Sock")
    await add(db, company, "MINE", "Sock")
    assert await skus(db, company, "sock", who=await add_member(db, company, "viewer")) == ["MINE"]
    with pytest.raises(psycopg.Error, match=r"tenant\.not_found"):
        await search(db, company, "sock", who=rival.owner)
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        async with acting_as(db, company.owner):
            await db.execute("select * from private.product_words")


async def test_bad_questions_are_refused(db: Connection, company: Company) -> None:
    for bad in ("---", "a " * 150, " ".join(f"w{number}" for number in range(11))):
        with pytest.raises(psycopg.Error, match=r"search\.query_invalid"):
            await search(db, company, bad)
    for limit in (0, 501, -1):
        with pytest.raises(psycopg.Error, match=r"search\.limit_invalid"):
            await search(db, company, p_limit=limit)
    with pytest.raises(psycopg.Error, match=r"search\.order_unknown"):
        await search(db, company, p_order="best")
    for cursor in ({"id": "x"}, {"rank": 1}, {"rank": "a", "created_at": "b", "id": "c"}):
        with pytest.raises(psycopg.Error, match=r"search\.cursor_invalid"):
            await search(db, company, p_after=cursor)
    await add(db, company, "A", "O'Neill \\ & | ! : * ( ) <->")
    assert await skus(db, company, "o'neill:* & | ! \\ (") == ["A"]


async def test_events_carry_no_search_words(db: Connection, company: Company) -> None:
    await add(db, company, "A", "Sock")
    await rpc(db, "dispatch_outbox")
    for body in await column(
        db, "select body::jsonb -> 'data' -> 'object' from public.events where entity = 'product'"
    ):
        assert not {"search", "words"} & set(body)


# -- plans ---------------------------------------------------------------------------------------------------

FILL: LiteralString = """
    insert into public.tenants (slug, name) select 'tenant-' || n, 'T' from generate_series(1, 100) n;
    insert into public.products (tenant_id, sku, name, created_at)
    select t.id, 'SKU-' || n, 'Product ' || n, timestamptz '2026-01-01' + n * interval '1 second'
    from public.tenants t, generate_series(1, 400) n where t.slug like 'tenant-%';
    insert into public.products (tenant_id, sku, name, created_at)
    select t.id, 'SKU-' || n, 'Product ' || n, timestamptz '2026-01-01' + n * interval '1 second'
    from public.tenants t, generate_series(1, 20000) n where t.slug = 'acme';
    insert into private.product_words (product_id, words)
    select p.id, private.product_vector(p.tenant_id, p.sku, p.name, '') from public.products p;
    analyze public.products, private.product_words, public.memberships;
"""
PAGE: LiteralString = (
    "select * from public.products where tenant_id = %s and deleted_at is null"
    " and (created_at, id) < (%s, %s) order by created_at desc, id desc limit 50"
)


async def test_pages_and_searches_touch_little_of_what_lies_beside(
    database: Database, db: Connection, company: Company
) -> None:
    """A tenant of 20,000 products among 100 of 400 each."""
    bulk = await connect_for_bulk(database)
    await bulk.execute(FILL)
    middle = ("2026-01-01 02:00+00", uuid.UUID(int=0))
    call: LiteralString = "select public.search_products(%s, p_query => %s, p_order => %s)"
    async with acting_as(bulk, company.owner):
        plan = await nodes(bulk, PAGE, company.tenant_id, *middle)
        assert "products_living_by_age" in {node.get("Index Name") for node in plan}
        assert "Sort" not in {node["Node Type"] for node in plan}
        assert await pages(bulk, PAGE, company.tenant_id, *middle) < 300
        rare = await pages(bulk, call, company.tenant_id, "SKU-19999", "relevance")
        common = await pages(bulk, call, company.tenant_id, "product", "newest")
        listed = await pages(bulk, call, company.tenant_id, None, "newest")
    assert max(rare, common, listed) < 1500, (rare, common, listed)
    whole = await value(bulk, "select pg_relation_size('public.products') / 8192")
    assert whole > 700, "the limits above mean something"
