"""What a failed call means: HTTP status, SQLSTATE, PostgREST's or Storage's code -> the error tree.

The code decides before the status, because PostgREST answers deadlocks with 500 and `raise sqlstate
'PT409'` with whatever status that names.
Sources: https://docs.postgrest.org/en/stable/references/errors.html,
https://www.postgresql.org/docs/17/errcodes-appendix.html
"""

from __future__ import annotations

import json
from typing import Any

import httpx

from worker.errors import (
    BadAnswer,
    Busy,
    GatewayError,
    KeyRefused,
    Refused,
    SchemaMissing,
    Unavailable,
    Unreachable,
)

# serialisation failure, deadlock, lock not available, statement timeout
_BUSY_STATES = frozenset({"40001", "40P01", "55P03", "57014"})
# connection, insufficient resources, operator intervention, system error; PostgREST without a database;
# a read-only transaction: a database that is being failed over
_AWAY_CLASSES = ("08", "53", "57P", "58")
_AWAY_CODES = frozenset({"PGRST000", "PGRST001", "PGRST002", "PGRST003", "25006"})
_MISSING = frozenset({"PGRST202", "PGRST106", "42883", "3F000"})
_KEY_POSTGREST = frozenset({"PGRST300", "PGRST301", "PGRST302", "PGRST303", "42501"})

# of servers that do not tell `code`
_OLD_STORAGE_CODES = {"not_found": "NoSuchKey", "Not found": "NoSuchKey", "Bucket not found": "NoSuchBucket"}

_APPLY = (
    "apply the migrations (supabase db push) and expose the schemas public and worker (supabase config push)"
)
_MAKE_BUCKET = (
    "enable Storage and apply the migrations (supabase db push): they make the bucket product-images"
)
_CHECK_KEY = "check that SUPABASE_SECRET_KEY is a secret or service_role key of this project"


def from_answer(status: int, body: bytes) -> GatewayError:
    """The error that an HTTP answer of 400 and above stands for."""
    fields = _fields(body)
    code = fields.get("code")
    message = str(fields.get("message") or fields.get("error") or _head(body) or f"HTTP {status}")
    detail, hint = fields.get("details"), fields.get("hint")
    known: dict[str, Any] = {
        "code": str(code) if code else None,
        "status": status,
        "detail": str(detail) if detail else None,
        "hint": str(hint) if hint else None,
    }
    kind = _kind(known["code"] or "", status)
    if kind is SchemaMissing:
        known["hint"] = _APPLY
    elif kind is KeyRefused:
        known["hint"] = _CHECK_KEY
    return kind(message, **known)


def from_storage(status: int, body: bytes) -> GatewayError:
    """The error that an answer of 400 and above of Supabase Storage stands for.

    Its bodies tell the status that counts: most of its faults arrive as 400, also those that pass. Source:
    https://github.com/supabase/storage, src/internal/errors, src/http/error-handler.ts
    """
    fields = _fields(body)
    told = str(fields.get("statusCode") or "")
    counts = int(told) if told.isdecimal() and 400 <= int(told) < 600 else status
    code = str(fields.get("code") or _OLD_STORAGE_CODES.get(str(fields.get("error")), "")) or None
    message = str(fields.get("message") or _head(body) or f"HTTP {status}")
    if code == "NoSuchBucket":
        return SchemaMissing(message, code=code, status=counts, hint=_MAKE_BUCKET)
    if code == "NoSuchKey":
        return Refused(message, code=code, status=counts)
    kind = Busy if counts == 423 else _kind("", counts)
    hint = _CHECK_KEY if kind is KeyRefused else _MAKE_BUCKET if kind is SchemaMissing else None
    return kind(message, code=code, status=counts, hint=hint)


def from_transport(error: Exception) -> GatewayError:
    """The error that a failed transport stands for; httpx' own names say what happened."""
    if isinstance(error, GatewayError):
        return error
    what = "timed out" if isinstance(error, httpx.TimeoutException) else "could not be reached"
    return Unreachable(f"Supabase {what}: {type(error).__name__}: {error}"[:500])


def _kind(code: str, status: int) -> type[GatewayError]:
    if code in _BUSY_STATES:
        return Busy
    if code in _AWAY_CODES or (len(code) == 5 and code.startswith(_AWAY_CLASSES)):
        return Unavailable
    if code in _MISSING:
        return SchemaMissing
    if code in _KEY_POSTGREST:
        return KeyRefused
    if code.startswith("PT4") or (len(code) == 5 and code[:2] in ("22", "23", "P0")):
        return Refused
    if status in (408, 425, 429):
        return Busy
    if status >= 500:
        return Unavailable
    if status in (401, 403):
        return KeyRefused
    if status == 404:
        return SchemaMissing
    return Refused if 400 <= status < 500 else BadAnswer


def _fields(body: bytes) -> dict[str, Any]:
    try:
        parsed = json.loads(body)
    except ValueError:
        return {}
    return parsed if isinstance(parsed, dict) else {}


def _head(body: bytes) -> str:
    return body[:200].decode("utf-8", "replace").strip()
