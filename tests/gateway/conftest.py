"""Fixtures of the gateway's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.gateway.double import RealtimeDouble
from tests.stack.addresses import Addresses
from worker.config import Settings
from worker.gateway.client import SupabaseRpc


@pytest.fixture
async def double() -> AsyncIterator[RealtimeDouble]:
    made = RealtimeDouble()
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def settings(addresses: Addresses) -> Settings:
    """The worker's settings for the shared platform."""
    return settings_for(addresses.api_url, addresses.secret_key)


@pytest.fixture
async def rpc(settings: Settings) -> AsyncIterator[SupabaseRpc]:
    async with SupabaseRpc(settings) as made:
        yield made


def settings_for(url: str, key: str) -> Settings:
    return Settings.model_validate({"supabase_url": url, "SUPABASE_SECRET_KEY": key})
