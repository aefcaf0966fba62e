"""Signatures of Standard Webhooks 1.0 (https://www.standardwebhooks.com): `v1` HMAC-SHA256, `v1a` Ed25519.

Pure: no clock, no I/O. What is signed is `{id}.{timestamp}.{body}`, so the body must be the very bytes that
are sent.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Protocol

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.hmac import HMAC

SYMMETRIC_PREFIX = "whsec_"
ASYMMETRIC_PREFIX = "whsk_"
MIN_SECRET_BYTES, MAX_SECRET_BYTES = 24, 64
ED25519_SEED_BYTES = 32


class BadSecretError(ValueError):
    """A secret that nothing can be signed with. The message names the fault and never holds the secret."""


class Key(Protocol):
    """One secret, ready to sign."""

    def sign(self, content: bytes) -> str:
        """The signature of `content` as it stands in the header, its version first: `v1,<base64>`."""
        ...


@dataclass(frozen=True, slots=True)
class HmacKey:
    """A `whsec_` secret: 24 to 64 bytes shared with the receiver."""

    secret: bytes = field(repr=False)
    _keyed: HMAC = field(init=False, repr=False, compare=False)
    """Copied for each signature: a third of the time that a new one takes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "_keyed", HMAC(self.secret, SHA256()))

    def sign(self, content: bytes) -> str:
        keyed = self._keyed.copy()
        keyed.update(content)
        return "v1," + base64.b64encode(keyed.finalize()).decode()


@dataclass(frozen=True, slots=True)
class Ed25519Key:
    """A `whsk_` secret: the receiver holds only the public half (`whpk_`)."""

    private: Ed25519PrivateKey = field(repr=False)

    def sign(self, content: bytes) -> str:
        return "v1a," + base64.b64encode(self.private.sign(content)).decode()


def parse_key(secret: str) -> Key:
    """The key in `whsec_<base64>` or `whsk_<base64>`.

    A `whsk_` secret is the 32-byte seed, or the 64 bytes of seed and public key that other libraries print.
    Raises `BadSecretError`.
    """
    if secret.startswith(SYMMETRIC_PREFIX):
        raw = _decode(secret.removeprefix(SYMMETRIC_PREFIX))
        if not MIN_SECRET_BYTES <= len(raw) <= MAX_SECRET_BYTES:
            raise BadSecretError(f"a {SYMMETRIC_PREFIX} secret has 24 to 64 bytes, this one {len(raw)}")
        return HmacKey(raw)
    if secret.startswith(ASYMMETRIC_PREFIX):
        raw = _decode(secret.removeprefix(ASYMMETRIC_PREFIX))
        if len(raw) not in (ED25519_SEED_BYTES, 2 * ED25519_SEED_BYTES):
            raise BadSecretError(f"a {ASYMMETRIC_PREFIX} secret has 32 or 64 bytes, this one {len(raw)}")
        return Ed25519Key(Ed25519PrivateKey.from_private_bytes(raw[:ED25519_SEED_BYTES]))
    raise BadSecretError(f"a secret starts with {SYMMETRIC_PREFIX} or {ASYMMETRIC_PREFIX}")


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadSecretError("a secret is base64 after its prefix, this one is not") from error


def sign(keys: Sequence[Key], *, message_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """The three headers for one attempt; `timestamp` in unix seconds.

    Every key signs, so that a receiver verifies with the old or the new secret during a rotation.
    Raises `ValueError` without keys: an unsigned webhook must never leave.
    """
    if not keys:
        raise ValueError("nothing to sign with: the endpoint has no secret")
    content = f"{message_id}.{timestamp}.".encode() + body
    return {
        "webhook-id": message_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": " ".join([key.sign(content) for key in keys]),
    }
