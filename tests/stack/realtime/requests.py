"""What a client asks of a joined channel: leave, broadcast, presence, a new token."""

from __future__ import annotations

from typing import Any

from tests.stack.realtime.channel import Channel
from tests.stack.realtime.frames import Broadcast, Message, compact


class ChannelCrashError(Exception):
    """An input that the real server's channel process dies of: the client gets `phx_error`."""


async def handle(channel: Channel, message: Message) -> None:
    """Unknown events get no answer."""
    try:
        match message.event:
            case "phx_leave":
                channel.reply(message)
                channel.dismiss()
            case "broadcast":
                await _broadcast(channel, message)
            case "presence":
                await _presence(channel, message)
            case "access_token" if isinstance(message.payload, dict):
                await channel.refresh(message.payload.get("access_token"))
    except ChannelCrashError:
        channel.crash()


async def _broadcast(channel: Channel, message: Message) -> None:
    text, size = _read_broadcast(message.payload)
    if size is None:
        return
    options, realtime = channel.joined.options, channel.connection.realtime
    if size > realtime.settings.max_payload_bytes:
        if options.ack:
            channel.reply(message, status="error", response="payload_size_exceeded")
        return
    if channel.private and not await channel.may_broadcast():
        return
    members = channel.members()
    realtime.rate.add(1 + len(members))
    for member in members:
        if member is channel and not options.receive_own:
            continue
        if isinstance(message.payload, Broadcast):
            member.deliver(message.payload)
        else:
            member.push_change("broadcast", text)
    if options.ack:
        channel.reply(message)


def _read_broadcast(payload: Any) -> tuple[str, int | None]:
    """The text to pass on (empty for a binary frame) and the size; no size for what is no broadcast."""
    if isinstance(payload, Broadcast):
        return "", len(payload.payload)
    if isinstance(payload, dict):
        text = compact(dict(sorted(payload.items())))
        return text, len(text)
    return "", None


async def _presence(channel: Channel, message: Message) -> None:
    payload = message.payload if isinstance(message.payload, dict) else {}
    event, meta = payload.get("event", ""), payload.get("payload", {})
    if not isinstance(event, str):
        raise ChannelCrashError
    match event.lower():
        case "track" if not isinstance(meta, dict):
            reason = {"reason": "Presence track payload must be a map"}
            channel.reply(message, status="error", response=reason)
        case "track":
            if not channel.private or await channel.may_track():
                channel.reply(message)
                channel.track(meta)
        case "untrack":
            channel.reply(message)
            channel.untrack()
        case _:
            channel.reply(message)
