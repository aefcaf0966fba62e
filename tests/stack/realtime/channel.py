"""One joined topic of one socket: what it sends, receives, and how it ends."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.stack.realtime import tokens
from tests.stack.realtime.authorize import Caller, DatabaseUnavailableError, MissingPartitionError
from tests.stack.realtime.frames import Broadcast, Message, compact
from tests.stack.realtime.options import JoinOptions

if TYPE_CHECKING:
    from tests.stack.realtime.connection import Connection

DATABASE_UNAVAILABLE = "Realtime was unable to connect to the project database"


def unauthorized(name: str) -> str:
    return f"You do not have permissions to read from this Channel topic: {name}"


class ChannelCrashError(Exception):
    """An input that the real server's channel process dies of: the client gets `phx_error`."""


@dataclass(frozen=True, slots=True)
class Joined:
    """How a channel came to be: fixed for its life."""

    topic: str
    join_ref: Any
    options: JoinOptions

    @property
    def name(self) -> str:
        return self.topic.removeprefix("realtime:")


class Channel:
    """Lives from a successful join to leave, rejoin, expiry, refusal or the end of its socket."""

    def __init__(self, connection: Connection, joined: Joined, token: tokens.Token) -> None:
        self.connection = connection
        self.joined = joined
        self.token = token
        self.name = joined.name
        self.private = joined.options.private
        self.closed = False
        self._realtime = connection.realtime
        self._presence_key = joined.options.presence_key or str(uuid.uuid4())
        self._may_write: bool | None = None
        self._replayed: set[str] = set()
        self._held: list[tuple[str, Broadcast]] | None = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._expiry: asyncio.TimerHandle | None = None

    # -- life ---------------------------------------------------------------------------------------------

    def enter(self) -> None:
        """Hears from now on; what arrives before `open` is held back, so that nothing overtakes the reply."""
        self._realtime.hub.enter(self.name, self.private, self)
        self._watch_expiry()

    def open(self, replayed: set[str]) -> None:
        self._replayed = replayed
        held, self._held = self._held or [], None
        for message_id, broadcast in held:
            self.deliver_stored(message_id, broadcast)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Runs `work` for as long as the channel lives."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def close(self) -> None:
        """Forgets the channel, silently."""
        if self.closed:
            return
        self.closed = True
        if self._expiry is not None:
            self._expiry.cancel()
        for task in self._tasks:
            if task is not asyncio.current_task():
                task.cancel()
        self._realtime.hub.leave(self.name, self.private, self)
        self._realtime.changes.unsubscribe(self)
        self.connection.forget(self)
        self._untrack()

    def dismiss(self) -> None:
        """Closes and says so: `phx_close` carries the ref of the join."""
        self.close()
        self._send("phx_close", "{}", ref=self.joined.join_ref)

    # -- to the client ------------------------------------------------------------------------------------

    def push(self, event: str, payload: str) -> None:
        """`payload` is JSON text."""
        self.connection.send(
            self.connection.codec.encode_push(
                self.joined.topic, event, payload, join_ref=self.joined.join_ref
            )
        )

    def push_change(self, event: str, payload: str) -> None:
        """Changes carry no refs at all, also not that of the join."""
        codec = self.connection.codec
        self.connection.send(codec.encode(self.joined.topic, event, payload, join_ref=None, ref=None))

    def system(self, message: str, *, status: str, extension: str) -> None:
        payload = {"message": message, "status": status, "extension": extension, "channel": self.name}
        self.push("system", compact(payload))

    def deliver(self, broadcast: Broadcast) -> None:
        frame = self.connection.codec.encode_broadcast(self.joined.topic, broadcast)
        if frame is not None:
            self.connection.send(frame)

    def deliver_stored(self, message_id: str, broadcast: Broadcast) -> None:
        """A message from the database, unless the client had it by replay."""
        if self._held is not None:
            self._held.append((message_id, broadcast))
        elif message_id not in self._replayed:
            self.deliver(broadcast)

    def relay(self, payload: str) -> None:
        """A client's broadcast that came as text."""
        self.push_change("broadcast", payload)

    def reply(self, request: Message, *, status: str = "ok", response: Any = None) -> None:
        payload = compact({"status": status, "response": {} if response is None else response})
        self._send("phx_reply", payload, ref=request.ref)

    def _send(self, event: str, payload: str, *, ref: Any) -> None:
        codec = self.connection.codec
        frame = codec.encode(self.joined.topic, event, payload, join_ref=self.joined.join_ref, ref=ref)
        self.connection.send(frame)

    # -- from the client ----------------------------------------------------------------------------------

    async def handle(self, message: Message) -> None:
        """Unknown events get no answer."""
        try:
            match message.event:
                case "phx_leave":
                    self.reply(message)
                    self.dismiss()
                case "broadcast":
                    await self._broadcast(message)
                case "presence":
                    await self._presence(message)
                case "access_token" if isinstance(message.payload, dict):
                    await self._refresh(message.payload.get("access_token"))
        except ChannelCrashError:
            self.close()
            self._send("phx_error", '{"reason":"channel_crash"}', ref=self.joined.join_ref)

    async def _broadcast(self, message: Message) -> None:
        payload = message.payload
        if isinstance(payload, dict):
            size = len(text := compact(dict(sorted(payload.items()))))
        elif isinstance(payload, Broadcast):
            size = len(payload.payload)
        else:
            return
        if size > self._realtime.settings.max_payload_bytes:
            if self.joined.options.ack:
                self.reply(message, status="error", response="payload_size_exceeded")
            return
        if self.private and not await self._writable("broadcast"):
            return
        listeners = self._realtime.hub.listeners(self.name, self.private)
        self._realtime.rate.add(1 + len(listeners))
        for listener in listeners:
            if listener is self and not self.joined.options.receive_own:
                continue
            if isinstance(payload, Broadcast):
                listener.deliver(payload)
            elif isinstance(listener, Channel):
                listener.relay(text)
        if self.joined.options.ack:
            self.reply(message)

    async def _presence(self, message: Message) -> None:
        payload = message.payload
        if not isinstance(payload, dict):
            return self.reply(message)
        event = payload.get("event")
        if event is not None and not isinstance(event, str):
            raise ChannelCrashError
        match (event or "").lower():
            case "track":
                if not isinstance(payload.get("payload", {}), dict):
                    reason = {"reason": "Presence track payload must be a map"}
                    return self.reply(message, status="error", response=reason)
                if self.private and not await self._writable("presence"):
                    return None
                self.reply(message)
                self._track(payload.get("payload", {}))
            case "untrack":
                self.reply(message)
                self._untrack()
            case _:
                self.reply(message)
        return None

    def _track(self, payload: dict[str, Any]) -> None:
        rooms = self._realtime.presence
        self._tell(rooms.track(self.name, self.private, self, self._presence_key, payload))

    def _untrack(self) -> None:
        difference = self._realtime.presence.untrack(self.name, self.private, self)
        if difference is not None:
            self._tell(difference)

    def _tell(self, difference: dict[str, Any]) -> None:
        text = compact(difference)
        for listener in self._realtime.hub.listeners(self.name, self.private):
            if isinstance(listener, Channel) and listener.joined.options.presence:
                listener.push_change("presence_diff", text)

    async def _writable(self, extension: str) -> bool:
        """Asked once per join; a policy that changes later changes nothing for it."""
        if extension != "broadcast":
            return await self._realtime.authorizer.writable(self.caller(self.token), self.name, extension)
        if self._may_write is None:
            caller = self.caller(self.token)
            self._may_write = await self._realtime.authorizer.writable(caller, self.name, extension)
        return self._may_write

    # -- the token ----------------------------------------------------------------------------------------

    def caller(self, token: tokens.Token) -> Caller:
        return Caller(token, self.connection.headers)

    async def _refresh(self, text: Any) -> None:
        """A token that is the same, null or an `sb_` key is ignored; a good one is taken without a word."""
        if not isinstance(text, str) or text.startswith("sb_") or text == self.token.text:
            return None
        try:
            token = self._realtime.verifier.verify(text)
        except tokens.TokenError as error:
            return self._refuse(error.refresh)
        if self.private:
            try:
                readable = await self._realtime.authorizer.readable(
                    self.caller(token), self.name, self.joined.options.extensions
                )
            except (MissingPartitionError, DatabaseUnavailableError):
                return self._refuse(DATABASE_UNAVAILABLE)
            if "broadcast" not in readable:
                return self._refuse(unauthorized(self.name))
        self.token = token
        self._may_write = None
        self._watch_expiry()
        self._realtime.changes.renew(self)
        return None

    def _watch_expiry(self) -> None:
        if self._expiry is not None:
            self._expiry.cancel()
        loop = asyncio.get_running_loop()
        delay = max(0.0, self.token.expires_at - time.time())
        self._expiry = loop.call_later(delay, lambda: self._refuse(tokens.expired(self.token).refresh))

    def _refuse(self, message: str) -> None:
        self.system(message, status="error", extension="system")
        self.dismiss()
