"""JSON whose numbers keep every digit: a price has more than a float."""

from __future__ import annotations

from decimal import Decimal
from typing import Any, Final

from msgspec import json

_DECODER: Final = json.Decoder(float_hook=Decimal)
_ENCODER: Final = json.Encoder(decimal_format="number")


def decoded(content: bytes) -> Any:
    """Raises `msgspec.DecodeError`, and `RecursionError` for what is nested too deep."""
    return _DECODER.decode(content)


def encoded(value: Any) -> bytes:
    return _ENCODER.encode(value)
