-- Privacy.
--
-- What a tenant can ask of its data: all of it (export_tenant), none of it any more (delete_tenant), nothing personal of a
-- customer (redact_customer), and who changed what (audit_log).
--
-- Both export and erasure find their tables in the catalogue: whatever has a tenant_id. A table made later is exported
-- and erased without being named here. Deleting a tenant ends its access and its webhooks at once; the rows go in slices,
-- by the job upkeep.erase_tenants. What remains is a tombstone: an id, two dates and a count.
--
-- What left the database is out of reach: webhooks already sent, exports, and backups until they age.

create table private.tombstones (
  id uuid primary key,
  requested_at timestamptz not null default private.now(),
  erased_at timestamptz,
  rows_erased bigint not null default 0
);
comment on table private.tombstones is 'Tenants that were deleted: id is what the tenant''s was; erased_at is null until all rows are gone';
alter table private.tombstones enable row level security;
revoke all on private.tombstones from public, anon, authenticated, service_role;

-- The primary key of a table, in order.
create function private.key_of(p_table regclass) returns text[]
language sql stable set search_path = ''
as $$
  select array_agg(a.attname::text order by k.place)
  from pg_catalog.pg_index i
  cross join unnest(i.indkey::smallint[]) with ordinality k (attnum, place)
  join pg_catalog.pg_attribute a on a.attrelid = i.indrelid and a.attnum = k.attnum
  where i.indrelid = p_table and i.indisprimary
$$;
revoke all on function private.key_of(regclass) from public, anon, authenticated, service_role;

-- Tables of a tenant's own data, for export: tenants itself, and all of public with a tenant_id.
create function private.exported_tables() returns table (name text, tenant_column text)
language sql stable set search_path = ''
as $$
  select c.relname::text, case c.relname when 'tenants' then 'id' else 'tenant_id' end
  from pg_catalog.pg_class c
  where c.relnamespace = 'public'::regnamespace and c.relkind in ('r', 'p')
    and (c.relname = 'tenants' or exists (
      select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id'))
  order by c.relname
$$;
revoke all on function private.exported_tables() from public, anon, authenticated, service_role;

create function private.export_tenant(p_tenant_id uuid, p_table text, p_after jsonb, p_limit integer) returns jsonb
language plpgsql stable security definer set search_path = '' set timezone = 'UTC'
as $$
declare
  v_tenant_column constant text := (select e.tenant_column from private.exported_tables() e where e.name = p_table);
  v_limit constant integer := least(greatest(coalesce(p_limit, 1000), 1), 10000);
  v_key text[];
  v_rows jsonb;
begin
  perform private.require(p_tenant_id, 'tenant.export');
  perform private.require_plain(p_after);
  if p_table is null then
    return jsonb_build_object('tables', (select jsonb_agg(e.name) from private.exported_tables() e),
      'seq', coalesce((select l.seq from private.tenant_log l where l.tenant_id = p_tenant_id), 0));
  end if;
  if v_tenant_column is null then
    perform private.fail('PT404', 'export.table_unknown', format('There is no table %s to export.', p_table),
      'Call without p_table for the list.');
  end if;
  v_key := private.key_of(format('public.%I', p_table)::regclass);
  execute format(
    'select coalesce(jsonb_agg(to_jsonb(p) - ''token_hash'' order by %1$s), ''[]'') from (
       select t.* from public.%2$I t cross join jsonb_populate_record(null::public.%2$I, $2) a
       where t.%3$I = $1 and ($2 is null or (%4$s) > (%5$s)) order by %4$s limit $3
     ) p',
    (select string_agg(format('p.%I', k), ', ') from unnest(v_key) k), p_table, v_tenant_column,
    (select string_agg(format('t.%I', k), ', ') from unnest(v_key) k),
    (select string_agg(format('a.%I', k), ', ') from unnest(v_key) k)
  ) into v_rows using p_tenant_id, p_after, v_limit;
  return jsonb_build_object('table', p_table, 'rows', v_rows, 'next', case jsonb_array_length(v_rows) when v_limit then (
    select jsonb_object_agg(k, v_rows -> -1 -> k) from unnest(v_key) k) end);
end $$;
revoke all on function private.export_tenant(uuid, text, jsonb, integer) from public, anon, authenticated, service_role;
grant execute on function private.export_tenant(uuid, text, jsonb, integer) to authenticated, service_role;

-- Everything of a tenant but its secrets. Without p_table: {"tables": [...], "seq"}, the log's number at that moment.
-- With it: {"table", "rows", "next"}; call again with p_after => next until next is null. Owners only.
create function public.export_tenant(
  p_tenant_id uuid, p_table text default null, p_after jsonb default null, p_limit integer default 1000
) returns jsonb
language sql stable set search_path = ''
as $$ select private.export_tenant(p_tenant_id, p_table, p_after, p_limit) $$;
revoke all on function public.export_tenant(uuid, text, jsonb, integer) from public, anon, authenticated, service_role;
grant execute on function public.export_tenant(uuid, text, jsonb, integer) to authenticated, service_role;

create function private.delete_tenant(p_tenant_id uuid, p_confirm_slug text) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_tenant public.tenants;
begin
  perform private.require(p_tenant_id, 'tenant.delete');
  perform private.lock_roles(p_tenant_id);
  perform private.require(p_tenant_id, 'tenant.delete');
  select * into v_tenant from public.tenants t where t.id = p_tenant_id;
  if v_tenant.id is null then
    perform private.fail('PT404', 'tenant.not_found', format('There is no tenant %s.', p_tenant_id));
  end if;
  if p_confirm_slug is distinct from v_tenant.slug then
    perform private.fail('PT422', 'tenant.not_confirmed', 'p_confirm_slug is not the slug of this tenant.',
      'Nothing was deleted. Send the slug to confirm: there is no way back.');
  end if;
  insert into private.tombstones (id) values (p_tenant_id);
  delete from public.webhook_endpoints e where e.tenant_id = p_tenant_id;
  delete from public.api_keys k where k.tenant_id = p_tenant_id;
  delete from public.invitations i where i.tenant_id = p_tenant_id;
  delete from public.memberships m where m.tenant_id = p_tenant_id;
  update public.tenants t
  set slug = 'deleted-' || replace(p_tenant_id::text, '-', ''), name = 'Deleted' where t.id = p_tenant_id;
  perform worker.enqueue_job('upkeep.erase_tenants', '{}', null, 'upkeep.erase_tenants');
  return jsonb_build_object('tenant_id', p_tenant_id, 'status', 'erasing');
end $$;
revoke all on function private.delete_tenant(uuid, text) from public, anon, authenticated, service_role;
grant execute on function private.delete_tenant(uuid, text) to authenticated, service_role;

-- Deletes a tenant for ever. p_confirm_slug must be its slug. Access, invitations and webhooks end, and the slug is free,
-- when this returns {"tenant_id", "status": "erasing"}; the worker then erases the rows. Owners only.
create function public.delete_tenant(p_tenant_id uuid, p_confirm_slug text) returns jsonb
language sql volatile set search_path = ''
as $$ select private.delete_tenant(p_tenant_id, p_confirm_slug) $$;
revoke all on function public.delete_tenant(uuid, text) from public, anon, authenticated, service_role;
grant execute on function public.delete_tenant(uuid, text) to authenticated, service_role;

-- Tables that hold rows of tenants, partitions one by one, those that refer to others first; and of a table that
-- refers to itself, the condition for a row to which nothing refers.
create function private.erased_tables() returns table (relation regclass, leaf text)
language sql stable set search_path = ''
as $$
  with recursive owned as (
    select c.oid from pg_catalog.pg_class c
    where c.relnamespace in ('public'::regnamespace, 'private'::regnamespace, 'queue'::regnamespace) and c.relkind = 'r'
      and exists (select from pg_catalog.pg_attribute a where a.attrelid = c.oid and a.attname = 'tenant_id' and a.attnum > 0)
  ), refers as (
    select f.conrelid, f.confrelid from pg_catalog.pg_constraint f where f.contype = 'f' and f.conrelid <> f.confrelid
  ), depths as (
    select o.oid, 0 as depth from owned o
    union all
    select r.conrelid, d.depth + 1 from depths d join refers r on r.confrelid = d.oid
    where d.depth < 20
  )
  select d.oid::regclass, (
    select string_agg(format('not exists (select from %s s where %s)', d.oid::regclass, (
      select string_agg(format('s.%I = t.%I', child.attname, parent.attname), ' and ')
      from unnest(f.conkey, f.confkey) k (child, parent)
      join pg_catalog.pg_attribute child on child.attrelid = f.conrelid and child.attnum = k.child
      join pg_catalog.pg_attribute parent on parent.attrelid = f.confrelid and parent.attnum = k.parent
    )), ' and ')
    from pg_catalog.pg_constraint f where f.contype = 'f' and f.conrelid = d.oid and f.confrelid = d.oid
  )
  from depths d join owned o on o.oid = d.oid
  group by d.oid
  order by max(d.depth) desc, d.oid::regclass::text
$$;
revoke all on function private.erased_tables() from public, anon, authenticated, service_role;

-- What erasing writes to the outbox of the tenant is of no use to anybody: it would only have to be erased in turn.
create function private.forget_own_changes(p_tenant_id uuid) returns void
language sql volatile security definer set search_path = ''
as $$
  delete from private.outbox o where o.xid = pg_current_xact_id() and o.tenant_id = p_tenant_id
$$;
revoke all on function private.forget_own_changes(uuid) from public, anon, authenticated, service_role;

-- Erases up to p_limit rows of a tenant; how many there were, fewer when it found no more.
create function private.erase_rows(p_tenant_id uuid, p_limit integer) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_table record;
  v_rows bigint;
  v_erased bigint := 0;
begin
  perform set_config('pms.erasing', 'yes', true);
  for v_table in select e.relation, e.leaf from private.erased_tables() e loop
    loop
      exit when v_erased >= p_limit;
      execute format('delete from %1$s where ctid = any (array(
          select t.ctid from %1$s t where t.tenant_id = $1 and %2$s limit $2))',
        v_table.relation, coalesce(v_table.leaf, 'true'))
      using p_tenant_id, p_limit - v_erased;
      get diagnostics v_rows = row_count;
      v_erased := v_erased + v_rows;
      -- Leaves first: what they hung on is a leaf now.
      exit when v_rows = 0 or v_table.leaf is null;
    end loop;
    exit when v_erased >= p_limit;
  end loop;
  perform private.forget_own_changes(p_tenant_id);
  perform set_config('pms.erasing', '', true);
  return v_erased;
end $$;
revoke all on function private.erase_rows(uuid, integer) from public, anon, authenticated, service_role;

-- A slice of the oldest erasure: {"tenant_id", "erased", "done", "left"}; left: tenants that wait, this one too if not done.
-- A transaction that still wrote for the tenant is waited for at its row; what it wrote is then in the outbox or the log.
create function worker.erase_tenants(p_limit integer default 10000) returns jsonb
language plpgsql security definer set search_path = '' set statement_timeout = '30s'
as $$
declare
  v_limit constant integer := least(greatest(p_limit, 1), 100000);
  v_tenant_id uuid;
  v_erased bigint := 0;
  v_late bigint := 0;
  v_done boolean := false;
begin
  select b.id into v_tenant_id from private.tombstones b where b.erased_at is null
  order by b.requested_at, b.id limit 1 for update skip locked;
  if v_tenant_id is not null then
    v_erased := private.erase_rows(v_tenant_id, v_limit);
    if v_erased < v_limit then
      delete from public.tenants t where t.id = v_tenant_id;
      perform private.lock_dispatch();
      v_late := private.erase_rows(v_tenant_id, v_limit);
      v_done := v_late < v_limit;
    end if;
    update private.tombstones b
    set rows_erased = b.rows_erased + v_erased + v_late, erased_at = case when v_done then private.now() end
    where b.id = v_tenant_id;
  end if;
  return jsonb_build_object('tenant_id', v_tenant_id, 'erased', v_erased + v_late, 'done', v_done,
    'left', (select count(*) from private.tombstones b where b.erased_at is null));
end $$;
revoke all on function worker.erase_tenants(integer) from public, anon, authenticated, service_role;
grant execute on function worker.erase_tenants(integer) to service_role;

-- A row or a command's answer, without its customer.
create function private.without_customer(p_row jsonb) returns jsonb
language sql immutable set search_path = ''
as $$
  select case when p_row ? 'customer' then p_row || '{"customer": {"redacted": true}}' else p_row end
$$;
revoke all on function private.without_customer(jsonb) from public, anon, authenticated, service_role;

-- Redacts orders in the log from a number on: the place and the number stay, the body says "redacted": true.
create function private.redact_events(p_tenant_id uuid, p_order_ids uuid[], p_after_seq bigint) returns bigint
language plpgsql security definer set search_path = ''
as $$
declare
  v_rows bigint;
begin
  update public.events e
  set body = (jsonb_set(jsonb_set(e.body::jsonb,
      '{data,object}', private.without_customer(e.body::jsonb #> '{data,object}')),
      '{data,previous}', private.without_customer(e.body::jsonb #> '{data,previous}')) || '{"redacted": true}')::text
  where e.tenant_id = p_tenant_id and e.seq > p_after_seq and e.entity = 'order' and e.entity_id = any (p_order_ids)
    and not e.body::jsonb ? 'redacted';
  get diagnostics v_rows = row_count;
  return v_rows;
end $$;
revoke all on function private.redact_events(uuid, uuid[], bigint) from public, anon, authenticated, service_role;

create function private.redact_customer(p_tenant_id uuid, p_email text, p_order_ids uuid[]) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_ids uuid[];
  v_seq bigint;
  v_events bigint;
begin
  perform private.require(p_tenant_id, 'customers.redact');
  if num_nonnulls(p_email, p_order_ids) <> 1 then
    perform private.fail('PT400', 'redaction.selection_invalid', 'Send either p_email or p_order_ids.');
  end if;
  v_ids := array(
    select o.id from public.orders o
    where o.tenant_id = p_tenant_id
      and (o.id = any (p_order_ids) or lower(o.customer ->> 'email') = lower(btrim(p_email)))
    order by o.id for update
  );
  update public.orders o set customer = '{"redacted": true}'
  where o.tenant_id = p_tenant_id and o.id = any (v_ids) and o.customer is distinct from '{"redacted": true}';
  update private.command_results r
  set result = private.without_customer(r.result)
  where r.tenant_id = p_tenant_id and r.command in ('place_order', 'order_event') and (r.result ->> 'id')::uuid = any (v_ids);
  -- One that still waits keeps what it is worked by.
  update public.inbound_webhooks w
  set data = '{"redacted": true}' || case when w.status = 'queued' then
    (select coalesce(jsonb_object_agg(d.key, d.value), '{}') from jsonb_each(w.data) d where d.key in ('amount', 'lines', 'version')) else '{}' end
  where w.tenant_id = p_tenant_id and w.order_id = any (v_ids);

  -- The long part before the lock of dispatch, and under it only what was dispatched meanwhile and what waits.
  v_seq := coalesce((select l.seq from private.tenant_log l where l.tenant_id = p_tenant_id), 0);
  v_events := private.redact_events(p_tenant_id, v_ids, 0);
  perform private.lock_dispatch();
  update private.outbox o
  set new_row = private.without_customer(o.new_row), old_row = private.without_customer(o.old_row)
  where o.tenant_id = p_tenant_id and o.entity = 'order' and o.entity_id = any (v_ids);
  v_events := v_events + private.redact_events(p_tenant_id, v_ids, v_seq);
  return jsonb_build_object('orders', cardinality(v_ids), 'events', v_events);
end $$;
revoke all on function private.redact_customer(uuid, text, uuid[]) from public, anon, authenticated, service_role;
grant execute on function private.redact_customer(uuid, text, uuid[]) to authenticated, service_role;

-- Forgets who bought: in orders, in the log, in what waits to be sent, in stored answers, and in inbound webhooks. Orders are chosen by the
-- customer's address or by id. Returns {"orders", "events"}; again it finds nothing more by address. Sent webhooks are
-- out of reach; their receivers hear of it by order.updated.
create function public.redact_customer(p_tenant_id uuid, p_email text default null, p_order_ids uuid[] default null)
returns jsonb
language sql volatile set search_path = ''
as $$ select private.redact_customer(p_tenant_id, p_email, p_order_ids) $$;
revoke all on function public.redact_customer(uuid, text, uuid[]) from public, anon, authenticated, service_role;
grant execute on function public.redact_customer(uuid, text, uuid[]) to authenticated, service_role;

create function private.audit_log(
  p_tenant_id uuid, p_before bigint, p_limit integer, p_actor uuid, p_entity text, p_entity_id uuid
) returns table (
  seq bigint, occurred_at timestamptz, actor uuid, command_id text, type text, entity_id uuid, version bigint,
  changed jsonb, previous jsonb
)
language plpgsql stable security definer set search_path = ''
as $$
begin
  perform private.require(p_tenant_id, 'audit.read');
  return query
  select e.seq, e.occurred_at, e.actor, e.command_id, e.type, e.entity_id, e.version,
    e.body::jsonb #> '{data,changed}', e.body::jsonb #> '{data,previous}'
  from public.events e
  where e.tenant_id = p_tenant_id and (p_before is null or e.seq < p_before)
    and (p_actor is null or e.actor = p_actor) and (p_entity is null or e.entity = p_entity)
    and (p_entity_id is null or e.entity_id = p_entity_id)
  order by e.seq desc
  limit least(greatest(coalesce(p_limit, 100), 1), 1000);
end $$;
revoke all on function private.audit_log(uuid, bigint, integer, uuid, text, uuid)
  from public, anon, authenticated, service_role;
grant execute on function private.audit_log(uuid, bigint, integer, uuid, text, uuid) to authenticated, service_role;

-- Who changed what, when, by which command: the log, newest first, for owners and managers. The next page: p_before => the
-- last seq. actor is null for the project itself (the worker, the secret key). Callable by GET.
create function public.audit_log(
  p_tenant_id uuid, p_before bigint default null, p_limit integer default 100, p_actor uuid default null,
  p_entity text default null, p_entity_id uuid default null
) returns table (
  seq bigint, occurred_at timestamptz, actor uuid, command_id text, type text, entity_id uuid, version bigint,
  changed jsonb, previous jsonb
)
language sql stable set search_path = ''
as $$ select * from private.audit_log(p_tenant_id, p_before, p_limit, p_actor, p_entity, p_entity_id) $$;
revoke all on function public.audit_log(uuid, bigint, integer, uuid, text, uuid)
  from public, anon, authenticated, service_role;
grant execute on function public.audit_log(uuid, bigint, integer, uuid, text, uuid) to authenticated, service_role;
