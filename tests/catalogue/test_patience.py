"""Which failures are waited out, and that somebody hears of it."""

from __future__ import annotations

from datetime import timedelta

import pytest

from worker.catalogue.patience import Patience
from worker.errors import Busy, GatewayError, Refused, Unreachable


class _Call:
    def __init__(self, *errors: GatewayError) -> None:
        self._errors = list(errors)
        self.count = 0

    async def __call__(self) -> str:
        self.count += 1
        if self._errors:
            raise self._errors.pop(0)
        return "done"


async def _no_wait(_seconds: float) -> None:
    return


async def test_an_outage_is_waited_out_and_told() -> None:
    said: list[str] = []
    call = _Call(Unreachable("Supabase could not be reached"), Busy("deadlock", code="40P01"))
    assert await Patience(said.append, sleep=_no_wait)(call) == "done"
    assert call.count == 3
    assert [line.split(";")[0] for line in said] == ["Supabase could not be reached", "deadlock [40P01]"]


async def test_a_refusal_is_final() -> None:
    call = _Call(Refused("tenant.not_found", code="PT404"))
    with pytest.raises(Refused):
        await Patience(lambda _: None, sleep=_no_wait)(call)
    assert call.count == 1


async def test_patience_ends() -> None:
    call = _Call(*(Unreachable("gone") for _ in range(1_000)))
    with pytest.raises(Unreachable):
        await Patience(lambda _: None, limit=timedelta(0), sleep=_no_wait)(call)
    assert call.count == 1


async def test_a_call_may_be_a_lambda() -> None:
    call = _Call(Unreachable("gone"))
    assert await Patience(lambda _: None, sleep=_no_wait)(lambda: call()) == "done"  # noqa: PLW0108 - that is what is tried
