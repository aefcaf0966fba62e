"""What each of Cloudinary's answers means."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from worker.errors import HostBusy, HostError, HostFailing, HostRefused, HostUnconfigured
from worker.images.hosts.verdict import error_of, retry_after

NOW = datetime(2026, 11, 27, 12, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    ("status", "message", "kind"),
    [
        (301, "", HostFailing),
        (302, "", HostFailing),
        (304, "", HostFailing),
        (400, "Invalid image file", HostRefused),
        (400, "File size too large. Got 20971521. Maximum is 10485760.", HostRefused),
        (400, "Stale request - reported time is 1 which is more than 1 hour ago", HostUnconfigured),
        (401, "Invalid Signature", HostUnconfigured),
        (401, "cloud_name mismatch", HostUnconfigured),
        (403, "Account is disabled", HostUnconfigured),
        (404, "Resource not found", HostRefused),
        (408, "", HostFailing),
        (409, "to_public_id already exists", HostBusy),
        (413, "", HostRefused),
        (420, "Rate Limit Exceeded", HostBusy),
        (422, "", HostRefused),
        (423, "Image is being processed", HostBusy),
        (429, "Too many concurrent requests", HostBusy),
        (499, "", HostFailing),
        (500, "General Error", HostFailing),
        (502, "", HostFailing),
        (503, "", HostFailing),
        (504, "", HostFailing),
        (520, "", HostFailing),
    ],
)
@pytest.mark.parametrize("as_json", [True, False])
def test_a_status_has_a_meaning(status: int, message: str, kind: type[HostError], as_json: bool) -> None:
    # proxies and some of its own servers answer with HTML and say the reason in a header
    answer = {"error": {"message": message}} if as_json else None
    headers = {} if as_json else {"X-Cld-Error": message}
    error = error_of(status, headers, answer, now=NOW)
    assert type(error) is kind
    assert message in str(error)
    assert error.status == status


@pytest.mark.parametrize("status", [200, 201, 204])
def test_a_success_is_none(status: int) -> None:
    assert error_of(status, {}, {"existing": True}, now=NOW) is None


def _in(**delta: float) -> str:
    return format_datetime(NOW + timedelta(**delta), usegmt=True)


@pytest.mark.parametrize(
    ("headers", "wait"),
    [
        ({}, None),
        ({"Retry-After": "7"}, timedelta(seconds=7)),
        ({"Retry-After": "0"}, timedelta(seconds=1)),
        ({"Retry-After": "999999999"}, timedelta(hours=1)),
        ({"Retry-After": "9" * 30}, None),
        ({"Retry-After": "soon"}, None),
        ({"Retry-After": "-5"}, None),
        ({"Retry-After": _in(minutes=2)}, timedelta(minutes=2)),
        ({"Retry-After": _in(minutes=-2)}, timedelta(seconds=1)),
        ({"X-FeatureRateLimit-Reset": _in(minutes=31)}, timedelta(minutes=31)),
        ({"X-FeatureRateLimit-Reset": _in(days=31)}, timedelta(hours=1)),
        ({"Retry-After": "7", "X-FeatureRateLimit-Reset": _in(minutes=31)}, timedelta(seconds=7)),
        ({"Retry-After": "soon", "X-FeatureRateLimit-Reset": _in(minutes=31)}, timedelta(minutes=31)),
        ({"X-FeatureRateLimit-Reset": "Wed, 99 Nov 2026 99:00:00 GMT"}, None),
    ],
)
def test_how_long_to_wait(headers: Mapping[str, str], wait: timedelta | None) -> None:
    assert retry_after(headers, now=NOW) == wait


def test_a_rate_limit_carries_its_wait() -> None:
    error = error_of(420, {"X-FeatureRateLimit-Reset": _in(minutes=31)}, None, now=NOW)
    assert isinstance(error, HostBusy)
    assert error.retry_after == timedelta(minutes=31)


def test_what_is_still_worked_on_is_asked_again_soon() -> None:
    error = error_of(423, {}, None, now=NOW)
    assert isinstance(error, HostBusy)
    assert error.retry_after == timedelta(seconds=5)


@pytest.mark.parametrize("answer", [{}, {"error": None}, {"error": "text"}, {"error": {"message": 7}}])
def test_an_answer_of_another_form_is_still_judged(answer: Mapping[str, object]) -> None:
    assert isinstance(error_of(500, {}, answer, now=NOW), HostFailing)


def test_its_words_are_cut() -> None:
    error = error_of(400, {}, {"error": {"message": "long " * 10_000}}, now=NOW)
    assert len(str(error)) < 400
