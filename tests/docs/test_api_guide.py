"""A newcomer makes a first signed call from docs/api/README.md alone: every example of it runs as it stands.

What stands behind `→` is what it prints, up to a colon; `twice` because it is said in a loop. A worker runs,
as with `make up`, because events are worked by one.
"""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import deno  # type: ignore[import-untyped]  # ships no types
import pytest

from tests.databases import Connection
from tests.flow.worker_process import WorkerProcess
from tests.sql.ask import column
from tests.stack.addresses import Addresses
from tests.stack.paths import ROOT
from tests.stack.platform import Platform
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


# What a newcomer does next with the function of the guide that signs.
BEYOND = r"""
LONG=$(head -c 50000 /dev/zero | tr '\0' x)
ROW='{"sku": "LONG-%d", "name": "Long", "description": "'$LONG'"}'
printf "{\"rows\": [$ROW, $ROW, $ROW]}" 1 2 3 > long.json
pms POST /pms/v1/products/bulk @long.json | field created
pms POST /pms/v1/products/bulk @- < long.json | field unchanged
pms POST /pms/v1/products/bulk "$(cat long.json)" | field unchanged
pms GET '/pms/v1/products?sku=LONG 1' 2> refusal || cat refusal
echo '{"code":"slug.taken"}' | field id 2> refusal || cat refusal
"""
BEYOND_PRINTS = [
    "3",
    "3",
    "3",
    "percent-encode the target: a space is %20, a plus %2B",
    'no id in: {"code":"slug.taken"}',
]


def parts() -> Iterator[tuple[str, str]]:
    for match in re.finditer(r"```(bash|python|ts)\n(.*?)```", GUIDE, re.DOTALL):
        yield match[1], match[2]


def script(folder: Path) -> str:
    """All examples as one bash script, each other language's where it stands in the guide."""
    lines = []
    for number, (language, text) in enumerate(parts()):
        if language == "bash":
            # who pastes the first one twice has two companies, and goes on with the second
            lines.extend([text.replace(". .cache/up.env", ":")] * (2 if number == 0 else 1))
            continue
        file = folder / f"example-{number}.{language}"
        file.write_text(text.replace('"./functions/', f'"{ROOT}/functions/'))
        command = [str(file) if part == "api_guide.ts" else part for part in RUNNERS[language]]
        lines.append(f"{' '.join(command)} < {file}")
    return "\n".join([*lines, BEYOND])


def promises() -> list[str]:
    told = []
    for _, text in parts():
        for promise in re.findall(r"(?:#|//) → (.*)$", text, re.MULTILINE):
            line = re.sub(r" twice$|: .*", "", promise) if promise[0] != "{" else promise
            told.extend([line] * (2 if promise.endswith(" twice") else 1))
    return told


def printed(addresses: Addresses, folder: Path) -> list[str]:
    done = subprocess.run(
        ["bash", "-euo", "pipefail"],
        input=script(folder),
        cwd=folder,
        env={**os.environ, **deno_environment(), **addresses.status(), "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
        timeout=150,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [line for line in done.stdout.splitlines() if line]


@pytest.mark.own_platform
@pytest.mark.timeout(240)
async def test_every_example_prints_what_the_guide_says(
    make_platform: Callable[..., Platform], tmp_path: Path
) -> None:
    platform = await asyncio.to_thread(make_platform)
    async with WorkerProcess(platform):
        lines = await asyncio.to_thread(printed, platform.addresses, tmp_path)
    kept = iter(lines)
    missing = [promise for promise in promises() if promise not in kept]
    assert not missing, "\n".join(lines)
    assert len(promises()) > 30
    assert list(kept) == BEYOND_PRINTS
    assert not re.search(r"pms_sk_\w{10}", "\n".join(lines))


async def test_it_says_what_a_key_may_do_that_nobody_cut_down(db: Connection) -> None:
    told = re.search(r"This key has the role `integration`\. It may (.*?):", GUIDE, re.DOTALL)
    assert told
    permissions = await column(
        db, "select permission from private.role_permissions where role = 'integration'"
    )
    assert sorted(re.findall(r"`([a-z_]+\.[a-z]+)`", told[1])) == sorted(permissions)


async def test_it_names_each_type_of_event_that_is_worked(db: Connection) -> None:
    types = await column(db, "select kind || ' ' || type from private.inbound_types")
    told = []
    for kind, cell in re.findall(r"^\| `(\w+)` \| (`\w+\.\w+`[^|]*) \|", GUIDE, re.MULTILINE):
        first, *others = re.findall(r"`([\w.]+)`", cell)
        subject = first.partition(".")[0]
        told += [f"{kind} {subject + name if name[0] == '.' else name}" for name in (first, *others)]
    assert sorted(told) == sorted(types)


def test_the_codes_it_names_are_real() -> None:
    told = set(
        re.findall(r"`([a-z_]+\.[a-z_]+)`", GUIDE.partition("## Errors")[2].partition("## A new secret")[0])
    )
    known = (ROOT / "docs" / "errors.md").read_text() + "".join(
        path.read_text() for path in (ROOT / "functions" / "api").rglob("*.ts")
    )
    assert len(told) > 12
    assert not [code for code in sorted(told) if code not in known and not code.endswith(".md")]
