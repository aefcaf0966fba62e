"""Fixtures of the whole suite.

One platform a run, shared: HTTP tests isolate by fresh users and tenants (`make_user`, `make_tenant`), SQL
tests by a clone of the migrated database (`db`, `database`). A test that starts, kills or restarts parts
takes `make_platform` and is marked `own_platform`. With SUPABASE_URL and its keys set, the suite runs against
that Supabase instead, and what needs a machine of its own is skipped, with a reason, and counted.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import httpx
import psycopg
import pytest

from tests.databases import Connection, Database, cloned_database
from tests.people import People, Tenant, User
from tests.stack.addresses import Addresses
from tests.stack.graphql import NO_GRAPHQL
from tests.stack.platform import Platform
from tests.stack.remote import RemotePlatform
from worker.engine.ending import leave

REMOTE = bool(os.environ.get("SUPABASE_URL"))
NOT_REMOTE = "needs a platform of its own; SUPABASE_URL names a remote one"


def pytest_configure() -> None:
    # a shell that starts us in the background has Ctrl-C ignored, by us and by all that we start
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if REMOTE:
        for item in items:
            if item.get_closest_marker("own_platform"):
                item.add_marker(pytest.mark.skip(reason=NOT_REMOTE))


_status = pytest.StashKey[int]()


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    session.config.stash[_status] = int(exitstatus)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ends as the worker does, for the same reason: see `worker.engine.ending.leave`."""
    if (status := config.stash.get(_status, None)) is not None:
        leave(lambda: status)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    reasons = [str(report.longrepr) for report in terminalreporter.stats.get("skipped", [])]
    if skipped := sum(NOT_REMOTE in reason for reason in reasons):
        terminalreporter.write_line(f"{skipped} tests not run against the remote Supabase: {NOT_REMOTE}")
    if skipped := sum(NO_GRAPHQL in reason for reason in reasons):
        terminalreporter.write_line(f"{skipped} GraphQL examples of the guide {NO_GRAPHQL}")


# -- the platform --------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def platform() -> Iterator[Platform | RemotePlatform]:
    """The shared one. Leave its parts alone: they are everybody's."""
    if REMOTE:
        yield RemotePlatform()
        return
    with Platform(in_memory=True) as own:
        yield own


@pytest.fixture(scope="session")
def addresses(platform: Platform | RemotePlatform) -> Addresses:
    return platform.addresses


@pytest.fixture
def make_platform() -> Iterator[Callable[..., Platform]]:
    """Start a platform of one's own, `Platform`'s arguments passed on; for tests marked `own_platform`."""
    started: list[Platform] = []

    def make(**options: object) -> Platform:
        own = Platform(**options)  # type: ignore[arg-type]  # Platform checks them
        started.append(own)
        own.start()
        return own

    yield make
    for own in started:
        own.stop()


# -- over HTTP -----------------------------------------------------------------------------------------------


@pytest.fixture
async def people(addresses: Addresses) -> AsyncIterator[People]:
    made = People(addresses)
    yield made
    await made.close()


@pytest.fixture
def make_user(people: People) -> Callable[..., Awaitable[User]]:
    """`await make_user()`: signed up through Auth, with `id` and `access_token`."""
    return people.make_user


@pytest.fixture
def make_tenant(people: People) -> Callable[..., Awaitable[Tenant]]:
    """`await make_tenant(owner)`: made by `public.create_tenant` as its owner, over HTTP."""
    return people.make_tenant


@pytest.fixture
async def user(people: People) -> User:
    return await people.make_user()


@pytest.fixture
async def tenant(people: People) -> Tenant:
    return await people.make_tenant()


@pytest.fixture
def rest(people: People) -> Callable[..., httpx.AsyncClient]:
    """`rest(user_or_token, schema="public")`: a client of /rest/v1 that acts as somebody (nobody: `anon`)."""
    return people.rest


@pytest.fixture
def service(people: People) -> httpx.AsyncClient:
    """A client of /rest/v1 with the secret key, in the schema `public`."""
    return people.service()


@pytest.fixture
def worker_rpc(people: People) -> httpx.AsyncClient:
    """The same in the schema `worker`: `await worker_rpc.post("/rpc/worker_status", json={})`."""
    return people.service(schema="worker")


# -- in SQL --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def admin_db_url(platform: Platform | RemotePlatform) -> str:
    """A superuser's address of the shared database."""
    if REMOTE and not platform.addresses.admin_db_url:
        pytest.skip(f"{NOT_REMOTE} without ADMIN_DB_URL")
    return platform.admin_db_url


@pytest.fixture(scope="session")
def db_url(platform: Platform | RemotePlatform) -> str:
    """The shared database as the role `postgres`."""
    if REMOTE and not platform.addresses.db_url:
        pytest.skip(f"{NOT_REMOTE} without DB_URL")
    return platform.db_url


@pytest.fixture
async def admin_db(admin_db_url: str) -> AsyncIterator[Connection]:
    """The shared database as a superuser, in autocommit."""
    async with await psycopg.AsyncConnection.connect(admin_db_url, autocommit=True) as connection:
        yield connection


@pytest.fixture(scope="session")
def cluster_url(platform: Platform | RemotePlatform) -> str:
    """A superuser's address of the cluster in which `cloned_database` clones."""
    if REMOTE:
        pytest.skip(NOT_REMOTE)
    return platform.admin_db_url


@pytest.fixture
async def database(cluster_url: str) -> AsyncIterator[Database]:
    """A clone of the migrated database, dropped afterwards; `connect(role)` gives more connections."""
    async with cloned_database(cluster_url) as clone:
        yield clone


@pytest.fixture
async def db(database: Database) -> Connection:
    """The clone as the role `postgres`, in autocommit; `tests.databases.acting_as` makes it somebody."""
    return await database.connect()
