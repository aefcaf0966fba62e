"""Fixtures of the access tests."""

from __future__ import annotations

from tests.sql.conftest import company, other, third

__all__ = ["company", "other", "third"]
