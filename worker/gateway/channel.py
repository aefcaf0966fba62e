"""One connection to one private topic, by a `realtime` client that is used once and then thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from realtime import (
    AsyncRealtimeChannel,
    AsyncRealtimeClient,
    BroadcastPayload,
    RealtimeAcknowledgementStatus,
    RealtimeChannelOptions,
    RealtimeSubscribeStates,
    SuccessSystemPayload,
)
from realtime._async.push import AsyncPush  # the only way to a heartbeat whose reply can be seen

EVENT: Final = "ring"
JOIN_TIMEOUT_SECONDS: Final = 9
CLOSE_TIMEOUT: Final = timedelta(seconds=2)
_READY: Final = "system"
_OPTIONS: Final[RealtimeChannelOptions] = {
    "config": {
        "broadcast": {"ack": False, "self": False, "replication_ready": True},
        "presence": {"key": "", "enabled": False},
        "private": True,
    }
}


class Doubt(Exception):
    """A reason to give a connection up."""


Hear = Callable[[Mapping[str, Any]], None]


class Channel:
    """A joined topic. Everything that shakes the trust in it ends in one future, `_doubt`."""

    def __init__(self, url: str, key: str, topic: str, hear: Hear, token: str | None = None) -> None:
        self._hear = hear
        self._client = AsyncRealtimeClient(
            url, token=key, auto_reconnect=False, max_retries=1, timeout=JOIN_TIMEOUT_SECONDS
        )
        # `key` opens the door; who comes in is another matter, for people
        self._client.access_token = token or key
        self._channel = self._client.channel(topic, _OPTIONS)
        self._channel.on_broadcast(EVENT, self._on_ring).on_system(self._on_system)
        # the client sends heartbeats too, but nobody looks at their replies; a channel under the
        # protocol's own topic makes the client match reply and request
        self._phoenix = AsyncRealtimeChannel(self._client, "phoenix", _OPTIONS)
        self._client.channels["phoenix"] = self._phoenix
        self._doubt: asyncio.Future[Doubt] = asyncio.get_running_loop().create_future()
        self._joined = asyncio.Event()
        self._ready = asyncio.Event()

    @classmethod
    async def open(cls, url: str, key: str, topic: str, hear: Hear, *, token: str | None = None) -> Channel:
        """Connects and joins; raises `Doubt` when either fails. A ring calls `hear` with its payload.

        `token` is a user's; without one the key itself speaks, as a service does.
        """
        channel = cls(url, key, topic, hear, token)
        try:
            await channel._join()
        except BaseException:
            await channel.close()
            raise
        return channel

    async def _join(self) -> None:
        try:
            await self._client.connect()
            await self._channel.subscribe(self._on_state)
        except Exception as error:  # the client raises whatever went wrong below it
            raise Doubt(f"cannot connect: {_reason(error)}") from None
        await self._first(self._joined)

    async def ready(self, within: timedelta) -> bool:
        """Waits until the server says that changes flow, or a ring proves it. Raises `Doubt`.

        False when it said nothing within `within`: an older server does not know the question.
        """
        try:
            async with asyncio.timeout(within.total_seconds()):
                await self._first(self._ready)
        except TimeoutError:
            return False
        return True

    async def doubted(self, *, every: timedelta, within: timedelta) -> Doubt:
        """Returns when trust is lost; asks for a sign of life meanwhile."""
        while True:
            await asyncio.wait([self._doubt], timeout=every.total_seconds())
            if self._doubt.done():
                return self._doubt.result()
            answered = asyncio.Event()
            try:
                async with asyncio.timeout(within.total_seconds()):
                    await self._heartbeat(answered)
                    await self._first(answered)
            except TimeoutError:
                return Doubt("a heartbeat got no answer")
            except Doubt as doubt:
                return doubt
            except Exception as error:  # as above
                return Doubt(f"a heartbeat could not be sent: {_reason(error)}")

    async def close(self) -> None:
        """Throws the client away. Never raises, never waits long for a dead peer."""
        self._channel.rejoin_timer.reset()
        self._channel.join_push.destroy()
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT.total_seconds()):
                await self._client.close()
        except Exception as error:  # a connection that cannot even be closed is gone as well
            self._suspect(_reason(error))

    async def _heartbeat(self, answered: asyncio.Event) -> None:
        push = AsyncPush(self._phoenix, "heartbeat", {}, JOIN_TIMEOUT_SECONDS)
        push.receive(RealtimeAcknowledgementStatus.Ok, lambda _: answered.set())
        await push.send()

    async def _first(self, event: asyncio.Event) -> None:
        """Waits for `event`; raises the doubt if that comes first."""
        waiting = asyncio.ensure_future(event.wait())
        try:
            either: list[asyncio.Future[Any]] = [waiting, self._doubt]
            await asyncio.wait(either, return_when=asyncio.FIRST_COMPLETED)
        finally:
            waiting.cancel()
        if self._doubt.done():
            raise self._doubt.result()

    # Callbacks: an exception in one of these would kill the client's listening task, silently.

    def _on_ring(self, message: BroadcastPayload) -> None:
        self._ready.set()
        try:
            self._hear(message["payload"])
        except Exception as error:
            self._suspect(f"a callback failed: {_reason(error)}")

    def _on_system(self, message: SuccessSystemPayload) -> None:
        if message.extension == _READY:
            self._ready.set()

    def _on_state(self, state: RealtimeSubscribeStates, error: Exception | None) -> None:
        if state is RealtimeSubscribeStates.SUBSCRIBED:
            self._joined.set()
        else:
            self._suspect(f"{state.value.lower()}: {_reason(error)}" if error else state.value.lower())

    def _suspect(self, reason: str) -> None:
        if not self._doubt.done():
            self._doubt.set_result(Doubt(reason))


def _reason(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
