"""The job that erases deleted tenants: slice by slice, until nothing is left."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx

from tests.people import People, Tenant
from worker.engine.job import AttemptId, Done, Job, JobId, Snooze
from worker.upkeep.handlers import EraseTenants, ErasurePayload


class Left:
    """Answers with what is left after each slice."""

    def __init__(self, *left: int) -> None:
        self._left = list(left)

    async def erase_tenants(self) -> int:
        return self._left.pop(0)


def job() -> Job[ErasurePayload]:
    return Job(
        job_id=JobId(1),
        attempt_id=AttemptId("a"),
        kind=EraseTenants.kind,
        tenant_id=None,
        payload=ErasurePayload(),
        attempt=1,
        max_attempts=10,
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


async def test_it_returns_at_once_while_something_is_left() -> None:
    erase = EraseTenants(Left(2, 1, 0, 0))
    outcomes = [await erase(job()) for _ in range(4)]
    assert outcomes == [Snooze(timedelta(0)), Snooze(timedelta(0)), Done(), Done()]


async def test_a_deleted_tenant_is_gone_at_once_and_erased_later(
    people: People, tenant: Tenant, worker_rpc: httpx.AsyncClient
) -> None:
    async with people.rest(tenant.owner) as rest:
        arguments = {"p_tenant_id": str(tenant.id), "p_confirm_slug": tenant.slug}
        answer = await rest.post("/rpc/delete_tenant", json=arguments)
        assert answer.json() == {"tenant_id": str(tenant.id), "status": "erasing"}
        assert (await rest.get("/tenants", params={"id": f"eq.{tenant.id}"})).json() == []
        assert (await rest.post("/rpc/delete_tenant", json=arguments)).status_code == 404
    while (slice_ := (await worker_rpc.post("/rpc/erase_tenants", json={})).json())["left"]:
        assert slice_["erased"] > 0
    async with people.service() as service:
        assert (await service.get("/tenants", params={"id": f"eq.{tenant.id}"})).json() == []
