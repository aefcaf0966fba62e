"""The signatures of three implementations are those that openssl made."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from tests.stack.paths import ROOT
from worker.gateway.edge import signature
from worker.gateway.edge.signature import Credentials

HERE = Path(__file__).parent
VECTORS: list[dict[str, Any]] = json.loads((HERE / "signature_vectors.json").read_text())
KEY = "key_0193b6e56f5b7cc08a4e6d1a3c9d2f10"


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_python_signs_as_openssl_does(vector: dict[str, Any]) -> None:
    made = signature.headers(
        Credentials(KEY, SecretStr(vector["secret"])),
        timestamp=vector["timestamp"],
        nonce=vector["nonce"],
        method=vector["method"],
        target=vector["target"],
        body=vector["body"].encode(),
    )
    assert made == {
        "X-API-Key": KEY,
        "X-Request-Timestamp": str(vector["timestamp"]),
        "X-Request-Nonce": vector["nonce"],
        "X-Request-Signature": vector["signature"],
    }


def test_every_part_of_a_request_changes_its_signature() -> None:
    assert len({vector["signature"] for vector in VECTORS}) == len(VECTORS)


@pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")
def test_the_vectors_are_what_openssl_makes() -> None:
    made = subprocess.run(
        ["bash", str(HERE / "make_vectors.sh")], capture_output=True, text=True, check=True, timeout=60
    )
    assert made.stdout == (HERE / "signature_vectors.json").read_text()


def test_typescript_signs_as_openssl_does() -> None:
    """The client's own file, and the one that the adapter checks with."""
    done = subprocess.run(
        [
            ROOT / ".venv/bin/deno",
            "run",
            "--no-config",
            "--no-remote",
            f"--allow-read={HERE}",
            HERE / "sign_vectors.ts",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == {
        name: [vector["signature"] for vector in VECTORS] for name in ("adapter", "client")
    }


@pytest.mark.parametrize(
    ("key", "secret"),
    [
        ("key_0193B6E56F5B7CC08A4E6D1A3C9D2F10", VECTORS[0]["secret"]),
        ("0193b6e5-6f5b-7cc0-8a4e-6d1a3c9d2f10", VECTORS[0]["secret"]),
        (KEY + "\r\nX-Admin: 1", VECTORS[0]["secret"]),
        (KEY, VECTORS[0]["secret"] + "\n"),
        (KEY, KEY),
    ],
)
def test_what_is_no_key_is_refused_before_it_is_sent(key: str, secret: str) -> None:
    with pytest.raises(ValueError, match=r"is (key_|pms_sk_)") as refused:
        Credentials(key, SecretStr(secret))
    assert secret not in str(refused.value)


def test_a_secret_is_not_shown() -> None:
    secret = VECTORS[0]["secret"]
    assert secret not in repr(Credentials(KEY, SecretStr(secret)))
