-- What webhook endpoints are owed, and what was tried.
--
-- An endpoint's lane is its queue. A delivery is touched twice in its life: dispatch inserts it, settling deletes it.
-- One that failed moves, under the same id, to queue.retries, which has a due time; replays enter there too. What was
-- tried stands in public.webhook_attempts, by day, never updated.
--
-- A worker holds lanes through a lease. The lease's id is the fencing token: settling locks the lease and the lanes
-- for share, checks them, and changes nothing when they are no longer the caller's. Only dispatch inserts into
-- queue.deliveries, under its lock, so ids are commit-ordered and a reader's mark in memory is exact.
--
-- Of an ordered endpoint, a retry holds up its entity: what comes after it is moved to the retries too, blocked. Of the
-- retries of one lane and entity only the first is not blocked; when it ends, the next takes its place.

create table queue.leases (
  id bigint generated always as identity primary key,
  worker text not null,
  expires_at timestamptz not null,
  created_at timestamptz not null default private.now()
);
comment on table queue.leases is 'Workers that hold lanes; the id is the fencing token';
alter table queue.leases enable row level security;
revoke all on queue.leases from public, anon, authenticated, service_role;

create table queue.lanes (
  id bigint generated always as identity primary key,
  endpoint_id uuid not null constraint lanes_one_per_endpoint unique
    references public.webhook_endpoints (id) on delete cascade,
  tenant_id uuid not null,
  lease_id bigint references queue.leases (id) on delete set null
);
comment on table queue.lanes is 'One queue per endpoint, and the lease that holds it';
create index lanes_by_lease on queue.lanes (lease_id);
create index lanes_by_tenant on queue.lanes (tenant_id, id);
alter table queue.lanes enable row level security;
create policy "managers see their tenant's lanes" on queue.lanes
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on queue.lanes from public, anon, authenticated, service_role;
grant select (id, endpoint_id, tenant_id) on queue.lanes to authenticated, service_role;

-- No foreign key: dispatch alone inserts, in bulk, and the trigger below clears the rows of a deleted endpoint.
create table queue.deliveries (
  id bigint generated always as identity (cache 1) primary key,
  lane_id bigint not null,
  tenant_id uuid not null,
  seq bigint not null,
  dispatched_on date not null
);
comment on table queue.deliveries is 'First attempts that are owed';
create index deliveries_by_lane on queue.deliveries (lane_id, id);
-- Rows that come and go: vacuum by count, not by share, and without pauses.
alter table queue.deliveries set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);
alter table queue.deliveries enable row level security;
create policy "managers see what their endpoints are owed" on queue.deliveries
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on queue.deliveries from public, anon, authenticated, service_role;
grant select on queue.deliveries to authenticated, service_role;

create table queue.retries (
  id bigint primary key,
  lane_id bigint not null,
  tenant_id uuid not null,
  seq bigint not null,
  dispatched_on date not null,
  kind text not null default 'event' constraint retries_kind_known check (kind in ('event', 'replay')),
  attempt integer not null constraint retries_attempt_positive check (attempt > 0),
  due_at timestamptz not null,
  expires_at timestamptz not null,
  last_status integer,
  order_key uuid,
  blocked boolean not null default false constraint retries_blocked_by_order check (not blocked or order_key is not null)
);
comment on table queue.retries is 'Deliveries that are due at a time: those that failed, and replays; attempt is the next one''s number';
comment on column queue.retries.order_key is 'The entity that it holds up, of an ordered endpoint';
comment on column queue.retries.blocked is 'Another retry of the same lane and entity goes first';
create index retries_due on queue.retries (due_at, id) where not blocked;
create index retries_by_lane on queue.retries (lane_id, due_at);
create index retries_in_order on queue.retries (lane_id, order_key, id) where order_key is not null;
create index retries_expiring on queue.retries (expires_at);
alter table queue.retries set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);
alter table queue.retries enable row level security;
create policy "managers see what their endpoints will be sent again" on queue.retries
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on queue.retries from public, anon, authenticated, service_role;
grant select on queue.retries to authenticated, service_role;

create table public.webhook_attempts (
  attempted_on date not null,
  delivery_id bigint not null,
  attempt integer not null,
  tenant_id uuid not null,
  endpoint_id uuid not null,
  event_id text not null,
  event_type text not null,
  kind text not null default 'event'
    constraint webhook_attempts_kind_known check (kind in ('event', 'replay', 'test')),
  outcome text not null
    constraint webhook_attempts_outcome_known
    check (outcome in ('delivered', 'retry', 'probe', 'failed', 'gone', 'expired')),
  status integer,
  error text,
  duration_ms numeric(12, 1),
  dns_ms numeric(12, 1),
  connect_ms numeric(12, 1),
  first_byte_ms numeric(12, 1),
  response text,
  retry_at timestamptz,
  started_at timestamptz not null,
  settled_at timestamptz not null,
  primary key (delivery_id, attempt, started_at, attempted_on)
) partition by range (attempted_on);
comment on table public.webhook_attempts is 'What was tried, one row an attempt; after the outcomes retry and probe others follow';
comment on column public.webhook_attempts.outcome is 'probe: tried while the endpoint was down, and not counted as an attempt of the event';
comment on column public.webhook_attempts.connect_ms is 'TCP, TLS and a proxy''s part; null when an open connection was used';
comment on column public.webhook_attempts.first_byte_ms is 'From writing the request to the first byte of the answer';
create index webhook_attempts_by_endpoint on public.webhook_attempts (endpoint_id, started_at desc);
-- An event's id begins with its number, so this is the order of a tenant's log, too.
create index webhook_attempts_by_event on public.webhook_attempts (tenant_id, event_id);

alter table public.webhook_attempts enable row level security;
create policy "only within one's own tenants" on public.webhook_attempts
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see what was sent to their endpoints" on public.webhook_attempts
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on public.webhook_attempts from anon, authenticated, service_role;
grant select on public.webhook_attempts to authenticated, service_role;

-- Of the endpoints that fail now: since when, and how near they are to being disabled. A row ends with the next success,
-- so that endpoints which work cost nothing. No foreign key: settling would lock the endpoint, and one that is being
-- deleted waits for settling; the trigger below clears the row of a deleted endpoint.
create table public.webhook_troubles (
  endpoint_id uuid primary key,
  tenant_id uuid not null,
  failing_since timestamptz not null,
  failures bigint not null,
  last_failure_at timestamptz not null,
  last_status integer,
  last_error text,
  told_percent integer not null default 0
);
comment on table public.webhook_troubles is 'Endpoints that fail now, since when and why; a row ends with the next success';
comment on column public.webhook_troubles.told_percent is 'How far on the way to being disabled its people were told: 50, 70, 90 or 100';
create index webhook_troubles_by_tenant on public.webhook_troubles (tenant_id, endpoint_id);
alter table public.webhook_troubles enable row level security;
create policy "only within one's own tenants" on public.webhook_troubles
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see which of their endpoints fail" on public.webhook_troubles
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on public.webhook_troubles from anon, authenticated, service_role;
grant select on public.webhook_troubles to authenticated, service_role;

-- The number of an event in its tenant's log, which its id carries (private.event_id).
create function private.seq_of_event(p_event_id text) returns bigint
language sql immutable set search_path = ''
as $$
  select case when p_event_id ~ '^evt_[0-9a-f]{32}$' then ('x' || substr(p_event_id, 5, 12))::bit(48)::bigint end
$$;
revoke all on function private.seq_of_event(text) from public, anon, authenticated, service_role;
grant execute on function private.seq_of_event(text) to authenticated, service_role;

-- What the PMS sees of every delivery, from queued to its end.
create view public.webhook_deliveries with (security_invoker = true) as
  select d.id as delivery_id, d.tenant_id, l.endpoint_id, 'event' as kind,
    case e.status when 'active' then 'pending' else 'paused' end as status, d.seq, 0 as attempts,
    null::integer as last_status, null::timestamptz as next_attempt_at, null::timestamptz as finished_at
  from queue.deliveries d join queue.lanes l on l.id = d.lane_id join public.webhook_endpoints e on e.id = l.endpoint_id
  union all
  select r.id, r.tenant_id, l.endpoint_id, r.kind,
    case when e.status <> 'active' then 'paused' when r.attempt > 1 then 'retrying' else 'pending' end,
    r.seq, r.attempt - 1, r.last_status, nullif(r.due_at, 'infinity'), null
  from queue.retries r join queue.lanes l on l.id = r.lane_id join public.webhook_endpoints e on e.id = l.endpoint_id
  union all
  select a.delivery_id, a.tenant_id, a.endpoint_id, a.kind,
    case a.outcome when 'gone' then 'failed' else a.outcome end, private.seq_of_event(a.event_id),
    a.attempt - (a.outcome = 'expired')::integer, a.status, null, a.settled_at
  from public.webhook_attempts a
  where a.outcome not in ('retry', 'probe');
comment on view public.webhook_deliveries is 'Every delivery: pending, paused, retrying, delivered, failed or expired';
revoke all on public.webhook_deliveries from anon, authenticated, service_role;
grant select on public.webhook_deliveries to authenticated, service_role;

-- Each endpoint has its lane from the start, and takes its queue along when it goes.
create function private.keep_lane() returns trigger
language plpgsql security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
begin
  if tg_op = 'INSERT' then
    insert into queue.lanes (endpoint_id, tenant_id) values (new.id, new.tenant_id);
    return null;
  end if;
  -- Who is settling holds the lane for share: wait for it before looking, so that its retries are seen.
  perform 1 from queue.lanes l where l.endpoint_id = old.id for update;
  delete from queue.deliveries d using queue.lanes l where l.endpoint_id = old.id and d.lane_id = l.id;
  delete from queue.retries r using queue.lanes l where l.endpoint_id = old.id and r.lane_id = l.id;
  delete from public.webhook_troubles t where t.endpoint_id = old.id;
  return old;
end $$;
revoke all on function private.keep_lane() from public, anon, authenticated, service_role;
create trigger make_lane after insert on public.webhook_endpoints
  for each row execute function private.keep_lane();
create trigger clear_lane before delete on public.webhook_endpoints
  for each row execute function private.keep_lane();

-- AFTER row trigger: an endpoint that is no longer ordered holds nobody up, and one that its people took up again begins
-- anew on the way to being disabled.
create function private.follow_lane_change() returns trigger
language plpgsql security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
begin
  if old.ordered and not new.ordered then
    update queue.retries r set blocked = false, order_key = null, due_at = least(r.due_at, private.now())
    from queue.lanes l where l.endpoint_id = new.id and r.lane_id = l.id and r.blocked;
  end if;
  if new.status = 'active' and old.status <> 'active' then
    delete from public.webhook_troubles t where t.endpoint_id = new.id;
  end if;
  return null;
end $$;
revoke all on function private.follow_lane_change() from public, anon, authenticated, service_role;
create trigger follow_lane_change after update of ordered, status on public.webhook_endpoints
  for each row execute function private.follow_lane_change();
