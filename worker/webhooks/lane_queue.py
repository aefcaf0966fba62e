"""What one lane has in memory, and which of it goes next. Pure.

A lane without an order sends retries and first attempts in turn, so that a replay of many holds up nothing
new. An ordered lane sends one delivery of an entity at a time, in order.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Protocol

from worker.gateway.lanes import Delivery


class LaneQueue(Protocol):
    """Deliveries that wait. `firsts` and `retries`: how many of each; `ready`: whether one may go now."""

    @property
    def firsts(self) -> int: ...
    @property
    def retries(self) -> int: ...
    def __len__(self) -> int: ...
    @property
    def ready(self) -> bool: ...
    def add(self, delivery: Delivery) -> None: ...
    def take(self) -> Delivery:
        """The next one, under way from now on. Raises `IndexError` when none may go."""
        ...

    def put_back(self, delivery: Delivery, *, last: bool) -> None:
        """One that was taken and is not done: it goes first again, or last, behind other entities."""

    def ended(self, delivery: Delivery) -> None:
        """One that was taken is no longer under way."""

    def take_followers(self, key: str) -> list[Delivery]:
        """First attempts of the entity `key`, which line up elsewhere from now on."""
        ...

    def drop_last_half(self) -> list[Delivery]:
        """Gives up about half of the first attempts, those that would go last."""
        ...

    def clear(self) -> list[Delivery]:
        """Gives up all that wait; what is under way stays so."""
        ...


class PlainQueue:
    """First in, first out, with first attempts and retries in turn."""

    def __init__(self) -> None:
        self._firsts: deque[Delivery] = deque()
        self._retries: deque[Delivery] = deque()
        self._retry_next = True

    @property
    def firsts(self) -> int:
        return len(self._firsts)

    @property
    def retries(self) -> int:
        return len(self._retries)

    def __len__(self) -> int:
        return len(self._firsts) + len(self._retries)

    @property
    def ready(self) -> bool:
        return bool(self._firsts or self._retries)

    def add(self, delivery: Delivery) -> None:
        (self._retries if delivery.retry else self._firsts).append(delivery)

    def take(self) -> Delivery:
        from_retries = self._retries and (self._retry_next or not self._firsts)
        self._retry_next = not from_retries
        return (self._retries if from_retries else self._firsts).popleft()

    def put_back(self, delivery: Delivery, *, last: bool) -> None:
        queue = self._retries if delivery.retry else self._firsts
        queue.append(delivery) if last else queue.appendleft(delivery)

    def ended(self, delivery: Delivery) -> None:
        pass

    def take_followers(self, key: str) -> list[Delivery]:
        return []

    def drop_last_half(self) -> list[Delivery]:
        return [self._firsts.pop() for _ in range(len(self._firsts) // 2)]

    def clear(self) -> list[Delivery]:
        dropped = [*self._firsts, *self._retries]
        self._firsts.clear()
        self._retries.clear()
        return dropped


class OrderedQueue:
    """One delivery of an entity at a time. Entities take turns in the order in which they came up."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Delivery]] = {}
        self._turns: dict[str, None] = {}
        """Entities with something that waits and nothing under way, in the order of their turns."""
        self._busy: set[str] = set()
        self._firsts = self._retries = 0

    @property
    def firsts(self) -> int:
        return self._firsts

    @property
    def retries(self) -> int:
        return self._retries

    def __len__(self) -> int:
        return self._firsts + self._retries

    @property
    def ready(self) -> bool:
        return bool(self._turns)

    def add(self, delivery: Delivery) -> None:
        key = _key(delivery)
        waiting = self._waiting.setdefault(key, deque())
        waiting.append(delivery)
        if key not in self._busy:
            self._turns.setdefault(key)
        self._count(delivery, +1)

    def take(self) -> Delivery:
        if not self._turns:
            raise IndexError("nothing may go")
        key = next(iter(self._turns))
        del self._turns[key]
        delivery = self._pop(key)
        self._busy.add(key)
        return delivery

    def put_back(self, delivery: Delivery, *, last: bool) -> None:
        key = _key(delivery)
        self._busy.discard(key)
        self._waiting.setdefault(key, deque()).appendleft(delivery)
        self._turns = {**self._turns, key: None} if last else {key: None, **self._turns}
        self._count(delivery, +1)

    def ended(self, delivery: Delivery) -> None:
        key = _key(delivery)
        self._busy.discard(key)
        if key in self._waiting:
            self._turns.setdefault(key)

    def drop_last_half(self) -> list[Delivery]:
        # in part it cannot be done without giving an entity's order away
        return self.clear()

    def clear(self) -> list[Delivery]:
        dropped = list(self._all())
        self._waiting.clear()
        self._turns.clear()
        self._firsts = self._retries = 0
        return dropped

    def take_followers(self, key: str) -> list[Delivery]:
        waiting = self._waiting.pop(key, deque())
        self._turns.pop(key, None)
        followers = [delivery for delivery in waiting if not delivery.retry]
        for delivery in waiting:
            self._count(delivery, -1)
        for delivery in waiting:
            if delivery.retry:
                self.add(delivery)
        return followers

    def _all(self) -> Iterator[Delivery]:
        for waiting in self._waiting.values():
            yield from waiting

    def _pop(self, key: str) -> Delivery:
        waiting = self._waiting[key]
        delivery = waiting.popleft()
        if not waiting:
            del self._waiting[key]
        self._count(delivery, -1)
        return delivery

    def _count(self, delivery: Delivery, sign: int) -> None:
        if delivery.retry:
            self._retries += sign
        else:
            self._firsts += sign


def _key(delivery: Delivery) -> str:
    # one that failed before its endpoint became ordered has no key, and holds up nobody
    return delivery.order_key or f"delivery {delivery.delivery_id}"
