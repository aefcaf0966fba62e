"""The tokens of signed URLs: JWTs of the project's secret that name one object and nobody."""

from __future__ import annotations

import time
from typing import Any

import jwt

from tests.stack.storage.problems import StorageProblem

UPLOAD_SECONDS = 2 * 3600


def sign(secret: str, url: str, seconds: int, **claims: Any) -> str:
    """`url` is `bucket/name`."""
    now = int(time.time())
    return jwt.encode({"url": url, **claims, "iat": now, "exp": now + seconds}, secret, algorithm="HS256")


def read(secret: str, token: str, url: str) -> dict[str, Any]:
    """The claims of a token for `url`. Raises `StorageProblem`."""
    try:
        claims: dict[str, Any] = jwt.decode(
            token, secret, algorithms=["HS256"], options={"require": ["url", "exp"], "verify_aud": False}
        )
    except jwt.ExpiredSignatureError:
        message = '"exp" claim timestamp check failed'
        raise StorageProblem(400, "InvalidJWT", message) from None
    except jwt.InvalidTokenError:
        raise StorageProblem(400, "InvalidJWT", "signature verification failed") from None
    if claims["url"] != url:
        raise StorageProblem(400, "InvalidSignature", "Invalid signature")
    return claims
