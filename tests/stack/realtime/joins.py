"""Joining a topic: the checks in their order, the reply, and what follows the reply."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from tests.stack.realtime import replay
from tests.stack.realtime.authorize import DatabaseUnavailableError, MissingPartitionError
from tests.stack.realtime.channel import DATABASE_UNAVAILABLE, Channel, Joined, unauthorized
from tests.stack.realtime.frames import Message, compact
from tests.stack.realtime.options import OptionsError, read_options
from tests.stack.realtime.tokens import Token, TokenError

if TYPE_CHECKING:
    from tests.stack.realtime.connection import Connection

READY = "Replication connection established"
NOT_READY = "Replication connection was not established in time"


class JoinRefusedError(Exception):
    """The reason that the reply gives, `Code: text`. It is answered late on purpose."""


async def join(connection: Connection, message: Message) -> None:
    try:
        channel = await _admit(connection, message)
        stored = await _read_replay(channel)
    except JoinRefusedError as error:
        await asyncio.sleep(connection.realtime.settings.error_backoff_ms / 1000)
        connection.reply(message, status="error", response={"reason": str(error)})
        return
    former = connection.channels.get(message.topic)
    bindings = connection.realtime.changes.describe(channel.joined.options.bindings)
    channel.reply(message, response={"postgres_changes": bindings})
    if former is not None:
        former.dismiss()
    connection.channels[message.topic] = channel
    for row in stored:
        replay.send(channel, row)
    channel.open({row.id for row in stored})
    _begin(channel)


async def _admit(connection: Connection, message: Message) -> Channel:
    joined, token = _check(connection, message)
    channel = Channel(connection, joined, token)
    if joined.options.private:
        await _authorize(channel)
    channel.enter()
    return channel


def _check(connection: Connection, message: Message) -> tuple[Joined, Token]:
    name = message.topic.removeprefix("realtime:")
    if not name:
        raise JoinRefusedError("TopicNameRequired: You must provide a topic name")
    limit = connection.realtime.settings.max_channels
    if message.topic not in connection.channels and len(connection.channels) >= limit:
        raise JoinRefusedError("ChannelRateLimitReached: Too many channels")
    try:
        options = read_options(name, message.payload)
        token = connection.realtime.verifier.verify(_token_text(connection, message.payload))
    except OptionsError as error:
        raise JoinRefusedError(f"UnknownErrorOnChannel: {error}") from None
    except TokenError as error:
        raise JoinRefusedError(error.join) from None
    return Joined(message.topic, message.join_ref, options), token


def _token_text(connection: Connection, payload: Any) -> str:
    """The channel's own token, else the apikey of the socket. `sb_` keys mean the apikey too."""
    if isinstance(payload, dict):
        for key in ("access_token", "user_token"):
            text = payload.get(key)
            if isinstance(text, str) and not text.startswith("sb_"):
                return text
    return connection.token.text


async def _authorize(channel: Channel) -> None:
    authorizer = channel.connection.realtime.authorizer
    extensions = channel.joined.options.extensions
    try:
        readable = await authorizer.readable(channel.caller(channel.token), channel.name, extensions)
    except MissingPartitionError:
        text = "Realtime was unable to find the expected messages partition"
        raise JoinRefusedError(f"MissingPartition: {text}") from None
    except DatabaseUnavailableError:
        raise JoinRefusedError(f"UnableToConnectToProject: {DATABASE_UNAVAILABLE}") from None
    if not readable:
        raise JoinRefusedError(f"Unauthorized: {unauthorized(channel.name)}")


async def _read_replay(channel: Channel) -> list[replay.StoredMessage]:
    options = channel.joined.options
    if options.replay is None:
        return []
    try:
        return await replay.read(channel.connection.realtime.session, channel, options.replay)
    except replay.ReplayError as error:
        channel.close()
        raise JoinRefusedError(str(error)) from None


def _begin(channel: Channel) -> None:
    options, realtime = channel.joined.options, channel.connection.realtime
    if options.presence:
        channel.push_change("presence_state", compact(realtime.presence.state(channel.name, channel.private)))
    if options.replication_ready:
        channel.spawn(_announce_replication(channel))
    if options.bindings:
        realtime.changes.subscribe(channel)


async def _announce_replication(channel: Channel) -> None:
    realtime = channel.connection.realtime
    try:
        async with asyncio.timeout(realtime.settings.replication_ready_timeout_ms / 1000):
            await realtime.broadcasts.connected.wait()
    except TimeoutError:
        channel.system(NOT_READY, status="error", extension="system")
        channel.dismiss()
    else:
        channel.system(READY, status="ok", extension="system")
