"""`pms-worker import` and `export` against the real database."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from pathlib import Path

import httpx
import pytest

from tests.catalogue.conftest import ROOT, PmsWorker
from tests.catalogue.sheets import item, line, sheet
from tests.eventually import eventually
from tests.people import People, Tenant

DEMO = ROOT / "tests/demo/catalogue.csv"


async def test_import_twice_then_export_gives_the_same_file(
    pms_worker: PmsWorker, tenant: Tenant, service: httpx.AsyncClient, tmp_path: Path
) -> None:
    first = await pms_worker("import", DEMO, "--tenant", tenant.slug)
    assert first.code == 1, first.err
    assert "29 imported, 2 refused" in first.out
    assert "33 created, 0 updated, 0 unchanged" in first.out
    assert "596 pieces received" in first.out
    assert 'line 20, Variant Inventory Qty: "-4" is negative' in first.err
    assert 'line 26, Variant Price: "forty-two" is not a price' in first.err

    before = await _versions(service, tenant)
    second = await pms_worker("import", DEMO, "--tenant", tenant.slug)
    assert "0 created, 0 updated, 33 unchanged" in second.out
    assert "0 pieces received" in second.out
    assert await _versions(service, tenant) == before

    copy = tmp_path / "copy.csv"
    ended = await pms_worker("export", copy, "--tenant", tenant.slug)
    assert ended.code == 0, ended.err
    lines = DEMO.read_bytes().splitlines(keepends=True)
    assert copy.read_bytes() == b"".join(line for n, line in enumerate(lines, 1) if n not in (20, 26))
    assert os.listdir(tmp_path) == ["copy.csv"]


async def test_what_the_pms_sees_of_an_import(
    pms_worker: PmsWorker, tenant: Tenant, people: People, tmp_path: Path
) -> None:
    file = tmp_path / "two.csv"
    file.write_text(
        sheet(
            item("mug", "Mug", Option1_Name="Size", Option1_Value="S", Variant_Inventory_Qty="3",
                 Status="active", Image_Src="https://e.x/1.jpg", Image_Position="1", Image_Alt_Text="A mug"),
            line("mug", Option1_Value="L", Variant_Price="12.50", Variant_SKU="MUG-L"),
        )
    )  # fmt: skip
    ended = await pms_worker("import", file, "--tenant", tenant.slug, "--location", "Oslo-1")
    assert ended.code == 0, ended.err
    assert "location Oslo-1 is not there yet" in ended.err
    select = "id,sku,price,status,parent_id,product_images(alt_text),stock_levels(on_hand,locations(code))"
    answer = await people.rest(tenant.owner).get("/products", params={"select": select})
    seen = {row["sku"]: row for row in answer.raise_for_status().json()}
    mug, small, large = seen["mug"], seen["mug-s"], seen["MUG-L"]
    assert (mug["parent_id"], small["parent_id"], large["parent_id"]) == (None, mug["id"], mug["id"])
    assert [row["price"] for row in (mug, small, large)] == [9.9, 9.9, 12.5]
    assert {row["status"] for row in (mug, small, large)} == {"active"}
    assert mug["product_images"] == [{"alt_text": "A mug"}]
    assert [row["stock_levels"] for row in (mug, large)] == [[], []]
    assert small["stock_levels"] == [{"on_hand": 3, "locations": {"code": "Oslo-1"}}]


async def test_a_dry_run_checks_everything_and_writes_nothing(
    pms_worker: PmsWorker, tenant: Tenant, service: httpx.AsyncClient
) -> None:
    ended = await pms_worker("import", DEMO, "--tenant", tenant.slug, "--dry-run")
    assert ended.code == 1, ended.err
    assert "nothing was written" in ended.out
    assert "29 good, 2 would be refused" in ended.out
    assert "33 new, 0 there already" in ended.out
    assert "would be refused: line 20" in ended.err
    for table in ("products", "locations", "stock_movements"):
        assert await _count(service, table, tenant) == 0
    await pms_worker("import", DEMO, "--tenant", tenant.slug)
    again = await pms_worker("import", DEMO, "--tenant", tenant.slug, "--dry-run")
    assert "0 new, 33 there already" in again.out


async def test_a_dry_run_refuses_what_the_import_refuses_a_variant_of_nothing(
    pms_worker: PmsWorker, tenant: Tenant, tmp_path: Path
) -> None:
    first, then = tmp_path / "first.jsonl", tmp_path / "then.jsonl"
    first.write_text('{"sku": "there", "name": "There", "price": "1"}\n')
    assert (await pms_worker("import", first, "--tenant", tenant.slug)).code == 0
    rows = [
        {"sku": "there-1", "parent_sku": "there", "name": "Of the catalogue", "price": "1"},
        {"sku": "nowhere-1", "parent_sku": "nowhere", "name": "Of nothing", "price": "1"},
        {"sku": "new", "name": "New", "price": "1"},
        {"sku": "new-1", "parent_sku": "new", "name": "Of the file", "price": "1"},
    ]
    then.write_text("".join(json.dumps(row) + "\n" for row in rows))
    rehearsed = await pms_worker("import", then, "--tenant", tenant.slug, "--dry-run")
    assert rehearsed.code == 1
    assert "3 good, 1 would be refused" in rehearsed.out
    assert "3 new, 0 there already" in rehearsed.out
    assert "would be refused: line 2, parent_sku: there is no product" in rehearsed.err
    imported = await pms_worker("import", then, "--tenant", tenant.slug)
    assert imported.code == 1
    assert "3 imported, 1 refused" in imported.out


async def test_skus_of_any_letters_are_found_again(
    pms_worker: PmsWorker, tenant: Tenant, tmp_path: Path
) -> None:
    skus = [
        'a"b',
        "a,b",
        "a\\b",
        "(x)",
        "a b",
        "ÅÄ-1",
        "100%",
        "a.b:c",
        "null",
        "*",
        "&x=1#?",
        "'",
        "{}",
        "+1",
    ]
    file = tmp_path / "odd.csv"
    file.write_text(sheet(*(item(f"p-{n}", Variant_SKU=sku) for n, sku in enumerate(skus))))
    assert (await pms_worker("import", file, "--tenant", tenant.slug)).code == 0
    ended = await pms_worker("import", file, "--tenant", tenant.slug, "--dry-run")
    assert f"0 new, {len(skus)} there already" in ended.out


MANY = 2_000
"""Rows that take long enough to be stopped in the middle, on a busy machine too."""


@pytest.mark.parametrize("stop", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
async def test_stopped_in_the_middle_and_run_again_ends_in_the_same_state(
    pms_worker: PmsWorker, tenant: Tenant, service: httpx.AsyncClient, tmp_path: Path, stop: signal.Signals
) -> None:
    file, copy = tmp_path / "many.csv", tmp_path / "copy.csv"
    items = (item(f"p-{n}", f"Product {n}", Variant_Inventory_Qty=str(n % 7 + 1)) for n in range(MANY))
    file.write_text(sheet(*items))
    process = await pms_worker.start("import", file, "--tenant", tenant.slug)

    async def some() -> bool:
        return await _count(service, "products", tenant) > 0

    await eventually(some, 30)
    process.send_signal(stop)
    _, err = await process.communicate()
    if stop == signal.SIGKILL:
        assert process.returncode == -stop, "it was done before it could be killed"
    else:
        assert (process.returncode, b"importing the file again is safe" in err) == (1, True)
        assert b"Traceback" not in err

    ended = await pms_worker("import", file, "--tenant", tenant.slug)
    assert ended.code == 0, ended.err
    assert f"{MANY:,} imported, 0 refused" in ended.out
    await pms_worker("export", copy, "--tenant", tenant.slug)
    assert copy.read_text() == file.read_text()
    assert await _count(service, "stock_movements", tenant) == MANY


async def test_two_at_once_count_once(
    pms_worker: PmsWorker, tenant: Tenant, service: httpx.AsyncClient, tmp_path: Path
) -> None:
    file, copy = tmp_path / "many.csv", tmp_path / "copy.csv"
    file.write_text(sheet(*(item(f"p-{n}", Variant_Inventory_Qty="2") for n in range(500))))
    both = await asyncio.gather(*(pms_worker("import", file, "--tenant", tenant.slug) for _ in range(2)))
    assert [ended.code for ended in both] == [0, 0], [ended.err for ended in both]
    await pms_worker("export", copy, "--tenant", tenant.slug)
    assert copy.read_text() == file.read_text()
    assert await _count(service, "stock_movements", tenant) == 500


async def test_an_edited_file_updates_what_changed_and_receives_anew_unless_told_not_to(
    pms_worker: PmsWorker, tenant: Tenant, tmp_path: Path
) -> None:
    file = tmp_path / "file.csv"
    file.write_text(sheet(*(item(name, Variant_Inventory_Qty="2") for name in "abc")))
    await pms_worker("import", file, "--tenant", tenant.slug)
    file.write_text(sheet(*(item(name, Variant_Inventory_Qty="2") for name in ("new", *"abc"))))
    quiet = await pms_worker("import", file, "--tenant", tenant.slug, "--no-stock")
    assert "1 created, 1 updated, 2 unchanged" in quiet.out
    assert "0 pieces received" in quiet.out
    loud = await pms_worker("import", file, "--tenant", tenant.slug)
    assert "8 pieces received" in loud.out


async def test_pictures_that_the_pms_gave_a_variant_outlive_an_import(
    pms_worker: PmsWorker, tenant: Tenant, service: httpx.AsyncClient, tmp_path: Path
) -> None:
    file = tmp_path / "file.csv"
    file.write_text(sheet(item("a", Option1_Name="Size", Option1_Value="S")))
    await pms_worker("import", file, "--tenant", tenant.slug)
    variant = (
        await service.get("/products", params={"sku": "eq.a-s", "tenant_id": f"eq.{tenant.id}"})
    ).json()
    picture = {"tenant_id": str(tenant.id), "product_id": variant[0]["id"], "source_url": "https://e.x/1.jpg"}
    (await service.post("/product_images", json=picture)).raise_for_status()
    again = await pms_worker("import", file, "--tenant", tenant.slug)
    assert "2 unchanged" in again.out
    assert await _count(service, "product_images", tenant) == 1


async def test_an_upload_is_nothing_of_a_files(
    pms_worker: PmsWorker, tenant: Tenant, service: httpx.AsyncClient, tmp_path: Path
) -> None:
    file, out = tmp_path / "file.csv", tmp_path / "out.csv"
    file.write_text(sheet(item("a", Image_Src="https://e.x/1.jpg", Image_Position="1")))
    await pms_worker("import", file, "--tenant", tenant.slug)
    [product] = (await service.get("/products", params={"tenant_id": f"eq.{tenant.id}"})).json()
    upload = {"product_id": product["id"], "upload_path": f"{tenant.id}/a.jpg", "position": 2}
    (await service.post("/product_images", json={"tenant_id": str(tenant.id), **upload})).raise_for_status()
    assert "1 unchanged" in (await pms_worker("import", file, "--tenant", tenant.slug)).out
    await pms_worker("export", out, "--tenant", tenant.slug)
    assert out.read_text().count("https://") == 1
    assert await _count(service, "product_images", tenant) == 2


async def test_what_the_database_refuses_is_named_by_line_too(
    pms_worker: PmsWorker, tenant: Tenant, tmp_path: Path
) -> None:
    file = tmp_path / "file.jsonl"
    rows = [
        {"sku": "a", "name": "A", "price": "1"},
        {"sku": "b", "name": "B", "price": "1", "currency": "XXX"},
        {"sku": "c", "name": "C", "price": "1", "parent_sku": "nowhere"},
    ]
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ended = await pms_worker("import", file, "--tenant", tenant.slug)
    assert ended.code == 1
    assert "1 imported, 2 refused" in ended.out
    assert "refused: line 2: " in ended.err
    assert "[product.currency_known]" in ended.err
    assert "refused: line 3: There is no product nowhere. [product.parent_missing]" in ended.err


async def test_json_lines_carry_a_whole_catalogue_to_another_tenant(
    pms_worker: PmsWorker, tenant: Tenant, people: People, tmp_path: Path
) -> None:
    other = await people.make_tenant()
    await pms_worker("import", DEMO, "--tenant", tenant.slug)
    moved, copies = tmp_path / "moved.jsonl", [tmp_path / "one.csv", tmp_path / "two.csv"]
    assert (await pms_worker("export", moved, "--tenant", tenant.slug)).code == 0
    ended = await pms_worker("import", moved, "--tenant", other.slug)
    assert ended.code == 0, ended.err
    for slug, copy in zip((tenant.slug, other.slug), copies, strict=True):
        await pms_worker("export", copy, "--tenant", slug)
    assert copies[0].read_bytes() == copies[1].read_bytes()


async def test_edits_and_deletions_show_in_the_export(
    pms_worker: PmsWorker, tenant: Tenant, people: People, tmp_path: Path
) -> None:
    file = tmp_path / "file.csv"
    file.write_text(sheet(*(item(name, Variant_Price="50", Vendor="kept") for name in "abc")))
    await pms_worker("import", file, "--tenant", tenant.slug)
    rest = people.rest(tenant.owner)
    (await rest.patch("/products?sku=eq.b", json={"price": 7.5, "name": "Bee"})).raise_for_status()
    (await rest.patch("/products?sku=eq.a", json={"deleted_at": "2026-11-23T00:00:00Z"})).raise_for_status()
    ended = await pms_worker("export", "--tenant", tenant.slug)
    assert ended.out == sheet(
        item("b", "Bee", Variant_Price="7.50", Vendor="kept"), item("c", Variant_Price="50", Vendor="kept")
    )


async def test_what_cannot_be_used_ends_in_2_and_leaves_everything_alone(
    pms_worker: PmsWorker, tenant: Tenant, service: httpx.AsyncClient, tmp_path: Path
) -> None:
    latin, good = tmp_path / "latin.csv", tmp_path / "good.csv"
    good.write_text(sheet(item("a")))
    latin.write_bytes(good.read_bytes() * 3 + b"caf\xe9,,\n")
    slug = ("--tenant", tenant.slug)
    for arguments, reason in (
        (("import", latin, *slug), "line 7: byte"),
        (("import", tmp_path / "none.csv", *slug), "No such file"),
        (("import", good, "--tenant", "nobody-here"), 'there is no tenant "nobody-here"'),
        (("import", good, *slug, "--location", "a b"), "--location"),
        (("import", good, *slug, "--currency", "dollars"), "--currency"),
        (("export", tmp_path / "no/such/folder.csv", *slug), "No such file"),
        (("export", "--location", "NOWHERE", *slug), "no location"),
        (("export", "--tenant", "sb_secret_of_somebody"), 'there is no tenant "[hidden]"'),
        (("import", good), "--tenant"),
    ):
        ended = await pms_worker(*arguments)
        assert ended.code == 2, arguments
        assert reason in ended.err
        assert "Traceback" not in ended.err
    assert await _count(service, "products", tenant) == 0
    for code in ("A", "B"):
        row = {"tenant_id": str(tenant.id), "code": code, "name": code}
        (await service.post("/locations", json=row)).raise_for_status()
    ended = await pms_worker("import", good, *slug)
    assert (ended.code, "several locations" in ended.err) == (2, True)


async def _count(service: httpx.AsyncClient, table: str, tenant: Tenant) -> int:
    answer = await service.head(
        f"/{table}", params={"tenant_id": f"eq.{tenant.id}"}, headers={"Prefer": "count=exact"}
    )
    return int(answer.raise_for_status().headers["Content-Range"].rpartition("/")[2])


async def _versions(service: httpx.AsyncClient, tenant: Tenant) -> int:
    """The sum of all versions: any change of a row raises it."""
    answer = await service.get("/products", params={"tenant_id": f"eq.{tenant.id}", "select": "version"})
    return sum(row["version"] for row in answer.json())


async def test_the_last_of_many_locations_is_found(
    pms_worker: PmsWorker, tenant: Tenant, service: httpx.AsyncClient, tmp_path: Path
) -> None:
    rows = [{"tenant_id": str(tenant.id), "code": f"L{n:04}", "name": f"Shop {n}"} for n in range(501)]
    (await service.post("/locations", json=rows)).raise_for_status()
    ended = await pms_worker("export", tmp_path / "out.csv", "--tenant", tenant.slug, "--location", "L0500")
    assert ended.code == 0, ended.err
    file = tmp_path / "in.csv"
    file.write_text(sheet(item("a-thing")))
    ended = await pms_worker("import", file, "--tenant", tenant.slug)
    assert ended.code == 2
    assert "L0019, …" in ended.err


async def test_a_place_that_cannot_be_written_is_named_as_it_was_given(
    pms_worker: PmsWorker, tenant: Tenant, tmp_path: Path
) -> None:
    (tmp_path / "folder").mkdir()
    for place in ("nowhere/out.csv", "folder"):
        ended = await pms_worker("export", place, "--tenant", tenant.slug, "--format", "shopify")
        assert ended.code == 2
        assert f"pms-worker: {place}: " in ended.err
        assert ".part" not in ended.err
    assert os.listdir(tmp_path) == ["folder"]
