"""Users and tenants, made as the PMS makes them: through Auth and PostgREST."""

from __future__ import annotations

import functools
import secrets
import ssl
import uuid
from dataclasses import dataclass

import httpx

from tests.stack.addresses import Addresses

PASSWORD = "correct horse battery staple"
TIMEOUT = httpx.Timeout(20.0)


@functools.cache
def authorities() -> ssl.SSLContext:
    """One for every client: each would read the machine's authorities by itself, for 50 ms of CPU."""
    return httpx.create_ssl_context()


@dataclass(frozen=True)
class User:
    id: uuid.UUID
    email: str
    password: str
    access_token: str
    refresh_token: str


@dataclass(frozen=True)
class Tenant:
    id: uuid.UUID
    slug: str
    owner: User


class People:
    """Makes them, and the HTTP clients they act with; everything closes with `close`."""

    def __init__(self, addresses: Addresses) -> None:
        self._addresses = addresses
        self._clients: list[httpx.AsyncClient] = []

    async def close(self) -> None:
        for client in self._clients:
            await client.aclose()

    def client(self, path: str, *, key: str | None = None, token: str | None = None) -> httpx.AsyncClient:
        """A client for `path` of the API with an apikey (default: the publishable one) and a bearer token."""
        headers = {"apikey": key or self._addresses.publishable_key}
        if token is not None:
            headers["Authorization"] = f"Bearer {token}"
        url = self._addresses.api_url + path
        client = httpx.AsyncClient(base_url=url, headers=headers, timeout=TIMEOUT, verify=authorities())
        self._clients.append(client)
        return client

    def rest(self, who: User | str | None = None, *, schema: str = "public") -> httpx.AsyncClient:
        """PostgREST as `who`: a user, an access token, or (None) nobody in particular."""
        token = who.access_token if isinstance(who, User) else who
        return self._with_schema(self.client("/rest/v1", token=token), schema)

    def service(self, *, schema: str = "public") -> httpx.AsyncClient:
        """PostgREST with the secret key, as the worker speaks to it: `schema="worker"` for its RPCs."""
        return self._with_schema(self.client("/rest/v1", key=self._addresses.secret_key), schema)

    async def make_user(self, email: str | None = None, password: str = PASSWORD) -> User:
        email = email or f"user-{secrets.token_hex(6)}@example.com"
        async with self.client("/auth/v1") as auth:
            answer = await auth.post("/signup", json={"email": email, "password": password})
        body = answer.raise_for_status().json()
        return User(
            id=uuid.UUID(body["user"]["id"]),
            email=email,
            password=password,
            access_token=body["access_token"],
            refresh_token=body["refresh_token"],
        )

    async def make_tenant(
        self, owner: User | None = None, *, slug: str | None = None, currency: str = "USD"
    ) -> Tenant:
        """A fresh tenant through `public.create_tenant`; an owner is signed up if none is given."""
        owner = owner or await self.make_user()
        slug = slug or f"t-{secrets.token_hex(6)}"
        arguments = {"p_slug": slug, "p_name": f"Tenant {slug}", "p_currency": currency}
        async with self.rest(owner) as rest:
            answer = await rest.post("/rpc/create_tenant", json=arguments)
        if answer.is_error:
            raise AssertionError(f"create_tenant: {answer.status_code} {answer.text}")
        return Tenant(id=uuid.UUID(answer.json()["id"]), slug=slug, owner=owner)

    @staticmethod
    def _with_schema(client: httpx.AsyncClient, schema: str) -> httpx.AsyncClient:
        client.headers.update({"Accept-Profile": schema, "Content-Profile": schema})
        return client
