"""Generated files, compared with what they would be."""

from __future__ import annotations

import difflib
from pathlib import Path


def difference(path: Path, text: str, *, source: str) -> str | None:
    """None if the file holds `text`, which came from `source`; else what differs, and what to do."""
    stored = path.read_text() if path.exists() else ""
    names = (path.name, source)
    lines = list(difflib.unified_diff(stored.splitlines(), text.splitlines(), *names, lineterm=""))
    if not lines:
        return None
    advice = f"If this is meant: python -m tests.check --update ({len(lines)} lines differ)"
    return "\n".join([*lines[:60], advice])
