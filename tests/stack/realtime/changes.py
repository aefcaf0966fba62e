"""postgres_changes: subscribing channels, keeping their subscriptions current, and the poller behind them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import psycopg

from tests.stack.realtime.bindings import Binding, BindingError, binding_id, parse_binding
from tests.stack.realtime.channel import Channel
from tests.stack.realtime.database import Session
from tests.stack.realtime.filters import FilterError
from tests.stack.realtime.limits import RateCounter
from tests.stack.realtime.poller import Poller
from tests.stack.realtime.settings import Settings
from tests.stack.realtime.subscriptions import (
    Registry,
    SubscriptionError,
    Tables,
    check_bindings,
    matching,
    published_tables,
)

SUBSCRIBED = "Subscribed to PostgreSQL"
TIMEOUTS = '{:error, "Too many database timeouts"}'
log = logging.getLogger(__name__)


class Changes:
    def __init__(self, settings: Settings, rate: RateCounter) -> None:
        self._settings = settings
        self._session = Session(settings.db_url, "realtime_subscription_manager")
        self._registry = Registry()
        self._poller = Poller(settings, self._registry, rate)
        self._published: Tables = frozenset()

    @property
    def polling(self) -> bool:
        return self._poller.ready.is_set()

    async def run(self) -> None:
        """Runs until cancelled."""
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._poller.run())
                tasks.create_task(self._watch_publication())
        finally:
            await self._session.close()

    def describe(self, bindings: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The reply's echo: each binding as the client sent it, with its id."""
        return [{"id": binding_id(params), **params} for params in bindings]

    def subscribe(self, channel: Channel) -> None:
        """Subscribes in the background; the client is told by a system message."""
        self._poller.want()
        channel.spawn(self._subscribe(channel, delay=0))

    def renew(self, channel: Channel) -> None:
        """Applies the channel's new token after a while; until then the old claims hold."""
        if channel.joined.options.bindings:
            settings = self._settings
            delay = random.uniform(settings.resubscribe_min_ms, settings.resubscribe_max_ms) / 1000
            channel.spawn(self._subscribe(channel, delay=delay))

    def unsubscribe(self, channel: Channel) -> None:
        self._registry.drop(channel)

    async def _subscribe(self, channel: Channel, *, delay: float) -> None:
        await asyncio.sleep(delay)
        try:
            bindings = [parse_binding(params) for params in channel.joined.options.bindings]
        except (BindingError, FilterError) as error:
            return _refuse(channel, str(error))
        while True:
            try:
                return await self._subscribe_once(channel, bindings)
            except SubscriptionError as error:
                return _refuse(channel, str(error))
            except (psycopg.Error, TimeoutError):
                _refuse(channel, TIMEOUTS)
                await asyncio.sleep(self._settings.subscribe_retry_ms / 1000)

    async def _subscribe_once(self, channel: Channel, bindings: list[Binding]) -> None:
        async with asyncio.timeout(self._settings.subscribe_retry_ms / 1000):
            await self._poller.ready.wait()
        async with self._session.use() as connection:
            tables = await published_tables(connection)
            made = await check_bindings(connection, channel, bindings, tables)
        self._published = self._published or tables
        self._registry.put(channel, made)
        channel.system(SUBSCRIBED, status="ok", extension="postgres_changes")

    async def _watch_publication(self) -> None:
        """Subscriptions are for tables, so a changed publication needs them made anew."""
        while True:
            try:
                if len(self._registry):
                    async with self._session.use() as connection:
                        published = await published_tables(connection)
                    if published != self._published:
                        self._rebuild(published)
            except psycopg.Error as error:
                log.warning("the publication could not be read: %s", error)
            await asyncio.sleep(self._settings.publication_refresh_ms / 1000)

    def _rebuild(self, published: Tables) -> None:
        self._published = published
        for channel in self._registry.channels:
            made = [replace(s, tables=matching(published, s.binding)) for s in self._registry.of(channel)]
            self._registry.put(channel, made)
            channel.system(SUBSCRIBED, status="ok", extension="postgres_changes")


def _refuse(channel: Channel, message: str) -> None:
    channel.system(message, status="error", extension="postgres_changes")
