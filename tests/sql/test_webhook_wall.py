"""The wall at creation: SQL refuses what the worker's wall refuses without resolving, and nothing else."""

from __future__ import annotations

import itertools
import random
from collections.abc import Awaitable, Callable, Sequence

import httpx
import psycopg
import pytest

from tests.databases import Connection, acting_as
from tests.people import Tenant
from tests.sql.ask import column, rows, value
from tests.sql.company import Company, add_endpoint
from tests.webhooks.hosts import INTERNATIONAL, public_hosts, words
from tests.webhooks.vectors import hostile
from worker.addresses import is_public
from worker.wall import BlockedError, parse_url

SET_POLICY = "update private.webhook_policy set allow_private_hosts = %s"
# Postgres' text holds no NUL: such a URL never arrives
HOSTILE = [vector for vector in hostile() if "\0" not in vector.url]

# What the two sides judge differently: the database has no IDNA, so that it leaves it to the worker whether
# an xn-- label is a valid one, and takes international names in that form alone.
ONLY_PYTHON_REFUSES = "the host name is not a valid international name"
ONLY_SQL_REFUSES = "The host name holds other characters than ASCII: send its xn-- form."


def refusal(url: str, *, private: bool = False) -> str | None:
    """Why the worker's wall refuses `url` by what it says, before any name is resolved."""
    try:
        literal = parse_url(url, private=private).literal
    except BlockedError as error:
        return str(error)
    return None if private or literal is None or is_public(literal) else f"{literal} is private"


async def problems(db: Connection, urls: Sequence[str], *, private: bool = False) -> list[str | None]:
    """What `private.url_problem` says of each, in order."""
    query = (
        "select private.url_problem(u.url, %s) from unnest(%s::text[]) with ordinality u (url, n) order by n"
    )
    return await column(db, query, private, list(urls))


async def disagreements(
    db: Connection, urls: Sequence[str], *, private: bool = False
) -> list[tuple[str, str | None, str | None]]:
    """What one side refuses and the other takes, with what both say, but for the two differences above."""
    return [
        (url, in_python, in_sql)
        for url, in_sql in zip(urls, await problems(db, urls, private=private), strict=True)
        if (in_python := refusal(url, private=private)) is None or in_sql is None
        if (in_python, in_sql) not in ((None, None), (ONLY_PYTHON_REFUSES, None), (None, ONLY_SQL_REFUSES))
    ]


async def test_what_is_hostile_without_resolving_is_refused(db: Connection) -> None:
    urls = [v.url for v in HOSTILE if refusal(v.url) not in (None, ONLY_PYTHON_REFUSES)]
    urls += [v.url for v in HOSTILE if refusal(v.url) == ONLY_PYTHON_REFUSES and not v.url.isascii()]
    assert len(urls) > 1000
    passed = [url for url, problem in zip(urls, await problems(db, urls), strict=True) if problem is None]
    assert passed == []
    left = [v.url for v in HOSTILE if refusal(v.url) == ONLY_PYTHON_REFUSES and v.url.isascii()]
    assert all("xn--" in url.lower() for url in left)
    assert len(left) < 30, "what is left to the worker is little"


@pytest.mark.parametrize("private", [False, True])
async def test_both_sides_agree_on_every_vector(db: Connection, private: bool) -> None:
    assert await disagreements(db, [v.url for v in HOSTILE], private=private) == []
    hosts = [f"https://{host}/hook" for host in (*public_hosts(), *INTERNATIONAL)]
    assert await disagreements(db, hosts, private=private) == []


async def test_a_thousand_public_hosts_pass(db: Connection) -> None:
    urls = [f"https://{host}/hooks/in?tenant=1" for host in public_hosts()]
    assert len(urls) >= 1000
    found = await problems(db, urls)
    assert [said for said in zip(urls, found, strict=True) if said[1]] == []
    said = await problems(db, [f"https://{host}/" for host in INTERNATIONAL])
    assert set(said) == {ONLY_SQL_REFUSES}


PIECES = words(
    r"""
    . .. : :: [ ] / ? # @ \ - _ 0 1 7 9 08 010 0x 0x7f 255 256 127 10 169.254 2001 2606:4700 ffff fe80 64:ff9b
    5efe 200 a A com example.com .com .org xn--bcher-kva localhost internal :443 :8443 22 65536 % e0 g
    """
)


def random_urls(count: int) -> list[str]:
    """URLs of pieces that parsers stumble over, half of them IPv6 literals; the same ones every time."""
    dice = random.Random(20261123)
    hextets = ["0", "1", "ffff", "5efe", "200", "2001", "2002", "db8", "2606", "4700", "3fff", "fe80", "0000"]
    found = []
    for _ in range(count // 2):
        found.append("https://" + "".join(dice.choices(PIECES, k=dice.randint(1, 6))))
        groups = dice.choices(
            [*hextets, "", "00000", "g"], [8] * len(hextets) + [20, 1, 1], k=dice.randint(2, 9)
        )
        tail = dice.choice(["", "", "", ":127.0.0.1", ":8.8.8.8", "::", ":1.2.3", ":01.2.3.4"])
        found.append(f"https://[{':'.join(groups)}{tail}]/")
    return found


@pytest.mark.parametrize("private", [False, True])
async def test_both_sides_agree_on_what_dice_make(db: Connection, private: bool) -> None:
    urls = random_urls(20_000)
    refused = sum(refusal(url, private=private) is not None for url in urls)
    assert 300 < refused < len(urls) - 300, "some of either kind"
    assert await disagreements(db, urls, private=private) == []


async def test_both_sides_know_the_same_addresses(db: Connection) -> None:
    """At and beside the ends of every range of either table."""
    starts = words(
        """
        0.0.0.0 10.0.0.0 11.0.0.0 100.64.0.0 100.128.0.0 127.0.0.0 128.0.0.0 168.63.129.16
        169.254.0.0 169.255.0.0  172.16.0.0 172.32.0.0 192.0.0.0 192.0.1.0 192.0.2.0 192.0.3.0
        192.31.196.0 192.31.197.0 192.52.193.0  192.52.194.0 192.88.99.0 192.88.100.0 192.168.0.0
        192.169.0.0 192.175.48.0 192.175.49.0 198.18.0.0  198.20.0.0 198.51.100.0 198.51.101.0
        203.0.113.0 203.0.114.0 224.0.0.0 240.0.0.0 255.255.255.255  :: ::ffff:0:0 64:ff9b:: 100::
        2000:: 2001:: 2001:200:: 2001:db8:: 2001:db9:: 2002:: 2003:: 2620:4f:8000::  2620:4f:8001::
        3ffe:: 3fff:: 3fff:1000:: 4000:: 5f00:: fc00:: fe80:: fec0:: ff00::  2606::5efe:0:0
        2606::5eff:0:0 2606::200:5efe:0:0 2606::200:5eff:0:0 2606::1:5efe:0:0
        """
    )
    query = """
        select host(a), private.is_public_address(a) from (
          select s.start::inet + d as a
          from unnest(%s::text[]) s (start) cross join unnest('{-1,0,1}'::int[]) d
          where not (s.start in ('0.0.0.0', '::') and d = -1) and not (s.start = '255.255.255.255' and d = 1)
        ) x
    """
    found = await rows(db, query, starts)
    assert len(found) > 180
    wrong = [(text, said) for text, said in found if said != (refusal(_url(text)) is None)]
    assert wrong == []
    assert await value(db, "select private.is_public_address(null)") is False


def _url(address: str) -> str:
    return f"https://[{address}]/" if ":" in address else f"https://{address}/"


async def test_a_bad_url_is_refused_at_creation_and_when_it_changes(db: Connection, company: Company) -> None:
    await db.execute(SET_POLICY, (False,))
    endpoint = await add_endpoint(db, company)
    for url in ("http://example.com/", "https://169.254.169.254/", "https://db.internal/", "", "x" * 3000):
        for change in (add_endpoint(db, company, url), set_url(db, company, endpoint["id"], url)):
            with pytest.raises(psycopg.Error) as refused:
                await change
            assert refused.value.sqlstate == "PT422"
            assert refused.value.diag.message_primary == "webhook.url_refused"
            assert (refused.value.diag.message_detail or "").endswith(".")
            assert "https://host/path" in (refused.value.diag.message_hint or "")
    await set_url(db, company, endpoint["id"], "https://hooks.example.com/2")
    assert await column(db, "select url from public.webhook_endpoints") == ["https://hooks.example.com/2"]


async def set_url(db: Connection, company: Company, endpoint_id: str, url: str) -> None:
    async with acting_as(db, company.owner):
        await db.execute("update public.webhook_endpoints set url = %s where id = %s", (url, endpoint_id))


async def test_the_policy_opens_private_hosts_and_nothing_else(db: Connection, company: Company) -> None:
    await db.execute(SET_POLICY, (True,))
    for url in ("http://127.0.0.1:8787/", "http://localhost:8080/x", "https://[::1]/", "http://receiver/"):
        await add_endpoint(db, company, url)
    for url in ("http://user@localhost/", "http://0x7f.1/", "http://127.0.0.1:22/", "ftp://localhost/"):
        with pytest.raises(psycopg.Error, match=r"webhook\.url_refused"):
            await add_endpoint(db, company, url)


async def test_a_policy_that_turns_strict_locks_no_endpoint(db: Connection, company: Company) -> None:
    await db.execute(SET_POLICY, (True,))
    endpoint = await add_endpoint(db, company, "http://127.0.0.1:8787/")
    await db.execute(SET_POLICY, (False,))
    async with acting_as(db, company.owner):
        await db.execute(
            "update public.webhook_endpoints set status = 'paused', url = url where id = %s",
            (endpoint["id"],),
        )
    with pytest.raises(psycopg.Error, match=r"webhook\.url_refused"):
        await set_url(db, company, endpoint["id"], "http://127.0.0.1:8788/")


async def test_without_a_policy_the_wall_stands(db: Connection, company: Company) -> None:
    await db.execute("delete from private.webhook_policy")
    with pytest.raises(psycopg.Error, match=r"webhook\.url_refused"):
        await add_endpoint(db, company, "http://127.0.0.1/")
    assert (await problems(db, ["https://127.0.0.1/"]))[0] is not None
    assert await value(db, "select private.url_problem('https://127.0.0.1/', null)") is not None


async def test_the_policy_is_one_strict_row_out_of_reach(db: Connection, company: Company) -> None:
    await db.execute("delete from private.webhook_policy")
    await db.execute("insert into private.webhook_policy default values")
    (row,) = await rows(
        db, "select allow_private_hosts, disable_after = '5 days' from private.webhook_policy"
    )
    assert row == (False, True), "as a hosted project has it"
    for wrong in (
        "insert into private.webhook_policy default values",
        "insert into private.webhook_policy (one) values (false)",
        "update private.webhook_policy set disable_after = '-1 day'",
        "update private.webhook_policy set allow_private_hosts = null",
    ):
        with pytest.raises(psycopg.IntegrityError):
            await db.execute(wrong)
    for role, statement in itertools.product(
        ("anon", "authenticated", "service_role"),
        (
            "select one from private.webhook_policy",
            "update private.webhook_policy set one = one",
            "select private.url_problem('')",
        ),
    ):
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            async with acting_as(db, company.owner, role=role):
                await db.execute(statement)


async def test_hostile_length_takes_no_time(db: Connection) -> None:
    await db.execute("set statement_timeout = '2s'")
    urls = [
        "https://" + piece * (2000 // len(piece))
        for piece in ("a", "a.", "1.", ":", "[", "a-", "0x", "?", "@")
    ]
    assert None not in await problems(db, [*urls, "https://" + "a" * 1_000_000])


async def test_a_refusal_over_http(
    make_tenant: Callable[..., Awaitable[Tenant]], rest: Callable[..., httpx.AsyncClient]
) -> None:
    tenant = await make_tenant()
    owner = rest(tenant.owner)
    wish = {"p_tenant_id": str(tenant.id), "p_url": "https://user:secret@example.com/"}
    answer = await owner.post("/rpc/create_webhook_endpoint", json=wish)
    assert (answer.status_code, answer.json()["message"]) == (422, "webhook.url_refused")
    assert answer.json()["details"] == "Credentials in the URL are not allowed."
    made = await owner.post("/rpc/create_webhook_endpoint", json={**wish, "p_url": "https://example.com/"})
    where = {"id": f"eq.{made.raise_for_status().json()['id']}"}
    changed = await owner.patch("/webhook_endpoints", params=where, json={"url": "https://example.com:22/"})
    assert (changed.status_code, changed.json()["details"]) == (422, "Port 22 is not allowed.")
