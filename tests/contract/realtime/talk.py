"""What a client says to the server, in the words of a test."""

from __future__ import annotations

from typing import Any

from tests.contract.realtime.wire import Socket

SUBSCRIBED = "Subscribed to PostgreSQL"


async def join(
    socket: Socket,
    name: str,
    *,
    ref: str = "1",
    private: bool = False,
    changes: list[dict[str, Any]] | None = None,
    broadcast: dict[str, Any] | None = None,
    access_token: str | None = None,
) -> Any:
    """Joins and returns the reply's payload."""
    config = {"private": private, "postgres_changes": changes or [], "broadcast": broadcast or {}}
    payload: dict[str, Any] = {"config": config}
    if access_token is not None:
        payload["access_token"] = access_token
    await socket.push(f"realtime:{name}", "phx_join", payload, ref)
    return await next_payload(socket, name)


async def join_table(
    socket: Socket, name: str, table: str, *, ref: str = "1", schema: str = "public"
) -> None:
    """Joins a table's changes and waits until they flow."""
    reply = await join(socket, name, ref=ref, changes=[{"event": "*", "schema": schema, "table": table}])
    assert reply["status"] == "ok"
    assert (await next_payload(socket, name))["message"] == SUBSCRIBED


async def next_payload(socket: Socket, name: str, **options: float) -> Any:
    frame = await socket.next_of(f"realtime:{name}", **options)
    return frame[4] if isinstance(frame, list) else frame["payload"]


async def next_event(socket: Socket, name: str) -> str:
    frame = await socket.next_of(f"realtime:{name}")
    return str(frame[3] if isinstance(frame, list) else frame["event"])
