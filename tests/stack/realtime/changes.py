"""postgres_changes."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tests.stack.realtime.limits import RateCounter
from tests.stack.realtime.settings import Settings

if TYPE_CHECKING:
    from tests.stack.realtime.channel import Channel


class Changes:
    def __init__(self, settings: Settings, rate: RateCounter) -> None:
        self.polling = False

    async def run(self) -> None:
        await asyncio.Event().wait()

    def describe(self, bindings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{"id": zlib.crc32(json.dumps(b, sort_keys=True).encode()) & 0x7FFFFFF, **b} for b in bindings]

    def subscribe(self, channel: Channel) -> None: ...

    def renew(self, channel: Channel) -> None: ...

    def unsubscribe(self, channel: Channel) -> None: ...
