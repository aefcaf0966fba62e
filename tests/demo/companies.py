"""Two companies come to the platform as any front end would bring them: Auth, then PostgREST."""

from __future__ import annotations

from typing import Any, Final

import httpx

from tests.demo.receiver import Inbox
from tests.demo.stage import Company, Stage, expect, json_of

PASSWORD: Final = "a lake, a tent and coffee"
CAST: Final[tuple[tuple[str, str, dict[str, tuple[str, ...]]], ...]] = (
    ("Fjellmat", "fjellmat", {"everything": ("*",), "web shop": ("product.*",)}),
    ("Birch & Co", "birch", {"everything": ("*",), "warehouse": ("stock_level.*",)}),
)


async def sign_up(stage: Stage) -> str:
    """Each owner signs up, signs in with the password, founds a tenant and asks for webhooks."""
    for name, slug, wishes in CAST:
        stage.say(f"{name} signs up")
        stage.companies.append(await _found(stage, name, slug, wishes))
    count = sum(len(company.inboxes) for company in stage.companies)
    return f"2 owners signed in by password, 2 tenants, {count} endpoints"


async def _found(stage: Stage, name: str, slug: str, wishes: dict[str, tuple[str, ...]]) -> Company:
    user = await stage.people.make_user(f"owner@{slug}.example.com", PASSWORD)
    session = await _sign_in(stage, user.email)
    expect(session["user"]["id"] == str(user.id), f"{user.email} signed in as somebody else")
    rest = stage.people.rest(str(session["access_token"]))
    founding = {"p_slug": slug, "p_name": name}
    tenant = json_of(await rest.post("/rpc/create_tenant", json=founding), f"founding {name}")
    inboxes = [
        await _ask_for_webhooks(stage, rest, tenant["id"], f"{name} · {use}", events)
        for use, events in wishes.items()
    ]
    return Company(name, tenant["id"], slug, user.email, PASSWORD, rest, tuple(inboxes))


async def _sign_in(stage: Stage, email: str) -> dict[str, Any]:
    auth = stage.people.client("/auth/v1")
    credentials = {"email": email, "password": PASSWORD}
    wrong = await auth.post("/token?grant_type=password", json=credentials | {"password": "a guess"})
    expect(wrong.status_code == 400, f"a wrong password was answered {wrong.status_code}")
    answer = await auth.post("/token?grant_type=password", json=credentials)
    return dict(json_of(answer, f"signing in as {email}"))


async def _ask_for_webhooks(
    stage: Stage, rest: httpx.AsyncClient, tenant_id: str, name: str, events: tuple[str, ...]
) -> Inbox:
    inbox = stage.receiver.make_inbox(name, events)
    wish = {"p_tenant_id": tenant_id, "p_url": inbox.url, "p_events": list(events), "p_description": name}
    endpoint = json_of(await rest.post("/rpc/create_webhook_endpoint", json=wish), f"an endpoint for {name}")
    inbox.open(tenant_id=tenant_id, endpoint_id=endpoint["id"], secret=endpoint["secret"])
    return inbox
