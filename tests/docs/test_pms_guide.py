"""Every example of docs/pms-guide.md runs, in order, and prints what the guide says it prints.

The GraphQL examples run like all others, and once more on the Supabase under test, which may have pg_graphql:
there each is compared, or skipped with the reason that the platform gave.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from urllib.parse import urlsplit

import deno  # type: ignore[import-untyped]  # ships no types
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from tests.databases import Connection
from tests.flow.worker_process import WorkerProcess
from tests.sql.ask import column
from tests.stack.addresses import Addresses
from tests.stack.graphql import NO_GRAPHQL, NO_GRAPHQL_ANSWER
from tests.stack.paths import ROOT, STACK
from tests.stack.platform import Platform

GUIDE = (ROOT / "docs" / "pms-guide.md").read_text()
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", GUIDE, re.MULTILINE | re.DOTALL))
GRAPHQL = SECTIONS["GraphQL"]
# What the GraphQL examples build on; none of it needs a worker.
BEFORE_GRAPHQL = ("Connect and sign in", "Tenants", "Create and read products", "Variants and categories")
COMMENTS = {"js": "//", "sh": "#", "py": "#"}
# Prints like the guide writes: texts bare, all else as JSON.
PRINTING = """
console.log = (...all) => Deno.stdout.writeSync(new TextEncoder().encode(
  all.map((one) => typeof one === "string" ? one : JSON.stringify(one)).join(" ") + "\\n"));
"""


def blocks(language: str, text: str = GUIDE) -> str:
    return "\n".join(re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL))


def promised(language: str, text: str = GUIDE) -> list[str]:
    """What stands behind each arrow of the blocks."""
    return re.findall(rf"{COMMENTS[language]} → (.*)$", blocks(language, text), re.MULTILINE)


def assert_kept(lines: list[str], language: str) -> None:
    """Every promise is kept; those of the GraphQL examples, the last ones, where the platform has it."""
    promises = promised(language)
    plain = len(promises) - len(promised(language, GRAPHQL))
    assert lines[:plain] == promises[:plain]
    answers = [json.loads(line) for line in lines[plain:]]
    kept = [json.loads(promise) for promise in promises[plain:]]
    assert answers in (kept, [NO_GRAPHQL_ANSWER] * len(kept))


@asynccontextmanager
async def scenery(platform: Platform) -> AsyncIterator[str]:
    """A worker, and a receiver that takes everything but what comes to `/gone`; yields its address."""

    async def take(_: web.Request) -> web.Response:
        return web.Response()

    async def refuse(_: web.Request) -> web.Response:
        return web.Response(status=410)

    app = web.Application()
    app.router.add_post("/", take)
    app.router.add_post("/gone", refuse)
    async with TestServer(app, host="127.0.0.1") as server, WorkerProcess(platform):
        yield f"127.0.0.1:{server.port}/"


def printed(command: Sequence[str], addresses: Addresses, folder: Path, source: str = "") -> list[str]:
    """The lines that are not empty."""
    done = subprocess.run(
        ["timeout", "60", *command],
        input=source,
        cwd=folder,
        env={
            **os.environ,
            **addresses.status(),
            "NO_COLOR": "1",
            "DENO_DIR": os.environ.get("DENO_DIR", str(ROOT / ".cache" / "deno")),
            "DENO_NO_UPDATE_CHECK": "1",
        },
        capture_output=True,
        text=True,
        check=False,
    )
    lines = [line for line in done.stdout.splitlines() if line]
    assert done.returncode == 0, "\n".join([*lines[-3:], done.stderr])
    return lines


def run_javascript(source: str, addresses: Addresses, folder: Path) -> list[str]:
    script = folder / "guide.mjs"
    ready = source.replace('"@supabase/supabase-js"', '"npm:@supabase/supabase-js@2.119.0"')
    script.write_text(PRINTING + ready + "\nDeno.exit(0);\n")
    return printed(on_deno(script, addresses), addresses, folder)


def run_shell(source: str, addresses: Addresses, folder: Path) -> list[str]:
    return printed(["sh", "-eu"], addresses, folder, source.replace(". .cache/up.env", ":"))


def run_python(source: str, addresses: Addresses, folder: Path) -> list[str]:
    script = folder / "guide.py"
    script.write_text(source)
    return printed([sys.executable, str(script)], addresses, folder)


def on_deno(script: Path, addresses: Addresses) -> list[str]:
    lock = ["--lock", str(STACK / "deno.lock"), "--frozen", "--no-config", "--cached-only"]
    rights = [f"--allow-net=127.0.0.1,{urlsplit(addresses.api_url).hostname}", "--allow-env", "--allow-read"]
    return [deno.find_deno_bin(), "run", "--quiet", *lock, *rights, str(script)]


@pytest.mark.own_platform
async def test_every_example_prints_what_the_guide_says(make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(with_functions=False)
    async with scenery(platform) as receiver:
        for run, language in ((run_javascript, "js"), (run_shell, "sh"), (run_python, "py")):
            source = blocks(language).replace("127.0.0.1:8787/", receiver)
            assert_kept(await asyncio.to_thread(run, source, platform.addresses, platform.run), language)


@pytest.fixture(scope="module")
def graphql_answers(addresses: Addresses) -> dict[str, list[str]]:
    """What the GraphQL examples of each language print on the shared platform, or on the remote Supabase."""
    text = "".join(SECTIONS[title] for title in BEFORE_GRAPHQL)
    answers = {}
    with tempfile.TemporaryDirectory() as folder:
        for run, language in ((run_javascript, "js"), (run_shell, "sh")):
            lines = run(blocks(language, text + GRAPHQL), addresses, Path(folder))
            before = promised(language, text)
            assert lines[: len(before)] == before
            answers[language] = lines[len(before) :]
    return answers


@pytest.mark.parametrize(
    ("language", "number"),
    [(language, number) for language in COMMENTS for number in range(len(promised(language, GRAPHQL)))],
)
def test_a_graphql_example_answers_what_the_guide_says(
    graphql_answers: dict[str, list[str]], language: str, number: int
) -> None:
    promises = promised(language, GRAPHQL)
    assert len(graphql_answers[language]) == len(promises)
    answer = json.loads(graphql_answers[language][number])
    if answer == NO_GRAPHQL_ANSWER:
        pytest.skip(NO_GRAPHQL)
    assert answer == json.loads(promises[number])


async def test_the_guide_shows_every_function_of_the_pms(db: Connection) -> None:
    functions = await column(
        db,
        "select distinct p.proname::text from pg_proc p where p.pronamespace = 'public'::regnamespace"
        " and p.prorettype <> 'trigger'::regtype"
        " and has_function_privilege('authenticated', p.oid, 'execute')",
    )
    assert len(functions) > 30
    missing = sorted(name for name in functions if not re.search(rf"\b{name}\b", GUIDE))
    assert not missing, f"docs/pms-guide.md does not show {', '.join(missing)}"
