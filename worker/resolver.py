"""Names to addresses by the machine's own resolver: what the wall asks in production."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import threading
from collections.abc import Sequence
from datetime import timedelta

from worker.wall import NoSuchHostError, ResolverError


class SystemResolver:
    """The machine's own resolver, in threads of its own so that hanging look-ups do not stop other work.

    Daemon threads and no executor: `getaddrinfo` cannot be interrupted, and Python joins the threads of every
    executor before it ends, so that one name that hangs would hold up the end of the process.
    """

    def __init__(self, *, timeout: timedelta = timedelta(seconds=3), threads: int = 32) -> None:
        self._timeout = timeout
        self._free = asyncio.Semaphore(threads)

    async def __call__(self, host: str) -> Sequence[str]:
        try:
            async with asyncio.timeout(self._timeout.total_seconds()):
                await self._free.acquire()
                return await self._ask(host)
        except TimeoutError as error:
            raise ResolverError(f"{host}: the resolver did not answer in time") from error
        except socket.gaierror as error:
            if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
                raise NoSuchHostError(f"{host}: there is no such host") from error
            raise ResolverError(f"{host}: the resolver failed: {error.strerror}") from error
        except (OSError, UnicodeError) as error:
            raise ResolverError(f"{host}: the resolver failed: {error}") from error

    def _ask(self, host: str) -> asyncio.Future[list[str]]:
        """Asks in a thread, which takes a free place until it has an answer, wanted or not."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[list[str]] = loop.create_future()

        def answered(found: list[str] | Exception) -> None:
            self._free.release()
            if answer.done():
                return  # nobody waits any more
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)

        def ask() -> None:
            found: list[str] | Exception
            try:
                found = _look_up(host)
            except Exception as error:  # whatever it is, whoever waits must hear of it
                found = error
            with contextlib.suppress(RuntimeError):  # the loop has ended, and who waited with it
                loop.call_soon_threadsafe(answered, found)

        try:
            threading.Thread(target=ask, name="resolver", daemon=True).start()
        except RuntimeError as error:
            answered(OSError(str(error)))
        return answer


def _look_up(host: str) -> list[str]:
    found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, proto=socket.IPPROTO_TCP)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))
