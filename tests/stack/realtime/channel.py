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
        self.untrack()

    def dismiss(self) -> None:
        """Closes and says so: `phx_close` carries the ref of the join."""
        self.close()
        self._send("phx_close", "{}", ref=self.joined.join_ref)

    def crash(self) -> None:
        """Ends as the real server's channel process does when it dies."""
        self.close()
        self._send("phx_error", '{"reason":"channel_crash"}', ref=self.joined.join_ref)

    # -- to the client ------------------------------------------------------------------------------------

    def push(self, event: str, payload: str) -> None:
        """`payload` is JSON text."""
        self.connection.send(
            self.connection.codec.encode_push(
                self.joined.topic, event, payload, join_ref=self.joined.join_ref
            )
        )

    def push_change(self, event: str, payload: str) -> None:
        """Changes and broadcasts carry no refs at all, also not that of the join."""
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

    def reply(self, request: Message, *, status: str = "ok", response: Any = None) -> None:
        payload = compact({"status": status, "response": {} if response is None else response})
        self._send("phx_reply", payload, ref=request.ref)

    def _send(self, event: str, payload: str, *, ref: Any) -> None:
        codec = self.connection.codec
        frame = codec.encode(self.joined.topic, event, payload, join_ref=self.joined.join_ref, ref=ref)
        self.connection.send(frame)

    # -- the room -----------------------------------------------------------------------------------------

    def members(self) -> list[Channel]:
        """Of this topic, private or public as this channel is; itself included."""
        return self._realtime.hub.members(self.name, self.private)

    def track(self, payload: dict[str, Any]) -> None:
        rooms = self._realtime.presence
        self._tell(rooms.track(self.name, self.private, self, self._presence_key, payload))

    def untrack(self) -> None:
        difference = self._realtime.presence.untrack(self.name, self.private, self)
        if difference is not None:
            self._tell(difference)

    def _tell(self, difference: dict[str, Any]) -> None:
        text = compact(difference)
        for member in self.members():
            if member.joined.options.presence:
                member.push_change("presence_diff", text)

    async def may_broadcast(self) -> bool:
        """Asked once per join and token; a policy that changes later changes nothing for it."""
        if self._may_write is None:
            self._may_write = await self._writable("broadcast")
        return self._may_write

    async def may_track(self) -> bool:
        return await self._writable("presence")

    async def _writable(self, extension: str) -> bool:
        return await self._realtime.authorizer.writable(self.caller(self.token), self.name, extension)

    # -- the token ----------------------------------------------------------------------------------------

    def caller(self, token: tokens.Token) -> Caller:
        return Caller(token, self.connection.headers)

    async def refresh(self, text: Any) -> None:
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
            if not readable:
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
