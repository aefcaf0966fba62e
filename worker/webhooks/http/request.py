"""The bytes of a request. Pure."""

from __future__ import annotations

import re
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

# what is sent every time, and needs no looking at
_PLAIN: Final = frozenset({"content-type", "webhook-id", "webhook-timestamp", "webhook-signature"})
_NAME: Final = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+")


class BadHeadersError(ValueError):
    """A header that cannot be sent as it is."""


def start_of_request(url: str) -> str:
    """Request line and the headers that are always the same, for a canonical `url` that the wall passed."""
    authority, slash, rest = url.partition("://")[2].partition("/")
    return (
        f"POST {slash}{rest} HTTP/1.1\r\nhost: {authority}\r\nuser-agent: {USER_AGENT}\r\n"
        "accept: */*\r\naccept-encoding: identity\r\n"
    )


def write_request(start: str, headers: Mapping[str, str], body: bytes) -> bytes:
    """The whole request. Raises `BadHeadersError` for headers that could be read as more than they are."""
    values = "".join(headers.values())
    if not (values.isascii() and values.isprintable()):
        raise BadHeadersError("a header holds characters that no header may hold")
    if not headers.keys() <= _PLAIN:
        _check_names(headers)
    fields = "".join([f"{name}: {value}\r\n" for name, value in headers.items()])
    kind = "" if "content-type" in headers else "content-type: application/json\r\n"
    return f"{start}{kind}{fields}content-length: {len(body)}\r\n\r\n".encode("ascii") + body


def _check_names(headers: Mapping[str, str]) -> None:
    for name in headers:
        if not _NAME.fullmatch(name):
            raise BadHeadersError("a header's name holds characters that no name may hold")
        if name.lower() in _RESERVED:
            raise BadHeadersError(f"{name} is not for others to set")
