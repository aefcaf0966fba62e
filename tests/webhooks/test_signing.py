from __future__ import annotations

import base64
import json
import os
import subprocess
import time
from pathlib import Path

import pytest
import standardwebhooks
import svix
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from worker.webhooks.signing import BadSecretError, parse_key, sign

ROOT = Path(__file__).parents[2]
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def secret_of(raw: bytes, prefix: str = "whsec_") -> str:
    return prefix + base64.b64encode(raw).decode()


def test_the_vector_of_the_specification() -> None:
    headers = sign(
        [parse_key(SECRET)],
        message_id="msg_p5jXN8AQM9LWM0D4loKWxJek",
        timestamp=1614265330,
        body=b'{"test": 2432232314}',
    )
    assert headers == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


@given(
    body=st.dictionaries(st.text(), st.text()).map(lambda value: json.dumps(value, ensure_ascii=False)),
    raw=st.binary(min_size=24, max_size=64),
)
def test_the_libraries_of_receivers_accept_it(body: str, raw: bytes) -> None:
    secret = secret_of(raw)
    headers = sign([parse_key(secret)], message_id="evt_1", timestamp=int(time.time()), body=body.encode())
    standardwebhooks.Webhook(secret).verify(body, headers)
    svix.Webhook(secret).verify(body, headers)


def test_during_a_rotation_the_old_and_the_new_secret_verify_and_others_do_not() -> None:
    old, new, other = (secret_of(os.urandom(32)) for _ in range(3))
    keys = [parse_key(new), parse_key(old)]
    headers = sign(keys, message_id="evt_1", timestamp=int(time.time()), body=b"{}")
    for secret in (old, new):
        standardwebhooks.Webhook(secret).verify("{}", headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(other).verify("{}", headers)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(new).verify('{"forged": true}', headers)


@pytest.mark.parametrize("with_public_half", [False, True])
def test_ed25519(with_public_half: bool) -> None:
    private = Ed25519PrivateKey.generate()
    raw = private.private_bytes_raw() + (private.public_key().public_bytes_raw() if with_public_half else b"")
    headers = sign([parse_key(secret_of(raw, "whsk_"))], message_id="evt_1", timestamp=17, body=b"{}")
    version, signature = headers["webhook-signature"].split(",")
    assert version == "v1a"
    private.public_key().verify(base64.b64decode(signature), b"evt_1.17.{}")
    with pytest.raises(InvalidSignature):
        private.public_key().verify(base64.b64decode(signature), b"evt_1.18.{}")


def test_an_hmac_receiver_takes_its_signature_from_a_header_with_both_kinds() -> None:
    asymmetric = secret_of(Ed25519PrivateKey.generate().private_bytes_raw(), "whsk_")
    keys = [parse_key(asymmetric), parse_key(SECRET)]
    headers = sign(keys, message_id="evt_1", timestamp=int(time.time()), body=b"{}")
    standardwebhooks.Webhook(SECRET).verify("{}", headers)


def test_the_javascript_library_accepts_it(tmp_path: Path) -> None:
    headers = sign(
        [parse_key(SECRET)], message_id="evt_1", timestamp=int(time.time()), body='{"n": "ü"}'.encode()
    )
    script = tmp_path / "verify.mjs"
    library = ROOT / "tests/stack/node_modules/standardwebhooks"
    script.write_text(
        f"""
        import {{ createRequire }} from "node:module";
        const {{ Webhook }} = createRequire(import.meta.url)({json.dumps(str(library))});
        const webhook = new Webhook({json.dumps(SECRET)});
        console.log(JSON.stringify(webhook.verify('{{"n": "ü"}}', {json.dumps(headers)})));
        try {{ webhook.verify('{{"n": "u"}}', {json.dumps(headers)}); }}
        catch (error) {{ console.log(error.message); }}
        """
    )
    ran = subprocess.run(
        [ROOT / ".venv/bin/deno", "run", "--no-remote", "--allow-read", "--allow-env", script],
        cwd=ROOT / "tests/stack",
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.stdout.splitlines() == ['{"n":"ü"}', "No matching signature found"], ran.stderr


@pytest.mark.parametrize(
    ("secret", "reason"),
    [
        ("", "starts with"),
        ("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "starts with"),
        ("whsec_not base64!", "base64"),
        ("whsec_ä", "base64"),
        (secret_of(b"x" * 23), "23"),
        (secret_of(b"x" * 65), "65"),
        (secret_of(b"x" * 31, "whsk_"), "31"),
    ],
)
def test_a_bad_secret_is_named_but_not_shown(secret: str, reason: str) -> None:
    with pytest.raises(BadSecretError, match=reason) as raised:
        parse_key(secret)
    assert len(secret) < 10 or secret[6:] not in str(raised.value)


def test_nothing_is_sent_unsigned() -> None:
    with pytest.raises(ValueError, match="no secret"):
        sign([], message_id="evt_1", timestamp=1, body=b"{}")


def test_a_key_does_not_show_its_secret() -> None:
    assert "MfKQ" not in repr(parse_key(SECRET))
    assert "secret" not in repr(parse_key(SECRET))
