"""The keys of one platform: both generations, as a hosted project has them.

Legacy: an HS256 secret and the long-lived `anon` and `service_role` JWTs made with it. New:
`sb_publishable_…` and `sb_secret_…`, which only the gateway understands, and an ES256 signing key with a
`kid`.
"""

from __future__ import annotations

import base64
import json
import secrets
import time
import uuid
from dataclasses import asdict, dataclass
from typing import Any, Literal

import jwt
from cryptography.hazmat.primitives.asymmetric import ec

ISSUER = "supabase"
LONG_SECONDS = 10 * 365 * 24 * 3600

Role = Literal["anon", "service_role"]


@dataclass(frozen=True)
class Keys:
    jwt_secret: str
    anon_key: str
    service_role_key: str
    publishable_key: str
    secret_key: str
    signing_key: str
    """The private ES256 JWK, as JSON."""

    @property
    def signing_kid(self) -> str:
        return str(json.loads(self.signing_key)["kid"])

    def public_jwks(self) -> dict[str, Any]:
        """What /auth/v1/.well-known/jwks.json shows: the signing key without its private part."""
        key = json.loads(self.signing_key)
        return {
            "keys": [{name: value for name, value in key.items() if name != "d"} | {"key_ops": ["verify"]}]
        }

    def verifying_jwks(self) -> dict[str, Any]:
        """What PostgREST verifies with: the public key and the HS256 secret."""
        secret = {"kty": "oct", "alg": "HS256", "k": _b64(self.jwt_secret.encode())}
        return {"keys": [*self.public_jwks()["keys"], secret]}

    def to_json(self) -> str:
        return json.dumps(asdict(self))


def make_keys(jwt_secret: str | None = None) -> Keys:
    secret = jwt_secret or secrets.token_urlsafe(40)
    return Keys(
        jwt_secret=secret,
        anon_key=role_jwt(secret, "anon", LONG_SECONDS),
        service_role_key=role_jwt(secret, "service_role", LONG_SECONDS),
        publishable_key="sb_publishable_" + secrets.token_urlsafe(24),
        secret_key="sb_secret_" + secrets.token_urlsafe(24),
        signing_key=_make_signing_key(),
    )


def load_keys(text: str) -> Keys:
    return Keys(**json.loads(text))


def role_jwt(secret: str, role: Role, seconds: int) -> str:
    now = int(time.time())
    claims = {"iss": ISSUER, "ref": "stack", "role": role, "iat": now, "exp": now + seconds}
    return jwt.encode(claims, secret, algorithm="HS256")


def sign(keys: Keys, claims: dict[str, Any]) -> str:
    """An ES256 JWT, as Auth signs access tokens."""
    algorithm = jwt.get_algorithm_by_name("ES256")
    key = algorithm.from_jwk(keys.signing_key)
    return jwt.encode(claims, key, algorithm="ES256", headers={"kid": keys.signing_kid})


def verify(keys: Keys, token: str) -> dict[str, Any]:
    """The claims of a JWT made with either key. Raises `jwt.InvalidTokenError`."""
    match jwt.get_unverified_header(token).get("alg"):
        case "HS256":
            return jwt.decode(token, keys.jwt_secret, algorithms=["HS256"], options={"verify_aud": False})
        case "ES256":
            public = jwt.PyJWK.from_dict(keys.public_jwks()["keys"][0])
            return jwt.decode(token, public, algorithms=["ES256"], options={"verify_aud": False})
        case other:
            raise jwt.InvalidAlgorithmError(f"signing method {other} is invalid")


def _make_signing_key() -> str:
    private = ec.generate_private_key(ec.SECP256R1())
    numbers = private.private_numbers()
    point = numbers.public_numbers
    jwk = {
        "kty": "EC",
        "crv": "P-256",
        "alg": "ES256",
        "use": "sig",
        "kid": str(uuid.uuid4()),
        "x": _b64(point.x.to_bytes(32, "big")),
        "y": _b64(point.y.to_bytes(32, "big")),
        "d": _b64(numbers.private_value.to_bytes(32, "big")),
    }
    return json.dumps(jwk)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
