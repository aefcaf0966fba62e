"""docs/errors.md and the migrations name the same errors with the same statuses."""

from __future__ import annotations

import re

from tests.stack.paths import ROOT

RAISED = re.compile(r"private\.fail\('PT(\d{3})',\s*'([a-z_.]+)'")
LISTED = re.compile(r"^\| `([a-z_]+\.[a-z_]+)` \| (\d{3}) \|", re.MULTILINE)


def test_every_error_is_documented_with_its_status() -> None:
    sources = "\n".join(path.read_text() for path in sorted((ROOT / "supabase" / "migrations").glob("*.sql")))
    raised = {code: status for status, code in RAISED.findall(sources)}
    assert len(raised) > 10, "the pattern no longer finds what the migrations raise"
    assert dict(LISTED.findall((ROOT / "docs" / "errors.md").read_text())) == raised
