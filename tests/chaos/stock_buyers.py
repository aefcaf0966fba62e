"""Buyers that never give up: whatever breaks, they ask again with the same key, and remember every answer."""

from __future__ import annotations

import asyncio
import json
import random
import uuid
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import psycopg
from psycopg.types.json import Jsonb
from pyreqwest.client import Client
from pyreqwest.exceptions import PyreqwestError

from tests.chaos.stock_market import Connection, Market, act_as_owner, connect

PATIENCE = 900.0
"""Seconds that a buyer tries for one answer: on a slow machine hundreds wait for a few rows."""
PAUSE = 0.1
AGAIN = 0.05
"""Share of the calls that are sent twice though they were answered."""


class Refusal(Exception):
    """The database said no: `code` is the stable message."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Interrupted(Exception):
    """No answer: what was asked may have happened or not."""


class Door(Protocol):
    """A way to the commands. Raises `Refusal` and `Interrupted`."""

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any: ...


class SqlDoor:
    """A session of one's own."""

    def __init__(self, db_url: str, market: Market) -> None:
        self._db_url, self._market = db_url, market
        self._connection: Connection | None = None

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        try:
            if self._connection is None:
                self._connection = await connect(self._db_url)
                await act_as_owner(self._connection, self._market)
            names = ", ".join(f"{name} => %s" for name in arguments)
            values = [Jsonb(v) if name == "p_lines" else v for name, v in arguments.items()]
            cursor = await self._connection.execute(f"select public.{function}({names})".encode(), values)
            row = await cursor.fetchone()
            return row and row[0]
        except psycopg.OperationalError as error:
            await self.close()
            raise Interrupted(error.sqlstate or str(error)) from error
        except psycopg.Error as error:
            raise Refusal(error.diag.message_primary or str(error)) from error

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


class HttpDoor:
    """PostgREST, with the owner's token."""

    def __init__(self, client: Client, api_url: str, key: str, market: Market) -> None:
        self._client, self._url = client, f"{api_url}/rest/v1/rpc/"
        token = f"Bearer {market.tenant.owner.access_token}"
        self._headers = {"apikey": key, "authorization": token, "content-type": "application/json"}

    async def call(self, function: str, arguments: Mapping[str, Any]) -> Any:
        body = json.dumps(arguments, default=str)
        try:
            request = self._client.post(self._url + function).headers(self._headers).body_text(body).build()
            answer = await request.send()
            text = await answer.text()
        except PyreqwestError as error:
            raise Interrupted(str(error)) from error
        said = json.loads(text)
        # a session that dies under PostgREST leaves an error without words
        if answer.status >= 500 or (answer.status >= 400 and not said["message"]):
            raise Interrupted(text)
        if answer.status >= 400:
            raise Refusal(said["message"])
        return said


@dataclass
class Memory:
    """What the buyers were told."""

    attempts: int = 0
    reserved: dict[str, int] = field(default_factory=dict)
    """Quantity by reservation id."""
    kept: set[str] = field(default_factory=set)
    """Committed: never again expired."""
    released: set[str] = field(default_factory=set)
    refusals: Counter[str] = field(default_factory=Counter)
    interruptions: int = 0
    deadlocks: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass
class Buyer:
    door: Door
    market: Market
    memory: Memory
    chance: random.Random

    async def shop(self, turns: Iterator[int]) -> None:
        for _ in turns:
            self.memory.attempts += 1
            await self.buy()

    async def buy(self) -> None:
        """Reserves a cart; then pays, thinks better of it, or forgets it until it expires."""
        forgets = self.chance.random() < 0.4
        hold = f"{self.chance.uniform(1.0, 2.0):.2f} seconds" if forgets else "10 minutes"
        answer = await self._surely("reserve_stock", p_lines=self.market.cart(self.chance), p_expires_in=hold)
        if answer is None:
            return
        for made in answer["reservations"]:
            self.memory.reserved[made["reservation_id"]] = made["quantity"]
        ids = [made["reservation_id"] for made in answer["reservations"]]
        if forgets:
            return
        if self.chance.random() < 0.5:
            if await self._surely("release_reservation", p_reservation_ids=ids) is not None:
                self.memory.released.update(ids)
            return
        if await self._surely("commit_reservation", p_reservation_ids=ids) is None:
            return
        self.memory.kept.update(ids)
        if self.chance.random() < 0.5:
            await self._surely("ship_reservation", p_reservation_ids=ids)

    async def _surely(self, function: str, **arguments: Any) -> Any:
        """The answer, however often it takes to get one; None if the database refuses."""
        asked = {"p_tenant_id": self.market.tenant.id, "p_key": uuid.uuid4().hex, **arguments}
        async with asyncio.timeout(PATIENCE):
            try:
                answer = await self._until_answered(function, asked)
                if self.chance.random() < AGAIN and await self._until_answered(function, asked) != answer:
                    self.memory.faults.append(f"{function} answered one key twice, and not the same")
            except Refusal as refusal:
                self.memory.refusals[refusal.code] += 1
                return None
        return answer

    async def _until_answered(self, function: str, asked: Mapping[str, Any]) -> Any:
        while True:
            try:
                return await self.door.call(function, asked)
            except Interrupted as error:
                self.memory.interruptions += 1
                self.memory.deadlocks += "40P01" in str(error)
                await asyncio.sleep(PAUSE)
