"""Whether a request may pass: nonces once, rates kept, use counted; from many sessions at once."""

from __future__ import annotations

import asyncio
import datetime as dt
import uuid
from typing import Any, LiteralString

import pytest
from psycopg import errors

from tests.databases import Connection, Database, acting_as
from tests.sql.ask import column, rows, rpc, value
from tests.sql.clock import move_clock, stop_clock
from tests.sql.company import Company, found_company
from tests.sql.keys import Key, add_key, manage, now

TWINS = 20
NONCE = "0123456789abcdef"
# What everybody writes first: look, then insert.
NAIVE: LiteralString = """
create or replace function worker.admit_request(
  p_api_key_id uuid, p_nonce text, p_signed_at timestamptz, p_rate_per_minute integer,
  p_version bigint default null
) returns jsonb language plpgsql security definer set search_path = ''
as $$
begin
  if exists (select from private.api_nonces n where n.api_key_id = p_api_key_id and n.nonce = p_nonce) then
    return '{"admitted": false, "why": "replayed"}';
  end if;
  perform pg_sleep(0.02);
  insert into private.api_nonces values (p_api_key_id, p_nonce, now() + interval '11 minutes')
  on conflict do nothing;
  return '{"admitted": true, "why": null}';
end $$
"""


async def admit(db: Connection, key: Key, nonce: str = NONCE, rate: int = 600, **arguments: object) -> Any:
    signed_at = arguments.pop("signed_at", None) or await now(db)
    return await rpc(
        db,
        "admit_request",
        p_api_key_id=key.id,
        p_nonce=nonce,
        p_signed_at=signed_at,
        p_rate_per_minute=rate,
        **arguments,
    )


async def test_a_key_that_changed_since_it_was_read_is_not_admitted(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    version = (await rpc(db, "read_api_key", p_api_key_id=key.id))["version"]
    for n in range(2):
        assert (await admit(db, key, f"{NONCE}{n}", p_version=version))["admitted"], "use is no change"
        await rpc(db, "note_api_use", p_uses=[{"api_key_id": str(key.id), "day": "2026-11-20", "requests": 1,
            "last_used_at": str(await now(db))}])  # fmt: skip
    await manage(db, company, "rotate_api_key", key, p_overlap="0")
    told = await admit(db, key, p_version=version)
    assert (told["admitted"], told["why"]) == (False, "changed")
    version = (await rpc(db, "read_api_key", p_api_key_id=key.id))["version"]
    assert (await admit(db, key, p_version=version))["admitted"], "and its nonce is good yet"
    await manage(db, company, "revoke_api_key", key)
    assert (await admit(db, key, "another nonce of it", p_version=version))["why"] == "changed"
    assert (await admit(db, key, "another nonce of it", p_version=version + 1))["why"] == "changed"


async def admitted_of_twins(database: Database, key: Key) -> int:
    sessions = [await database.connect() for _ in range(TWINS)]
    answers = await asyncio.gather(*(admit(session, key) for session in sessions))
    assert {answer["why"] for answer in answers} <= {None, "replayed"}
    return sum(answer["admitted"] for answer in answers)


async def test_of_twenty_twins_with_one_nonce_exactly_one_passes(
    db: Connection, database: Database, company: Company
) -> None:
    assert await admitted_of_twins(database, await add_key(db, company)) == 1


async def test_looking_before_inserting_lets_twins_pass(
    db: Connection, database: Database, company: Company
) -> None:
    await db.execute(NAIVE)
    assert await admitted_of_twins(database, await add_key(db, company)) > 1


async def test_a_nonce_is_its_keys_own(db: Connection, company: Company) -> None:
    one, another = await add_key(db, company), await add_key(db, company)
    assert (await admit(db, one))["admitted"]
    assert (await admit(db, another))["admitted"]
    replay = await admit(db, one)
    assert (replay["admitted"], replay["why"]) == (False, "replayed")


@pytest.mark.parametrize("ahead", [-300, 0, 300])
async def test_a_nonce_is_remembered_while_its_request_could_come_again(
    db: Connection, company: Company, ahead: int
) -> None:
    """A request signed 300 s ahead is good for 600 s more, and the clocks of two adapters differ."""
    await stop_clock(db)
    key = await add_key(db, company)
    signed_at = await now(db) + dt.timedelta(seconds=ahead)
    assert (await admit(db, key, signed_at=signed_at))["admitted"]
    await move_clock(db, dt.timedelta(seconds=ahead + 300 + 60))
    await rpc(db, "forget_api_requests")
    assert (await admit(db, key, signed_at=signed_at))["why"] == "replayed"
    await move_clock(db, dt.timedelta(minutes=17))
    assert (await rpc(db, "forget_api_requests"))["nonces"] == 1
    assert await value(db, "select count(*) from private.api_nonces") == 0


async def test_a_request_over_the_rate_leaves_nothing_and_a_replay_counts_for_nothing(
    db: Connection, company: Company
) -> None:
    """Else a key that calls too often fills a table, and whoever caught one request uses up its rate."""
    await stop_clock(db)
    key = await add_key(db, company)
    assert (await admit(db, key, rate=2))["admitted"]
    assert [(await admit(db, key, rate=2))["why"] for _ in range(3)] == ["replayed"] * 3
    assert (await admit(db, key, "b" * 16, rate=2))["admitted"]
    late = "c" * 16
    assert [(await admit(db, key, late, rate=2))["why"] for _ in range(3)] == ["limited"] * 3
    assert await value(db, "select count(*) from private.api_nonces") == 2
    await move_clock(db, dt.timedelta(minutes=1))
    assert (await admit(db, key, late, rate=2))["admitted"]


async def test_no_time_keeps_a_nonce_for_ever(db: Connection, company: Company) -> None:
    await stop_clock(db)
    await admit(db, await add_key(db, company), signed_at=await now(db) + dt.timedelta(days=9))
    await move_clock(db, dt.timedelta(minutes=22))
    assert (await rpc(db, "forget_api_requests"))["nonces"] == 1


@pytest.mark.parametrize("rate", [1, 7, 60, 601, 100_000])
async def test_a_minute_holds_its_rate_at_once_and_then_one_by_one(
    db: Connection, company: Company, rate: int
) -> None:
    await stop_clock(db)
    subject = f"key {(await add_key(db, company)).id}"
    count = min(rate, 700)
    passed = await column(
        db, "select private.admit(%s, %s) from generate_series(1, %s)", subject, rate, count
    )
    assert all(answer["admitted"] for answer in passed)
    assert passed[0]["remaining"] == rate - 1
    if rate > 700:
        return
    refused = await value(db, "select private.admit(%s, %s)", subject, rate)
    assert (refused["admitted"], refused["why"], refused["remaining"]) == (False, "limited", 0)
    assert 1 <= refused["reset_seconds"] <= -(-60 // rate)
    await move_clock(db, dt.timedelta(seconds=60 / rate))
    again = await column(
        db, "select private.admit(%s, %s)->'admitted' from generate_series(1, 2)", subject, rate
    )
    assert again == [True, False], "one each 60/rate seconds"
    await move_clock(db, dt.timedelta(minutes=5))
    passed = await column(
        db, "select private.admit(%s, %s)->'admitted' from generate_series(1, %s)", subject, rate, rate + 1
    )
    assert passed.count(True) == rate, "what was not used is not saved up"


async def test_the_limit_holds_from_many_sessions_at_once(
    db: Connection, database: Database, company: Company
) -> None:
    await stop_clock(db)
    key = await add_key(db, company)
    sessions = [await database.connect() for _ in range(10)]

    async def hammer(session: Connection, number: int) -> int:
        answers = [await admit(session, key, f"{number:08}{n:08}", rate=40) for n in range(10)]
        return sum(answer["admitted"] for answer in answers)

    assert sum(await asyncio.gather(*(hammer(s, n) for n, s in enumerate(sessions)))) == 40


async def test_addresses_have_limits_of_their_own_and_a_net_of_ipv6_is_one(db: Connection) -> None:
    await stop_clock(db)
    groups = [("192.0.2.1",), ("192.0.2.2",), ("2001:db8::1", "2001:db8::ffff:2"), ("2001:db8:0:1::1",)]
    groups += [("no address",), ("",)]
    for group in groups:
        for address in group[:1]:
            assert (await rpc(db, "admit_address", p_address=address, p_rate_per_minute=1))["admitted"]
        for address in group:
            answer = await rpc(db, "admit_address", p_address=address, p_rate_per_minute=1)
            assert (answer["admitted"], answer["why"], answer["reset_seconds"]) == (False, "limited", 60)


async def use(db: Connection, key: Key, **fields: object) -> dict[str, object]:
    moment = await now(db)
    cache = {"hit": 2, "miss": 1, "stale": 0, "joined": 4, "bypass": 0}
    plain = {"requests": 7, "refused": 1, "cache": cache, "last_used_at": moment.isoformat()}
    return {"api_key_id": str(key.id), "day": moment.date().isoformat(), **plain, **fields}


USAGE: LiteralString = (
    "select requests, refused, cache_hit, cache_miss, cache_stale, cache_joined, cache_bypass"
    " from public.api_key_usage order by api_key_id, day"
)


async def test_use_adds_up_by_key_and_day(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    assert await rpc(db, "note_api_use", p_uses=[await use(db, key)]) == {"noted": 1}
    twice = [await use(db, key), await use(db, key, cache=None, requests=1, refused=None)]
    await rpc(db, "note_api_use", p_uses=twice)
    assert await rows(db, USAGE) == [(15, 2, 4, 2, 0, 8, 0)]
    unknown = {**await use(db, key), "api_key_id": str(uuid.uuid4())}
    assert await rpc(db, "note_api_use", p_uses=[unknown]) == {"noted": 0}
    await rpc(
        db,
        "note_api_use",
        p_uses=[await use(db, key, day="2020-01-01"), await use(db, key, day="2999-01-01")],
    )
    days = "select day - private.today() from public.api_key_usage order by day"
    assert await column(db, days) == [-1, 0, 1], "a clock gone wrong leaves no days of other years"


async def test_use_is_read_by_managers_of_the_tenant_alone(db: Connection, company: Company) -> None:
    await rpc(db, "note_api_use", p_uses=[await use(db, await add_key(db, company))])
    stranger = await found_company(db, "other")
    for who, count in ((company.owner, 1), (stranger.owner, 0)):
        async with acting_as(db, who):
            assert await value(db, "select count(*) from public.api_key_usage") == count


async def test_nonces_that_were_taken_elsewhere_count_here(db: Connection, company: Company) -> None:
    key = await add_key(db, company)
    nonces = [{"nonce": NONCE, "signed_at": (await now(db)).isoformat()}] * 2
    await rpc(db, "note_api_use", p_uses=[await use(db, key, nonces=nonces)])
    await rpc(db, "note_api_use", p_uses=[await use(db, key, nonces=nonces)])
    assert (await admit(db, key))["why"] == "replayed"


@pytest.mark.parametrize("uses", ["{}", "null", "[" + ", ".join(["{}"] * 1001) + "]"])
async def test_uses_are_a_list_of_at_most_a_thousand(db: Connection, uses: str) -> None:
    with pytest.raises(errors.Error, match=r"row\.invalid"):
        await value(db, "select worker.note_api_use(%s::jsonb)", uses)


async def test_adapters_note_the_same_keys_at_once_without_a_deadlock(
    db: Connection, database: Database, company: Company
) -> None:
    keys = [await add_key(db, company) for _ in range(8)]
    uses = [await use(db, key) for key in keys]
    sessions = [await database.connect() for _ in range(6)]

    async def note(session: Connection, turn: int) -> None:
        for n in range(10):
            step = (turn + n) % len(uses)
            await rpc(session, "note_api_use", p_uses=[*uses[step:], *uses[:step]])

    await asyncio.gather(*(note(session, n) for n, session in enumerate(sessions)))
    assert await rows(db, USAGE) == [(420, 60, 120, 60, 0, 240, 0)] * 8


async def test_last_use_is_noted_every_ten_seconds_and_never_waits(
    db: Connection, other: Connection, company: Company
) -> None:
    await stop_clock(db)
    key = await add_key(db, company)
    first = await now(db)
    await rpc(db, "note_api_use", p_uses=[await use(db, key)])
    await move_clock(db, dt.timedelta(seconds=9))
    await rpc(db, "note_api_use", p_uses=[await use(db, key)])
    assert await column(db, "select last_used_at from public.api_keys") == [first]
    await move_clock(db, dt.timedelta(seconds=2))
    async with acting_as(other, company.owner):
        await other.execute("reset role")
        await value(other, "select id from public.api_keys for update")
        await asyncio.wait_for(rpc(db, "note_api_use", p_uses=[await use(db, key)]), 5)
    assert await column(db, "select last_used_at from public.api_keys") == [first]
    await rpc(db, "note_api_use", p_uses=[await use(db, key)])
    assert await column(db, "select last_used_at from public.api_keys") == [await now(db)]


async def test_what_requests_left_is_forgotten_slice_by_slice(db: Connection, company: Company) -> None:
    await stop_clock(db)
    key = await add_key(db, company)
    for n in range(5):
        await admit(db, key, f"{n:016}")
    await manage(db, company, "rotate_api_key", key, p_overlap="1 hour")
    await rpc(db, "note_api_use", p_uses=[await use(db, key)])
    assert await rpc(db, "forget_api_requests") == {"nonces": 0, "rates": 0, "secrets": 0, "more": False}
    await move_clock(db, dt.timedelta(hours=3))
    assert await rpc(db, "forget_api_requests", p_limit=3) == {
        "nonces": 3,
        "rates": 1,
        "secrets": 1,
        "more": True,
    }
    assert await rpc(db, "forget_api_requests", p_limit=3) == {
        "nonces": 2,
        "rates": 0,
        "secrets": 0,
        "more": False,
    }
    await move_clock(db, dt.timedelta(days=401))
    await rpc(db, "forget_api_requests")
    assert await rows(db, USAGE) == []
