"""What the README tells a newcomer to type does what it says."""

from __future__ import annotations

import asyncio
import os
import re
import subprocess
from collections.abc import Callable
from io import StringIO

import pytest
from aiohttp.test_utils import TestServer
from rich.console import Console

from tests.demo.listen import listener
from tests.eventually import eventually
from tests.flow.worker_process import WorkerProcess
from tests.stack.paths import ROOT
from tests.stack.platform import Platform

README = (ROOT / "README.md").read_text()


def first_webhook() -> str:
    """The shell lines of the quick start's third terminal."""
    blocks: list[str] = re.findall(r"```sh\n(.*?)```", README, re.DOTALL)
    (found,) = [block for block in blocks if "create_webhook_endpoint" in block]
    return found


@pytest.mark.own_platform
async def test_the_quick_start_ends_with_two_webhooks(make_platform: Callable[..., Platform]) -> None:
    platform = make_platform(with_functions=False)
    seen = StringIO()
    server = TestServer(listener(Console(file=seen, width=200), None), host="127.0.0.1")
    await server.start_server()
    try:
        async with WorkerProcess(platform):
            script = first_webhook().replace(". .cache/up.env\n", "").replace(":8787/", f":{server.port}/")
            done = await asyncio.to_thread(
                subprocess.run,
                ["sh", "-e"],
                input=script,
                cwd=ROOT,
                env={**os.environ, **platform.addresses.status()},
                capture_output=True,
                text=True,
                check=False,
                timeout=60,
            )
            assert done.returncode == 0, done.stderr
            assert "whsec_" in done.stdout
            events = {"product.created", "product.updated"}
            await eventually(lambda: all(event in seen.getvalue() for event in events), 20)
    finally:
        await server.close()


def test_every_command_of_the_table_exists() -> None:
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"`make ([a-z]+)`", README))
    assert len(named) >= 8
    assert named <= targets


def test_every_link_leads_somewhere() -> None:
    pages = [ROOT / "README.md", *(ROOT / "docs").rglob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\((?!https?://)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
