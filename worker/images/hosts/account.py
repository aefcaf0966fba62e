"""What a CLOUDINARY_URL says: `cloudinary://<key>:<secret>@<cloud>[/<distribution>][?option=…]`.

Read as the SDK reads it (`cloudinary.Config`), but into a value of our own: the SDK keeps one
configuration for the whole process, filled from the environment when it is imported.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import SecretStr

from worker.errors import HostUnconfigured

_API: Final = "https://api.cloudinary.com"
_TRUE: Final = {"true": True, "1": True, "false": False, "0": False}


@dataclass(frozen=True, slots=True)
class Account:
    """A Cloudinary product environment and how to reach it.

    `upload_prefix`: the API's address; `secure_distribution`, `private_cdn`, `cname`, `secure`: the
    addresses under which pictures are delivered; `api_proxy`: an HTTP proxy for the API.
    """

    cloud_name: str
    api_key: str
    api_secret: SecretStr
    upload_prefix: str = _API
    secure_distribution: str | None = None
    private_cdn: bool = False
    cname: str | None = None
    secure: bool = True
    signature_algorithm: Literal["sha1", "sha256"] = "sha1"
    api_proxy: str | None = None

    @classmethod
    def from_url(cls, url: SecretStr) -> Account:
        """Raises `HostUnconfigured`, without anything of the URL in its text."""
        parts = urlsplit(url.get_secret_value())
        if parts.scheme != "cloudinary" or not (parts.username and parts.password and parts.hostname):
            raise HostUnconfigured("CLOUDINARY_URL must read cloudinary://<key>:<secret>@<cloud name>")
        options = dict(parse_qsl(parts.query))
        distribution = parts.path.strip("/") or options.get("secure_distribution")
        return cls(
            cloud_name=parts.hostname,
            api_key=parts.username,
            api_secret=SecretStr(parts.password),
            upload_prefix=_prefix(options.get("upload_prefix", _API)),
            secure_distribution=distribution,
            private_cdn=_flag(options, "private_cdn", default=bool(parts.path.strip("/"))),
            cname=options.get("cname"),
            secure=_flag(options, "secure", default=True),
            signature_algorithm=_algorithm(options.get("signature_algorithm", "sha1")),
            api_proxy=options.get("api_proxy"),
        )


def _prefix(url: str) -> str:
    parts = urlsplit(url)
    # the Admin API is asked with the secret itself in a header
    if parts.scheme != "https" and not (parts.scheme == "http" and _is_loopback(parts.hostname or "")):
        raise HostUnconfigured("upload_prefix of CLOUDINARY_URL must begin with https://")
    return url.rstrip("/")


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def _flag(options: dict[str, str], name: str, *, default: bool) -> bool:
    if name not in options:
        return default
    if (value := _TRUE.get(options[name].lower())) is None:
        raise HostUnconfigured(f"{name} of CLOUDINARY_URL must be true or false")
    return value


def _algorithm(name: str) -> Literal["sha1", "sha256"]:
    match name.lower():
        case "sha1":
            return "sha1"
        case "sha256":
            return "sha256"
    raise HostUnconfigured("signature_algorithm of CLOUDINARY_URL must be sha1 or sha256")
