"""`pms-worker doctor`: looks at everything the worker needs, and says what to do about what is wrong."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Literal

from rich.console import Console
from rich.markup import escape

from worker.cache.store import CacheAway, CacheStore, Facts
from worker.config import Settings, key_role
from worker.errors import GatewayError, HostBusy, HostError, HostRefused, HostUnconfigured
from worker.gateway.client import SupabaseRpc
from worker.gateway.probe import exposed_schemas, is_bucket_private, join_realtime
from worker.gateway.status import SCHEMA_VERSION, Status, read_status
from worker.gateway.vitals import ENOUGH_PARTITIONS, QueueHealth, RpcVitals, dead_line, endpoints_line
from worker.images.hosts.build import probe
from worker.log import redact

Verdict = Literal["ok", "warn", "fail"]
_COLOURS: Final = {"ok": "green", "warn": "yellow", "fail": "red"}
# RFC 7518, 3.2: no shorter than the hash
_SHORTEST_HS256: Final = 32
_SKEW_WARN: Final = timedelta(seconds=5)
# signed requests and webhooks are refused beyond five minutes
_SKEW_FAIL: Final = timedelta(seconds=120)


@dataclass(frozen=True, slots=True)
class Finding:
    """One line: what was looked at, how it is, and what to do."""

    verdict: Verdict
    what: str
    text: str


async def examine(settings: Settings, console: Console | None = None) -> bool:
    """Prints a line for each check to stdout; False when one failed."""
    out = console or Console(highlight=False)
    healthy = True
    async for finding in findings(settings):
        colour = _COLOURS[finding.verdict]
        out.print(
            f"[{colour}]{finding.verdict:4}[/] [bold]{finding.what:12}[/] {escape(redact(finding.text))}",
            soft_wrap=True,
        )
        healthy = healthy and finding.verdict != "fail"
    return healthy


async def findings(settings: Settings) -> AsyncIterator[Finding]:
    """Every check, in the order in which to mend things."""
    yield Finding("ok", "settings", f"{settings.api_url}, as {settings.worker_name}")
    for finding in _keys(settings):
        yield finding
    yield _port(settings)
    yield await _images(settings)
    yield await _redis(settings)
    async for finding in _database(settings):
        yield finding
    yield await _uploads(settings)
    yield await _realtime(settings)


def _keys(settings: Settings) -> list[Finding]:
    found = [Finding("ok", "secret key", f"is a {key_role(settings.supabase_secret_key)} key")]
    public = settings.supabase_publishable_key
    if public is not None and key_role(public) not in ("a publishable key", "anon"):
        found.append(
            Finding(
                "fail",
                "public key",
                f"SUPABASE_PUBLISHABLE_KEY holds {key_role(public)}: never hand that out",
            )
        )
    if settings.pms_jwt_key is None:
        found.append(
            Finding("warn", "JWT key", "PMS_JWT_KEY is not set: the worker cannot act for principals (sync)")
        )
    else:
        found.append(_jwt_key(settings.pms_jwt_key.get_secret_value()))
    return found


def _jwt_key(value: str) -> Finding:
    """What PMS_JWT_KEY is, by its looks; says nothing of the key itself."""
    if not value.lstrip().startswith("{"):
        if len(value) >= _SHORTEST_HS256:
            return Finding("ok", "JWT key", "has the form of a shared secret (HS256)")
        return Finding(
            "fail",
            "JWT key",
            f"PMS_JWT_KEY is neither a JWK (JSON) nor a secret of {_SHORTEST_HS256} characters or more; "
            "copy it anew",
        )
    try:
        jwk = json.loads(value)
    except ValueError:
        return Finding("fail", "JWT key", "PMS_JWT_KEY begins like a JWK, but is not JSON; copy it anew")
    if missing := [name for name in ("kty", "kid") if not jwk.get(name)]:
        return Finding("fail", "JWT key", f"the JWK in PMS_JWT_KEY lacks {' and '.join(missing)}")
    if not (jwk.get("d") or jwk.get("k")):
        return Finding("fail", "JWT key", "PMS_JWT_KEY holds a public key: nothing can be signed with it")
    return Finding("ok", "JWT key", f"is a JWK, kid {jwk['kid']}")


def _port(settings: Settings) -> Finding:
    host, port = settings.worker_http_host, settings.worker_http_port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except (socket.gaierror, TypeError, UnicodeError):  # TypeError: that it cannot be encoded
            text = f"WORKER_HTTP_HOST: {host!r} is neither an address nor a name of a host"
            return Finding("fail", "port", text)
        except OSError as error:
            return Finding(
                "warn",
                "port",
                f"WORKER_HTTP_PORT {port} on {host}: {error.strerror}; fine if a worker runs here already, "
                "else choose another or 0",
            )
    return Finding("ok", "port", f"{port} on {host} is free")


async def _images(settings: Settings) -> Finding:
    """Tries the host itself: a file written, or Cloudinary asked whether key, secret and cloud fit."""
    try:
        text = await probe(settings)
    except (HostUnconfigured, HostRefused) as error:
        return Finding("fail", "images", str(error))
    except HostBusy as error:
        return Finding("warn", "images", f"{error}: nothing to mend, uploads wait until then")
    except HostError as error:
        return Finding("fail", "images", f"{error}; uploads wait until it works again")
    if settings.image_host == "local" and (why := _badly_linked(settings)) is not None:
        return Finding("warn", "images", f"{text}; {why}")
    return Finding("ok", "images", text)


async def _redis(settings: Settings) -> Finding:
    if settings.redis_url is None:
        return Finding("ok", "Redis", "REDIS_URL is not set: the edge adapter reads without a cache")
    async with CacheStore(settings.redis_url) as store:
        try:
            return _redis_facts(await store.facts())
        except CacheAway as error:
            return Finding(
                "fail", "Redis", f"{error}; check REDIS_URL. Adapters read without a cache meanwhile"
            )


def _redis_facts(facts: Facts) -> Finding:
    answers = f"answers, version {facts.version or 'unknown'}"
    if facts.policy is None:
        return Finding(
            "ok", "Redis", f"{answers}; its maxmemory-policy is unknown: see that it is noeviction"
        )
    if facts.policy != "noeviction":
        return Finding(
            "warn",
            "Redis",
            f"{answers}; its maxmemory-policy is {facts.policy}, which may drop nonces, and a request that "
            "was overheard could be played again: set it to noeviction",
        )
    return Finding("ok", "Redis", f"{answers}, evicts nothing")


def _badly_linked(settings: Settings) -> str | None:
    """Why nobody else reaches images under the address that they are given."""
    if settings.worker_image_base_url is not None:
        return None
    if settings.worker_http_port == 0:
        return "WORKER_HTTP_PORT 0 changes with every start: choose one, or set WORKER_IMAGE_BASE_URL"
    if settings.worker_http_host in ("0.0.0.0", "::"):  # noqa: S104
        return "that is no address to reach it at: set WORKER_IMAGE_BASE_URL to what browsers use"
    return None


async def _database(settings: Settings) -> AsyncIterator[Finding]:
    try:
        exposed = await exposed_schemas(settings)
        if exposed and (missing := {"public", "worker"} - exposed):
            yield Finding(
                "fail",
                "API schemas",
                f"not exposed: {', '.join(sorted(missing))}; run `supabase config push`, "
                'with [api] schemas = ["public", "graphql_public", "worker"]',
            )
        elif exposed:
            yield Finding("ok", "API schemas", ", ".join(sorted(exposed)))
        async with SupabaseRpc(settings) as rpc:
            asked = datetime.now(UTC)
            status = await read_status(rpc)
            heard = datetime.now(UTC)
            health = await RpcVitals(rpc).look()
    except GatewayError as error:
        yield Finding("fail", "database", str(error))
        return
    for finding in (*_state(status), *health_findings(health)):
        yield finding
    if status.private_hosts and not settings.worker_allow_private_hosts:
        yield Finding(
            "warn",
            "webhooks",
            "the database takes endpoints in private networks, and this worker blocks them; "
            "set allow_private_hosts of private.webhook_policy to false, "
            "or in development WORKER_ALLOW_PRIVATE_HOSTS",
        )
    yield _clock(status.now - (asked + (heard - asked) / 2))


def _state(status: Status) -> list[Finding]:
    found = [_schema(status.schema_version)]
    if status.secrets == "vault":
        found.append(Finding("ok", "secrets", "in the vault"))
    else:
        found.append(
            Finding(
                "warn", "secrets", "in a plain table; enable the extension supabase_vault to encrypt them"
            )
        )
    if status.jobs.buried:
        found.append(Finding("warn", "jobs", f"{status.jobs.buried} are buried and wait for a person"))
    return found


def health_findings(health: QueueHealth) -> list[Finding]:
    """What there is to say of partitions, vacuum, endpoints and events."""
    ahead = health.partitions_ahead_days
    verdict: Verdict = "ok" if ahead >= ENOUGH_PARTITIONS else "warn" if ahead >= 1 else "fail"
    advice = "" if verdict == "ok" else "; let a worker run: its upkeep makes them"
    made = f"made {ahead} days ahead" if ahead >= 0 else "today's is missing"
    return [
        Finding(
            verdict, "partitions", f"{made}, the oldest is of {health.oldest_partition_days} days ago{advice}"
        ),
        _vacuum(health),
        Finding("warn" if health.endpoints_failing else "ok", "endpoints", endpoints_line(health)),
        *(
            [
                Finding(
                    "warn",
                    "events",
                    f"{health.invalid_events:,} are kept from webhooks: see private.invalid_events",
                )
            ]
            if health.invalid_events
            else []
        ),
    ]


def _vacuum(health: QueueHealth) -> Finding:
    holder, dead = health.xmin, dead_line(health)
    if holder is not None and holder.long:
        advice = {
            "session": "end it with pg_terminate_backend",
            "slot": "drop the slot if nobody reads it",
            "prepared": "commit or roll it back",
        }[holder.kind]
        return Finding("warn", "vacuum", f"is held back by {holder}; {advice}. {dead}")
    if bloated := [name for name, table in health.tables.items() if table.bloated]:
        return Finding("warn", "vacuum", f"is behind in {', '.join(sorted(bloated))}. {dead}")
    return Finding("ok", "vacuum", f"is held back by {holder}. {dead}" if holder else dead)


def _schema(version: int) -> Finding:
    if version < SCHEMA_VERSION:
        return Finding(
            "fail", "schema", f"version {version}, needed is {SCHEMA_VERSION}: run `supabase db push`"
        )
    if version > SCHEMA_VERSION:
        return Finding("warn", "schema", f"version {version} is newer than this worker: upgrade the worker")
    return Finding("ok", "schema", f"version {version}")


def _clock(skew: timedelta) -> Finding:
    off = abs(skew)
    verdict: Verdict = "ok" if off < _SKEW_WARN else "warn" if off < _SKEW_FAIL else "fail"
    advice = "" if verdict == "ok" else "; set this machine's clock (NTP)"
    return Finding(verdict, "clock", f"{off.total_seconds():.1f} s from the database's{advice}")


async def _uploads(settings: Settings) -> Finding:
    """Images that are given by URL need no Storage, so a missing bucket is a warning."""
    try:
        if await is_bucket_private(settings):
            return Finding("ok", "uploads", "go to the private bucket product-images")
    except GatewayError as error:
        return Finding("warn", "uploads", f"images can be given by URL only: {error}")
    return Finding(
        "fail",
        "uploads",
        "everybody can read the bucket product-images; set public of storage.buckets to false",
    )


async def _realtime(settings: Settings) -> Finding:
    if settings.worker_realtime == "off":
        return Finding("warn", "Realtime", f"is off: work is found within {settings.worker_poll_seconds:g} s")
    why_not = await join_realtime(settings, within=timedelta(seconds=15))
    if why_not is None:
        return Finding("ok", "Realtime", "joined the private topic worker")
    return Finding(
        "fail", "Realtime", f"{why_not}; check that Realtime is enabled and SUPABASE_URL reaches it"
    )
