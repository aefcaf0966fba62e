"""The project as a client of one tenant sees it: its log, its tables, its queue of changes, and its bell.

Everything is asked with a user's own token, so that row-level security decides. The token is asked for at
each call, for whoever signs in also refreshes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx
import jwt
import msgspec
from msgspec import Raw, json

from worker.errors import GatewayError, KeyRefused, TokenRefused, Unreachable
from worker.gateway.channel import Channel, Doubt, Hear
from worker.gateway.client import CALL_TIMEOUT, answered
from worker.gateway.exact import encoded
from worker.gateway.transport import BoundedTransport

T = TypeVar("T")
Token = Callable[[], Awaitable[str]]
"""Answers an access token that is still good for a while."""

TABLES: Final[Mapping[str, str]] = {
    "product": "products",
    "category": "categories",
    "location": "locations",
    "stock_level": "stock_levels",
}
"""What a client can keep a copy of: the table of each entity."""
ROWS: Final = 1000
"""What a Supabase project answers at most, unless told otherwise."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far a copy is. `text` is the server's and opaque; it stands for `seq` of the log's `epoch`."""

    text: str
    epoch: str
    seq: int

    def __str__(self) -> str:
        return json.encode([self.text, self.epoch, self.seq]).decode()

    @classmethod
    def parse(cls, text: str) -> Cursor:
        """From what `str` made of it."""
        return cls(*json.decode(text, type=tuple[str, str, int]))


class StoredRow(msgspec.Struct, frozen=True):
    id: str
    version: int
    body: bytes
    """Its JSON."""


class Change(msgspec.Struct, frozen=True):
    """An event of the log: what a row has become, or (`gone`) what it was before it was deleted for good.
    `command_id` is the id of the edit that made it, if one did."""

    seq: int
    entity: str
    entity_id: str
    version: int
    command_id: str | None
    timestamp: str
    body: bytes
    gone: bool


@dataclass(frozen=True, slots=True)
class Page:
    """Every event from `first` through `cursor.seq` was looked at; `changes` are those that may be read.
    `head`: the last there is. `entities`: those whose events may be read. `behind`: who waited has to ask
    again, for not all that was committed is in the log yet."""

    first: int
    cursor: Cursor
    head: int
    entities: frozenset[str]
    changes: Sequence[Change]
    behind: bool = False


@dataclass(frozen=True, slots=True)
class MustSnapshot:
    """The tables are to be read, and then the log from `cursor`; `why`, as `pull_changes` says it."""

    why: str
    cursor: Cursor
    entities: frozenset[str]


class Outcome(msgspec.Struct, frozen=True):
    """What became of an edit: see `sync_changes`."""

    id: str
    status: str
    version: int | None = None
    error: dict[str, Any] | None = None


class Part(msgspec.Struct, frozen=True):
    """A range of ids of which copy and server differ: after < id <= through, None: without end. What the
    server has there; or `leaf`: few enough to be reported as ids and versions."""

    after: str | None
    through: str | None
    count: int = 0
    checksum: str = ""
    leaf: bool = False


@dataclass(frozen=True, slots=True)
class Differences:
    """The answer of `report_state`: parts to be compared, rows as they are, ids that are not there."""

    ranges: Sequence[Part]
    rows: Sequence[StoredRow]
    gone: Sequence[str]


class PmsRemote:
    """The client's outside door. All methods raise `GatewayError`; closes with `async with`."""

    def __init__(
        self,
        *,
        url: str,
        publishable_key: str,
        token: Token,
        tenant_id: str,
        client: str,
        timeout: timedelta = CALL_TIMEOUT,
    ) -> None:
        """`url` is the project's; `client` names this copy: 1 to 64 letters, digits, `_`, `.` or `-`."""
        self.client = client
        self._url, self._key, self._token, self._tenant_id = (
            url.rstrip("/"),
            publishable_key,
            token,
            tenant_id,
        )
        self._http = httpx.AsyncClient(
            transport=BoundedTransport(timeout=timeout),
            timeout=None,  # noqa: S113 - the transport's own time-outs count, per phase and in total
            trust_env=False,
        )

    async def __aenter__(self) -> PmsRemote:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def owner(self) -> str:
        """Tenant, user and client: a copy is theirs together."""
        token = await self._access_token()
        try:
            user = jwt.decode(token, options={"verify_signature": False})["sub"]
        except (jwt.InvalidTokenError, KeyError) as error:
            raise TokenRefused(f"the access token names no user: {type(error).__name__}") from None
        return f"tenant {self._tenant_id}, user {user}, client {self.client}"

    async def pull(self, cursor: str | None, *, limit: int, wait: bool = False) -> Page | MustSnapshot:
        """The next page behind `cursor` (None: from the beginning). `wait`: what is committed is dispatched
        first, as far as one call goes."""
        arguments = {
            "p_tenant_id": self._tenant_id,
            "p_cursor": cursor,
            "p_limit": limit,
            "p_wait": wait,
            "p_client": self.client,
        }
        return await self._ask("POST", "rpc/pull_changes", _page, content=json.encode(arguments))

    async def read(self, entity: str, after: str | None) -> list[StoredRow]:
        """Up to `ROWS` rows behind the id `after`; none when there are no more."""
        params = {"tenant_id": f"eq.{self._tenant_id}", "order": "id", "limit": str(ROWS)}
        if after is not None:
            params["id"] = f"gt.{after}"
        return await self._ask("GET", TABLES[entity], _rows, params=params)

    async def push(self, changes: Sequence[Mapping[str, Any]]) -> list[Outcome]:
        """Hands over up to 1,000 changes; what is known of each, in their order."""
        arguments = {"p_tenant_id": self._tenant_id, "p_client": self.client, "p_changes": changes}
        return await self._ask("POST", "rpc/push_changes", _outcomes, content=encoded(arguments))

    async def outcomes(self, change_ids: Sequence[str]) -> list[Outcome]:
        """What is known of up to 100 changes; those that the server does not know are left out."""
        params = {"select": "id,status,version,error", "id": f"in.({','.join(change_ids)})"}
        return await self._ask("GET", "sync_changes", _outcomes, params=params)

    async def report(self, entity: str, ranges: Sequence[Mapping[str, Any]]) -> Differences:
        """What the server has otherwise in `ranges` of a copy: see `report_state`."""
        arguments = {
            "p_tenant_id": self._tenant_id,
            "p_client": self.client,
            "p_entity": entity,
            "p_ranges": ranges,
        }
        return await self._ask("POST", "rpc/report_state", _differences, content=json.encode(arguments))

    async def listen(self, hear: Hear) -> Channel:
        """A connection to the tenant's bell; raises `Doubt` without one. A ring tells epoch and seq."""
        try:
            token = await self._access_token()
        except GatewayError as error:
            raise Doubt(str(error)) from None
        topic = f"tenant:{self._tenant_id}"
        return await Channel.open(f"{self._url}/realtime/v1", self._key, topic, hear, token=token)

    async def _access_token(self) -> str:
        try:
            return await self._token()
        except GatewayError:
            raise
        except Exception as error:  # of whoever signs in: away, most likely
            raise Unreachable(f"no access token: {type(error).__name__}: {error}"[:300]) from error

    async def _ask(self, method: str, path: str, read: Callable[[bytes], T], **more: Any) -> T:
        headers = {
            "apikey": self._key,
            "authorization": f"Bearer {await self._access_token()}",
            "content-type": "application/json",
        }
        url = f"{self._url}/rest/v1/{path}"
        try:
            return await answered(path, self._http.request(method, url, headers=headers, **more), read)
        except KeyRefused as error:
            hint = "sign in again, and check the publishable key"
            raise TokenRefused.instead_of(error, hint=hint) from None


class _Data(msgspec.Struct):
    object: Raw
    version: int
    previous: Raw


class _Event(msgspec.Struct):
    seq: int
    timestamp: str
    data: _Data


class _Change(msgspec.Struct):
    entity: str
    entity_id: str
    version: int
    command_id: str | None
    event: _Event


class _Answer(msgspec.Struct):
    epoch: str
    head: int
    cursor: str
    entities: frozenset[str]
    must_snapshot: str | None = None
    first: int = msgspec.field(name="from", default=0)
    through: int = 0
    changes: list[_Change] = []
    behind: bool = False


class _Versioned(msgspec.Struct):
    version: int


class _State(msgspec.Struct):
    ranges: list[Part]
    rows: list[Raw]
    gone: list[str]


class _Row(msgspec.Struct):
    id: str
    version: int


_NULL: Final = b"null"
_decoded_answer: Final = json.Decoder(_Answer).decode
_version_of: Final = json.Decoder(_Versioned).decode
_row: Final = json.Decoder(_Row).decode
_decoded_state: Final = json.Decoder(_State).decode
_raw_rows: Final = json.Decoder(list[Raw]).decode
_outcomes: Final = partial(json.decode, type=list[Outcome])


def _page(content: bytes) -> Page | MustSnapshot:
    told = _decoded_answer(content)
    if told.must_snapshot is not None:
        cursor = Cursor(told.cursor, told.epoch, told.head)
        return MustSnapshot(told.must_snapshot, cursor, told.entities)
    cursor = Cursor(told.cursor, told.epoch, told.through)
    changes = [_change(each) for each in told.changes]
    return Page(told.first, cursor, told.head, told.entities, changes, told.behind)


def _change(told: _Change) -> Change:
    data = told.event.data
    return Change(
        seq=told.event.seq,
        entity=told.entity,
        entity_id=told.entity_id,
        version=told.version,
        command_id=told.command_id,
        timestamp=told.event.timestamp,
        body=bytes(data.object),
        # a deletion has the last state, and a version after it
        gone=bytes(data.previous) == _NULL and _version_of(data.object).version < data.version,
    )


def _rows(content: bytes) -> list[StoredRow]:
    return [_stored(raw) for raw in _raw_rows(content)]


def _stored(raw: Raw) -> StoredRow:
    it = _row(raw)
    return StoredRow(it.id, it.version, bytes(raw))


def _differences(content: bytes) -> Differences:
    told = _decoded_state(content)
    return Differences(told.ranges, [_stored(raw) for raw in told.rows], told.gone)
