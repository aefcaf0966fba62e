"""What the worker keeps in Redis for the edge adapter: how far each tenant's log is told, the last change of
each tag and API key, and that somebody is telling. The only importer of redis.

A place is `<epoch>:<seq>`. Every key has an end, and every call a time limit.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from types import TracebackType
from typing import Any, Final

from pydantic import SecretStr
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError, ResponseError

from worker.errors import WorkerError

ALIVE: Final = "pms:cache:alive"
TAGS: Final = ("products", "stock", "orders")
KEPT: Final = timedelta(days=2)
"""Longer than any entry, which lives 11 minutes: what is younger than a tag that went is newer than it."""
TIME_LIMIT: Final = timedelta(seconds=2)

# KEYS: through, then what is raised. ARGV: through as it was read, epoch, seq, milliseconds to keep them, and
# for each of the others its seq, or 0 to keep it only. Answers 0 when through is another by now: what was
# asked of the log is not all of it then.
_RAISE: Final = """
local through = redis.call('GET', KEYS[1]) or ''
-- what is no place, written by whom ever, is as good as nothing, here as in through()
if not (string.match(through, ':0$') or string.match(through, ':[1-9]%d*$')) then through = '' end
if through ~= ARGV[1] then return 0 end
for n = 2, #KEYS do
  local seq = tonumber(ARGV[n + 3])
  local epoch, had = string.match(redis.call('GET', KEYS[n]) or '', '^(.*):(%d+)$')
  if seq > 0 and (epoch ~= ARGV[2] or tonumber(had) < seq) then
    redis.call('SET', KEYS[n], ARGV[2] .. ':' .. ARGV[n + 3], 'PX', ARGV[4])
  else
    redis.call('PEXPIRE', KEYS[n], ARGV[4])
  end
end
redis.call('SET', KEYS[1], ARGV[2] .. ':' .. ARGV[3], 'PX', ARGV[4])
return 1
"""


_PLACE: Final = re.compile(r"(.*):(0|[1-9][0-9]*)", re.DOTALL)


class CacheAway(WorkerError):
    """Redis does not answer, or not what it should."""


class CacheRefused(CacheAway):
    """Redis answers, and does not do what was asked."""


@dataclass(frozen=True, slots=True)
class Facts:
    """What a Redis says of itself; None where it does not say."""

    version: str | None
    policy: str | None
    """Its maxmemory-policy."""


@dataclass(frozen=True, slots=True)
class Place:
    """A number of a tenant's log, in the epoch in which it means something."""

    epoch: str
    seq: int

    def __str__(self) -> str:
        return f"{self.epoch}:{self.seq}"


class CacheStore:
    """All methods raise `CacheAway`, after `time_limit` at the latest."""

    def __init__(self, url: SecretStr, *, time_limit: timedelta = TIME_LIMIT) -> None:
        """`url` is redis:// or rediss://; nothing is connected yet."""
        seconds = time_limit.total_seconds()
        self._limit = seconds
        self._redis: Redis = Redis.from_url(
            url.get_secret_value(),
            socket_timeout=seconds,
            socket_connect_timeout=seconds,
            retry=Retry(NoBackoff(), 1),  # once, for a connection that a restart closed
            retry_on_error=[ConnectionError],
            max_connections=8,
            decode_responses=True,
        )

    async def __aenter__(self) -> CacheStore:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._redis.aclose()

    async def facts(self) -> Facts:
        """Asked of INFO, which hosted servers answer where they refuse CONFIG."""
        try:
            told = await self._run("INFO")
        except CacheRefused:
            await self._run("PING")
            told = {}
        said = {name: str(told[name]) for name in ("redis_version", "maxmemory_policy") if name in told}
        return Facts(said.get("redis_version"), said.get("maxmemory_policy"))

    async def alive(self) -> str | None:
        """Who says that it tells what changes; None when nobody does."""
        name = await self._run("GET", ALIVE)
        return None if name is None else str(name)

    async def beat(self, name: str, *, lasting: timedelta) -> None:
        """Says that `name` tells what changes, for so long."""
        await self._run("SET", ALIVE, name, "PX", int(lasting.total_seconds() * 1000))

    async def through(self, tenant_id: str) -> Place | None:
        """How far the tenant's log is told; None when Redis does not know (any more)."""
        place = _PLACE.fullmatch(str(await self._run("GET", _through(tenant_id)) or ""))
        return None if place is None else Place(place[1], int(place[2]))

    async def tell(
        self,
        tenant_id: str,
        was: Place | None,
        now: Place,
        *,
        tags: Mapping[str, int],
        keys: Mapping[str, int],
    ) -> bool:
        """Raises tags and API keys to their last changes, never back within an epoch, and `through` to `now`.

        All at once, and only while `through` is what it `was`: False when a twin told more meanwhile, or
        Redis was emptied.
        """
        raised = {f"pms:{{{tenant_id}}}:tag:{tag}": tags.get(tag, 0) for tag in TAGS}
        raised |= {f"pms:key:{api_key_id}": seq for api_key_id, seq in keys.items()}
        names = [_through(tenant_id), *raised]
        life = int(KEPT.total_seconds() * 1000)
        words: list[str | int] = ["" if was is None else str(was), now.epoch, now.seq, life]
        return bool(await self._run("EVAL", _RAISE, len(names), *names, *words, *raised.values()) == 1)

    async def _run(self, *command: str | int) -> Any:
        try:
            async with asyncio.timeout(self._limit):
                return await self._redis.execute_command(*command)  # type: ignore[no-untyped-call]  # has none
        except ResponseError as error:
            raise CacheRefused(f"Redis: {error}") from None
        except (RedisError, OSError, TimeoutError) as error:
            raise CacheAway(f"Redis: {error or 'no answer in time'}") from None


def _through(tenant_id: str) -> str:
    return f"pms:{{{tenant_id}}}:through"
