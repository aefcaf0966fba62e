"""Whoever receives our webhooks can verify them: with the libraries of Standard Webhooks, or by hand.

`v1` (HMAC) is verified by PyPI's `standardwebhooks` and `svix` and by npm's `standardwebhooks`. None of them
knows `v1a` (Ed25519): it is verified with `cryptography`, and with WebCrypto in Deno. Every case goes through
all that apply.
"""

from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
import standardwebhooks
import svix
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from tests.stack.scripts import deno_environment, script_command
from worker.webhooks.signing import parse_key, sign

SCRIPT = Path(__file__).with_name("verify.ts")
BODIES = [
    '{"id":"evt_1","n":1}',
    '{"name": "Blåbær 🫐", "zero": "\\u0000"}',
    "{}",
    " {\n} ",
    "[" + "1," * 20_000 + "1]",
]

Library = type[standardwebhooks.Webhook] | type[svix.Webhook]


@dataclass(frozen=True)
class Message:
    """What arrives at a receiver."""

    body: str
    headers: Mapping[str, str]

    def changed(self, **headers: str) -> Message:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return replace(self, headers={**self.headers, **named})


def symmetric() -> str:
    return "whsec_" + base64.b64encode(os.urandom(32)).decode()


def asymmetric() -> tuple[str, str]:
    """A `whsk_` secret, and its public key in base64."""
    private = Ed25519PrivateKey.generate()
    return (
        "whsk_" + base64.b64encode(private.private_bytes_raw()).decode(),
        base64.b64encode(private.public_key().public_bytes_raw()).decode(),
    )


def signed(*secrets: str, body: str = BODIES[0], age: float = 0) -> Message:
    keys = [parse_key(secret) for secret in secrets]
    return Message(body, sign(keys, message_id="evt_1", timestamp=int(time.time() - age), body=body.encode()))


def accepted_by_pypi(message: Message, secret: str, library: Library) -> bool:
    try:
        library(secret).verify(message.body, dict(message.headers))
    except standardwebhooks.WebhookVerificationError:
        return False
    return True


def accepted_by_cryptography(message: Message, public: str) -> bool:
    """By the text of the specification, as a receiver without a library writes it."""
    headers = message.headers
    if abs(time.time() - int(headers["webhook-timestamp"])) > 300:
        return False
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(public))
    content = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.{message.body}".encode()
    for signature in headers["webhook-signature"].split(" "):
        version, _, text = signature.partition(",")
        try:
            if version == "v1a":
                key.verify(base64.b64decode(text), content)
                return True
        except InvalidSignature:
            pass
    return False


def accepted_in_deno(*cases: tuple[Message, str]) -> list[bool]:
    """One run of Deno: npm's library for a `whsec_` secret, WebCrypto for a public key."""
    given = [
        {
            "kind": "standardwebhooks" if key.startswith("whsec_") else "webcrypto",
            "key": key, "body": message.body, "headers": message.headers,
        }
        for message, key in cases
    ]  # fmt: skip
    ran = subprocess.run(
        script_command(SCRIPT), input=json.dumps(given), env=deno_environment(),
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    said: list[str] = json.loads(ran.stdout)
    known = ("accepted", "No matching signature found", "Message timestamp too")
    assert [each for each in said if not each.startswith(known)] == []
    return [each == "accepted" for each in said]


def verdicts(*cases: tuple[Message, str]) -> list[bool]:
    """Whether each message is accepted with its key; all that know the kind of key must say the same."""
    found = []
    for (message, key), in_deno in zip(cases, accepted_in_deno(*cases), strict=True):
        if key.startswith("whsec_"):
            said = {
                "deno": in_deno,
                "standardwebhooks": accepted_by_pypi(message, key, standardwebhooks.Webhook),
                "svix": accepted_by_pypi(message, key, svix.Webhook),
            }
        else:
            said = {"deno": in_deno, "cryptography": accepted_by_cryptography(message, key)}
        assert len(set(said.values())) == 1, said
        found.append(in_deno)
    return found


def test_every_receiver_accepts_every_body() -> None:
    secret, (private, public) = symmetric(), asymmetric()
    cases = [(signed(secret, body=body), secret) for body in BODIES]
    cases += [(signed(private, body=body), public) for body in BODIES]
    assert verdicts(*cases) == [True] * len(cases)


def test_during_a_rotation_the_old_and_the_new_key_verify_and_a_third_does_not() -> None:
    old, new, third = symmetric(), symmetric(), symmetric()
    (old_private, old_public), (new_private, new_public), (_, third_public) = (asymmetric() for _ in range(3))
    both, both_asymmetric = signed(new, old), signed(new_private, old_private)
    assert verdicts((both, old), (both, new), (both, third)) == [True, True, False]
    cases = [(both_asymmetric, key) for key in (old_public, new_public, third_public)]
    assert verdicts(*cases) == [True, True, False]
    after = signed(new)
    assert verdicts((after, new), (after, old)) == [True, False], "the old one is over"


@pytest.mark.parametrize("hmac_first", [True, False])
def test_a_header_with_both_kinds_serves_receivers_of_both(hmac_first: bool) -> None:
    secret, (private, public) = symmetric(), asymmetric()
    message = signed(*((secret, private) if hmac_first else (private, secret)))
    versions = [signature.partition(",")[0] for signature in message.headers["webhook-signature"].split(" ")]
    assert versions == (["v1", "v1a"] if hmac_first else ["v1a", "v1"])
    other, (_, other_public) = symmetric(), asymmetric()
    cases = [(message, key) for key in (secret, public, other, other_public)]
    assert verdicts(*cases) == [True, True, False, False]


def test_what_was_tampered_with_is_refused() -> None:
    secret, (private, public) = symmetric(), asymmetric()
    message = signed(secret, private)
    stamp = int(message.headers["webhook-timestamp"])
    signatures = message.headers["webhook-signature"]
    tampered = [
        replace(message, body=message.body.replace("1", "2")),
        replace(message, body=message.body + " "),
        message.changed(webhook_id="evt_2"),
        message.changed(webhook_timestamp=str(stamp - 1)),
        message.changed(webhook_signature=signatures.replace("v1a,", "v2,").replace("v1,", "v0,")),
        message.changed(webhook_signature=signed(symmetric(), asymmetric()[0]).headers["webhook-signature"]),
    ]
    cases = [(message, key) for message in (message, *tampered) for key in (secret, public)]
    assert verdicts(*cases) == [True, True] + [False, False] * len(tampered)


def test_an_old_message_and_one_from_the_future_are_refused() -> None:
    """A replay carries a valid signature: only its age tells."""
    secret, (private, public) = symmetric(), asymmetric()
    cases = [
        (signed(secret, private, age=age), key)
        for age in (200, -200, 400, -400, 1e6)
        for key in (secret, public)
    ]
    assert verdicts(*cases) == [True] * 4 + [False] * 6


@pytest.mark.parametrize("library", [standardwebhooks.Webhook, svix.Webhook])
def test_the_libraries_do_not_know_ed25519_yet(library: Library) -> None:
    """Once they do, they belong among the verifiers of `v1a` above."""
    private, public = asymmetric()
    assert not accepted_by_pypi(signed(private), public, library)
