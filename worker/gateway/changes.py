"""Pushed changes as the worker sees them: what is pending, and what is to be written for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Any, Literal

from msgspec import DecodeError, Raw
from pydantic import AwareDatetime, BaseModel, RootModel

from worker.engine.job import AttemptId
from worker.engine.ports import Rpc
from worker.errors import BadAnswer
from worker.gateway.answers import parse
from worker.gateway.client import SupabaseRpc
from worker.gateway.exact import decoded, encoded
from worker.gateway.principals import PrincipalTokens

Outcome = Literal["written", "rejected", "stale", "gone"]


class PendingChange(BaseModel):
    """A change, with its row as it is (`row`), as its author knew it (`base`, None: not known any more) and
    which fields others wrote in between, by version and milliseconds; `own`: what its own client did then.
    `stamps`: when clients say that they wrote fields. `unfit`: the row holds what cannot be read."""

    id: str
    principal_id: str
    entity: str
    entity_id: str
    operation: Literal["insert", "update", "delete"]
    base_version: int | None
    edit: dict[str, Any]
    stamp: str
    pushed_at: AwareDatetime
    row: dict[str, Any] | None
    base: dict[str, Any] | None
    touched: list[tuple[str, int, int]]
    own: list[dict[str, Any]]
    stamps: list[tuple[str, int, str]]
    unfit: bool


class Batch(BaseModel):
    """At most one change for each entity, in the order of pushing. `policies`: by entity, then by field.
    `now`: the database's. `more`: others are pending beyond the position `after`."""

    changes: list[PendingChange]
    policies: dict[str, dict[str, str]]
    now: AwareDatetime
    after: int | None
    more: bool


class _Applied(BaseModel):
    change_id: str
    outcome: Outcome


class _AllApplied(RootModel[list[_Applied]]):
    pass


class RpcChanges:
    """All methods raise `GatewayError`."""

    def __init__(self, rpc: SupabaseRpc, tokens: PrincipalTokens) -> None:
        self._rpc, self._tokens = rpc, tokens

    async def read(self, tenant_id: str, *, after: int, limit: int) -> Batch:
        """Of up to `limit` pending changes beyond `after` those that are the oldest of their entity."""
        answer = await self._rpc.answer("read_changes", p_tenant_id=tenant_id, p_after=after, p_limit=limit)
        try:
            return parse(Batch, decoded(answer))
        except (DecodeError, RecursionError, ValueError) as error:
            raise BadAnswer(f"read_changes answered what cannot be read: {error}") from None

    async def apply(
        self, principal_id: str, attempt_id: AttemptId, writes: Sequence[Mapping[str, Any]]
    ) -> dict[str, Outcome]:
        """Writes as `principal_id`; what became of each, by the change's id."""
        token = self._tokens.token(principal_id)
        exact = Raw(encoded(writes))
        answer = await self._rpc.call_as(token, "apply_changes", p_attempt_id=attempt_id, p_writes=exact)
        return {each.change_id: each.outcome for each in parse(_AllApplied, answer).root}


class _Told(BaseModel):
    told: int


class Forgotten(BaseModel):
    """How many changes were forgotten; `more`: others are as old."""

    forgotten: int
    more: bool


class RpcSyncUpkeep:
    """All methods raise `GatewayError`."""

    def __init__(self, rpc: Rpc) -> None:
        self._rpc = rpc

    async def forget(self, *, keep: timedelta) -> Forgotten:
        """Forgets changes that were settled before that."""
        return parse(Forgotten, await self._rpc.call("forget_changes", p_keep_days=keep.days))

    async def notify(self, *, older_than: timedelta) -> int:
        """Tells tenants whose oldest open conflict is older, once a day; how many were told."""
        minutes = int(older_than.total_seconds() // 60)
        return parse(_Told, await self._rpc.call("notify_open_conflicts", p_minutes=minutes)).told
