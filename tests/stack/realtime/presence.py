"""Presence: who tracked what in a topic, told to every member as state and as differences."""

from __future__ import annotations

import base64
import itertools
import os
from collections import defaultdict
from typing import Any

State = dict[str, dict[str, list[dict[str, Any]]]]


class PresenceRooms:
    """The presences of all topics. A member has one key and at most one meta; members may share a key."""

    def __init__(self) -> None:
        self._rooms: dict[tuple[str, bool], dict[object, tuple[str, dict[str, Any]]]] = defaultdict(dict)
        self._counter = itertools.count(int.from_bytes(os.urandom(6)))

    def state(self, name: str, private: bool) -> State:
        state: State = {}
        for key, meta in self._rooms.get((name, private), {}).values():
            state.setdefault(key, {"metas": []})["metas"].append(meta)
        return state

    def track(
        self, name: str, private: bool, member: object, key: str, payload: dict[str, Any]
    ) -> dict[str, State]:
        """The difference that tracking makes: an earlier meta of the same member leaves."""
        room = self._rooms[name, private]
        former = room.get(member)
        meta = {"phx_ref": self._reference(), **payload}
        if former is not None:
            meta["phx_ref_prev"] = former[1]["phx_ref"]
        room[member] = (key, meta)
        leaves: State = {former[0]: {"metas": [former[1]]}} if former else {}
        return {"joins": {key: {"metas": [meta]}}, "leaves": leaves}

    def untrack(self, name: str, private: bool, member: object) -> dict[str, State] | None:
        """The difference, None when the member tracked nothing."""
        room = self._rooms.get((name, private), {})
        former = room.pop(member, None)
        if not room:
            self._rooms.pop((name, private), None)
        if former is None:
            return None
        return {"joins": {}, "leaves": {former[0]: {"metas": [former[1]]}}}

    def _reference(self) -> str:
        return base64.urlsafe_b64encode(next(self._counter).to_bytes(12)).decode()
