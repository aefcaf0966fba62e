"""What `report_state` takes: ranges of ids, one behind the other, so that no row is read twice."""

from __future__ import annotations

from typing import Any

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.databases import Connection, acting_as
from tests.sql.ask import value
from tests.sql.company import Company
from tests.sql.test_sync_state import REPORT, WHOLE, Copy

A, B, C = (f"{n:08}-0000-0000-0000-000000000000" for n in range(1, 4))
SUM = {"count": 0, "checksum": "0" * 16}


@pytest.mark.parametrize(
    ("ranges", "why"),
    [
        ({}, "an array of 1 to 64"),
        ([], "an array of 1 to 64"),
        ([WHOLE | SUM] * 65, "an array of 1 to 64"),
        ([1], "Range 1: it is no object"),
        (
            [{"after": None, "through": A} | SUM, {"after": "x"} | SUM],
            "Range 2: after and through must be UUIDs",
        ),
        ([{"after": B, "through": A} | SUM], "after must be less than through"),
        ([{"after": A, "through": A} | SUM], "after must be less than through"),
        (
            [{"after": A, "through": C} | SUM, {"after": B, "through": None} | SUM],
            "Range 2: it does not lie behind",
        ),
        ([{"after": None, "through": None} | SUM, {"after": B} | SUM], "Range 2: it does not lie behind"),
        ([{"through": B} | SUM, {"through": C} | SUM], "Range 2: it does not lie behind"),
        ([{"count": -1, "checksum": "0" * 16}], "count must be"),
        ([{"count": 0, "checksum": "0" * 15 + "G"}], "checksum must be"),
        ([{"rows": []}], "rows must be"),
        ([{"rows": {"x": 1}}], "must be a UUID with a whole number"),
        ([{"rows": {A: 1.5}}], "must be a UUID with a whole number"),
        ([{"rows": {A: "1"}}], "must be a UUID with a whole number"),
        ([{"after": A, "through": B, "rows": {A: 1}}], "lies outside"),
        ([{"after": A, "through": B, "rows": {C: 1}}], "lies outside"),
        ([{"rows": {f"{n:032}": 1 for n in range(1001)}}], "1,000 ids"),
    ],
)
async def test_what_is_no_range_is_refused_with_its_number(
    db: Connection, company: Company, ranges: Any, why: str
) -> None:
    with pytest.raises(psycopg.Error, match=r"sync\.range_invalid") as refused:
        async with acting_as(db, company.owner):
            await value(db, REPORT, company.tenant_id, "product", Jsonb(ranges))
    assert why in str(refused.value.diag.message_detail)


async def test_other_arguments_are_checked(db: Connection, company: Company) -> None:
    report = Copy(db, company)
    for entity in ("order", "public.products", None):
        report.entity = entity  # type: ignore[assignment]  # as a client might
        with pytest.raises(psycopg.Error, match=r"sync\.entity_unknown"):
            await report.report(WHOLE | SUM)
    for name in ("a b", None):
        with pytest.raises(psycopg.Error, match=r"sync\.client_invalid"):
            async with acting_as(db, company.owner):
                await value(
                    db, "select public.report_state(%s, %s, 'product', '[]')", company.tenant_id, name
                )
