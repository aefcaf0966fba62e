"""JWT checks, with the wording that the real server uses in each of the three places it refuses a token."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any

import jwt

HMAC_ALGORITHMS = ("HS256", "HS384", "HS512")
KEY_ALGORITHMS = {
    "RSA": ("RS256", "RS384", "RS512"),
    "EC": ("ES256", "ES384", "ES512"),
    "OKP": ("EdDSA",),
    "oct": HMAC_ALGORITHMS,
}


class TokenError(Exception):
    """A refused token: the HTTP error, the reason of a join's reply, the system message of a refresh."""

    def __init__(self, *, handshake: str, join: str, refresh: str) -> None:
        super().__init__(handshake)
        self.handshake = handshake
        self.join = join
        self.refresh = refresh


@dataclass(frozen=True, slots=True)
class Token:
    """A token that held when it was checked. `expires_at` is in Unix seconds."""

    text: str
    claims: dict[str, Any]

    @property
    def role(self) -> str:
        return str(self.claims["role"])

    @property
    def expires_at(self) -> float:
        return float(self.claims["exp"])


class Verifier:
    """Accepts HMAC tokens of the project's secret, and those of the key set by their `kid`."""

    def __init__(self, secret: str, jwks: str = "") -> None:
        self._secret = secret
        keys = json.loads(jwks).get("keys", []) if jwks else []
        self._keys = {key["kid"]: jwt.PyJWK(key) for key in keys if "kid" in key}

    def verify(self, text: Any) -> Token:
        """Raises `TokenError`."""
        claims = self._claims(text)
        if not isinstance(claims.get("exp"), int | float) or not isinstance(claims.get("role"), str):
            missing = "Fields `role` and `exp` are required in JWT"
            raise TokenError(handshake=missing, join=f"InvalidJWTToken: {missing}", refresh=missing)
        token = Token(text, claims)
        if token.expires_at <= time.time():
            raise expired(token)
        return token

    def _claims(self, text: Any) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(text)
            key, algorithms = self._key(header)
            options: Any = {
                "verify_exp": False,
                "verify_aud": False,
                "verify_iat": False,
                "verify_nbf": False,
            }
            return jwt.decode(text, key, algorithms=algorithms, options=options)
        except (jwt.InvalidSignatureError, jwt.InvalidAlgorithmError, jwt.InvalidKeyError):
            message = "Failed to validate JWT signature"
            join = f"JwtSignatureError: {message}"
            raise TokenError(handshake=message, join=join, refresh=":signature_error") from None
        except (jwt.PyJWTError, TypeError, ValueError):
            message = "The token provided is not a valid JWT"
            raise TokenError(handshake=message, join=f"MalformedJWT: {message}", refresh=message) from None

    def _key(self, header: dict[str, Any]) -> tuple[Any, tuple[str, ...]]:
        key = self._keys.get(str(header.get("kid")))
        if key is None:
            return self._secret, HMAC_ALGORITHMS
        return key.key, KEY_ALGORITHMS.get(str(key.key_type), ())


def expired(token: Token) -> TokenError:
    seconds = max(0, int(time.time() - token.expires_at))
    message = f"Token has expired {seconds} seconds ago"
    return TokenError(handshake="Token has expired", join=f"InvalidJWTToken: {message}", refresh=message)
