"""The SQL that docs/operations.md tells operators to run does run."""

from __future__ import annotations

import re

import pytest

from tests.databases import Connection
from tests.sql.ask import value
from tests.sql.company import Company
from tests.stack.paths import ROOT

PAGE = (ROOT / "docs" / "operations.md").read_text()
BLOCKS = re.findall(r"```sql\n(.*?)```", PAGE, re.DOTALL)
PLAIN = [block for block in BLOCKS if "enable_graphql" not in block]
"""The other one wants an extension that is not everywhere: tests/access/test_graphql.py."""

OF_THE_API = re.findall(r"`(select [^`]+)`", PAGE.partition("## The API's cache and inbound webhooks\n")[2])


@pytest.mark.parametrize("query", OF_THE_API)
async def test_each_question_about_the_api_has_an_answer(db: Connection, query: str) -> None:
    await db.execute(query.encode())


def test_there_are_questions_about_the_api() -> None:
    assert len(OF_THE_API) == 4


@pytest.mark.parametrize("block", PLAIN)
async def test_each_block_runs(db: Connection, company: Company, block: str) -> None:
    await db.execute(block.encode())


async def test_the_project_says_when_an_endpoint_is_disabled(db: Connection) -> None:
    (block,) = [block for block in PLAIN if "disable_after" in block]
    limit = "select disable_after::text from private.webhook_policy"
    before = await value(db, limit)
    await db.execute(block.encode())
    assert await value(db, limit) == "10 days" != before
