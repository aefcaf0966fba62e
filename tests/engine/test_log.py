"""Secrets are hidden by type, by key and by shape."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from pydantic import SecretStr

from worker.log import HIDDEN, get_logger, redact, set_up_logging

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJyb2xlIjoic2VydmljZV9yb2xlIn0.c2lnbmF0dXJl"


@pytest.fixture
def log_lines() -> Iterator[io.StringIO]:
    """What the worker logs as JSON; the set-up is undone afterwards."""
    root = logging.getLogger()
    before = root.handlers[:], root.level
    stream = io.StringIO()
    set_up_logging(log_format="json", level="DEBUG", stream=stream)
    yield stream
    structlog.reset_defaults()
    root.handlers, root.level = before[0], before[1]


@pytest.mark.parametrize(
    "secret",
    [
        JWT,
        "sb_secret_abcDEF-123",
        "sb_publishable_abc",
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "whsk_abc+/=",
    ],
)
def test_what_looks_like_a_secret_is_hidden_wherever_it_stands(secret: str) -> None:
    assert redact(secret) == HIDDEN
    assert secret not in redact(f"GET https://x/realtime?apikey={secret}&vsn=1.0.0")
    assert secret not in str(redact({"deep": [{"list": (secret,)}]}))
    assert secret not in redact(ValueError(f"refused {secret}"))


@pytest.mark.parametrize("key", ["secret", "api_key", "apikey", "password", "Authorization", "access_token"])
def test_what_stands_under_a_telling_key_is_hidden(key: str) -> None:
    assert redact({key: "plain"}) == {key: HIDDEN}


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("product.updated", "product.updated"),
        (7, 7),
        (None, None),
        ("redis://user:pw@host/0", f"redis://{HIDDEN}@host/0"),
        (SecretStr("x"), HIDDEN),
    ],
)
def test_the_rest_stays_readable(value: object, shown: object) -> None:
    assert redact(value) == shown


def test_a_fencing_token_is_a_number_and_shown() -> None:
    assert redact({"token": 7}) == {"token": 7}


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_lines_carry_event_level_and_bound_ids_and_no_secret(log_lines: io.StringIO) -> None:
    with structlog.contextvars.bound_contextvars(job_id=3):
        get_logger("worker.test").warning("job.failed", error=f"401 for {JWT}", key=SecretStr("x"))
    (line,) = lines(log_lines)
    assert (line["event"], line["level"], line["job_id"]) == ("job.failed", "warning", 3)
    assert line["logger"] == "worker.test"
    assert JWT not in log_lines.getvalue()


def test_tracebacks_are_redacted_too(log_lines: io.StringIO) -> None:
    try:
        raise ValueError(f"key {JWT}")
    except ValueError:
        get_logger("worker.test").exception("job.failed")
    assert "Traceback" in log_lines.getvalue()
    assert JWT not in log_lines.getvalue()


def test_other_libraries_come_out_alike_and_redacted(log_lines: io.StringIO) -> None:
    logging.getLogger("somebody.else").warning("connecting with %s", JWT)
    logging.getLogger("realtime._async.client").error("Connection attempt failed")
    (line,) = lines(log_lines)
    assert line["logger"] == "somebody.else"
    assert JWT not in line["event"]
