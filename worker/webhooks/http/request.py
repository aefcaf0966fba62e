"""The bytes of a request. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

USER_AGENT: Final = "pms-webhooks/1"

# they say where a message ends or whom it is for: that is ours to say
_RESERVED: Final = frozenset(
    {
        *("accept-encoding", "connection", "content-length", "host", "keep-alive"),
        *("proxy-authorization", "te", "trailer", "transfer-encoding", "upgrade"),
    }
)


class BadHeadersError(ValueError):
    """A header that cannot be sent as it is."""


def start_of_request(url: str) -> str:
    """Request line and the headers that are always the same, for a canonical `url` that the wall passed."""
    authority, slash, rest = url.partition("://")[2].partition("/")
    return (
        f"POST {slash}{rest} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {USER_AGENT}\r\n"
        "accept: */*\r\naccept-encoding: identity\r\n"
    )


def write_request(start: str, headers: Mapping[str, str], body: str) -> bytes:
    """The whole request. Raises `BadHeadersError` for headers that could be read as more than they are."""
    content = body.encode()
    lines = [f"{name}: {value}" for name, value in headers.items()]
    text = "\r\n".join(lines)
    if not (text.isascii() and "".join(lines).isprintable() and "".join(headers).find(":") < 0):
        raise BadHeadersError("a header holds characters that no header may hold")
    if not _RESERVED.isdisjoint(map(str.lower, headers)):
        raise BadHeadersError("a header is set that belongs to the sender")
    kind = "" if "content-type" in headers else "content-type: application/json\r\n"
    gap = "\r\n" if lines else ""
    head = f"{start}{kind}{text}{gap}content-length: {len(content)}\r\n\r\n"
    return head.encode("ascii") + content
