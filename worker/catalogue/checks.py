"""The rules for single values, as the database has them, so that a refusal can name its line and column.

Every function answers the value or raises `BadValue` with the reason. The database checks again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final

MAX_NAME: Final = 500
MAX_SKU: Final = 100
MAX_TEXT_BYTES: Final = 64 * 1024
MAX_ATTRIBUTES_BYTES: Final = 64 * 1024
MAX_URL: Final = 2048
MAX_ALT_TEXT: Final = 1000
MAX_QUANTITY: Final = 1_000_000_000

# ISO 4217 minor units that are not 2
_MINOR_UNITS: Final = {
    **dict.fromkeys(("BIF", "CLP", "DJF", "GNF", "ISK", "JPY", "KMF", "KRW", "PYG", "RWF", "UGX"), 0),
    **dict.fromkeys(("UYI", "VND", "VUV", "XAF", "XOF", "XPF"), 0),
    **dict.fromkeys(("BHD", "IQD", "JOD", "KWD", "LYD", "OMR", "TND"), 3),
    **dict.fromkeys(("CLF", "UYW"), 4),
}
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f]")
_PRICE: Final = re.compile(r"[0-9]{1,14}(\.[0-9]{1,20})?")
_URL: Final = re.compile(r"https?://[^\s/\\]+(/\S*|\?\S*)?", re.IGNORECASE)


class BadValue(ValueError):
    """A value that is refused; the message is for the person who wrote the file."""


def shown(text: str, limit: int = 40) -> str:
    """`text` as it may stand in a message: quoted, cut, and harmless to a terminal."""
    return ascii_safe(text if len(text) <= limit else text[: limit - 1] + "…")


def ascii_safe(text: str) -> str:
    """`text` in quotes with everything unprintable escaped."""
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text) + '"'


def minor_units(currency: str) -> int:
    """How many decimals an amount in `currency` may have (ISO 4217)."""
    return _MINOR_UNITS.get(currency, 2)


def currency(text: str) -> str:
    """A currency's three letters."""
    code = text.strip().upper()
    if not re.fullmatch(r"[A-Z]{3}", code):
        raise BadValue(f"{shown(text)} is not a currency: three letters, such as USD")
    return code


def plain(text: str) -> str:
    """Text of any cell: no control characters but tabs and line breaks, at most 64 KiB."""
    if found := _CONTROL.search(text):
        raise BadValue(f"contains the control character U+{ord(found[0]):04X}")
    if len(text) > MAX_TEXT_BYTES or len(text.encode()) > MAX_TEXT_BYTES:
        raise BadValue(f"is longer than {MAX_TEXT_BYTES:,} bytes")
    return text


def name(text: str) -> str:
    """A product's name: 1 to 500 characters on one line."""
    text = text.strip()
    if not text:
        raise BadValue("is empty")
    if len(text) > MAX_NAME:
        raise BadValue(f"has {len(text):,} characters; at most {MAX_NAME} are allowed")
    return _one_line(text)


def sku(text: str) -> str:
    """A stock keeping unit: 1 to 100 characters on one line."""
    text = text.strip()
    if not text:
        raise BadValue("is empty")
    if len(text) > MAX_SKU:
        raise BadValue(f"has {len(text):,} characters; at most {MAX_SKU} are allowed")
    return _one_line(text)


def price(text: str, currency: str) -> Decimal:
    """An exact amount, zero or more, with no more decimals than `currency` has."""
    text = text.strip()
    if not _PRICE.fullmatch(text):
        raise BadValue(f"{shown(text)} is not a price: digits with a point before the cents, such as 12.50")
    amount = Decimal(text)
    exponent = amount.normalize().as_tuple().exponent
    if isinstance(exponent, int) and -exponent > minor_units(currency):
        raise BadValue(f"{shown(text)} has more decimals than {currency} has ({minor_units(currency)})")
    return amount


def quantity(text: str) -> int | None:
    """A whole number of pieces, zero or more; None when the text is empty."""
    text = text.strip()
    if not text:
        return None
    if not re.fullmatch(r"-?[0-9]{1,18}(\.[0-9]+)?", text):
        raise BadValue(f"{shown(text)} is not a whole number")
    if text.startswith("-"):
        raise BadValue(f"{shown(text)} is negative; what is owed to customers is not stock")
    if "." in text:
        raise BadValue(f"{shown(text)} is a fraction; stock is counted in whole pieces")
    if int(text) > MAX_QUANTITY:
        raise BadValue(f"{shown(text)} is more than {MAX_QUANTITY:,}")
    return int(text)


def image_url(text: str) -> str:
    """An http or https address of at most 2,048 characters."""
    text = text.strip()
    if len(text) > MAX_URL:
        raise BadValue(f"has {len(text):,} characters; at most {MAX_URL:,} are allowed")
    if not _URL.fullmatch(text):
        raise BadValue(f"{shown(text)} is not an http or https address")
    return text


def position(text: str) -> int | None:
    """An image's position, from 1; None when the text is empty."""
    text = text.strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,6}", text) or int(text) < 1:
        raise BadValue(f"{shown(text)} is not a position: 1, 2, 3, …")
    return int(text)


def alt_text(text: str) -> str | None:
    """An image's description; None when the text is empty."""
    if len(text) > MAX_ALT_TEXT:
        raise BadValue(f"has {len(text):,} characters; at most {MAX_ALT_TEXT:,} are allowed")
    return text or None


def attributes(value: Mapping[str, Any]) -> Mapping[str, Any]:
    """A product's attributes: an object of at most 64 KiB as JSON text, of values that jsonb holds."""
    if _holds_nul(value):
        raise BadValue("contains the control character U+0000")
    try:
        json.dumps(value, allow_nan=False)
    except ValueError:
        raise BadValue("contains a number that is too large") from None
    size = len(json.dumps(value, ensure_ascii=False).encode())
    if size > MAX_ATTRIBUTES_BYTES:
        raise BadValue(f"the product's other cells take {size:,} bytes; at most {MAX_ATTRIBUTES_BYTES:,} fit")
    return value


def location_code(text: str) -> str:
    """A location's code: up to 50 letters, digits, dots, hyphens and underscores."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,49}", text):
        raise BadValue(f"{shown(text)} is not a location's code: letters, digits, dots, hyphens, underscores")
    return text


def _holds_nul(value: object) -> bool:
    if isinstance(value, str):
        return "\x00" in value
    if isinstance(value, Mapping):
        return any(map(_holds_nul, value)) or any(map(_holds_nul, value.values()))
    return isinstance(value, list | tuple) and any(map(_holds_nul, value))


def _one_line(text: str) -> str:
    if found := re.search(r"[\t\n\r]", text):
        raise BadValue(f"contains a {'tab' if found[0] == chr(9) else 'line break'}")
    return plain(text)
