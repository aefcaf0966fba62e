"""People edit their products: one with supabase-js, then both companies at once by plain HTTP."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from tests.demo.programs import run_program
from tests.demo.stage import Company, Stage, expect, json_of
from tests.stack.scripts import deno_environment, script_command

PMS: Final = Path(__file__).with_name("pms.ts")
ROUNDS: Final = 60
"""Price changes of each company in the busy minute."""


async def use_supabase_js(stage: Stage) -> str:
    """pms.ts signs in as Fjellmat's owner, edits under RLS and hears the private topic."""
    stage.edits_began = datetime.now(UTC)
    told: dict[str, dict[str, Any]] = {}

    def hear(line: str) -> None:
        step = json.loads(line)
        told[step["step"]] = step
        stage.say(f"pms.ts: {step['step']}")

    done = await run_program(stage.platform, script_command(PMS), _environment(stage), on_line=hear)
    expect(done.code == 0, f"pms.ts ended with {done.code} after {list(told)}: {done.last_words}")
    expect("done" in told, f"pms.ts stopped after {list(told)}")
    stage.figures["rings"] = told["done"]["rings"]
    stage.figures["bell_p50_ms"] = round(told["repriced"]["bell_ms"], 1)
    return (
        f"{told['repriced']['products']} repriced, {told['published']['products']} published, 1 deleted; "
        "stale write, foreign topic refused"
    )


async def edit_by_http(stage: Stage) -> str:
    """Both owners change prices at the same time, one after the other, each with the version it read."""
    await asyncio.gather(*(_reprice(stage, company) for company in stage.companies))
    first, second = [_version_filter(stage, company) for company in stage.companies]
    await asyncio.gather(first, second)
    return f"{2 * ROUNDS} price changes, each with the version it was based on"


async def _reprice(stage: Stage, company: Company) -> None:
    products = json_of(
        await company.rest.get("/products?select=id,price,version&order=sku"), "reading products"
    )
    back = {"Prefer": "return=representation"}
    for number, product in zip(range(1, ROUNDS + 1), _round_robin(products), strict=False):
        change = {"price": f"{product['price'] + 1:.2f}", "version": product["version"]}
        answer = await company.rest.patch(f"/products?id=eq.{product['id']}", json=change, headers=back)
        product |= {key: json_of(answer, "a price change")[0][key] for key in ("price", "version")}
        if number % 10 == 0:
            stage.say(f"{company.name}: {number} of {ROUNDS} price changes")


async def _version_filter(stage: Stage, company: Company) -> None:
    """The other form: a filter on an old version matches nothing and changes nothing."""
    product = json_of(await company.rest.get("/products?order=sku&limit=1"), "reading a product")[0]
    old = f"/products?id=eq.{product['id']}&version=eq.{product['version'] - 1}"
    answer = await company.rest.patch(old, json={"price": 1}, headers={"Prefer": "return=representation"})
    expect(json_of(answer, "a filtered change") == [], "a filter on an old version changed something")


def _round_robin(products: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    while True:
        yield from products


def _environment(stage: Stage) -> dict[str, str]:
    addresses, company = stage.platform.addresses, stage.fjellmat
    return {
        **deno_environment(),
        "SUPABASE_URL": addresses.api_url,
        "SUPABASE_PUBLISHABLE_KEY": addresses.publishable_key,
        "EMAIL": company.email,
        "PASSWORD": company.password,
        "TENANT": company.tenant_id,
        "OTHER_TENANT": stage.birch.tenant_id,
    }
