"""What a join asks for. Wrong types are no errors: the real server replaces them by defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NOT_A_MAP = (
    "the Access module supports only keyword lists (with atom keys), got: \"broadcast\"\n\n"
    "If you want to search lists of tuples, use List.keyfind/3"
)  # fmt: skip


class OptionsError(Exception):
    """`config` is of a type that the real server cannot read at all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinOptions:
    ack: bool = False
    receive_own: bool = False
    presence: bool = False
    presence_key: str = ""
    private: bool = False
    replication_ready: bool = False
    replay: dict[str, Any] | None = None
    bindings: tuple[dict[str, Any], ...] = ()
    """As the client sent them: the reply echoes them unchanged."""
    legacy: bool = field(default=False)
    """A join without `config`: the topic is the binding, changes come under their own event names."""

    @property
    def extensions(self) -> tuple[str, ...]:
        return ("broadcast", "presence") if self.presence else ("broadcast",)


def read_options(name: str, payload: Any) -> JoinOptions:
    """Raises `OptionsError`."""
    payload = payload if isinstance(payload, dict) else {}
    if "config" not in payload:
        return JoinOptions(legacy=True, bindings=(_legacy_binding(name),))
    config = payload["config"]
    if isinstance(config, list):
        raise OptionsError(NOT_A_MAP)
    config = config if isinstance(config, dict) else {}
    broadcast, presence = _section(config, "broadcast"), _section(config, "presence")
    key, replay, bindings = presence.get("key"), broadcast.get("replay"), config.get("postgres_changes")
    return JoinOptions(
        ack=broadcast.get("ack") is True,
        receive_own=broadcast.get("self") is True,
        presence=presence.get("enabled") is True,
        presence_key=key if isinstance(key, str) else "",
        private=config.get("private") is True,
        replication_ready=broadcast.get("replication_ready") is True,
        replay=replay if isinstance(replay, dict) else None,
        bindings=tuple(b for b in bindings if isinstance(b, dict)) if isinstance(bindings, list) else (),
    )


def _section(config: dict[str, Any], name: str) -> dict[str, Any]:
    section = config.get(name)
    return section if isinstance(section, dict) else {}


def _legacy_binding(name: str) -> dict[str, Any]:
    """`schema[:table[:filter]]`, with the keys in the order of the real server's reply."""
    schema, _, rest = name.partition(":")
    table, _, filter_ = rest.partition(":")
    binding = {"filter": filter_, "schema": schema, "table": table}
    return {key: value for key, value in binding.items() if value}
