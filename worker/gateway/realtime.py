"""The Realtime supervisor: it owns the `realtime` client and replaces it at the slightest doubt.

The client (2.34.1) goes deaf for good after an outage longer than its five tries, and after an exception
in a callback, while `is_connected` stays true. So here a client object lives for one connection:

    connect, join, ask for `replication_ready`  ->  live  ->  any doubt  ->  thrown away, back off, again

Doubts: the socket or the channel closes, an error message, a heartbeat of our own that gets no answer
(it travels through the client's listening task, so it also shows when that has died). Callbacks do nothing
but ring the bell. A ring may still be lost (the server drops them silently), hence the worker's slow poll.
Source: supabase/realtime 2.129.8 and realtime-py 2.34.1, as observed.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final, Literal

from worker.engine.clock import Clock
from worker.engine.condition import Condition
from worker.engine.retry import Backoff
from worker.errors import GatewayError
from worker.gateway.channel import Channel, Doubt, Hear
from worker.log import REALTIME_LIVE, REALTIME_LOST, REALTIME_OFF, Logger, get_logger

State = Literal["off", "connecting", "live"]
STATES: Final = ("off", "connecting", "live")
TOPIC: Final = "worker"


@dataclass(frozen=True, slots=True)
class RealtimeRules:
    """The supervisor's patience."""

    open_within: timedelta = timedelta(seconds=20)
    ready_within: timedelta = timedelta(seconds=65)
    heartbeat_every: timedelta = timedelta(seconds=15)
    heartbeat_within: timedelta = timedelta(seconds=10)
    first_pause: timedelta = timedelta(milliseconds=500)
    longest_pause: timedelta = timedelta(seconds=15)
    steady_after: timedelta = timedelta(seconds=10)


Opener = Callable[[Hear], Awaitable[Channel]]


class RealtimeLost(GatewayError):
    """Why Realtime is not live; never raised out of the supervisor."""

    transient = True


class RealtimeSupervisor:
    """The side task that keeps a bell connected."""

    name = "realtime"

    def __init__(
        self,
        *,
        open_channel: Opener | None,
        hear: Hear,
        clock: Clock,
        on_state: Callable[[State], None] = lambda _: None,
        rules: RealtimeRules | None = None,
    ) -> None:
        """`open_channel` None means that Realtime is switched off. `hear` is called with what a ring tells;
        with nothing, where any may have been missed."""
        self._open, self._hear, self._clock, self._on_state = open_channel, hear, clock, on_state
        self._rules = rules or RealtimeRules()
        self._condition = Condition("realtime", clock, lost=REALTIME_LOST, back=REALTIME_LIVE)
        self._backoff = Backoff(first=self._rules.first_pause, longest=self._rules.longest_pause)
        self._log: Logger = get_logger("worker.realtime")
        self.state: State = "connecting" if open_channel else "off"
        self.since = clock.now()
        self.connections = 0
        on_state(self.state)

    @property
    def reason(self) -> str | None:
        """Why it is not live; None when it is, or is switched off."""
        return None if self.state == "off" else self._condition.reason

    async def run(self) -> None:
        if self._open is None:
            self._log.info(REALTIME_OFF)
            await asyncio.Event().wait()
            return
        while True:
            started = self._clock.monotonic()
            doubt = await self._one_connection(self._open)
            if self._clock.monotonic() - started >= self._rules.steady_after.total_seconds():
                self._backoff.reset()
            self._become("connecting")
            self._condition.failed(RealtimeLost(str(doubt)))
            await self._clock.sleep(self._backoff.next())

    async def _one_connection(self, open_channel: Opener) -> Doubt:
        """Lives through one connection; answers why it has to be given up."""
        self.connections += 1
        try:
            async with asyncio.timeout(self._rules.open_within.total_seconds()):
                channel = await open_channel(self._hear)
        except TimeoutError:
            return Doubt("no connection and join in time")
        except Doubt as doubt:
            return doubt
        try:
            # from the join on rings come in, but what was rung before it is unknown
            self._hear({})
            # a server that cannot say so is believed after a while
            await channel.ready(self._rules.ready_within)
            self._become("live")
            self._condition.ok()
            self._hear({})
            return await channel.doubted(
                every=self._rules.heartbeat_every, within=self._rules.heartbeat_within
            )
        except Doubt as doubt:
            return doubt
        finally:
            await channel.close()

    def _become(self, state: State) -> None:
        if state != self.state:
            self.state, self.since = state, self._clock.now()
        self._on_state(state)
