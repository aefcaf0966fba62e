"""A Supabase that somebody else runs, seen through the same addresses as `Platform`."""

from __future__ import annotations

from tests.stack.addresses import Addresses, from_environment
from tests.stack.errors import StackError


class RemotePlatform:
    """Named by SUPABASE_URL and its keys; DB_URL and ADMIN_DB_URL where its database can be reached too."""

    def __init__(self) -> None:
        self.addresses: Addresses = from_environment()

    @property
    def api_url(self) -> str:
        return self.addresses.api_url

    @property
    def db_url(self) -> str:
        """Raises `StackError` where only HTTP is open."""
        return _known(self.addresses.db_url, "DB_URL")

    @property
    def admin_db_url(self) -> str:
        """Raises `StackError` where only HTTP is open."""
        return _known(self.addresses.admin_db_url, "ADMIN_DB_URL")

    def stop(self) -> None:
        """It is not ours to stop."""


def _known(value: str, name: str) -> str:
    if not value:
        raise StackError(f"{name} is not set: the remote database cannot be reached directly")
    return value
