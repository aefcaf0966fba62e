"""What Cloudinary's SDK knows: parameters, signatures, addresses. Pure but for the SDK's clock.

Everything is handed to it in each call; its process-wide configuration is never written nor relied on.
"""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from typing import Any, Final

from cloudinary import utils

from worker.images.hosts import MASTER
from worker.images.hosts.account import Account
from worker.images.picture import DERIVED

# what f_auto turns into for nearly all browsers; asked for ahead, so that no visitor waits for it
_AHEAD: Final = ("avif", "webp")


def upload_request(
    account: Account, public_id: str, *, notification_url: str | None
) -> tuple[str, Mapping[str, str]]:
    """Address and signed fields of an upload that never replaces what is there.

    Derivatives are made in the background (`eager_async`): their URLs work at once, also before that.
    Source: https://cloudinary.com/documentation/image_upload_api_reference#upload
    """
    params = utils.build_upload_params(
        public_id=public_id,
        overwrite="false",
        unique_filename="false",
        use_filename="false",
        # the public id is the whole name, also where an account's preset has folders or display names
        discard_original_filename="true",
        allowed_formats=["webp", "avif", "jpg", "png"],
        eager=[
            {"raw_transformation": _transformation(side, f"f_{kind}"), "format": ""}
            for side in DERIVED.values()
            for kind in _AHEAD
        ],
        eager_async="true",
        notification_url=notification_url,
    )
    # an empty preset would be read from the process-wide configuration
    params.pop("upload_preset", None)
    return _signed(account, "upload", params)


def destroy_request(account: Account, public_id: str) -> tuple[str, Mapping[str, str]]:
    """Address and signed fields of a deletion, also from the CDN.

    Source: https://cloudinary.com/documentation/image_upload_api_reference#destroy
    """
    params = {"public_id": public_id, "invalidate": "true", "type": "upload", "timestamp": utils.now()}
    return _signed(account, "destroy", params)


def admin_url(account: Account, path: str) -> str:
    """An address of the Admin API, which is asked with key and secret as Basic authentication."""
    return f"{account.upload_prefix}/v1_1/{account.cloud_name}/{path}"


def delivery_urls(account: Account, public_id: str, version: int) -> Mapping[str, str]:
    """Rendition name → URL: the format and quality that suit the browser, and a bound on each side."""
    return {
        MASTER: _delivery_url(account, public_id, version, "f_auto,q_auto"),
        **{
            name: _delivery_url(account, public_id, version, _transformation(side, "f_auto"))
            for name, side in DERIVED.items()
        },
    }


def is_signed(account: Account, answer: Mapping[str, Any]) -> bool:
    """Whether an upload's answer carries the signature that only Cloudinary (or we) can make.

    Source: https://cloudinary.com/documentation/response_signatures; the SDK's
    `verify_api_response_signature` does the same with its process-wide secret, and not in constant time.
    """
    given = answer.get("signature")
    if not isinstance(given, str) or not given.isascii():
        return False
    expected: str = utils.api_sign_request(
        {"public_id": answer.get("public_id"), "version": answer.get("version")},
        account.api_secret.get_secret_value(),
        account.signature_algorithm,
        signature_version=1,
    )
    return compare_digest(given, expected)


def _signed(account: Account, action: str, params: Mapping[str, Any]) -> tuple[str, Mapping[str, str]]:
    signed = utils.sign_request(
        params,
        {
            "api_key": account.api_key,
            "api_secret": account.api_secret.get_secret_value(),
            "signature_algorithm": account.signature_algorithm,
            "signature_version": 2,
        },
    )
    url: str = utils.cloudinary_api_url(
        action,
        resource_type="image",
        upload_prefix=account.upload_prefix,
        cloud_name=account.cloud_name,
    )
    return url, {name: str(value) for name, value in signed.items()}


def _transformation(side: int, output: str) -> str:
    return f"c_limit,{output},h_{side},q_auto,w_{side}"


def _delivery_url(account: Account, public_id: str, version: int, transformation: str) -> str:
    url: str
    url, _ = utils.cloudinary_url(
        public_id,
        raw_transformation=transformation,
        version=version,
        cloud_name=account.cloud_name,
        api_secret=account.api_secret.get_secret_value(),
        secure=account.secure,
        secure_distribution=account.secure_distribution,
        private_cdn=account.private_cdn,
        cname=account.cname,
        # named although unused: what is not named here the SDK takes from the environment
        cdn_subdomain=None,
        secure_cdn_subdomain=None,
        force_version=True,
        shorten=False,
        use_root_path=False,
        sign_url=False,
        auth_token=False,
        long_url_signature=False,
        signature_algorithm=account.signature_algorithm,
    )
    return url
