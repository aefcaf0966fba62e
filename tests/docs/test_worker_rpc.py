"""docs/worker-rpc.md names every function that a worker may call, with its real arguments and defaults."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from typing import LiteralString

import pytest
from msgspec import to_builtins

from tests.databases import Connection, acting_as
from tests.sql.ask import call, rows, rpc
from tests.sql.company import Company, add_endpoint, add_products
from tests.sql.lane_worker import LaneWorker
from tests.stack.paths import ROOT
from worker.gateway.lanes import Result
from worker.gateway.rpc_lanes import COLUMNS

PAGE = (ROOT / "docs" / "worker-rpc.md").read_text()
HEADING = re.compile(r"^`([a-z_]+)\((.*?)\)`", re.MULTILINE)
NOW = dt.datetime(2026, 11, 23, 10, tzinfo=dt.UTC)
RESULT = Result(
    delivery_id=1,
    lane_id=1,
    attempt=1,
    event_id="evt_1",
    type="product.created",
    outcome="delivered",
    started_at=NOW,
    duration_ms=12.5,
    status=200,
)
FUNCTIONS: LiteralString = """
select p.proname::text, pg_get_function_arguments(p.oid) from pg_proc p
where p.pronamespace = 'worker'::regnamespace and has_function_privilege('service_role', p.oid, 'execute')
"""


def shortened(arguments: str) -> str:
    """As the page writes them: `int` for integer, `=` for DEFAULT, no casts."""
    return re.sub(
        r"::[a-z0-9]+(\[\])?", "", arguments.replace("integer", "int").replace("DEFAULT", "=")
    ).replace("NULL", "null")


async def test_every_function_is_there_with_its_arguments(db: Connection) -> None:
    real = {name: shortened(arguments) for name, arguments in await rows(db, FUNCTIONS)}
    assert len(real) > 20
    assert dict(HEADING.findall(PAGE)) == real


def promised_keys(place: str) -> set[str]:
    """The keys of the first object behind `place`; its nested objects are passed over."""
    text = PAGE[PAGE.index(place) + len(place) :]
    depth, keys = 0, set[str]()
    for token in re.finditer(r'[{}\[\]]|"([a-z0-9_.]+)":', text):
        if token[1] is None:
            depth += 1 if token[0] in "{[" else -1
            if depth == 0:
                return keys
        elif depth == 1:
            keys.add(token[1])
    raise AssertionError(f"no object behind {place}")


def answer_of(name: str) -> set[str]:
    place = PAGE.index(f"`{name}(")
    return promised_keys(PAGE[place : PAGE.index("→", place) + 1])


async def test_answers_have_the_keys_that_the_page_says(db: Connection, company: Company) -> None:
    endpoint = await add_endpoint(db, company, events=("product.*",))
    await db.execute("update public.webhook_endpoints set ordered = true")
    async with acting_as(db, company.owner):
        sent = await call(
            db,
            "public",
            "send_test_event",
            p_tenant_id=company.tenant_id,
            p_endpoint_id=uuid.UUID(endpoint["id"]),
        )
    await add_products(db, company, 1)
    dispatched = await rpc(db, "dispatch_outbox")
    assert dispatched.keys() == answer_of("dispatch_outbox")

    worker = LaneWorker(db, "one")
    leased = await worker.lease()
    assert leased.keys() == answer_of("lease_lanes")
    assert (await worker.lease(p_known=leased["known"]))["lanes"] is None
    [[lane_id, _]] = leased["lanes"]
    [lane] = await worker.describe(lane_id)
    assert lane.keys() == promised_keys(": lane = ")

    read = await worker.read()
    assert read.keys() == answer_of("read_lanes")
    [delivery] = read["deliveries"]
    ordered = {"order_key", "blocked"}
    assert delivery.keys() == promised_keys(": delivery = ") | ordered
    assert (await worker.settle([delivery], "retry")).keys() == answer_of("settle_deliveries")
    [retry] = await worker.deliveries()
    assert retry.keys() == promised_keys(": delivery = ") | {"order_key", "expires_at"}
    assert set(Result.__struct_fields__) == promised_keys(": result = ")
    assert set(COLUMNS) == promised_keys(": `p_delivered` has")

    test = await rpc(db, "read_webhook_test", p_delivery_id=sent["delivery_id"])
    assert test.keys() == answer_of("read_webhook_test")
    settled = await rpc(
        db, "settle_webhook_test", p_delivery_id=sent["delivery_id"], p_result=to_builtins(RESULT)
    )
    assert settled.keys() == answer_of("settle_webhook_test")
    slice_of_none = await rpc(db, "continue_replay", p_replay_id=company.tenant_id)
    assert slice_of_none.keys() == answer_of("continue_replay")


@pytest.mark.parametrize(
    "name",
    [
        "expire_deliveries",
        "forget_api_requests",
        "forget_command_results",
        "forget_webhook_secrets",
        "queue_health",
        "sync_health",
        "worker_status",
    ],
)
async def test_an_answer_of_upkeep_has_the_keys_that_the_page_says(db: Connection, name: str) -> None:
    assert (await rpc(db, name)).keys() == answer_of(name)
