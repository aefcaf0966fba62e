"""What a failed call means."""

from __future__ import annotations

import json

import httpx
import pytest

from worker.errors import (
    Busy,
    GatewayError,
    KeyRefused,
    Refused,
    SchemaMissing,
    Unavailable,
    Unreachable,
)
from worker.gateway.faults import from_answer, from_transport


def body(code: str, message: str = "said") -> bytes:
    return json.dumps({"code": code, "message": message, "details": None, "hint": None}).encode()


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (500, "40P01", Busy),  # PostgREST answers deadlocks with 500
        (500, "40001", Busy),
        (500, "57014", Busy),
        (500, "55P03", Busy),
        (503, "53300", Unavailable),
        (503, "57P01", Unavailable),
        (503, "57P03", Unavailable),
        (500, "08006", Unavailable),
        (405, "25006", Unavailable),
        (503, "PGRST000", Unavailable),
        (503, "PGRST001", Unavailable),
        (503, "PGRST002", Unavailable),
        (504, "PGRST003", Unavailable),
        (500, "XX000", Unavailable),
        (409, "PT409", Refused),
        (400, "PT400", Refused),
        (409, "23505", Refused),
        (400, "22P02", Refused),
        (400, "P0001", Refused),
        (404, "PGRST202", SchemaMissing),
        (406, "PGRST106", SchemaMissing),
        (404, "42883", SchemaMissing),
        (401, "PGRST301", KeyRefused),
        (403, "42501", KeyRefused),
    ],
)
def test_the_code_decides(status: int, code: str, kind: type[GatewayError]) -> None:
    error = from_answer(status, body(code))
    assert type(error) is kind
    assert (error.code, error.status) == (code, status)


@pytest.mark.parametrize(
    ("status", "answer", "kind"),
    [
        (502, b"<html><h1>502 Bad Gateway</h1></html>", Unavailable),
        (503, b"", Unavailable),
        (504, b"upstream timed out", Unavailable),
        (429, b'{"message":"slow down"}', Busy),
        (401, b'{"message":"Invalid API key"}', KeyRefused),
        (403, b"forbidden", KeyRefused),
        (404, b"no such route", SchemaMissing),
        (418, b"[1, 2]", Refused),
    ],
)
def test_without_a_code_the_status_decides(status: int, answer: bytes, kind: type[GatewayError]) -> None:
    assert type(from_answer(status, answer)) is kind


def test_what_a_person_has_to_do_is_said() -> None:
    assert "apply the migrations" in str(from_answer(404, body("PGRST202")))
    assert "SUPABASE_SECRET_KEY" in str(from_answer(401, b'{"message":"Invalid API key"}'))


def test_a_refusal_keeps_its_stable_code_and_detail() -> None:
    raw = json.dumps({"code": "PT409", "message": "version.stale", "details": "version is 7", "hint": None})
    error = from_answer(409, raw.encode())
    assert (error.message, error.detail) == ("version.stale", "version is 7")


@pytest.mark.parametrize(
    ("error", "said"),
    [(httpx.ReadTimeout("late"), "timed out"), (httpx.ConnectError("refused"), "could not be reached")],
)
def test_a_transport_that_failed_leaves_the_outcome_open(error: Exception, said: str) -> None:
    seen = from_transport(error)
    assert isinstance(seen, Unreachable)
    assert seen.transient
    assert said in str(seen)
