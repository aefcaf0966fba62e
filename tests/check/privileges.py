"""Who may do what in the database: a list for people, and rules that always hold.

Supabase's advisors look at a part of this only (docs/decisions/0004-privileges.md).
"""

from __future__ import annotations

from typing import LiteralString

import psycopg

ROLES = ("anon", "authenticated", "service_role")

FUNCTIONS: LiteralString = """
select format('%%s.%%s(%%s)', n.nspname, p.proname, pg_get_function_identity_arguments(p.oid)),
  case when p.prosecdef then ' definer' else '' end,
  array_to_string(array(
    select r from unnest(%s::text[]) r where has_function_privilege(r, p.oid, 'execute')
      and has_schema_privilege(r, n.oid, 'usage')
  ), ', ')
from pg_proc p join pg_namespace n on n.oid = p.pronamespace
where n.nspname in ('public', 'worker', 'queue', 'private') and p.prorettype <> 'trigger'::regtype
order by 1
"""

# A privilege on some columns only is listed with them.
TABLES: LiteralString = """
select format('%%s.%%s', n.nspname, c.relname), r.role, string_agg(
  case when has_table_privilege(r.role, c.oid, v.privilege) then v.privilege
       else v.privilege || ' (' || columns.names || ')' end, ', ' order by v.place)
from pg_class c
join pg_namespace n on n.oid = c.relnamespace
cross join unnest(%s::text[]) r (role)
cross join unnest('{select,insert,update,delete,truncate}'::text[]) with ordinality v (privilege, place)
left join lateral (
  select string_agg(a.attname, ', ' order by a.attnum) as names from pg_attribute a
  where a.attrelid = c.oid and a.attnum > 0 and not a.attisdropped
    and v.privilege in ('select', 'insert', 'update')
    and has_column_privilege(r.role, c.oid, a.attnum, v.privilege)
) columns on true
where n.nspname in ('public', 'worker', 'queue', 'private') and c.relkind in ('r', 'p', 'v', 'm')
  and not c.relispartition
  and (has_table_privilege(r.role, c.oid, v.privilege) or columns.names is not null)
group by 1, r.role
order by 1, 2
"""

# Each rule lists what breaks it.
RULES: dict[str, LiteralString] = {
    "anon may execute nothing of ours": """
        select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in ('public', 'worker', 'queue', 'private')
          and has_function_privilege('anon', p.oid, 'execute') and p.prorettype <> 'trigger'::regtype""",
    "no security definer in an exposed schema is callable by clients": """
        select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in ('public', 'worker') and p.prosecdef
          and (has_function_privilege('anon', p.oid, 'execute')
            or has_function_privilege('authenticated', p.oid, 'execute'))""",
    "the schema worker is for service_role alone": """
        select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname = 'worker' and (has_function_privilege('authenticated', p.oid, 'execute')
          or not has_function_privilege('service_role', p.oid, 'execute'))""",
    "every function pins its search_path": """
        select p.oid::regprocedure::text from pg_proc p join pg_namespace n on n.oid = p.pronamespace
        where n.nspname in ('public', 'worker', 'queue', 'private')
          and not exists (select from unnest(p.proconfig) s where s = 'search_path=""')""",
    "anon may touch no table of ours": """
        select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('public', 'worker', 'queue', 'private') and c.relkind in ('r', 'p', 'v', 'm')
          and (has_any_column_privilege('anon', c.oid, 'select, insert, update')
            or has_table_privilege('anon', c.oid, 'delete, truncate'))""",
    "no client may truncate": """
        select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('public', 'worker', 'queue', 'private') and c.relkind in ('r', 'p')
          and (has_table_privilege('authenticated', c.oid, 'truncate')
            or has_table_privilege('service_role', c.oid, 'truncate'))""",
    "every table has row-level security, partitions too": """
        select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('public', 'worker', 'queue', 'private') and c.relkind in ('r', 'p')
          and not c.relrowsecurity""",
    "a partition is out of every client's reach": """
        select c.oid::regclass::text from pg_class c
        cross join unnest('{anon,authenticated,service_role}'::text[]) r
        where c.relispartition and c.relnamespace = 'private'::regnamespace and c.relkind = 'r'
          and (has_any_column_privilege(r, c.oid, 'select, insert, update')
            or has_table_privilege(r, c.oid, 'delete'))
        union
        select c.oid::regclass::text from pg_class c join pg_inherits i on i.inhrelid = c.oid
        where i.inhparent in ('public.events'::regclass, 'public.webhook_attempts'::regclass)
          and c.relnamespace <> 'private'::regnamespace""",
    "views run as their caller": """
        select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname in ('public', 'worker') and c.relkind = 'v'
          and not coalesce('security_invoker=true' = any (c.reloptions), false)""",
    "every tenant table that clients reach has its restrictive guard": """
        select c.oid::regclass::text from pg_class c join pg_namespace n on n.oid = c.relnamespace
        where n.nspname = 'public' and c.relkind in ('r', 'p')
          -- the same for all tenants, and readable only
          and c.relname <> 'event_types'
          and has_any_column_privilege('authenticated', c.oid, 'select, insert, update')
          and not exists (
            select from pg_policy p where p.polrelid = c.oid and not p.polpermissive and p.polcmd = '*'
          )""",
    "one permissive policy per table, action and role": """
        select p.polrelid::regclass::text || ' ' || p.polcmd::text from pg_policy p
        join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
        where p.polpermissive and n.nspname in ('public', 'worker', 'queue', 'private')
        group by p.polrelid, p.polcmd having count(*) > 1
        union
        select p.polrelid::regclass::text || ' for all' from pg_policy p
        join pg_class c on c.oid = p.polrelid join pg_namespace n on n.oid = c.relnamespace
        where p.polpermissive and p.polcmd = '*' and n.nspname in ('public', 'worker', 'queue', 'private')""",
}


def list_privileges(connection: psycopg.Connection) -> list[str]:
    """One line per function and per table and role, sorted: what the snapshot holds."""
    roles = list(ROLES)
    functions = connection.execute(FUNCTIONS, (roles,)).fetchall()
    tables = connection.execute(TABLES, (roles,)).fetchall()
    return [
        "# Who may execute which function (definer: it runs with its owner's rights)",
        *(f"{name}{definer}: {who or '-'}" for name, definer, who in functions),
        "",
        "# Who may do what with which table, under the policies of schema.snapshot.sql",
        *(f"{name} {role}: {what}" for name, role, what in tables),
    ]


def broken_rules(connection: psycopg.Connection) -> list[str]:
    """`rule: object` for every object that breaks one; empty if all hold."""
    return [
        f"{rule}: {name}" for rule, query in RULES.items() for (name,) in connection.execute(query).fetchall()
    ]
