"""Birch & Co sells: more buyers than loaves, at once; those who got some pay, and their parcels go out."""

from __future__ import annotations

import asyncio
from typing import Any, Final

import httpx

from tests.demo.stage import Company, Stage, expect, json_of

BUYERS: Final = 12
EACH: Final = 5
"""Pieces that each buyer wants: together more than there are."""


async def sell(stage: Stage) -> str:
    """The orders that were placed hold all the stock there is and no more; the books agree to the piece."""
    company = stage.birch
    product = json_of(await company.rest.get("/products?order=sku&limit=1"), "reading a product")[0]
    there = await _on_hand(company, product["id"])
    stage.say(f"{BUYERS} buyers at once want {EACH} of {there}")
    answers = await asyncio.gather(*(_place(company, product["id"], number) for number in range(BUYERS)))
    placed = [answer.json() for answer in answers if answer.status_code == 200]
    refused = [answer.json().get("message") for answer in answers if answer.status_code != 200]
    expect(len(placed) == there // EACH, f"{len(placed)} orders were placed over {there} pieces")
    expect(set(refused) == {"stock.insufficient"}, f"buyers were refused with {sorted(set(refused))}")

    stage.say("paying and shipping")
    for order in placed:
        paid = await _happens(company, order["id"], "pay", order["version"])
        await _happens(company, order["id"], "ship", paid["version"])
    left = await _on_hand(company, product["id"])
    expect(left == there - len(placed) * EACH, f"{left} pieces are left of {there}")
    proof = json_of(
        await company.rest.post("/rpc/run_stock_proof", json={"p_tenant_id": company.tenant_id}), "the proof"
    )
    expect(proof["findings"] == [], f"ledger, levels and reservations disagree: {proof}")
    stage.figures["orders"] = len(placed)
    return (
        f"{BUYERS} buyers at once: {len(placed)} orders paid and shipped, {len(refused)} refused, books exact"
    )


async def _place(company: Company, product_id: str, number: int) -> httpx.Response:
    order = {
        "p_tenant_id": company.tenant_id,
        "p_lines": [{"product_id": product_id, "quantity": EACH}],
        "p_customer": {"name": f"Buyer {number}"},
        "p_key": f"basket-{number}",
    }
    return await company.rest.post("/rpc/place_order", json=order)


async def _happens(company: Company, order_id: str, event: str, version: int) -> dict[str, Any]:
    what = {
        "p_tenant_id": company.tenant_id,
        "p_order_id": order_id,
        "p_event": event,
        "p_expected_version": version,
    }
    done: dict[str, Any] = json_of(await company.rest.post("/rpc/order_event", json=what), f"to {event}")
    return done


async def _on_hand(company: Company, product_id: str) -> int:
    levels = json_of(
        await company.rest.get(f"/stock_levels?select=on_hand&product_id=eq.{product_id}"),
        "reading the stock",
    )
    return sum(int(level["on_hand"]) for level in levels)
