"""Every way to break a policy or a guard by one slip, as SQL, and the layer in which the slip must show.

A table is kept by two layers: a restrictive guard and permissive policies. Each would hide a slip in the
other, so a slip is looked for where its layer stands alone; that the unbroken layer stands alone is the
baseline. Likewise a SELECT policy hides slips of the writing ones, which stand alone with reading open.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, LiteralString

from tests.access.catalogue import Function, Table
from tests.access.permissions import MEMBERS, Permissions
from tests.access.scene import Session

Layer = Literal["whole", "reading alone", "writing alone", "guard alone", "privileges"]

POLICIES: LiteralString = """
select p.polname, p.polpermissive,
  case p.polcmd when 'r' then 'select' when 'a' then 'insert' when 'w' then 'update' when 'd' then 'delete'
    else 'all' end,
  pg_get_expr(p.polqual, p.polrelid), pg_get_expr(p.polwithcheck, p.polrelid)
from pg_policy p where p.polrelid = %s::regclass order by 1
"""


@dataclass(frozen=True)
class Policy:
    name: str
    is_permissive: bool
    action: str
    using: str | None
    check: str | None


@dataclass(frozen=True)
class Mutation:
    name: str
    statement: str
    layer: Layer


def list_policies(db: Session, table: Table) -> list[Policy]:
    return [Policy(*row) for row in db.execute(POLICIES, (f"public.{table.name}",))]


def stand_alone(table: Table, policies: list[Policy], layer: Layer) -> str:
    """SQL that takes away the other layer, and what else would hide a slip: triggers, column grants."""
    if layer in ("whole", "privileges"):
        return ""
    statements = [f"alter table public.{table.name} disable trigger user"]
    if table.writable.get(("authenticated", "update")):
        statements.append(f"grant update ({table.tenant_column}) on public.{table.name} to authenticated")
    for policy in policies:
        if layer in ("reading alone", "writing alone") and not policy.is_permissive:
            statements.append(f'drop policy "{policy.name}" on public.{table.name}')
        open_to_all = layer == "guard alone" or (layer == "writing alone" and policy.action == "select")
        if open_to_all and policy.is_permissive:
            statements.append(_alter(table, policy, using="true", check="true"))
    return "; ".join(statements)


def mutations_of_table(table: Table, policies: list[Policy], permissions: Permissions) -> Iterator[Mutation]:
    name = f"public.{table.name}"
    yield Mutation("row-level security off", f"alter table {name} disable row level security", "whole")
    for action in ("select", "insert", "update", "delete"):
        yield Mutation(f"{action} granted to anon", f"grant {action} on {name} to anon", "privileges")
    for policy in policies:
        yield from _mutations_of_policy(table, policy, permissions)


def mutations_of_function(function: Function) -> Mutation:
    statement = f"grant execute on function {function.signature} to anon"
    return Mutation(f"{function.name} granted to anon", statement, "privileges")


def _mutations_of_policy(table: Table, policy: Policy, permissions: Permissions) -> Iterator[Mutation]:
    alone = _where_it_stands_alone(policy)
    drop = f'drop policy "{policy.name}" on public.{table.name}'
    yield Mutation(f"{policy.name}: dropped", drop, "whole" if policy.is_permissive else alone)
    yield Mutation(f"{policy.name}: true", _alter(table, policy, using="true", check="true"), alone)
    column = next(each for each in (*table.uuids, "gen_random_uuid()") if each != table.tenant_column)
    yield Mutation(f"{policy.name}: {column}", _replaced(table, policy, table.tenant_column, column), "whole")
    writes = {action for _, action in table.writable if table.writable["authenticated", action]}
    if policy.action == "update" or (policy.action == "all" and writes):
        yield Mutation(f"{policy.name}: no check", _alter(table, policy, check="true"), alone)
    if policy.is_permissive and permissions.tables[table.name][policy.action] < {*MEMBERS, "service"}:
        wide = _replaced(table, policy, r"'[a-z_]+\.[a-z_]+'", "'tenant.read'", whole_word=False)
        yield Mutation(f"{policy.name}: any member", wide, alone)


def _where_it_stands_alone(policy: Policy) -> Layer:
    if not policy.is_permissive:
        return "guard alone"
    return "reading alone" if policy.action == "select" else "writing alone"


def _replaced(table: Table, policy: Policy, old: str, new: str, *, whole_word: bool = True) -> str:
    pattern = rf"\b{old}\b" if whole_word else old
    using, check = (text and re.sub(pattern, new, text) for text in (policy.using, policy.check))
    return _alter(table, policy, using=using, check=check)


def _alter(table: Table, policy: Policy, *, using: str | None = None, check: str | None = None) -> str:
    parts = [f'alter policy "{policy.name}" on public.{table.name}']
    if using and policy.action != "insert":
        parts.append(f"using ({using})")
    if check and policy.action in ("insert", "update", "all"):
        parts.append(f"with check ({check})")
    return " ".join(parts)
