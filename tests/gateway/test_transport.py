"""The transport keeps cancellations that the one below it loses."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import httpx
import pytest

from worker.gateway.transport import BoundedTransport

REQUEST = httpx.Request("POST", "http://supabase.test/rest/v1/rpc/anything")


class _Deaf(httpx.AsyncBaseTransport):
    """Answers when it is cancelled, as pyreqwest does when both come in the same moment."""

    def __init__(self, error: Exception | None) -> None:
        self.error, self.begun = error, asyncio.Event()

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.begun.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            if self.error:
                raise self.error from None
        return httpx.Response(200, content=b"{}")


class _Prompt(httpx.AsyncBaseTransport):
    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        return httpx.Response(200, stream=httpx.ByteStream(b"{}"))


@pytest.mark.parametrize("error", [None, httpx.ReadError("cut off")])
async def test_a_cancellation_that_was_swallowed_is_raised_after_all(error: Exception | None) -> None:
    deaf = _Deaf(error)
    transport = BoundedTransport(timeout=timedelta(seconds=5), inner=deaf)
    task = asyncio.create_task(transport.handle_async_request(REQUEST))
    await deaf.begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_time_out_around_a_call_stays_a_time_out() -> None:
    transport = BoundedTransport(timeout=timedelta(seconds=5), inner=_Deaf(None))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.01):
            await transport.handle_async_request(REQUEST)


async def test_cleaning_up_after_a_cancellation_may_call() -> None:
    transport = BoundedTransport(timeout=timedelta(seconds=5), inner=_Prompt())
    begun, statuses = asyncio.Event(), []

    async def work() -> None:
        try:
            begun.set()
            await asyncio.Event().wait()
        finally:
            statuses.append((await transport.handle_async_request(REQUEST)).status_code)

    task = asyncio.create_task(work())
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert statuses == [200]
