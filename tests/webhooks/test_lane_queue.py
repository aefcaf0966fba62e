"""Which delivery of a lane goes next: in turn, and one of an entity at a time where that is asked for."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from worker.gateway.lanes import Delivery
from worker.webhooks.lane_queue import LaneQueue, OrderedQueue, PlainQueue


def delivery(number: int, key: str | None = None, *, retry: bool = False) -> Delivery:
    return Delivery(number, 1, f"evt_{number}", b"{}", datetime.now(UTC), retry=retry, order_key=key)


def drained(queue: LaneQueue) -> list[int]:
    found = []
    while queue.ready:
        found.append(queue.take().delivery_id)
    return found


def test_retries_and_first_attempts_go_in_turn() -> None:
    queue = PlainQueue()
    for number in range(1, 5):
        queue.add(delivery(number))
        queue.add(delivery(10 * number, retry=True))
    assert (queue.firsts, queue.retries) == (4, 4)
    assert drained(queue) == [10, 1, 20, 2, 30, 3, 40, 4]
    queue.add(delivery(5))
    queue.add(delivery(6))
    assert drained(queue) == [5, 6], "alone neither waits for the other"


def test_one_of_an_entity_at_a_time_and_entities_in_turn() -> None:
    queue = OrderedQueue()
    for number, key in enumerate("aabba"):
        queue.add(delivery(number, key))
    first, second = queue.take(), queue.take()
    assert [first.delivery_id, second.delivery_id] == [0, 2]
    assert not queue.ready, "both entities have one under way"
    with pytest.raises(IndexError):
        queue.take()
    queue.ended(first)
    assert queue.take().delivery_id == 1
    queue.ended(second)
    assert drained(queue) == [3]


def test_what_is_put_back_goes_before_its_followers() -> None:
    queue = OrderedQueue()
    for number in range(3):
        queue.add(delivery(number, "a"))
    queue.put_back(queue.take(), last=False)
    assert queue.firsts == 3
    taken = queue.take()
    assert taken.delivery_id == 0
    assert not queue.ready


def test_followers_line_up_elsewhere_and_retries_stay() -> None:
    queue = OrderedQueue()
    failed = delivery(1, "a")
    queue.add(failed)
    queue.add(delivery(2, "a"))
    queue.add(delivery(9, "a", retry=True))
    queue.add(delivery(3, "b"))
    assert queue.take() == failed
    queue.ended(failed)
    assert [each.delivery_id for each in queue.take_followers("a")] == [2]
    assert (queue.firsts, queue.retries) == (1, 1)
    assert sorted(drained(queue)) == [3, 9]


def test_clearing_leaves_what_is_under_way() -> None:
    queue = OrderedQueue()
    queue.add(delivery(1, "a"))
    queue.add(delivery(2, "a"))
    under_way = queue.take()
    assert [each.delivery_id for each in queue.clear()] == [2]
    queue.add(delivery(3, "a"))
    assert not queue.ready
    queue.ended(under_way)
    assert drained(queue) == [3]


def test_a_probe_that_failed_goes_behind_the_others() -> None:
    plain, ordered = PlainQueue(), OrderedQueue()
    for number, key in ((1, "a"), (2, "a"), (3, "b")):
        plain.add(delivery(number, key))
        ordered.add(delivery(number, key))
    plain.put_back(plain.take(), last=True)
    assert drained(plain) == [2, 3, 1]
    ordered.put_back(ordered.take(), last=True)
    assert ordered.take().delivery_id == 3, "another entity's"
    assert ordered.take().delivery_id == 1, "and of its own it is still the first"
