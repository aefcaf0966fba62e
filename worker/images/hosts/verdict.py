"""What Cloudinary's answers mean, as errors. Pure.

Source: https://cloudinary.com/documentation/admin_api_overview (statuses, X-FeatureRateLimit-*) and
image_upload_api_reference; 420 is its own "rate limited", 423 an object that is still worked on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

from worker.errors import HostBusy, HostError, HostFailing, HostRefused, HostUnconfigured

_LONGEST_WAIT: Final = timedelta(hours=1)
_LONGEST_TEXT: Final = 300
# one API call an object; Cloudinary's hint for large and slow pictures
STILL_PROCESSING: Final = timedelta(seconds=5)
_STALE: Final = re.compile(r"stale request", re.IGNORECASE)


def error_of(
    status: int, headers: Mapping[str, str], answer: Mapping[str, Any] | None, *, now: datetime
) -> HostError | None:
    """The error that an answer stands for; `None` for a success. `answer`: its JSON, where it was any."""
    if 200 <= status < 300:
        return None
    said = _said(status, headers, answer)
    match status:
        case 420 | 429:
            return HostBusy(said, status=status, retry_after=retry_after(headers, now=now))
        case 423:
            wait = retry_after(headers, now=now) or STILL_PROCESSING
            return HostBusy(said, status=status, retry_after=wait)
        case 409:
            # somebody else is at the same object
            return HostBusy(said, status=status)
        case 401 | 403 | 407:
            return HostUnconfigured(f"{said}; check CLOUDINARY_URL", status=status)
        case 400 if _STALE.search(said):
            return HostUnconfigured(f"{said}; set this machine's clock (NTP)", status=status)
        case 404:
            return HostRefused("image.host_not_found", said, status=status)
        case 408 | 425 | 499:
            return HostFailing(said, status=status)
        case _ if 400 <= status < 500:
            return HostRefused("image.host_refused", said, status=status)
    return HostFailing(said, status=status)


def retry_after(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """How long the host asks us to wait: `Retry-After` (seconds or a date), else the end of the rate
    limit's hour (`X-FeatureRateLimit-Reset`, a date); from 1 s to 1 h.
    """
    for name in ("Retry-After", "X-FeatureRateLimit-Reset"):
        if (wait := _wait(headers.get(name), now)) is not None:
            return min(max(wait, timedelta(seconds=1)), _LONGEST_WAIT)
    return None


def _wait(value: str | None, now: datetime) -> timedelta | None:
    if not value:
        return None
    if re.fullmatch(r"[0-9]{1,9}", value.strip(), re.ASCII):
        return timedelta(seconds=int(value))
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    return (until if until.tzinfo else until.replace(tzinfo=UTC)) - now


def _said(status: int, headers: Mapping[str, str], answer: Mapping[str, Any] | None) -> str:
    error = (answer or {}).get("error")
    message = error.get("message") if isinstance(error, Mapping) else None
    text = message if isinstance(message, str) and message else headers.get("X-Cld-Error", "")
    return f"Cloudinary answers {status}: {' '.join(text.split())[:_LONGEST_TEXT] or 'no reason given'}"
