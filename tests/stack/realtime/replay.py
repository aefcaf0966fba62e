"""Replay: stored messages of a private topic, sent again right after the join."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeGuard

import psycopg

from tests.stack.realtime.database import Session
from tests.stack.realtime.frames import Broadcast, compact

if TYPE_CHECKING:
    from tests.stack.realtime.channel import Channel

DEFAULT_LIMIT = MAX_LIMIT = 25


class ReplayError(Exception):
    """The reason of the join error."""


@dataclass(frozen=True, slots=True)
class StoredMessage:
    id: str
    event: str | None
    payload: Any
    """A JSON object; None for a binary message."""
    binary: bytes | None

    @property
    def meta(self) -> dict[str, Any]:
        return {"id": self.id, "replayed": True}


async def read(session: Session, channel: Channel, request: dict[str, Any]) -> list[StoredMessage]:
    """The newest messages since `since` (Unix milliseconds), oldest first. Raises `ReplayError`."""
    if not channel.private:
        raise ReplayError("UnableToReplayMessages: Replay is not allowed for public channels")
    since, limit = request.get("since"), request.get("limit", DEFAULT_LIMIT)
    if not _is_integer(since) or not _is_integer(limit):
        raise ReplayError("UnableToReplayMessages: Replay params are not valid")
    try:
        start = datetime.fromtimestamp(since / 1000, UTC).replace(tzinfo=None)
        async with session.use() as connection:
            cursor = await connection.execute(
                """
                select * from (
                  select id::text, event, payload::text, binary_payload, inserted_at from realtime.messages
                  where topic = %s and private and extension = 'broadcast' and inserted_at >= %s
                  order by inserted_at desc limit %s
                ) newest order by inserted_at
                """,
                [channel.name, start, max(1, min(limit, MAX_LIMIT))],
            )
            return [_stored(*row[:4]) for row in await cursor.fetchall()]
    except (ValueError, OverflowError, OSError):
        raise ReplayError("UnableToReplayMessages: Replay params are not valid") from None
    except psycopg.Error as error:
        raise ReplayError("UnableToReplayMessages: Realtime was unable to replay messages") from error


def send(channel: Channel, message: StoredMessage) -> None:
    """Unlike a live message, replayed JSON is a text frame on vsn 2 as well, and carries the join's ref."""
    if message.event is None:
        return
    if message.binary is not None:
        channel.deliver(Broadcast(message.event, message.binary, meta=compact(message.meta)))
        return
    body = {"event": message.event, "meta": message.meta, "payload": message.payload, "type": "broadcast"}
    channel.push("broadcast", json.dumps(body, separators=(",", ":"), ensure_ascii=False, sort_keys=True))


def _stored(id_: str, event: str | None, payload: str | None, binary: bytes | None) -> StoredMessage:
    value = json.loads(payload) if payload is not None else None
    if value is not None and not isinstance(value, dict):
        raise ReplayError(_cannot_load(value))
    return StoredMessage(id_, event, value, binary)


def _cannot_load(value: Any) -> str:
    """How the real server's database layer words it."""
    place = "field `payload` in schema Realtime.Api.Message"
    return f"UnknownErrorOnChannel: cannot load `{compact(value)}` as type :map for {place}"


def _is_integer(value: Any) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool)
