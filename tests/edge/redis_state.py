"""What the adapter believes of its Redis, said by a test instead of by a worker or by time."""

from __future__ import annotations

import time

from tests.stack.redis import ask
from worker.cache.store import ALIVE


def grown_up(redis_url: str) -> None:
    """As after ten minutes without a loss: Postgres need not be asked about nonces."""
    assert ask(redis_url, "SET", "pms:{admission}:since", str(int(time.time()) - 601)).startswith("+OK")


def told_of_changes(redis_url: str) -> None:
    """As while a worker invalidates; none does, so tags never move."""
    assert ask(redis_url, "SET", ALIVE, "test").startswith("+OK")
