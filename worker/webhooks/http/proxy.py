"""The way out through an HTTP proxy: CONNECT to the checked address, never to a name (RFC 9110 §9.3.6)."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Final, Protocol
from urllib.parse import unquote

from worker.config import read_proxy
from worker.wall import WallError
from worker.webhooks.http.failure import Failure, read_error

MAX_ANSWER: Final = 16 * 1024

_STATUS: Final = re.compile(rb"HTTP/1\.[01] ([0-9]{3})[ \r\n]")


class Names(Protocol):
    """Names to addresses; raises `WallError`."""

    async def __call__(self, host: str) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class ProxyAddress:
    """Where the proxy is; `authorization` is the value of its header, or None."""

    host: str
    port: int
    authorization: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> ProxyAddress:
        """Of a URL as in the settings; raises `ValueError`, which does not hold the URL."""
        host, port, pair = read_proxy(url)
        if pair is None:
            return cls(host, port)
        user, _, password = pair.partition(":")
        decoded = f"{unquote(user)}:{unquote(password)}"
        return cls(host, port, f"Basic {b64encode(decoded.encode()).decode()}")


class Proxy:
    """Opens tunnels. Whatever it or the way to it does wrong is the trouble `proxy`, or `local`."""

    def __init__(self, address: ProxyAddress, resolver: Names) -> None:
        self._address, self._resolver = address, resolver

    async def tunnel(self, to: str, port: int, *, until: float) -> asyncio.Transport:
        """A transport whose other end is `to`, until the loop's time `until`; raises `Failure`."""
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout_at(until):
                transport, tunnel = await asyncio.get_running_loop().create_connection(
                    _Tunnel, await self._where(), self._address.port
                )
                transport.write(self._request(to, port))
                await tunnel.answered
            tunnel.raise_if_refused()
            return transport
        except BaseException as error:
            if transport is not None:
                transport.abort()
            if isinstance(error, OSError | WallError):
                raise _as_failure(error) from error
            raise

    async def _where(self) -> str:
        try:
            return str(ip_address(self._address.host))
        except ValueError:
            found = await self._resolver(self._address.host)
        if not found:
            raise Failure("proxy", "the proxy's name has no address")
        return found[0]

    def _request(self, to: str, port: int) -> bytes:
        target = f"[{to}]:{port}" if ":" in to else f"{to}:{port}"
        lines = [f"CONNECT {target} HTTP/1.1", f"host: {target}"]
        if self._address.authorization is not None:
            lines.append(f"proxy-authorization: {self._address.authorization}")
        return "\r\n".join([*lines, "", ""]).encode("ascii")


class _Tunnel(asyncio.Protocol):
    """Reads the answer to CONNECT; `answered` ends when there is nothing more to wait for."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._came = b""

    def data_received(self, data: bytes) -> None:
        self._came += data
        if b"\r\n\r\n" in self._came or len(self._came) > MAX_ANSWER:
            self._end()

    def eof_received(self) -> None:
        self._end()

    def connection_lost(self, exc: Exception | None) -> None:
        self._end()

    def raise_if_refused(self) -> None:
        match = _STATUS.match(self._came)
        if match is None or b"\r\n\r\n" not in self._came:
            raise Failure("proxy", "the proxy gave no answer")
        if not match[1].startswith(b"2"):
            raise Failure("proxy", f"the proxy answered {match[1].decode()}")
        if not self._came.endswith(b"\r\n\r\n"):
            # the endpoint cannot have spoken yet: nobody has asked it anything
            raise Failure("proxy", "the proxy's answer does not end where it should")

    def _end(self) -> None:
        if not self.answered.done():
            self.answered.set_result(None)


def _as_failure(error: OSError | WallError) -> Failure:
    if isinstance(error, TimeoutError):
        return Failure("proxy", "the proxy did not answer in time")
    if isinstance(error, WallError):
        return Failure("proxy", f"the proxy: {error}")
    read = read_error(error)
    return Failure("local" if read.trouble == "local" else "proxy", f"the proxy: {read}", again=read.again)
