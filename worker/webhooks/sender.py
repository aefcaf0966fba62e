"""One attempt: a signed POST to the address that the wall allowed, and a bounded look at the answer."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from pyreqwest.client import Client
from pyreqwest.exceptions import (
    BuilderError,
    ClientClosedError,
    ConnectError,
    ConnectTimeoutError,
    DecodeError,
    PyreqwestError,
    RequestError,
    RequestPanicError,
    RequestTimeoutError,
)
from pyreqwest.response import Response

from worker.engine.clock import Clock
from worker.wall import BlockedError, NoSuchHostError, ResolverError
from worker.webhooks.answer import Answer, Trouble
from worker.webhooks.clients import PinnedClients
from worker.webhooks.schedule import parse_retry_after

KEPT_BYTES: Final = 1024
READ_BYTES: Final = 16 * 1024
NOTHING_AHEAD: Final = 0
"""Else the client reads that much of the body before it tells the status."""
BODY_PATIENCE: Final = timedelta(seconds=2)

# no network, no free port, no file descriptor left, no memory: nothing that the receiver could mend
_LOCAL_FAULTS: Final = ("(os error 101)", "(os error 99)", "(os error 24)", "(os error 23)", "(os error 12)")
_TLS_SIGNS: Final = ("certificate", "corrupt message", "handshake", "tls", "peer sent", "unknown issuer")


class Sender:
    """Sends attempts; keeps connections between them. Never raises for anything the network does."""

    def __init__(self, clients: PinnedClients, *, clock: Clock) -> None:
        self._clients, self._clock = clients, clock

    async def send(self, url: str, *, headers: dict[str, str], body: str, within: timedelta) -> Answer:
        """POSTs `body`; everything, the look-up included, ends within `within`.

        A status line in time counts as the answer: a body that drips or does not end is cut, and its
        connection closed.
        """
        started = self._clock.monotonic()
        try:
            route = await self._clients.route(url)
            left = within - timedelta(seconds=self._clock.monotonic() - started)
            if left <= timedelta(0):
                return self._failed(started, "resolver", "the look-up took all the time there was")
            return await self._post(started, route.client, route.url, headers, body, left)
        except (BlockedError, BuilderError) as error:
            return self._failed(started, "blocked", str(error))
        except NoSuchHostError as error:
            return self._failed(started, "no_such_host", str(error))
        except ResolverError as error:
            return self._failed(started, "resolver", str(error))
        except PyreqwestError as error:
            self._clients.forget(url)
            trouble, detail = _read_error(error)
            return self._failed(started, trouble, detail)

    async def _post(
        self, started: float, client: Client, url: str, headers: dict[str, str], body: str, left: timedelta
    ) -> Answer:
        request = (
            client.post(url)
            .headers({"content-type": "application/json", **headers})
            .body_text(body)
            .timeout(left)
            .streamed_read_buffer_limit(NOTHING_AHEAD)
            .build_streamed()
        )
        async with request as response:
            head = await _read_head(response)
            return Answer(
                duration=self._since(started),
                status=response.status,
                head=head,
                retry_after=parse_retry_after(response.get_header("retry-after"), now=self._clock.now()),
            )

    def _failed(self, started: float, trouble: Trouble, detail: str) -> Answer:
        return Answer(duration=self._since(started), trouble=trouble, detail=detail[:500])

    def _since(self, started: float) -> timedelta:
        return timedelta(seconds=self._clock.monotonic() - started)


async def _read_head(response: Response) -> str:
    """The first KiB; reads on to 16 KiB, because only a finished answer leaves its connection usable."""
    kept = bytearray()
    seen = 0
    try:
        async with asyncio.timeout(BODY_PATIENCE.total_seconds()):
            while seen < READ_BYTES and (chunk := await response.body_reader.read_chunk()) is not None:
                seen += len(chunk)
                if len(kept) < KEPT_BYTES:
                    kept += memoryview(chunk)[: KEPT_BYTES - len(kept)]
    except (TimeoutError, PyreqwestError):
        pass  # the status stands
    text = kept.decode("utf-8", "replace")
    # the database's text holds no NUL, and nobody wants control characters in a log
    return "".join([c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text])


def _read_error(error: PyreqwestError) -> tuple[Trouble, str]:
    causes = (error.details or {}).get("causes") or [] if isinstance(error, RequestError) else []
    detail = str(causes[-1]["message"]) if causes else error.message
    match error:
        case ClientClosedError() | RequestPanicError():
            return "local", detail
        # a ConnectTimeoutError is also what reqwest calls a request that ran out of time
        case ConnectTimeoutError() | RequestTimeoutError():
            return "timeout", detail
        case DecodeError():
            return "protocol", detail
        case _ if any(sign in detail for sign in _LOCAL_FAULTS):
            return "local", detail
        case ConnectError() if any(sign in detail.lower() for sign in _TLS_SIGNS):
            return "tls", detail
        case _:
            return "connect", detail
