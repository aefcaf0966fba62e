-- The event log.
--
-- Every change of a domain row appends to private.outbox in the same transaction, by statement-level triggers with
-- transition tables. Dispatch (…_dispatch.sql) later moves the changes, in id order, to public.events: append-only,
-- numbered without a gap per tenant, one partition a day, each row holding the very bytes that webhooks sign.
--
-- An outbox id is an identity (cache 1) given after the row's lock is held, so id order is version order per entity.
-- Ids are no cursor: a slow writer commits a small id late. Dispatch is safe because it deletes what it takes.

create table private.outbox (
  id bigint generated always as identity (cache 1),
  xid xid8 not null default pg_current_xact_id(),
  tenant_id uuid not null,
  entity text not null,
  entity_id uuid not null,
  operation text not null constraint outbox_operation_known check (operation in ('INSERT', 'UPDATE', 'DELETE')),
  version bigint not null,
  changed text[],
  new_row jsonb,
  old_row jsonb,
  actor uuid,
  command_id text,
  occurred_at timestamptz not null,
  -- The only index. Dispatch reads from an exact mark on xid and sorts by id; an index on id alone would tempt the
  -- planner to walk every deleted entry that a held xmin keeps (docs/decisions/0002-event-log.md).
  primary key (xid, id)
);
comment on table private.outbox is 'Committed changes that are not yet in the log';
alter table private.outbox enable row level security;
revoke all on private.outbox from public, anon, authenticated, service_role;
alter table private.outbox set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000,
  autovacuum_vacuum_cost_delay = 0, autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);

-- Until when the worker looks by itself, so that writers need not ring. One row.
create table queue.worker_awake (
  one boolean primary key default true constraint worker_awake_one_row check (one),
  until timestamptz not null default '-infinity'
);
comment on table queue.worker_awake is 'Until when writers need not ring the worker';
insert into queue.worker_awake default values;
alter table queue.worker_awake enable row level security;
revoke all on queue.worker_awake from public, anon, authenticated, service_role;

-- Rings the worker's topic, at most once a transaction and not while the worker is awake. The bell is a hint: a ring
-- that fails or is lost costs latency (the slow poll), so it must never fail the write.
create function private.ring(p_lane text) returns void
language plpgsql security definer set search_path = ''
as $$
begin
  if current_setting('pms.rung', true) = 'yes' then
    return;
  end if;
  perform set_config('pms.rung', 'yes', true);
  if exists (select from queue.worker_awake a where a.until > private.now()) then
    return;
  end if;
  perform realtime.send(jsonb_build_object('lane', p_lane), 'ring', 'worker', true);
exception when others then
  raise warning 'the worker was not rung: %', sqlerrm;
end $$;
revoke all on function private.ring(text) from public, anon, authenticated, service_role;

-- AFTER statement trigger: appends a statement's changes to the outbox. Arguments: the entity's name; then columns
-- that must not leave the table. Changes of nothing but version and updated_at are none.
--
-- The pins: a plan made for one row is kept for the session, and its nested loop over 10,000 rows would take half a
-- minute; some callers turn hash joins off. The zone: a PostgREST client may set its own (Prefer: timezone).
create function private.capture_changes() returns trigger
language plpgsql security definer set search_path = '' set timezone = 'UTC'
  set enable_nestloop = off set enable_hashjoin = on set jit = off
as $$
declare
  v_hidden constant text[] := tg_argv[1:];
  v_actor constant uuid := auth.uid();
  v_command constant text := nullif(current_setting('pms.command_id', true), '');
  v_found bigint;
begin
  if tg_op = 'INSERT' then
    insert into private.outbox
      (tenant_id, entity, entity_id, operation, version, new_row, actor, command_id, occurred_at)
    select coalesce(r.row ->> 'tenant_id', r.row ->> 'id')::uuid, tg_argv[0], (r.row ->> 'id')::uuid, tg_op,
      (r.row ->> 'version')::bigint, r.row - v_hidden, v_actor, v_command, private.now()
    from (select to_jsonb(n) as row from new_rows n offset 0) r;
  elsif tg_op = 'UPDATE' then
    insert into private.outbox
      (tenant_id, entity, entity_id, operation, version, changed, new_row, old_row, actor, command_id, occurred_at)
    select coalesce(r.row ->> 'tenant_id', r.row ->> 'id')::uuid, tg_argv[0], (r.row ->> 'id')::uuid, tg_op,
      (r.row ->> 'version')::bigint, c.changed, r.row, r.old_row, v_actor, v_command, private.now()
    from (
      select to_jsonb(n) - v_hidden as row, to_jsonb(o) - v_hidden as old_row
      from new_rows n join old_rows o on o.id = n.id
      -- a fence: pulled up, the rows would become JSON again for every field that is compared
      offset 0
    ) r
    cross join lateral (
      select array_agg(e.key order by e.key) as changed
      from jsonb_each(r.row) e
      where e.value is distinct from r.old_row -> e.key and e.key not in ('version', 'updated_at')
    ) c
    where c.changed is not null;
  else
    insert into private.outbox
      (tenant_id, entity, entity_id, operation, version, old_row, actor, command_id, occurred_at)
    select coalesce(r.row ->> 'tenant_id', r.row ->> 'id')::uuid, tg_argv[0], (r.row ->> 'id')::uuid, tg_op,
      (r.row ->> 'version')::bigint + 1, r.row - v_hidden, v_actor, v_command, private.now()
    from (select to_jsonb(o) as row from old_rows o offset 0) r;
  end if;
  get diagnostics v_found = row_count;
  if v_found > 0 then
    perform private.ring('outbox');
  end if;
  return null;
end $$;
revoke all on function private.capture_changes() from public, anon, authenticated, service_role;

create function private.refuse_truncate() returns trigger
language plpgsql set search_path = ''
as $$
begin
  perform private.fail('PT405', 'truncate.refused',
    format('TRUNCATE of %s would bypass the event log.', tg_table_name), 'Delete rows instead.');
  return null;
end $$;
revoke all on function private.refuse_truncate() from public, anon, authenticated, service_role;

create table private.logged_entities (
  entity text primary key,
  relation text not null constraint logged_entities_one_per_table unique,
  read_permission text not null,
  hidden text[] not null
);
comment on table private.logged_entities is 'Which table holds an entity, who may read its events, and which of its columns never leave it';
alter table private.logged_entities enable row level security;
revoke all on private.logged_entities from public, anon, authenticated, service_role;

-- Puts a table under the log: its three capturing triggers, the refusal of TRUNCATE, and its entry above.
create function private.log_changes_of(
  p_table regclass, p_entity text, p_read_permission text, variadic p_hidden text[] default '{}'
)
returns void
language plpgsql set search_path = ''
as $$
declare
  v_arguments constant text := (
    select string_agg(quote_literal(a), ', ') from unnest(array[p_entity] || p_hidden) a
  );
begin
  execute format('create trigger capture_insert after insert on %s referencing new table as new_rows
    for each statement execute function private.capture_changes(%s)', p_table, v_arguments);
  execute format('create trigger capture_update after update on %s referencing old table as old_rows new table as new_rows
    for each statement execute function private.capture_changes(%s)', p_table, v_arguments);
  execute format('create trigger capture_delete after delete on %s referencing old table as old_rows
    for each statement execute function private.capture_changes(%s)', p_table, v_arguments);
  execute format('create trigger refuse_truncate before truncate on %s
    for each statement execute function private.refuse_truncate()', p_table);
  insert into private.logged_entities (entity, relation, read_permission, hidden)
  values (p_entity, p_table::text, p_read_permission, p_hidden);
end $$;
revoke all on function private.log_changes_of(regclass, text, text, text[]) from public, anon, authenticated, service_role;

-- Which change is which event. An update matches the first row (by rank) whose condition holds: `when_field` became
-- `when_value`, or became null or not null. A change without a row here makes no event; `webhooks` says whether
-- endpoints may receive it.
create table private.event_map (
  entity text not null,
  operation text not null,
  rank integer not null default 9,
  when_field text,
  when_null boolean,
  when_value text,
  verb text not null,
  webhooks boolean not null default true,
  description text not null,
  primary key (entity, operation, rank),
  constraint event_map_one_condition check (num_nonnulls(when_null, when_value) = num_nonnulls(when_field))
);
comment on table private.event_map is 'Which change becomes which event type: <entity>.<verb>';
alter table private.event_map enable row level security;
revoke all on private.event_map from public, anon, authenticated, service_role;

-- '<entity>.<verb>' and whether webhooks carry it; nulls for a change that is no event.
create function private.event_type(
  p_entity text, p_operation text, p_changed text[], p_new jsonb, out type text, out webhooks boolean
)
language sql stable set search_path = ''
as $$
  select p_entity || '.' || m.verb, m.webhooks
  from private.event_map m
  where m.entity = p_entity and m.operation = p_operation
    and (m.when_field is null
      or (m.when_field = any (p_changed)
        and case when m.when_value is null then (p_new ->> m.when_field is null) = m.when_null
                 else p_new ->> m.when_field = m.when_value end))
  order by m.rank
  limit 1
$$;
revoke all on function private.event_type(text, text, text[], jsonb) from public, anon, authenticated, service_role;

-- The log. Clients read it through functions only.
create table public.events (
  dispatched_on date not null,
  tenant_id uuid not null,
  seq bigint not null,
  id text not null,
  type text not null,
  entity text not null,
  entity_id uuid not null,
  version bigint not null,
  actor uuid,
  command_id text,
  occurred_at timestamptz not null,
  dispatched_at timestamptz not null,
  body text not null,
  primary key (tenant_id, seq, dispatched_on)
) partition by range (dispatched_on);
comment on table public.events is 'The log of every tenant, gapless by seq; body is what webhooks sign';
alter table public.events enable row level security;
revoke all on public.events from public, anon, authenticated, service_role;

-- A tenant's place in the log, and whether its clients still wait for a ring.
create table private.tenant_log (
  tenant_id uuid primary key,
  seq bigint not null,
  unrung_since timestamptz
);
comment on table private.tenant_log is 'The last seq of each tenant; unrung_since: news that no ring announced yet';
create index tenant_log_unrung on private.tenant_log (unrung_since) where unrung_since is not null;
alter table private.tenant_log enable row level security;
revoke all on private.tenant_log from public, anon, authenticated, service_role;

-- Names this history of the database. A restore from a backup must change it (docs/operations.md).
create table private.log_epoch (
  one boolean primary key default true constraint log_epoch_one_row check (one),
  epoch text not null default encode(extensions.gen_random_bytes(6), 'hex')
);
comment on table private.log_epoch is 'Changes when history does: clients that kept a cursor start again';
insert into private.log_epoch default values;
alter table private.log_epoch enable row level security;
revoke all on private.log_epoch from public, anon, authenticated, service_role;

-- The budget of rings to tenants: a token bucket, spent by dispatch, which runs alone. Realtime throws away all
-- database broadcasts of a project above its limit, so rings must stay sparse.
create table private.ring_budget (
  one boolean primary key default true constraint ring_budget_one_row check (one),
  per_second numeric not null default 20 constraint ring_budget_positive check (per_second > 0),
  tokens numeric not null default 20,
  refilled_at timestamptz not null default private.now()
);
comment on table private.ring_budget is 'How many tenants dispatch may ring';
insert into private.ring_budget default values;
alter table private.ring_budget enable row level security;
revoke all on private.ring_budget from public, anon, authenticated, service_role;

-- Makes the partition of one day, if it is missing. Its own RLS and no grants: a partition does not inherit them, and
-- the platform's defaults would let anon read every tenant's rows. Created alone and then attached, because
-- CREATE … PARTITION OF would lock the parent exclusively. Returns its name, or null when it was there.
create function private.make_partition(p_parent text, p_day date) returns text
language plpgsql security definer set search_path = ''
as $$
declare
  v_name constant text := p_parent || '_' || to_char(p_day, 'YYYYMMDD');
begin
  if to_regclass('private.' || v_name) is not null then
    return null;
  end if;
  -- Of several that find one missing, the first makes it. The second look is a query, because to_regclass may answer
  -- from the session's cache.
  perform pg_advisory_xact_lock(hashtextextended('pms partitions', 0));
  if exists (
    select from pg_catalog.pg_class c where c.relname = v_name and c.relnamespace = 'private'::regnamespace
  ) then
    return null;
  end if;
  execute format('create table private.%I (like public.%I including all)', v_name, p_parent);
  execute format('alter table private.%I enable row level security', v_name);
  execute format('revoke all on private.%I from public, anon, authenticated, service_role', v_name);
  execute format('alter table public.%I attach partition private.%I for values from (%L) to (%L)',
    p_parent, v_name, p_day, p_day + 1);
  return v_name;
end $$;
revoke all on function private.make_partition(text, date) from public, anon, authenticated, service_role;

-- The day that a row written now belongs to: UTC, whatever the session's zone.
create function private.today() returns date
language sql volatile set search_path = ''
as $$ select (private.now() at time zone 'UTC')::date $$;
revoke all on function private.today() from public, anon, authenticated, service_role;

insert into private.event_map (entity, operation, rank, when_field, when_null, verb, webhooks, description) values
  ('tenant',     'INSERT', 9, null, null, 'created', true,
    'A company was founded.'),
  ('tenant',     'UPDATE', 9, null, null, 'updated', true,
    'Name, slug or currency of the company changed.'),
  ('tenant',     'DELETE', 9, null, null, 'deleted', true,
    'The company is gone.'),
  ('membership', 'INSERT', 9, null, null, 'created', false,
    'Somebody joined the tenant.'),
  ('membership', 'UPDATE', 9, null, null, 'updated', false,
    'Somebody''s role changed.'),
  ('membership', 'DELETE', 9, null, null, 'deleted', false,
    'Somebody left the tenant, or was removed.');

select private.log_changes_of('public.tenants', 'tenant', 'tenant.read');
select private.log_changes_of('public.memberships', 'membership', 'members.read');
