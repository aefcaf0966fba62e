"""Pictures: what the worker is told and tells, and what people may do with them."""

from __future__ import annotations

import uuid
from typing import Any

import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.sql.ask import call, column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.catalogue import details, product_command
from tests.sql.company import Company, add_member, add_product, found_company
from tests.sql.imaging import URLS, add_image, begin, begin_asset, finish, picture, state, work

JOBS = "select payload ->> 'image_id' from queue.jobs where kind = 'images.process' order by id"
ERROR = {"code": "image.source_refused", "detail": "It answered 404."}


@pytest.fixture
async def product(db: Connection, company: Company) -> uuid.UUID:
    return await add_product(db, company)


@pytest.fixture
async def image(db: Connection, company: Company, product: uuid.UUID) -> uuid.UUID:
    return await add_image(db, company, product)


async def test_a_new_picture_is_work_and_goes_through(db: Connection, image: uuid.UUID) -> None:
    assert await column(db, JOBS) == [str(image)]
    task = await begin(db, image)
    assert task["source_url"] == "https://e.example/a.jpg"
    assert await state(db, image) == ("fetching", None, 0)
    assert await rpc(db, "image_fetched", p_image_id=image, p_revision=1)
    assert await state(db, image) == ("processing", None, 0)
    asset = await begin_asset(db, image, 1, picture())
    assert asset["stored"] is False
    assert asset["public_id"] == f"{task['tenant_id']}/{picture()['sha256']}"
    assert await finish(db, image, 1, asset["asset_id"])
    assert await state(db, image) == ("ready", None, 1)
    told = await rows(db, "select urls, width, height, blurhash from public.product_images")
    assert told == [(URLS, 640, 480, picture()["blurhash"])]
    assert await begin(db, image) is None, "a job that is delivered twice finds nothing to do"


async def test_what_ended_or_was_replaced_hears_nothing_of_an_old_attempt(
    db: Connection, image: uuid.UUID
) -> None:
    await begin(db, image)
    asset = await begin_asset(db, image, 1, picture())
    await db.execute("update public.product_images set source_url = 'https://e.example/b.jpg'")
    assert await state(db, image) == ("pending", None, 0)
    late = {"p_image_id": image, "p_revision": 1}
    assert not await finish(db, image, 1, asset["asset_id"])
    assert not await rpc(db, "image_fetched", **late)
    assert not await rpc(db, "image_troubled", **late, p_error=ERROR)
    assert not await rpc(db, "fail_image", **late, p_status="failed", p_error=ERROR)
    assert await begin_asset(db, image, 1, picture()) is None
    assert await state(db, image) == ("pending", None, 0)
    await work(db, image, "b")
    assert not await rpc(db, "fail_image", p_image_id=image, p_revision=2, p_status="failed", p_error=ERROR)
    assert await state(db, image) == ("ready", None, 1), "a slow twin cannot undo it"


async def test_another_source_is_another_job_though_one_runs(db: Connection, image: uuid.UUID) -> None:
    await rpc(db, "claim_jobs", p_worker="w", p_kinds=["images.process"], p_limit=1)
    await db.execute("update public.product_images set source_url = 'https://e.example/b.jpg'")
    assert len(await column(db, JOBS)) == 2
    await db.execute("update public.product_images set alt_text = 'A boot'")
    assert len(await column(db, JOBS)) == 2


async def test_another_source_waits_for_nothing_that_the_former_waits_for(
    db: Connection, image: uuid.UUID
) -> None:
    """Its job is another: with the former's, it would have its pause, and what is left of its attempts."""
    await db.execute("update queue.jobs set attempt = 19, due_at = now() + interval '1 h'")
    await db.execute("update public.product_images set source_url = 'https://e.example/b.jpg'")
    jobs = "select payload -> 'revision', attempt, due_at <= private.now() from queue.jobs order by id"
    assert await rows(db, jobs) == [(1, 19, False), (2, 0, True)]
    assert await rpc(db, "begin_image", p_image_id=image, p_revision=1) is None, "it is overtaken"
    assert (await rpc(db, "begin_image", p_image_id=image, p_revision=2))["crashes"] == 0


async def test_a_file_that_was_lost_before_the_end_is_stored_again(db: Connection, image: uuid.UUID) -> None:
    asset = await work(db, image)
    await db.execute("update public.product_images set source_revision = 2")
    await begin(db, image)
    assert (await begin_asset(db, image, 2, picture()))["stored"] is True
    await db.execute("update public.image_assets set stored_at = null, urls = '{}'")
    told = {"p_image_id": image, "p_revision": 2, "p_asset_id": asset, "p_urls": None}
    assert await rpc(db, "finish_image", **told) is False
    await work(db, image)


async def test_what_it_showed_is_shown_until_the_new_one_is_ready_and_stays_a_version(
    db: Connection, image: uuid.UUID
) -> None:
    first = await work(db, image)
    await db.execute("update public.product_images set source_url = 'https://e.example/b.jpg'")
    shown = "select asset_id, urls from public.product_images"
    assert await rows(db, shown) == [(first, URLS)]
    await begin(db, image)
    await rpc(db, "fail_image", p_image_id=image, p_revision=2, p_status="failed", p_error=ERROR)
    assert await state(db, image) == ("failed", "image.source_refused", 1)
    assert await rows(db, shown) == [(first, URLS)], "a replacement that fails takes nothing away"
    await db.execute("update public.product_images set source_url = 'https://e.example/c.jpg'")
    second = await work(db, image, "c")
    versions = await rows(
        db,
        "select number, asset_id, source_url, retired_at is null from public.product_image_versions"
        " order by 1",
    )
    assert versions == [
        (1, first, "https://e.example/a.jpg", False),
        (2, second, "https://e.example/c.jpg", True),
    ]


async def test_the_same_bytes_are_stored_once(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    first = await work(db, image)
    twin = await add_image(db, company, product, "https://e.example/same.jpg")
    await begin(db, twin)
    told = await begin_asset(db, twin, 1, picture())
    assert (told["asset_id"], told["stored"]) == (str(first), True)
    assert await rpc(db, "finish_image", p_image_id=twin, p_revision=1, p_asset_id=first, p_urls=None)
    assert await column(db, "select urls from public.product_images") == [URLS, URLS]
    other = await found_company(db, "rival")
    theirs = await add_image(db, other, await add_product(db, other))
    await begin(db, theirs)
    told = await begin_asset(db, theirs, 1, picture())
    assert told["stored"] is False, "tenants share nothing"


async def test_a_retry_works_it_anew_and_makes_no_version_of_the_same(
    db: Connection, company: Company, image: uuid.UUID
) -> None:
    await work(db, image)
    async with acting_as(db, company.owner):
        await call(db, "public", "retry_image", p_tenant_id=company.tenant_id, p_image_id=image)
    assert await state(db, image) == ("pending", None, 1)
    await work(db, image)
    assert await state(db, image) == ("ready", None, 1)
    assert await value(db, "select count(*) from public.product_image_versions") == 1


async def test_trouble_is_told_while_it_waits(db: Connection, image: uuid.UUID) -> None:
    await begin(db, image)
    assert await rpc(db, "image_troubled", p_image_id=image, p_revision=1, p_error=ERROR)
    assert await state(db, image) == ("pending", "image.source_refused", 0)
    assert len(await column(db, JOBS)) == 1, "the job that has the trouble comes back by itself"
    await work(db, image)
    assert await state(db, image) == ("ready", None, 1)


async def test_pictures_that_look_alike_are_told(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    await work(db, image, "boot", looks="00000000000000ff")
    near, far = [await add_image(db, company, product, f"https://e.example/{n}") for n in "nf"]
    await work(db, near, "nearly", looks="000000000000003f")
    await work(db, far, "far", looks="ffffffff000000ff")
    warned = "select warnings from public.product_images where id = %s"
    [warning] = await value(db, warned, near)
    assert warning["code"] == "image.near_duplicate"
    assert warning["image_id"] == str(image)
    assert "SHIRT" in warning["detail"]
    assert await value(db, warned, far) == []


async def test_nobody_works_for_a_deleted_product_and_one_that_is_back_gets_its_pictures(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    await product_command(db, company, "delete", product)
    assert await begin(db, image) is None
    await db.execute("delete from queue.jobs")
    await db.execute("update public.product_images set status = 'fetching'")
    await product_command(db, company, "restore", product)
    assert await column(db, JOBS) == [str(image)]
    await work(db, image)


async def test_an_upload_is_of_ones_own_tenant(db: Connection, company: Company, product: uuid.UUID) -> None:
    add = "insert into public.product_images (tenant_id, product_id, upload_path) values (%s, %s, %s)"
    mine, theirs = company.tenant_id, uuid.uuid4()
    for path in (
        f"{theirs}/a.jpg",
        f"{mine}/../{theirs}/a.jpg",
        f"{mine}",
        f"{mine}//a",
        f"/{mine}/a",
        "a.jpg",
    ):
        with pytest.raises(psycopg.errors.CheckViolation, match="upload_in_tenant"):
            await db.execute(add, (mine, product, path))
    await db.execute(add, (mine, product, f"{mine}/a.b/c..jpg"))
    with pytest.raises(psycopg.errors.CheckViolation, match="one_source"):
        await db.execute("update public.product_images set source_url = 'https://e.example/a'")


@pytest.mark.parametrize("role", ["clerk", "viewer"])
async def test_who_may_not_change_products_may_not_change_their_pictures(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID, role: str
) -> None:
    member = await add_member(db, company, role)
    tenant = {"p_tenant_id": company.tenant_id}
    for name, arguments in (
        ("retry_image", {"p_image_id": image}),
        ("arrange_images", {"p_product_id": product, "p_image_ids": [image]}),
    ):
        with pytest.raises(psycopg.Error, match=r"access\.denied"):
            async with acting_as(db, member):
                await call(db, "public", name, **tenant, **arguments)


async def test_pictures_are_put_in_order_and_the_first_is_the_primary_one(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    others = [await add_image(db, company, product, f"https://e.example/{n}") for n in range(2)]
    order = [others[1], image, others[0]]
    arguments: dict[str, Any] = {"p_tenant_id": company.tenant_id, "p_product_id": product}
    async with acting_as(db, company.owner):
        await call(db, "public", "arrange_images", **arguments, p_image_ids=order)
        placed = "select id from public.product_images order by position"
        assert await column(db, placed) == order
        primary = "select (public.primary_image(p)).id from public.products p where p.id = %s"
        assert await value(db, primary, product) == order[0]
    for wrong in (order[:2], [*order, order[0]], [*order[:2], uuid.uuid4()], [], None):
        with pytest.raises(psycopg.Error, match=r"image\.list_differs"):
            async with acting_as(db, company.owner):
                await call(db, "public", "arrange_images", **arguments, p_image_ids=wrong)


async def test_what_is_published_has_words_for_who_cannot_see(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    await db.execute("update public.products set price = 5")
    for text in (None, " "):
        await db.execute("update public.product_images set alt_text = %s", (text,))
        with pytest.raises(psycopg.Error) as refused:
            await product_command(db, company, "publish", product)
        assert [failure["code"] for failure in details(refused.value)] == ["publish.alt_text_missing"]
    await db.execute("update public.product_images set alt_text = 'A shirt'")
    await product_command(db, company, "publish", product)
    await add_image(db, company, product, "https://e.example/b.jpg")
    await db.execute("update public.products set name = 'Still to be edited'")


async def test_a_product_has_so_many_pictures_and_no_more(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    await db.execute(
        "insert into public.product_images (tenant_id, product_id, source_url)"
        " select %s, %s, 'https://e.example/' || n from generate_series(2, 250) n",
        (company.tenant_id, product),
    )
    with pytest.raises(psycopg.Error, match=r"image\.too_many"):
        await add_image(db, company, product)


async def test_of_two_that_finish_the_same_picture_one_makes_the_version(
    db: Connection, other: Connection, third: Connection, image: uuid.UUID
) -> None:
    await begin(db, image)
    asset = await begin_asset(db, image, 1, picture())
    async with open_transaction(db):
        await finish(db, image, 1, asset["asset_id"])
        async with in_background(finish(other, image, 1, asset["asset_id"])) as twin:
            await waits_for_a_lock(third, other)
            await db.commit()
            assert await twin is False
    assert await value(db, "select count(*) from public.product_image_versions") == 1


async def test_what_a_webhook_hears(db: Connection, company: Company, image: uuid.UUID) -> None:
    await work(db, image)
    await db.execute("update public.product_images set alt_text = 'A boot'")
    await rpc(db, "dispatch_outbox")
    told = "select type from public.events where entity = 'product_image' order by seq"
    assert await column(db, told) == [
        "product_image.created", "product_image.fetching", "product_image.ready", "product_image.updated",
    ]  # fmt: skip
    quiet = "select verb from private.event_map where entity = 'product_image' and not webhooks order by 1"
    assert await column(db, quiet) == ["fetching", "processing"]


async def test_members_see_what_is_shown_and_strangers_do_not(
    db: Connection, company: Company, image: uuid.UUID
) -> None:
    await work(db, image)
    stranger = await found_company(db, "rival")
    for who, count in ((await add_member(db, company, "viewer"), 1), (stranger.owner, 0)):
        for table in ("image_assets", "product_image_versions", "product_images"):
            async with acting_as(db, who):
                assert await value(db, f"select count(*) from public.{table}") == count
