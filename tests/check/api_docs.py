"""docs/api/openapi.json, the document that the function serves, and pages of it and of its guide.

Compared by `make check` and rewritten by `--update`, like the snapshots. A page stands for itself: it needs
no network, and no script but for its search.
"""

from __future__ import annotations

import json
import subprocess
from typing import Any, TypeAlias

from tests.check.api_guide import guide_html
from tests.check.api_page import reference_html
from tests.check.snapshots import difference
from tests.stack.paths import ROOT
from tests.stack.scripts import deno_environment

FOLDER = ROOT / "docs" / "api"
ERRORS = ROOT / "docs" / "errors.md"
Document: TypeAlias = dict[str, Any]


def check_api_docs(*, update: bool) -> str | None:
    """None if docs/api is what the function says, else the difference."""
    try:
        document = read_document()
    except subprocess.SubprocessError as error:
        return f"the OpenAPI document cannot be made: {error}\n{getattr(error, 'stderr', '')}"
    files = {
        FOLDER / "openapi.json": json.dumps(document, indent=1, ensure_ascii=False) + "\n",
        FOLDER / "index.html": reference_html(document, ERRORS.read_text()),
        FOLDER / "guide.html": guide_html((FOLDER / "README.md").read_text()),
    }
    if update:
        for path, text in files.items():
            path.write_text(text)
        return None
    found = (difference(path, text, source="the function") for path, text in files.items())
    return "\n\n".join(filter(None, found)) or None


def read_document() -> Document:
    """As the function makes it, for a project of an example's name. Raises `SubprocessError`."""
    deno = str(ROOT / ".venv" / "bin" / "deno")
    config = ["--config", "functions/deno.json", "--frozen", "--cached-only"]
    done = subprocess.run(
        [deno, "run", "--quiet", *config, "--allow-env", "--allow-read", "tests/check/openapi.ts"],
        cwd=ROOT,
        env=deno_environment(),
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    document: Document = json.loads(done.stdout)
    return document
