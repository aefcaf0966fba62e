"""Which HTML a description may hold: nothing that could run, and everything that shops really write."""

from __future__ import annotations

import csv
from pathlib import Path

import psycopg
import pytest

from tests.databases import Connection
from tests.sql.ask import value
from tests.sql.company import Company
from tests.stack.paths import ROOT

VECTORS = Path(__file__).with_name("xss_vectors.txt").read_text().splitlines()

HARMLESS = [
    line.replace("\\n", "\n").replace("\\t", "\t")
    for line in Path(__file__).with_name("harmless_html.txt").read_text().splitlines()
]


async def offences(db: Connection, html: str) -> list[str]:
    found: list[str] = await value(db, "select private.html_offences(%s)", html)
    return found


async def test_no_vector_passes(db: Connection) -> None:
    vectors = [line.encode().decode("unicode_escape") if "\\x" in line else line for line in VECTORS if line]
    assert len(vectors) >= 60
    passed = [vector for vector in vectors if not await offences(db, vector)]
    assert passed == []


async def test_what_shops_write_passes(db: Connection) -> None:
    assert len(HARMLESS) > 20
    assert {html: found for html in HARMLESS if (found := await offences(db, html))} == {}


async def test_the_demo_catalogue_passes(db: Connection) -> None:
    with (ROOT / "tests" / "demo" / "catalogue.csv").open(newline="") as file:
        bodies = [row["Body (HTML)"] for row in csv.DictReader(file) if row["Body (HTML)"]]
    assert len(bodies) > 5
    assert [body for body in bodies if await offences(db, body)] == []


async def test_the_refusal_says_what_is_wrong(db: Connection) -> None:
    assert await offences(db, "<p onclick=x>a</p><iframe src=x></iframe><a href='javascript:x'>b</a>") == [
        "</iframe>",
        "<iframe src=x>",
        "a link to javascript:x in <a>",
        "the attribute onclick in <p>",
    ]


async def test_every_text_of_a_product_is_looked_at(db: Connection, company: Company) -> None:
    evil = "<img src=x onerror=alert(1)>"
    insert = (
        "insert into public.products (tenant_id, sku, name, description, attributes)"
        " values (%s, 'A', %s, %s, %s)"
    )
    for code, texts in {
        "product.name_html": (f"Mug {evil}", "", "{}"),
        "product.description_html": ("Mug", evil, "{}"),
        "product.attributes_html": ("Mug", "", f'{{"care": {{"hints": ["{evil}"]}}}}'),
    }.items():
        with pytest.raises(psycopg.Error) as refused:
            await db.execute(insert, (company.tenant_id, *texts))
        assert f'"code": "{code}"' in (refused.value.diag.message_detail or "")
    await db.execute(
        insert, (company.tenant_id, "Mug <3 & co", "<b>fine</b>", '{"care": "<b>fine</b> \\\\ 5 < 6"}')
    )


async def test_long_and_hostile_text_takes_no_time(db: Connection) -> None:
    await db.execute("set statement_timeout = '2s'")
    for text in (
        "<" * 65_000,
        "<p " * 20_000,
        "<p a=" + "a=" * 32_000,
        "<p " + "a " * 32_000 + ">",
        "<p>" * 20_000,
        "<p style='" + "color:a;" * 8_000 + "!'>",
        "&lt;" * 16_000,
        "<!--" + "-" * 65_000,
        "<a title='" + " a" * 32_000 + "'>",
    ):
        await offences(db, text)
