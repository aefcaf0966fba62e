-- Sync: what clients did while nobody saw it.
--
-- A client pushes changes: edits of fields, each with the version of the row that it was made to. A change is a row of
-- public.sync_changes under the id that the client gave it, so pushing it twice is once. It is accepted at once; the worker
-- merges and writes it (…_sync_work.sql) as the principal that pushed it, in order for each entity, and says in `status` what
-- became of it:
--
--   pending ──► applied    written as it was meant: nobody had changed what it changed
--           ├─► merged     both sides had changed the same; policies decided, see sync_conflicts
--           ├─► conflict   written but for what waits for a person, see sync_conflicts
--           └─► rejected   refused: a rule, a permission, a row that is not there; `error` says why
--
-- Policies stand in sync_policies by tenant, entity and field; private.sync_defaults is what they are without.

insert into private.role_permissions (role, permission)
select r.role, p.permission
from (values
  ('sync.push',   '{owner,manager,clerk,integration}'::text[]),
  ('sync.manage', '{owner,manager}')
) as p (permission, roles)
cross join lateral unnest(p.roles) as r (role);

-- Whether p_edit is an edit: {field: {"set": any} | {"delta": whole number} | {"add": [text], "remove": [text]}}.
create function private.is_edit(p_edit jsonb) returns boolean
language sql immutable set search_path = ''
as $$
  select case when jsonb_typeof(p_edit) = 'object' and private.is_plain(p_edit) then octet_length(p_edit::text) <= 131072 and (
    select count(*) <= 200 and coalesce(bool_and(
      e.key ~ '^[a-z][a-z_]{0,62}(\.[^[:cntrl:]]{1,200})?$' and jsonb_typeof(e.value) = 'object' and case
        when e.value ? 'set' then e.value - 'set' = '{}'
        when e.value ? 'delta' then e.value - 'delta' = '{}' and jsonb_typeof(e.value -> 'delta') = 'number'
          and e.value ->> 'delta' ~ '^-?[0-9]{1,12}$'
        when e.value ?| '{add,remove}' then e.value - '{add,remove}'::text[] = '{}'
          and not jsonb_path_exists(e.value, 'strict $.* ? (@.type() != "array")')
          and not jsonb_path_exists(e.value, 'strict $.*[*] ? (@.type() != "string")')
        else false
      end
    ), true)
    from jsonb_each(p_edit) e
  ) else false end
$$;
revoke all on function private.is_edit(jsonb) from public, anon, authenticated, service_role;
grant execute on function private.is_edit(jsonb) to authenticated, service_role;

create table private.sync_entities (
  entity text primary key,
  fields text[] not null
);
comment on table private.sync_entities is 'What clients may change by sync, and which of its fields';
alter table private.sync_entities enable row level security;
revoke all on private.sync_entities from public, anon, authenticated, service_role;
insert into private.sync_entities (entity, fields) values
  ('product', '{sku,name,description,status,price,currency,attributes,category_id,parent_id,publish_at}'),
  ('stock_level', '{on_hand,safety,reorder_point,backorder_limit}');

create table public.sync_changes (
  id uuid primary key,
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  principal_id uuid not null default auth.uid(),
  seq bigint generated always as identity,
  client text not null constraint sync_changes_client_form check (client ~ '^[A-Za-z0-9_.-]{1,64}$'),
  entity text not null constraint sync_changes_entity_known check (entity in ('product', 'stock_level')),
  entity_id uuid not null,
  operation text not null constraint sync_changes_operation_known check (operation in ('insert', 'update', 'delete')),
  base_version bigint constraint sync_changes_base_version_positive check (base_version > 0),
  edit jsonb not null default '{}',
  stamp text not null constraint sync_changes_stamp_form check (stamp ~ '^[0-9]{13}-[0-9]{4}-[A-Za-z0-9_.-]{1,64}$'),
  status text not null default 'pending'
    constraint sync_changes_status_known check (status in ('pending', 'applied', 'merged', 'conflict', 'rejected')),
  version bigint,
  wrote boolean not null default false,
  error jsonb,
  pushed_at timestamptz not null default private.now(),
  settled_at timestamptz,
  constraint sync_changes_something check ((operation = 'delete') = (edit = '{}')),
  constraint sync_changes_new_has_no_base check (operation <> 'insert' or base_version is null),
  constraint sync_changes_stock_is_updated check (entity <> 'stock_level' or operation = 'update'),
  constraint sync_changes_settled check ((status = 'pending') = (settled_at is null)),
  constraint sync_changes_error_of_rejected check ((status = 'rejected') = (error is not null))
);
comment on table public.sync_changes is 'Changes that clients pushed, and what became of them';
comment on column public.sync_changes.base_version is 'The version of the row that the edit was made to; null: not known any more';
comment on column public.sync_changes.stamp is 'When the client made it: milliseconds, number, client; a hybrid logical clock';
comment on column public.sync_changes.version is 'The version of the row once it was written';
comment on column public.sync_changes.wrote is 'Whether it made that version; false: there was nothing to write';
create index sync_changes_pending on public.sync_changes (tenant_id, seq) where status = 'pending';
create index sync_changes_pending_of on public.sync_changes (entity_id, seq) where status = 'pending';
create index sync_changes_written on public.sync_changes (entity_id, version) where version is not null;
create index sync_changes_oldest_pending on public.sync_changes (pushed_at) where status = 'pending';
create index sync_changes_of_client on public.sync_changes (tenant_id, principal_id, client, entity, seq);
create index sync_changes_rejected on public.sync_changes (tenant_id, principal_id, client, entity, seq) where status = 'rejected';
create index sync_changes_by_age on public.sync_changes (settled_at) where settled_at is not null and status <> 'conflict';
alter table public.sync_changes set (fillfactor = 80);

alter table public.sync_changes enable row level security;
create policy "only within one's own tenants" on public.sync_changes
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "people see their own changes, managers see everyone's" on public.sync_changes
  for select to authenticated
  using (
    principal_id = (select auth.uid())
    or tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[])
  );
create policy "clerks push changes of their own" on public.sync_changes
  for insert to authenticated
  with check (
    principal_id = (select auth.uid())
    and tenant_id = any ((select private.tenants_with('sync.push'))::uuid[])
  );
revoke all on public.sync_changes from anon, authenticated, service_role;
grant select on public.sync_changes to authenticated, service_role;
grant insert (id, tenant_id, client, entity, entity_id, operation, base_version, edit, stamp) on public.sync_changes
  to authenticated;

-- Once: a constraint would look again whenever a change is settled.
create function private.check_edit() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform private.fail('PT400', 'sync.change_invalid', format('Change %s: edit is none.', new.id),
    'Send {field: {"set": …} | {"delta": …} | {"add": […], "remove": […]}}.');
  return null;
end $$;
revoke all on function private.check_edit() from public, anon, authenticated, service_role;
create trigger check_edit before insert on public.sync_changes
  for each row when (not private.is_edit(new.edit)) execute function private.check_edit();

-- A job for a tenant that has something new. One that waits stands for what comes meanwhile.
create function private.queue_sync_work(p_tenant_id uuid) returns void
language sql volatile security definer set search_path = ''
as $$
  select worker.enqueue_job('sync.work', '{}', p_tenant_id, 'sync.work ' || p_tenant_id, 'sync.work ' || p_tenant_id)
$$;
revoke all on function private.queue_sync_work(uuid) from public, anon, authenticated, service_role;

create function private.queue_work_of_new_changes() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.queue_sync_work(t.tenant_id)
  from (select distinct n.tenant_id from new_rows n order by n.tenant_id) t;
  return null;
end $$;
revoke all on function private.queue_work_of_new_changes() from public, anon, authenticated, service_role;
create trigger queue_work_of_new_changes after insert on public.sync_changes
  referencing new table as new_rows
  for each statement execute function private.queue_work_of_new_changes();

create table public.sync_conflicts (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  change_id uuid not null references public.sync_changes (id) on delete cascade,
  principal_id uuid not null,
  entity text not null,
  entity_id uuid not null,
  field text not null,
  policy text not null,
  base jsonb,
  ours jsonb,
  theirs jsonb,
  winner text constraint sync_conflicts_winner_known check (winner in ('ours', 'theirs', 'both', 'value')),
  value jsonb,
  created_at timestamptz not null default private.now(),
  decided_at timestamptz,
  decided_by uuid,
  constraint sync_conflicts_once unique (change_id, field),
  constraint sync_conflicts_decided check ((winner is null) = (decided_at is null))
);
comment on table public.sync_conflicts is 'Fields that a pushed change and somebody else had both changed, and how that was decided';
comment on column public.sync_conflicts.ours is 'The server''s';
comment on column public.sync_conflicts.theirs is 'The pushed change''s';
comment on column public.sync_conflicts.winner is 'Null: open, a person must decide (resolve_conflict)';
comment on column public.sync_conflicts.decided_by is 'Null: by policy';
create index sync_conflicts_open on public.sync_conflicts (tenant_id, created_at) where winner is null;
create index sync_conflicts_by_entity on public.sync_conflicts (tenant_id, entity_id, created_at desc);

alter table public.sync_conflicts enable row level security;
create policy "only within one's own tenants" on public.sync_conflicts
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "people see conflicts of their own changes, managers see all" on public.sync_conflicts
  for select to authenticated
  using (
    principal_id = (select auth.uid())
    or tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[])
  );
revoke all on public.sync_conflicts from anon, authenticated, service_role;
grant select on public.sync_conflicts to authenticated, service_role;

create table private.sync_defaults (
  entity text not null,
  field text not null,
  policy text not null,
  primary key (entity, field)
);
comment on table private.sync_defaults is 'Policies of fields for which a tenant has none; field *: all others';
alter table private.sync_defaults enable row level security;
revoke all on private.sync_defaults from public, anon, authenticated, service_role;
insert into private.sync_defaults (entity, field, policy) values
  ('product', '*', 'last_write'),
  ('product', 'price', 'manual'),
  ('product', 'currency', 'manual'),
  ('product', 'attributes.tags', 'set'),
  ('product', 'deleted_at', 'manual'),
  ('stock_level', '*', 'last_write'),
  ('stock_level', 'on_hand', 'counter');

create table public.sync_policies (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  entity text not null constraint sync_policies_entity_known check (entity in ('product', 'stock_level')),
  field text not null constraint sync_policies_field_form check (field ~ '^([a-z][a-z_]{0,62}(\..{1,200})?|\*)$'),
  policy text not null
    constraint sync_policies_policy_known
    check (policy in ('last_write', 'set', 'server_wins', 'client_wins', 'manual', 'counter')),
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint sync_policies_one_a_field unique (tenant_id, entity, field),
  -- Levels move through the ledger alone; nothing else has a command that adds.
  constraint sync_policies_counters check ((policy = 'counter') = (entity = 'stock_level' and field = 'on_hand'))
);
comment on table public.sync_policies is 'How a tenant wants edits of one field from two sides to be decided';
alter table public.sync_policies enable row level security;
create policy "only within one's own tenants" on public.sync_policies
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "members see their tenant's policies" on public.sync_policies
  for select to authenticated using (tenant_id = any ((select private.tenants_with('tenant.read'))::uuid[]));
create policy "managers add policies to their tenant" on public.sync_policies
  for insert to authenticated with check (tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[]));
create policy "managers change their tenant's policies" on public.sync_policies
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[]));
create policy "managers delete their tenant's policies" on public.sync_policies
  for delete to authenticated using (tenant_id = any ((select private.tenants_with('sync.manage'))::uuid[]));
revoke all on public.sync_policies from anon, authenticated, service_role;
grant select, insert, update, delete on public.sync_policies to authenticated, service_role;
create trigger stamp_version before insert or update on public.sync_policies
  for each row execute function private.stamp_version();

-- Why this is no change that can be pushed; null when it is one.
create function private.change_fault(p_change jsonb) returns text
language sql immutable set search_path = ''
as $$
  select case
    when jsonb_typeof(p_change) <> 'object' then 'it is no object'
    when not pg_input_is_valid(coalesce(p_change ->> 'id', ''), 'uuid') then 'id must be a UUID'
    when coalesce(p_change ->> 'entity', '') not in ('product', 'stock_level') then 'entity must be product or stock_level'
    when not pg_input_is_valid(coalesce(p_change ->> 'entity_id', ''), 'uuid') then 'entity_id must be a UUID'
    when coalesce(p_change ->> 'operation', '') not in ('insert', 'update', 'delete')
      then 'operation must be insert, update or delete'
    when p_change ->> 'entity' = 'stock_level' and p_change ->> 'operation' <> 'update' then 'a stock level can only be updated'
    when jsonb_typeof(coalesce(p_change -> 'base_version', 'null')) not in ('number', 'null')
      or coalesce(p_change ->> 'base_version', '1') !~ '^[1-9][0-9]{0,17}$' then 'base_version must be a whole number above 0'
    when p_change ->> 'operation' = 'insert' and p_change ->> 'base_version' is not null
      then 'what is new has no base_version'
    when coalesce(p_change ->> 'stamp', '') !~ '^[0-9]{13}-[0-9]{4}-[A-Za-z0-9_.-]{1,64}$'
      then 'stamp must read <13 digits>-<4 digits>-<client>'
    when not private.is_edit(coalesce(p_change -> 'edit', '{}'))
      then 'edit must be {field: {"set": …} | {"delta": …} | {"add": […], "remove": […]}}'
    when (p_change ->> 'operation' = 'delete') <> (coalesce(p_change -> 'edit', '{}') = '{}')
      then 'a deletion has no edit, and everything else has one'
  end
$$;
revoke all on function private.change_fault(jsonb) from public, anon, authenticated, service_role;

-- Refuses a call that is not plain, or of more than 8 MB: each of 1,000 parts may have 128 KB, and all of them are worked on at once.
create function private.check_call_size(p_parts jsonb) returns void
language plpgsql immutable set search_path = ''
as $$
begin
  perform private.require_plain(p_parts);
  if octet_length(p_parts::text) > 8388608 then
    perform private.fail('PT413', 'sync.call_too_large', 'A call may hold 8 MB.', 'Split it.');
  end if;
end $$;
revoke all on function private.check_call_size(jsonb) from public, anon, authenticated, service_role;

create function private.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) returns jsonb
language plpgsql volatile security definer set search_path = ''
as $$
declare
  v_principal constant uuid := auth.uid();
  v_fault record;
  v_new boolean;
  v_other text;
begin
  perform private.require(p_tenant_id, 'sync.push');
  if v_principal is null then
    perform private.fail('PT401', 'auth.required', 'Sign in to push changes: your permissions decide what becomes of them.');
  end if;
  perform private.check_client(p_client);
  if jsonb_typeof(p_changes) is distinct from 'array' or jsonb_array_length(p_changes) not between 1 and 1000 then
    perform private.fail('PT400', 'sync.changes_invalid', 'p_changes must be an array of 1 to 1,000 changes.');
  end if;
  perform private.check_call_size(p_changes);
  select c.n, private.change_fault(c.change) as why into v_fault
  from jsonb_array_elements(p_changes) with ordinality as c (change, n)
  where private.change_fault(c.change) is not null
  order by c.n limit 1;
  if found then
    perform private.fail('PT400', 'sync.change_invalid', format('Change %s: %s.', v_fault.n, v_fault.why));
  end if;

  insert into public.sync_changes
    (id, tenant_id, principal_id, client, entity, entity_id, operation, base_version, edit, stamp)
  select (c.change ->> 'id')::uuid, p_tenant_id, v_principal, p_client, c.change ->> 'entity',
    (c.change ->> 'entity_id')::uuid, c.change ->> 'operation', (c.change ->> 'base_version')::bigint,
    coalesce(c.change -> 'edit', '{}'), c.change ->> 'stamp'
  from jsonb_array_elements(p_changes) with ordinality as c (change, n)
  order by c.n
  on conflict (id) do nothing;
  v_new := found;

  select c.change ->> 'id' into v_other
  from jsonb_array_elements(p_changes) as c (change)
  join public.sync_changes s on s.id = (c.change ->> 'id')::uuid
  where (s.tenant_id, s.principal_id, s.client, s.entity, s.entity_id, s.operation, s.edit, s.stamp) is distinct from
    (p_tenant_id, v_principal, p_client, c.change ->> 'entity', (c.change ->> 'entity_id')::uuid, c.change ->> 'operation',
      coalesce(c.change -> 'edit', '{}'), c.change ->> 'stamp')
    or s.base_version is distinct from (c.change ->> 'base_version')::bigint
  limit 1;
  if v_other is not null then
    perform private.fail('PT409', 'sync.change_id_reused', format('The id %s was used for another change.', v_other),
      'Give every change an id of its own; nothing of this call was kept.');
  end if;
  -- The trigger has queued a job for what is new. For what was pushed before it may have ended badly.
  if not v_new and exists (
    select from jsonb_array_elements(p_changes) as c (change)
    join public.sync_changes s on s.id = (c.change ->> 'id')::uuid where s.status = 'pending'
  ) then
    perform private.queue_sync_work(p_tenant_id);
  end if;
  return (
    select jsonb_agg(jsonb_build_object('id', s.id, 'status', s.status) order by c.n)
    from jsonb_array_elements(p_changes) with ordinality as c (change, n)
    join public.sync_changes s on s.id = (c.change ->> 'id')::uuid
  );
end $$;
revoke all on function private.push_changes(uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function private.push_changes(uuid, text, jsonb) to authenticated, service_role;

-- Accepts up to 1,000 changes: [{"id", "entity", "entity_id", "operation", "base_version", "edit", "stamp"}]; answers
-- [{"id", "status"}] in their order. Those whose ids are known already are not taken again, so that a push whose answer was
-- lost may be repeated. What becomes of them shows in sync_changes.
create function public.push_changes(p_tenant_id uuid, p_client text, p_changes jsonb) returns jsonb
language sql volatile set search_path = ''
as $$ select private.push_changes(p_tenant_id, p_client, p_changes) $$;
revoke all on function public.push_changes(uuid, text, jsonb) from public, anon, authenticated, service_role;
grant execute on function public.push_changes(uuid, text, jsonb) to authenticated, service_role;
