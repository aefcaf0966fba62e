"""What a CLOUDINARY_URL may say, beside how the SDK reads it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import cloudinary
import pytest
from cloudinary.utils import cloudinary_url
from pydantic import SecretStr

from tests.images.hosts.pictures import public_id
from worker.errors import HostUnconfigured
from worker.images.hosts import sdk
from worker.images.hosts.account import Account

NAME = public_id("a boot")


def account(url: str) -> Account:
    return Account.from_url(SecretStr(url))


class _FromUrl(cloudinary.Config):  # type: ignore[misc]  # the SDK brings no types
    """The SDK's configuration of one URL, not of the environment."""

    def __init__(self, url: str) -> None:
        self._url = url
        super().__init__()

    def _load_config_from_env(self) -> None:
        self._load_from_url(self._url)


@pytest.mark.parametrize(
    "url",
    [
        "cloudinary://key:hunter2@cloud",
        "cloudinary://key:hunter2@cloud/images.example.com",
        "cloudinary://key:hunter2@cloud?upload_prefix=https://api-eu.cloudinary.com",
        "cloudinary://key:hunter2@cloud?secure_distribution=images.example.com&private_cdn=true",
        "cloudinary://key:hunter2@cloud?signature_algorithm=sha256",
        "cloudinary://key:hunter2@cloud?api_proxy=http://proxy.example:3128",
    ],
)
def test_it_is_read_as_the_sdk_reads_it(url: str) -> None:
    ours, theirs = account(url), _FromUrl(url)
    assert (ours.cloud_name, ours.api_key) == (theirs.cloud_name, theirs.api_key)
    assert ours.api_secret.get_secret_value() == theirs.api_secret
    assert ours.upload_prefix == (theirs.upload_prefix or "https://api.cloudinary.com")
    assert ours.secure_distribution == theirs.secure_distribution
    assert ours.private_cdn == bool(theirs.private_cdn)
    assert ours.signature_algorithm == theirs.signature_algorithm
    assert ours.api_proxy == theirs.api_proxy
    expected, _ = cloudinary_url(
        NAME,
        version=7,
        raw_transformation="f_auto,q_auto",
        secure=True,
        cloud_name=theirs.cloud_name,
        secure_distribution=theirs.secure_distribution,
        private_cdn=theirs.private_cdn,
    )
    assert sdk.delivery_urls(ours, NAME, 7)["master"] == expected


@pytest.mark.parametrize(
    ("url", "master"),
    [
        ("cloudinary://k:s@shop", "https://res.cloudinary.com/shop/image/upload/"),
        ("cloudinary://k:s@shop?private_cdn=true", "https://shop-res.cloudinary.com/image/upload/"),
        ("cloudinary://k:s@shop/img.example.com", "https://img.example.com/image/upload/"),
        ("cloudinary://k:s@shop?secure=false&cname=127.0.0.1:9", "http://127.0.0.1:9/shop/image/upload/"),
    ],
)
def test_where_pictures_are_delivered(url: str, master: str) -> None:
    assert sdk.delivery_urls(account(url), NAME, 7)["master"] == f"{master}f_auto,q_auto/v7/{NAME}"


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("https://key:hunter2@cloud", "must read"),
        ("cloudinary://key@cloud", "must read"),
        ("cloudinary://key:hunter2@", "must read"),
        ("cloudinary://key:hunter2@cloud?upload_prefix=http://api.example.com", "https://"),
        ("cloudinary://key:hunter2@cloud?upload_prefix=ftp://127.0.0.1", "https://"),
        ("cloudinary://key:hunter2@cloud?private_cdn=perhaps", "true or false"),
        ("cloudinary://key:hunter2@cloud?signature_algorithm=md5", "sha1 or sha256"),
    ],
)
def test_what_it_may_not_say(url: str, said: str) -> None:
    with pytest.raises(HostUnconfigured, match=said) as told:
        account(url)
    assert "hunter2" not in str(told.value)


def test_the_secret_is_shown_to_nobody() -> None:
    assert "hunter2" not in repr(account("cloudinary://key:hunter2@cloud"))


_OF_ANOTHER = (
    "cloudinary://other:other@other?private_cdn=true&secure_distribution=other.example&sign_url=true"
)
_ASK = f"""
from pydantic import SecretStr
from worker.images.hosts import sdk
from worker.images.hosts.account import Account
sdk.utils.now = lambda: "1"
account = Account.from_url(SecretStr("cloudinary://k:s@shop"))
print(sdk.upload_request(account, "{NAME}", notification_url=None))
print(sdk.destroy_request(account, "{NAME}"))
print(sdk.delivery_urls(account, "{NAME}", 7))
print(sdk.is_signed(account, {{"public_id": "x", "version": 1, "signature": "y"}}))
"""


def test_nothing_is_taken_from_the_environment() -> None:
    def asked(**environment: str) -> str:
        root = str(Path(__file__).parents[3])
        return subprocess.run(
            [sys.executable, "-c", _ASK],
            env={"PATH": os.environ["PATH"], "PYTHONPATH": root, **environment},
            capture_output=True,
            text=True,
            check=True,
            timeout=60,
        ).stdout

    alone = asked()
    assert "shop" in alone
    assert asked(CLOUDINARY_URL=_OF_ANOTHER) == alone
    assert (
        asked(CLOUDINARY_CLOUD_NAME="other", CLOUDINARY_SECURE="false", CLOUDINARY_UPLOAD_PRESET="p") == alone
    )
