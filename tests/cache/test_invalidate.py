"""Redis never says of a tag that it is older than its last change, whoever tells it, in whatever order."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from datetime import timedelta

import pytest
from redis.asyncio import Redis

from tests.cache.conftest import Server
from tests.cache.log import TENANT, Log, job
from tests.engine.clock import ManualClock
from tests.engine.conftest import MakeRunner, running
from tests.engine.memory import MemoryQueue
from worker.cache.handlers import Invalidate
from worker.cache.store import TAGS, CacheStore, Place
from worker.engine.condition import Condition
from worker.engine.job import Done, NewJob, Snooze
from worker.errors import PayloadError, Unreachable

KEY = "00000000-0000-0000-0000-0000000000ff"
Make = Callable[[Log], Invalidate]


@pytest.fixture
def make(store: CacheStore, redis_answers: Condition, clock: ManualClock) -> Make:
    return lambda log: Invalidate(log, store, redis_answers, clock)


async def told(client: Redis) -> dict[str, str]:
    """What Redis knows, by the last part of the key: `products`, `through`, a key's id."""
    names = [str(name) for name in await client.keys("pms:*")]
    return {name.rpartition(":")[2]: str(await client.get(name)) for name in names}


async def test_what_changed_is_raised_and_nothing_else(make: Make, client: Redis) -> None:
    log = Log(keys_of={KEY})
    log.write("other", "products", "stock")
    assert await make(log)(job()) == Done()
    # the first word: nobody knows what was told before, so everything changed
    assert await told(client) == dict.fromkeys([*TAGS, KEY, "through"], "e1:3")
    log.write("stock", "other", KEY, "stock", "other")
    assert await make(log)(job()) == Done()
    assert log.asked == [(None, 0), ("e1", 3)]
    assert await told(client) == {
        "products": "e1:3", "orders": "e1:3", "stock": "e1:7", KEY: "e1:6", "through": "e1:8",
    }  # fmt: skip
    for name in await client.keys("*"):
        assert 0 < await client.pttl(name) <= 2 * 86_400_000


async def test_within_an_epoch_nothing_goes_back_and_another_replaces_it(
    store: CacheStore, client: Redis
) -> None:
    await client.set(f"pms:{{{TENANT}}}:tag:products", "e1:90")  # by a reader, or whoever
    await client.set(f"pms:key:{KEY}", "e1:90")
    assert await store.tell(TENANT, None, Place("e1", 9), tags={"products": 9, "stock": 9}, keys={KEY: 9})
    assert await told(client) == {"products": "e1:90", KEY: "e1:90", "stock": "e1:9", "through": "e1:9"}
    assert await store.tell(TENANT, Place("e1", 9), Place("e2", 4), tags={"products": 4}, keys={KEY: 3})
    assert await told(client) == {"products": "e2:4", KEY: "e2:3", "stock": "e1:9", "through": "e2:4"}
    assert await store.through(TENANT) == Place("e2", 4)
    # who comes late from the former epoch changes nothing
    assert not await store.tell(TENANT, Place("e1", 9), Place("e1", 99), tags={"products": 99}, keys={})
    assert (await told(client))["products"] == "e2:4"


async def test_after_a_restore_everything_changed(make: Make, client: Redis) -> None:
    log = Log()
    log.write("products", "stock", "orders", "other")
    await make(log)(job())
    log.epoch, log.changes = "e2", ["other"]
    await make(log)(job())
    assert await told(client) == dict.fromkeys([*TAGS, "through"], "e2:1")


async def test_a_redis_that_was_emptied_in_mid_job_learns_everything(make: Make, client: Redis) -> None:
    """A word that only adds what is new would leave the tags of before at nothing."""
    log = Log()
    log.write("products")
    await make(log)(job())
    log.write("products", "stock")
    await make(log)(job())
    log.write("orders")
    log.meanwhile = [client.flushall]
    assert await make(log)(job()) == Done()
    assert log.asked[-2:] == [("e1", 3), (None, 0)]
    assert await told(client) == dict.fromkeys([*TAGS, "through"], "e1:4")


async def test_a_slow_twin_takes_nothing_back(make: Make, client: Redis) -> None:
    log = Log()
    log.write("products")
    await make(log)(job())
    log.write("products")

    async def twin() -> None:
        log.write("products", "stock", "other")
        assert await make(log)(job()) == Done()

    log.meanwhile = [twin]
    assert await make(log)(job()) == Done()
    assert await told(client) == {"products": "e1:3", "stock": "e1:4", "orders": "e1:1", "through": "e1:5"}


@pytest.mark.parametrize("odd", ["nonsense", "e1:", "e1:007", "e1:-3", "e1:٣", "e1:2\n"])
async def test_a_place_that_is_none_is_written_anew(make: Make, client: Redis, odd: str) -> None:
    log = Log()
    log.write("products", "stock")
    through = f"pms:{{{TENANT}}}:through"
    await client.set(through, odd)
    assert await make(log)(job()) == Done()
    assert log.asked == [(None, 0)]
    assert await told(client) == dict.fromkeys([*TAGS, "through"], "e1:2")


async def test_who_is_passed_by_twins_again_and_again_pauses(make: Make, client: Redis) -> None:
    log = Log()

    async def passed() -> None:
        await client.set(f"pms:{{{TENANT}}}:through", f"e1:{len(log.asked)}")

    log.meanwhile = [passed, passed, passed]
    outcome = await make(log)(job())
    assert isinstance(outcome, Snooze)
    assert outcome.after > timedelta(0)


async def test_twins_over_a_growing_log_end_where_the_log_ends(make: Make, client: Redis) -> None:
    """More than there are slots; each tries again when another told more meanwhile."""
    log, chance = Log(keys_of={KEY}), random.Random(11)

    async def one() -> int:
        done = 0
        for _ in range(20):
            log.write(*chance.choices([*TAGS, KEY, "other"], k=3))
            done += await make(log)(job()) == Done()
        return done

    ended = await asyncio.gather(*(one() for _ in range(4)))
    assert sum(ended) > 0
    assert await make(log)(job()) == Done()
    seen = await told(client)
    assert seen["through"] == f"e1:{len(log.changes)}"
    for what in (*TAGS, KEY):
        last = max(n for n, each in enumerate(log.changes, 1) if each == what)
        assert int(seen[what].partition(":")[2]) >= last


async def test_an_answer_that_is_lost_is_no_word_that_is_lost(
    make: Make, server: Server, client: Redis
) -> None:
    """The worker was killed after its word, or Redis with it: the job runs again, and says the same."""
    log = Log()
    log.write("products")
    await make(log)(job())
    before = await told(client)
    assert await make(log)(job()) == Done()
    assert await told(client) == before

    async def killed() -> None:
        server.process.kill()

    log.write("stock")
    log.meanwhile = [killed]
    outcome = await make(log)(job())
    assert isinstance(outcome, Snooze)
    server.process.start()
    assert await make(log)(job()) == Done()
    assert await told(client) == dict.fromkeys([*TAGS, "through"], "e1:2")


async def test_redis_away_costs_no_attempt_and_is_one_line(
    server: Server,
    client: Redis,
    make: Make,
    make_runner: MakeRunner,
    queue: MemoryQueue,
    clock: ManualClock,
    redis_answers: Condition,
) -> None:
    log = Log()
    log.write("orders")
    server.process.kill()
    runner = make_runner(make(log), poll=1)
    async with running(runner):
        await queue.enqueue(NewJob(Invalidate.kind, {"tenant_id": TENANT}))
        await _until(lambda: redis_answers.known and not redis_answers.holds, clock)
        assert "Redis" in (redis_answers.reason or "")
        for _ in range(20):  # more often than attempts are charged
            await _turn(clock)
        assert {type(result.outcome) for result in queue.settled} == {Snooze}
        assert len(queue.settled) > queue.max_attempts
        assert [row.state for row in queue.rows.values()] == ["waiting"]
        server.process.start()
        await _until(lambda: queue.rows == {}, clock)
    assert redis_answers.holds
    assert (await told(client))["orders"] == "e1:1"


async def test_the_databases_trouble_is_the_engines_matter(make: Make) -> None:
    log = Log()

    async def away() -> None:
        raise Unreachable("refused")

    log.meanwhile = [away]
    with pytest.raises(Unreachable):
        await make(log)(job())


async def test_a_payload_of_another_tenant_is_poison(make: Make) -> None:
    other = job("00000000-0000-0000-0000-00000000000b").with_payload(job().payload)
    with pytest.raises(PayloadError):
        await make(Log())(other)


async def _turn(clock: ManualClock) -> None:
    await clock.advance(1)
    await asyncio.sleep(0.01)  # Redis' own sockets are of the real world


async def _until(happened: Callable[[], bool], clock: ManualClock) -> None:
    async with asyncio.timeout(20):
        while not happened():
            await _turn(clock)
