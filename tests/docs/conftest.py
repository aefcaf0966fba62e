"""Fixtures of the tests of docs/."""

from __future__ import annotations

from tests.sql.conftest import company

__all__ = ["company"]
