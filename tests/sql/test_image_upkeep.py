"""Pictures that nothing shows any more go, also from their host; what somebody needs never does."""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any

import psycopg
import pytest

from tests.databases import Connection
from tests.sql.ask import column, in_background, open_transaction, rows, rpc, value, waits_for_a_lock
from tests.sql.catalogue import product_command
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, add_product
from tests.sql.imaging import HOST, add_image, begin, begin_asset, finish, picture, state, work

DAY = timedelta(days=1)
DOOMED = "select public_id, why from private.doomed_files order by 1"
ASSETS = "select count(*) from public.image_assets"


@pytest.fixture
async def product(db: Connection, company: Company) -> uuid.UUID:
    await stop_clock(db)
    return await add_product(db, company)


@pytest.fixture
async def image(db: Connection, company: Company, product: uuid.UUID) -> uuid.UUID:
    return await add_image(db, company, product)


async def sweep(db: Connection, *, days: int = 30) -> dict[str, Any]:
    done: dict[str, Any] = await rpc(db, "sweep_images", p_keep_days=days)
    return done


async def doomed(db: Connection, host: str = HOST) -> list[str]:
    claimed: list[str] = await rpc(db, "claim_doomed_files", p_host=host)
    return claimed


async def file_of(db: Connection, asset: uuid.UUID) -> str:
    name: str = await value(db, "select public_id from public.image_assets where id = %s", asset)
    return name


async def test_what_was_replaced_goes_after_its_time_and_then_its_file(
    db: Connection, image: uuid.UUID
) -> None:
    first = await work(db, image)
    name = await file_of(db, first)
    await db.execute("update public.product_images set source_url = 'https://e.example/b.jpg'")
    await work(db, image, "b")
    await move_clock(db, 29 * DAY)
    nothing = dict.fromkeys(("versions", "products", "assets", "uploads", "stuck"), 0)
    assert await sweep(db) == {**nothing, "more": False}
    await move_clock(db, 2 * DAY)
    assert (await sweep(db))["versions"] == 1
    assert await value(db, ASSETS) == 2, "from now on nothing shows it"
    assert await doomed(db) == []
    await move_clock(db, 31 * DAY)
    assert (await sweep(db))["assets"] == 1
    assert await rows(db, DOOMED) == [(name, "unused")]
    assert await doomed(db, "cloudinary") == []
    assert await doomed(db) == [name]
    assert await doomed(db) == [], "while one worker deletes it, another does not"
    await move_clock(db, timedelta(seconds=301))
    assert await doomed(db) == [name], "that one has died"
    assert await rpc(db, "settle_doomed_files", p_host=HOST, p_public_ids=[name]) == 1
    assert await rows(db, DOOMED) == []


async def test_an_asset_is_kept_as_long_as_one_picture_shows_it(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    await work(db, image)
    twin = await add_image(db, company, product, "https://e.example/same.jpg")
    await work(db, twin)
    await db.execute("delete from public.product_images where id = %s", (image,))
    await move_clock(db, 100 * DAY)
    assert (await sweep(db))["assets"] == 0
    await db.execute("delete from public.product_images")
    await move_clock(db, 31 * DAY)
    assert (await sweep(db))["assets"] == 1


async def test_one_that_was_never_finished_goes_after_a_day(db: Connection, image: uuid.UUID) -> None:
    await begin(db, image)
    await begin_asset(db, image, 1, picture())
    await db.execute("update public.product_images set source_url = 'https://e.example/b.jpg'")
    await move_clock(db, DAY + timedelta(minutes=1))
    assert (await sweep(db))["assets"] == 1
    assert len(await doomed(db)) == 1, "the host may have it or not"


async def test_a_deleted_products_files_go_and_come_back_with_it(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    await work(db, image)
    await product_command(db, company, "delete", product)
    await move_clock(db, 29 * DAY)
    assert (await sweep(db))["products"] == 0
    await move_clock(db, 2 * DAY)
    assert (await sweep(db))["products"] == 1
    assert (await sweep(db))["products"] == 0
    await move_clock(db, 31 * DAY)
    assert (await sweep(db))["assets"] == 1
    await db.execute("delete from queue.jobs")
    await product_command(db, company, "restore", product)
    assert await value(db, "select count(*) from queue.jobs where kind = 'images.process'") == 1
    await doomed(db)
    await begin(db, image)
    assert await begin_asset(db, image, 1, picture()) == {"busy": True}, "it is being deleted at this moment"
    await move_clock(db, timedelta(minutes=11))
    await work(db, image)
    assert await state(db, image) == ("ready", None, 2)
    assert await rows(db, DOOMED) == []


@pytest.mark.parametrize("how", ["product", "tenant"])
async def test_whatever_deletes_rows_dooms_files(
    db: Connection, company: Company, image: uuid.UUID, how: str
) -> None:
    name = await file_of(db, await work(db, image))
    if how == "product":
        await db.execute("delete from public.products")
        await move_clock(db, 31 * DAY)
        await sweep(db)
    else:
        await db.execute("delete from public.product_images")
        await db.execute("delete from public.image_assets")
    assert await rows(db, DOOMED) == [(name, "unused")]


async def test_an_upload_that_is_not_needed_goes_after_a_day(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    path = f"{company.tenant_id}/a.jpg"
    add = "insert into public.product_images (tenant_id, product_id, upload_path) values (%s, %s, %s)"
    await db.execute(add, (company.tenant_id, product, path))
    await db.execute(add, (company.tenant_id, product, path))
    await db.execute(
        "delete from public.product_images where ctid = (select min(ctid) from public.product_images)"
    )
    assert await doomed(db, "upload") == [], "another picture has it, too"
    elsewhere = "update public.product_images set upload_path = null, source_url = 'https://e.example/a'"
    await db.execute(elsewhere)
    assert await doomed(db, "upload") == [], "it may be named again, or uploaded anew"
    back = "update public.product_images set source_url = null, upload_path = %s"
    await db.execute(back, (path,))
    assert await rows(db, DOOMED) == []
    await db.execute(elsewhere)
    await move_clock(db, DAY)
    assert await doomed(db, "upload") == [path]
    with pytest.raises(psycopg.Error, match=r"image\.upload_going"):
        await db.execute(back, (path,))


async def test_an_upload_that_came_anew_is_another(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    path = f"{company.tenant_id}/a.jpg"
    add = "insert into public.product_images (tenant_id, product_id, upload_path) values (%s, %s, %s)"
    await db.execute(add, (company.tenant_id, product, path))
    await db.execute("delete from public.product_images")
    await move_clock(db, timedelta(hours=23))
    await db.execute(
        "insert into storage.objects (bucket_id, name, created_at, updated_at)"
        " values ('product-images', %s, private.now(), private.now())",
        (path,),
    )
    await move_clock(db, timedelta(hours=2))
    assert await doomed(db, "upload") == []
    assert await rows(db, DOOMED) == []


async def test_an_upload_that_no_picture_names_goes_after_a_day(
    db: Connection, company: Company, product: uuid.UUID
) -> None:
    paths = [f"{company.tenant_id}/{name}.jpg" for name in ("named", "forgotten")]
    await db.execute(
        "insert into storage.objects (bucket_id, name, created_at, updated_at)"
        " select 'product-images', path, private.now(), private.now() from unnest(%s::text[]) path",
        (paths,),
    )
    add = "insert into public.product_images (tenant_id, product_id, upload_path) values (%s, %s, %s)"
    await db.execute(add, (company.tenant_id, product, paths[0]))
    await move_clock(db, timedelta(hours=23))
    assert (await sweep(db))["uploads"] == 0
    assert (await sweep(db))["uploads"] == 0
    await move_clock(db, timedelta(hours=2))
    # a walk of one at a time, and from the beginning again
    looks = [await rpc(db, "sweep_images", p_limit=1) for _ in range(4)]
    assert sorted(each["uploads"] for each in looks) == [0, 0, 0, 1]
    assert await doomed(db, "upload") == []
    await move_clock(db, DAY)
    assert await doomed(db, "upload") == paths[1:]


async def test_a_file_that_somebody_else_deleted_is_made_again(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    name = await file_of(db, await work(db, image))
    await work(db, await add_image(db, company, product, "https://e.example/b.jpg"), "b")
    lost = {"p_host": HOST, "p_public_ids": [name, "unknown/0"]}
    [stored] = await column(db, "select stored_at from public.image_assets where public_id = %s", name)
    assert await rpc(db, "lose_files", **lost, p_told_at=stored) == 0, "that was of another, before"
    assert await rpc(db, "lose_files", **lost, p_told_at=stored + timedelta(seconds=1)) == 1
    assert await rpc(db, "lose_files", **lost, p_told_at=stored + timedelta(seconds=1)) == 0
    assert await state(db, image) == ("pending", None, 1)
    await begin(db, image)
    assert (await begin_asset(db, image, 2, picture()))["stored"] is False
    await work(db, image)
    assert await state(db, image) == ("ready", None, 1)


async def test_what_nobody_here_knows_waits_a_day_and_is_let_off_when_it_becomes_known(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    known = await file_of(db, await work(db, image))
    mine = [f"{company.tenant_id}/{picture(content)['sha256']}" for content in ("lost", "found")]
    told = [known, *mine, f"{uuid.uuid4()}/of-another-project", "holiday.jpg"]
    assert await rpc(db, "judge_files", p_host=HOST, p_public_ids=told) == 2
    assert await rpc(db, "judge_files", p_host=HOST, p_public_ids=told) == 0
    assert await rows(db, DOOMED) == sorted((name, "unknown") for name in mine)
    assert await doomed(db) == []
    await move_clock(db, timedelta(hours=23))
    await work(db, await add_image(db, company, product, "https://e.example/found.jpg"), "found")
    await move_clock(db, timedelta(hours=2))
    assert await doomed(db) == mine[:1]


async def test_a_file_is_not_deleted_while_somebody_begins_to_need_it(
    db: Connection, other: Connection, third: Connection, image: uuid.UUID
) -> None:
    """Its asset is deleted while another picture waits to have it. The naive order, which looks among the
    doomed before it writes the asset, would leave the file to whoever deletes."""
    await work(db, image)
    await db.execute("update public.product_images set source_url = 'https://e.example/b.jpg'")
    await db.execute("update public.product_images set asset_id = null, urls = '{}'")
    await db.execute("delete from public.product_image_versions")
    await begin(db, image)
    await move_clock(db, 31 * DAY)
    async with open_transaction(other):
        async with open_transaction(db):
            assert (await sweep(db))["assets"] == 1
            async with in_background(begin_asset(other, image, 2, picture())) as asked:
                await waits_for_a_lock(third, other)
                await db.commit()
                assert (await asked)["stored"] is False
        assert await doomed(db) == [], "it is not known to others yet that it is needed"
        await other.commit()
    assert await doomed(db) == []
    assert await rows(db, DOOMED) == []


async def test_the_last_version_goes_while_another_is_made(
    db: Connection,
    other: Connection,
    third: Connection,
    company: Company,
    product: uuid.UUID,
    image: uuid.UUID,
) -> None:
    asset = await work(db, image)
    twin = await add_image(db, company, product, "https://e.example/same.jpg")
    await begin(db, twin)
    await begin_asset(db, twin, 1, picture())
    async with open_transaction(db):
        await finish(db, twin, 1, str(asset))
        gone = other.execute("delete from public.product_images where id = %s", (image,))
        async with in_background(gone):
            await waits_for_a_lock(third, other)
            await db.commit()
    assert await value(db, "select unused_since from public.image_assets") is None
    await move_clock(db, 100 * DAY)
    assert (await sweep(db))["assets"] == 0


async def test_a_picture_whose_job_is_lost_is_worked_on_and_one_whose_job_was_buried_says_why(
    db: Connection, company: Company, product: uuid.UUID, image: uuid.UUID
) -> None:
    buried, waiting = [await add_image(db, company, product, f"https://e.example/{n}") for n in "bw"]
    for each in (image, buried, waiting):
        await begin(db, each)
    job = "delete from queue.jobs where payload ->> 'image_id' = %s"
    await db.execute(job, (str(image),))
    await db.execute(
        "update queue.jobs set state = 'buried', last_error = 'the worker died'"
        " where payload ->> 'image_id' = %s",
        (str(buried),),
    )
    assert (await sweep(db))["stuck"] == 0, "it may be on its way"
    await move_clock(db, timedelta(minutes=16))
    assert (await sweep(db))["stuck"] == 2
    assert await state(db, buried) == ("failed", "image.given_up", 0)
    jobs = "select payload ->> 'image_id' from queue.jobs where state = 'waiting'"
    assert sorted(await column(db, jobs)) == sorted([str(image), str(waiting)])
