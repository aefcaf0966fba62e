"""Settings of the Realtime server, read from `REALTIME_*` environment variables."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass


class SettingsError(Exception):
    """A setting is missing or malformed; the message names the variable."""


@dataclass(frozen=True, kw_only=True)
class Settings:
    """One field per variable: `poll_interval_ms` is `REALTIME_POLL_INTERVAL_MS`.

    Defaults are the real server's, except where its long delays only cost test time.
    """

    db_url: str
    jwt_secret: str
    jwks: str = ""
    """A JSON Web Key Set, for tokens that are not signed with the secret."""
    host: str = "127.0.0.1"
    port: int = 4000
    """0 takes a free port; the ready line names it."""
    slot_suffix: str = ""
    """Slots are named per cluster: a second server on one Postgres needs its own suffix."""

    error_backoff_ms: int = 5_000
    """Refused joins are answered this late."""
    connect_backoff_ms: int = 2_000
    """Refused handshakes are answered this late."""
    idle_timeout_ms: int = 60_000
    """A socket that hears nothing from its client for so long is closed."""

    max_channels: int = 100
    max_connections: int = 200
    max_events_per_second: int = 100
    rate_tick_ms: int = 5_000
    """The average over the last 12 ticks is judged once a tick."""
    max_frame_bytes: int = 5_000_000
    max_payload_bytes: int = 3_000_000
    max_queued_bytes: int = 64_000_000
    """A socket whose client does not read is dropped at this backlog."""

    replication_retry_ms: int = 5_000
    replication_retry_jitter_ms: int = 0
    """The real server waits 5 s and up to 10 s more."""
    replication_ready_timeout_ms: int = 60_000

    poll_interval_ms: int = 100
    poll_max_changes: int = 100
    poll_max_record_bytes: int = 1_048_576
    poll_retry_ms: int = 1_000
    poll_idle_stop_ms: int = 600_000
    """Without subscribers for so long the poller gives its slot back."""
    publication_refresh_ms: int = 60_000
    resubscribe_min_ms: int = 1_000
    resubscribe_max_ms: int = 3_000
    """A new token is applied to the subscriptions after a random delay in between."""
    subscribe_retry_ms: int = 5_000

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Raises `SettingsError` for a missing or malformed variable."""
        values: dict[str, str | int] = {}
        for field in dataclasses.fields(cls):
            name = f"REALTIME_{field.name.upper()}"
            text = environment.get(name, "")
            if text:
                values[field.name] = _parse(name, text, number=isinstance(field.default, int))
            elif field.default is dataclasses.MISSING:
                raise SettingsError(f"{name} is not set")
        return cls(**values)  # type: ignore[arg-type]  # fields() and _parse agree on the types


def _parse(name: str, text: str, *, number: bool) -> str | int:
    if not number:
        return text
    try:
        value = int(text)
    except ValueError:
        raise SettingsError(f"{name} must be a whole number, not {text!r}") from None
    if value < 0:
        raise SettingsError(f"{name} must not be negative")
    return value
