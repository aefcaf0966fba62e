"""Whose turn it is: fair between tenants and lanes, cheap for those that wait, and nobody is forgotten."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.gateway.lanes import Delivery, Lane
from worker.webhooks.held import HeldLane
from worker.webhooks.turns import MOST_SLOW, Turn, Turns
from worker.webhooks.window import Window


def lane(number: int, *, queued: int = 100, most: int = 100, tenant: str = "one") -> HeldLane:
    settings = Lane(number, "", tenant, "", (), False, timedelta(seconds=15), most, 1)
    held = HeldLane(settings)
    held.window = Window(100.0)
    for n in range(queued):
        held.queue.add(Delivery(n, number, "", b"", datetime.now(UTC)))
    return held


def take(turns: Turns, now: float = 0.0) -> HeldLane | None:
    held = turns.next(now)
    if held is not None:
        held.queue.take()
        held.in_flight += 1
        under_way.setdefault(held, []).append(turns.started(held, now))
    return held


under_way: dict[HeldLane, list[Turn]] = {}


def answer(turns: Turns, held: HeldLane) -> None:
    held.in_flight -= 1
    turns.finished(under_way[held].pop(0))


def test_turns_go_round_and_end_with_the_slots() -> None:
    turns, lanes = Turns(6), [lane(n) for n in range(3)]
    for held in lanes:
        turns.offer(held)
    taken = [take(turns) for _ in range(7)]
    assert taken == [*lanes, *lanes, None]


def test_one_lane_alone_may_have_every_slot_if_its_concurrency_allows() -> None:
    turns = Turns(8)
    turns.offer(lane(1))
    assert sum(take(turns) is not None for _ in range(20)) == 8
    turns = Turns(8)
    turns.offer(lane(1, most=3))
    assert sum(take(turns) is not None for _ in range(20)) == 3


def test_when_slots_are_scarce_no_lane_has_more_than_its_share() -> None:
    turns, greedy, late = Turns(8), lane(1), lane(2)
    turns.offer(greedy)
    while greedy.in_flight < 5:
        assert take(turns) is greedy
    turns.offer(late)
    assert [take(turns) for _ in range(4)] == [late, late, late, None]
    # as the greedy one's answers come in, the late one gets up to half
    for _ in range(2):
        answer(turns, greedy)
        take(turns)
    assert (greedy.in_flight, late.in_flight) == (4, 4)


def test_a_lane_that_has_its_share_costs_nothing_until_it_may_have_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    turns, lanes = Turns(110), [lane(n) for n in range(100)]
    for held in lanes:
        turns.offer(held)
    while take(turns):
        pass
    assert {held.in_flight for held in lanes} == {1}
    looks: list[Window] = []
    allowance = Window.allowance

    def look(window: Window, most: int) -> int:
        looks.append(window)
        return allowance(window, most)

    monkeypatch.setattr(Window, "allowance", look)
    answer(turns, lanes[7])
    assert (take(turns), take(turns)) == (lanes[7], None)
    assert all(window is lanes[7].window for window in looks), "the others have what they may have"
    for held in lanes[50:]:
        held.queue.clear()
        answer(turns, held)
    while take(turns):
        pass
    assert {held.in_flight for held in lanes[:50]} == {2}, "their shares have grown"


def test_when_a_rival_leaves_the_share_of_the_others_grows_at_once() -> None:
    turns, greedy, brief = Turns(8), lane(1), lane(2, queued=4)
    for held in (greedy, brief):
        turns.offer(held)
    while take(turns):
        pass
    answer(turns, brief)
    assert take(turns) is None, "the other has its half"
    for _ in range(3):
        answer(turns, brief)
    while take(turns):
        pass
    assert greedy.in_flight == 8


def test_a_tenant_with_many_lanes_gets_its_turn_as_one_with_a_single_lane_does() -> None:
    turns, single = Turns(40), lane(1000, tenant="modest")
    crowd = [lane(n, queued=1, tenant="wide") for n in range(500)]
    for held in crowd:
        turns.offer(held)
    turns.offer(single)
    taken = [take(turns) for _ in range(20)]
    assert taken.count(single) == 10


def test_a_single_lane_has_the_share_of_its_tenant_beside_one_with_many() -> None:
    turns, single = Turns(40), lane(1000, tenant="modest")
    crowd = [lane(n, queued=1, tenant="wide") for n in range(500)]
    for held in crowd:
        turns.offer(held)
    while take(turns):
        pass
    turns.offer(single)
    for held in crowd[:30]:
        answer(turns, held)
        take(turns)
    assert single.in_flight == 15, "every other slot that comes back"
    for held in crowd[:40][30:]:
        answer(turns, held)
        take(turns)
    assert single.in_flight == 20, "and half of all at most, however many lanes the other has"


def test_requests_that_hang_give_their_slots_back_up_to_a_bound() -> None:
    turns, hanging, good = Turns(8), [lane(n) for n in range(4)], lane(9)
    for held in hanging:
        turns.offer(held)
    while take(turns, 0.0):
        pass
    turns.offer(good)
    assert take(turns, 0.5) is None
    assert turns.next_wake() == 1.0
    taken = {take(turns, 1.0) for _ in range(8)}
    assert good in taken, "a second later the slots are there again"
    now = 1.0
    for _ in range(50):
        now += 1.0
        while take(turns, now):
            pass
    in_all = sum(held.in_flight for held in (*hanging, good))
    assert 8 * MOST_SLOW < in_all <= 8 * (1 + MOST_SLOW), "but not without end"
    for held in (*hanging, good):
        while held.in_flight:
            answer(turns, held)
    assert turns.free == 8


def test_a_lane_that_waits_costs_nothing_and_is_woken_in_time() -> None:
    turns, held = Turns(4), lane(1)
    held.breaker.hold(0.0, 30)
    turns.offer(held)
    assert take(turns, 29.0) is None
    assert turns.next_wake() == 30.0
    assert take(turns, 30.0) is held
    assert turns.next_wake() is None


@given(
    slots=st.integers(1, 12),
    tenants=st.lists(st.integers(1, 4), min_size=1, max_size=4),
    steps=st.lists(st.tuples(st.sampled_from("taofh"), st.integers(0, 15)), max_size=120),
)
@settings(max_examples=400, deadline=None)
def test_nobody_who_may_send_is_forgotten(
    slots: int, tenants: list[int], steps: list[tuple[str, int]]
) -> None:
    turns, now = Turns(slots), 0.0
    lanes = [
        lane(10 * number + n, queued=0, most=5, tenant=str(number))
        for number, count in enumerate(tenants)
        for n in range(count)
    ]
    for step, choice in steps:
        held = lanes[choice % len(lanes)]
        if step == "a":
            for _ in under_way.get(held, [])[choice % 3 :]:
                answer(turns, held)
        elif step == "o":
            for n in range(choice):
                held.queue.add(Delivery(n, held.lane_id, "", b"", datetime.now(UTC)))
            turns.offer(held)
        elif step == "f":
            now += choice / 4
        elif step == "h":
            held.breaker.hold(now, choice)
        elif step == "t":
            while take(turns, now) is not None:
                pass
            if turns.free <= 0:
                continue
            rivals = [each.lane.tenant_id for each in lanes if each.in_flight or each.queue.ready]
            plenty = turns.free * 2 > slots
            for each in lanes:
                if not each.queue.ready or now < each.not_before:
                    continue
                share = max(1, slots // len(set(rivals)) // rivals.count(each.lane.tenant_id))
                assert each.in_flight >= min(each.allowance, slots if plenty else share), "it may send"
    under_way.clear()
