"""`EdgeApi`: every route of the edge adapter, for a machine that has an API key.

    async with EdgeApi(base_url="https://<project>.supabase.co/functions/v1/api", key=…, secret=…) as api:
        boot = await api.create_product({"sku": "BOOT-42", "name": "Boot", "price": Decimal("119.90")})
        async for product in api.every_product(status="active"):
            …

Reads that follow a write see it: its X-Seq goes along as their X-Min-Seq; after one that was answered
without, they go past the cache for as long as that keeps anything. Numbers come as `int` and `Decimal`. All
methods raise `EdgeError` (errors.py). A write may be given an `idempotency_key` that outlives the process,
and has one of its own otherwise.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Literal, TypeAlias
from urllib.parse import quote

import httpx
from pydantic import SecretStr

from worker.gateway.edge.call import Answer, EdgeCaller, EdgeRules
from worker.gateway.edge.errors import Conflicting, EdgeAnswerUnreadable, NotAllowed, NotThere, NotValid
from worker.gateway.edge.signature import Credentials

Row: TypeAlias = dict[str, Any]
Value: TypeAlias = str | int | bool
Kind: TypeAlias = Literal["product", "inventory", "order"]
_NOT_MODIFIED: Final = 304
_CACHE_KEEPS: Final = 12 * 60
"""Seconds. No answer lies in the cache for longer: a minute as fresh, ten for the day the database fails."""


@dataclass(frozen=True, slots=True)
class EdgePage:
    """`next`: what `after` has to be for the page behind this one; None at the end."""

    data: Sequence[Row]
    next: str | None


class EdgeApi:
    """One key. Safe to share between tasks; closes with `async with`."""

    def __init__(
        self,
        *,
        base_url: str,
        key: str,
        secret: SecretStr | str,
        rules: EdgeRules | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        now: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """`base_url` is what stands before /pms/. Raises `ValueError` for what has another form."""
        hidden = secret if isinstance(secret, SecretStr) else SecretStr(secret)
        self._caller = EdgeCaller(
            base_url,
            Credentials(key, hidden),
            rules or EdgeRules(),
            transport=transport,
            now=now,
            sleep=sleep,
        )
        self._now = now
        self._unplaced_until = 0.0
        """A write was answered without its place in the log."""
        self._unknown_until = 0.0
        """Nobody knows whether a write took effect, or will yet."""
        self.min_seq: str | None = None
        """The X-Seq of one's last write; hand it to another process to let that see the write too."""

    async def __aenter__(self) -> EdgeApi:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        await self._caller.close()

    # -- products --------------------------------------------------------------------------------------------

    async def products(self, **query: Value | None) -> EdgePage:
        """One page. `limit` (to 200), `after`, `sort` (`name`, `-price`, …), `fields`, and filters: see the
        reference in docs/api."""
        return await self._page("/products", query)

    async def every_product(self, **query: Value | None) -> AsyncIterator[Row]:
        """The rows of all pages from `after` on."""
        async for row in self._every("/products", query):
            yield row

    async def product(
        self, product_id: str, *, fields: str | None = None, if_none_match: str | None = None
    ) -> Row | None:
        """None: it is still what `if_none_match`, an ETag such as `"3"`, names."""
        headers = {} if if_none_match is None else {"If-None-Match": if_none_match}
        answer = await self._read(f"/products/{_part(product_id)}", {"fields": fields}, headers)
        return None if answer.status == _NOT_MODIFIED else _row(answer)

    async def create_product(self, product: Mapping[str, Any], *, idempotency_key: str | None = None) -> Row:
        """The row as it is stored."""
        return _row(await self._write("POST", "/products", product, key=idempotency_key))

    async def replace_product(
        self,
        product_id: str,
        product: Mapping[str, Any],
        *,
        expected_version: int | None = None,
        idempotency_key: str | None = None,
    ) -> Row:
        """Raises `VersionStale` when it has another version than `expected_version`."""
        path = f"/products/{_part(product_id)}"
        return _row(await self._write("PUT", path, product, expected_version, key=idempotency_key))

    async def delete_product(
        self, product_id: str, *, expected_version: int | None = None, idempotency_key: str | None = None
    ) -> None:
        """Raises `VersionStale`, and `Conflicting` for a product that something holds."""
        path = f"/products/{_part(product_id)}"
        await self._write("DELETE", path, None, expected_version, key=idempotency_key)

    async def publish_product(
        self, product_id: str, *, expected_version: int | None = None, idempotency_key: str | None = None
    ) -> Row:
        """Raises `NotValid`, with all `failures`, for one that is not fit to be sold yet."""
        path = f"/products/{_part(product_id)}/publish"
        return _row(await self._write("POST", path, None, expected_version, key=idempotency_key))

    async def upsert_products(
        self,
        rows: Sequence[Mapping[str, Any]],
        *,
        all_or_nothing: bool = False,
        idempotency_key: str | None = None,
    ) -> Row:
        """Up to 1,000 rows, matched by `id` or else `sku`; what became of each."""
        body = {"rows": rows, "all_or_nothing": all_or_nothing}
        return _row(await self._write("POST", "/products/bulk", body, key=idempotency_key))

    # -- stock and orders ------------------------------------------------------------------------------------

    async def adjust_stock(
        self,
        lines: Sequence[Mapping[str, Any]],
        *,
        reason: str | None = None,
        idempotency_key: str | None = None,
    ) -> Row:
        """All lines or none. Raises `Conflicting` (`stock.insufficient`)."""
        body = {"lines": lines} if reason is None else {"lines": lines, "reason": reason}
        return _row(await self._write("POST", "/inventory/adjust", body, key=idempotency_key))

    async def stock_status(self, **query: Value | None) -> EdgePage:
        """A page of levels: on hand, reserved, available."""
        return await self._page("/inventory/status", query)

    async def stock_history(self, **query: Value | None) -> EdgePage:
        """A page of the ledger, newest first."""
        return await self._page("/inventory/history", query)

    async def every_level(self, **query: Value | None) -> AsyncIterator[Row]:
        async for row in self._every("/inventory/status", query):
            yield row

    async def every_movement(self, **query: Value | None) -> AsyncIterator[Row]:
        async for row in self._every("/inventory/history", query):
            yield row

    async def order(self, order_id: str) -> Row:
        """An order with its lines."""
        return _row(await self._read(f"/orders/{_part(order_id)}", {}))

    # -- the rest --------------------------------------------------------------------------------------------

    async def send_webhook(self, kind: Kind, event: Mapping[str, Any]) -> Row:
        """`event`: `{"id", "type", "timestamp", "data"}`. The same `id` counts once, whenever it comes."""
        return _row(await self._write("POST", f"/webhook/{kind}", event))

    async def health(self) -> Row:
        """Raises `EdgeUnavailable` when the database does not answer."""
        return _row(await self._read("/health", {}))

    async def openapi(self) -> Row:
        """The OpenAPI 3.1 document."""
        return _row(await self._read("/openapi.json", {}))

    # -- how -------------------------------------------------------------------------------------------------

    async def _page(self, path: str, query: Mapping[str, Value | None]) -> EdgePage:
        told = _row(await self._read(path, query))
        match told:
            case {"data": list(data), "next": str() | None as following}:
                return EdgePage(data, following)
        raise EdgeAnswerUnreadable("edge.answer_unreadable", f"{path} answered no page", status=200)

    async def _every(self, path: str, query: Mapping[str, Value | None]) -> AsyncIterator[Row]:
        asked = dict(query)
        while True:
            page = await self._page(path, asked)
            for row in page.data:
                yield row
            if page.next is None:
                return
            asked["after"] = page.next

    async def _read(
        self, path: str, query: Mapping[str, Value | None], headers: Mapping[str, str] | None = None
    ) -> Answer:
        sent = dict(headers or {})
        if self.min_seq is not None:
            sent["X-Min-Seq"] = self.min_seq
        if self._now() < max(self._unplaced_until, self._unknown_until):
            sent["Cache-Control"] = "no-cache"
        told = {name: _text(value) for name, value in query.items() if value is not None}
        return await self._caller.call("GET", path, query=told, headers=sent)

    async def _write(
        self,
        method: str,
        path: str,
        body: Any,
        expected_version: int | None = None,
        *,
        key: str | None = None,
    ) -> Answer:
        headers = {} if expected_version is None else {"If-Match": f'"{expected_version}"'}
        try:
            answer = await self._caller.call(method, path, body=body, headers=headers, idempotency_key=key)
        except BaseException as error:  # a cancelled one may take effect, too
            if not isinstance(error, _WITHOUT_EFFECT):
                self._unknown_until = self._now() + _CACHE_KEEPS
            raise
        self.min_seq = later(self.min_seq, answer.seq)
        if answer.seq is not None:
            self._unplaced_until = 0.0  # its place is behind that of all writes before it
        elif not path.startswith("/webhook/"):  # events are worked later, and have no place
            self._unplaced_until = self._now() + _CACHE_KEEPS
        return answer


_WITHOUT_EFFECT: Final = (Conflicting, NotAllowed, NotThere, NotValid)


def later(one: str | None, other: str | None) -> str | None:
    """Which of two X-Seq is further; of two epochs, `other`: the log was begun anew."""
    if one is None or other is None:
        return other or one
    (epoch, _, place), (its_epoch, _, its_place) = one.rpartition(":"), other.rpartition(":")
    if epoch == its_epoch and place.isdecimal() and its_place.isdecimal() and int(place) > int(its_place):
        return one
    return other


def _row(answer: Answer) -> Row:
    if not isinstance(answer.data, dict):
        raise EdgeAnswerUnreadable("edge.answer_unreadable", "the answer is no object", status=answer.status)
    return answer.data


def _text(value: Value) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def _part(text: str) -> str:
    """As one part of a path. Raises `ValueError` for what a URL would take as another path."""
    if text in ("", ".", ".."):
        raise ValueError("an id is not empty, and no dots alone")
    return quote(text, safe="")
