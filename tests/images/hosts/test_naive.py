"""What the suite would say of simpler ways: each of them fails a check that the host passes."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from cloudinary import api, uploader
from cloudinary.api_client import call_api
from cloudinary.exceptions import Error, GeneralError
from pydantic import SecretStr

from tests.images.hosts.cloudinary_double import CLOUD, KEY, SECRET, CloudinaryDouble, Fault
from tests.images.hosts.pictures import public_id, renditions
from worker.errors import HostError
from worker.images.hosts.account import Account
from worker.images.hosts.cloudinary import cloudinary_host

Store = Callable[[], Awaitable[Any]]
NAME = public_id("a boot")


@pytest.fixture(autouse=True)
def _no_connection_is_left() -> Iterator[None]:
    yield
    for pool in (uploader._http, call_api._http):
        pool.clear()


def _account(double: CloudinaryDouble) -> dict[str, str]:
    return {"cloud_name": CLOUD, "api_key": KEY, "api_secret": SECRET, "upload_prefix": double.origin}


async def _try_twice(store: Store, broken: type[Exception]) -> None:
    """As a job does that was told nothing of what became of its upload."""
    with pytest.raises(broken):
        await store()
    await store()


async def test_a_lost_answer_makes_no_second_object(double: CloudinaryDouble, tmp_path: Path) -> None:
    made = renditions(tmp_path, "a boot")
    async with cloudinary_host(Account.from_url(SecretStr(double.url))) as host:
        double.faults = [Fault("lost")]
        await _try_twice(lambda: host.store(NAME, made), HostError)
    assert len(double.objects) == 1


async def test_an_upload_without_an_id_of_ours_makes_two(double: CloudinaryDouble, tmp_path: Path) -> None:
    made = renditions(tmp_path, "a boot")
    double.faults = [Fault("lost")]

    async def naive() -> None:
        await asyncio.to_thread(uploader.upload, str(made[0].path), timeout=5, **_account(double))

    await _try_twice(naive, Error)
    assert len(double.objects) == 2


async def test_an_upload_that_overwrites_changes_what_is_served(
    double: CloudinaryDouble, tmp_path: Path
) -> None:
    for seed in ("a boot", "a boot, encoded anew"):
        (made,) = renditions(tmp_path, seed)
        await asyncio.to_thread(
            uploader.upload, str(made.path), public_id=NAME, timeout=5, **_account(double)
        )
    assert double.objects[NAME].content == made.path.read_bytes()


async def test_the_sdk_alone_is_not_bounded_by_its_timeout(double: CloudinaryDouble, tmp_path: Path) -> None:
    (made,) = renditions(tmp_path, "a boot")
    double.faults = [Fault("drip")]
    began = time.monotonic()
    await asyncio.to_thread(uploader.upload, str(made.path), timeout=0.5, **_account(double))
    assert time.monotonic() - began > 1


async def test_the_sdk_alone_sleeps_in_its_thread_as_long_as_it_is_told(double: CloudinaryDouble) -> None:
    double.faults = [Fault("status", 429, headers={"Retry-After": "1"})]
    began = time.monotonic()
    await asyncio.to_thread(api.ping, timeout=0.2, **_account(double))
    assert time.monotonic() - began > 1
    assert len(double.calls) == 2


async def test_the_sdk_alone_loses_the_status(double: CloudinaryDouble, tmp_path: Path) -> None:
    (made,) = renditions(tmp_path, "a boot")
    double.faults = [Fault("status", 423, "Image is being processed", {"Retry-After": "9"})]
    with pytest.raises(Error) as told:
        await asyncio.to_thread(uploader.upload, str(made.path), timeout=5, **_account(double))
    assert type(told.value) is Error
    assert vars(told.value) == {}
    assert "423" not in str(told.value)


async def test_the_sdk_alone_believes_a_forged_answer(double: CloudinaryDouble, tmp_path: Path) -> None:
    (made,) = renditions(tmp_path, "a boot")
    double.faults = [Fault("forged")]
    await asyncio.to_thread(uploader.upload, str(made.path), timeout=5, **_account(double))


async def test_the_sdk_alone_follows_a_redirect(double: CloudinaryDouble) -> None:
    double.faults = [Fault("redirect", location="/elsewhere")]
    await asyncio.to_thread(api.ping, timeout=5, **_account(double))
    (elsewhere,) = [seen for what, seen in double.calls if what == "elsewhere"]
    assert elsewhere["authorization"].startswith("Basic ")


async def test_the_sdk_alone_puts_a_whole_answer_into_its_error(double: CloudinaryDouble) -> None:
    double.faults = [Fault("garbage")]
    with pytest.raises(GeneralError, match="Bad gateway, politely"):
        await asyncio.to_thread(api.ping, timeout=5, **_account(double))
