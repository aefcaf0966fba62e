"""The examples of docs/events.md do what stands beside them."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import standardwebhooks
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from tests.databases import Connection
from tests.sql.ask import value
from tests.stack.paths import ROOT
from tests.stack.scripts import deno_environment, script_command
from worker.webhooks.signing import parse_key, sign

PAGE = (ROOT / "docs" / "events.md").read_text()
BODY = '{"id": "evt_1", "name": "Blåbær"}'


def example(language: str, word: str) -> str:
    """The one block of this language that holds `word`."""
    (found,) = [block for block in re.findall(rf"```{language}\n(.*?)```", PAGE, re.DOTALL) if word in block]
    return str(found)


@dataclass(frozen=True)
class Message:
    body: str
    headers: dict[str, str]


def signed(*secrets: str, age: float = 0) -> Message:
    keys = [parse_key(secret) for secret in secrets]
    return Message(BODY, sign(keys, message_id="evt_1", timestamp=int(time.time() - age), body=BODY.encode()))


def key_pair() -> tuple[str, str]:
    """A secret, and the public key as the database tells it."""
    private = Ed25519PrivateKey.generate()
    return (
        "whsk_" + base64.b64encode(private.private_bytes_raw()).decode(),
        "whpk_" + base64.b64encode(private.public_key().public_bytes_raw()).decode(),
    )


def accepted_in_python(message: Message, public_key: str) -> bool:
    names: dict[str, Any] = {}
    exec(example("python", "Ed25519PublicKey"), names)
    return bool(names["is_ours"](message.body.encode(), message.headers, public_key))


def accepted_in_javascript(message: Message, public_key: str, folder: Path) -> bool:
    script = folder / "verify.mjs"
    given = ", ".join(json.dumps(one) for one in (message.body, message.headers, public_key))
    script.write_text(f"{example('js', 'isOurs')}\nconsole.log(await isOurs({given}));\n")
    ran = subprocess.run(
        script_command(script),
        env=deno_environment(),
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return {"true": True, "false": False}[ran.stdout.strip()]


def test_both_ways_to_verify_ed25519_accept_ours_and_nothing_else(tmp_path: Path) -> None:
    (secret, public), (other_secret, other_public) = key_pair(), key_pair()
    shared = "whsec_" + base64.b64encode(os.urandom(32)).decode()
    ours = signed(secret)
    cases = [
        (ours, public, True),
        (signed(shared, other_secret, secret), public, True),
        (ours, other_public, False),
        (signed(shared), public, False),
        (replace(ours, body=BODY + " "), public, False),
        (replace(ours, headers={**ours.headers, "webhook-id": "evt_2"}), public, False),
        (signed(secret, age=400), public, False),
        (signed(secret, age=-400), public, False),
    ]
    expected = [verdict for _, _, verdict in cases]
    assert [accepted_in_python(message, key) for message, key, _ in cases] == expected
    assert [accepted_in_javascript(message, key, tmp_path) for message, key, _ in cases] == expected


def test_the_library_verifies_a_shared_secret() -> None:
    secret, other = ("whsec_" + base64.b64encode(os.urandom(32)).decode() for _ in range(2))
    code, message = example("python", "standardwebhooks"), signed(secret)
    names: dict[str, Any] = {
        "secret": secret,
        "request_body": message.body,
        "request_headers": message.headers,
    }
    exec(code, names)
    assert names["event"] == json.loads(BODY)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        exec(code, {**names, "secret": other})


async def test_the_schemas_beside_the_page_take_real_events_and_refuse_others(
    db: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT / "docs")
    code = example("python", "jsonschema").replace('open("event-schemas.json")', "file")
    event = await value(db, "select example from public.event_types where type = 'product.updated'")

    def run_example() -> None:
        with Path("event-schemas.json").open() as file:
            exec(code, {"event": event, "file": file})

    run_example()
    del event["data"]["object"]["sku"]
    with pytest.raises(jsonschema.ValidationError):
        run_example()
