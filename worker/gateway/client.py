"""The client of the database's functions: httpx, on the transport of transport.py.

Tables are read through postgrest (catalogue.py). For functions its builder and Python's json would be a tenth
of what a delivery costs the worker; msgspec writes and reads typed records without a dict in between.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from types import TracebackType
from typing import Any, Final, TypeVar

import httpx
from msgspec import DecodeError, json
from pyreqwest.exceptions import PyreqwestError

from worker.config import Settings
from worker.errors import BadAnswer, GatewayError, KeyRefused, TokenRefused
from worker.gateway import faults
from worker.gateway.transport import MAX_ANSWER_BYTES, BoundedTransport

T = TypeVar("T")

CALL_TIMEOUT: Final = timedelta(seconds=30)
_CHECK_SIGNING_KEY: Final = (
    "check that PMS_JWT_KEY is a signing key of this project, or its legacy JWT secret"
)

Watch = Callable[[str, float, GatewayError | None], None]
"""Hears of every call: the function's name, the seconds it took, and the error, if there was one."""


class SupabaseRpc:
    """Calls functions of the schema `worker` with the service key. Safe to share between tasks."""

    def __init__(
        self,
        settings: Settings,
        *,
        watch: Watch | None = None,
        timeout: timedelta = CALL_TIMEOUT,
        max_answer_bytes: int = MAX_ANSWER_BYTES,
    ) -> None:
        key = settings.supabase_secret_key.get_secret_value()
        self._watch = watch
        self._http = httpx.AsyncClient(
            transport=BoundedTransport(timeout=timeout, max_bytes=max_answer_bytes),
            timeout=None,  # noqa: S113 - the transport's own time-outs count, per phase and in total
            trust_env=False,
        )
        self._url = f"{settings.rest_url}/rpc/"
        self._headers = {
            # as supabase-py does it: a secret key in Authorization must equal apikey
            "apikey": key,
            "authorization": f"Bearer {key}",
            "accept": "application/json",
            "content-type": "application/json",
            "content-profile": "worker",
        }

    async def __aenter__(self) -> SupabaseRpc:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._http.aclose()

    async def call(self, name: str, /, **params: Any) -> Any:
        """Calls `worker.<name>` with `params` as JSON and answers its JSON value.

        Raises `GatewayError`. After `Unreachable` the call may or may not have taken effect.
        """
        return await self._called(name, params, _decoded)

    async def answer(self, name: str, /, **params: Any) -> bytes:
        """As `call`, with the answer's JSON as it came."""
        return await self._called(name, params, bytes)

    async def call_as(self, token: str, name: str, /, **params: Any) -> Any:
        """Calls `public.<name>` as the principal that `token` names (principals.py).

        Raises `GatewayError`; `TokenRefused` when Supabase does not take the token.
        """
        headers = self._headers | {"authorization": f"Bearer {token}", "content-profile": "public"}
        return await self._called(name, params, _decoded, headers)

    async def _called(
        self,
        name: str,
        params: Mapping[str, Any],
        read: Callable[[bytes], T],
        headers: Mapping[str, str] | None = None,
    ) -> T:
        started = time.perf_counter()
        asking = self._http.post(
            # told the names of the parameters, PostgREST passes the body on; else it takes it apart first
            self._url + (f"{name}?columns={','.join(params)}" if params else name),
            content=json.encode(params),
            headers=headers or self._headers,
        )
        try:
            value = await answered(name, asking, read)
        except KeyRefused as error:
            refused = error if headers is None else TokenRefused.instead_of(error, hint=_CHECK_SIGNING_KEY)
            self._seen(name, started, refused)
            raise refused from None
        except GatewayError as error:
            self._seen(name, started, error)
            raise
        self._seen(name, started, None)
        return value

    def _seen(self, name: str, started: float, error: GatewayError | None) -> None:
        if self._watch is not None:
            self._watch(name, time.perf_counter() - started, error)


async def answered(name: str, asking: Awaitable[httpx.Response], read: Callable[[bytes], T]) -> T:
    """What `read` makes of the answer to a request that goes through `BoundedTransport`.

    Raises `GatewayError`. `name` says in messages what was asked.
    """
    try:
        return read((await asking).content)
    except (httpx.HTTPError, httpx.InvalidURL, PyreqwestError, OSError) as error:
        raise faults.from_transport(error) from error
    except (DecodeError, RecursionError, ValueError) as error:
        raise BadAnswer(
            f"{name} answered what cannot be read: {type(error).__name__}: {error}"[:300]
        ) from error


def _decoded(content: bytes) -> Any:
    return json.decode(content) if content else None
