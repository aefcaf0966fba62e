"""A newcomer makes a first signed call from docs/api/README.md alone: every example of it runs as it stands.

What stands behind `→` is what it prints, up to a colon; `twice` because it is said in a loop.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import deno  # type: ignore[import-untyped]  # ships no types
import pytest

from tests.stack.addresses import Addresses
from tests.stack.paths import ROOT
from tests.stack.scripts import deno_environment

GUIDE = (ROOT / "docs" / "api" / "README.md").read_text()
RUNNERS = {
    "python": [sys.executable, "-"],
    "ts": [
        deno.find_deno_bin(),
        "run",
        "--no-config",
        "--no-lock",
        "--allow-net",
        "--allow-env",
        "api_guide.ts",
    ],
}


def parts() -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"```(bash|python|ts)\n(.*?)```", GUIDE, re.DOTALL):
        yield match[1], match[2]


def script(folder: Path) -> str:
    """All examples as one bash script, each other language's where it stands in the guide."""
    lines = ["export KEY SECRET"]
    for number, (language, text) in enumerate(parts()):
        if language == "bash":
            lines.append(text.replace(". .cache/up.env", ":"))
            continue
        file = folder / f"example-{number}.{language}"
        file.write_text(text.replace('"./functions/', f'"{ROOT}/functions/'))
        command = [str(file) if part == "api_guide.ts" else part for part in RUNNERS[language]]
        lines.append(f"{' '.join(command)} < {file}")
    return "\n".join(lines)


def promises() -> list[str]:
    told = []
    for _, text in parts():
        for promise in re.findall(r"(?:#|//) → (.*)$", text, re.MULTILINE):
            line = re.sub(r" twice$|: .*", "", promise) if promise[0] != "{" else promise
            told.extend([line] * (2 if promise.endswith(" twice") else 1))
    return told


@pytest.fixture(scope="module")
def printed(addresses: Addresses, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=script(tmp_path_factory.mktemp("guide")),
        cwd=ROOT,
        env={**os.environ, **deno_environment(), **addresses.status(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=90,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line]


def test_every_example_prints_what_the_guide_says(printed: list[str]) -> None:
    kept = iter(printed)
    missing = [promise for promise in promises() if promise not in kept]
    assert not missing, "\n".join(printed)
    assert len(promises()) > 12


def test_no_secret_is_printed(printed: list[str]) -> None:
    assert not re.search(r"pms_sk_\w{10}", "\n".join(printed))


def test_the_codes_it_names_are_real() -> None:
    told = set(
        re.findall(r"`([a-z_]+\.[a-z_]+)`", GUIDE.partition("## Errors")[2].partition("## A new secret")[0])
    )
    known = (ROOT / "docs" / "errors.md").read_text() + "".join(
        path.read_text() for path in (ROOT / "functions" / "api").rglob("*.ts")
    )
    assert len(told) > 12
    assert not [code for code in sorted(told) if code not in known and not code.endswith(".md")]
