"""What every `LaneStore` promises: one suite over the one in memory and over the real database."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import cast

import pytest
from msgspec import structs

from tests.databases import Connection
from tests.webhooks.memory_lanes import MemoryLanes
from tests.webhooks.worlds import MemoryWorld, SqlWorld, World
from worker.gateway.lanes import Delivery, LaneStore, Outcome, Page, Result
from worker.webhooks.signing import parse_key

LEASE = timedelta(seconds=30)
SECOND = timedelta(seconds=1)


@pytest.fixture(params=["memory", "database"])
def world(request: pytest.FixtureRequest) -> World:
    if request.param == "memory":
        return MemoryWorld()
    return SqlWorld(cast("Connection", request.getfixturevalue("db")))


async def tail(store: LaneStore, token: int, *, after: int = 0, limit: int = 100, **given: list[int]) -> Page:
    busy, closed, behind = (given.get(name, []) for name in ("busy", "closed", "behind"))
    return await store.read_tail(token, after=after, limit=limit, busy=busy, closed=closed, behind=behind)


def ids(page: Page) -> list[int]:
    return [delivery.delivery_id for delivery in page.deliveries]


def results(page: Page, outcome: Outcome, *, retry_in: timedelta | None = None) -> list[Result]:
    return [result(delivery, outcome, retry_in=retry_in) for delivery in page.deliveries]


def result(delivery: Delivery, outcome: Outcome, *, retry_in: timedelta | None = None) -> Result:
    return Result(
        delivery_id=delivery.delivery_id,
        lane_id=delivery.lane_id,
        attempt=delivery.attempt,
        event_id=delivery.event_id,
        type=delivery.type,
        outcome=outcome,
        started_at=datetime.now(UTC),
        expires_at=datetime.now(UTC) + timedelta(hours=72),
        duration_ms=12.5,
        order_key=delivery.order_key,
        status=200 if outcome == "delivered" else 500,
        error=None if outcome == "delivered" else "status: 500",
        response="ok",
        retry_in_seconds=None if retry_in is None else retry_in.total_seconds(),
    )


async def test_a_lease_holds_every_lane_and_can_be_extended(world: World) -> None:
    lane_id = await world.add_lane()
    store = world.store("one")
    lease = await store.lease(None, duration=LEASE)
    [lane] = lease.lanes
    assert (lane.lane_id, lane.paused, lane.timeout, lane.max_concurrency) == (
        lane_id,
        False,
        15 * SECOND,
        10,
    )
    assert lane.url == "https://example.com/hook"
    assert parse_key(lane.secrets[0].text)
    await world.pass_time(29 * SECOND)
    assert (await store.lease(lease.token, duration=LEASE)).token == lease.token
    await world.pass_time(29 * SECOND)
    assert not (await tail(store, lease.token)).stale


async def test_a_lease_past_its_time_is_another_one(world: World) -> None:
    await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.pass_time(31 * SECOND)
    assert (await tail(store, token)).stale
    assert (await store.read_backlog(token, lanes=[1], after=0, through=None, limit=9)).stale
    lease = await store.lease(token, duration=LEASE)
    assert lease.token != token
    assert len(lease.lanes) == 1


async def test_the_tail_comes_in_order_and_says_how_far_it_is_complete(world: World) -> None:
    lanes = [await world.add_lane(), await world.add_lane()]
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(3)
    first = await tail(store, token, limit=4)
    assert (len(first.deliveries), first.more) == (4, True)
    assert first.after == ids(first)[-1]
    rest = await tail(store, token, after=first.after, limit=4)
    assert (len(rest.deliveries), rest.more) == (2, False)
    everything = ids(first) + ids(rest)
    assert everything == sorted(set(everything))
    assert {delivery.lane_id for delivery in first.deliveries} == set(lanes)
    assert rest.after >= everything[-1]
    nothing = await tail(store, token, after=rest.after)
    assert (nothing.deliveries, nothing.more) == ((), False)
    await world.dispatch(1)
    assert min(ids(await tail(store, token, after=rest.after))) > rest.after


async def test_a_delivery_carries_what_is_to_be_sent(world: World) -> None:
    lane_id = await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(1)
    [delivery] = (await tail(store, token)).deliveries
    assert (delivery.lane_id, delivery.retry, delivery.attempt) == (lane_id, False, 1)
    assert delivery.event_id.startswith("evt_")
    assert delivery.body.startswith(b"{")
    assert delivery.occurred_at.tzinfo is not None


async def test_a_delivery_tells_the_version_of_its_endpoint_at_the_time_of_the_read(world: World) -> None:
    lane_id = await world.add_lane()
    store = world.store("one")
    lease = await store.lease(None, duration=LEASE)
    await world.dispatch(2)
    first, second = (await tail(store, lease.token)).deliveries
    assert {first.version, second.version} == {lease.lanes[0].version}
    await store.settle(lease.token, [result(first, "retry", retry_in=SECOND)])
    await world.pass_time(2 * SECOND)
    for paused in (True, False):
        await world.set_paused(lane_id, paused)
    both = (await tail(store, lease.token)).deliveries
    assert {delivery.retry for delivery in both} == {True, False}
    backlog = await store.read_backlog(lease.token, lanes=[lane_id], after=0, through=None, limit=9)
    [lane] = (await store.lease(lease.token, duration=LEASE)).lanes
    assert lane.version > lease.lanes[0].version
    assert {delivery.version for delivery in (*both, *backlog.deliveries)} == {lane.version}


async def test_a_backlog_is_of_the_lanes_named_and_complete_at_least_up_to_what_was_known(
    world: World,
) -> None:
    one, two = await world.add_lane(), await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(3)
    known = (await tail(store, token)).after
    first = await store.read_backlog(token, lanes=[one], after=0, through=known, limit=2)
    assert (len(first.deliveries), first.more) == (2, True)
    rest = await store.read_backlog(token, lanes=[one], after=first.after, through=known, limit=2)
    assert (len(rest.deliveries), rest.more) == (1, False)
    assert rest.after >= known
    assert {d.lane_id for d in (*first.deliveries, *rest.deliveries)} == {one}
    both = await store.read_backlog(token, lanes=[one, two], after=0, through=None, limit=100)
    assert len(both.deliveries) == 6
    assert both.after >= known


async def test_the_tail_leaves_out_first_attempts_of_lanes_behind_and_brings_their_retries(
    world: World,
) -> None:
    behind, live = await world.add_lane(), await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(2)
    everything = await tail(store, token)
    first = await tail(store, token, behind=[behind], limit=1)
    assert ([d.lane_id for d in first.deliveries], first.more) == ([live], True)
    rest = await tail(store, token, after=first.after, behind=[behind])
    assert [d.lane_id for d in rest.deliveries] == [live]
    assert (rest.more, rest.after) == (False, everything.after), (
        "complete for the others, beyond what it left out"
    )
    failed = [d for d in everything.deliveries if d.lane_id == behind][:1]
    await store.settle(token, [result(d, "retry", retry_in=timedelta(0)) for d in failed])
    again = await tail(store, token, after=rest.after, behind=[behind])
    assert [(d.delivery_id, d.retry) for d in again.deliveries] == [(failed[0].delivery_id, True)]


async def test_what_is_delivered_is_gone_and_settling_twice_changes_nothing(world: World) -> None:
    await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(2)
    page = await tail(store, token)
    for _ in range(2):
        assert await store.settle(token, results(page, "delivered"))
        assert ids(await tail(store, token)) == []
        assert await world.attempts() == [(i, 1, "delivered") for i in ids(page)]


async def test_the_tail_reaches_beyond_what_is_settled_already(world: World) -> None:
    lane_id = await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(3)
    page = await store.read_backlog(token, lanes=[lane_id], after=0, through=None, limit=9)
    await store.settle(token, results(page, "delivered"))
    nothing = await tail(store, token)
    assert (nothing.deliveries, nothing.more) == ((), False)
    assert nothing.after >= ids(page)[-1], (
        "else every read walks over it, for as long as a session holds xmin"
    )


async def test_a_retry_comes_back_when_it_is_due_under_its_own_id(world: World) -> None:
    lane_id = await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(1)
    page = await tail(store, token)
    [delivery_id] = ids(page)
    assert await store.settle(token, results(page, "retry", retry_in=5 * SECOND))
    waiting = await tail(store, token, after=page.after)
    assert waiting.deliveries == ()
    assert waiting.next_retry_at is not None
    assert ids(await store.read_backlog(token, lanes=[lane_id], after=0, through=None, limit=9)) == []
    await world.pass_time(5 * SECOND)
    due = await tail(store, token, after=page.after)
    [again] = due.deliveries
    assert (again.delivery_id, again.retry, again.attempt) == (delivery_id, True, 2)
    assert (again.event_id, again.body) == (page.deliveries[0].event_id, page.deliveries[0].body)
    assert ids(await tail(store, token, after=page.after, busy=[delivery_id])) == []
    assert ids(await tail(store, token, after=page.after, closed=[lane_id])) == []
    assert await store.settle(token, results(page, "delivered")), "the result of an attempt that is over"
    assert ids(await tail(store, token, after=page.after)) == [delivery_id]
    assert await store.settle(token, results(due, "failed"))
    assert (await tail(store, token, after=page.after)).deliveries == ()
    assert await world.attempts() == [(delivery_id, 1, "retry"), (delivery_id, 2, "failed")]


async def test_a_stale_token_changes_nothing(world: World) -> None:
    await world.add_lane()
    old, new = world.store("old"), world.store("new")
    old_token = (await old.lease(None, duration=LEASE)).token
    await world.dispatch(2)
    page = await tail(old, old_token)
    await world.pass_time(31 * SECOND)
    token = (await new.lease(None, duration=LEASE)).token
    assert not await old.settle(old_token, results(page, "failed"))
    assert await world.attempts() == []
    assert ids(await tail(new, token)) == ids(page)
    assert await new.settle(token, results(page, "delivered"))
    assert not await old.settle(old_token, results(page, "retry", retry_in=SECOND))
    await world.pass_time(SECOND)
    assert ids(await tail(new, token)) == []


async def test_settling_without_the_token_would_send_again_what_was_delivered() -> None:
    """The naive variant, which the test above catches: the result of a worker that lost its lease counts."""

    class Naive(MemoryLanes):
        async def settle(self, token: int, results: Sequence[Result]) -> bool:
            for late in results:
                self._write(self.database, late)
            return True

    world = MemoryWorld()
    await world.add_lane()
    old, new = Naive(world.database, worker="old"), world.store("new")
    old_token = (await old.lease(None, duration=LEASE)).token
    await world.dispatch(1)
    page = await tail(old, old_token)
    await world.pass_time(31 * SECOND)
    token = (await new.lease(None, duration=LEASE)).token
    taken = await tail(new, token)
    await old.settle(old_token, results(page, "retry", retry_in=timedelta(0)))
    assert await new.settle(token, results(taken, "delivered"))
    assert ids(await tail(new, token)) == ids(page), "delivered, and yet it comes again"


async def test_a_paused_lane_is_not_read_and_keeps_what_it_is_owed(world: World) -> None:
    lane_id = await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(1)
    await world.set_paused(lane_id, True)
    page = await tail(store, token)
    assert page.deliveries == ()
    assert (await store.lease(token, duration=LEASE)).lanes[0].paused
    await world.set_paused(lane_id, False)
    again = await store.read_backlog(token, lanes=[lane_id], after=0, through=page.after, limit=9)
    assert len(again.deliveries) == 1


async def test_a_lane_tells_that_it_was_changed_since(world: World) -> None:
    lane_id = await world.add_lane()
    store = world.store("one")
    lease = await store.lease(None, duration=LEASE)
    assert (await store.lease(lease.token, duration=LEASE)).lanes == lease.lanes
    await world.set_paused(lane_id, True)
    await world.set_paused(lane_id, False)
    [before], [after] = lease.lanes, (await store.lease(lease.token, duration=LEASE)).lanes
    assert after == replace(before, version=after.version)
    assert after.version > before.version


async def test_gone_disables_the_endpoint(world: World) -> None:
    lane_id = await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(2)
    page = await tail(store, token, limit=1)
    assert await store.settle(token, results(page, "gone"))
    assert await world.is_disabled(lane_id)
    assert (await tail(store, token)).deliveries == ()
    assert (await store.lease(token, duration=LEASE)).lanes[0].paused


async def test_lanes_are_shared_given_back_and_free_at_once_when_released(world: World) -> None:
    lanes = [await world.add_lane() for _ in range(4)]
    one, two = world.store("one"), world.store("two")
    first = await one.lease(None, duration=LEASE)
    assert len(first.lanes) == 4
    second = await two.lease(None, duration=LEASE)
    assert second.lanes == ()
    assert (await one.lease(first.token, duration=LEASE)).surplus == 2
    await one.release(first.token, lanes=lanes[:2])
    assert [lane.lane_id for lane in (await two.lease(second.token, duration=LEASE)).lanes] == lanes[:2]
    assert (await one.lease(first.token, duration=LEASE)).surplus == 0
    await one.release(first.token)
    assert (await tail(one, first.token)).stale
    assert len((await two.lease(second.token, duration=LEASE)).lanes) == 4


async def test_of_an_ordered_lane_what_follows_a_retry_lines_up_and_comes_in_order(world: World) -> None:
    await world.add_lane(ordered=True)
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(4, entity="a")
    await world.dispatch(1, entity="b")
    first, *rest, other = (await tail(store, token)).deliveries
    assert len({d.order_key for d in (first, *rest)}) == 1
    assert other.order_key not in (None, first.order_key)
    await store.settle(token, [result(first, "retry", retry_in=10 * SECOND)])
    waiting = (await tail(store, token)).deliveries
    assert [(d.delivery_id, d.blocked) for d in waiting] == [
        *((d.delivery_id, True) for d in rest),
        (other.delivery_id, False),
    ]
    await store.settle(token, [result(d, "blocked") for d in waiting if d.blocked])
    assert ids(await tail(store, token)) == [other.delivery_id]
    await store.settle(token, [result(other, "delivered")])
    await world.pass_time(10 * SECOND)
    order = []
    while due := (await tail(store, token)).deliveries:
        [only] = due
        assert only.retry
        assert only.attempt == (2 if only.delivery_id == first.delivery_id else 1), "lining up costs none"
        order.append(only.delivery_id)
        await store.settle(token, [result(only, "failed" if len(order) == 2 else "delivered")])
    assert order == [first.delivery_id, *(d.delivery_id for d in rest)]


async def test_one_that_lines_up_behind_nobody_is_due_at_once(world: World) -> None:
    await world.add_lane(ordered=True)
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(2, entity="a")
    first, second = (await tail(store, token)).deliveries
    await store.settle(token, [result(first, "delivered"), result(second, "blocked")])
    assert [(d.delivery_id, d.retry) for d in (await tail(store, token)).deliveries] == [
        (second.delivery_id, True)
    ]


async def test_a_probe_is_noted_and_its_delivery_stays_where_it_was(world: World) -> None:
    await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(1)
    [delivery] = (await tail(store, token)).deliveries
    await store.settle(token, [result(delivery, "probe")])
    assert await world.attempts() == [(delivery.delivery_id, 1, "probe")]
    assert ids(await tail(store, token)) == [delivery.delivery_id]
    await store.settle(token, [result(delivery, "retry", retry_in=timedelta())])
    [again] = (await tail(store, token)).deliveries
    await store.settle(
        token, [structs.replace(result(again, "probe"), started_at=datetime.now(UTC) + SECOND)]
    )
    [still] = (await tail(store, token)).deliveries
    assert (still.retry, still.attempt) == (True, 2)


async def test_what_is_owed_and_neither_in_hand_nor_of_a_lane_behind_was_missed(world: World) -> None:
    one, two = await world.add_lane(), await world.add_lane()
    store = world.store("one")
    token = (await store.lease(None, duration=LEASE)).token
    await world.dispatch(3)
    page = await tail(store, token)
    in_hand = ids(page)

    async def missed(*without: int, through: int = page.after, behind: Sequence[int] = ()) -> int | None:
        held = [delivery_id for delivery_id in in_hand if delivery_id not in without]
        return await store.find_missed(token, through=through, in_hand=held, behind=behind)

    assert await missed() is None
    assert await missed(in_hand[4], in_hand[2]) == in_hand[2]
    assert await missed(in_hand[2], through=in_hand[2] - 1) is None
    of_one = [delivery.delivery_id for delivery in page.deliveries if delivery.lane_id == one]
    assert await missed(*of_one, behind=[one]) is None
    assert await missed(*of_one, behind=[two]) == of_one[0]
    await world.set_paused(one, True)
    assert await missed(*of_one) is None
    await world.set_paused(one, False)
    await store.settle(token, results(page, "delivered"))
    assert await missed(*in_hand) is None
    await world.dispatch(1)
    everything = await tail(store, token)
    assert await missed(*ids(everything), through=everything.after) == ids(everything)[0]
    await world.pass_time(31 * SECOND)
    assert await missed(*ids(everything), through=everything.after) is None
