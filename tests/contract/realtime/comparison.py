"""Compares a frame with the recorded one, letting differ only what legitimately does.

Binding ids, message ids and other UUIDs must correspond one to one through a whole transcript; times of the
recording may be any time; all else must be equal, numbers digit by digit, keys of records in their order.
"""

from __future__ import annotations

import json
import re
from typing import Any

USER_BROADCAST = 4
UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
RECORDING_DAY = "2026-11-2"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|\+00:00)")
EXPIRED = re.compile(r"expired \d+ seconds ago")
SHORTENED = re.compile(r"\.\.\.\[(\d+) hex chars, shortened in this file\]$")
ID_KEYS = frozenset({"id", "ids"})


class Number(str):
    """A JSON number by its digits: 1.50 is not 1.5 here."""

    __slots__ = ()


def parse(frame: str | bytes) -> Any:
    if isinstance(frame, str) and frame.startswith("BINARY:"):
        return parse(bytes.fromhex(frame.removeprefix("BINARY:")))
    if isinstance(frame, bytes):
        return _parse_binary(frame)
    return json.loads(frame, parse_float=Number, parse_int=Number)


def _parse_binary(frame: bytes) -> dict[str, Any]:
    kind, topic_length, event_length, meta_length, encoding = frame[:5]
    assert kind == USER_BROADCAST
    topic, rest = frame[5 : 5 + topic_length], frame[5 + topic_length :]
    event, rest = rest[:event_length], rest[event_length:]
    meta, payload = rest[:meta_length], rest[meta_length:]
    return {
        "binary": [topic.decode(), event.decode(), str(encoding)],
        "meta": parse(meta.decode()) if meta else None,
        "payload": parse(payload.decode()) if encoding else payload.hex(),
    }


def topic_of(frame: Any) -> str:
    if isinstance(frame, list):
        return str(frame[2])
    return str(frame["binary"][0] if "binary" in frame else frame["topic"])


class Comparison:
    """Remembers which recorded id became which."""

    def __init__(self) -> None:
        self._actual: dict[str, str] = {}
        self._recorded: dict[str, str] = {}

    def check(self, recorded: Any, actual: Any, path: str = "") -> None:
        """Raises `AssertionError` that names the place."""
        if isinstance(recorded, dict) and isinstance(actual, dict):
            self._check_object(recorded, actual, path)
        elif isinstance(recorded, list) and isinstance(actual, list):
            assert len(recorded) == len(actual), f"{path}: {recorded!r} but got {actual!r}"
            for index, (one, other) in enumerate(zip(recorded, actual, strict=True)):
                self.check(one, other, f"{path}[{index}]")
        elif isinstance(recorded, Number) != isinstance(actual, Number):
            raise AssertionError(f"{path}: {recorded!r} is a number or a text, {actual!r} the other")
        elif isinstance(recorded, Number) and isinstance(actual, Number):
            self._check_number(recorded, actual, path)
        elif isinstance(recorded, str) and isinstance(actual, str):
            self._check_text(recorded, actual, path)
        else:
            assert recorded == actual, f"{path}: {recorded!r} but got {actual!r}"

    def _check_object(self, recorded: dict[str, Any], actual: dict[str, Any], path: str) -> None:
        assert recorded.keys() == actual.keys(), f"{path}: {recorded!r} but got {actual!r}"
        if path.endswith(("record", "payload.payload")):
            assert list(recorded) == list(actual), f"{path}: keys in another order"
        for key, value in recorded.items():
            self.check(value, actual[key], f"{path}.{key}")

    def _check_number(self, recorded: Number, actual: Number, path: str) -> None:
        if re.search(r"(\.ids\[\d+\]|postgres_changes\[\d+\]\.id)$", path):
            self._correspond(recorded, actual, path)
        else:
            assert recorded == actual, f"{path}: {recorded} but got {actual}"

    def _check_text(self, recorded: str, actual: str, path: str) -> None:
        if path.endswith(".phx_ref"):
            return self._correspond(recorded, actual, path)
        if recorded.startswith(RECORDING_DAY) and TIME.fullmatch(recorded):
            assert TIME.fullmatch(actual), f"{path}: no time: {actual!r}"
            return None
        if shortened := SHORTENED.search(recorded):
            assert len(actual) == int(shortened[1]), f"{path}: {len(actual)} characters"
            return None
        recorded, actual = (EXPIRED.sub("expired N seconds ago", text) for text in (recorded, actual))
        for one, other in zip(UUID.findall(recorded), UUID.findall(actual), strict=False):
            self._correspond(one, other, path)
        same = UUID.sub("UUID", recorded) == UUID.sub("UUID", actual)
        assert same, f"{path}: {recorded!r} but got {actual!r}"
        return None

    def _correspond(self, recorded: str, actual: str, path: str) -> None:
        assert self._actual.setdefault(recorded, actual) == actual, f"{path}: {recorded} became another id"
        assert self._recorded.setdefault(actual, recorded) == recorded, f"{path}: {actual} was another id"
