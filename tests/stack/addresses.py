"""Where a Supabase is and what opens it: the same for the platform of one run and for a remote project."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from tests.stack.errors import ProjectError


@dataclass(frozen=True)
class Addresses:
    """`db_url` is the role `postgres`, which migrates; `admin_db_url` a superuser's. Empty if unknown."""

    api_url: str
    anon_key: str
    service_role_key: str
    publishable_key: str
    secret_key: str
    db_url: str = ""
    admin_db_url: str = ""
    jwt_secret: str = ""
    signing_key: str = ""
    """The private ES256 JWK with its `kid`, as JSON."""
    image_dir: str = f"{tempfile.gettempdir()}/pms-images"
    """Where workers keep pictures."""
    redis_url: str = ""
    """Empty where there is none: functions then read directly."""

    def status(self) -> dict[str, str]:
        """What `supabase status -o env` prints, and the address of Redis."""
        return {
            "API_URL": self.api_url,
            "REST_URL": f"{self.api_url}/rest/v1",
            "FUNCTIONS_URL": f"{self.api_url}/functions/v1",
            "DB_URL": self.db_url,
            "ANON_KEY": self.anon_key,
            "SERVICE_ROLE_KEY": self.service_role_key,
            "PUBLISHABLE_KEY": self.publishable_key,
            "SECRET_KEY": self.secret_key,
            "JWT_SECRET": self.jwt_secret,
            **({"REDIS_URL": self.redis_url} if self.redis_url else {}),
        }

    def worker_settings(self, http_port: int) -> dict[str, str]:
        """What the worker reads from its environment (DESIGN §4), for work on this machine alone."""
        return {
            "SUPABASE_URL": self.api_url,
            "SUPABASE_SECRET_KEY": self.secret_key,
            "SUPABASE_SERVICE_ROLE_KEY": self.service_role_key,
            "SUPABASE_PUBLISHABLE_KEY": self.publishable_key,
            "SUPABASE_ANON_KEY": self.anon_key,
            "PMS_JWT_KEY": self.signing_key or self.jwt_secret,
            "REDIS_URL": self.redis_url,
            "IMAGE_HOST": "local",
            "WORKER_IMAGE_DIR": self.image_dir,
            "WORKER_ALLOW_PRIVATE_HOSTS": "127.0.0.1/32,::1/128",
            "WORKER_HTTP_PORT": str(http_port),
        }


def from_environment(environment: Mapping[str, str] = os.environ) -> Addresses:
    """A remote Supabase named by `SUPABASE_URL`. Raises `ProjectError` naming the key that is missing."""

    def first(*names: str) -> str:
        for name in names:
            if value := environment.get(name):
                return value
        raise ProjectError(f"SUPABASE_URL is set, so one of {', '.join(names)} must be set too")

    return Addresses(
        api_url=first("SUPABASE_URL").rstrip("/"),
        anon_key=first("SUPABASE_ANON_KEY", "SUPABASE_PUBLISHABLE_KEY"),
        service_role_key=first("SUPABASE_SERVICE_ROLE_KEY", "SUPABASE_SECRET_KEY"),
        publishable_key=first("SUPABASE_PUBLISHABLE_KEY", "SUPABASE_ANON_KEY"),
        secret_key=first("SUPABASE_SECRET_KEY", "SUPABASE_SERVICE_ROLE_KEY"),
        db_url=environment.get("DB_URL", ""),
        admin_db_url=environment.get("ADMIN_DB_URL", ""),
        jwt_secret=environment.get("JWT_SECRET", ""),
        signing_key=environment.get("PMS_JWT_KEY", ""),
        redis_url=environment.get("REDIS_URL", ""),
    )
