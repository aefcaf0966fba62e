"""The two framings of the Phoenix protocol: objects (vsn 1.0.0) and arrays with binary kinds (vsn 2.0.0)."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any, Protocol

USER_BROADCAST_PUSH = 3
USER_BROADCAST = 4
RAW, JSON = 0, 1


@dataclass(frozen=True, slots=True)
class Message:
    """A frame from the client. `ref` and `join_ref` may be any JSON value and are echoed as they came."""

    join_ref: Any
    ref: Any
    topic: str
    event: str
    payload: Any


@dataclass(frozen=True, slots=True)
class Broadcast:
    """`payload` is JSON text, or raw bytes that only vsn 2 can carry; `meta` is JSON text or empty."""

    event: str
    payload: str | bytes
    meta: str = ""

    def as_json(self) -> str | None:
        if isinstance(self.payload, bytes):
            return None
        meta = f'"meta":{self.meta},' if self.meta else ""
        return f'{{"event":{compact(self.event)},{meta}"payload":{self.payload},"type":"broadcast"}}'


class Codec(Protocol):
    """Builds frames from payloads that are JSON text already, so that Postgres' own text passes untouched."""

    def decode(self, data: str | bytes) -> Message | None:
        """None for anything that is no frame: the real server ignores it."""

    def encode(self, topic: str, event: str, payload: str, *, join_ref: Any, ref: Any) -> str:
        """A reply or a push of a channel."""

    def encode_push(self, topic: str, event: str, payload: str, *, join_ref: Any) -> str:
        """A push that belongs to a join, but answers nothing."""

    def encode_broadcast(self, topic: str, broadcast: Broadcast) -> str | bytes | None:
        """None when this framing cannot carry it."""


class ObjectCodec:
    """vsn 1.0.0. A frame without the key `ref` is no frame; `join_ref` may be missing."""

    def decode(self, data: str | bytes) -> Message | None:
        frame = _load(data)
        if not isinstance(frame, dict) or not {"topic", "event", "payload", "ref"} <= frame.keys():
            return None
        return _message(frame.get("join_ref"), frame["ref"], frame["topic"], frame["event"], frame["payload"])

    def encode(self, topic: str, event: str, payload: str, *, join_ref: Any, ref: Any) -> str:
        return (
            f'{{"ref":{compact(ref)},"event":{compact(event)},"topic":{compact(topic)},"payload":{payload}}}'
        )

    def encode_push(self, topic: str, event: str, payload: str, *, join_ref: Any) -> str:
        return self.encode(topic, event, payload, join_ref=join_ref, ref=None)

    def encode_broadcast(self, topic: str, broadcast: Broadcast) -> str | None:
        payload = broadcast.as_json()
        return None if payload is None else self.encode(topic, "broadcast", payload, join_ref=None, ref=None)


class ArrayCodec:
    """vsn 2.0.0: `[join_ref, ref, topic, event, payload]`, broadcasts as binary frames of kinds 3 and 4."""

    def decode(self, data: str | bytes) -> Message | None:
        if isinstance(data, bytes):
            return _decode_user_broadcast_push(data)
        frame = _load(data)
        if not isinstance(frame, list) or len(frame) != 5:
            return None
        return _message(*frame)

    def encode(self, topic: str, event: str, payload: str, *, join_ref: Any, ref: Any) -> str:
        return f"[{compact(join_ref)},{compact(ref)},{compact(topic)},{compact(event)},{payload}]"

    def encode_push(self, topic: str, event: str, payload: str, *, join_ref: Any) -> str:
        return self.encode(topic, event, payload, join_ref=join_ref, ref=None)

    def encode_broadcast(self, topic: str, broadcast: Broadcast) -> bytes | None:
        payload = broadcast.payload
        head = [topic.encode(), broadcast.event.encode(), broadcast.meta.encode()]
        if any(len(part) > 255 for part in head):
            return None  # the lengths are single bytes; the real server drops these as well
        encoding, body = (RAW, payload) if isinstance(payload, bytes) else (JSON, payload.encode())
        return bytes([USER_BROADCAST, *map(len, head), encoding]) + b"".join(head) + body


CODECS: dict[str, Codec] = {"1.0.0": ObjectCodec(), "2.0.0": ArrayCodec()}


def compact(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _load(data: str | bytes) -> Any:
    try:
        value = json.loads(data)
        if "\\ud" in str(data).lower():  # half a surrogate pair is no text that could be sent on
            compact(value).encode()
    except (ValueError, RecursionError):
        return None
    return value


def _message(join_ref: Any, ref: Any, topic: Any, event: Any, payload: Any) -> Message | None:
    if not isinstance(topic, str) or not isinstance(event, str):
        return None
    return Message(join_ref, ref, topic, event, payload)


def _decode_user_broadcast_push(data: bytes) -> Message | None:
    """Kind 3: five lengths, the encoding, then join_ref, ref, topic, event, metadata and the payload."""
    if len(data) < 7 or data[0] != USER_BROADCAST_PUSH:
        return None
    lengths, encoding, offset = data[1:6], data[6], 7
    if len(data) < offset + sum(lengths):
        return None
    parts: list[str] = []
    for length in lengths:
        parts.append(data[offset : offset + length].decode(errors="replace"))
        offset += length
    join_ref, ref, topic, event, _metadata = parts
    body = data[offset:]
    if encoding == JSON and _load(body) is None and body != b"null":
        return None
    broadcast = Broadcast(event, body.decode() if encoding == JSON else body)
    return Message(join_ref or None, ref or None, topic, "broadcast", broadcast)
