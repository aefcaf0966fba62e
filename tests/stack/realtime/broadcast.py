"""Broadcasts: who is joined to which topic, and the stream that brings rows of `realtime.messages` there."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from typing import TYPE_CHECKING

import psycopg

from tests.stack.realtime.database import Session
from tests.stack.realtime.frames import Broadcast, compact
from tests.stack.realtime.limits import RateCounter
from tests.stack.realtime.partitions import PREPARE_DATABASE, make_partitions
from tests.stack.realtime.pgoutput import Change, Decoder
from tests.stack.realtime.replication import ReplicationError, open_stream
from tests.stack.realtime.settings import Settings

if TYPE_CHECKING:
    from tests.stack.realtime.channel import Channel

PUBLICATION = "supabase_realtime_messages_publication"
SLOT = "supabase_realtime_messages_replication_slot_"
log = logging.getLogger(__name__)


class Hub:
    """Channels by topic name. Private and public joins of a name are two separate rooms."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, bool], dict[Channel, None]] = defaultdict(dict)

    def enter(self, name: str, private: bool, member: Channel) -> None:
        self._rooms[name, private][member] = None

    def leave(self, name: str, private: bool, member: Channel) -> None:
        room = self._rooms.get((name, private), {})
        room.pop(member, None)
        if not room:
            self._rooms.pop((name, private), None)

    def members(self, name: str, private: bool) -> list[Channel]:
        return list(self._rooms.get((name, private), ()))


class DatabaseBroadcasts:
    """Streams inserts into `realtime.messages` to the hub, and reconnects without a word to the clients.

    The slot is temporary: what is committed while the stream is down reaches nobody, as on the real server.
    """

    def __init__(self, settings: Settings, hub: Hub, rate: RateCounter, session: Session) -> None:
        self._settings = settings
        self._hub = hub
        self._rate = rate
        self._decoder = Decoder()
        self._session = session
        self.connected = asyncio.Event()
        self.started = False
        """The stream was up at least once."""

    async def run(self) -> None:
        """Runs until cancelled."""
        while True:
            await self._stream_once()
            await asyncio.sleep(self._retry_seconds())

    async def _stream_once(self) -> None:
        self._decoder = Decoder()
        settings = self._settings
        try:
            async with self._session.use() as connection:
                await connection.execute(PREPARE_DATABASE)
                await make_partitions(connection)
            async with open_stream(
                settings.db_url,
                slot=SLOT + settings.slot_suffix,
                publication=PUBLICATION,
                name="realtime_replication_connection",
                on_message=self._message,
            ) as stream:
                self.connected.set()
                self.started = True
                await stream.run()
        except (ReplicationError, psycopg.Error) as error:
            log.warning("broadcast stream lost: %s", error)
        finally:
            self.connected.clear()

    def _retry_seconds(self) -> float:
        settings = self._settings
        jitter = random.uniform(0, settings.replication_retry_jitter_ms)
        return (settings.replication_retry_ms + jitter) / 1000

    def _message(self, data: bytes) -> None:
        change = self._decoder.feed(data)
        if change is not None and change.action == "INSERT":
            self._publish(change)

    def _publish(self, change: Change) -> None:
        row = change.new or {}
        topic, event, private = row.get("topic"), row.get("event"), row.get("private")
        payload = _payload(row.get("payload"), row.get("binary_payload"))
        if not isinstance(topic, str) or not isinstance(event, str) or private is None or payload is None:
            log.warning(
                "message %s is not broadcast: topic, event, private or payload missing", row.get("id")
            )
            return
        if self._rate.limited:
            log.warning("UnableToBroadcastChanges: :too_many_requests")
            return
        # The real server allows the payload limit plus some slack for the frame around it.
        if len(payload) > self._settings.max_payload_bytes + 500:
            log.warning("UnableToBroadcastChanges: :payload_size_exceeded")
            return
        members = self._hub.members(topic, private == "t")
        self._rate.add(1 + len(members))
        message_id = str(row["id"])
        broadcast = Broadcast(event, payload, meta=compact({"id": message_id}))
        for member in members:
            member.deliver_stored(message_id, broadcast)


def _payload(text: object, binary: object) -> str | bytes | None:
    if isinstance(text, str):
        return text
    if isinstance(binary, str):
        return bytes.fromhex(binary.removeprefix("\\x"))
    return None
