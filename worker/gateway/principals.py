"""Acting for somebody: short-lived tokens with which a call is a principal's, so that its policies decide."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any, Final

import jwt
from pydantic import SecretStr

from worker.errors import SettingsError

LIFETIME: Final = timedelta(seconds=60)


class PrincipalTokens:
    """Signs tokens with `PMS_JWT_KEY`: a private JWK with a `kid`, or the project's legacy HS256 secret.

    Raises `SettingsError` for a key that cannot sign.
    """

    def __init__(self, key: SecretStr) -> None:
        text = key.get_secret_value()
        self._headers: dict[str, Any] = {}
        self._key: Any = text
        self._algorithm = "HS256"
        if text.lstrip().startswith("{"):
            try:
                told = json.loads(text)
                jwk = jwt.PyJWK(told)
                self._key, self._algorithm = jwk.key, jwk.algorithm_name
                self._headers = {"kid": told["kid"]}
                self.token("00000000-0000-0000-0000-000000000000")
            except (ValueError, KeyError, TypeError, AttributeError, jwt.PyJWTError):
                # nothing of the key may escape; a public one has no attribute `sign`
                raise SettingsError(["PMS_JWT_KEY is no private JWK with a kid; copy it anew"]) from None

    def token(self, principal_id: str) -> str:
        """A token of `LIFETIME` for `principal_id`, in the role of everybody who is signed in."""
        now = int(time.time())
        claims = {
            "sub": principal_id,
            "role": "authenticated",
            "aud": "authenticated",
            "iat": now,
            "exp": now + int(LIFETIME.total_seconds()),
        }
        return jwt.encode(claims, self._key, algorithm=self._algorithm, headers=self._headers)
