"""How a request to the edge adapter is signed. Pure: clock and chance are handed in.

    v1:{timestamp}:{nonce}:{METHOD}:{path?query}:{sha256 hex of the body}

`path?query` begins at /pms/ and stands exactly as it is sent. The key of the HMAC-SHA256 is the secret's own
text, prefix and all. tests/edge/signature_vectors.json holds this to what openssl makes.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from dataclasses import dataclass
from typing import Final

from pydantic import SecretStr

_KEY: Final = re.compile(r"key_[0-9a-f]{32}")
_SECRET: Final = re.compile(r"pms_sk_[A-Za-z0-9_-]{43}")


@dataclass(frozen=True, slots=True)
class Credentials:
    """An API key: its id as `X-API-Key` carries it, and its secret. Raises `ValueError` for another form."""

    key: str
    secret: SecretStr

    def __post_init__(self) -> None:
        if not _KEY.fullmatch(self.key):
            raise ValueError("an API key is key_ and 32 hex digits")
        if not _SECRET.fullmatch(self.secret.get_secret_value()):
            raise ValueError("the secret of an API key is pms_sk_ and 43 characters")


def signed_text(*, timestamp: int, nonce: str, method: str, target: str, body: bytes) -> str:
    """The text whose HMAC is the signature. `timestamp`: unix seconds; `target`: path and query."""
    return f"v1:{timestamp}:{nonce}:{method}:{target}:{hashlib.sha256(body).hexdigest()}"


def sign(secret: SecretStr, text: str) -> str:
    """The value of `X-Request-Signature`."""
    return "v1=" + hmac.digest(secret.get_secret_value().encode(), text.encode(), "sha256").hex()


def headers(
    credentials: Credentials, *, timestamp: int, nonce: str, method: str, target: str, body: bytes
) -> dict[str, str]:
    """The four headers of a signed request. `nonce`: 16 to 64 of `[A-Za-z0-9_-]`, never used before."""
    text = signed_text(timestamp=timestamp, nonce=nonce, method=method, target=target, body=body)
    return {
        "X-API-Key": credentials.key,
        "X-Request-Timestamp": str(timestamp),
        "X-Request-Nonce": nonce,
        "X-Request-Signature": sign(credentials.secret, text),
    }
