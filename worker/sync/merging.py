"""From a pending change to what is to be written for it. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final, cast

from worker.gateway.changes import PendingChange
from worker.log import get_logger
from worker.sync.edit import Row, applied, fields_of, parse_edit
from worker.sync.merge import (
    NEVER,
    EditRefused,
    Merge,
    Policies,
    Policy,
    Server,
    is_element,
    merge,
    merge_deletion,
)
from worker.sync.stamp import Stamp

UNMERGEABLE: Final = "sync.unmergeable"

Write = dict[str, Any]
"""An element of `p_writes` of `apply_changes`: see docs/worker-rpc.md."""


def policies_of(told: Mapping[str, str]) -> Policies:
    """The policies of one entity, as `read_changes` tells them."""
    return Policies(cast("Mapping[str, Policy]", told))


def write_of(change: PendingChange, policies: Policies, now: datetime) -> Write:
    """What is to be written for `change`; a refusal, where it cannot be merged."""
    try:
        return _merged(change, policies, now)
    except EditRefused as error:
        return _refusal(change, "sync.edit_refused", f"{error}.")
    except Exception as error:  # one change must not hold up its tenant, whatever is wrong with it
        get_logger("worker.sync").exception(UNMERGEABLE, change_id=change.id)
        return _refusal(change, "sync.edit_invalid", f"{type(error).__name__}: {error}"[:500])


def _merged(change: PendingChange, policies: Policies, now: datetime) -> Write:
    if change.unfit:
        return _refusal(
            change, "sync.row_unfit", "The row holds values that are too deep or too long to merge."
        )
    stamp = Stamp.parse(change.stamp).bounded(now)
    edit = parse_edit(change.edit)
    if change.operation == "insert":
        if change.row is not None:
            return _refusal(change, "sync.entity_exists", "There is a row of this id already.")
        fields = {name: applied(operation, None) for name, operation in edit.items()}
        return _write(change, Merge(patch=fields), action="insert")
    if change.row is None:
        if change.operation == "delete":
            return _write(change, Merge(), action="none")
        return _refusal(change, f"{change.entity}.not_found", "There is no such row in this tenant.")
    server = server_of(change, change.row)
    if change.operation == "delete":
        merged = merge_deletion(server, stamp, policies)
    else:
        merged = merge(server, edit, stamp, policies)
    return _write(change, merged, action=_action(merged))


def server_of(change: PendingChange, row: Row) -> Server:
    """What the server has of the row of `change`: `row`. A field's stamp is that of the client that wrote it
    last, if one did; otherwise when it was written."""
    fields = fields_of(row)
    told = {name: (version, Stamp.parse(text)) for name, version, text in change.stamps}
    touched = {}
    for name, version, millis in change.touched:
        stamped = told.get(name)
        touched[name] = stamped[1] if stamped and stamped[0] >= version else Stamp(millis)
    for name, (version, stamp) in told.items():
        if change.base is None or (is_element(name) and version > (change.base_version or 0)):
            touched[name] = stamp
    base = None
    if change.base is not None:
        base = fields_of(change.base)
        for edit in change.own:  # its author knows what it did before
            base |= {name: applied(operation, base.get(name)) for name, operation in parse_edit(edit).items()}
    # a level is written by every movement, which says nothing of when its limits were
    written = Stamp.at(datetime.fromisoformat(row["updated_at"])) if change.entity == "product" else NEVER
    return Server(fields=fields, base=base, touched=touched, written=written)


def _action(merged: Merge) -> str:
    if merged.delete:
        return "delete"
    return "update" if merged.patch or merged.deltas or merged.restore else "none"


def _write(change: PendingChange, merged: Merge, *, action: str) -> Write:
    return _blank(change) | {
        "action": action,
        "restore": merged.restore,
        "fields": merged.patch,
        "deltas": merged.deltas,
        "status": "conflict" if merged.open else "merged" if merged.decisions else "applied",
        "decisions": [asdict(decision) for decision in merged.decisions],
        "stamps": {name: str(stamp) for name, stamp in merged.stamps.items()},
    }


def _refusal(change: PendingChange, code: str, detail: str) -> Write:
    return _blank(change) | {"error": {"code": code, "detail": detail}}


def _blank(change: PendingChange) -> Write:
    return {
        "change_id": change.id,
        "entity": change.entity,
        "entity_id": change.entity_id,
        "action": "none",
        "version": None if change.row is None else change.row["version"],
        "error": None,
    }
