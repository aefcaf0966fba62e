-- How what became of deliveries is written back, and what follows for an endpoint that fails.
--
-- An endpoint that fails without one success for private.webhook_policy.disable_after is disabled. Its people are told at
-- 50, 70, 90 and 100 % of the way, by rows of public.notifications: never by webhook alone, for that is what is broken.

-- Counts failures of endpoints, tells their people how near they are to being disabled, and disables at the end.
-- p_failures: [{"endpoint_id", "tenant_id", "failures", "since", "at", "status", "error", "gone"}, …]
create function private.note_troubles(p_failures jsonb) returns void
language plpgsql security definer set search_path = ''
as $$
declare
  v_limit constant interval := (select p.disable_after from private.webhook_policy p);
  v_trouble record;
  v_percent integer;
begin
  if p_failures is null then
    return;
  end if;
  insert into public.webhook_troubles as t
    (endpoint_id, tenant_id, failing_since, failures, last_failure_at, last_status, last_error)
  -- by the worker's clock, which may be ahead
  select f.endpoint_id, f.tenant_id, least(f.since, private.now()), f.failures, f.at, f.status, left(f.error, 500)
  from jsonb_to_recordset(p_failures) as f (endpoint_id uuid, tenant_id uuid, failures bigint, since timestamptz,
    at timestamptz, status integer, error text)
  -- one that is being deleted has no troubles
  where exists (select from public.webhook_endpoints e where e.id = f.endpoint_id)
  order by f.endpoint_id
  on conflict (endpoint_id) do update set failures = t.failures + excluded.failures,
    last_failure_at = excluded.last_failure_at, last_status = excluded.last_status, last_error = excluded.last_error;

  for v_trouble in
    select t.*, e.url, e.status as endpoint_status, coalesce(f.gone, false) as gone
    from jsonb_to_recordset(p_failures) as f (endpoint_id uuid, gone boolean)
    join public.webhook_troubles t on t.endpoint_id = f.endpoint_id
    join public.webhook_endpoints e on e.id = t.endpoint_id
    order by t.endpoint_id
  loop
    v_percent := case when v_trouble.gone then 100 else
      (select coalesce(max(s.step), 0) from unnest(array[0, 50, 70, 90, 100]) s (step)
        where private.now() >= v_trouble.failing_since + v_limit * s.step / 100) end;
    continue when v_percent <= v_trouble.told_percent;
    update public.webhook_troubles t set told_percent = v_percent where t.endpoint_id = v_trouble.endpoint_id;
    if v_percent = 100 then
      update public.webhook_endpoints e
      set status = 'disabled', disabled_reason = case when v_trouble.gone then 'the endpoint answered 410 Gone'
        else format('it failed since %s without one success', to_char(v_trouble.failing_since at time zone 'UTC', 'YYYY-MM-DD HH24:MI "UTC"')) end
      where e.id = v_trouble.endpoint_id and e.status <> 'disabled';
    end if;
    perform private.notify_tenant(v_trouble.tenant_id,
      format('webhook %s %s %s', v_trouble.endpoint_id, v_percent, v_trouble.failing_since),
      case v_percent when 100 then 'webhook.disabled' else 'webhook.failing' end,
      case when v_percent >= 90 then 'error' else 'warning' end,
      v_trouble.endpoint_id,
      case when v_percent = 100 then format('Webhook endpoint disabled: %s', left(v_trouble.url, 200))
        else format('Webhook endpoint fails: %s', left(v_trouble.url, 200)) end,
      case
        when v_trouble.gone then 'It answered 410 Gone. What it is owed waits until it expires; test it to enable it again.'
        when v_percent = 100 then format('Nothing was delivered since %s (last answer: %s). What it is owed waits until it expires; test it to enable it again.',
          v_trouble.failing_since, coalesce(v_trouble.last_error, 'none'))
        else format('Nothing was delivered since %s (last answer: %s). It will be disabled at %s.',
          v_trouble.failing_since, coalesce(v_trouble.last_error, 'none'), v_trouble.failing_since + v_limit)
      end);
  end loop;
end $$;
revoke all on function private.note_troubles(jsonb) from public, anon, authenticated, service_role;

-- Lets the first retry of each lane and entity go on, where another before it has ended.
create function private.release_next(p_lane_ids bigint[], p_order_keys uuid[]) returns void
language sql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = on set jit = off
as $$
  update queue.retries q set blocked = false, due_at = private.now()
  from (select distinct k.lane_id, k.order_key from unnest(p_lane_ids, p_order_keys) k (lane_id, order_key)) k
  where q.blocked and q.id = (
    select f.id from queue.retries f where f.lane_id = k.lane_id and f.order_key = k.order_key order by f.id limit 1
  )
$$;
revoke all on function private.release_next(bigint[], uuid[]) from public, anon, authenticated, service_role;

-- First attempts that were delivered, which is nearly all there is to write: as columns, for taking 1,000 rows out of JSON objects
-- took 17 ms, out of lists 7. Answers the ids that it settled and the endpoints that took them. Deleting by an array of ids,
-- and logging what the caller says of the event, took a third of the general statement's time. Without nested loops: nobody
-- tells a planner how many results there are, and with 100 lanes it compared each with each (122 against 29 µs a row).
create function private.settle_delivered(
  p_delivery_ids bigint[], p_event_ids text[], p_types text[], p_statuses integer[], p_responses text[],
  p_started_at timestamptz[], p_duration_ms numeric[], p_dns_ms numeric[], p_connect_ms numeric[], p_first_byte_ms numeric[],
  p_lanes bigint[], p_now timestamptz, p_today date, out settled bigint[], out endpoints uuid[]
)
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off
set jit = off
as $$
begin
  with first_tries as (
    delete from queue.deliveries d where d.id = any (p_delivery_ids) and d.lane_id = any (p_lanes)
    returning d.id, d.lane_id, d.tenant_id
  ), lanes as materialized (
    select l.id, l.endpoint_id from queue.lanes l where l.id = any (p_lanes)
  ), logged as (
    insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id, event_id, event_type,
      outcome, status, duration_ms, dns_ms, connect_ms, first_byte_ms, response, started_at, settled_at)
    select p_today, f.id, 1, f.tenant_id, l.endpoint_id, r.event_id, r.type, 'delivered', r.status, r.duration_ms,
      r.dns_ms, r.connect_ms, r.first_byte_ms, left(r.response, 4096), r.started_at, p_now
    from first_tries f
    join unnest(p_delivery_ids, p_event_ids, p_types, p_statuses, p_responses, p_started_at, p_duration_ms, p_dns_ms,
      p_connect_ms, p_first_byte_ms) as r (delivery_id, event_id, type, status, response, started_at, duration_ms, dns_ms,
      connect_ms, first_byte_ms) on r.delivery_id = f.id
    join lanes l on l.id = f.lane_id
    returning delivery_id, endpoint_id
  )
  select array_agg(g.delivery_id), array_agg(distinct g.endpoint_id) into settled, endpoints from logged g;
end $$;
revoke all on function private.settle_delivered(bigint[], text[], text[], integer[], text[], timestamptz[], numeric[], numeric[],
  numeric[], numeric[], bigint[], timestamptz, date) from public, anon, authenticated, service_role;

-- The others: retries, failures, probes, what lines up. Answers the ids that it settled, the endpoints that took something
-- and those that failed, in the form of private.note_troubles. Without nested loops, as above: so rows are found by arrays of
-- ids, or one by one where there are few.
create function private.settle_others(
  p_results jsonb, p_lanes bigint[], p_now timestamptz, p_today date,
  out settled bigint[], out endpoints uuid[], out failures jsonb
)
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set enable_nestloop = off
set jit = off
as $$
declare
  v_key_lanes bigint[];
  v_keys uuid[];
begin
  with results as materialized (
    select r.*, p_now + make_interval(secs => coalesce(r.retry_in_seconds, 0)) as retry_at
    from jsonb_to_recordset(p_results) as r (delivery_id bigint, lane_id bigint, attempt integer, event_id text, type text,
      outcome text, started_at timestamptz, duration_ms numeric, dns_ms numeric, connect_ms numeric, first_byte_ms numeric,
      status integer, error text, response text, retry_in_seconds numeric, order_key uuid, expires_at timestamptz)
    where r.lane_id = any (p_lanes)
  ), lanes as materialized (
    select l.id, l.endpoint_id from queue.lanes l where l.id = any (p_lanes)
  ), first_tries as (
    delete from queue.deliveries d
    where d.id = any (array(select r.delivery_id from results r where r.attempt = 1 and r.outcome <> 'probe'))
      and d.lane_id = any (p_lanes)
    returning d.*
  ), ended as (
    delete from queue.retries q using results r
    where q.id = any (array(select r.delivery_id from results r where r.outcome in ('delivered', 'failed', 'gone', 'expired')))
      and q.id = r.delivery_id and q.lane_id = r.lane_id and q.attempt = r.attempt
      and r.outcome in ('delivered', 'failed', 'gone', 'expired')
    returning q.id, q.lane_id, q.tenant_id, q.kind, q.order_key
  ), postponed as (
    update queue.retries q set attempt = q.attempt + 1, due_at = r.retry_at, last_status = r.status
    from results r
    where q.id = any (array(select r.delivery_id from results r where r.outcome = 'retry'))
      and q.id = r.delivery_id and q.lane_id = r.lane_id and q.attempt = r.attempt and r.outcome = 'retry'
    returning q.id, q.lane_id, q.tenant_id, q.kind
  ), retried as (
    insert into queue.retries (id, lane_id, tenant_id, seq, dispatched_on, attempt, due_at, expires_at, last_status,
      order_key, blocked)
    select f.id, f.lane_id, f.tenant_id, f.seq, f.dispatched_on, case r.outcome when 'blocked' then 1 else 2 end,
      case r.outcome when 'blocked' then 'infinity' else r.retry_at end, r.expires_at,
      case r.outcome when 'retry' then r.status end, r.order_key, r.outcome = 'blocked'
    from first_tries f join results r on r.delivery_id = f.id
    where r.outcome in ('retry', 'blocked')
  ), probed as (
    -- still where it was, so that its place tells whether it is still owed
    select r.delivery_id as id, r.lane_id, p.tenant_id, p.kind
    from results r
    cross join lateral (
      select d.tenant_id, 'event' as kind from queue.deliveries d where d.id = r.delivery_id and d.lane_id = r.lane_id
      union all
      select q.tenant_id, q.kind from queue.retries q where q.id = r.delivery_id and q.lane_id = r.lane_id
    ) p
    where r.outcome = 'probe'
  ), found as materialized (
    select f.id, f.lane_id, f.tenant_id, 'event' as kind from first_tries f
    union all select e.id, e.lane_id, e.tenant_id, e.kind from ended e
    union all select p.id, p.lane_id, p.tenant_id, p.kind from postponed p
    union all select p.id, p.lane_id, p.tenant_id, p.kind from probed p
  ), tried as materialized (
    select f.tenant_id, f.kind, l.endpoint_id, r.*
    from found f join results r on r.delivery_id = f.id join lanes l on l.id = f.lane_id
    where r.outcome <> 'blocked'
  ), logged as (
    insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id, event_id, event_type,
      kind, outcome, status, error, duration_ms, dns_ms, connect_ms, first_byte_ms, response, retry_at, started_at, settled_at)
    select p_today, t.delivery_id, t.attempt, t.tenant_id, t.endpoint_id, t.event_id, t.type,
      t.kind, t.outcome, t.status, left(t.error, 500), t.duration_ms, t.dns_ms, t.connect_ms, t.first_byte_ms,
      left(t.response, 4096), case t.outcome when 'retry' then t.retry_at end, t.started_at, p_now
    from tried t
    on conflict do nothing
  ), failing as (
    select t.endpoint_id, t.tenant_id, count(*) as failures, min(t.started_at) as since, max(t.started_at) as at,
      (array_agg(jsonb_build_object('status', t.status, 'error', t.error) order by t.started_at desc))[1] as last,
      bool_or(t.outcome = 'gone') as gone
    from tried t
    where t.outcome in ('retry', 'failed', 'gone', 'probe')
    group by t.endpoint_id, t.tenant_id
  ), keys as (
    select e.lane_id, e.order_key from ended e where e.order_key is not null
    union select r.lane_id, r.order_key from results r where r.outcome = 'blocked'
  )
  select (select array_agg(f.id) from found f),
    (select array_agg(distinct t.endpoint_id) from tried t where t.outcome = 'delivered'),
    (select jsonb_agg(jsonb_build_object('endpoint_id', f.endpoint_id, 'tenant_id', f.tenant_id, 'failures', f.failures,
      'since', f.since, 'at', f.at, 'status', f.last ->> 'status', 'error', f.last ->> 'error', 'gone', f.gone)) from failing f),
    (select array_agg(k.lane_id order by k.lane_id, k.order_key) from keys k),
    (select array_agg(k.order_key order by k.lane_id, k.order_key) from keys k)
  into settled, endpoints, failures, v_key_lanes, v_keys;

  if v_keys is not null then
    perform private.release_next(v_key_lanes, v_keys);
  end if;
end $$;
revoke all on function private.settle_others(jsonb, bigint[], timestamptz, date)
  from public, anon, authenticated, service_role;

-- Writes back what became of deliveries, all or nothing, while the lease is valid; lanes of others are left alone.
-- See docs/worker-rpc.md for the outcomes, and for the columns of p_delivered.
create function worker.settle_deliveries(p_token bigint, p_results jsonb default '[]', p_delivered json default '{}')
returns jsonb
language plpgsql security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_today constant date := private.today();
  v_columns record;
  v_lanes bigint[];
  v_settled bigint[] := '{}';
  v_took uuid[] := '{}';
  v_plain record;
  v_rest record;
begin
  perform 1 from queue.leases l where l.id = p_token and l.expires_at > v_now for share;
  if not found then
    return jsonb_build_object('stale', true, 'settled', 0, 'unknown', '[]'::jsonb);
  end if;
  select * into v_columns from json_to_record(p_delivered) as c (delivery_id bigint[], lane_id bigint[], event_id text[],
    type text[], status integer[], response text[], started_at timestamptz[], duration_ms numeric[], dns_ms numeric[],
    connect_ms numeric[], first_byte_ms numeric[]);
  v_lanes := array(
    select l.id from queue.lanes l
    where l.lease_id = p_token and l.id in (
      select unnest(v_columns.lane_id) union select (r ->> 'lane_id')::bigint from jsonb_array_elements(p_results) r
    )
    order by l.id for share
  );
  perform private.make_partition('webhook_attempts', v_today);

  if v_columns.delivery_id is not null then
    v_plain := private.settle_delivered(v_columns.delivery_id, v_columns.event_id, v_columns.type, v_columns.status,
      v_columns.response, v_columns.started_at, v_columns.duration_ms, v_columns.dns_ms, v_columns.connect_ms,
      v_columns.first_byte_ms, v_lanes, v_now, v_today);
    v_settled := coalesce(v_plain.settled, '{}');
    v_took := coalesce(v_plain.endpoints, '{}');
    if cardinality(v_settled) < cardinality(v_columns.delivery_id) then
      -- one that lined up is among the retries, though this was its first attempt; others are gone
      p_results := p_results || coalesce((
        select jsonb_agg(to_jsonb(r) || '{"attempt": 1, "outcome": "delivered"}')
        from unnest(v_columns.delivery_id, v_columns.lane_id, v_columns.event_id, v_columns.type, v_columns.status,
          v_columns.response, v_columns.started_at, v_columns.duration_ms, v_columns.dns_ms, v_columns.connect_ms,
          v_columns.first_byte_ms) as r (delivery_id, lane_id, event_id, type, status, response, started_at, duration_ms, dns_ms,
          connect_ms, first_byte_ms)
        left join unnest(v_settled) s (id) on s.id = r.delivery_id
        where s.id is null
      ), '[]');
    end if;
  end if;
  if p_results <> '[]' then
    v_rest := private.settle_others(p_results, v_lanes, v_now, v_today);
    v_settled := v_settled || coalesce(v_rest.settled, '{}');
    v_took := v_took || coalesce(v_rest.endpoints, '{}');
  end if;
  -- One success is enough: an endpoint that works now and then is not one to be disabled.
  delete from public.webhook_troubles t where t.endpoint_id = any (v_took);
  if p_results <> '[]' then
    perform private.note_troubles((
      select jsonb_agg(f) from jsonb_array_elements(v_rest.failures) f
      where (f ->> 'gone')::boolean or not (f ->> 'endpoint_id')::uuid = any (v_took)
    ));
  end if;

  return jsonb_build_object(
    'stale', false,
    'settled', cardinality(v_settled),
    'unknown', (
      select coalesce(jsonb_agg(r -> 'delivery_id'), '[]') from jsonb_array_elements(p_results) r
      where not (r ->> 'delivery_id')::bigint = any (v_settled)
    )
  );
end $$;
revoke all on function worker.settle_deliveries(bigint, jsonb, json) from public, anon, authenticated, service_role;
grant execute on function worker.settle_deliveries(bigint, jsonb, json) to service_role;

-- Ends what could not be delivered in its time, whatever its endpoint's status; up to p_limit, with one row in the attempts
-- each. {"expired", "more"}
create function worker.expire_deliveries(p_limit integer default 1000) returns jsonb
language plpgsql volatile security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
declare
  v_now constant timestamptz := private.now();
  v_today constant date := private.today();
  v_limit constant integer := greatest(1, least(p_limit, 10000));
  v_expired integer;
  v_key_lanes bigint[];
  v_keys uuid[];
begin
  perform private.make_partition('webhook_attempts', v_today);
  with late_firsts as materialized (
    -- The first of a lane are its oldest: one that is in time ends the look at its lane. Rows are compared as wholes because
    -- only the index by lane can do that: asked for the least id of a lane, a plan read everybody's deliveries for it.
    select f.id from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
    cross join lateral (
      select o.lane_id, o.dispatched_on from queue.deliveries o where (o.lane_id, o.id) >= (l.id, 0)
      order by o.lane_id, o.id limit 1
    ) oldest
    cross join lateral (
      select d.id, v.occurred_at
      from (
        select * from queue.deliveries o where (o.lane_id, o.id) >= (l.id, 0) and (o.lane_id, o.id) < (l.id + 1, 0)
        order by o.lane_id, o.id limit v_limit
      ) d
      left join public.events v on v.tenant_id = d.tenant_id and v.seq = d.seq and v.dispatched_on = d.dispatched_on
      where coalesce(v.occurred_at, d.dispatched_on + interval '1 day') < v_now - make_interval(hours => e.expires_after_hours)
    ) f
    where oldest.lane_id = l.id
      and oldest.dispatched_on <= ((v_now - make_interval(hours => e.expires_after_hours)) at time zone 'UTC')::date
    order by f.id limit v_limit
  ), firsts as (
    delete from queue.deliveries d using late_firsts f where d.id = f.id
    returning d.id, d.lane_id, d.tenant_id, d.seq, d.dispatched_on, 1 as attempt, 'event' as kind, null::uuid as order_key
  ), late_retries as materialized (
    select r.id from queue.retries r where r.expires_at <= v_now order by r.expires_at limit v_limit
  ), retries as (
    delete from queue.retries q using late_retries r where q.id = r.id
    returning q.id, q.lane_id, q.tenant_id, q.seq, q.dispatched_on, q.attempt, q.kind, q.order_key
  ), late as materialized (
    select * from firsts union all select * from retries
  ), logged as (
    insert into public.webhook_attempts (attempted_on, delivery_id, attempt, tenant_id, endpoint_id, event_id, event_type,
      kind, outcome, error, started_at, settled_at)
    select v_today, t.id, t.attempt, t.tenant_id, l.endpoint_id, coalesce(v.id, ''), coalesce(v.type, ''), t.kind, 'expired',
      'expired: it could not be delivered in its time', v_now, v_now
    from late t
    join queue.lanes l on l.id = t.lane_id
    left join public.events v on v.tenant_id = t.tenant_id and v.seq = t.seq and v.dispatched_on = t.dispatched_on
  )
  select count(*), array_agg(t.lane_id) filter (where t.order_key is not null),
    array_agg(t.order_key) filter (where t.order_key is not null)
  into v_expired, v_key_lanes, v_keys
  from late t;
  if v_keys is not null then
    perform private.release_next(v_key_lanes, v_keys);
  end if;
  return jsonb_build_object('expired', v_expired, 'more', v_expired >= v_limit);
end $$;
revoke all on function worker.expire_deliveries(integer) from public, anon, authenticated, service_role;
grant execute on function worker.expire_deliveries(integer) to service_role;
