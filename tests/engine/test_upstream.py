"""Supabase as a whole: one line an outage, whatever single functions do."""

from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from tests.engine.clock import ManualClock
from worker.engine.condition import Condition
from worker.engine.upstream import Upstream
from worker.errors import BadAnswer, Refused, SchemaMissing, Unreachable


@pytest.fixture
def supabase(clock: ManualClock) -> Condition:
    return Condition("supabase", clock, lost="upstream.lost", back="upstream.back")


async def test_one_missing_function_among_others_that_answer_is_one_line(
    supabase: Condition, clock: ManualClock
) -> None:
    upstream = Upstream(supabase, clock, away=(SchemaMissing, Unreachable))
    upstream.heard("dispatch_outbox", None)
    with capture_logs() as logs:
        for _ in range(20):
            upstream.heard("claim_jobs", SchemaMissing("claim_jobs is missing"))
            upstream.heard("dispatch_outbox", None)
            assert not supabase.holds
            await clock.advance(5)
    assert [line["event"] for line in logs] == ["upstream.lost"]
    upstream.heard("claim_jobs", None)
    assert supabase.holds


async def test_a_function_that_is_not_called_any_more_is_forgotten(
    supabase: Condition, clock: ManualClock
) -> None:
    upstream = Upstream(supabase, clock, away=(SchemaMissing, Unreachable))
    upstream.heard("extend_jobs", Unreachable("away"))
    upstream.heard("dispatch_outbox", None)
    assert not supabase.holds
    await clock.advance(16)
    upstream.heard("dispatch_outbox", None)
    assert supabase.holds


def test_garbage_is_no_sign_of_supabase(supabase: Condition, clock: ManualClock) -> None:
    upstream = Upstream(supabase, clock, away=(SchemaMissing, Unreachable))
    with capture_logs() as logs:
        upstream.heard("dispatch_outbox", BadAnswer("it cannot be read"))
    assert logs == []
    assert not supabase.holds
    upstream.heard("dispatch_outbox", Refused("no", code="PT422"))
    assert supabase.holds, "a refusal is an answer"
