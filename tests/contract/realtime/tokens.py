"""Mints the tokens that the transcripts show as `<JWT …>`."""

from __future__ import annotations

import re
import time
from typing import Any

import jwt

SECRET = "the-secret-of-the-recorded-project-0123456789"
USERS = {
    "1": "11111111-1111-4111-8111-111111111111",
    "2": "22222222-2222-4222-8222-222222222222",
}
PLACEHOLDER = re.compile(r"<JWT ([^>]*)>")
SHORT_SECONDS = 2.5
"""What the recorder's tokens of 6 and 8 seconds live here."""


class TokenBook:
    """One token for each description: the same words are the same token."""

    def __init__(self) -> None:
        self._tokens: dict[str, str] = {}

    def fill(self, text: str) -> str:
        return PLACEHOLDER.sub(self._token, text)

    def _token(self, match: re.Match[str]) -> str:
        description = match[1]
        if description not in self._tokens:
            self._tokens[description] = _mint(description)
        return self._tokens[description]


def token(role: str, user: str | None = None, *, expires_in: float = 3600, **claims: Any) -> str:
    body: dict[str, Any] = {"role": role, "exp": time.time() + expires_in, **claims}
    if user is not None:
        body["sub"] = USERS[user]
    return jwt.encode(body, SECRET, algorithm="HS256")


def _mint(description: str) -> str:
    """`anon`, `authenticated:11111111`, `u1 6s`, `service_role, exp in 6s`, `anon:expired`, …"""
    if "wrong" in description:
        return jwt.encode(
            {"role": "anon", "exp": time.time() + 3600}, "another-secret" * 4, algorithm="HS256"
        )
    if description == "no role claim":
        return jwt.encode({"exp": time.time() + 3600}, SECRET, algorithm="HS256")
    if description == "anon:no exp":
        return jwt.encode({"role": "anon"}, SECRET, algorithm="HS256")
    lives = 3600.0
    if "expired" in description:
        lives = -30
    elif re.search(r"\d+s\b", description):
        lives = SHORT_SECONDS
    user = re.search(r"u(\d)\b|authenticated:(\d)", description)
    role = "authenticated" if user else re.split(r"[ ,:]", description)[0]
    role = {"service": "service_role"}.get(role, role)
    # "second", "third": another token with the same rights
    return token(role, (user[1] or user[2]) if user else None, expires_in=lives, note=description)
