-- How workers hold lanes and read what they are owed. See docs/worker-rpc.md.

-- Extends or makes a lease and takes free lanes up to the worker's fair share. Answers with the lanes held as
-- [[lane_id, version], …], or with null when they are those of p_known, the `known` of an answer before.
create function worker.lease_lanes(
  p_worker text, p_token bigint default null, p_seconds integer default 30, p_limit integer default 200000,
  p_known text default null
) returns jsonb
language plpgsql security definer set search_path = '' set jit = off
as $$
declare
  v_token bigint;
  v_expires timestamptz := private.now() + make_interval(secs => p_seconds);
  v_share integer;
  v_held integer;
  v_known text;
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

  select count(*) || ':' || coalesce(sum(hashtextextended(l.id || ' ' || e.version, 0)::numeric), 0) into v_known
  from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
  where l.lease_id = v_token;

  return jsonb_build_object(
    'token', v_token,
    'expires_at', v_expires,
    'surplus', greatest(0, v_held - v_share),
    'known', v_known,
    'lanes', case when v_known is distinct from p_known then (
      select coalesce(jsonb_agg(jsonb_build_array(l.id, e.version) order by l.id), '[]')
      from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
      where l.lease_id = v_token
    ) end
  );
end $$;
revoke all on function worker.lease_lanes(text, bigint, integer, integer, text)
  from public, anon, authenticated, service_role;
grant execute on function worker.lease_lanes(text, bigint, integer, integer, text) to service_role;

-- What sending for an endpoint takes, its valid secrets among it.
create function private.lane_settings(p_lane queue.lanes, p_endpoint public.webhook_endpoints) returns jsonb
language sql stable security definer set search_path = ''
as $$
  select jsonb_build_object(
    'lane_id', p_lane.id, 'endpoint_id', p_endpoint.id, 'tenant_id', p_endpoint.tenant_id, 'url', p_endpoint.url,
    'status', p_endpoint.status, 'headers', p_endpoint.headers, 'timeout_seconds', p_endpoint.timeout_seconds,
    'max_concurrency', p_endpoint.max_concurrency, 'rate_limit_per_second', p_endpoint.rate_limit_per_second,
    'ordered', p_endpoint.ordered, 'expires_after_hours', p_endpoint.expires_after_hours, 'version', p_endpoint.version,
    'secrets', (
      select coalesce(jsonb_agg(
        jsonb_build_object('secret', private.read_secret(s.secret_id), 'expires_at', s.expires_at)
        order by s.created_at desc, s.secret_id), '[]')
      from private.webhook_secrets s
      where s.endpoint_id = p_endpoint.id and (s.expires_at is null or s.expires_at > private.now())
    )
  )
$$;
revoke all on function private.lane_settings(queue.lanes, public.webhook_endpoints)
  from public, anon, authenticated, service_role;

-- What the worker must know of lanes that it holds to send for them; those that it holds no longer are left out.
create function worker.describe_lanes(p_token bigint, p_lane_ids bigint[]) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
  select coalesce(jsonb_agg(private.lane_settings(l, e) order by l.id), '[]')
  from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
  where l.lease_id = p_token and l.id = any (p_lane_ids)
$$;
revoke all on function worker.describe_lanes(bigint, bigint[]) from public, anon, authenticated, service_role;
grant execute on function worker.describe_lanes(bigint, bigint[]) to service_role;

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

-- PostgREST sends a function's value of a domain with a media type's name as it is.
create domain worker."application/json" as text;
comment on domain worker."application/json" is 'JSON that is put together as text';

-- Reads what the lanes of a lease are owed, without writing. See docs/worker-rpc.md for the modes.
--
-- The answer is put together as text, with the bodies as they are: as values of type jsonb, whose parts are copied at each
-- level and escaped at last, it took 44 µs a delivery, of which finding it was 6.
create function worker.read_lanes(
  p_token bigint, p_after bigint, p_limit integer, p_lane_ids bigint[] default null,
  p_busy_ids bigint[] default '{}', p_through bigint default null, p_parked_lane_ids bigint[] default '{}',
  p_behind_lane_ids bigint[] default '{}'
) returns worker."application/json"
language plpgsql stable security definer set search_path = '' set enable_seqscan = off set jit = off
set plan_cache_mode = auto
as $$
declare
  -- A volatile function is no index condition; its value is.
  v_now constant timestamptz := private.now();
  v_first text;
  v_again text;
  v_after bigint;
  v_more boolean;
  v_next timestamptz;
begin
  if not exists (select from queue.leases l where l.id = p_token and l.expires_at > v_now) then
    return jsonb_build_object('stale', true, 'after', p_after, 'more', false, 'next_retry_at', null, 'deliveries', '[]'::jsonb);
  end if;

  -- Which index finds the deliveries of these lanes depends on which they are. And only an array that is known when the plan
  -- is made is looked up by hash; sub-selects are, below, whatever the plan.
  if p_lane_ids is not null then
    perform set_config('plan_cache_mode', 'force_custom_plan', true);
  end if;

  with found as (
    select d.id, d.lane_id, d.tenant_id, d.seq, d.dispatched_on, l.ordered, l.version
    from queue.deliveries d
    -- OFFSET keeps it an inner side, IS TRUE off the index by lease. From the lanes outwards all that they are owed was read
    -- and sorted for each page; by lease each delivery was compared with each lane.
    cross join lateral (
      select e.ordered, e.version from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
      where l.id = d.lane_id and (l.lease_id = p_token) is true and e.status = 'active' offset 0
    ) l
    where d.id > p_after and d.lane_id not in (select b from unnest(p_behind_lane_ids) b)
      and (p_lane_ids is null or d.lane_id = any (p_lane_ids))
    order by d.id
    limit p_limit
  )
  -- How far the answer reaches is told by what was found, not by what has its event still. A delivery whose event is
  -- gone is passed over and stays pending, for people to see: nobody can send it, and it must not hold up the others.
  select string_agg('{"delivery_id":' || f.id || ',"lane_id":' || f.lane_id || ',"version":' || f.version || ',"retry":false,"attempt":1,"event_id":'
      || to_json(v.id) || ',"type":' || to_json(v.type) || ',"occurred_at":' || to_json(v.occurred_at)
      || case when f.ordered then ',"order_key":"' || v.entity_id || '","blocked":' || exists (
          select from queue.retries r where r.lane_id = f.lane_id and r.order_key = v.entity_id and r.id < f.id
        ) else '' end
      || ',"body":' || v.body || '}', ',' order by f.id) filter (where v.id is not null), max(f.id), count(*) >= p_limit
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
    select string_agg('{"delivery_id":' || r.id || ',"lane_id":' || r.lane_id || ',"version":' || r.version || ',"retry":true,"attempt":' || r.attempt
        || ',"event_id":' || to_json(r.event_id) || ',"type":' || to_json(r.type) || ',"occurred_at":' || to_json(r.occurred_at)
        || ',"expires_at":' || to_json(r.expires_at) || ',"order_key":' || coalesce('"' || r.order_key || '"', 'null')
        || ',"body":' || r.body || '}', ',' order by r.due_at, r.id)
    into v_again
    from (
      select r.id, r.lane_id, r.attempt, r.due_at, r.expires_at, r.order_key, v.id as event_id, v.type, v.body,
        v.occurred_at, l.version
      from queue.retries r
      join public.events v on v.tenant_id = r.tenant_id and v.seq = r.seq and v.dispatched_on = r.dispatched_on
      cross join lateral (
        select e.version from queue.lanes l join public.webhook_endpoints e on e.id = l.endpoint_id
        where l.id = r.lane_id and (l.lease_id = p_token) is true and e.status = 'active' offset 0
      ) l
      where not r.blocked and r.due_at <= v_now and r.id not in (select b from unnest(p_busy_ids) b)
        and r.lane_id not in (select p from unnest(p_parked_lane_ids) p)
      order by r.due_at, r.id
      limit p_limit
    ) r;

    select r.due_at into v_next
    from queue.retries r
    cross join lateral (select 1 from queue.lanes l where l.id = r.lane_id and (l.lease_id = p_token) is true offset 0) l
    where not r.blocked and r.due_at > v_now and r.lane_id not in (select p from unnest(p_parked_lane_ids) p)
    order by r.due_at limit 1;
  end if;

  return '{"stale":false,"after":' || v_after || ',"more":' || v_more || ',"next_retry_at":'
    || coalesce(to_json(v_next)::text, 'null') || ',"deliveries":[' || concat_ws(',', v_first, v_again) || ']}';
end $$;
revoke all on function worker.read_lanes(bigint, bigint, integer, bigint[], bigint[], bigint, bigint[], bigint[])
  from public, anon, authenticated, service_role;
grant execute on function worker.read_lanes(bigint, bigint, integer, bigint[], bigint[], bigint, bigint[], bigint[])
  to service_role;

-- The least first attempt up to p_through that the lanes of a lease are owed and the caller has not in hand, but for the
-- lanes that it has not read that far; null when there is none, as should be. {"stale", "missed"}
create function worker.find_missed_delivery(
  p_token bigint, p_through bigint, p_in_hand bigint[] default '{}', p_behind_lane_ids bigint[] default '{}'
) returns jsonb
language sql stable security definer set search_path = '' set enable_seqscan = off set jit = off
as $$
  select jsonb_build_object(
    'stale', not exists (select from queue.leases l where l.id = p_token and l.expires_at > private.now()),
    'missed', (
      select min(m.id)
      from queue.lanes l
      join public.webhook_endpoints e on e.id = l.endpoint_id and e.status = 'active'
      cross join lateral (
        select d.id from queue.deliveries d
        -- Rows as wholes for the index by lane, as in expire_deliveries; sub-selects because they are hashed: an array would
        -- be walked for each row.
        where (d.lane_id, d.id) > (l.id, 0) and (d.lane_id, d.id) <= (l.id, p_through)
          and d.id not in (select h from unnest(p_in_hand) h)
          -- what has lost its event stays pending, and is nobody's to send
          and exists (select from public.events v
            where v.tenant_id = d.tenant_id and v.seq = d.seq and v.dispatched_on = d.dispatched_on)
        order by d.lane_id, d.id limit 1
      ) m
      where l.lease_id = p_token and l.id not in (select b from unnest(p_behind_lane_ids) b)
    )
  )
$$;
revoke all on function worker.find_missed_delivery(bigint, bigint, bigint[], bigint[])
  from public, anon, authenticated, service_role;
grant execute on function worker.find_missed_delivery(bigint, bigint, bigint[], bigint[]) to service_role;
