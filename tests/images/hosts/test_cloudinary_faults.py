"""Cloudinary's faults, each of them real on the wire, and what becomes of them."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path

import pytest
from pydantic import SecretStr

from tests.eventually import eventually
from tests.images.hosts.cloudinary_double import KEY, SECRET, CloudinaryDouble, Fault, Stored, rate_limited
from tests.images.hosts.pictures import public_id, renditions
from worker.engine.retry import describe
from worker.errors import HostBusy, HostError, HostFailing, HostRefused, HostUnconfigured, HostUnreachable
from worker.images.hosts.account import Account
from worker.images.hosts.cloudinary import CloudinaryHost, cloudinary_host
from worker.images.hosts.transport import Limits

SHORT = Limits(upload=timedelta(seconds=0.5), call=timedelta(seconds=0.5))
NAME = public_id("a boot")


@pytest.fixture
async def host(double: CloudinaryDouble) -> AsyncIterator[CloudinaryHost]:
    async with cloudinary_host(Account.from_url(SecretStr(double.url)), limits=SHORT) as opened:
        yield opened


# what broke before or after the upload took effect
_BROKEN = [
    (Fault("status", 420), HostBusy),
    (Fault("status", 423), HostBusy),
    (Fault("status", 429), HostBusy),
    (Fault("status", 500), HostFailing),
    (Fault("status", 503), HostFailing),
    (Fault("hang"), HostUnreachable),
    (Fault("redirect", location="/elsewhere"), HostFailing),
    (Fault("reset"), HostUnreachable),
    (Fault("lost"), HostUnreachable),
    (Fault("drip"), HostUnreachable),
    (Fault("huge"), HostFailing),
    (Fault("garbage"), HostFailing),
    (Fault("forged"), HostFailing),
    (Fault("altered"), HostFailing),
]


@pytest.mark.parametrize(("fault", "kind"), _BROKEN, ids=[f"{f.kind}-{f.status}" for f, _ in _BROKEN])
async def test_after_a_fault_the_next_try_ends_with_one_object(
    host: CloudinaryHost, double: CloudinaryDouble, tmp_path: Path, fault: Fault, kind: type[HostError]
) -> None:
    double.faults = [fault]
    made = renditions(tmp_path, "a boot")
    began = time.monotonic()
    with pytest.raises(kind) as told:
        await host.store(NAME, made)
    assert type(told.value) is kind
    assert time.monotonic() - began < 2, "a fault is bounded in time"
    urls = await host.store(NAME, made)
    assert list(double.objects) == [NAME]
    assert double.objects[NAME].content == made[0].path.read_bytes()
    assert set(urls) == {"master", "thumbnail", "card", "zoom"}


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (Fault("status", 400, "Invalid image file"), HostRefused),
        (Fault("status", 404, "Resource not found"), HostRefused),
        (Fault("status", 401, "Invalid Signature"), HostUnconfigured),
        (Fault("status", 403, "disabled"), HostUnconfigured),
        (Fault("renamed"), HostUnconfigured),
    ],
)
async def test_what_will_not_change_by_itself_is_told_apart(
    host: CloudinaryHost, double: CloudinaryDouble, tmp_path: Path, fault: Fault, kind: type[HostError]
) -> None:
    double.faults = [fault]
    with pytest.raises(kind):
        await host.store(NAME, renditions(tmp_path, "a boot"))


async def test_a_picture_that_is_none_is_refused_in_their_words(host: CloudinaryHost, tmp_path: Path) -> None:
    made = renditions(tmp_path, "a boot")
    made[0].path.write_text("<svg onload=alert(1)>")
    with pytest.raises(HostRefused, match="Invalid image file"):
        await host.store(NAME, made)


async def test_other_bytes_than_sent_do_not_stay(
    host: CloudinaryHost, double: CloudinaryDouble, tmp_path: Path
) -> None:
    double.faults = [Fault("altered")]
    with pytest.raises(HostFailing, match="other bytes"):
        await host.store(NAME, renditions(tmp_path, "a boot"))
    assert double.objects == {}


_CALLS = [each for each in _BROKEN if each[0].kind not in ("drip", "forged", "altered")]


@pytest.mark.parametrize(("fault", "kind"), _CALLS, ids=[f"{f.kind}-{f.status}" for f, _ in _CALLS])
@pytest.mark.parametrize("call", ["delete", "listing", "ping"])
async def test_every_call_tells_the_same_faults(
    host: CloudinaryHost, double: CloudinaryDouble, fault: Fault, kind: type[HostError], call: str
) -> None:
    double.faults = [fault, fault]  # a broken-off GET is asked once more by the client
    calls = {
        "delete": lambda: host.delete(NAME),
        "listing": lambda: host.listing(None, 500),
        "ping": host.ping,
    }
    with pytest.raises(kind):
        await calls[call]()
    double.faults = []
    await calls[call]()
    assert not [each for each in double.calls if each[0] == "elsewhere"], "no redirect is followed"


async def test_a_page_that_drips_is_bounded(host: CloudinaryHost, double: CloudinaryDouble) -> None:
    double.objects[public_id("a mug")] = _stored()
    double.faults = [Fault("drip"), Fault("drip")]
    with pytest.raises(HostUnreachable, match=r"within 0\.5 s"):
        await host.listing(None, 500)


async def test_the_wait_that_the_admin_api_names_is_handed_on(
    host: CloudinaryHost, double: CloudinaryDouble
) -> None:
    double.faults = [rate_limited(resets_in=timedelta(minutes=20))]
    with pytest.raises(HostBusy) as told:
        await host.listing(None, 10)
    assert told.value.retry_after is not None
    assert timedelta(minutes=19) < told.value.retry_after <= timedelta(minutes=20)
    assert len(double.calls) == 1, "nobody sleeps and asks again behind our back"


async def test_many_at_once_and_a_cancelled_one_leave_no_slot_taken(
    host: CloudinaryHost, double: CloudinaryDouble, tmp_path: Path
) -> None:
    double.faults = [Fault("hang")] * 8
    made = renditions(tmp_path, "a boot")
    tasks = [asyncio.create_task(host.store(public_id(str(n)), made)) for n in range(8)]
    await eventually(lambda: len(double.calls) == 8)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await asyncio.gather(*(host.store(public_id(f"again {n}"), made) for n in range(12)))
    assert len(double.objects) == 12


async def test_nobody_listens() -> None:
    url = f"cloudinary://{KEY}:{SECRET}@double?upload_prefix=http://127.0.0.1:9"
    async with cloudinary_host(Account.from_url(SecretStr(url)), limits=SHORT) as host:
        with pytest.raises(HostUnreachable) as told:
            await host.ping()
    assert SECRET not in str(told.value)


async def test_a_wrong_secret_is_a_matter_of_settings(double: CloudinaryDouble, tmp_path: Path) -> None:
    url = SecretStr(double.url.replace(SECRET, "a-wrong-secret"))
    async with cloudinary_host(Account.from_url(url)) as host:
        for call in (host.store(NAME, renditions(tmp_path, "a boot")), host.delete(NAME), host.ping()):
            with pytest.raises(HostUnconfigured, match="check CLOUDINARY_URL"):
                await call


async def test_a_clock_that_is_wrong_is_a_matter_of_this_machine(
    host: CloudinaryHost, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("cloudinary.utils.now", lambda: "1700000000")
    with pytest.raises(HostUnconfigured, match="clock"):
        await host.store(NAME, renditions(tmp_path, "a boot"))


@pytest.mark.parametrize(
    "fault", [each for each, _ in _BROKEN], ids=[f"{f.kind}-{f.status}" for f, _ in _BROKEN]
)
async def test_the_secret_is_never_told(
    host: CloudinaryHost,
    double: CloudinaryDouble,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    fault: Fault,
) -> None:
    caplog.set_level(logging.DEBUG)
    double.faults = [fault]
    with pytest.raises(HostError) as told:
        await host.store(NAME, renditions(tmp_path, "a boot"))
    said = [describe(told.value), repr(told.value), repr(host), repr(host.account), caplog.text]
    assert not [each for each in said if SECRET in each]


async def test_pictures_of_others_are_never_listed(double: CloudinaryDouble, host: CloudinaryHost) -> None:
    ours = public_id("ours")
    for name in ("sample", "holiday/cat", f"staging/{public_id('theirs')}", ours):
        double.objects[name] = _stored()
    assert list((await host.listing(None, 100)).public_ids) == [ours]
    async with cloudinary_host(Account.from_url(SecretStr(double.url)), prefix="staging/") as staging:
        assert list((await staging.listing(None, 100)).public_ids) == [_id_below(double, "staging/")]


async def test_a_deletion_also_clears_the_cdn(host: CloudinaryHost, double: CloudinaryDouble) -> None:
    await host.delete(NAME)
    assert double.invalidated == [NAME]


async def test_an_upload_replaces_nothing_and_asks_for_derivatives(
    host: CloudinaryHost, double: CloudinaryDouble, tmp_path: Path
) -> None:
    urls = await host.store(NAME, renditions(tmp_path, "a boot"))
    (_, fields) = double.calls[0]
    assert fields["overwrite"] == fields["unique_filename"] == "false"
    assert fields["eager_async"] == "true"
    # a URL of f_auto becomes one of these; else each would be made while the first visitor waits
    for name in ("thumbnail", "card", "zoom"):
        transformation = urls[name].split("/upload/")[1].split("/v")[0]
        for kind in ("f_avif", "f_webp"):
            assert transformation.replace("f_auto", kind) + "/" in fields["eager"].split("|")


def _stored() -> Stored:
    return Stored(b"", 1, "")


def _id_below(double: CloudinaryDouble, prefix: str) -> str:
    return next(each.removeprefix(prefix) for each in double.objects if each.startswith(prefix))
