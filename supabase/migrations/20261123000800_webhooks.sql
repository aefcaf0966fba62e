-- Webhooks.
--
-- An endpoint is a URL that a tenant wants events sent to. Its lane is the queue of what it is owed. A delivery is
-- touched twice in its life: dispatch inserts it, settling deletes it. One that failed moves, under the same id, to
-- queue.retries, which has a due time. What was tried stands in public.webhook_attempts, by day, never updated.
--
-- A worker holds lanes through a lease. The lease's id is the fencing token: settling locks the lease and the lanes
-- for share, checks them, and changes nothing when they are no longer the caller's. Only dispatch inserts into
-- queue.deliveries, under its lock, so ids are commit-ordered and a reader's mark in memory is exact.

create table public.webhook_endpoints (
  id uuid primary key default gen_random_uuid(),
  tenant_id uuid not null references public.tenants (id) on delete cascade,
  url text not null
    constraint webhook_endpoints_url_length check (length(url) <= 2048)
    constraint webhook_endpoints_url_scheme check (url ~ '^https?://[^[:space:][:cntrl:]]+$'),
  description text not null default ''
    constraint webhook_endpoints_description_length check (length(description) <= 500)
    constraint webhook_endpoints_description_clean check (private.is_clean(description)),
  events text[] not null default '{*}'
    constraint webhook_endpoints_events_some check (cardinality(events) between 1 and 50)
    constraint webhook_endpoints_events_form
    check (array_to_string(events, ',', '!') ~ '^(\*|[a-z_]+\.(\*|[a-z_]+))(,(\*|[a-z_]+\.(\*|[a-z_]+)))*$')
    -- Two types in one text would pass the form above, and match nothing for ever.
    constraint webhook_endpoints_events_single
    check (cardinality(string_to_array(array_to_string(events, ',', '!'), ',')) = cardinality(events)),
  status text not null default 'active'
    constraint webhook_endpoints_status_known check (status in ('active', 'paused', 'disabled')),
  disabled_reason text,
  timeout_seconds integer not null default 15
    constraint webhook_endpoints_timeout_range check (timeout_seconds between 1 and 30),
  max_concurrency integer not null default 10
    constraint webhook_endpoints_concurrency_range check (max_concurrency between 1 and 100),
  version bigint not null default 1,
  created_at timestamptz not null default private.now(),
  updated_at timestamptz not null default private.now(),
  constraint webhook_endpoints_within_tenant unique (tenant_id, id)
);
comment on table public.webhook_endpoints is 'Where a tenant wants its events; made by create_webhook_endpoint';

alter table public.webhook_endpoints enable row level security;
create policy "only within one's own tenants" on public.webhook_endpoints
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see their tenant's endpoints" on public.webhook_endpoints
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
create policy "managers change their tenant's endpoints" on public.webhook_endpoints
  for update to authenticated
  using (tenant_id = any ((select private.tenants_with('webhooks.write'))::uuid[]))
  with check (tenant_id = any ((select private.tenants_with('webhooks.write'))::uuid[]));
create policy "managers delete their tenant's endpoints" on public.webhook_endpoints
  for delete to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.write'))::uuid[]));
revoke all on public.webhook_endpoints from anon, authenticated, service_role;
grant select, delete on public.webhook_endpoints to authenticated, service_role;
grant update (url, description, events, status, timeout_seconds, max_concurrency, version)
  on public.webhook_endpoints to authenticated, service_role;
create trigger stamp_version before insert or update on public.webhook_endpoints
  for each row execute function private.stamp_version();

-- Signing secrets; several are valid during a rotation. The text is kept by private.put_secret.
create table private.webhook_secrets (
  secret_id uuid primary key,
  endpoint_id uuid not null references public.webhook_endpoints (id) on delete cascade,
  created_at timestamptz not null default private.now(),
  expires_at timestamptz
);
comment on table private.webhook_secrets is 'Which secrets sign for an endpoint';
create index webhook_secrets_by_endpoint on private.webhook_secrets (endpoint_id, created_at desc);
alter table private.webhook_secrets enable row level security;
revoke all on private.webhook_secrets from public, anon, authenticated, service_role;

create function private.drop_webhook_secret() returns trigger
language plpgsql security definer set search_path = ''
as $$
begin
  perform private.drop_secret(old.secret_id);
  return null;
end $$;
revoke all on function private.drop_webhook_secret() from public, anon, authenticated, service_role;
create trigger drop_secret after delete on private.webhook_secrets
  for each row execute function private.drop_webhook_secret();

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
alter table queue.lanes enable row level security;
revoke all on queue.lanes from public, anon, authenticated, service_role;

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

create table queue.retries (
  id bigint primary key,
  lane_id bigint not null,
  tenant_id uuid not null,
  seq bigint not null,
  dispatched_on date not null,
  attempt integer not null constraint retries_attempt_positive check (attempt > 0),
  due_at timestamptz not null
);
comment on table queue.retries is 'Deliveries that failed and are due again; attempt is the next one''s number';
create index retries_due on queue.retries (due_at, id);
create index retries_by_lane on queue.retries (lane_id, due_at);

-- Rows that come and go: vacuum by count, not by share, and without pauses.
alter table queue.deliveries set (
  autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_cost_delay = 0,
  autovacuum_vacuum_insert_scale_factor = 0, autovacuum_vacuum_insert_threshold = 20000,
  autovacuum_analyze_scale_factor = 0, autovacuum_analyze_threshold = 20000
);
alter table queue.retries set (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 1000);

alter table queue.deliveries enable row level security;
create policy "managers see what their endpoints are owed" on queue.deliveries
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on queue.deliveries from public, anon, authenticated, service_role;
grant select on queue.deliveries to authenticated, service_role;

alter table queue.retries enable row level security;
create policy "managers see what their endpoints will be sent again" on queue.retries
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on queue.retries from public, anon, authenticated, service_role;
grant select on queue.retries to authenticated, service_role;

create policy "managers see their tenant's lanes" on queue.lanes
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
grant select (id, endpoint_id, tenant_id) on queue.lanes to authenticated, service_role;

create table public.webhook_attempts (
  attempted_on date not null,
  delivery_id bigint not null,
  attempt integer not null,
  tenant_id uuid not null,
  endpoint_id uuid not null,
  event_id text not null,
  event_type text not null,
  outcome text not null
    constraint webhook_attempts_outcome_known check (outcome in ('delivered', 'retry', 'failed', 'gone')),
  status integer,
  error text,
  duration_ms numeric(12, 1),
  response text,
  retry_at timestamptz,
  started_at timestamptz not null,
  settled_at timestamptz not null,
  primary key (delivery_id, attempt, attempted_on)
) partition by range (attempted_on);
comment on table public.webhook_attempts is 'What was tried, one row an attempt; the outcome retry is not the end';
create index webhook_attempts_by_endpoint on public.webhook_attempts (endpoint_id, started_at desc);
create index webhook_attempts_by_tenant on public.webhook_attempts (tenant_id, started_at desc);

alter table public.webhook_attempts enable row level security;
create policy "only within one's own tenants" on public.webhook_attempts
  as restrictive for all to authenticated using (tenant_id = any ((select private.my_tenants())::uuid[]));
create policy "managers see what was sent to their endpoints" on public.webhook_attempts
  for select to authenticated using (tenant_id = any ((select private.tenants_with('webhooks.read'))::uuid[]));
revoke all on public.webhook_attempts from anon, authenticated, service_role;
grant select on public.webhook_attempts to authenticated, service_role;

-- What the PMS sees of every delivery, from queued to its end.
create view public.webhook_deliveries with (security_invoker = true) as
  select d.id as delivery_id, d.tenant_id, l.endpoint_id, 'pending' as status, d.seq, 0 as attempts,
    null::integer as last_status, null::timestamptz as next_attempt_at, null::timestamptz as finished_at
  from queue.deliveries d join queue.lanes l on l.id = d.lane_id
  union all
  select r.id, r.tenant_id, l.endpoint_id, 'retrying', r.seq, r.attempt - 1, null, r.due_at, null
  from queue.retries r join queue.lanes l on l.id = r.lane_id
  union all
  select a.delivery_id, a.tenant_id, a.endpoint_id,
    case a.outcome when 'delivered' then 'delivered' else 'failed' end, null, a.attempt, a.status, null, a.settled_at
  from public.webhook_attempts a
  where a.outcome <> 'retry';
comment on view public.webhook_deliveries is 'Every delivery: pending, retrying, delivered or failed';
revoke all on public.webhook_deliveries from anon, authenticated, service_role;
grant select on public.webhook_deliveries to authenticated, service_role;

-- Each endpoint has its lane from the start, and takes its queue along when it goes.
create function private.keep_lane() returns trigger
language plpgsql security definer set search_path = ''
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
  return old;
end $$;
revoke all on function private.keep_lane() from public, anon, authenticated, service_role;
create trigger make_lane after insert on public.webhook_endpoints
  for each row execute function private.keep_lane();
create trigger clear_lane before delete on public.webhook_endpoints
  for each row execute function private.keep_lane();

create function private.create_webhook_endpoint(p_tenant_id uuid, p_url text, p_events text[], p_description text)
returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_endpoint public.webhook_endpoints;
  v_secret constant text := 'whsec_' || encode(extensions.gen_random_bytes(32), 'base64');
begin
  perform private.require(p_tenant_id, 'webhooks.write');
  insert into public.webhook_endpoints (tenant_id, url, events, description)
  values (p_tenant_id, p_url, p_events, p_description)
  returning * into v_endpoint;
  insert into private.webhook_secrets (secret_id, endpoint_id)
  values (private.put_secret('webhook ' || v_endpoint.id || ' ' || gen_random_uuid(), v_secret), v_endpoint.id);
  return to_jsonb(v_endpoint) || jsonb_build_object('secret', v_secret);
end $$;
revoke all on function private.create_webhook_endpoint(uuid, text, text[], text)
  from public, anon, authenticated, service_role;
grant execute on function private.create_webhook_endpoint(uuid, text, text[], text) to authenticated, service_role;

-- Adds an endpoint. The answer is the endpoint with its signing secret (whsec_…), which is shown this once.
-- p_events: event types, with wildcards: '*', 'product.*', 'product.updated'.
create function public.create_webhook_endpoint(
  p_tenant_id uuid, p_url text, p_events text[] default '{*}', p_description text default ''
) returns jsonb
language sql volatile set search_path = ''
as $$ select private.create_webhook_endpoint(p_tenant_id, p_url, p_events, p_description) $$;
revoke all on function public.create_webhook_endpoint(uuid, text, text[], text)
  from public, anon, authenticated, service_role;
grant execute on function public.create_webhook_endpoint(uuid, text, text[], text) to authenticated, service_role;

-- Extends or makes a lease, takes free lanes up to the worker's fair share, and answers with all lanes held.
create function worker.lease_lanes(
  p_worker text, p_token bigint default null, p_seconds integer default 30, p_limit integer default 10000
) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_token bigint;
  v_expires timestamptz := private.now() + make_interval(secs => p_seconds);
  v_share integer;
  v_held integer;
begin
  update queue.leases l set expires_at = v_expires
  where l.id = p_token and l.worker = p_worker and l.expires_at > private.now()
  returning l.id into v_token;
  if v_token is null then
    insert into queue.leases (worker, expires_at) values (p_worker, v_expires) returning id into v_token;
  end if;

  -- One that is being settled under holds a share lock, so its lanes are taken only after that has committed.
  delete from queue.leases l
  where l.id in (select e.id from queue.leases e where e.expires_at <= private.now() for update skip locked);

  select ceil((select count(*) from queue.lanes)::numeric / count(distinct l.worker)) into v_share
  from queue.leases l where l.expires_at > private.now();
  select count(*) into v_held from queue.lanes l where l.lease_id = v_token;

  update queue.lanes l set lease_id = v_token
  where l.id in (
    select f.id from queue.lanes f where f.lease_id is null order by f.id
    limit greatest(0, least(p_limit, v_share) - v_held) for update skip locked
  );

  return jsonb_build_object(
    'token', v_token,
    'expires_at', v_expires,
    'surplus', greatest(0, v_held - v_share),
    'lanes', (
      select coalesce(jsonb_agg(jsonb_build_object(
        'lane_id', l.id, 'endpoint_id', e.id, 'tenant_id', e.tenant_id, 'url', e.url, 'status', e.status,
        'timeout_seconds', e.timeout_seconds, 'max_concurrency', e.max_concurrency, 'version', e.version,
        'secrets', (
          select coalesce(jsonb_agg(private.read_secret(s.secret_id) order by s.created_at desc), '[]')
          from private.webhook_secrets s
          where s.endpoint_id = e.id and (s.expires_at is null or s.expires_at > private.now())
        )
      ) order by l.id), '[]')
      from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
      where l.lease_id = v_token
    )
  );
end $$;
revoke all on function worker.lease_lanes(text, bigint, integer, integer) from public, anon, authenticated, service_role;
grant execute on function worker.lease_lanes(text, bigint, integer, integer) to service_role;

-- Gives lanes back: all, and the lease with them, or those named.
create function worker.release_lanes(p_token bigint, p_lane_ids bigint[] default null) returns jsonb
language plpgsql security definer set search_path = ''
as $$
declare
  v_released integer;
begin
  -- The lease before its lanes, as settling does.
  perform 1 from queue.leases l where l.id = p_token for update;
  update queue.lanes l set lease_id = null
  where l.lease_id = p_token and (p_lane_ids is null or l.id = any (p_lane_ids));
  get diagnostics v_released = row_count;
  if p_lane_ids is null then
    delete from queue.leases l where l.id = p_token;
  end if;
  if v_released > 0 then
    perform private.ring('endpoints');
  end if;
  return jsonb_build_object('released', v_released);
end $$;
revoke all on function worker.release_lanes(bigint, bigint[]) from public, anon, authenticated, service_role;
grant execute on function worker.release_lanes(bigint, bigint[]) to service_role;

-- Reads what the lanes of a lease are owed, without writing. See docs/worker-rpc.md for the modes.
create function worker.read_lanes(
  p_token bigint, p_after bigint, p_limit integer, p_lane_ids bigint[] default null,
  p_busy_ids bigint[] default '{}', p_through bigint default null, p_parked_lane_ids bigint[] default '{}',
  p_behind_lane_ids bigint[] default '{}'
) returns jsonb
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  -- A volatile function is no index condition; its value is.
  v_now constant timestamptz := private.now();
  v_first jsonb;
  v_again jsonb := '[]';
  v_after bigint;
  v_more boolean;
  v_next timestamptz;
begin
  if not exists (select from queue.leases l where l.id = p_token and l.expires_at > v_now) then
    return jsonb_build_object('stale', true, 'after', p_after, 'more', false, 'deliveries', '[]'::jsonb,
      'next_retry_at', null);
  end if;

  with found as (
    select d.id, d.lane_id, d.tenant_id, d.seq, d.dispatched_on
    from queue.deliveries d
    join queue.lanes l on l.id = d.lane_id and l.lease_id = p_token
    join public.webhook_endpoints e on e.id = l.endpoint_id and e.status = 'active'
    where d.id > p_after and d.lane_id <> all (p_behind_lane_ids)
      and (p_lane_ids is null or d.lane_id = any (p_lane_ids))
    order by d.id
    limit p_limit
  )
  -- How far the answer reaches is told by what was found, not by what has its event still. A delivery whose event is
  -- gone is passed over and stays pending, for people to see: nobody can send it, and it must not hold up the others.
  select coalesce(jsonb_agg(jsonb_build_object(
      'delivery_id', f.id, 'lane_id', f.lane_id, 'retry', false, 'attempt', 1, 'event_id', v.id, 'type', v.type,
      'body', v.body, 'occurred_at', v.occurred_at
    ) order by f.id) filter (where v.id is not null), '[]'), max(f.id), count(*) >= p_limit
  into v_first, v_after, v_more
  from found f
  left join public.events v on v.tenant_id = f.tenant_id and v.seq = f.seq and v.dispatched_on = f.dispatched_on;

  -- A complete answer covers everything visible, not only what is the caller's. The caller's own dispatch told it how
  -- far that is (p_through); without that, look, which walks dead entries while a session holds xmin.
  if not v_more then
    v_after := greatest(p_after, v_after, p_through);
    if p_through is null then
      v_after := greatest(v_after, (select d.id from queue.deliveries d where d.id > p_after order by d.id desc limit 1));
    end if;
  end if;

  if p_lane_ids is null then
    select coalesce(jsonb_agg(jsonb_build_object(
        'delivery_id', r.id, 'lane_id', r.lane_id, 'retry', true, 'attempt', r.attempt, 'event_id', r.event_id,
        'type', r.type, 'body', r.body, 'occurred_at', r.occurred_at
      ) order by r.due_at, r.id), '[]')
    into v_again
    from (
      select r.id, r.lane_id, r.attempt, r.due_at, v.id as event_id, v.type, v.body, v.occurred_at
      from queue.retries r
      join public.events v on v.tenant_id = r.tenant_id and v.seq = r.seq and v.dispatched_on = r.dispatched_on
      join queue.lanes l on l.id = r.lane_id and l.lease_id = p_token
      join public.webhook_endpoints e on e.id = l.endpoint_id and e.status = 'active'
      where r.due_at <= v_now and r.id <> all (p_busy_ids) and r.lane_id <> all (p_parked_lane_ids)
      order by r.due_at, r.id
      limit p_limit
    ) r;

    select r.due_at into v_next
    from queue.retries r join queue.lanes l on l.id = r.lane_id and l.lease_id = p_token
    where r.due_at > v_now and r.lane_id <> all (p_parked_lane_ids)
    order by r.due_at limit 1;
  end if;

  return jsonb_build_object('stale', false, 'after', v_after, 'more', v_more, 'deliveries', v_first || v_again,
    'next_retry_at', v_next);
end $$;
revoke all on function worker.read_lanes(bigint, bigint, integer, bigint[], bigint[], bigint, bigint[], bigint[])
  from public, anon, authenticated, service_role;
grant execute on function worker.read_lanes(bigint, bigint, integer, bigint[], bigint[], bigint, bigint[], bigint[])
  to service_role;

-- Writes back what became of deliveries, all or nothing, while the lease is valid; lanes of others are left alone.
create function worker.settle_deliveries(p_token bigint, p_results jsonb) returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_lanes bigint[];
  v_settled bigint[];
  v_gone bigint[];
begin
  perform 1 from queue.leases l where l.id = p_token and l.expires_at > private.now() for share;
  if not found then
    return jsonb_build_object('stale', true, 'settled', 0, 'unknown', '[]'::jsonb);
  end if;
  select array_agg(h.id) into v_lanes
  from (
    select l.id from queue.lanes l
    where l.lease_id = p_token and l.id in (select (r ->> 'lane_id')::bigint from jsonb_array_elements(p_results) r)
    order by l.id for share
  ) h;
  perform private.make_partition('webhook_attempts', private.today());

  with results as (
    select * from jsonb_to_recordset(p_results) as r (delivery_id bigint, lane_id bigint, attempt integer, outcome text,
      started_at timestamptz, duration_ms numeric, status integer, error text, response text, retry_in_seconds numeric)
  ), first_tries as (
    delete from queue.deliveries d using results r
    where d.id = r.delivery_id and d.lane_id = r.lane_id and d.lane_id = any (v_lanes) and r.attempt = 1
    returning d.*
  ), ended as (
    delete from queue.retries q using results r
    where q.id = r.delivery_id and q.lane_id = any (v_lanes) and q.attempt = r.attempt and r.outcome <> 'retry'
    returning q.id, q.lane_id, q.tenant_id, q.seq, q.dispatched_on
  ), postponed as (
    update queue.retries q
    set attempt = q.attempt + 1, due_at = private.now() + make_interval(secs => coalesce(r.retry_in_seconds, 0))
    from results r
    where q.id = r.delivery_id and q.lane_id = any (v_lanes) and q.attempt = r.attempt and r.outcome = 'retry'
    returning q.id, q.lane_id, q.tenant_id, q.seq, q.dispatched_on
  ), retried as (
    insert into queue.retries (id, lane_id, tenant_id, seq, dispatched_on, attempt, due_at)
    select f.id, f.lane_id, f.tenant_id, f.seq, f.dispatched_on, 2,
      private.now() + make_interval(secs => coalesce(r.retry_in_seconds, 0))
    from first_tries f join results r on r.delivery_id = f.id
    where r.outcome = 'retry'
  ), settled as (
    select * from first_tries union all select * from ended union all select * from postponed
  ), logged as (
    insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id, event_id,
      event_type, outcome, status, error, duration_ms, response, retry_at, started_at, settled_at)
    select private.today(), s.id, r.attempt, s.tenant_id, l.endpoint_id, v.id, v.type, r.outcome, r.status,
      left(r.error, 500), r.duration_ms, left(r.response, 4096),
      case r.outcome when 'retry' then private.now() + make_interval(secs => coalesce(r.retry_in_seconds, 0)) end,
      r.started_at, private.now()
    from settled s
    join results r on r.delivery_id = s.id
    join queue.lanes l on l.id = s.lane_id
    join public.events v on v.tenant_id = s.tenant_id and v.seq = s.seq and v.dispatched_on = s.dispatched_on
  )
  select array_agg(s.id), array_agg(s.lane_id) filter (where r.outcome = 'gone') into v_settled, v_gone
  from settled s join results r on r.delivery_id = s.id;

  if v_gone is not null then
    update public.webhook_endpoints e set status = 'disabled', disabled_reason = 'the endpoint answered 410 Gone'
    from queue.lanes l
    where l.id = any (v_gone) and e.id = l.endpoint_id and e.status <> 'disabled';
  end if;

  return jsonb_build_object(
    'stale', false,
    'settled', coalesce(cardinality(v_settled), 0),
    'unknown', (
      select coalesce(jsonb_agg(r -> 'delivery_id'), '[]') from jsonb_array_elements(p_results) r
      where v_settled is null or not (r ->> 'delivery_id')::bigint = any (v_settled)
    )
  );
end $$;
revoke all on function worker.settle_deliveries(bigint, jsonb) from public, anon, authenticated, service_role;
grant execute on function worker.settle_deliveries(bigint, jsonb) to service_role;

insert into private.event_map (entity, operation, verb, webhooks, description) values
  ('webhook_endpoint', 'INSERT', 'created', false,
    'An endpoint was added.'),
  ('webhook_endpoint', 'UPDATE', 'updated', false,
    'An endpoint was changed, paused or disabled.'),
  ('webhook_endpoint', 'DELETE', 'deleted', false,
    'An endpoint is gone.');
select private.log_changes_of('public.webhook_endpoints', 'webhook_endpoint');
