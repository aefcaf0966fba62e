"""What the database has to be asked about, read from its catalogue."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, LiteralString

from tests.access.scene import Session

# A table without a tenant is none of the matrix's: SHARED.
TABLES: LiteralString = """
select c.relname, case when exists (
    select from pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'
  ) then 'tenant_id' else 'id' end,
  c.relkind = 'v',
  array(select a.attname::text from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    order by a.attnum),
  array(select a.attname::text from pg_attribute a
    where a.attrelid = c.oid and a.attnum > 0 and a.atttypid = 'uuid'::regtype order by a.attnum)
from pg_class c where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and exists (select from pg_attribute a where a.attrelid = c.oid and a.attname in ('tenant_id', 'id'))
order by 1
"""

SHARED: LiteralString = """
select c.relname from pg_class c
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v', 'm', 'f')
  and not exists (select from pg_attribute a where a.attrelid = c.oid and a.attname in ('tenant_id', 'id'))
"""

WRITABLE: LiteralString = """
select c.relname, r.role, v.privilege, array(select a.attname::text from pg_attribute a
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped and a.attgenerated = ''
    and has_column_privilege(r.role, c.oid, a.attnum, v.privilege) order by a.attnum)
from pg_class c cross join unnest('{authenticated,service_role}'::text[]) r (role)
cross join unnest('{insert,update}'::text[]) v (privilege)
where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p', 'v')
"""

FUNCTIONS: LiteralString = """
select p.proname, p.oid::regprocedure::text, p.prosecdef, coalesce(p.proargnames, '{}'),
  array(select format_type(t, null) from unnest(p.proargtypes) t), p.pronargs - p.pronargdefaults
from pg_proc p
where p.pronamespace = 'public'::regnamespace and p.prorettype <> 'trigger'::regtype order by 1
"""


@dataclass(frozen=True)
class Table:
    name: str
    tenant_column: str
    is_view: bool
    columns: tuple[str, ...]
    uuids: tuple[str, ...]
    writable: dict[tuple[str, str], tuple[str, ...]] = field(default_factory=dict)
    """By role and privilege: the columns that may be given."""


@dataclass(frozen=True)
class Function:
    name: str
    signature: str
    is_definer: bool
    required: tuple[tuple[str, str], ...]
    """Names and types of the arguments without a default."""


def list_tables(db: Session) -> list[Table]:
    writable: dict[str, dict[tuple[str, str], tuple[str, ...]]] = {}
    for name, role, privilege, columns in db.execute(WRITABLE):
        writable.setdefault(name, {})[role, privilege] = tuple(columns)
    return [
        Table(name, tenant_column, is_view, tuple(columns), tuple(uuids), writable.get(name, {}))
        for name, tenant_column, is_view, columns, uuids in db.execute(TABLES)
    ]


def list_shared(db: Session) -> set[str]:
    """Names of tables and views that belong to no tenant."""
    return {name for (name,) in db.execute(SHARED)}


def list_functions(db: Session) -> list[Function]:
    return [_function(*row) for row in db.execute(FUNCTIONS)]


def _function(
    name: str, signature: str, is_definer: bool, names: list[str], types: list[str], required: int
) -> Function:
    return Function(name, signature, is_definer, tuple(zip(names, types, strict=False))[:required])


def sample_row(db: Session, table: Table, tenant: object) -> dict[str, Any]:
    """A row of the tenant, as JSON."""
    query = f"select to_jsonb(t) from public.{table.name} t where {table.tenant_column} = %s limit 1"
    row = db.execute(query.encode(), (tenant,)).fetchone()
    assert row, f"{table.name}: the scene has no row of it; add one to tests/access/scene.py"
    sample: dict[str, Any] = row[0]
    return sample
