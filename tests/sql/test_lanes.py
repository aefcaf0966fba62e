"""Reading lanes: what their holder is owed, and nothing else."""

from __future__ import annotations

import datetime as dt
import json
from typing import Any

from tests.databases import Connection
from tests.sql.ask import column, rows, rpc
from tests.sql.company import Company, add_endpoint, add_product, found_company
from tests.sql.lane_worker import LaneWorker, ids, owe


async def test_the_tail_is_read_in_order_from_the_mark(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    owed = await owe(db, company, 3)
    answer = await worker.read(limit=2)
    assert (ids(answer["deliveries"]), answer["after"], answer["more"]) == (owed[:2], owed[1], True)
    answer = await worker.read(after=owed[1])
    assert (ids(answer["deliveries"]), answer["after"], answer["more"]) == (owed[2:], owed[2], False)
    answer = await worker.read(after=owed[2])
    assert (answer["deliveries"], answer["after"], answer["more"]) == ([], owed[2], False)


async def test_a_delivery_is_all_that_sending_takes(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    await owe(db, company)
    (delivery,) = await worker.deliveries()
    event = await rows(db, "select id, type, body, occurred_at from public.events order by seq desc limit 1")
    assert delivery["retry"] is False
    assert delivery["attempt"] == 1
    event_id, event_type, body, occurred_at = event[0]
    assert (delivery["event_id"], delivery["type"], delivery["body"]) == (
        event_id,
        event_type,
        json.loads(body),
    )
    assert dt.datetime.fromisoformat(delivery["occurred_at"]) == occurred_at


async def test_a_position_known_to_be_committed_need_not_be_looked_for(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    stranger = await found_company(db, "rival")
    await add_endpoint(db, stranger)  # its lane is nobody's
    await add_product(db, stranger)
    last = (await rpc(db, "dispatch_outbox"))["last_delivery_id"]
    assert (await worker.read(p_through=last))["after"] == last
    assert (await worker.read())["after"] == last, "without it, the answer looks for it"
    assert (await worker.read(p_through=0))["after"] == 0


async def test_a_paused_endpoint_is_kept_until_it_is_resumed(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    set_status = "update public.webhook_endpoints set status = %s where id = %s"
    await db.execute(set_status, ("paused", endpoint["id"]))
    owed = await owe(db, company, 2)
    answer = await worker.read()
    assert (answer["deliveries"], answer["after"]) == ([], owed[-1])
    assert (await worker.describe(endpoint["lane_id"]))[0]["status"] == "paused"
    await db.execute(set_status, ("active", endpoint["id"]))
    assert ids(await worker.deliveries(p_lane_ids=[endpoint["lane_id"]])) == owed


async def test_naming_lanes_reads_their_first_attempts_only(
    db: Connection, company: Company, endpoint: dict[str, Any], worker: LaneWorker
) -> None:
    second = await add_endpoint(db, company)
    await worker.lease()
    await owe(db, company, 2)
    failing, *_ = await worker.deliveries(p_lane_ids=[second["lane_id"]])
    await worker.settle([failing], "retry")
    read = await worker.deliveries(p_lane_ids=[second["lane_id"]])
    assert [delivery["lane_id"] for delivery in read] == [second["lane_id"]]
    assert failing["delivery_id"] not in ids(read)


async def test_another_workers_lanes_are_not_read(
    db: Connection, other: Connection, company: Company, worker: LaneWorker
) -> None:
    await add_endpoint(db, company)
    stranger = LaneWorker(other, "second")
    (its_lane,) = await stranger.lanes()
    await owe(db, company, 2)
    assert {delivery["lane_id"] for delivery in await stranger.deliveries()} == {its_lane}
    assert its_lane not in {delivery["lane_id"] for delivery in await worker.deliveries()}
    assert await worker.deliveries(p_lane_ids=[its_lane]) == []


async def test_deliveries_whose_events_are_gone_are_passed_over_and_stay_to_be_seen(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    owed = await owe(db, company, 3)
    await _lose_events(db, owed[:2])
    answer = await worker.read(limit=2)
    assert (answer["deliveries"], answer["after"], answer["more"]) == ([], owed[1], True), (
        "the third is still to come"
    )
    assert ids((await worker.read(after=answer["after"], limit=2))["deliveries"]) == owed[2:]
    pending = "select delivery_id from public.webhook_deliveries where status = 'pending' order by 1"
    assert await column(db, pending) == owed
    assert (await rpc(db, "worker_status"))["deliveries"]["pending"] == 3


async def test_retries_whose_events_are_gone_do_not_take_the_places_of_others(
    db: Connection, company: Company, worker: LaneWorker
) -> None:
    owed = await owe(db, company, 3)
    await worker.settle(await worker.deliveries(), "retry", retry_in_seconds=0)
    await _lose_events(db, owed[:2])
    assert ids(await worker.deliveries(limit=1)) == owed[2:]


async def _lose_events(db: Connection, deliveries: list[int]) -> None:
    """As after a restore of part of the data."""
    await db.execute(
        "delete from public.events v using (select * from queue.deliveries union all"
        " select id, lane_id, tenant_id, seq, dispatched_on from queue.retries) d"
        " where d.id = any (%s)"
        " and (v.tenant_id, v.seq, v.dispatched_on) = (d.tenant_id, d.seq, d.dispatched_on)",
        (deliveries,),
    )
