"""Questions of `doctor` to the platform itself, not to our functions."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta

import httpx
from msgspec import DecodeError, Struct, json

from worker.config import Settings
from worker.errors import BadAnswer, Unreachable
from worker.gateway import faults
from worker.gateway.channel import Channel, Doubt
from worker.gateway.realtime import TOPIC
from worker.gateway.uploads import BUCKET

_TIMEOUT = 10.0
_MAX_CHARS = 64 * 1024
_NO_SUCH_SCHEMA = "pms_worker_asks_which_schemas_are_exposed"


async def exposed_schemas(settings: Settings) -> frozenset[str]:
    """The schemas that PostgREST serves, as it lists them when asked for one that is not there.

    Empty when the answer could not be read. Raises `Unreachable`.
    """
    key = settings.supabase_secret_key.get_secret_value()
    headers = {"apikey": key, "Authorization": f"Bearer {key}", "Accept-Profile": _NO_SUCH_SCHEMA}
    try:
        # httpx bounds each wait, not their sum
        async with asyncio.timeout(_TIMEOUT), httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as http:
            _, text = await _head(http, f"{settings.rest_url}/", headers)
    except (httpx.HTTPError, TimeoutError) as error:
        raise Unreachable(f"Supabase could not be reached: {type(error).__name__}: {error}") from None
    # 12: "The schema must be one of the following: public, worker"; later versions say it in the hint
    found = re.search(r"(?:following(?: schemas are exposed)?|exposed): ([a-z0-9_, ]+)", text)
    return frozenset(found.group(1).replace(" ", "").split(",")) if found else frozenset()


async def is_bucket_private(settings: Settings) -> bool:
    """Whether strangers are kept from the bucket of uploads. Raises `GatewayError`."""
    key = settings.supabase_secret_key.get_secret_value()
    url = f"{settings.storage_url}/bucket/{BUCKET}"
    try:
        async with asyncio.timeout(_TIMEOUT), httpx.AsyncClient(timeout=_TIMEOUT, trust_env=False) as http:
            status, text = await _head(http, url, {"apikey": key, "Authorization": f"Bearer {key}"})
    except (httpx.HTTPError, TimeoutError) as error:
        raise Unreachable(f"Storage could not be reached: {type(error).__name__}: {error}") from None
    if status >= 400:
        raise faults.from_storage(status, text.encode())
    try:
        return json.decode(text, type=_Bucket).public is False
    except DecodeError as error:
        raise BadAnswer(
            f"Storage says of {BUCKET} what cannot be read: {error}"[:300], status=status
        ) from None


class _Bucket(Struct):
    public: bool


async def _head(http: httpx.AsyncClient, url: str, headers: dict[str, str]) -> tuple[int, str]:
    """The status, and what is told, at most the head of it."""
    text = ""
    async with http.stream("GET", url, headers=headers) as answer:
        async for chunk in answer.aiter_text():
            text += chunk
            if len(text) > _MAX_CHARS:
                break
    return answer.status_code, text


async def join_realtime(settings: Settings, *, within: timedelta) -> str | None:
    """Joins the worker's topic once; answers None when it worked, else why not."""
    key = settings.supabase_secret_key.get_secret_value()
    try:
        async with asyncio.timeout(within.total_seconds()):
            channel = await Channel.open(settings.realtime_url, key, TOPIC, lambda _: None)
    except TimeoutError:
        return f"no answer within {within.total_seconds():.0f} s"
    except Doubt as doubt:
        return str(doubt)
    try:
        if not await channel.ready(within):
            return f"joined, but within {within.total_seconds():.0f} s it did not say that changes flow"
    except Doubt as doubt:
        return str(doubt)
    finally:
        await channel.close()
    return None
