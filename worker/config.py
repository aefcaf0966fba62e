"""Settings: the only reader of the environment. Every variable is documented in `.env.example`."""

from __future__ import annotations

import json
import os
import re
import socket
from base64 import urlsafe_b64decode
from datetime import timedelta
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    AnyHttpUrl,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from worker.errors import SettingsError

Network = IPv4Network | IPv6Network

_KEY = re.compile(r"[A-Za-z0-9_.=-]+")
_CLOUDINARY = re.compile(r"cloudinary://[^:@/?#\s]+:[^:@/?#\s]+@[A-Za-z0-9_-]+(?:[/?][^\s#]*)?\Z", re.ASCII)
_REDIS = re.compile(
    r"rediss?://(?:[^\s/?#@]*@)?(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(?::[0-9]{1,5})?(?:/[0-9]*)?(?:\?\S*)?"
)
_PROXY = re.compile(
    r"(?i)http://(?:([^\s/?#@:]+:[^\s/?#@:]*)@)?([a-z0-9._-]+|\[[0-9a-f:.]+\]):([0-9]{1,5})/?", re.ASCII
)

_KEY_NAMES = {
    "supabase_url": "SUPABASE_URL",
    "supabase_secret_key": "SUPABASE_SECRET_KEY (or SUPABASE_SERVICE_ROLE_KEY)",
    "supabase_publishable_key": "SUPABASE_PUBLISHABLE_KEY (or SUPABASE_ANON_KEY)",
}
_WHERE_FROM = {
    "supabase_url": "is missing: the project's URL, e.g. https://<ref>.supabase.co",
    "supabase_secret_key": "is missing: a secret key (sb_secret_…) or the service_role key, "
    "from the project's settings under API keys",
}


def _either(*names: str) -> Any:
    return Field(validation_alias=AliasChoices(*names))


class Settings(BaseSettings):
    """The worker's settings, read once, never changed. `Settings.load()` raises `SettingsError`."""

    model_config = SettingsConfigDict(
        env_file=".env", env_file_encoding="utf-8", extra="ignore", frozen=True, env_ignore_empty=True
    )

    supabase_url: AnyHttpUrl
    supabase_secret_key: SecretStr = _either("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY")
    supabase_publishable_key: SecretStr | None = Field(
        None, validation_alias=AliasChoices("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY")
    )
    pms_jwt_key: SecretStr | None = None
    cloudinary_url: SecretStr | None = None
    image_host: Literal["local", "cloudinary"] = "local"
    worker_image_concurrency: Annotated[int, Field(ge=1, le=100)] = 8
    worker_image_processes: Annotated[int, Field(ge=1, le=32)] = 1
    worker_image_dir: Path = Path("var/images")
    worker_image_base_url: AnyHttpUrl | None = None
    worker_image_prefix: Annotated[str, Field(pattern=r"^(?:[a-z0-9][a-z0-9_-]{0,62}/){0,4}$")] = ""
    worker_image_notification_url: AnyHttpUrl | None = None
    redis_url: SecretStr | None = None
    worker_cache_warm: Literal["on", "off"] = "on"

    worker_name: Annotated[str, Field(min_length=1, max_length=100)] = Field(
        default_factory=lambda: f"{socket.gethostname()[:80]}:{os.getpid()}"
    )
    worker_http_host: str = "127.0.0.1"
    worker_http_port: Annotated[int, Field(ge=0, le=65535)] = 9464
    worker_concurrency: Annotated[int, Field(ge=1, le=1000)] = 16
    worker_send_concurrency: Annotated[int, Field(ge=1, le=10_000)] = 200
    worker_poll_seconds: Annotated[float, Field(ge=0.01, le=3600)] = 1.0
    worker_lease_seconds: Annotated[int, Field(ge=3, le=3600)] = 30
    worker_drain_seconds: Annotated[float, Field(ge=0, le=3600)] = 20.0
    worker_realtime: Literal["on", "off"] = "on"
    worker_allow_private_hosts: Annotated[tuple[Network, ...], NoDecode] = ()
    worker_egress_proxy: SecretStr | None = None
    worker_log_format: Literal["console", "json"] = "console"
    worker_log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"

    @classmethod
    def load(cls, *, env_file: Path | None = Path(".env")) -> Settings:
        """Reads the environment, then `env_file`. Raises `SettingsError` naming every variable at fault."""
        try:
            return cls(_env_file=env_file)
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
            raise SettingsError([f"{env_file} cannot be read: {why}"]) from None
        except ValidationError as error:
            # nothing of the values may escape: they can be secrets
            raise SettingsError([_problem(e["loc"], e["type"], e["msg"]) for e in error.errors()]) from None

    @field_validator("supabase_url")
    @classmethod
    def _plain_url(cls, url: AnyHttpUrl) -> AnyHttpUrl:
        if url.query or url.fragment or (url.path or "/") != "/":
            raise ValueError("must be the project's URL alone, without a path such as /rest/v1")
        if url.username or url.password:
            raise ValueError("must be the project's URL alone, without a user or a password")
        return url

    @field_validator("worker_allow_private_hosts", mode="before")
    @classmethod
    def _networks(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        return tuple(ip_network(part.strip(), strict=False) for part in value.split(",") if part.strip())

    @field_validator("worker_log_level", mode="before")
    @classmethod
    def _upper(cls, value: object) -> object:
        return value.upper() if isinstance(value, str) else value

    @field_validator("supabase_secret_key", "supabase_publishable_key")
    @classmethod
    def _fits_a_header(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None and not _KEY.fullmatch(key.get_secret_value()):
            raise ValueError("it holds spaces, quotes or other characters that no API key has; copy it anew")
        return key

    @field_validator("supabase_secret_key")
    @classmethod
    def _secret_role(cls, key: SecretStr) -> SecretStr:
        role = key_role(key)
        if role not in ("secret", "service_role"):
            raise ValueError(f"it holds {role}; the worker needs a secret (sb_secret_…) or service_role key")
        return key

    @field_validator("cloudinary_url")
    @classmethod
    def _cloudinary_form(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _CLOUDINARY.match(url.get_secret_value()):
            raise ValueError("it must read cloudinary://<key>:<secret>@<cloud name>")
        return url

    @field_validator("redis_url")
    @classmethod
    def _redis_form(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not _REDIS.fullmatch(url.get_secret_value()):
            raise ValueError("it must read redis://[user:password@]host:port/0, or rediss:// for TLS")
        return url

    @field_validator("worker_egress_proxy")
    @classmethod
    def _proxy_form(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None:
            read_proxy(url.get_secret_value())
        return url

    @field_validator("image_host")
    @classmethod
    def _image_host_is_configured(cls, host: str, info: ValidationInfo) -> str:
        if host == "cloudinary" and info.data.get("cloudinary_url", "wrong") is None:
            raise ValueError("cloudinary needs CLOUDINARY_URL, which is missing")
        return host

    @property
    def api_url(self) -> str:
        """The project's URL without a slash at its end."""
        return str(self.supabase_url).rstrip("/")

    @property
    def rest_url(self) -> str:
        return f"{self.api_url}/rest/v1"

    @property
    def storage_url(self) -> str:
        return f"{self.api_url}/storage/v1"

    @property
    def realtime_url(self) -> str:
        return f"{self.api_url}/realtime/v1"

    @property
    def image_base_url(self) -> str:
        """Where images of the host `local` are reached, without a slash at its end."""
        if self.worker_image_base_url is not None:
            return str(self.worker_image_base_url).rstrip("/")
        host = f"[{self.worker_http_host}]" if ":" in self.worker_http_host else self.worker_http_host
        return f"http://{host}:{self.worker_http_port}/images"

    @property
    def poll(self) -> timedelta:
        return timedelta(seconds=self.worker_poll_seconds)

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.worker_lease_seconds)

    @property
    def drain_deadline(self) -> timedelta:
        return timedelta(seconds=self.worker_drain_seconds)


def read_proxy(url: str) -> tuple[str, int, str | None]:
    """Host, port and `user:password` (still percent-encoded) of a proxy's URL; raises `ValueError`."""
    match = _PROXY.fullmatch(url)
    if match is None or not 0 < int(match[3]) < 65536:
        raise ValueError("it must read http://[user:password@]host:port, percent-encoded where needed")
    return match[2].strip("[]"), int(match[3]), match[1]


def key_role(key: SecretStr) -> str:
    """What an API key is, by its looks: `secret`, `publishable`, a JWT's role claim, or "no API key".

    Only reads it: whether it is valid the platform alone can tell.
    """
    value = key.get_secret_value()
    if value.startswith("sb_secret_"):
        return "secret"
    if value.startswith("sb_publishable_"):
        return "a publishable key"
    try:
        claims = json.loads(urlsafe_b64decode(value.split(".")[1] + "=="))
        return str(claims["role"])
    except (IndexError, ValueError, KeyError, TypeError):
        return "no API key"


def _problem(loc: tuple[int | str, ...], kind: str, message: str) -> str:
    field = str(loc[0]).lower() if loc else ""
    # a pydantic location is the alias that was looked up, or the field's own name
    field = {"supabase_service_role_key": "supabase_secret_key"}.get(field, field)
    field = {"supabase_anon_key": "supabase_publishable_key"}.get(field, field)
    reason = message.removeprefix("Value error, ")
    if not field:
        return reason
    name = _KEY_NAMES.get(field, field.upper())
    if kind == "missing":
        return f"{name} {_WHERE_FROM.get(field, 'is missing')}"
    return f"{name} is wrong: {reason[:1].lower()}{reason[1:]}"
