"""What a row looks like with one's own edits on it, before the server has them. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from worker.sync.edit import NESTED, Delta, Operation, applied, fields_of, is_number, parse_edit
from worker.sync.store import PENDING, Edit

_NESTED: Final = NESTED + "."


def laid_over(row: dict[str, Any] | None, edits: Sequence[Edit]) -> dict[str, Any] | None:
    """A row with edits on it, but for those that it holds already and those that were refused."""
    shown = row
    for edit in edits:
        if edit.status == "rejected" or _holds(row, edit):
            continue
        if edit.operation == "delete":
            shown = None
        elif edit.operation == "insert":
            shown = _with_edit({"id": edit.entity_id, "version": 0, NESTED: {}}, edit)
        elif shown is not None:
            shown = _with_edit(shown, edit)
    return None if shown is None or shown.get("deleted_at") is not None else shown


def _holds(row: dict[str, Any] | None, edit: Edit) -> bool:
    if edit.seen or edit.status == PENDING or edit.version is None:
        return edit.seen or edit.status != PENDING
    return edit.operation != "insert" if row is None else row["version"] >= edit.version


def _shown(operation: Operation, value: Any) -> Any:
    if isinstance(operation, Delta) and not is_number(value):
        return value  # the server will refuse it
    return applied(operation, value)


def _with_edit(row: dict[str, Any], edit: Edit) -> dict[str, Any]:
    before = fields_of(row)
    changed = {name: _shown(it, before.get(name)) for name, it in parse_edit(edit.edit).items()}
    shown = {**row, **{name: value for name, value in changed.items() if not name.startswith(_NESTED)}}
    keys = {name.removeprefix(_NESTED): value for name, value in changed.items() if name.startswith(_NESTED)}
    if keys:
        attributes = (row.get(NESTED) or {}) | keys
        shown[NESTED] = {key: value for key, value in attributes.items() if value is not None}
    return shown
