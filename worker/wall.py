"""The SSRF wall: every URL that a tenant can choose passes here before anything connects to it.

    parse the URL strictly -> resolve its host -> check every address -> a Target to connect to

Deny by default: an address passes only if it is public by our own table (`addresses.py`) or in the
allow-list of the settings (loopback, for the demo and the tests). Whoever connects must use `Target.url` and
`Target.address`, nothing else: asking the resolver again would open the door to DNS rebinding.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final, Protocol

import idna

from worker.addresses import Address, is_public
from worker.config import Network
from worker.errors import WorkerError

MAX_URL: Final = 2048
MAX_ADDRESSES: Final = 32

_FEWEST_PORT: Final = 1024
_LOW_PORTS: Final = frozenset({80, 443})
# the bad ports of https://fetch.spec.whatwg.org/#port-blocking, and those of databases and agents
_BAD_PORTS: Final = frozenset(
    {1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566}
    | {6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080}
    | {1433, 1521, 2375, 2376, 2379, 2380, 3306, 3389, 5432, 5900, 5984, 5985, 5986}
    | {6379, 6443, 9042, 9092, 9200, 9300, 10250, 11211, 27017, 50000}
)
_PRIVATE_NAMES: Final = frozenset(
    {"alt", "arpa", "corp", "home", "internal", "intranet", "invalid", "lan", "local"}
    | {"localdomain", "localhost", "onion", "private", "test"}
)
# without (?a) the long s of "http\u017f" counts as an s
_URL: Final = re.compile(r"(?ia)(https?)://([^/?#\\]*)(/[^?#]*)?(\?[^#]*)?")
_REST: Final = re.compile(r"[!$-;=?-Z\[\]_a-z~]*")
_LABEL: Final = re.compile(r"(?!-)[a-z0-9-]{1,63}(?<!-)")
# RFC 1123, 2.1: the last label is alphabetic; since then there are international ones
_TOP_LEVEL: Final = re.compile(r"[a-z]{2,}|xn--[a-z0-9-]+")


class WallError(WorkerError):
    """A URL did not pass. `str()` says why and is safe to show to the tenant."""


class BlockedError(WallError):
    """The URL or an address of its host is refused: whoever configured it has to act."""


class NoSuchHostError(WallError):
    """The resolver works and says that the name does not exist: whoever configured it has to act."""


class ResolverError(WallError):
    """The resolver did not answer: our fault or a passing one, never charged to the endpoint."""


class Resolver(Protocol):
    """Names to addresses. Raises `NoSuchHostError` or `ResolverError`, within a bound of its own."""

    async def __call__(self, host: str) -> Sequence[str]: ...


@dataclass(frozen=True, slots=True)
class Url:
    """A URL that passed: `text` in canonical form, `host` lower-case ASCII without brackets."""

    text: str
    scheme: str
    host: str
    port: int
    literal: Address | None


@dataclass(frozen=True, slots=True)
class Target:
    """What may be connected to: request `url`, and connect to `address` whatever the name says by now."""

    url: str
    scheme: str
    host: str
    port: int
    address: Address


class Wall:
    """Turns a URL into a `Target`, or raises a `WallError`. `allow`: networks that pass though not global."""

    def __init__(self, resolver: Resolver, *, allow: Sequence[Network] = ()) -> None:
        self._resolver = resolver
        self._allow = tuple(allow)

    async def check(self, url: str) -> Target:
        """Resolves and checks `url`. Raises `BlockedError`, `NoSuchHostError` or `ResolverError`."""
        parsed = parse_url(url, private=bool(self._allow))
        if parsed.literal is not None:
            addresses: list[Address] = [parsed.literal]
        else:
            answers = await self._resolver(parsed.host)
            addresses = [_address(text, parsed.host) for text in answers[: MAX_ADDRESSES + 1]]
        if not addresses:
            raise NoSuchHostError(f"{parsed.host}: it has no address")
        if len(addresses) > MAX_ADDRESSES:
            raise BlockedError(f"{parsed.host}: more than {MAX_ADDRESSES} addresses")
        # one bad address among good ones is an attack or an accident: refuse the whole answer
        for address in addresses:
            self._admit(parsed, address)
        return Target(parsed.text, parsed.scheme, parsed.host, parsed.port, addresses[0])

    def _admit(self, url: Url, address: Address) -> None:
        if any(address.version == net.version and address in net for net in self._allow):
            return
        if not is_public(address):
            raise BlockedError(f"{url.host}: {address} is not a public address")
        if url.scheme != "https":
            raise BlockedError(f"{url.host}: only https is allowed")


def _address(text: str, host: str) -> Address:
    try:
        return ip_address(text)
    except ValueError as error:
        raise BlockedError(f"{host}: {text!r} is not an address") from error


def parse_url(text: str, *, private: bool = False) -> Url:
    """The strict parse; raises `BlockedError`. `private` also passes http and names of private networks.

    Anything that two parsers could read in two ways is refused rather than repaired.
    """
    if len(text) > MAX_URL:
        raise BlockedError(f"the URL is longer than {MAX_URL} characters")
    match = _URL.fullmatch(text)
    if match is None:
        raise BlockedError("the URL is not of the form https://host/path")
    scheme, authority = match[1].lower(), match[2]
    path, query = match[3] or "/", match[4] or ""
    if scheme == "http" and not private:
        raise BlockedError("only https is allowed")
    if "@" in authority:
        raise BlockedError("credentials in the URL are not allowed")
    if not _REST.fullmatch(path + query):
        raise BlockedError("the path or query holds characters that must be percent-encoded")
    name, port = _split_port(authority, scheme)
    host, literal = _parse_host(name, private=private)
    shown = f"[{host}]" if isinstance(literal, IPv6Address) else host
    suffix = "" if port == _default_port(scheme) else f":{port}"
    return Url(f"{scheme}://{shown}{suffix}{path}{query}", scheme, host, port, literal)


def _default_port(scheme: str) -> int:
    return 443 if scheme == "https" else 80


def _split_port(authority: str, scheme: str) -> tuple[str, int]:
    match = re.fullmatch(r"(\[[^\[\]]*\]|[^:\[\]]*)(?::([0-9]{1,5}))?", authority)
    if match is None:
        raise BlockedError("the host and port are not well-formed")
    port = int(match[2]) if match[2] else _default_port(scheme)
    if not 0 < port < 65536 or port in _BAD_PORTS or (port < _FEWEST_PORT and port not in _LOW_PORTS):
        raise BlockedError(f"port {port} is not allowed")
    return match[1], port


def _parse_host(name: str, *, private: bool) -> tuple[str, Address | None]:
    if name.startswith("["):
        try:
            literal = IPv6Address(name[1:-1])
        except ValueError as error:
            raise BlockedError("the IPv6 address is not well-formed") from error
        if literal.scope_id is not None:
            raise BlockedError("an IPv6 zone is not allowed")
        return str(literal), literal
    host = _ascii_host(name)
    labels = host.split(".")
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BlockedError("the host name is not well-formed")
    # other parsers read such a name as an IPv4 address (127.1, 0x7f.1, 2130706433)
    if re.fullmatch(r"[0-9]+|0x[0-9a-f]*", labels[-1]):
        try:
            return host, IPv4Address(host)
        except ValueError as error:
            raise BlockedError("the host looks like an IPv4 address, but is not a plain one") from error
    if not private and (len(labels) == 1 or labels[-1] in _PRIVATE_NAMES):
        raise BlockedError(f"{host}: names of private networks are not allowed")
    # lenient parsers stop reading 127.0.0.1e0 where its numbers end
    if not private and not _TOP_LEVEL.fullmatch(labels[-1]):
        raise BlockedError(f"{host}: there is no such top-level domain")
    return host, None


def _ascii_host(name: str) -> str:
    try:
        if name.isascii():
            # clients decode such labels, and refuse or reinterpret what is not well-formed
            for label in name.lower().split("."):
                if label.startswith("xn--"):
                    idna.decode(label)
            return name.lower()
        return idna.encode(name, uts46=True, std3_rules=True, transitional=False).decode().lower()
    except idna.IDNAError as error:
        raise BlockedError("the host name is not a valid international name") from error
