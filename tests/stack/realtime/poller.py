"""Polls a temporary logical slot for the changes of the publication, at the real server's pace."""

from __future__ import annotations

import asyncio
import logging
import random
from typing import Any

import psycopg
from psycopg import AsyncConnection

from tests.stack.realtime.batch import Batch
from tests.stack.realtime.database import Session
from tests.stack.realtime.limits import RateCounter
from tests.stack.realtime.pgoutput import Change, Decoder
from tests.stack.realtime.settings import Settings
from tests.stack.realtime.subscriptions import PUBLICATION, Registry
from tests.stack.realtime.values import TypeNames

SLOT = "supabase_realtime_replication_slot"
IDLE_FACTOR = 5
"""After a poll that saw nothing. It is 1.5 to 2 after changes for nobody, 0 after a delivery."""
log = logging.getLogger(__name__)


class Poller:
    """Runs while somebody subscribes, and a while longer. Commits made while it has no slot reach nobody."""

    def __init__(self, settings: Settings, registry: Registry, rate: RateCounter) -> None:
        self._settings = settings
        self._registry = registry
        self._rate = rate
        self._slot_session = Session(settings.db_url, "realtime_rls")
        # Any error ends the temporary slots of its session, so changes are judged in another one.
        self._judge_session = Session(settings.db_url, "realtime_rls_judge")
        self._wanted = asyncio.Event()
        self.ready = asyncio.Event()
        """The slot exists: what is committed from now on is seen."""

    def want(self) -> None:
        self._wanted.set()

    async def run(self) -> None:
        """Runs until cancelled."""
        try:
            while True:
                await self._wanted.wait()
                try:
                    await self._poll_while_wanted()
                except Exception as error:  # whatever it is: the subscribers wait for the next slot
                    log.warning("poller lost its slot: %r", error)
                    await asyncio.sleep(self._settings.poll_retry_ms / 1000)
                finally:
                    self.ready.clear()
                    await self._slot_session.close()
        finally:
            await self._judge_session.close()

    async def _poll_while_wanted(self) -> None:
        slot = SLOT + self._settings.slot_suffix
        decoder, types = Decoder(), TypeNames()
        idle_since = asyncio.get_running_loop().time()
        async with self._slot_session.use() as connection:
            await connection.execute(
                "select pg_create_logical_replication_slot(%s, 'pgoutput', true)", [slot]
            )
            self.ready.set()
            while self._wanted.is_set():
                await asyncio.sleep(await self._poll(connection, slot, decoder, types))
                now = asyncio.get_running_loop().time()
                if len(self._registry):
                    idle_since = now
                elif now - idle_since > self._settings.poll_idle_stop_ms / 1000:
                    self._wanted.clear()

    async def _poll(
        self, connection: AsyncConnection[Any], slot: str, decoder: Decoder, types: TypeNames
    ) -> float:
        """One look; the seconds to wait until the next."""
        cursor = await connection.execute(
            """
            select data from pg_logical_slot_get_binary_changes(
              %s, null, %s, 'proto_version', '1', 'publication_names', %s)
            """,
            [slot, self._settings.poll_max_changes, PUBLICATION],
        )
        changes = [change for (data,) in await cursor.fetchall() if (change := decoder.feed(bytes(data)))]
        delivered = await self._handle(changes, types) if changes else 0
        interval = self._settings.poll_interval_ms / 1000
        if delivered:
            return 0
        return interval * (random.uniform(1.5, 2) if changes else IDLE_FACTOR)

    async def _handle(self, changes: list[Change], types: TypeNames) -> int:
        """Sends what the changes give; how many frames that were."""
        if self._rate.limited:
            log.warning("%d changes thrown away: too many events per second", len(changes))
            return 0
        limit = self._settings.poll_max_record_bytes
        try:
            async with self._judge_session.use() as connection:
                deliveries = await Batch(connection, self._registry, types, limit).deliveries(changes)
        except (psycopg.OperationalError, psycopg.InterfaceError):
            raise
        except Exception as error:  # it is this batch that cannot be judged, not the next
            log.warning("%d changes lost: %r", len(changes), error)
            return 0
        self._rate.add(len(deliveries))
        for delivery in deliveries:
            if not delivery.channel.closed:
                delivery.channel.push_change(delivery.event, delivery.payload)
        return len(deliveries)
