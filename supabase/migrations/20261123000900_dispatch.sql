-- Dispatch.
--
-- Moves committed changes from the outbox to the log and queues what they cause. It runs alone: the first statement
-- takes a transaction-level advisory lock, and a later one reads (in one statement the snapshot would precede the
-- lock, and a caller that had waited would dispatch again what the other just deleted). It takes every visible row in
-- id order, numbers and deletes it under the lock; a late commit simply gets a later number. No fence on xid: that
-- would stall all tenants for as long as any transaction stays open.
--
-- An event of a tenant with more endpoints than fit a slice is queued in parts: its fan-out is a row, worked off by the
-- calls that follow, and while a tenant has one, its later events line up behind it, so that every lane keeps its order.
--
-- Entries of deleted rows are skipped by an exact mark. A call that took everything visible returns its snapshot's
-- xmin: every transaction before it had ended and was visible, so the next call need not look below.

-- Rings the tenants of p_news and those that still wait for a ring, the longest waiting first, as far as the budget
-- reaches; the rest waits. Most rings touch no row of tenant_log: a hot row that is updated twice as often, under an index,
-- would bloat twice as fast while a session holds xmin. Call under the dispatch lock.
create function private.ring_tenants(p_news uuid[]) returns integer
language plpgsql security definer set search_path = ''
as $$
declare
  v_now constant timestamptz := private.now();
  v_epoch constant text := (select e.epoch from private.log_epoch e);
  v_tokens numeric;
  v_chosen uuid[];
  v_tenant record;
begin
  if p_news is null and not exists (select from private.tenant_log t where t.unrung_since is not null) then
    return 0;
  end if;
  -- a clock that was set back takes no tokens away
  select least(b.per_second, b.tokens + b.per_second * greatest(extract(epoch from v_now - b.refilled_at), 0)) into v_tokens
  from private.ring_budget b;
  v_chosen := array(
    select c.tenant_id
    from (
      select t.tenant_id, t.unrung_since from private.tenant_log t where t.unrung_since is not null
      union all
      select t.tenant_id, null from private.tenant_log t where t.tenant_id = any (p_news) and t.unrung_since is null
    ) c
    order by c.unrung_since nulls last
    limit floor(v_tokens)
  );
  update private.ring_budget b set tokens = v_tokens - cardinality(v_chosen), refilled_at = v_now where b.one;
  update private.tenant_log t set unrung_since = null where t.tenant_id = any (v_chosen) and t.unrung_since is not null;
  update private.tenant_log t set unrung_since = v_now
  where t.tenant_id = any (p_news) and t.unrung_since is null and t.tenant_id <> all (v_chosen);

  for v_tenant in select t.tenant_id, t.seq from private.tenant_log t where t.tenant_id = any (v_chosen) loop
    begin
      perform realtime.send(
        jsonb_build_object('tenant', v_tenant.tenant_id, 'epoch', v_epoch, 'seq', v_tenant.seq),
        'ring', 'tenant:' || v_tenant.tenant_id, true);
    exception when others then
      raise warning 'a tenant was not rung: %', sqlerrm;
    end;
  end loop;
  return cardinality(v_chosen);
end $$;
revoke all on function private.ring_tenants(uuid[]) from public, anon, authenticated, service_role;

create function private.lock_dispatch() returns void
language sql volatile set search_path = ''
as $$ select pg_advisory_xact_lock(hashtextextended('pms dispatch', 0)) $$;
revoke all on function private.lock_dispatch() from public, anon, authenticated, service_role;

-- Where dispatch left off, for whoever has no mark of its own. It may lag, and then costs a longer look; it is never ahead. Of
-- another epoch it is from before a restore, and says nothing.
create table private.dispatch_mark (
  one boolean primary key default true constraint dispatch_mark_one_row check (one),
  mark xid8 not null default '0',
  epoch text not null default ''
);
comment on table private.dispatch_mark is 'Below which transaction the outbox needs no look';
insert into private.dispatch_mark default values;
alter table private.dispatch_mark enable row level security;
revoke all on private.dispatch_mark from public, anon, authenticated, service_role;

create function private.dispatch_mark() returns xid8
language sql stable security definer set search_path = ''
as $$
  select case when d.mark <= pg_snapshot_xmin(pg_current_snapshot()) and d.epoch = e.epoch then d.mark else '0' end
  from private.dispatch_mark d, private.log_epoch e
$$;
revoke all on function private.dispatch_mark() from public, anon, authenticated, service_role;

-- Events whose deliveries are still to be queued, from after_lane_id on. Written and read under the dispatch lock alone.
create table queue.fan_outs (
  tenant_id uuid not null,
  seq bigint not null,
  dispatched_on date not null,
  type text not null,
  entity text not null,
  after_lane_id bigint not null default 0,
  through_lane_id bigint not null,
  primary key (tenant_id, seq)
);
comment on table queue.fan_outs is 'Events of tenants with many endpoints, whose deliveries are queued part by part';
comment on column queue.fan_outs.through_lane_id is 'The last lane that was there when it was dispatched: later ones get later events';
alter table queue.fan_outs enable row level security;
revoke all on queue.fan_outs from public, anon, authenticated, service_role;

-- More endpoints than this, and a tenant's events are fanned out part by part.
create function private.wide_tenant() returns integer
language sql immutable set search_path = ''
as $$ select 1000 $$;
revoke all on function private.wide_tenant() from public, anon, authenticated, service_role;

-- Whether an endpoint with the filter p_events takes an event.
create function private.takes_event(p_events text[], p_type text, p_entity text) returns boolean
language sql immutable set search_path = ''
as $$ select '*' = any (p_events) or p_type = any (p_events) or p_entity || '.*' = any (p_events) $$;
revoke all on function private.takes_event(text[], text, text) from public, anon, authenticated, service_role;

-- Queues deliveries of fan-outs, looking at up to p_limit lanes, of up to 20 tenants in turn; the first event of each
-- tenant goes first. Answers how many were queued. Call under the dispatch lock.
create function private.fan_out(p_limit integer) returns integer
language plpgsql security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_fan_out queue.fan_outs;
  v_tenants constant uuid[] := array(
    select f.tenant_id from queue.fan_outs f group by f.tenant_id order by random() limit 20
  );
  v_share constant integer := greatest(1, p_limit / greatest(1, cardinality(v_tenants)));
  v_tenant_id uuid;
  v_left integer;
  v_seen integer;
  v_last bigint;
  v_more integer;
  v_queued integer := 0;
begin
  foreach v_tenant_id in array v_tenants loop
    v_left := v_share;
    loop
      select * into v_fan_out from queue.fan_outs f where f.tenant_id = v_tenant_id order by f.seq limit 1;
      exit when not found or v_left <= 0;
      with lanes as materialized (
        select l.id, l.endpoint_id from queue.lanes l
        where l.tenant_id = v_tenant_id and l.id > v_fan_out.after_lane_id and l.id <= v_fan_out.through_lane_id
        order by l.id limit v_left
      ), owed as (
        insert into queue.deliveries (lane_id, tenant_id, seq, dispatched_on)
        select l.id, v_tenant_id, v_fan_out.seq, v_fan_out.dispatched_on
        from lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
        where e.status <> 'disabled' and private.takes_event(e.events, v_fan_out.type, v_fan_out.entity)
        order by l.id
        returning 1
      )
      select (select count(*) from lanes), (select max(l.id) from lanes l), (select count(*) from owed)
      into v_seen, v_last, v_more;
      v_queued := v_queued + v_more;
      if v_seen < v_left then
        delete from queue.fan_outs f where f.tenant_id = v_tenant_id and f.seq = v_fan_out.seq;
      else
        update queue.fan_outs f set after_lane_id = v_last where f.tenant_id = v_tenant_id and f.seq = v_fan_out.seq;
      end if;
      v_left := v_left - greatest(v_seen, 1);
    end loop;
  end loop;
  return v_queued;
end $$;
revoke all on function private.fan_out(integer) from public, anon, authenticated, service_role;

-- The id of an event: its number in the tenant's log, and 80 random bits. An event is so found by its id without an index
-- on the log (private.seq_of_event).
create function private.event_id(p_seq bigint) returns text
language sql volatile set search_path = ''
as $$ select 'evt_' || lpad(to_hex(p_seq), 12, '0') || substr(replace(gen_random_uuid()::text, '-', ''), 13) $$;
revoke all on function private.event_id(bigint) from public, anon, authenticated, service_role;

-- The exact bytes of an event, as webhooks sign them.
create function private.event_body(
  p_id text, p_type text, p_tenant_id uuid, p_seq bigint, p_occurred_at timestamptz, p_version bigint,
  p_operation text, p_changed text[], p_new jsonb, p_old jsonb, p_schema integer default 1
) returns text
language sql stable set search_path = ''
as $$
  select concat(
    '{"id":"', p_id, '","type":"', p_type, '","timestamp":"', to_char(p_occurred_at at time zone 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"'),
    '","tenant_id":"', p_tenant_id, '","seq":', p_seq, ',"schema":', p_schema, ',"data":{"object":', coalesce(p_new, p_old),
    ',"previous":', coalesce(
      (select jsonb_object_agg(f, p_old -> f)::text from unnest(p_changed) f where p_operation = 'UPDATE'), 'null'),
    ',"changed":', coalesce(to_json(p_changed)::text, '[]'), ',"version":', p_version, '}}')
$$;
revoke all on function private.event_body(text, text, uuid, bigint, timestamptz, bigint, text, text[], jsonb, jsonb, integer)
  from public, anon, authenticated, service_role;

-- Events whose row is not what the catalogue (…_event_types.sql) says: they are in the log, but webhooks do not carry
-- them. Any is a slip of ours: a change of a table that the catalogue was not told of.
create table private.invalid_events (
  tenant_id uuid not null,
  seq bigint not null,
  type text not null,
  problem text not null,
  at timestamptz not null,
  primary key (tenant_id, seq)
);
comment on table private.invalid_events is 'Events that were kept from webhooks, and why; worker_status counts them';
alter table private.invalid_events enable row level security;
revoke all on private.invalid_events from public, anon, authenticated, service_role;

-- Tenants whose answers an edge adapter caches, and of which entities its answers are made. tag: what an answer names to say
-- what it shows; null: the adapter's knowledge of API keys.
create table private.cached_tenants (
  tenant_id uuid primary key,
  until timestamptz not null
);
comment on table private.cached_tenants is 'Tenants that an edge adapter caches, and how long dispatch tells it of changes';
alter table private.cached_tenants enable row level security;
revoke all on private.cached_tenants from public, anon, authenticated, service_role;

create table private.cached_entities (
  entity text primary key,
  tag text
);
comment on table private.cached_entities is 'Which changes touch which cached answers';
alter table private.cached_entities enable row level security;
revoke all on private.cached_entities from public, anon, authenticated, service_role;
insert into private.cached_entities (entity, tag) values
  ('product', 'products'), ('category', 'products'), ('product_image', 'products'),
  ('stock_level', 'stock'), ('reservation', 'stock'), ('location', 'stock'),
  ('order', 'orders'), ('order_line', 'orders'),
  ('api_key', null), ('membership', null);

-- Queues the job that tells Redis what changed, once for each tenant; how many there are that were not waiting already. One
-- that waits must not be claimed before we have committed: whoever claimed it now would not see what it stands for.
create function private.queue_invalidations(p_tenant_ids uuid[]) returns integer
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off
as $$
declare
  v_left uuid[] := p_tenant_ids;
  v_new integer;
  v_queued integer := 0;
begin
  loop
    insert into queue.jobs (kind, tenant_id, payload, unique_key, serial_key)
    select 'cache.invalidate', t, jsonb_build_object('tenant_id', t), 'cache:' || t, 'cache:' || t from unnest(v_left) t order by t
    on conflict (unique_key) where state = 'waiting' and unique_key is not null do nothing;
    get diagnostics v_new = row_count;
    v_queued := v_queued + v_new;
    with held as (
      select j.tenant_id from queue.jobs j
      where j.unique_key = any (array(select 'cache:' || t from unnest(v_left) t)) and j.state = 'waiting'
      order by j.id for key share
    )
    select array_agg(t) into v_left from unnest(v_left) t where t not in (select h.tenant_id from held h);
    -- those that were claimed between the two statements get a new one
    exit when v_left is null;
  end loop;
  return v_queued;
end $$;
revoke all on function private.queue_invalidations(uuid[]) from public, anon, authenticated, service_role;

-- The planner must not be free to choose here: without fresh statistics it would rather read the whole outbox, dead
-- entries and all, than its key.
create function worker.dispatch_outbox(p_limit integer default 2000, p_mark xid8 default '0', p_worker text default null)
returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_today constant date := private.today();
  v_now constant timestamptz := private.now();
  v_mark xid8;
  v_seen integer := 0;
  v_taken integer := 0;
  v_events integer := 0;
  v_deliveries integer := 0;
  v_endpoints integer := 0;
  v_endpoint_gone boolean := false;
  v_fanned_out boolean := true;
  v_last bigint;
  v_news uuid[];
  v_stale uuid[];
  v_jobs integer := 0;
begin
  if current_setting('transaction_isolation') <> 'read committed' then
    perform private.fail('PT400', 'dispatch.isolation', 'Dispatch needs read committed: its snapshot must follow its lock.');
  end if;
  perform private.lock_dispatch();

  v_mark := pg_snapshot_xmin(pg_current_snapshot());
  -- After a restore transaction ids start lower: a mark from before would hide everything.
  if p_mark > v_mark then
    p_mark := '0';
  end if;
  perform private.make_partition('events', v_today);

  -- Most looks find nothing, and need not even start the statement below.
  perform from private.outbox where xid >= p_mark limit 1;
  if found then
    -- A slice ends before it could queue more than 100,000 deliveries, or it could be one that no time limit allows, and
    -- nobody's would ever end. One change is at most private.wide_tenant() of them.
    with slice as materialized (
      select o.ctid as place, o.* from private.outbox o where o.xid >= p_mark order by o.id limit p_limit
    ), fan_out as materialized (
      select t.tenant_id, t.lanes, t.through_lane_id is not null as wide, t.through_lane_id, t.cached
      from (
        select d.tenant_id,
          exists (select from private.cached_tenants c where c.tenant_id = d.tenant_id and c.until > v_now) as cached,
          (select count(*) from (select from queue.lanes l where l.tenant_id = d.tenant_id limit private.wide_tenant()) l) as lanes,
          case when exists (select from queue.fan_outs f where f.tenant_id = d.tenant_id)
            or exists (select from queue.lanes l where l.tenant_id = d.tenant_id offset private.wide_tenant())
          then (select max(l.id) from queue.lanes l where l.tenant_id = d.tenant_id) end as through_lane_id
        from (select distinct s.tenant_id from slice s) d
      ) t
    ), taken as materialized (
      select w.* from (
        select s.*, f.wide, f.through_lane_id, f.cached, case when f.wide then 0 else f.lanes end as lanes,
          sum(case when f.wide then 0 else f.lanes end) over (order by s.id rows unbounded preceding) as owed
        from slice s join fan_out f on f.tenant_id = s.tenant_id
      ) w
      where w.owed <= 100000
    ), gone as (
      delete from private.outbox o using taken t where o.ctid = t.place
    ), typed as materialized (
      select t.*, e.type, e.webhooks, k.schema_version,
        -- private.event_problem is null; here at the price of a join
        coalesce(t.new_row, t.old_row) ?& k.required and not coalesce(t.new_row, t.old_row) ?| k.hidden as fits,
        row_number() over (partition by t.tenant_id order by t.id) as place_in_tenant
      from taken t cross join lateral private.event_type(t.entity, t.operation, t.changed, t.new_row) e
      left join private.event_keys k on k.type = e.type
      where e.type is not null
    ), counted as (
      insert into private.tenant_log as l (tenant_id, seq)
      select t.tenant_id, count(*) from typed t group by t.tenant_id order by t.tenant_id
      on conflict (tenant_id) do update set seq = l.seq + excluded.seq
      returning l.tenant_id, l.seq
    ), numbered as materialized (
      select t.*, private.event_id(t.seq) as event_id
      from (
        select t.*, c.seq - max(t.place_in_tenant) over (partition by t.tenant_id) + t.place_in_tenant as seq
        from typed t join counted c on c.tenant_id = t.tenant_id
      ) t
    ), logged as (
      insert into public.events (dispatched_on, tenant_id, seq, id, type, entity, entity_id, version, actor, command_id,
        occurred_at, dispatched_at, body)
      select v_today, n.tenant_id, n.seq, n.event_id, n.type, n.entity, n.entity_id, n.version, n.actor, n.command_id,
        n.occurred_at, v_now, private.event_body(n.event_id, n.type, n.tenant_id, n.seq, n.occurred_at, n.version,
          n.operation, n.changed, n.new_row, n.old_row, coalesce(n.schema_version, 1))
      from numbered n order by n.id
    ), refused as (
      insert into private.invalid_events (tenant_id, seq, type, problem, at)
      select n.tenant_id, n.seq, n.type, coalesce(private.event_problem(n.type, coalesce(n.new_row, n.old_row)), 'unknown'), v_now
      from numbered n where n.fits is not true
    ), owed as (
      insert into queue.deliveries (lane_id, tenant_id, seq, dispatched_on)
      select l.id, n.tenant_id, n.seq, v_today
      from numbered n
      join public.webhook_endpoints e on e.tenant_id = n.tenant_id and e.status <> 'disabled'
        and private.takes_event(e.events, n.type, n.entity)
      join queue.lanes l on l.endpoint_id = e.id
      where n.webhooks and n.fits and not n.wide
      order by n.id, l.id
      returning 1
    ), later as (
      insert into queue.fan_outs (tenant_id, seq, dispatched_on, type, entity, through_lane_id)
      select n.tenant_id, n.seq, v_today, n.type, n.entity, n.through_lane_id
      from numbered n
      where n.webhooks and n.fits and n.wide
    )
    select (select count(*) from slice), (select count(*) from taken), (select count(*) from numbered), (select count(*) from owed),
      (select count(*) from taken t where t.entity = 'webhook_endpoint'),
      exists (select from taken t where t.entity = 'webhook_endpoint' and t.operation = 'DELETE'),
      (select array_agg(c.tenant_id) from counted c),
      (select array_agg(distinct n.tenant_id) from numbered n
        where n.cached and n.entity = any (array(select e.entity from private.cached_entities e)))
    into v_seen, v_taken, v_events, v_deliveries, v_endpoints, v_endpoint_gone, v_news, v_stale;
  end if;
  if v_stale is not null then
    v_jobs := private.queue_invalidations(v_stale);
  end if;

  if exists (select from queue.fan_outs) then
    v_deliveries := v_deliveries + private.fan_out(2500);
    v_fanned_out := not exists (select from queue.fan_outs);
  end if;

  -- What a call before this one queued for an endpoint whose deletion it could not see yet.
  if v_endpoint_gone then
    delete from queue.deliveries d where not exists (select from queue.lanes l where l.id = d.lane_id);
  end if;

  -- After a crash Postgres gives out again the ids that left no trace on disk. So a mark must lie below an id whose
  -- commit is on disk: this call's own, if it wrote anything. One that found nothing keeps the mark it was given, or
  -- writes a word to the WAL when that is worth it.
  if v_taken = 0 and v_mark > p_mark then
    if p_mark > '0' and v_mark::text::bigint - p_mark::text::bigint < 256 then
      v_mark := p_mark;
    else
      perform pg_logical_emit_message(true, 'pms.mark', '');
    end if;
  end if;

  -- Written now and then alone: a row that each call updates would bloat while a session holds xmin.
  if v_taken = v_seen and v_seen < p_limit and (v_taken > 0 or v_mark > p_mark)
    and v_mark::text::bigint - private.dispatch_mark()::text::bigint >= 256
  then
    update private.dispatch_mark d set mark = v_mark, epoch = (select e.epoch from private.log_epoch e) where d.one;
  end if;

  -- Under the lock nothing else takes ids, so all of them up to here are committed with this call at the latest.
  v_last := coalesce(pg_sequence_last_value(pg_get_serial_sequence('queue.deliveries', 'id')::regclass), 0);

  perform private.ring_tenants(v_news);
  if (v_deliveries > 0 or v_endpoints > 0) and exists (
    select from queue.leases l where l.expires_at > v_now and l.worker is distinct from p_worker
  ) then
    -- whoever hears of more than one thing looks for all
    perform private.ring(case when v_jobs > 0 then 'all' when v_endpoints > 0 then 'endpoints' else 'deliveries' end);
  elsif v_jobs > 0 then
    perform private.ring('jobs');
  end if;

  return jsonb_build_object(
    'events', v_events, 'deliveries', v_deliveries, 'jobs', v_jobs, 'endpoints', v_endpoints,
    'last_delivery_id', v_last, 'drained', v_taken = v_seen and v_seen < p_limit and v_fanned_out,
    'mark', case when v_taken = v_seen and v_seen < p_limit then v_mark else p_mark end::text
  );
end $$;
revoke all on function worker.dispatch_outbox(integer, xid8, text) from public, anon, authenticated, service_role;
grant execute on function worker.dispatch_outbox(integer, xid8, text) to service_role;

-- For one who waits for a tenant's own changes: dispatches a slice, whosesoever, if any of them (up to p_until, where it is
-- given) is still in the outbox; and returns up to where then still some are, null if all are in the log. Never more than a
-- slice: each must be committed by itself, or a time limit would undo them all, with everybody waiting for the lock.
create function private.dispatch_for(p_tenant_id uuid, p_until bigint default null) returns bigint
language plpgsql volatile set search_path = '' set enable_seqscan = off
as $$
declare
  v_mark constant xid8 := private.dispatch_mark();
  v_until bigint;
begin
  select max(o.id) into v_until from private.outbox o
  where o.xid >= v_mark and o.tenant_id = p_tenant_id and (p_until is null or o.id <= p_until);
  if v_until is not null then
    -- whoever dispatches meanwhile is waited for
    perform worker.dispatch_outbox(p_mark => v_mark);
    select max(o.id) into v_until from private.outbox o
    where o.xid >= v_mark and o.tenant_id = p_tenant_id and o.id <= v_until;
  end if;
  return v_until;
end $$;
revoke all on function private.dispatch_for(uuid, bigint) from public, anon, authenticated, service_role;
